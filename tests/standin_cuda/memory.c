/* What address is what: a table of all memory that the driver knows, in order of address, and of what was freed. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FREED_KEPT 1024u

struct range {
    uint64_t address, bytes;
};

static struct allocation **table;
static size_t table_count, table_room;
static struct range freed[FREED_KEPT];
static unsigned freed_next;
static uint64_t last_buffer_id;
static unsigned copying, unmapping;

/* The first entry that begins behind `address`. */
static size_t index_behind(uint64_t address)
{
    size_t low = 0, high = table_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (table[middle]->address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool ranges_meet(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

struct allocation *memory_add(enum memory_kind kind, uint64_t address, uint64_t bytes)
{
    if (table_count == table_room) {
        size_t room = table_room == 0 ? 256 : table_room * 2;
        struct allocation **larger = realloc(table, room * sizeof *table);
        if (larger == NULL)
            return NULL;
        table = larger;
        table_room = room;
    }
    struct allocation *allocation = calloc(1, sizeof *allocation);
    if (allocation == NULL)
        return NULL;
    allocation->kind = kind;
    allocation->address = address;
    allocation->bytes = bytes;
    allocation->buffer_id = ++last_buffer_id;
    size_t index = index_behind(address);
    memmove(&table[index + 1], &table[index], (table_count - index) * sizeof *table);
    table[index] = allocation;
    table_count++;
    /* Host addresses come back: what was freed there is no longer of interest. */
    for (unsigned i = 0; i < FREED_KEPT; i++)
        if (ranges_meet(freed[i].address, freed[i].bytes, address, bytes))
            freed[i].bytes = 0;
    return allocation;
}

void memory_remove(struct allocation *allocation)
{
    size_t index = index_behind(allocation->address);
    if (index == 0 || table[index - 1] != allocation)
        return;
    memmove(&table[index - 1], &table[index], (table_count - index) * sizeof *table);
    table_count--;
    freed[freed_next++ % FREED_KEPT] = (struct range){allocation->address, allocation->bytes};
}

struct allocation *memory_find(uint64_t address)
{
    size_t index = index_behind(address);
    if (index == 0)
        return NULL;
    struct allocation *allocation = table[index - 1];
    return address - allocation->address < allocation->bytes ? allocation : NULL;
}

struct allocation *memory_find_id(uint64_t buffer_id)
{
    for (size_t i = 0; i < table_count; i++)
        if (table[i]->buffer_id == buffer_id)
            return table[i];
    return NULL;
}

void memory_each(void (*visit)(struct allocation *, void *), void *argument)
{
    for (size_t i = table_count; i-- > 0;)
        if (i < table_count)
            visit(table[i], argument);
}

bool memory_overlaps(uint64_t address, uint64_t bytes)
{
    size_t index = index_behind(address);
    if (index > 0 && address - table[index - 1]->address < table[index - 1]->bytes)
        return true;
    return index < table_count && table[index]->address - address < bytes;
}

bool memory_was_freed(uint64_t address)
{
    for (unsigned i = 0; i < FREED_KEPT; i++)
        if (address - freed[i].address < freed[i].bytes)
            return true;
    return false;
}

void *memory_map(uint64_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return map == MAP_FAILED ? NULL : map;
}

/* ---- copies run without the lock; memory goes only between them ---- */

#define GATE_WAIT_US 1000

void copying_begin(void)
{
    while (unmapping > 0)
        wait_for_progress(GATE_WAIT_US);
    copying++;
}

void copying_end(void)
{
    if (--copying == 0)
        progress_made();
}

void unmapping_begin(void)
{
    unmapping++;
    while (copying > 0)
        wait_for_progress(GATE_WAIT_US);
}

void unmapping_end(void)
{
    if (--unmapping == 0)
        progress_made();
}

/* ---- ranges ---- */

static bool accessible(const struct allocation *allocation, CUdevice device, bool write)
{
    if (device < 0)
        return true;
    if (allocation->kind == MEMORY_VMM)
        return ((write ? allocation->writers : allocation->readers) >> device & 1) != 0;
    return true;
}

/* Whether a range lies in one allocation, or in VMM mappings that follow one another in one reservation, all of
 * them accessible: their shadows follow one another too. */
static bool range_alive(const struct allocation *allocation, uint64_t address, uint64_t bytes, CUdevice device,
                        bool write)
{
    for (;;) {
        if (!accessible(allocation, device, write))
            return false;
        uint64_t end = allocation->address + allocation->bytes;
        if (bytes <= end - address)
            return true;
        bytes -= end - address;
        address = end;
        const struct allocation *next = memory_find(end);
        if (next == NULL || next->kind != MEMORY_VMM || next->reservation != allocation->reservation)
            return false;
        allocation = next;
    }
}

static enum place_kind place_kind(enum memory_kind kind)
{
    switch (kind) {
    case MEMORY_HOST:
    case MEMORY_REGISTERED:
        return PLACE_PINNED;
    case MEMORY_MANAGED:
        return PLACE_MANAGED;
    default:
        return PLACE_DEVICE;
    }
}

CUresult place_of(uint64_t address, uint64_t bytes, bool write, struct place *place)
{
    *place = (struct place){.kind = PLACE_PAGEABLE, .address = address};
    if (bytes > UINT64_MAX - address)
        return CUDA_ERROR_INVALID_VALUE;
    const struct allocation *allocation = memory_find(address);
    if (allocation == NULL) {
        /* A device address is nobody else's. Host memory that was freed or unregistered may be pageable by now. */
        if (arena_owns(address)) {
            if (memory_was_freed(address))
                rule_broken("%s of freed memory at 0x%llx", call_name, (unsigned long long)address);
            return CUDA_ERROR_INVALID_VALUE;
        }
        /* Pageable memory may not run into memory that the driver knows. */
        if (memory_overlaps(address, bytes))
            return CUDA_ERROR_INVALID_VALUE;
        return CUDA_SUCCESS;
    }
    if (allocation->free_queued) {
        rule_broken("%s of memory at 0x%llx after its cuMemFreeAsync", call_name, (unsigned long long)address);
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!range_alive(allocation, address, bytes, call_context != NULL ? call_context->device : -1, write)) {
        verbose_line("%s: %llu bytes at 0x%llx leave their allocation or may not be accessed", call_name,
                     (unsigned long long)bytes, (unsigned long long)address);
        return CUDA_ERROR_INVALID_VALUE;
    }
    place->kind = place_kind(allocation->kind);
    place->buffer_id = allocation->buffer_id;
    place->device = allocation->device;
    place->sync_memops = allocation->sync_memops;
    return CUDA_SUCCESS;
}

char *place_bytes(const struct place *place, uint64_t bytes, const char *name)
{
    if (place->kind == PLACE_PAGEABLE)
        return (char *)(uintptr_t)place->address;
    const struct allocation *allocation = memory_find(place->address);
    const char *what = "freed since it was queued";
    if (allocation != NULL && allocation->buffer_id == place->buffer_id &&
        range_alive(allocation, place->address, bytes, -1, false)) {
        if (!allocation->unreached)
            return allocation->shadow + (place->address - allocation->address);
        what = "whose cuMemAllocAsync has not been reached: the streams are not ordered";
    }
    rule_broken("%s ran on memory at 0x%llx, %s", name, (unsigned long long)place->address, what);
    return NULL;
}

char *memory_bytes(uint64_t address, uint64_t bytes, CUdevice device)
{
    const struct allocation *allocation = memory_find(address);
    if (allocation == NULL || allocation->unreached || bytes > UINT64_MAX - address)
        return NULL;
    bool host = place_kind(allocation->kind) != PLACE_DEVICE;
    if (device >= 0 && !host && allocation->kind != MEMORY_VMM && allocation->device != device)
        return NULL;
    if (!range_alive(allocation, address, bytes, device, true))
        return NULL;
    return allocation->shadow + (address - allocation->address);
}
