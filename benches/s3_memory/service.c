#include "service.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bucket.h"
#include "listing.h"

/* A list of 10,000 parts takes less. */
#define COMPLETE_BYTES_MAX ((size_t)4 << 20)

static const char *bucket_name;
static atomic_bool counts_only;
static atomic_uint_fast64_t puts_done, put_bytes, gets_done, got_bytes, others_done;

void service_start(const char *bucket)
{
    bucket_name = bucket;
}

static int answer_change(const exchange_t *exchange, change_t change)
{
    switch (change) {
    case CHANGE_CONDITION_FAILED:
        return answer_error(exchange, 412, "PreconditionFailed", "A condition does not hold");
    case CHANGE_NO_NAME: return answer_error(exchange, 404, "NoSuchKey", "There is no such object");
    case CHANGE_NO_UPLOAD: return answer_error(exchange, 404, "NoSuchUpload", "There is no such upload");
    case CHANGE_BAD_PART: return answer_error(exchange, 400, "InvalidPart", "A part is not as it was uploaded");
    default: return answer_error(exchange, 507, "InsufficientStorage", "The memory of this server is full");
    }
}

/* -1 where a condition cannot be understood. */
static int read_condition(const exchange_t *exchange, condition_t *condition_out)
{
    const char *const absent = request_header(exchange->request, "if-none-match");
    const char *const version = request_header(exchange->request, "if-match");

    *condition_out = (condition_t){absent != NULL, 0};
    if (absent != NULL && strcmp(absent, "*") != 0)
        return -1;
    if (version != NULL) {
        condition_out->if_version = answer_version(version);
        if (condition_out->if_version == 0)
            condition_out->if_version = UINT64_MAX; /* an ETag that nothing here has */
    }
    return 0;
}

/* The body as content of one part. NULL after an answer, whose status is in *status_out. */
static content_t *take_content(const exchange_t *exchange, int *status_out)
{
    const size_t bytes = exchange->request->body_bytes;
    const bool kept = !atomic_load_explicit(&counts_only, memory_order_relaxed);
    body_t *const body = kept ? body_new(bytes) : NULL;
    content_t *const content = content_new(1);

    if (content == NULL || (kept && body == NULL)) {
        body_release(body);
        free(content);
        *status_out = answer_change(exchange, CHANGE_NO_MEMORY);
        return NULL;
    }
    content_add(content, body, bytes);
    *status_out = request_take_body(exchange->request, exchange->connection, kept ? body_start(body) : NULL);
    if (*status_out != 0) {
        content_release(content);
        return NULL;
    }
    atomic_fetch_add(&puts_done, 1);
    atomic_fetch_add(&put_bytes, bytes);
    return content;
}

static int answer_put(const exchange_t *exchange, change_t change, uint64_t version)
{
    char tag[TAG_BYTES], headers[TAG_BYTES + 16];

    if (change != CHANGE_DONE)
        return answer_change(exchange, change);
    answer_tag(tag, version);
    snprintf(headers, sizeof headers, "ETag: %s\r\n", tag);
    return answer_text(exchange, 200, headers, "");
}

static int put_object(const exchange_t *exchange)
{
    condition_t condition;
    content_t *content;
    uint64_t version;
    int status;

    if (read_condition(exchange, &condition) != 0)
        return answer_error(exchange, 501, "NotImplemented", "If-None-Match takes * only");
    content = take_content(exchange, &status);
    if (content == NULL)
        return status;
    version = content->version;
    return answer_put(exchange, bucket_put(exchange->request->name, content, condition), version);
}

static int put_part(const exchange_t *exchange)
{
    const char *const number = request_query(exchange->request, "partNumber");
    const uint64_t id = strtoull(request_query(exchange->request, "uploadId"), NULL, 16);
    content_t *content;
    uint64_t version;
    int status;

    if (number == NULL)
        return answer_error(exchange, 400, "InvalidArgument", "partNumber is missing");
    content = take_content(exchange, &status);
    if (content == NULL)
        return status;
    version = content->version;
    return answer_put(
        exchange, upload_part(exchange->request->name, id, (unsigned)strtoul(number, NULL, 10), content), version);
}

