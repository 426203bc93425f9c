#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Where the parser stands in a line. The line may hold any byte, NUL too, so `end` rules. */
typedef struct {
    const char *start;
    const char *at;
    const char *end;
    const char *problem;
} cursor_t;

enum field { FIELD_TIMESTAMP, FIELD_INPUT_LENGTH, FIELD_OUTPUT_LENGTH, FIELD_HASH_IDS, FIELD_COUNT };

static const char *const field_names[FIELD_COUNT] = {"timestamp", "input_length", "output_length", "hash_ids"};

static int fail(cursor_t *cursor, const char *problem)
{
    cursor->problem = problem;
    return -1;
}

static void skip_space(cursor_t *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t' || *cursor->at == '\r'))
        cursor->at++;
}

/* Takes `wanted` and the space around it if it comes next. */
static int take(cursor_t *cursor, char wanted)
{
    skip_space(cursor);
    if (cursor->at == cursor->end || *cursor->at != wanted)
        return 0;
    cursor->at++;
    skip_space(cursor);
    return 1;
}

static int is_digit(const cursor_t *cursor)
{
    return cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9';
}

/* A JSON number that is a non-negative integer: no sign, fraction, exponent or leading zero. */
static int parse_integer(cursor_t *cursor, uint64_t *value_out)
{
    const char *const first = cursor->at;
    uint64_t value = 0;

    if (!is_digit(cursor))
        return fail(cursor, "expected a non-negative integer");
    for (; is_digit(cursor); cursor->at++) {
        const uint64_t digit = (uint64_t)(*cursor->at - '0');
        if (cursor->at != first && *first == '0')
            return fail(cursor, "a number must not start with 0");
        if (value > (UINT64_MAX - digit) / 10)
            return fail(cursor, "the number does not fit 64 bits");
        value = value * 10 + digit;
    }
    if (cursor->at < cursor->end && (*cursor->at == '.' || *cursor->at == 'e' || *cursor->at == 'E'))
        return fail(cursor, "expected an integer");
    *value_out = value;
    return 0;
}

static int parse_field_name(cursor_t *cursor, enum field *field_out)
{
    int field;

    if (cursor->at == cursor->end || *cursor->at != '"')
        return fail(cursor, "expected a field name");
    for (field = 0; field < FIELD_COUNT; field++) {
        const size_t length = strlen(field_names[field]);
        const size_t left = (size_t)(cursor->end - cursor->at) - 1;
        if (left > length && memcmp(cursor->at + 1, field_names[field], length) == 0 && cursor->at[1 + length] == '"') {
            cursor->at += length + 2;
            *field_out = (enum field)field;
            return 0;
        }
    }
    return fail(cursor, "expected timestamp, input_length, output_length or hash_ids");
}

