/* The interface that the stand-in offers, as hf3fs_usrbio.h of 3FS declares it: same names, same layouts. */

#ifndef STANDIN_HF3FS_API_H
#define STANDIN_HF3FS_API_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define HF3FS_SUPER_MAGIC 0x8f3f5fffu
/* The ioctl that asks a file for the number above. */
#define HF3FS_IOC_GET_MAGIC 0x80046802ul

struct hf3fs_iov {
    uint8_t *base;
    void *iovh;
    char id[16];
    char mount_point[256];
    size_t size;
    size_t block_size;
    int numa;
};

struct hf3fs_ior {
    struct hf3fs_iov iov;
    void *iorh;
    char mount_point[256];
    bool for_read;
    int io_depth;
    int priority;
    int timeout;
    uint64_t flags;
};

struct hf3fs_cqe {
    int32_t index;
    int32_t reserved;
    int64_t result;
    const void *userdata;
};

#define AT(type, member, offset) static_assert(offsetof(struct type, member) == (offset), #type "." #member)
AT(hf3fs_iov, base, 0);
AT(hf3fs_iov, iovh, 8);
AT(hf3fs_iov, id, 16);
AT(hf3fs_iov, mount_point, 32);
AT(hf3fs_iov, size, 288);
AT(hf3fs_iov, block_size, 296);
AT(hf3fs_iov, numa, 304);
static_assert(sizeof(struct hf3fs_iov) == 312, "hf3fs_iov");
AT(hf3fs_ior, iov, 0);
AT(hf3fs_ior, iorh, 312);
AT(hf3fs_ior, mount_point, 320);
AT(hf3fs_ior, for_read, 576);
AT(hf3fs_ior, io_depth, 580);
AT(hf3fs_ior, priority, 584);
AT(hf3fs_ior, timeout, 588);
AT(hf3fs_ior, flags, 592);
static_assert(sizeof(struct hf3fs_ior) == 600, "hf3fs_ior");
AT(hf3fs_cqe, index, 0);
AT(hf3fs_cqe, result, 8);
AT(hf3fs_cqe, userdata, 16);
static_assert(sizeof(struct hf3fs_cqe) == 24, "hf3fs_cqe");
#undef AT

bool hf3fs_is_hf3fs(int fd);
int hf3fs_extract_mount_point(char *mount_point, int size, const char *path);

int hf3fs_iovcreate(struct hf3fs_iov *iov, const char *mount_point, size_t size, size_t block_size, int numa);
int hf3fs_iovopen(struct hf3fs_iov *iov, const uint8_t id[16], const char *mount_point, size_t size,
                  size_t block_size, int numa);
void hf3fs_iovunlink(struct hf3fs_iov *iov);
void hf3fs_iovdestroy(struct hf3fs_iov *iov);
int hf3fs_iovwrap(struct hf3fs_iov *iov, void *base, const uint8_t id[16], const char *mount_point, size_t size,
                  size_t block_size, int numa);

size_t hf3fs_ior_size(int entries);
int hf3fs_iorcreate(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                    int numa);
int hf3fs_iorcreate2(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                     int priority, int numa);
int hf3fs_iorcreate3(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                     int priority, int timeout, int numa);
int hf3fs_iorcreate4(struct hf3fs_ior *ior, const char *mount_point, int entries, bool for_read, int io_depth,
                     int timeout, int numa, uint64_t flags);
void hf3fs_iordestroy(struct hf3fs_ior *ior);

int hf3fs_reg_fd(int fd, uint64_t flags);
void hf3fs_dereg_fd(int fd);

int hf3fs_io_entries(const struct hf3fs_ior *ior);
int hf3fs_prep_io(const struct hf3fs_ior *ior, const struct hf3fs_iov *iov, bool read, void *ptr, int fd, size_t off,
                  uint64_t len, const void *userdata);
int hf3fs_submit_ios(const struct hf3fs_ior *ior);
int hf3fs_wait_for_ios(const struct hf3fs_ior *ior, struct hf3fs_cqe *cqes, int cqec, int min_results,
                       const struct timespec *abs_timeout);

int hf3fs_hardlink(const char *target, const char *link_name);
int hf3fs_punchhole(int fd, int n, const size_t *start, const size_t *end, size_t flags);

#endif
