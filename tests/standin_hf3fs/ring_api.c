/* A ring from the client's side: prepare, submit, wait. */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#define CLOCK_APART_MAX_S 3600

/* One thread at a time prepares, and one at a time waits; they need not be the same. */
static void enter(atomic_long *who, const char *function)
{
    long nobody = 0;
    if (!atomic_compare_exchange_strong(who, &nobody, thread_id()))
        rule_broken(function, "called for one ring by two threads at a time, this and %ld", nobody);
}

static void leave(atomic_long *who)
{
    atomic_store(who, 0);
}

static void check_entry(const struct ring *ring, const struct hf3fs_iov *iov, bool read, const uint8_t *at,
                        uint64_t bytes, const char *function)
{
    if (read != ring->read)
        rule_broken(function, "a %s in a ring for %s", read ? "read" : "write", ring->read ? "reads" : "writes");
    if (iov == NULL || iov->base == NULL)
        rule_broken(function, "no iov");
    if (bytes == 0)
        rule_broken(function, "an entry of length 0");
    if (bytes > iov->size || at < iov->base || (size_t)(at - iov->base) > iov->size - bytes)
        rule_broken(function, "%llu bytes at %p reach outside the iov, which has %zu at %p", (unsigned long long)bytes,
                    (const void *)at, iov->size, (void *)iov->base);
}

static int prepare(struct ring *ring, const struct entry *entry)
{
    uint64_t under_way = ring->slots - ring->free_count;
    if (ring->free_count == 0 || ring->submit_head - ring->submit_tail == ring->slots || eagain_due(under_way)) {
        count_add(STANDIN_HF3FS_EAGAINS, 1);
        return -EAGAIN;
    }
    uint32_t slot = ring->free[--ring->free_count];
    ring->entries[slot] = *entry;
    ring->entries[slot].fault = fault_draw(ring->read, entry->bytes);
    ring->submitted[ring->submit_head % ring->slots] = slot;
    ring->submit_head++;
    if (entry->iov != NULL)
        atomic_fetch_add(&entry->iov->under_way, 1);
    if (entry->file != NULL)
        atomic_fetch_add(&entry->file->under_way, 1);
    count_add(ring->read ? STANDIN_HF3FS_READS : STANDIN_HF3FS_WRITES, 1);
    count_add(STANDIN_HF3FS_UNDER_WAY, 1);
    return (int)slot;
}

EXPORT int hf3fs_prep_io(const struct hf3fs_ior *ior, const struct hf3fs_iov *iov, bool read, void *ptr, int fd,
                         size_t off, uint64_t len, const void *userdata)
{
    count_add(STANDIN_HF3FS_PREP_CALLS, 1);
    struct ring *ring = ring_find(ior, __func__);
    enter(&ring->preparing, __func__);
    check_entry(ring, iov, read, ptr, len, __func__);
    struct memory *memory = memory_find(iov, __func__);
    RULE(memory == NULL || !memory->of_ring, "an entry in the memory of a ring");
    RULE(memory == NULL || (size_t)((uint8_t *)ptr - iov->base) + len <= memory->size, "an iov was wrapped as too large");
    struct registration *file = registration_find(fd);
    RULE(file != NULL, "file %d is not registered", fd);
    uint64_t daemon = daemon_now();
    /* What a daemon that is gone knew, the present one does not. */
    bool serves = daemon != 0 && ring->daemon == daemon;
    if (serves && file->daemon == daemon)
        registration_check(file, __func__);
    int mode = file->status & O_ACCMODE, answer = -EACCES;
    if (mode != (read ? O_WRONLY : O_RDONLY)) {
        struct entry entry = {
            .memory = memory != NULL ? memory->base + ((uint8_t *)ptr - iov->base) : NULL,
            .bytes = len,
            .offset = off,
            .file = serves && file->daemon == daemon ? file : NULL,
            .iov = serves && memory != NULL && memory->daemon == daemon ? memory : NULL,
            .userdata = userdata,
        };
        pthread_mutex_lock(&ring->lock);
        answer = prepare(ring, &entry);
        pthread_mutex_unlock(&ring->lock);
        if (answer >= 0 && !read && daemon_holds() && entry.file != NULL && entry.iov != NULL)
            journal_write(&entry);
    }
    leave(&ring->preparing);
    if (answer >= 0)
        daemon_at_entry();
    return answer;
}

