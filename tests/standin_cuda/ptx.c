/* As much of PTX text as a driver needs to know before it runs anything: whether it may, which kernels there are,
 * and how long their parameters are. */

#include "internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_NAME_BYTES_MAX 1024u
#define PARAMETER_BYTES_MAX 4096u

/* The newest PTX that a driver reads, by its CUDA version. */
static const struct {
    int driver_version, ptx;
} newest[] = {
    {11000, 70}, {11010, 71}, {11020, 72}, {11030, 73}, {11040, 74}, {11050, 75}, {11060, 76}, {11070, 77},
    {11080, 78}, {12000, 80}, {12010, 81}, {12020, 82}, {12030, 83}, {12040, 84}, {12050, 85}, {12070, 86},
    {12080, 87}, {12090, 88}, {13000, 90}, {13010, 91}, {13020, 92}, {13030, 93}, {13040, 94}, {13050, 95},
};

static int newest_ptx(int driver_version)
{
    int found = 0;
    for (size_t i = 0; i < sizeof newest / sizeof newest[0]; i++)
        if (newest[i].driver_version <= driver_version)
            found = newest[i].ptx;
    return found;
}

/* Past blanks and comments. */
static const char *skip(const char *at)
{
    for (;;) {
        if (isspace((unsigned char)*at)) {
            at++;
        } else if (at[0] == '/' && at[1] == '/') {
            at += strcspn(at, "\n");
        } else if (at[0] == '/' && at[1] == '*') {
            const char *end = strstr(at + 2, "*/");
            at = end != NULL ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

static const char *word(const char *at, const char *expected)
{
    at = skip(at);
    size_t length = strlen(expected);
    return strncmp(at, expected, length) == 0 ? skip(at + length) : NULL;
}

CUresult ptx_check(const char *text, int driver_version, int sm)
{
    int major, minor, target;
    const char *at = word(text, ".version");
    if (at == NULL)
        return CUDA_ERROR_INVALID_IMAGE;
    if (sscanf(at, "%d.%d", &major, &minor) != 2)
        return CUDA_ERROR_INVALID_PTX;
    if (major * 10 + minor > newest_ptx(driver_version))
        return CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
    at = word(at + strspn(at, "0123456789."), ".target");
    if (at == NULL || sscanf(at, "sm_%d", &target) != 1)
        return CUDA_ERROR_INVALID_PTX;
    return target <= sm ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU;
}

/* "u64", "b8", "f32": the number is the width in bits. */
static size_t type_bytes(const char *type)
{
    if (*type == '\0' || strchr("bsuf", *type) == NULL)
        return 0;
    long bits = strtol(type + 1, NULL, 10);
    return bits == 8 || bits == 16 || bits == 32 || bits == 64 ? (size_t)bits / 8 : 0;
}

static size_t name_length(const char *at)
{
    size_t length = 0;
    while (isalnum((unsigned char)at[length]) || strchr("_$%.", at[length]) != NULL) {
        if (at[length] == '\0')
            break;
        length++;
    }
    return length;
}

/* ".param .u64 name", ".param .align 8 .b8 name[24]", with attributes as ".ptr .global .align 1" between. */
static const char *parameter(const char *at, size_t *bytes)
{
    size_t element = 0;
    at = word(at, ".param");
    while (at != NULL && *at == '.') {
        size_t length = name_length(at + 1);
        if (type_bytes(at + 1) != 0 && element == 0)
            element = type_bytes(at + 1);
        bool align = strncmp(at, ".align", 6) == 0;
        at = skip(at + 1 + length);
        if (align)
            at = skip(at + strspn(at, "0123456789"));
    }
    if (at == NULL || element == 0)
        return NULL;
    at = skip(at + name_length(at));
    *bytes = element;
    if (*at == '[') {
        char *end;
        unsigned long count = strtoul(at + 1, &end, 10);
        if (count == 0 || count > PARAMETER_BYTES_MAX || *skip(end) != ']')
            return NULL;
        *bytes = element * count;
        at = skip(skip(end) + 1);
    }
    return at;
}

/* ".maxntid 128, 1, 1" behind the parameters: as many threads as a block may have. */
static unsigned threads_max(const char *at)
{
    unsigned threads = THREADS_PER_BLOCK_MAX, sides[3] = {1, 1, 1};
    at = word(at, ".maxntid");
    if (at != NULL && sscanf(at, "%u , %u , %u", &sides[0], &sides[1], &sides[2]) >= 1)
        threads = sides[0] * sides[1] * sides[2];
    return threads;
}

static bool entry_read(const char *at, struct ptx_entry *entry)
{
    size_t length = name_length(at);
    if (length == 0 || length > ENTRY_NAME_BYTES_MAX)
        return false;
    entry->name = strndup(at, length);
    entry->parameters = 0;
    entry->threads_max = threads_max(at + length);
    at = skip(at + length);
    if (entry->name == NULL || *at != '(')
        return entry->name != NULL;
    at = skip(at + 1);
    while (*at != ')') {
        if (entry->parameters == KERNEL_PARAMETERS_MAX)
            return false;
        at = parameter(at, &entry->parameter_bytes[entry->parameters++]);
        if (at == NULL)
            return false;
        if (*at == ',')
            at = skip(at + 1);
    }
    entry->threads_max = threads_max(at + 1);
    return true;
}

void ptx_entries_free(struct ptx_entry *entries, int count)
{
    for (int i = 0; i < count; i++)
        free(entries[i].name);
    free(entries);
}

int ptx_entries(const char *text, struct ptx_entry **entries)
{
    static const char mark[] = ".entry";
    int count = 0;
    *entries = NULL;
    for (const char *at = strstr(text, mark); at != NULL; at = strstr(at, mark)) {
        at = skip(at + sizeof mark - 1);
        struct ptx_entry *larger = realloc(*entries, ((size_t)count + 1) * sizeof **entries);
        if (larger == NULL)
            break;
        *entries = larger;
        larger[count].name = NULL;
        if (!entry_read(at, &larger[count++])) {
            ptx_entries_free(*entries, count);
            return -1;
        }
    }
    return count;
}
