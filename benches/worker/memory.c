#include "memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

#include "bytes.h"
#include "fail.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

/* Linux 6.1; older headers lack it, and older kernels refuse it, which does no harm. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

int memory_allocate(memory_t *memory, size_t length)
{
    const size_t whole = (length + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;

    memory->mapping_length = whole + HUGE_PAGE_BYTES;
    memory->mapping =
        mmap(NULL, memory->mapping_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory->mapping == MAP_FAILED) {
        memory->mapping = NULL;
        return fail("no %zu bytes of memory", length);
    }
    memory->start = (unsigned char *)(((uintptr_t)memory->mapping + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1));
    memory->length = length;
    madvise(memory->start, whole, MADV_HUGEPAGE);
    bytes_poison(memory->start, whole);
    madvise(memory->start, whole, MADV_COLLAPSE);
    return 0;
}

size_t memory_huge_bytes(const memory_t *memory)
{
    FILE *const file = fopen("/proc/self/smaps", "r");
    const uintptr_t first = (uintptr_t)memory->start, end = first + memory->length;
    char line[512];
    bool inside = false;
    size_t total = 0;

    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long low, high, kib;
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
            inside = low < end && high > first;
        else if (inside && sscanf(line, "AnonHugePages: %lu kB", &kib) == 1)
            total += kib << 10;
    }
    fclose(file);
    return total < memory->length ? total : memory->length;
}

void memory_free(memory_t *memory)
{
    munmap(memory->mapping, memory->mapping_length);
}
