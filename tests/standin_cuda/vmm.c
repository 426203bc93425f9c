/* Virtual memory management: address ranges, physical memory, and mappings of the one at the other. A range has a
 * shadow of its own, so that mappings which follow one another are one piece of memory, as on a device. */

#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define POISON_BYTES 4096u
#define POISON_BLOCKS_MAX 1024u
#define POISON 0xdb

struct reservation {
    struct reservation *next;
    uint64_t address, bytes;
    char *shadow;
};

struct physical {
    struct object object;
    uint64_t bytes;
    CUdevice device;
    int file;
    unsigned references; /* its handle and its mappings */
};

static struct reservation *reservations;

unsigned long reservations_live(void)
{
    unsigned long count = 0;
    for (struct reservation *at = reservations; at != NULL; at = at->next)
        count++;
    return count;
}

uint64_t reservation_address(const struct allocation *allocation)
{
    return allocation->reservation != NULL ? allocation->reservation->address : allocation->address;
}

uint64_t reservation_bytes(const struct allocation *allocation)
{
    return allocation->reservation != NULL ? allocation->reservation->bytes : allocation->bytes;
}

static void physical_drop(struct physical *physical)
{
    if (--physical->references > 0)
        return;
    close(physical->file);
    free(physical);
}

static CUresult device_of(const CUmemLocation *location)
{
    if (location->type != CU_MEM_LOCATION_TYPE_DEVICE)
        return refuse("location type", location->type);
    return location->id >= 0 && location->id < settings.devices ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

static CUresult properties_known(const CUmemAllocationProp *properties)
{
    if (properties == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    if (properties->type != CU_MEM_ALLOCATION_TYPE_PINNED)
        return refuse("allocation type", properties->type);
    if (properties->requested_handle_types != CU_MEM_HANDLE_TYPE_NONE)
        return CUDA_ERROR_NOT_SUPPORTED;
    return device_of(&properties->location);
}

CUDA_API CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *properties, int option)
{
    CALL_BEGIN("cuMemGetAllocationGranularity", NEED_INIT);
    if (bytes == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (option != CU_MEM_ALLOC_GRANULARITY_MINIMUM && option != CU_MEM_ALLOC_GRANULARITY_RECOMMENDED)
        return call_end(refuse("granularity option", option));
    *bytes = GRANULARITY_BYTES;
    return call_end(properties_known(properties));
}

CUDA_API CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr wish,
                                      unsigned long long flags)
{
    CALL_BEGIN("cuMemAddressReserve", NEED_INIT);
    (void)wish;
    if (address == NULL || bytes == 0 || bytes % GRANULARITY_BYTES != 0 || flags != 0 ||
        (alignment & (alignment - 1)) != 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    struct reservation *reservation = calloc(1, sizeof *reservation);
    uint64_t taken = arena_take(bytes, alignment > GRANULARITY_BYTES ? alignment : GRANULARITY_BYTES);
    char *shadow = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reservation == NULL || taken == 0 || shadow == MAP_FAILED) {
        free(reservation);
        if (taken != 0)
            arena_give(taken);
        if (shadow != MAP_FAILED)
            munmap(shadow, bytes);
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    }
    *reservation = (struct reservation){.next = reservations, .address = taken, .bytes = bytes, .shadow = shadow};
    reservations = reservation;
    *address = taken;
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
    CALL_BEGIN("cuMemAddressFree", NEED_INIT);
    for (struct reservation **at = &reservations; *at != NULL; at = &(*at)->next) {
        struct reservation *reservation = *at;
        if (reservation->address != address)
            continue;
        if (reservation->bytes != bytes || memory_overlaps(address, bytes))
            return call_end(CUDA_ERROR_INVALID_VALUE);
        *at = reservation->next;
        munmap(reservation->shadow, bytes);
        arena_give(address);
        free(reservation);
        return call_end(CUDA_SUCCESS);
    }
    return call_end(CUDA_ERROR_INVALID_VALUE);
}

CUDA_API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
                              const CUmemAllocationProp *properties, unsigned long long flags)
{
    CALL_BEGIN("cuMemCreate", NEED_INIT);
    if (handle == NULL || bytes == 0 || bytes % GRANULARITY_BYTES != 0 || flags != 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    CUresult result = properties_known(properties);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    count_allocation(properties->location.id);
    if (bytes > settings.device_bytes ||
        device_bytes_used(properties->location.id) > settings.device_bytes - bytes)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    struct physical *physical = calloc(1, sizeof *physical);
    int file = memfd_create("standin_cuda", MFD_CLOEXEC);
    if (physical == NULL || file < 0 || ftruncate(file, (off_t)bytes) != 0) {
        free(physical);
        if (file >= 0)
            close(file);
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    }
    char poison[POISON_BYTES];
    memset(poison, POISON, sizeof poison);
    for (unsigned block = 0; block < POISON_BLOCKS_MAX && block < bytes / POISON_BYTES; block++)
        if (pwrite(file, poison, sizeof poison, (off_t)block * POISON_BYTES) < 0)
            break;
    physical->bytes = bytes;
    physical->device = properties->location.id;
    physical->file = file;
    physical->references = 1;
    handle_give(&physical->object, HANDLE_PHYSICAL);
    *handle = physical->object.handle;
    return call_end(CUDA_SUCCESS);
}

static struct physical *physical_find(CUmemGenericAllocationHandle handle)
{
    return handle_find((void *)(uintptr_t)handle, HANDLE_PHYSICAL);
}

CUDA_API CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    CALL_BEGIN("cuMemRelease", NEED_INIT);
    struct physical *physical = physical_find(handle);
    if (physical == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    handle_take(&physical->object);
    physical_drop(physical);
    return call_end(CUDA_SUCCESS);
}

static struct reservation *reservation_find(uint64_t address, uint64_t bytes)
{
    for (struct reservation *at = reservations; at != NULL; at = at->next) {
        uint64_t offset = address - at->address;
        if (offset < at->bytes && bytes <= at->bytes - offset)
            return at;
    }
    return NULL;
}

CUDA_API CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                           unsigned long long flags)
{
    CALL_BEGIN("cuMemMap", NEED_INIT);
    struct physical *physical = physical_find(handle);
    struct reservation *reservation = reservation_find(address, bytes);
    if (physical == NULL || reservation == NULL || flags != 0 || offset != 0 || bytes == 0)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    if (bytes != physical->bytes || (address - reservation->address) % GRANULARITY_BYTES != 0 ||
        memory_overlaps(address, bytes))
        return call_end(CUDA_ERROR_INVALID_VALUE);
    char *shadow = reservation->shadow + (address - reservation->address);
    void *map = mmap(shadow, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, physical->file, 0);
    struct allocation *allocation = map != MAP_FAILED ? memory_add(MEMORY_VMM, address, bytes) : NULL;
    if (allocation == NULL)
        return call_end(CUDA_ERROR_OUT_OF_MEMORY);
    allocation->shadow = shadow;
    allocation->device = physical->device;
    allocation->reservation = reservation;
    allocation->physical = physical;
    physical->references++;
    return call_end(CUDA_SUCCESS);
}

