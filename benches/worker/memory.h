/* The caller's memory, the same for every engine.
 *
 * It lies on huge pages where the system has them: a transfer from or to scattered small pages is cut into as many
 * segments, which made a virtual disk three times slower here, and how scattered small pages are differs from process
 * to process. Without this, luck would decide which engine is the fastest. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>

typedef struct {
    unsigned char *start; /* aligned to a huge page */
    size_t length;
    void *mapping;
    size_t mapping_length;
} memory_t;

/* All of it is touched. -1 after fail(). */
int memory_allocate(memory_t *memory, size_t length);

/* Bytes of it that are on huge pages. */
size_t memory_huge_bytes(const memory_t *memory);

void memory_free(memory_t *memory);

#endif