/* The text between <element> and the next '<', and where it ends. */
static const char *element(const char *text, const char *name, const char **end_out)
{
    const char *const found = strstr(text, name);

    if (found == NULL)
        return NULL;
    *end_out = strchr(found + strlen(name), '<');
    return *end_out != NULL ? found + strlen(name) : NULL;
}

/* An ETag in XML: its quotes may be written as &quot; or &#34;. */
static uint64_t tag_in_xml(const char *text)
{
    while (strncmp(text, "&quot;", 6) == 0 || strncmp(text, "&#34;", 5) == 0)
        text += text[1] == 'q' ? 6 : 5;
    char digits[33] = {0};
    strncpy(digits, text + (*text == '"'), 32);
    return answer_version(digits);
}

static size_t read_parts(const char *text, unsigned *numbers, uint64_t *versions)
{
    size_t count = 0;

    for (const char *at = strstr(text, "<Part>"); at != NULL && count < UPLOAD_PARTS_MAX; at = strstr(at, "<Part>")) {
        const char *const next = strstr(at + 6, "<Part>");
        const char *number_end, *tag_end;
        const char *const number = element(at, "<PartNumber>", &number_end);
        const char *const tag = element(at, "<ETag>", &tag_end);
        if (number == NULL || tag == NULL || (next != NULL && (number > next || tag > next)))
            return 0;
        numbers[count] = (unsigned)strtoul(number, NULL, 10);
        versions[count++] = tag_in_xml(tag);
        at = number_end > tag_end ? number_end : tag_end;
    }
    return count;
}

static int complete(const exchange_t *exchange, const char *text, unsigned *numbers, uint64_t *versions)
{
    const uint64_t id = strtoull(request_query(exchange->request, "uploadId"), NULL, 16);
    const size_t count = read_parts(text, numbers, versions);
    char tag[TAG_BYTES], body[256];
    condition_t condition;
    uint64_t version = 0;
    change_t change;

    if (read_condition(exchange, &condition) != 0)
        return answer_error(exchange, 501, "NotImplemented", "If-None-Match takes * only");
    if (count == 0)
        return answer_error(exchange, 400, "MalformedXML", "The list of parts cannot be read");
    change = upload_complete(exchange->request->name, id, numbers, versions, count, condition, &version);
    if (change != CHANGE_DONE)
        return answer_change(exchange, change);
    answer_tag(tag, version);
    snprintf(body, sizeof body,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult>"
             "<ETag>&quot;%.32s&quot;</ETag></CompleteMultipartUploadResult>",
             tag + 1);
    return answer_text(exchange, 200, "Content-Type: application/xml\r\n", body);
}

static int complete_upload(const exchange_t *exchange)
{
    const size_t bytes = exchange->request->body_bytes;
    unsigned *numbers = NULL;
    uint64_t *versions = NULL;
    char *text;
    int status;

    if (bytes > COMPLETE_BYTES_MAX)
        return answer_error(exchange, 400, "EntityTooLarge", "The list of parts is too long");
    text = malloc(bytes + 1);
    numbers = calloc(UPLOAD_PARTS_MAX, sizeof *numbers);
    versions = calloc(UPLOAD_PARTS_MAX, sizeof *versions);
    if (text == NULL || numbers == NULL || versions == NULL) {
        status = answer_change(exchange, CHANGE_NO_MEMORY);
    } else {
        status = request_take_body(exchange->request, exchange->connection, text);
        text[status == 0 ? bytes : 0] = '\0';
        if (status == 0)
            status = complete(exchange, text, numbers, versions);
    }
    free(text);
    free(numbers);
    free(versions);
    return status;
}

static int create_upload(const exchange_t *exchange)
{
    const uint64_t id = upload_create(exchange->request->name);
    char body[256];

    if (id == 0)
        return answer_change(exchange, CHANGE_NO_MEMORY);
    snprintf(body, sizeof body,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<InitiateMultipartUploadResult>"
             "<UploadId>%016" PRIx64 "</UploadId></InitiateMultipartUploadResult>",
             id);
    return answer_text(exchange, 200, "Content-Type: application/xml\r\n", body);
}

