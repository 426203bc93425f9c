/* A trace comes from outside. This test guards that the reader takes the published format, byte for byte as
 * it is released, and refuses everything else with the place and the reason instead of guessing. */
#include "../common/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void expect(int holds, const char *what, const char *about)
{
    if (holds)
        return;
    failures++;
    fprintf(stderr, "FAILED: %s: %.100s\n", what, about);
}

static int read_bytes(trace_t *trace, const char *bytes, size_t length, size_t request_count_max)
{
    FILE *const file = fmemopen((void *)bytes, length, "rb");
    int result;

    if (file == NULL) {
        perror("trace_reader_test: fmemopen");
        exit(1);
    }
    result = trace_read(trace, file, request_count_max);
    fclose(file);
    return result;
}

static void accepts(const char *text, size_t requests, size_t ids)
{
    trace_t trace = {0};
    expect(read_bytes(&trace, text, strlen(text), 0) == 0, "refused", text);
    expect(trace.request_count == requests && trace.id_count == ids, "miscounted", text);
    trace_free(&trace);
}

static void refuses(const char *text, const char *reason)
{
    trace_t trace = {0};
    expect(read_bytes(&trace, text, strlen(text), 0) == -1, "accepted", text);
    if (strstr(trace.error, reason) == NULL) {
        failures++;
        fprintf(stderr, "FAILED: %.100s: said \"%s\", not \"%s\"\n", text, trace.error, reason);
    }
    trace_free(&trace);
}

#define LINE(ids) "{\"timestamp\": 1, \"input_length\": 2, \"output_length\": 3, \"hash_ids\": [" ids "]}"

static void the_format_is_taken_in_every_legal_spelling(void)
{
    accepts("", 0, 0);
    accepts("\n\r\n  \n", 0, 0);
    accepts(LINE("7, 8"), 1, 2);
    accepts(LINE("") "\n" LINE("0") "\r\n" LINE("18446744073709551615") "\n", 3, 2);
    accepts("\t{ \"hash_ids\" :[ 1 ,2,3 ] ,\"output_length\":0,\"input_length\":10,\"timestamp\":5 } ", 1, 3);
}

static void everything_else_is_refused_with_its_place(void)
{
    refuses("[]", "column 1: expected {");
    refuses("{}", "expected a field name");
    refuses("null", "expected {");
    refuses("\xef\xbb\xbf" LINE("1"), "column 1: expected {");
    refuses(LINE("1") " x", "expected the end of the line");
    refuses(LINE("1") LINE("2"), "expected the end of the line");
    refuses(LINE("1,"), "expected a non-negative integer");
    refuses(LINE("1 2"), "expected , or ]");
    refuses(LINE("-1"), "expected a non-negative integer");
    refuses(LINE("1.5"), "expected an integer");
    refuses(LINE("1e3"), "expected an integer");
    refuses(LINE("01"), "must not start with 0");
    refuses(LINE("00"), "must not start with 0");
    refuses(LINE("18446744073709551616"), "does not fit 64 bits");
    refuses(LINE("99999999999999999999999999"), "does not fit 64 bits");
    refuses(LINE("\"1\""), "expected a non-negative integer");
    refuses(LINE("[1]"), "expected a non-negative integer");
    refuses("{\"timestamp\": 1}", "is missing");
    refuses("{\"timestamp\": 1, \"timestamp\": 1}", "twice");
    refuses("{\"time\": 1}", "expected timestamp");
    refuses("{\"timestamp", "expected timestamp");
    refuses("{\"timestamp\"", "expected :");
    refuses("{\"timestamp\":", "expected a non-negative integer");
    refuses("{\"hash_ids\": 5}", "expected [");
    refuses("{\"hash_ids\": [5", "expected , or ]");
    refuses(LINE("1") "\n\n" LINE("x"), "line 3, column");
}

static void every_cut_of_a_line_is_refused(void)
{
    const char whole[] = LINE("10, 11, 12");
    size_t length;

    for (length = 1; length < sizeof whole - 1; length++) {
        trace_t trace = {0};
        expect(read_bytes(&trace, whole, length, 0) == -1, "a cut line was accepted", whole);
        expect(trace.id_count == 0 && trace.request_count == 0, "a refused line left something behind", whole);
        trace_free(&trace);
    }
}

/* Any byte in any place: the answer is a request or an error, never a crash (run under a sanitizer too). */
static void every_changed_byte_is_survived(void)
{
    char line[] = LINE("10, 11");
    size_t at;
    int byte;

    for (at = 0; at < sizeof line - 1; at++) {
        const char before = line[at];
        for (byte = 0; byte < 256; byte++) {
            trace_t trace = {0};
            line[at] = (char)byte;
            if (read_bytes(&trace, line, sizeof line - 1, 0) == -1)
                expect(trace.error[0] != '\0', "refused without a reason", line);
            trace_free(&trace);
        }
        line[at] = before;
    }
}

static void endless_lines_and_chains_hit_a_limit(void)
{
    const size_t length = TRACE_LINE_BYTES_MAX + 10;
    char *const text = malloc(length);
    trace_t trace = {0};
    size_t at;

    if (text == NULL)
        exit(1);
    memset(text, ' ', length);
    expect(read_bytes(&trace, text, length, 0) == -1 && strstr(trace.error, "longer than") != NULL, "no limit", "line");
    trace_free(&trace);

    at = (size_t)sprintf(text, "{\"hash_ids\": [0");
    while (at < TRACE_IDS_PER_REQUEST_MAX * 2 + 32) {
        text[at++] = ',';
        text[at++] = '1';
    }
    expect(read_bytes(&trace, text, at, 0) == -1 && strstr(trace.error, "too many") != NULL, "no limit", "chain");
    trace_free(&trace);
    free(text);
}

static void reading_stops_after_as_many_requests_as_were_asked_for(void)
{
    const char text[] = LINE("1") "\n" LINE("2") "\nnot a request\n";
    trace_t trace = {0};

    expect(read_bytes(&trace, text, sizeof text - 1, 2) == 0, "read on", text);
    expect(trace.request_count == 2 && trace.ids[1] == 2, "wrong requests", text);
    trace_free(&trace);
}

/* argv[1]: the excerpt. Its totals are those that data/README.md states. */
static void the_published_trace_is_read_whole(const char *path)
{
    trace_t trace = {0};
    FILE *const file = fopen(path, "rb");

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    expect(trace_read(&trace, file, 0) == 0, trace.error, path);
    expect(trace.request_count == 500 && trace.id_count == 14162, "miscounted", path);
    expect(trace.requests[499].id_first + trace.requests[499].id_count == trace.id_count, "ids are not a chain", path);
    fclose(file);
    trace_free(&trace);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: trace_reader_test TRACE\n");
        return 2;
    }
    the_format_is_taken_in_every_legal_spelling();
    everything_else_is_refused_with_its_place();
    every_cut_of_a_line_is_refused();
    every_changed_byte_is_survived();
    endless_lines_and_chains_hit_a_limit();
    reading_stops_after_as_many_requests_as_were_asked_for();
    the_published_trace_is_read_whole(argv[1]);
    if (failures == 0)
        printf("trace reader: all promises hold\n");
    return failures != 0;
}