/* The mappings of a range, which they must fill from its first byte to its last: the first one, or NULL. */
static struct allocation *mappings(uint64_t address, uint64_t bytes)
{
    struct allocation *first = memory_find(address);
    if (first == NULL || first->address != address || first->kind != MEMORY_VMM)
        return NULL;
    for (struct allocation *at = first;; at = memory_find(at->address + at->bytes)) {
        if (at == NULL || at->kind != MEMORY_VMM || at->reservation != first->reservation || at->bytes > bytes)
            return NULL;
        bytes -= at->bytes;
        if (bytes == 0)
            return first;
    }
}

static CUresult settle_range(uint64_t address, uint64_t bytes)
{
    struct allocation *first = mappings(address, bytes);
    if (first == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint64_t at = address; at < address + bytes;) {
        struct allocation *mapping = memory_find(at);
        const char *user = stream_user_of(mapping->buffer_id);
        if (user != NULL)
            rule_broken("cuMemUnmap of memory at 0x%llx that a queued %s uses", (unsigned long long)at, user);
        at += mapping->bytes;
    }
    device_settle(first->device);
    return mappings(address, bytes) != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUDA_API CUresult cuMemUnmap(CUdeviceptr address, size_t bytes)
{
    CALL_BEGIN("cuMemUnmap", NEED_INIT);
    CUresult result = settle_range(address, bytes);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    unmapping_begin();
    for (uint64_t at = address; at < address + bytes;) {
        struct allocation *mapping = memory_find(at);
        if (mapping == NULL)
            break;
        void *map = mmap(mapping->shadow, mapping->bytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        if (map == MAP_FAILED)
            result = CUDA_ERROR_UNKNOWN;
        at += mapping->bytes;
        memory_remove(mapping);
        physical_drop(mapping->physical);
        free(mapping);
    }
    unmapping_end();
    return call_end(result);
}

CUDA_API CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
    CALL_BEGIN("cuMemSetAccess", NEED_INIT);
    if (access == NULL || count == 0 || mappings(address, bytes) == NULL)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; i < count; i++) {
        CUresult result = device_of(&access[i].location);
        if (result != CUDA_SUCCESS)
            return call_end(result);
        int flags = access[i].flags;
        if (flags != CU_MEM_ACCESS_NONE && flags != CU_MEM_ACCESS_READ && flags != CU_MEM_ACCESS_READWRITE)
            return call_end(refuse("access flags", flags));
    }
    for (uint64_t at = address; at < address + bytes;) {
        struct allocation *mapping = memory_find(at);
        for (size_t i = 0; i < count; i++) {
            uint32_t bit = 1u << access[i].location.id;
            bool reads = access[i].flags != CU_MEM_ACCESS_NONE;
            bool writes = access[i].flags == CU_MEM_ACCESS_READWRITE;
            mapping->readers = reads ? mapping->readers | bit : mapping->readers & ~bit;
            mapping->writers = writes ? mapping->writers | bit : mapping->writers & ~bit;
        }
        at += mapping->bytes;
    }
    return call_end(CUDA_SUCCESS);
}

CUDA_API CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address)
{
    CALL_BEGIN("cuMemGetAccess", NEED_INIT);
    struct allocation *mapping = memory_find(address);
    if (flags == NULL || location == NULL || mapping == NULL || mapping->kind != MEMORY_VMM)
        return call_end(CUDA_ERROR_INVALID_VALUE);
    CUresult result = device_of(location);
    if (result != CUDA_SUCCESS)
        return call_end(result);
    uint32_t bit = 1u << location->id;
    *flags = (mapping->writers & bit) != 0   ? CU_MEM_ACCESS_READWRITE
             : (mapping->readers & bit) != 0 ? CU_MEM_ACCESS_READ
                                             : CU_MEM_ACCESS_NONE;
    return call_end(CUDA_SUCCESS);
}
