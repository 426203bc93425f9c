/* Memory shared with the daemon: a file in /dev/shm, and a link in the mount that names it to the daemon. Handles are
 * numbers that point nowhere and are never given twice, so that what was destroyed is known as such. */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define MEMORIES_MAX 8192u
#define MOUNTS_MAX 64
#define UUID_BYTES 37

static struct memory memories[MEMORIES_MAX];
static uint64_t handles_given;
static struct {
    char path[256];
    int fd;
} mounts[MOUNTS_MAX];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

static void uuid_random(char id[16])
{
    RULE(getrandom(id, 16, 0) == 16, "no random bytes");
    id[6] = (char)((id[6] & 0x0f) | 0x40);
    id[8] = (char)((id[8] & 0x3f) | 0x80);
}

static void uuid_text(const char id[16], char text[UUID_BYTES])
{
    for (int i = 0, at = 0; i < 16; i++)
        at += sprintf(text + at, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", (unsigned char)id[i]);
}

/* A slot of the table, not yet alive. */
static struct memory *memory_take(void)
{
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&memories[i].handle, &none, UINT64_MAX))
            return &memories[i];
    }
    rule_broken(__func__, "more than %u iovs and rings live", MEMORIES_MAX);
}

static void memory_give(struct hf3fs_iov *iov, struct memory *memory, const char *mount_point)
{
    atomic_store(&memory->under_way, 0);
    memory->thread = thread_id();
    memory->daemon = daemon_now();
    pthread_mutex_lock(&table_lock);
    uint64_t handle = ++handles_given * MEMORIES_MAX + (uint64_t)(memory - memories);
    pthread_mutex_unlock(&table_lock);
    iov->base = memory->base;
    iov->iovh = (void *)(uintptr_t)handle;
    memcpy(iov->id, memory->id, sizeof iov->id);
    strcpy(iov->mount_point, mount_point);
    iov->size = memory->size;
    atomic_store_explicit(&memory->handle, handle, memory_order_release);
}

static struct memory *memory_of(const void *handle)
{
    uint64_t number = (uint64_t)(uintptr_t)handle;
    struct memory *memory = &memories[number % MEMORIES_MAX];
    return number != 0 && atomic_load_explicit(&memory->handle, memory_order_acquire) == number ? memory : NULL;
}

struct memory *memory_find(const struct hf3fs_iov *iov, const char *function)
{
    if (iov->iovh != NULL) {
        struct memory *memory = memory_of(iov->iovh);
        if (memory == NULL)
            rule_broken(function, "an iov was used that was destroyed or never made");
        if (iov->base != memory->base || iov->size != memory->size || memcmp(iov->id, memory->id, 16) != 0)
            rule_broken(function, "an iov was changed after it was made");
        return memory;
    }
    for (unsigned i = 0; i < MEMORIES_MAX; i++) {
        uint64_t handle = atomic_load_explicit(&memories[i].handle, memory_order_acquire);
        if (handle != 0 && handle != UINT64_MAX && memcmp(memories[i].id, iov->id, 16) == 0)
            return &memories[i];
    }
    return NULL;
}

/* The first to make something in a mount opens it, and keeps it open, across exec too. */
static void open_mount(const char *mount_point)
{
    char path[LINK_BYTES];
    pthread_mutex_lock(&table_lock);
    int at = 0;
    while (at < MOUNTS_MAX && *mounts[at].path != '\0' && strcmp(mounts[at].path, mount_point) != 0)
        at++;
    if (at < MOUNTS_MAX && *mounts[at].path == '\0') {
        snprintf(path, sizeof path, "%s/3fs-virt/iovs", mount_point);
        snprintf(mounts[at].path, sizeof mounts[at].path, "%s", mount_point);
        mounts[at].fd = open(path, O_RDONLY | O_DIRECTORY);
    }
    pthread_mutex_unlock(&table_lock);
}

static uint8_t *map(const char *shm, size_t size, int flags)
{
    int fd = open(shm, flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0)
        return NULL;
    void *base = MAP_FAILED;
    if (!(flags & O_CREAT) || ftruncate(fd, (off_t)size) == 0)
        base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (base == MAP_FAILED && (flags & O_CREAT))
        unlink(shm);
    return base == MAP_FAILED ? NULL : base;
}

static void check_sizes(size_t size, size_t block_size, const char *function)
{
    if (size == 0)
        rule_broken(function, "an iov of size 0");
    if (block_size > (size_t)SSIZE_MAX)
        rule_broken(function, "a negative block_size");
    if (block_size > size)
        rule_broken(function, "a block_size of %zu for %zu bytes", block_size, size);
}

static void link_name(char link[LINK_BYTES], const char *mount_point, const char id[16], size_t block_size,
                      const char *suffix)
{
    char uuid[UUID_BYTES], block[32] = "";
    uuid_text(id, uuid);
    if (block_size != 0)
        snprintf(block, sizeof block, ".b%zu", block_size);
    snprintf(link, LINK_BYTES, "%s/3fs-virt/iovs/%s%s%s", mount_point, uuid, block, suffix);
}

