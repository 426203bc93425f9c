/* What the stand-in's own tests share. Each test runs in a process of its own, in an empty mount of its own. */

#ifndef SELF_TEST_H
#define SELF_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../hf3fs_api.h"
#include "../standin.h"

#define KIB 1024u
#define MIB (1024u * KIB)
#define PAGE 4096u

#define CHECK(holds)                                                                 \
    do {                                                                             \
        if (!(holds)) {                                                              \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds);              \
            _exit(1);                                                                \
        }                                                                            \
    } while (0)

#define EXPECT(expected, got)                                                                           \
    do {                                                                                                \
        long long expected_ = (long long)(expected), got_ = (long long)(got);                            \
        if (expected_ != got_) {                                                                        \
            fprintf(stderr, "%s:%d: %lld and not %lld from %s\n", __FILE__, __LINE__, got_, expected_, #got); \
            _exit(1);                                                                                   \
        }                                                                                               \
    } while (0)

#define OK(call) EXPECT(0, call)

/* A path below the mount, in memory that the sixteenth call from now uses again. */
const char *path_in_mount(const char *name);
extern const char *mount_point;

void new_iov(struct hf3fs_iov *iov, size_t size);
void new_ring(struct hf3fs_ior *ring, int entries, bool read, int io_depth);
/* A new file with that many bytes of a pattern, opened and registered. */
int new_file(const char *name, size_t bytes, int flags);
void end_file(int fd);
uint8_t pattern(size_t at);
void fill(uint8_t *memory, size_t bytes, size_t from);
bool is_filled(const uint8_t *memory, size_t bytes, size_t from);

/* One entry; userdata is its number. */
int prepare(struct hf3fs_ior *ring, struct hf3fs_iov *iov, size_t at, int fd, size_t offset, size_t bytes,
            uintptr_t number);
/* At least that many completions within ten seconds, or the test fails. */
int wait_for(struct hf3fs_ior *ring, struct hf3fs_cqe *cqes, int most, int least);
/* What has completed within that time. */
int wait_ms(struct hf3fs_ior *ring, struct hf3fs_cqe *cqes, int most, int least, long milliseconds);
/* One entry from beginning to end, and its result. */
int64_t one(struct hf3fs_ior *ring, struct hf3fs_iov *iov, size_t at, int fd, size_t offset, size_t bytes);
struct timespec in_ms(long milliseconds);
void in_thread(void *(*body)(void *), void *argument);
uint64_t count(int what);

struct test {
    const char *name;
    void (*body)(void);
    const char *broken_rule; /* part of what it says before it aborts; NULL: the test returns */
    const char *environment; /* "NAME=value NAME=value" */
};

extern const struct test making_tests[], file_tests[], ring_tests[], order_tests[], hole_tests[], fault_tests[],
    death_tests[], rule_tests[], speed_tests[];

#endif
