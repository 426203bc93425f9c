#define _POSIX_C_SOURCE 200809L /* getline */

#include "blocks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* Makes room for `count` elements more. */
static void *grow(void *array, size_t *capacity, size_t used, size_t count, size_t element_bytes)
{
    size_t wanted = *capacity == 0 ? 1024 : *capacity;
    void *grown;

    while (wanted < used + count)
        wanted *= 2;
    if (wanted == *capacity)
        return array;
    grown = realloc(array, wanted * element_bytes);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

/* Decimal digits without sign or blank. Returns what follows them, or NULL. */
static const char *parse_id(const char *text, uint64_t *id_out)
{
    uint64_t id = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        const uint64_t digit = (uint64_t)(*at - '0');
        if (id > (UINT64_MAX - digit) / 10)
            return NULL;
        id = id * 10 + digit;
    }
    *id_out = id;
    return at == text ? NULL : at;
}

static const char *append_run(blocks_t *blocks, size_t in_request, uint64_t first, uint64_t last)
{
    uint64_t *ids;
    size_t count, index;

    if (last < first)
        return "a run that ends before it begins";
    if (last - first >= BLOCKS_PER_REQUEST_MAX - in_request)
        return "a request of more than 65536 blocks";
    count = (size_t)(last - first) + 1;
    if (count > BLOCKS_TOTAL_MAX - blocks->id_count)
        return "more than 67108864 blocks in all";
    ids = grow(blocks->ids, &blocks->id_capacity, blocks->id_count, count, sizeof *ids);
    if (ids == NULL)
        return "out of memory";
    blocks->ids = ids;
    for (index = 0; index < count; index++)
        ids[blocks->id_count++] = first + index;
    return NULL;
}

/* Returns what is wrong with the line, or NULL. */
static const char *append_request(blocks_t *blocks, const char *at)
{
    const size_t first_block = blocks->id_count;
    blocks_request_t *requests;

    do {
        uint64_t first, last;
        const char *problem;

        if (blocks->id_count > first_block && *at++ != ' ')
            return "expected ids and runs such as \"0 14-27\", with single spaces between them";
        at = parse_id(at, &first);
        last = first;
        if (at != NULL && *at == '-')
            at = parse_id(at + 1, &last);
        if (at == NULL)
            return "expected ids and runs such as \"0 14-27\", with single spaces between them";
        problem = append_run(blocks, blocks->id_count - first_block, first, last);
        if (problem != NULL)
            return problem;
    } while (*at != '\0');

    requests = grow(blocks->requests, &blocks->request_capacity, blocks->request_count, 1, sizeof *requests);
    if (requests == NULL)
        return "out of memory";
    blocks->requests = requests;
    requests[blocks->request_count++] =
        (blocks_request_t){.first = first_block, .count = blocks->id_count - first_block};
    if (blocks->id_count - first_block > blocks->chain_max)
        blocks->chain_max = blocks->id_count - first_block;
    return NULL;
}

int blocks_read(blocks_t *blocks, FILE *file)
{
    char *line = NULL;
    size_t capacity = 0, line_number = 0;
    const char *problem = NULL;
    ssize_t length;

    while (problem == NULL && (length = getline(&line, &capacity, file)) >= 0) {
        line_number++;
        if (line[0] == '#')
            continue;
        if (length > 0 && line[length - 1] == '\n')
            line[--length] = '\0';
        problem = (size_t)length != strlen(line) ? "a NUL byte" : append_request(blocks, line);
    }
    if (problem == NULL && !feof(file))
        problem = strerror(errno);
    if (problem == NULL && blocks->request_count == 0)
        problem = "no request in it";
    free(line);
    if (problem == NULL)
        return 0;
    snprintf(blocks->error, sizeof blocks->error, "line %zu: %s", line_number, problem);
    return -1;
}

void blocks_free(blocks_t *blocks)
{
    free(blocks->requests);
    free(blocks->ids);
    memset(blocks, 0, sizeof *blocks);
}
