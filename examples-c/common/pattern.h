/* Block contents that can be checked: every 8-byte word depends on the block's id and on where the
 * word lies, so a block of another key, a shifted page and a torn write all show. */
#ifndef NIXL_STORE_EXAMPLES_PATTERN_H
#define NIXL_STORE_EXAMPLES_PATTERN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014): spreads an id over 64 bits. */
static inline uint64_t pattern_mix(uint64_t value)
{
    value += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

/* Adds and shifts only: the compiler makes vector code of it, so that filling and checking do not
 * hide the speed of the store. */
static inline uint64_t pattern_word(uint64_t seed, uint64_t index)
{
    const uint64_t word = seed + index * UINT64_C(0x9e3779b97f4a7c15);
    return word ^ (word >> 29);
}

static inline void pattern_fill(void *buffer, size_t bytes, uint64_t id)
{
    const uint64_t seed = pattern_mix(id);
    unsigned char *const out = (unsigned char *)buffer;
    const size_t words = bytes / sizeof(uint64_t);
    size_t index;

    for (index = 0; index < words; index++) {
        const uint64_t word = pattern_word(seed, index);
        memcpy(out + index * sizeof word, &word, sizeof word);
    }
    if (bytes % sizeof(uint64_t) != 0) {
        const uint64_t word = pattern_word(seed, words);
        memcpy(out + words * sizeof word, &word, bytes % sizeof word);
    }
}

/* Compares every byte. Returns the offset of the 8-byte word that holds the first wrong one, or `bytes`
 * if there is none. */
static inline size_t pattern_first_wrong(const void *buffer, size_t bytes, uint64_t id)
{
    enum { STRIDE_WORDS = 512 }; /* the inner loop has no exit, which is what lets it be vectorised */
    const uint64_t seed = pattern_mix(id);
    const unsigned char *const in = (const unsigned char *)buffer;
    const size_t words = bytes / sizeof(uint64_t);
    size_t start;

    for (start = 0; start < words; start += STRIDE_WORDS) {
        const size_t end = words - start < STRIDE_WORDS ? words : start + STRIDE_WORDS;
        uint64_t difference = 0;
        size_t index;
        for (index = start; index < end; index++) {
            uint64_t word;
            memcpy(&word, in + index * sizeof word, sizeof word);
            difference |= word ^ pattern_word(seed, index);
        }
        if (difference == 0)
            continue;
        for (index = start; index < end; index++) {
            const uint64_t word = pattern_word(seed, index);
            if (memcmp(in + index * sizeof word, &word, sizeof word) != 0)
                return index * sizeof word;
        }
    }
    if (bytes % sizeof(uint64_t) != 0) {
        const uint64_t word = pattern_word(seed, words);
        if (memcmp(in + words * sizeof word, &word, bytes % sizeof word) != 0)
            return words * sizeof word;
    }
    return bytes;
}

#endif
