#include "listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bucket.h"

#define LISTED_MAX 1000

static const char *text_of(const exchange_t *exchange, const char *name)
{
    const char *const value = request_query(exchange->request, name);

    return value != NULL ? value : "";
}

/* Bytes that XML gives a meaning or has no place for are written as numbers; with encoding-type=url all but the
 * unreserved ones are percent-encoded. */
static void write_name(FILE *out, const char *name, int as_url)
{
    for (; *name != '\0'; name++) {
        const unsigned char byte = (unsigned char)*name;
        const int plain = (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') ||
                          strchr("-._~/", byte) != NULL;
        if (plain)
            putc(byte, out);
        else if (as_url)
            fprintf(out, "%%%02X", byte);
        else if (byte < 0x20 || strchr("<>&\"'", byte) != NULL)
            fprintf(out, "&#%u;", byte);
        else
            putc(byte, out);
    }
}

static void write_time(FILE *out, const char *element, time_t when)
{
    char text[64];
    struct tm parts;

    gmtime_r(&when, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000Z", &parts);
    fprintf(out, "<%s>%s</%s>", element, text, element);
}

static void write_element(FILE *out, const char *element, const char *name, int as_url)
{
    fprintf(out, "<%s>", element);
    write_name(out, name, as_url);
    fprintf(out, "</%s>", element);
}

static void write_objects(FILE *out, const exchange_t *exchange, const char *bucket, const listed_t *listed,
                          size_t count, int more)
{
    const int as_url = strcmp(text_of(exchange, "encoding-type"), "url") == 0;

    fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><Name>%s</Name>", bucket);
    write_element(out, "Prefix", text_of(exchange, "prefix"), as_url);
    fprintf(out, "<KeyCount>%zu</KeyCount><MaxKeys>%d</MaxKeys><IsTruncated>%s</IsTruncated>", count, LISTED_MAX,
            more ? "true" : "false");
    if (as_url)
        fprintf(out, "<EncodingType>url</EncodingType>");
    if (more && count > 0)
        write_element(out, "NextContinuationToken", listed[count - 1].name, 0);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "<Contents>");
        write_element(out, "Key", listed[i].name, as_url);
        write_time(out, "LastModified", listed[i].modified);
        fprintf(out, "<ETag>&quot;%032" PRIx64 "&quot;</ETag><Size>%zu</Size>", listed[i].version, listed[i].bytes);
        fprintf(out, "<StorageClass>STANDARD</StorageClass></Contents>");
    }
    fprintf(out, "</ListBucketResult>");
}

static void write_uploads(FILE *out, const exchange_t *exchange, const char *bucket, const listed_t *listed,
                          size_t count)
{
    const int as_url = strcmp(text_of(exchange, "encoding-type"), "url") == 0;

    fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListMultipartUploadsResult><Bucket>%s</Bucket>", bucket);
    fprintf(out, "<IsTruncated>false</IsTruncated>");
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "<Upload>");
        write_element(out, "Key", listed[i].name, as_url);
        fprintf(out, "<UploadId>%016" PRIx64 "</UploadId>", listed[i].version);
        write_time(out, "Initiated", listed[i].modified);
        fprintf(out, "</Upload>");
    }
    fprintf(out, "</ListMultipartUploadsResult>");
}

static size_t limit_of(const exchange_t *exchange)
{
    const char *const text = request_query(exchange->request, "max-keys");
    const unsigned long limit = text != NULL ? strtoul(text, NULL, 10) : LISTED_MAX;

    return limit < LISTED_MAX ? limit : LISTED_MAX;
}

static int answer_list(const exchange_t *exchange, const char *bucket, int of_uploads)
{
    const char *const token = text_of(exchange, "continuation-token");
    listed_t *listed = NULL;
    bool more = false;
    size_t count = 0, length = 0;
    char *text = NULL;
    FILE *out;
    int status;

    if (text_of(exchange, "delimiter")[0] != '\0')
        return answer_error(exchange, 501, "NotImplemented", "Listings are flat here");
    status = of_uploads ? upload_list(text_of(exchange, "prefix"), &listed, &count)
                        : bucket_list(text_of(exchange, "prefix"),
                                      token[0] != '\0' ? token : text_of(exchange, "start-after"), limit_of(exchange),
                                      &listed, &count, &more);
    out = status == 0 ? open_memstream(&text, &length) : NULL;
    if (out == NULL) {
        bucket_list_free(listed, count);
        return answer_error(exchange, 503, "SlowDown", "There is no memory for that now");
    }
    if (of_uploads)
        write_uploads(out, exchange, bucket, listed, count);
    else
        write_objects(out, exchange, bucket, listed, count, more);
    bucket_list_free(listed, count);
    status = fclose(out) == 0 ? answer_text(exchange, 200, "Content-Type: application/xml\r\n", text) : -1;
    free(text);
    return status;
}

int listing_objects(const exchange_t *exchange, const char *bucket)
{
    return answer_list(exchange, bucket, 0);
}

int listing_uploads(const exchange_t *exchange, const char *bucket)
{
    return answer_list(exchange, bucket, 1);
}
