/* What the files of the stand-in share.
 *
 * Locks: a ring's own, and the daemon's for what waits to be carried out; who holds a ring's may take the daemon's, never
 * the other way round. No lock is held while bytes move. */

#ifndef STANDIN_HF3FS_INTERNAL_H
#define STANDIN_HF3FS_INTERNAL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "hf3fs_api.h"
#include "standin.h"

#define EXPORT __attribute__((visibility("default")))
#define NANOSECONDS 1000000000ull

/* ---- rules.c: who broke a rule ---- */

/* Says which function, which rule, which thread, and ends the process. */
_Noreturn void rule_broken(const char *function, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define RULE(holds, ...)                       \
    do {                                       \
        if (!(holds))                          \
            rule_broken(__func__, __VA_ARGS__); \
    } while (0)
long thread_id(void);

/* ---- counts.c ---- */

void count_add(enum standin_hf3fs_what what, int64_t change);
void counts_reset(void);
/* Writes all counts to STANDIN_HF3FS_REPORT, if there is such a variable. */
void counts_report(void);

/* ---- settings.c: the environment ---- */

void settings_from_environment(void);
/* A number, or `otherwise` where there is none. Ends the process for what is no number. */
uint64_t settings_number(const char *name, uint64_t otherwise);

/* ---- faults.c: schedules and chance ---- */

struct fault {
    int kind; /* -1: none */
    int code;
};

struct fault fault_draw(bool read, uint64_t bytes);
bool eagain_due(uint64_t under_way);
/* 0, or what this call is to fail with. */
int failure_due(enum standin_hf3fs_call call);
uint64_t random_next(uint64_t *state);
/* Of a batch, in nanoseconds. */
uint64_t delay_draw(uint64_t *state);
uint64_t seed_now(void);
int order_now(void);
void faults_reset(void);

/* ---- mount.c: what is 3FS ---- */

/* Whether a resolved path is a directory that passes for a mount, or lies below one. */
bool mount_is_above(const char *resolved);
bool mount_passes(const char *mount_point);
/* Whether a file says by itself that it is 3FS's. */
bool mount_answers(int fd);

/* ---- fds.c: registered files ---- */

struct registration {
    int fd, dup_fd, status;
    dev_t device;
    ino_t inode;
    uint64_t daemon;
    bool on_mount; /* it answers 3FS's ioctl, and knows its holes by itself */
    atomic_uint_fast64_t under_way;
    /* Opened again on first need, -1 until then: one to seek in, whose offset is not the client's, and one without
     * O_DIRECT and O_APPEND. */
    atomic_int seek_fd, plain_fd;
};

/* The registration behind a number that reg_fd was given or answered; NULL for none. */
struct registration *registration_find(int number);
/* Ends the process where the file was closed, or is another one. */
void registration_check(const struct registration *file, const char *function);
int registration_seek_fd(struct registration *file);
int registration_plain_fd(struct registration *file);

/* ---- iov.c: memory shared with the daemon ---- */

#define LINK_BYTES 512
#define SHM_BYTES 64

struct memory {
    atomic_uint_fast64_t handle; /* 0: free */
    uint8_t *base;
    size_t size, block_size;
    char id[16];
    char shm[SHM_BYTES]; /* of /dev/shm, "" where it is not ours to unlink */
    char link[LINK_BYTES];
    long thread;
    bool of_ring;
    uint64_t daemon;
    atomic_uint_fast64_t under_way;
};

/* Makes shared memory and its link in the mount; `suffix` is what the link's name has after the id. 0 or -errno. */
int memory_make(struct hf3fs_iov *iov, const char *mount_point, size_t size, size_t block_size, int numa,
                const char *suffix, bool of_ring, const char *function);
void memory_end(struct hf3fs_iov *iov, bool unlinks, const char *function);
/* What an iov of the caller's is. NULL for one that was wrapped and whose id nothing alive here has. */
struct memory *memory_find(const struct hf3fs_iov *iov, const char *function);

/* ---- ring.c and ring_api.c: submission and completion ---- */

struct entry {
    uint8_t *memory;
    uint64_t bytes, offset;
    struct registration *file;
    struct memory *iov; /* NULL: the daemon does not know it */
    const void *userdata;
    struct fault fault;
    int64_t result;
    uint64_t moved;
};

enum batch_state { BATCH_HELD, BATCH_QUEUED, BATCH_DONE, BATCH_ENDED };

struct batch {
    struct ring *ring;
    struct batch *next;
    uint64_t first; /* position of its first entry in the submission ring */
    uint32_t entries, started; /* started: those that a worker took; the daemon's lock */
    atomic_uint unfinished;
    atomic_int state;
    uint64_t due_ns; /* 0: at once */
};

struct ring {
    atomic_uint_fast64_t handle;
    struct memory *memory;
    uint32_t slots;
    bool read;
    int depth;
    long thread;
    uint64_t daemon;
    atomic_long preparing, waiting; /* the thread that does; 0: none */
    sem_t completions;

    pthread_mutex_t lock; /* of all that follows */
    struct entry *entries;
    uint32_t *free, free_count;
    /* Counters that only grow; a position is a counter modulo slots. Between tail and taken lie the batches that the
     * daemon has, in the order in which it took them: space comes back in that order. */
    uint32_t *submitted;
    uint64_t submit_head, submit_taken, submit_tail;
    struct batch *batches;
    uint64_t batch_head, batch_tail;
    struct hf3fs_cqe *completed;
    uint64_t complete_head, complete_tail;
    uint32_t *order;
    uint64_t chance;
};

struct ring *ring_find(const struct hf3fs_ior *ior, const char *function);
/* NULL where there is no room for it. The semaphore and the lock are its own. */
struct ring *ring_new(uint32_t slots);
void ring_free(struct ring *ring);
/* Hands what is ready to the daemon, in batches as io_depth says. The ring's lock is held. */
void ring_take(struct ring *ring);
/* The last entry of a batch is done: its completions appear, now or after those of others. */
void ring_batch_done(struct batch *batch);
struct entry *ring_entry(const struct batch *batch, uint32_t index);

/* ---- daemon.c: who carries entries out ---- */

/* Which daemon there is, 0 while it is dead. What was made under another is not served. */
uint64_t daemon_now(void);
bool daemon_holds(void);
/* The ring's lock is held. */
void daemon_push(struct batch *batch);
/* Called for each entry prepared: the environment may ask for something at the nth. */
void daemon_at_entry(void);
void daemon_reset(void);

/* ---- transfer.c: one entry over a plain file ---- */

void transfer(struct entry *entry, bool read);

/* ---- journal.c ---- */

void journal_write(const struct entry *entry);

#endif
