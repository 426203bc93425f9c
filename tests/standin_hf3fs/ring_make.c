/* Rings: made, found and destroyed. A ring's handle is a number as an iov's. The ring itself lives in memory of the
 * process: the shared memory is made as the genuine library makes it, and left alone. */

#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RINGS_MAX 4096u
/* What one entry takes of the shared memory, and what all need beside: counters, a semaphore, a page. */
#define ENTRY_BYTES 96u
#define FIXED_BYTES (16u + 32u + 4096u)

static struct {
    atomic_uint_fast64_t handle; /* 0: free */
    struct ring *ring;
} rings[RINGS_MAX];
static atomic_uint_fast64_t handles_given;

EXPORT size_t hf3fs_ior_size(int entries)
{
    return FIXED_BYTES + ENTRY_BYTES * ((size_t)entries + 1);
}

static int entries_of(size_t bytes)
{
    size_t entries = bytes < FIXED_BYTES ? 0 : (bytes - FIXED_BYTES) / ENTRY_BYTES;
    return (entries > INT_MAX ? INT_MAX : (int)entries) - 1;
}

EXPORT int hf3fs_io_entries(const struct hf3fs_ior *ior)
{
    return entries_of(ior->iov.size);
}

struct ring *ring_new(uint32_t slots)
{
    struct ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return NULL;
    ring->slots = slots;
    ring->entries = calloc(slots, sizeof *ring->entries);
    ring->free = calloc(slots, sizeof *ring->free);
    ring->submitted = calloc(slots, sizeof *ring->submitted);
    ring->batches = calloc(slots, sizeof *ring->batches);
    ring->completed = calloc(slots, sizeof *ring->completed);
    ring->order = calloc(slots, sizeof *ring->order);
    sem_init(&ring->completions, 0, 0);
    pthread_mutex_init(&ring->lock, NULL);
    if (!ring->entries || !ring->free || !ring->submitted || !ring->batches || !ring->completed || !ring->order) {
        ring_free(ring);
        return NULL;
    }
    while (ring->free_count < slots) {
        ring->free[ring->free_count] = slots - 1 - ring->free_count;
        ring->free_count++;
    }
    return ring;
}

void ring_free(struct ring *ring)
{
    /* A worker that let its last batch go may still be on its way out of the lock. */
    pthread_mutex_lock(&ring->lock);
    pthread_mutex_unlock(&ring->lock);
    pthread_mutex_destroy(&ring->lock);
    sem_destroy(&ring->completions);
    free(ring->entries);
    free(ring->free);
    free(ring->submitted);
    free(ring->batches);
    free(ring->completed);
    free(ring->order);
    free(ring);
}

struct ring *ring_find(const struct hf3fs_ior *ior, const char *function)
{
    uint64_t handle = ior == NULL ? 0 : (uint64_t)(uintptr_t)ior->iorh;
    if (handle == 0 || atomic_load_explicit(&rings[handle % RINGS_MAX].handle, memory_order_acquire) != handle)
        rule_broken(function, "a ring was used that was destroyed or never made");
    return rings[handle % RINGS_MAX].ring;
}

static uint64_t ring_enter(struct ring *ring)
{
    for (unsigned i = 0; i < RINGS_MAX; i++) {
        uint64_t none = 0, handle = (atomic_fetch_add(&handles_given, 1) + 1) * RINGS_MAX + i;
        if (!atomic_compare_exchange_strong(&rings[i].handle, &none, UINT64_MAX))
            continue;
        rings[i].ring = ring;
        ring->handle = handle;
        ring->chance = seed_now() * RINGS_MAX + i;
        atomic_store_explicit(&rings[i].handle, handle, memory_order_release);
        return handle;
    }
    rule_broken(__func__, "more than %u rings live", RINGS_MAX);
}

/* The link to the semaphore by which the daemon is woken. The stand-in wakes its own and needs the link alone. */
static int check_semaphore(const char *mount_point, int priority)
{
    static const char shm[] = "/dev/shm/sem.";
    char link[LINK_BYTES], target[257];
    snprintf(link, sizeof link, "%s/3fs-virt/iovs/submit-ios%s", mount_point,
             priority == 0 ? "" : priority < 0 ? ".ph" : ".pl");
    ssize_t bytes = readlink(link, target, 256);
    if (bytes < 0)
        return mount_passes(mount_point) ? 0 : -errno;
    target[bytes] = '\0';
    size_t fixed = sizeof shm - 1;
    if (bytes >= 256 || strncmp(target, shm, fixed) != 0 || target[fixed] == '\0' || strchr(target + fixed, '/'))
        return -EIO;
    return 0;
}

