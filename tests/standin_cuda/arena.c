/* Device addresses. They are taken one after the other from address space that nobody may touch, with a gap behind
 * each, and are not used again: a copy past the end of an allocation meets nobody's memory, a freed address stays
 * known as one, and a processor that follows a device address crashes. */

#include "internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES (16ull << 30)
#define GAP_BYTES (64ull << 10)
/* Chunks in which nothing lives any more and that are kept, so that late uses are still recognised. */
#define DEAD_CHUNKS_KEPT 4u
#define CHUNKS_MAX 4096u

struct chunk {
    uint64_t base, bytes, next;
    size_t live;
};

static struct chunk chunks[CHUNKS_MAX];
static unsigned chunks_count;
static uint64_t random_state;

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static void forget_dead_chunks(void)
{
    unsigned dead = 0;
    for (unsigned i = chunks_count; i-- > 0;) {
        if (chunks[i].live != 0 || ++dead <= DEAD_CHUNKS_KEPT)
            continue;
        munmap((void *)(uintptr_t)chunks[i].base, chunks[i].bytes);
        for (unsigned j = i + 1; j < chunks_count; j++)
            chunks[j - 1] = chunks[j];
        chunks_count--;
    }
}

static struct chunk *chunk_new(uint64_t bytes)
{
    forget_dead_chunks();
    if (chunks_count == CHUNKS_MAX)
        return NULL;
    uint64_t size = bytes > CHUNK_BYTES ? align_up(bytes, GRANULARITY_BYTES) : CHUNK_BYTES;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *base = mmap(NULL, size, PROT_NONE, flags, -1, 0);
    /* A process with little address space gets what it needs and no more. */
    if (base == MAP_FAILED)
        base = mmap(NULL, size = align_up(bytes, GRANULARITY_BYTES), PROT_NONE, flags, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    struct chunk *chunk = &chunks[chunks_count++];
    *chunk = (struct chunk){.base = (uint64_t)(uintptr_t)base, .bytes = size, .next = (uint64_t)(uintptr_t)base};
    return chunk;
}

uint64_t arena_take(uint64_t bytes, uint64_t alignment)
{
    uint64_t room = bytes + PAGE_BYTES + GAP_BYTES + alignment;
    struct chunk *chunk = chunks_count > 0 ? &chunks[chunks_count - 1] : NULL;
    if (chunk == NULL || chunk->base + chunk->bytes - chunk->next < room)
        chunk = chunk_new(room);
    if (chunk == NULL)
        return 0;
    uint64_t address = align_up(chunk->next, alignment > PAGE_BYTES ? alignment : PAGE_BYTES);
    /* Small allocations of a driver begin anywhere in a page: only their own alignment is promised. */
    if (alignment < PAGE_BYTES) {
        if (random_state == 0)
            random_state = settings.seed + 1;
        address += random_next(&random_state) % (PAGE_BYTES / alignment) * alignment;
    }
    chunk->next = align_up(address + bytes, PAGE_BYTES) + GAP_BYTES;
    chunk->live++;
    return address;
}

static struct chunk *chunk_of(uint64_t address)
{
    for (unsigned i = chunks_count; i-- > 0;)
        if (address - chunks[i].base < chunks[i].bytes)
            return &chunks[i];
    return NULL;
}

void arena_give(uint64_t address)
{
    struct chunk *chunk = chunk_of(address);
    if (chunk != NULL)
        chunk->live--;
}

bool arena_owns(uint64_t address)
{
    return chunk_of(address) != NULL;
}
