/* What a test asks of the stand-in, beside USRBIO: what the code under test did, and faults to meet it with.
 *
 * A test finds these by dlsym in the libhf3fs_api_shared.so that it loaded; where they are missing, the client is a
 * genuine one. All of them may be called from any thread. README.md names the environment variables that do the same
 * for a process that cannot call. */

#ifndef STANDIN_HF3FS_H
#define STANDIN_HF3FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what was done ---- */

enum standin_hf3fs_what {
    STANDIN_HF3FS_IOVS_MADE = 0,       /* by iovcreate and iovopen; the memory of rings does not count */
    STANDIN_HF3FS_IOVS_LIVE = 1,
    STANDIN_HF3FS_RINGS_MADE = 2,
    STANDIN_HF3FS_RINGS_LIVE = 3,
    STANDIN_HF3FS_FDS_REGISTERED = 4,
    STANDIN_HF3FS_FDS_LIVE = 5,
    STANDIN_HF3FS_PREP_CALLS = 6,
    STANDIN_HF3FS_SUBMIT_CALLS = 7,
    STANDIN_HF3FS_WAIT_CALLS = 8,
    STANDIN_HF3FS_UNDER_WAY = 9,       /* entries prepared and not yet handed out by wait_for_ios */
    STANDIN_HF3FS_BATCHES = 10,        /* that have ended */
    STANDIN_HF3FS_BYTES_READ = 11,     /* truly moved, whatever was answered */
    STANDIN_HF3FS_BYTES_WRITTEN = 12,
    STANDIN_HF3FS_EAGAINS = 13,        /* answered by prep_io, early or not */
    STANDIN_HF3FS_READS = 14,          /* entries prepared */
    STANDIN_HF3FS_WRITES = 15,
    STANDIN_HF3FS_FAULTS = 16,         /* entries that standin_hf3fs_fault spoilt */
    STANDIN_HF3FS_HELD = 17,           /* batches that are held now */
    STANDIN_HF3FS_WHATS = 18
};

uint64_t standin_hf3fs_count(int what);

/* As when it was loaded: counts of what was done are zero, schedules, delays, order, holding and journal are as the
 * environment says. What is held is released. What lives stays alive; a dead daemon stays dead. */
void standin_hf3fs_reset(void);

/* ---- where it is ---- */

/* The colon-separated directories that pass for mounts of 3FS, in place of STANDIN_HF3FS_MOUNT; NULL for that again.
 * Each needs 3fs-virt/iovs/ made in it beforehand. Returns 0, or -ENAMETOOLONG. */
int standin_hf3fs_mount(const char *directories);

/* ---- when entries end ---- */

/* While it holds, the daemon takes entries at submit_ios and ends none: neither memory nor a file is touched. Letting
 * go releases all that is held. */
void standin_hf3fs_hold(bool hold);

/* Lets `batches` of those held go on, in the order that standin_hf3fs_order says. Returns how many there were. The
 * entries of a batch end together: with an io_depth of -1 a batch is one entry. */
uint64_t standin_hf3fs_release(uint64_t batches);

/* The longest ordinary delay of a batch, in microseconds; one in 64 takes 32 times as long. 0, as at first, for none.
 * Delayed batches keep no worker busy. */
void standin_hf3fs_delay(uint64_t delay_us);

/* Of delays and of random order. */
void standin_hf3fs_seed(uint64_t seed);

enum standin_hf3fs_order {
    STANDIN_HF3FS_AS_DONE = 0, /* as workers end them; the entries of a batch as they were prepared */
    STANDIN_HF3FS_REVERSED = 1, /* a batch that is done waits for later ones that are not; its entries last first */
    STANDIN_HF3FS_RANDOM = 2
};

void standin_hf3fs_order(int order);

/* ---- faults ---- */

enum standin_hf3fs_fault_kind {
    STANDIN_HF3FS_SHORT = 0, /* half, rounded down to 4096, is moved and told; entries below 8192 bytes do not count */
    STANDIN_HF3FS_ERROR = 1, /* nothing is moved, the result is -code */
    STANDIN_HF3FS_ZERO = 2,  /* nothing is moved, the result is 0 */
    STANDIN_HF3FS_LONG = 3,  /* all is moved, the result is 4096 more than was asked for */
    STANDIN_HF3FS_FAULT_KINDS = 4
};

enum standin_hf3fs_direction { STANDIN_HF3FS_READS_ONLY = 1, STANDIN_HF3FS_WRITES_ONLY = 2, STANDIN_HF3FS_BOTH = 3 };

/* Spoils every `every`th entry of that direction from now on, counted as they are prepared; 0: none. One schedule for
 * each kind; an entry that several would spoil meets the first of the list. `code` is an errno, for
 * STANDIN_HF3FS_ERROR alone. */
void standin_hf3fs_fault(int kind, int direction, uint64_t every, int code);

/* Every `every`th prep_io answers -EAGAIN as if later batches had ended before earlier ones; 0: none. Never where
 * nothing of the ring is under way, since that cannot be. */
void standin_hf3fs_eagain(uint64_t every);

/* prep_io answers -EAGAIN while a ring has that many entries under way; 0: as many as it was made for. */
void standin_hf3fs_entries_max(uint64_t entries);

enum standin_hf3fs_call {
    STANDIN_HF3FS_IOVCREATE = 0,
    STANDIN_HF3FS_IORCREATE = 1,
    STANDIN_HF3FS_REG_FD = 2,
    STANDIN_HF3FS_FAILING_CALLS = 3
};

/* The nth call from now on (1: the next; 0: none) fails once, without any effect: -code, and code for reg_fd. */
void standin_hf3fs_fail(int call, uint64_t nth, int code);

/* The daemon dies: prep_io and submit_ios succeed, no completion comes any more, is_hf3fs answers false, and making
 * anything answers ENOTCONN (reg_fd: EBADF). Once this returns, nothing touches memory or files again, and rings and iovs
 * with entries under way may be destroyed. Whether it holds stays as it was. */
void standin_hf3fs_kill(void);

/* A new daemon in place of the dead one. It serves no ring made before, and knows neither iovs (-EACCES) nor files
 * (-EBADF) from before. */
void standin_hf3fs_restart(void);

/* ---- writes that land late ---- */

/* While the daemon holds, each write is appended to that file when it is prepared; NULL: no longer. With the process
 * killed, standin_hf3fs_replay is a daemon that carries the writes out afterwards. Returns 0 or -errno. */
int standin_hf3fs_journal(const char *path);

/* Carries out the first `entries` writes of a journal (UINT64_MAX: all), files by their names. Writes to files that are
 * gone are passed over, and so is a last one that was cut off. Returns how many were written, or -errno.
 * The program standin_hf3fs_replay JOURNAL [ENTRIES] does the same. */
int64_t standin_hf3fs_replay(const char *path, uint64_t entries);

#ifdef __cplusplus
}
#endif

#endif
