/* The part of 3FS's client library that bare USRBIO needs, loaded at run time. Layouts as in 3FS's hf3fs_usrbio.h. */
#ifndef BENCH_USRBIO_CAPI_H
#define BENCH_USRBIO_CAPI_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Memory that the daemon shares. */
typedef struct {
    uint8_t *base;
    void *handle;
    char id[16];
    char mount_point[256];
    size_t size;
    size_t block_size;
    int numa;
} usrbio_iov_t;

/* A ring. */
typedef struct {
    usrbio_iov_t memory;
    void *handle;
    char mount_point[256];
    bool for_read;
    int io_depth;
    int priority;
    int timeout;
    uint64_t flags;
} usrbio_ring_t;

/* A result: bytes moved, or a negative error number. */
typedef struct {
    int32_t index;
    int32_t reserved;
    int64_t result;
    const void *userdata;
} usrbio_result_t;

static_assert(sizeof(usrbio_iov_t) == 312 && sizeof(usrbio_ring_t) == 600 && sizeof(usrbio_result_t) == 24,
              "the layouts are part of the library's interface");

typedef struct {
    int (*iovcreate)(usrbio_iov_t *, const char *mount_point, size_t size, size_t block_size, int numa);
    void (*iovdestroy)(usrbio_iov_t *);
    int (*iorcreate4)(usrbio_ring_t *, const char *mount_point, int entries, bool for_read, int io_depth, int timeout,
                      int numa, uint64_t flags);
    void (*iordestroy)(usrbio_ring_t *);
    int (*reg_fd)(int fd, uint64_t flags);
    void (*dereg_fd)(int fd);
    int (*prep_io)(const usrbio_ring_t *, const usrbio_iov_t *, bool read, void *memory, int fd, size_t offset,
                   uint64_t length, const void *userdata);
    int (*submit_ios)(const usrbio_ring_t *);
    int (*wait_for_ios)(const usrbio_ring_t *, usrbio_result_t *, int results_max, int results_min,
                        const struct timespec *until);
} usrbio_capi_t;

/* 0, or -1 after fail(). The library stays loaded. */
int usrbio_capi_load(usrbio_capi_t *capi, const char *path);

#endif