static int remove_object(const exchange_t *exchange)
{
    const char *const upload = request_query(exchange->request, "uploadId");
    condition_t condition = {false, 0};
    change_t change;

    if (upload != NULL)
        change = upload_abort(exchange->request->name, strtoull(upload, NULL, 16));
    else if (read_condition(exchange, &condition) != 0)
        return answer_error(exchange, 501, "NotImplemented", "If-None-Match takes * only");
    else
        change = bucket_remove(exchange->request->name, condition);
    /* S3 answers alike where there was nothing, unless a condition was given. */
    if (change == CHANGE_DONE || (change == CHANGE_NO_NAME && condition.if_version == 0))
        return answer_text(exchange, 204, "", "");
    return answer_change(exchange, change);
}

/* bytes=a-b, bytes=a- or bytes=-n. 0: a range, in *offset_out and *bytes_out; 1: none, or several, which means the
 * whole object; -1: past its end. */
static int read_range(const char *text, size_t object_bytes, size_t *offset_out, size_t *bytes_out)
{
    char *end = NULL;
    unsigned long long first, last = object_bytes == 0 ? 0 : object_bytes - 1;

    *offset_out = 0;
    *bytes_out = object_bytes;
    if (text == NULL || strncmp(text, "bytes=", 6) != 0 || strchr(text, ',') != NULL)
        return 1;
    text += 6;
    if (*text == '-') {
        const unsigned long long tail = strtoull(text + 1, &end, 10);
        if (*end != '\0')
            return 1;
        if (tail == 0 || object_bytes == 0)
            return -1;
        *bytes_out = tail < object_bytes ? (size_t)tail : object_bytes;
        *offset_out = object_bytes - *bytes_out;
        return 0;
    }
    first = strtoull(text, &end, 10);
    if (end == text || *end != '-')
        return 1;
    if (end[1] != '\0') {
        const unsigned long long asked = strtoull(end + 1, &end, 10);
        if (*end != '\0' || asked < first)
            return 1;
        last = asked < last ? asked : last;
    }
    if (first >= object_bytes)
        return -1;
    *offset_out = (size_t)first;
    *bytes_out = (size_t)(last - first + 1);
    return 0;
}