/* Returns `array` with room for one more element, moved if need be, or NULL. Doubling keeps the total cost linear. */
static void *reserve(void *array, size_t *capacity, size_t count, size_t element_bytes)
{
    const size_t wanted = *capacity == 0 ? 1024 : *capacity * 2;
    void *grown;

    if (count < *capacity)
        return array;
    if (wanted > SIZE_MAX / element_bytes)
        return NULL;
    grown = realloc(array, wanted * element_bytes);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

static int append_id(trace_t *trace, cursor_t *cursor, uint64_t id)
{
    uint64_t *ids;

    if (trace->id_count == TRACE_IDS_MAX)
        return fail(cursor, "the trace has too many hash_ids");
    ids = reserve(trace->ids, &trace->id_capacity, trace->id_count, sizeof *ids);
    if (ids == NULL)
        return fail(cursor, "out of memory");
    trace->ids = ids;
    trace->ids[trace->id_count++] = id;
    return 0;
}

static int append_request(trace_t *trace, cursor_t *cursor, const trace_request_t *request)
{
    trace_request_t *const requests =
        reserve(trace->requests, &trace->request_capacity, trace->request_count, sizeof *requests);

    if (requests == NULL)
        return fail(cursor, "out of memory");
    trace->requests = requests;
    trace->requests[trace->request_count++] = *request;
    return 0;
}

static int parse_ids(trace_t *trace, cursor_t *cursor, trace_request_t *request)
{
    if (!take(cursor, '['))
        return fail(cursor, "expected [");
    request->id_first = trace->id_count;
    request->id_count = 0;
    if (take(cursor, ']'))
        return 0;
    do {
        uint64_t id = 0;
        if (parse_integer(cursor, &id) != 0)
            return -1;
        if (request->id_count == TRACE_IDS_PER_REQUEST_MAX)
            return fail(cursor, "a request has too many hash_ids");
        if (append_id(trace, cursor, id) != 0)
            return -1;
        request->id_count++;
    } while (take(cursor, ','));
    return take(cursor, ']') ? 0 : fail(cursor, "expected , or ]");
}

static int parse_request(trace_t *trace, cursor_t *cursor, trace_request_t *request)
{
    uint64_t *const numbers[FIELD_COUNT] = {&request->timestamp_ms, &request->input_tokens, &request->output_tokens, NULL};
    unsigned seen = 0;

    if (!take(cursor, '{'))
        return fail(cursor, "expected {");
    do {
        enum field field = FIELD_COUNT;
        if (parse_field_name(cursor, &field) != 0)
            return -1;
        if ((seen & (1u << field)) != 0)
            return fail(cursor, "the field is there twice");
        seen |= 1u << field;
        if (!take(cursor, ':'))
            return fail(cursor, "expected :");
        if (field == FIELD_HASH_IDS ? parse_ids(trace, cursor, request) != 0
                                    : parse_integer(cursor, numbers[field]) != 0)
            return -1;
    } while (take(cursor, ','));
    if (!take(cursor, '}'))
        return fail(cursor, "expected , or }");
    if (seen != (1u << FIELD_COUNT) - 1)
        return fail(cursor, "timestamp, input_length, output_length or hash_ids is missing");
    if (cursor->at != cursor->end)
        return fail(cursor, "expected the end of the line");
    return 0;
}

/* Reads up to and without the newline. Returns 1 for a line, 0 at the end, -1 for one that is too long. */
static int read_line(FILE *file, char *line, size_t *length_out)
{
    size_t length = 0;
    int byte;

    while ((byte = getc(file)) != EOF && byte != '\n') {
        if (length == TRACE_LINE_BYTES_MAX)
            return -1;
        line[length++] = (char)byte;
    }
    *length_out = length;
    return byte == '\n' || length > 0;
}

static int read_requests(trace_t *trace, FILE *file, size_t request_count_max, char *line)
{
    size_t line_number = 0, length = 0;
    int state = 0;

    while (request_count_max == 0 || trace->request_count < request_count_max) {
        const size_t id_count_before = trace->id_count;
        trace_request_t request = {0, 0, 0, 0, 0};
        cursor_t cursor;

        state = read_line(file, line, &length);
        if (state <= 0)
            break;
        line_number++;
        cursor = (cursor_t){line, line, line + length, NULL};
        skip_space(&cursor);
        if (cursor.at == cursor.end)
            continue;
        if (parse_request(trace, &cursor, &request) != 0 || append_request(trace, &cursor, &request) != 0) {
            trace->id_count = id_count_before;
            snprintf(trace->error, sizeof trace->error, "line %zu, column %zu: %s", line_number,
                     (size_t)(cursor.at - cursor.start) + 1, cursor.problem);
            return -1;
        }
    }
    if (state < 0) {
        snprintf(trace->error, sizeof trace->error, "line %zu is longer than %zu bytes", line_number + 1,
                 TRACE_LINE_BYTES_MAX);
        return -1;
    }
    if (ferror(file)) {
        snprintf(trace->error, sizeof trace->error, "cannot read past line %zu: %s", line_number, strerror(errno));
        return -1;
    }
    return 0;
}

int trace_read(trace_t *trace, FILE *file, size_t request_count_max)
{
    char *const line = malloc(TRACE_LINE_BYTES_MAX);
    int result;

    trace->error[0] = '\0';
    if (line == NULL) {
        snprintf(trace->error, sizeof trace->error, "out of memory");
        return -1;
    }
    result = read_requests(trace, file, request_count_max, line);
    free(line);
    return result;
}

void trace_free(trace_t *trace)
{
    free(trace->requests);
    free(trace->ids);
    memset(trace, 0, sizeof *trace);
}
