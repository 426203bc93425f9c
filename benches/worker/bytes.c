#include "bytes.h"

#include <string.h>

typedef struct {
    uint64_t magic;
    uint64_t id;
    uint64_t seed;
    uint64_t page;
} page_header_t;

static const uint64_t MAGIC = UINT64_C(0x6e69786c62656e63);

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014): spreads a number over 64 bits. */
static uint64_t mix(uint64_t value)
{
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* Adds and shifts only: the compiler makes vector code of it, so that checking does not take longer than moving. */
static inline uint64_t word_at(uint64_t start, uint64_t index)
{
    const uint64_t word = start + index * UINT64_C(0x9e3779b97f4a7c15);
    return word ^ (word >> 29);
}

void bytes_fill(unsigned char *object, size_t length, uint64_t seed)
{
    const uint64_t start = mix(seed);
    const size_t words = length / sizeof(uint64_t);

    for (size_t index = 0; index < words; index++) {
        const uint64_t word = word_at(start, index);
        memcpy(object + index * sizeof word, &word, sizeof word);
    }
}

void bytes_stamp(unsigned char *object, size_t length, uint64_t id, uint64_t seed)
{
    for (size_t offset = 0; offset + sizeof(page_header_t) <= length; offset += PAGE_BYTES) {
        const page_header_t header = {MAGIC, id, seed, offset / PAGE_BYTES};
        memcpy(object + offset, &header, sizeof header);
    }
}

void bytes_poison(unsigned char *memory, size_t length)
{
    memset(memory, 0xa5, length);
}

size_t bytes_first_wrong(const unsigned char *object, size_t length, uint64_t id, uint64_t seed)
{
    const uint64_t start = mix(seed);

    for (size_t offset = 0; offset < length; offset += PAGE_BYTES) {
        const page_header_t header = {MAGIC, id, seed, offset / PAGE_BYTES};
        const size_t first = (offset + sizeof header) / sizeof(uint64_t);
        const size_t end = (length - offset < PAGE_BYTES ? length : offset + PAGE_BYTES) / sizeof(uint64_t);
        uint64_t difference = 0;

        if (memcmp(object + offset, &header, sizeof header) != 0)
            return offset;
        /* No exit inside: that is what lets the loop be vectorised. */
        for (size_t index = first; index < end; index++) {
            uint64_t word;
            memcpy(&word, object + index * sizeof word, sizeof word);
            difference |= word ^ word_at(start, index);
        }
        if (difference != 0)
            return offset;
    }
    return length;
}

size_t bytes_first_inconsistent(const unsigned char *object, size_t length)
{
    page_header_t header;

    memcpy(&header, object, sizeof header);
    return bytes_first_wrong(object, length, header.id, header.seed);
}