static int send_object(const exchange_t *exchange, const content_t *content)
{
    const char *const wanted = request_header(exchange->request, "if-match");
    const char *const known = request_header(exchange->request, "if-none-match");
    char tag[TAG_BYTES], headers[512], range_line[96] = "", modified[64];
    size_t offset, bytes;
    struct tm parts;
    int ranged;

    if (wanted != NULL && strcmp(wanted, "*") != 0 && answer_version(wanted) != content->version)
        return answer_change(exchange, CHANGE_CONDITION_FAILED);
    if (known != NULL && (strcmp(known, "*") == 0 || answer_version(known) == content->version))
        return answer_text(exchange, 304, "", "");
    if (strcmp(exchange->request->method, "HEAD") != 0 && !content_is_kept(content))
        return answer_error(exchange, 500, "InternalError", "The bytes of this object were counted and thrown away");
    ranged = read_range(request_header(exchange->request, "range"), content->bytes, &offset, &bytes);
    if (ranged < 0) {
        snprintf(headers, sizeof headers, "Content-Range: bytes */%zu\r\nContent-Type: application/xml\r\n",
                 content->bytes);
        return answer_text(exchange, 416, headers,
                           "<Error><Code>InvalidRange</Code><Message>Past the end</Message></Error>");
    }
    if (ranged == 0)
        snprintf(range_line, sizeof range_line, "Content-Range: bytes %zu-%zu/%zu\r\n", offset, offset + bytes - 1,
                 content->bytes);
    answer_tag(tag, content->version);
    gmtime_r(&content->modified, &parts);
    strftime(modified, sizeof modified, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    snprintf(headers, sizeof headers,
             "ETag: %s\r\nLast-Modified: %s\r\n%sAccept-Ranges: bytes\r\nContent-Type: application/octet-stream\r\n",
             tag, modified, range_line);
    atomic_fetch_add(&gets_done, 1);
    atomic_fetch_add(&got_bytes, bytes);
    return answer_content(exchange, ranged == 0 ? 206 : 200, headers, content, offset, bytes);
}

static int get_object(const exchange_t *exchange)
{
    content_t *const content = bucket_find(exchange->request->name);
    int status;

    if (content == NULL)
        return answer_change(exchange, CHANGE_NO_NAME);
    status = send_object(exchange, content);
    content_release(content);
    return status;
}

static int serve_own(const exchange_t *exchange)
{
    const request_t *const request = exchange->request;
    char text[512];

    if (strcmp(request->name, "puts") == 0 && request_query(request, "keep") != NULL) {
        atomic_store(&counts_only, false);
    } else if (strcmp(request->name, "puts") == 0 && request_query(request, "count") != NULL) {
        atomic_store(&counts_only, true);
    } else if (strcmp(request->name, "clear") == 0) {
        bucket_clear();
    } else if (strcmp(request->name, "counts") != 0) {
        return answer_error(exchange, 404, "NoSuchKey", "There is no such thing to ask for");
    }
    snprintf(text, sizeof text,
             "{\"puts\":%" PRIu64 ",\"put_bytes\":%" PRIu64 ",\"gets\":%" PRIu64 ",\"got_bytes\":%" PRIu64
             ",\"others\":%" PRIu64 ",\"objects\":%zu,\"uploads\":%zu,\"memory_bytes\":%zu}\n",
             (uint64_t)atomic_load(&puts_done), (uint64_t)atomic_load(&put_bytes), (uint64_t)atomic_load(&gets_done),
             (uint64_t)atomic_load(&got_bytes), (uint64_t)atomic_load(&others_done), bucket_objects(), bucket_uploads(),
             bodies_bytes());
    return answer_text(exchange, 200, "Content-Type: application/json\r\n", text);
}

static int serve_bucket(const exchange_t *exchange)
{
    const char *const method = exchange->request->method;

    if (strcmp(method, "PUT") == 0 || strcmp(method, "HEAD") == 0)
        return answer_text(exchange, 200, "", "");
    if (strcmp(method, "GET") != 0)
        return answer_error(exchange, 501, "NotImplemented", "A bucket is not asked for that here");
    if (request_query(exchange->request, "uploads") != NULL)
        return listing_uploads(exchange, bucket_name);
    return listing_objects(exchange, bucket_name);
}

int service_serve(const exchange_t *exchange)
{
    const request_t *const request = exchange->request;
    const char *const method = request->method;
    const bool of_upload = request_query(request, "uploadId") != NULL;

    if (strcmp(request->bucket, "-") == 0)
        return serve_own(exchange);
    if (strcmp(request->bucket, bucket_name) != 0)
        return answer_error(exchange, 404, "NoSuchBucket", "There is no such bucket");
    if (strlen(request->name) > NAME_BYTES_MAX)
        return answer_error(exchange, 400, "KeyTooLongError", "The name is too long");
    if (request->name[0] != '\0' && strcmp(method, "PUT") == 0)
        return of_upload ? put_part(exchange) : put_object(exchange);
    if (request->name[0] != '\0' && strcmp(method, "GET") == 0)
        return get_object(exchange);
    atomic_fetch_add(&others_done, 1);
    if (request->name[0] == '\0')
        return serve_bucket(exchange);
    if (strcmp(method, "HEAD") == 0)
        return get_object(exchange);
    if (strcmp(method, "DELETE") == 0)
        return remove_object(exchange);
    if (strcmp(method, "POST") == 0 && of_upload)
        return complete_upload(exchange);
    if (strcmp(method, "POST") == 0 && request_query(request, "uploads") != NULL)
        return create_upload(exchange);
    return answer_error(exchange, 501, "NotImplemented", "An object is not asked for that here");
}