static int make(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth, int priority,
                int timeout, int numa, uint64_t flags, const char *function)
{
    char suffix[64];
    int failure = failure_due(STANDIN_HF3FS_IORCREATE);
    if (failure != 0)
        return -failure;
    if (timeout < 0)
        rule_broken(function, "a timeout of %d", timeout);
    if (io_depth < 0 && timeout > 0)
        rule_broken(function, "an io_depth of %d with a timeout of %d never runs what is not a whole batch", io_depth,
                    timeout);
    if (flags != 0)
        rule_broken(function, "flags %llx", (unsigned long long)flags);
    if (io_depth > entries)
        rule_broken(function, "an io_depth of %d with %d entries never runs", io_depth, entries);
    if (ior == NULL || mount_point == NULL || *mount_point == '\0' || entries <= 0)
        return -EINVAL;
    snprintf(suffix, sizeof suffix, ".%c%d%s.t%d", for_read ? 'r' : 'w', io_depth,
             priority == 0 ? "" : priority < 0 ? ".ph" : ".pl", timeout);
    int answer = memory_make(&ior->iov, mount_point, hf3fs_ior_size(entries), 0, numa, suffix, true, function);
    if (answer != 0)
        return answer;
    answer = check_semaphore(mount_point, priority);
    struct ring *ring = answer == 0 ? ring_new((uint32_t)entries_of(ior->iov.size)) : NULL;
    if (ring == NULL) {
        /* The genuine library looks for a link without the suffix then, and leaves this one. */
        memory_end(&ior->iov, false, function);
        return answer != 0 ? answer : -ENOMEM;
    }
    ring->memory = memory_find(&ior->iov, function);
    ring->read = for_read;
    ring->depth = io_depth;
    ring->thread = thread_id();
    ring->daemon = daemon_now();
    strcpy(ior->mount_point, mount_point);
    ior->for_read = for_read;
    ior->io_depth = io_depth;
    ior->priority = priority;
    ior->timeout = timeout;
    ior->flags = flags;
    ior->iorh = (void *)(uintptr_t)ring_enter(ring);
    count_add(STANDIN_HF3FS_RINGS_MADE, 1);
    count_add(STANDIN_HF3FS_RINGS_LIVE, 1);
    return 0;
}

EXPORT int hf3fs_iorcreate(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                           int numa)
{
    return make(ior, mount_point, entries, for_read, io_depth, 0, 0, numa, 0, __func__);
}

EXPORT int hf3fs_iorcreate2(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                            int priority, int numa)
{
    return make(ior, mount_point, entries, for_read, io_depth, priority, 0, numa, 0, __func__);
}

EXPORT int hf3fs_iorcreate3(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                            int priority, int timeout, int numa)
{
    return make(ior, mount_point, entries, for_read, io_depth, priority, timeout, numa, 0, __func__);
}

EXPORT int hf3fs_iorcreate4(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                            int timeout, int numa, uint64_t flags)
{
    return make(ior, mount_point, entries, for_read, io_depth, 0, timeout, numa, flags, __func__);
}

EXPORT void hf3fs_iordestroy(struct hf3fs_ior *ior)
{
    if (ior == NULL)
        return;
    struct ring *ring = ring_find(ior, __func__);
    uint64_t handle = ring->handle;
    RULE(ring->thread == thread_id(), "made by thread %ld, and destroyed by another", ring->thread);
    RULE(atomic_load(&ring->preparing) == 0 && atomic_load(&ring->waiting) == 0, "destroyed while a thread uses it");
    pthread_mutex_lock(&ring->lock);
    uint32_t under_way = ring->slots - ring->free_count;
    pthread_mutex_unlock(&ring->lock);
    RULE(under_way == 0 || ring->daemon != daemon_now(), "destroyed with %u entries under way", under_way);
    RULE(atomic_compare_exchange_strong(&rings[handle % RINGS_MAX].handle, &handle, UINT64_MAX), "destroyed twice");
    memory_end(&ior->iov, true, __func__);
    ior->iorh = NULL;
    count_add(STANDIN_HF3FS_UNDER_WAY, -(int64_t)under_way);
    count_add(STANDIN_HF3FS_RINGS_LIVE, -1);
    ring_free(ring);
    atomic_store(&rings[handle % RINGS_MAX].handle, 0);
}