EXPORT int hf3fs_submit_ios(const struct hf3fs_ior *ior)
{
    count_add(STANDIN_HF3FS_SUBMIT_CALLS, 1);
    struct ring *ring = ring_find(ior, __func__);
    pthread_mutex_lock(&ring->lock);
    ring_take(ring);
    pthread_mutex_unlock(&ring->lock);
    return 0;
}

/* Takes what has completed, at most `most`, and has the daemon look again, as the semaphore that is posted then does. */
static int reap(struct ring *ring, struct hf3fs_cqe *cqes, int most)
{
    int taken = 0;
    pthread_mutex_lock(&ring->lock);
    bool serves = ring->daemon == daemon_now();
    for (; taken < most && ring->complete_tail != ring->complete_head; taken++) {
        const struct hf3fs_cqe *cqe = &ring->completed[ring->complete_tail++ % ring->slots];
        const struct entry *entry = &ring->entries[cqe->index];
        cqes[taken].index = cqe->index;
        cqes[taken].result = cqe->result;
        cqes[taken].userdata = cqe->userdata;
        /* Those of a daemon that is gone may be gone too. */
        if (serves && entry->iov != NULL)
            atomic_fetch_sub(&entry->iov->under_way, 1);
        if (serves && entry->file != NULL)
            atomic_fetch_sub(&entry->file->under_way, 1);
        ring->free[ring->free_count++] = (uint32_t)cqe->index;
    }
    if (taken > 0)
        ring_take(ring);
    pthread_mutex_unlock(&ring->lock);
    count_add(STANDIN_HF3FS_UNDER_WAY, -taken);
    return taken;
}

static void check_timeout(const struct timespec *until, const char *function)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (until->tv_nsec < 0 || until->tv_nsec >= (long)NANOSECONDS)
        rule_broken(function, "a timeout with %ld nanoseconds", until->tv_nsec);
    if (llabs((long long)until->tv_sec - (long long)now.tv_sec) > CLOCK_APART_MAX_S)
        rule_broken(function, "a timeout of %lld s, with the real time at %lld s: it is absolute, of CLOCK_REALTIME",
                    (long long)until->tv_sec, (long long)now.tv_sec);
}

static bool is_past(const struct timespec *time, const struct timespec *now)
{
    return time->tv_sec < now->tv_sec || (time->tv_sec == now->tv_sec && time->tv_nsec <= now->tv_nsec);
}

static long slice_ms(void)
{
    const char *text = getenv("HF3FS_USRBIO_WAIT_JITTER_MS");
    return text != NULL && atoi(text) != 0 ? atoi(text) : 1;
}

static int wait_for(struct ring *ring, struct hf3fs_cqe *cqes, int most, int least, const struct timespec *until)
{
    long slice = slice_ms();
    int filled = 0;
    while (filled < most) {
        int taken = reap(ring, cqes + filled, most - filled);
        filled += taken;
        if (taken > 0)
            continue;
        if (filled >= least)
            break;
        struct timespec now, slice_ends;
        clock_gettime(CLOCK_REALTIME, &now);
        if (until != NULL && is_past(until, &now))
            break;
        uint64_t ends = (uint64_t)now.tv_nsec + (uint64_t)slice * 1000000;
        slice_ends.tv_sec = now.tv_sec + (time_t)(ends / NANOSECONDS);
        slice_ends.tv_nsec = (long)(ends % NANOSECONDS);
        if (until != NULL && is_past(until, &slice_ends))
            slice_ends = *until;
        sem_timedwait(&ring->completions, &slice_ends);
    }
    return filled;
}

EXPORT int hf3fs_wait_for_ios(const struct hf3fs_ior *ior, struct hf3fs_cqe *cqes, int cqec, int min_results,
                              const struct timespec *abs_timeout)
{
    count_add(STANDIN_HF3FS_WAIT_CALLS, 1);
    struct ring *ring = ring_find(ior, __func__);
    if (cqec <= 0)
        return -EINVAL;
    if (abs_timeout != NULL)
        check_timeout(abs_timeout, __func__);
    enter(&ring->waiting, __func__);
    int filled = wait_for(ring, cqes, cqec, min_results < cqec ? min_results : cqec, abs_timeout);
    leave(&ring->waiting);
    return filled;
}
