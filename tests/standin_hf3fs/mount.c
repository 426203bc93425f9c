/* What is 3FS: files that answer its ioctl, and directories that pass for a mount of it. */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNTS_BYTES 4096
#define PUNCHES_MAX 1000

static pthread_mutex_t mounts_lock = PTHREAD_MUTEX_INITIALIZER;
static char mounts_given[MOUNTS_BYTES];
static bool mounts_are_given;

EXPORT int standin_hf3fs_mount(const char *directories)
{
    if (directories != NULL && strlen(directories) >= MOUNTS_BYTES)
        return -ENAMETOOLONG;
    pthread_mutex_lock(&mounts_lock);
    mounts_are_given = directories != NULL;
    strcpy(mounts_given, directories != NULL ? directories : "");
    pthread_mutex_unlock(&mounts_lock);
    return 0;
}

static void mounts_copy(char copy[MOUNTS_BYTES])
{
    pthread_mutex_lock(&mounts_lock);
    const char *from = mounts_are_given ? mounts_given : getenv("STANDIN_HF3FS_MOUNT");
    snprintf(copy, MOUNTS_BYTES, "%s", from != NULL ? from : "");
    pthread_mutex_unlock(&mounts_lock);
}

/* Whether the path is that directory or lies below it, by whole names. */
static bool is_below(const char *directory, const char *path)
{
    size_t bytes = strlen(directory);
    if (strcmp(directory, "/") == 0)
        return true;
    return strncmp(directory, path, bytes) == 0 && (path[bytes] == '\0' || path[bytes] == '/');
}

/* The longest of the directories that pass for mounts and that the path lies below; "" for none. */
static void mount_of(const char *path, char mount[PATH_MAX])
{
    char copy[MOUNTS_BYTES], resolved[PATH_MAX], *rest;
    mounts_copy(copy);
    *mount = '\0';
    for (char *one = strtok_r(copy, ":", &rest); one != NULL; one = strtok_r(NULL, ":", &rest))
        if (realpath(one, resolved) != NULL && is_below(resolved, path) && strlen(resolved) > strlen(mount))
            strcpy(mount, resolved);
}

bool mount_is_above(const char *resolved)
{
    char mount[PATH_MAX];
    mount_of(resolved, mount);
    return *mount != '\0';
}

bool mount_passes(const char *mount_point)
{
    char resolved[PATH_MAX], mount[PATH_MAX];
    if (realpath(mount_point, resolved) == NULL)
        return false;
    mount_of(resolved, mount);
    return strcmp(resolved, mount) == 0;
}

bool mount_answers(int fd)
{
    uint32_t magic = 0;
    return ioctl(fd, HF3FS_IOC_GET_MAGIC, &magic) == 0 && magic == HF3FS_SUPER_MAGIC;
}

EXPORT bool hf3fs_is_hf3fs(int fd)
{
    char link[64], path[PATH_MAX];
    if (daemon_now() == 0)
        return false;
    if (mount_answers(fd))
        return true;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes <= 0)
        return false;
    path[bytes] = '\0';
    return mount_is_above(path);
}

/* Mounts that the kernel knows: of type fuse.hf3fs, unless any type will do, and with a folder 3fs-virt, which may be
 * mounted by itself. Takes `best` further where one is longer. */
static void kernel_mount_of(const char *path, char best[PATH_MAX])
{
    const char *any = getenv("HF3FS_USRBIO_DONT_CHECKFS_FOR_MP");
    bool any_type = any != NULL && strcmp(any, "yes") == 0;
    char line[8192], at[4096], type[256], virtual[PATH_MAX + 16];
    FILE *file = fopen("/proc/self/mountinfo", "r");
    RULE(file != NULL, "mountinfo cannot be read");
    while (fgets(line, sizeof line, file) != NULL) {
        const char *dash = strstr(line, " - ");
        if (dash == NULL || sscanf(line, "%*s %*s %*s %*s %4095s", at) != 1 || sscanf(dash + 3, "%255s", type) != 1)
            continue;
        if (!any_type && strcmp(type, "fuse.hf3fs") != 0)
            continue;
        char *last = strrchr(at, '/');
        snprintf(virtual, sizeof virtual, "%s/3fs-virt", at);
        if (last != NULL && strcmp(last, "/3fs-virt") == 0)
            *last = '\0';
        else if (access(virtual, F_OK) != 0)
            continue;
        if (*at != '\0' && is_below(at, path) && strlen(at) > strlen(best))
            strcpy(best, at);
    }
    fclose(file);
}

EXPORT int hf3fs_extract_mount_point(char *mount_point, int size, const char *path)
{
    char resolved[PATH_MAX], best[PATH_MAX], virtual[PATH_MAX + 16];
    RULE(path != NULL && realpath(path, resolved) != NULL, "asked about %s, which is not there", path ? path : "NULL");
    mount_of(resolved, best);
    snprintf(virtual, sizeof virtual, "%s/3fs-virt", best);
    if (access(virtual, F_OK) != 0)
        *best = '\0';
    kernel_mount_of(resolved, best);
    if (*best == '\0')
        return -1;
    if ((int)strlen(best) < size)
        strcpy(mount_point, best);
    return (int)strlen(best) + 1;
}

EXPORT int hf3fs_hardlink(const char *target, const char *link_name)
{
    int fd = open(target, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    int error = !hf3fs_is_hf3fs(fd) ? ENOTTY : link(target, link_name) != 0 ? errno : 0;
    close(fd);
    return error;
}

EXPORT int hf3fs_punchhole(int fd, int n, const size_t *start, const size_t *end, size_t flags)
{
    (void)flags;
    RULE(n >= 0 && n <= PUNCHES_MAX, "%d ranges overrun an array of %d", n, PUNCHES_MAX);
    if (!hf3fs_is_hf3fs(fd))
        return fcntl(fd, F_GETFL) < 0 ? EBADF : ENOTTY;
    for (int i = 0; i < n; i++) {
        RULE(start[i] < end[i], "a range of no length");
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start[i], (off_t)(end[i] - start[i])) != 0)
            return errno;
    }
    return 0;
}
