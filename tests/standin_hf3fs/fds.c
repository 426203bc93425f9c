/* Registered files. A registration is found by the number that was registered and by that of its duplicate; it stays,
 * and keeps the old file, when the number is closed under it. */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define NUMBERS_MAX (1u << 20)

static struct registration *_Atomic *table;
static unsigned numbers;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* As many as the hard limit allows, as the genuine library, which asks once when it is loaded. */
static __attribute__((constructor)) void make_table(void)
{
    struct rlimit limit;
    RULE(getrlimit(RLIMIT_NOFILE, &limit) == 0, "no limit of open files");
    numbers = limit.rlim_max < NUMBERS_MAX ? (unsigned)limit.rlim_max : NUMBERS_MAX;
    table = calloc(numbers, sizeof *table);
    RULE(table != NULL, "out of memory");
}

struct registration *registration_find(int number)
{
    if (number < 0)
        number = -number;
    return number >= 0 && (unsigned)number < numbers ? atomic_load(&table[number]) : NULL;
}

void registration_check(const struct registration *file, const char *function)
{
    struct stat stat;
    if (fstat(file->fd, &stat) != 0)
        rule_broken(function, "file %d was closed before it was deregistered", file->fd);
    if (stat.st_dev != file->device || stat.st_ino != file->inode)
        rule_broken(function, "file %d was closed before it was deregistered, and is another one now", file->fd);
}

/* Opens the file once more, whatever its name is now; -1 where that cannot be. */
static int open_again(struct registration *file, atomic_int *kept, int flags)
{
    char path[64];
    int none = -1, fd = atomic_load(kept);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file->dup_fd);
    fd = open(path, flags | O_CLOEXEC);
    if (fd >= 0 && !atomic_compare_exchange_strong(kept, &none, fd)) {
        close(fd);
        fd = none;
    }
    return fd;
}

int registration_seek_fd(struct registration *file)
{
    return open_again(file, &file->seek_fd, O_RDONLY);
}

int registration_plain_fd(struct registration *file)
{
    return open_again(file, &file->plain_fd, file->status & O_ACCMODE);
}

static int register_file(int fd)
{
    struct stat stat;
    if (registration_find(fd) != NULL)
        return EINVAL;
    if (fstat(fd, &stat) != 0)
        return errno;
    int dup_fd = dup(fd);
    if (dup_fd < 0)
        return errno;
    struct registration *file = NULL;
    if (registration_find(dup_fd) == NULL && (unsigned)dup_fd < numbers)
        file = calloc(1, sizeof *file);
    if (file == NULL) {
        close(dup_fd);
        return EINVAL;
    }
    file->fd = fd;
    file->dup_fd = dup_fd;
    file->status = fcntl(fd, F_GETFL);
    file->device = stat.st_dev;
    file->inode = stat.st_ino;
    file->daemon = daemon_now();
    file->on_mount = mount_answers(fd);
    atomic_init(&file->seek_fd, -1);
    atomic_init(&file->plain_fd, -1);
    atomic_store(&table[fd], file);
    atomic_store(&table[dup_fd], file);
    count_add(STANDIN_HF3FS_FDS_REGISTERED, 1);
    count_add(STANDIN_HF3FS_FDS_LIVE, 1);
    return -dup_fd;
}

EXPORT int hf3fs_reg_fd(int fd, uint64_t flags)
{
    (void)flags;
    int failure = failure_due(STANDIN_HF3FS_REG_FD);
    if (failure != 0)
        return failure;
    if (fd < 0 || (unsigned)fd >= numbers || !hf3fs_is_hf3fs(fd))
        return EBADF;
    pthread_mutex_lock(&table_lock);
    int answer = register_file(fd);
    pthread_mutex_unlock(&table_lock);
    return answer;
}

EXPORT void hf3fs_dereg_fd(int fd)
{
    /* The ioctl fails on files of a dead daemon, and the registration stays. */
    if (daemon_now() == 0)
        return;
    pthread_mutex_lock(&table_lock);
    struct registration *file = fd < 0 ? NULL : registration_find(fd);
    RULE(file != NULL, "file %d is not registered", fd);
    RULE(file->fd == fd, "file %d was deregistered by the number of its duplicate, %d", file->fd, fd);
    registration_check(file, __func__);
    uint64_t under_way = atomic_load(&file->under_way);
    RULE(under_way == 0 || file->daemon != daemon_now(), "file %d was deregistered with %llu entries under way", fd,
         (unsigned long long)under_way);
    atomic_store(&table[file->fd], NULL);
    atomic_store(&table[file->dup_fd], NULL);
    pthread_mutex_unlock(&table_lock);
    close(file->dup_fd);
    if (atomic_load(&file->seek_fd) >= 0)
        close(atomic_load(&file->seek_fd));
    if (atomic_load(&file->plain_fd) >= 0)
        close(atomic_load(&file->plain_fd));
    free(file);
    count_add(STANDIN_HF3FS_FDS_LIVE, -1);
}