int memory_make(struct hf3fs_iov *iov, const char *mount_point, size_t size, size_t block_size, int numa,
                const char *suffix, bool of_ring, const char *function)
{
    char name_id[16], name[UUID_BYTES], shm[SHM_BYTES];
    if (iov == NULL || mount_point == NULL || strlen(mount_point) >= sizeof iov->mount_point)
        return -EINVAL;
    check_sizes(size, block_size, function);
    if (daemon_now() == 0)
        return -ENOTCONN;
    uuid_random(name_id);
    uuid_text(name_id, name);
    snprintf(shm, sizeof shm, "/dev/shm/hf3fs-iov-%s", name);
    uint8_t *base = map(shm, size, O_CREAT | O_EXCL);
    if (base == NULL)
        return -EIO;
    struct memory *memory = memory_take();
    uuid_random(memory->id);
    link_name(memory->link, mount_point, memory->id, block_size, suffix);
    if (symlink(shm, memory->link) != 0) {
        int error = errno;
        munmap(base, size);
        unlink(shm);
        atomic_store(&memory->handle, 0);
        return -error;
    }
    if (of_ring)
        unlink(shm);
    strcpy(memory->shm, of_ring ? "" : shm);
    memory->base = base;
    memory->size = size;
    memory->block_size = block_size;
    memory->of_ring = of_ring;
    iov->block_size = block_size;
    iov->numa = numa;
    memory_give(iov, memory, mount_point);
    open_mount(mount_point);
    return 0;
}

void memory_end(struct hf3fs_iov *iov, bool unlinks, const char *function)
{
    struct memory *memory = memory_of(iov->iovh);
    if (memory == NULL)
        rule_broken(function, "what is destroyed was wrapped, was destroyed already or was never made");
    uint64_t under_way = atomic_load(&memory->under_way);
    if (memory->thread != thread_id())
        rule_broken(function, "made by thread %ld, and destroyed by another", memory->thread);
    if (under_way != 0 && memory->daemon == daemon_now())
        rule_broken(function, "destroyed with %llu entries under way", (unsigned long long)under_way);
    uint64_t alive = (uint64_t)(uintptr_t)iov->iovh;
    if (!atomic_compare_exchange_strong(&memory->handle, &alive, UINT64_MAX))
        rule_broken(function, "destroyed twice");
    if (unlinks)
        unlink(memory->link);
    if (*memory->shm != '\0')
        unlink(memory->shm);
    munmap(memory->base, memory->size);
    iov->iovh = NULL;
    atomic_store(&memory->handle, 0);
}

EXPORT int hf3fs_iovcreate(struct hf3fs_iov *iov, const char *mount_point, size_t size, size_t block_size, int numa)
{
    int failure = failure_due(STANDIN_HF3FS_IOVCREATE);
    int answer = failure != 0 ? -failure : memory_make(iov, mount_point, size, block_size, numa, "", false, __func__);
    if (answer == 0) {
        count_add(STANDIN_HF3FS_IOVS_MADE, 1);
        count_add(STANDIN_HF3FS_IOVS_LIVE, 1);
    }
    return answer;
}

EXPORT int hf3fs_iovopen(struct hf3fs_iov *iov, const uint8_t id[16], const char *mount_point, size_t size,
                         size_t block_size, int numa)
{
    char link[LINK_BYTES], shm[PATH_MAX];
    RULE(iov != NULL && strlen(mount_point) < sizeof iov->mount_point, "no iov, or a mount point too long");
    check_sizes(size, block_size, __func__);
    link_name(link, mount_point, (const char *)id, block_size, "");
    if (realpath(link, shm) == NULL)
        return -errno;
    if (strncmp(shm, "/dev/shm", 8) != 0)
        return -EINVAL;
    uint8_t *base = map(shm, size, 0);
    if (base == NULL)
        return -EIO;
    struct memory *memory = memory_take();
    memcpy(memory->id, id, 16);
    strcpy(memory->link, link);
    *memory->shm = '\0';
    memory->base = base;
    memory->size = size;
    memory->block_size = block_size;
    memory->of_ring = false;
    iov->block_size = block_size;
    iov->numa = numa;
    memory_give(iov, memory, mount_point);
    count_add(STANDIN_HF3FS_IOVS_MADE, 1);
    count_add(STANDIN_HF3FS_IOVS_LIVE, 1);
    return 0;
}

EXPORT void hf3fs_iovunlink(struct hf3fs_iov *iov)
{
    struct memory *memory = iov != NULL ? memory_of(iov->iovh) : NULL;
    RULE(memory != NULL, "an iov was unlinked that was wrapped, was destroyed or was never made");
    if (*memory->shm != '\0')
        unlink(memory->shm);
}

EXPORT void hf3fs_iovdestroy(struct hf3fs_iov *iov)
{
    if (iov == NULL)
        return;
    struct memory *memory = memory_of(iov->iovh);
    RULE(memory == NULL || !memory->of_ring, "the memory of a ring was destroyed, and not the ring");
    memory_end(iov, true, __func__);
    count_add(STANDIN_HF3FS_IOVS_LIVE, -1);
}

EXPORT int hf3fs_iovwrap(struct hf3fs_iov *iov, void *base, const uint8_t id[16], const char *mount_point, size_t size,
                         size_t block_size, int numa)
{
    if (iov == NULL || strlen(mount_point) >= sizeof iov->mount_point)
        return -EINVAL;
    check_sizes(size, block_size, __func__);
    iov->base = base;
    iov->iovh = NULL;
    memcpy(iov->id, id, sizeof iov->id);
    strcpy(iov->mount_point, mount_point);
    iov->size = size;
    iov->block_size = block_size;
    iov->numa = numa;
    return 0;
}
