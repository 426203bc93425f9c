/* The content of objects. Every 4096-byte page says whose it is (id of the object, seed of its payload, number of the
 * page) and the rest of it follows from the seed, so that a stale object, a swapped page, another object's page and a
 * torn write all show, also to a program that knows nothing but the bytes. */
#ifndef BENCH_BYTES_H
#define BENCH_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES ((size_t)4096)

/* Fills a whole object with the payload of `seed`, without the pages' headers. */
void bytes_fill(unsigned char *object, size_t length, uint64_t seed);

/* Writes the header of every page: cheap enough to give each repetition objects of its own. */
void bytes_stamp(unsigned char *object, size_t length, uint64_t id, uint64_t seed);

/* Makes sure that nothing of what is expected is in memory already. */
void bytes_poison(unsigned char *memory, size_t length);

/* Compares every byte with the object `id` of `seed`. Returns the offset of the page that is wrong, or `length`. */
size_t bytes_first_wrong(const unsigned char *object, size_t length, uint64_t id, uint64_t seed);

/* As above, for an object that only its own bytes tell about. */
size_t bytes_first_inconsistent(const unsigned char *object, size_t length);

#endif
