/* Writes that a daemon carries out after its client was killed: kept in a file while they are held, played later.
 *
 * A record is a head, the name of the file, the bytes. */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC 0x6c6e6a7366336668ull

struct head {
    uint64_t magic, name_bytes, offset, bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int journal = -1;

EXPORT int standin_hf3fs_journal(const char *path)
{
    int fd = -1;
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (fd < 0)
            return -errno;
    }
    pthread_mutex_lock(&lock);
    int before = atomic_exchange(&journal, fd);
    pthread_mutex_unlock(&lock);
    if (before >= 0)
        close(before);
    return 0;
}

/* All of them, by as many calls as it takes. */
static void write_parts(int fd, struct iovec *parts, int count)
{
    while (count > 0) {
        ssize_t done = writev(fd, parts, count);
        RULE(done >= 0 || errno == EINTR, "the journal cannot be written: %s", strerror(errno));
        while (count > 0 && done >= (ssize_t)parts->iov_len) {
            done -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0 && done > 0) {
            parts->iov_base = (char *)parts->iov_base + done;
            parts->iov_len -= (size_t)done;
        }
    }
}

void journal_write(const struct entry *entry)
{
    char link[64], name[PATH_MAX];
    if (atomic_load(&journal) < 0)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", entry->file->dup_fd);
    ssize_t name_bytes = readlink(link, name, sizeof name - 1);
    RULE(name_bytes > 0, "file %d has no name", entry->file->fd);
    struct head head = {MAGIC, (uint64_t)name_bytes, entry->offset, entry->bytes};
    struct iovec parts[] = {{&head, sizeof head}, {name, (size_t)name_bytes}, {entry->memory, entry->bytes}};
    pthread_mutex_lock(&lock);
    int fd = atomic_load(&journal);
    if (fd >= 0)
        write_parts(fd, parts, 3);
    pthread_mutex_unlock(&lock);
}

/* 1: written, 0: the file is gone, else -errno. */
static int play(const char *name, const char *bytes, uint64_t count, uint64_t offset)
{
    int fd = open(name, O_WRONLY | O_CLOEXEC), answer = 1;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (uint64_t done = 0; done < count && answer == 1;) {
        ssize_t moved = pwrite(fd, bytes + done, count - done, (off_t)(offset + done));
        if (moved > 0)
            done += (uint64_t)moved;
        else if (moved == 0 || errno != EINTR)
            answer = moved == 0 ? -EIO : -errno;
    }
    close(fd);
    return answer;
}

static int64_t play_all(FILE *file, uint64_t entries)
{
    char name[PATH_MAX];
    int64_t written = 0;
    for (uint64_t i = 0; i < entries; i++) {
        struct head head;
        if (fread(&head, sizeof head, 1, file) != 1)
            break;
        if (head.magic != MAGIC || head.name_bytes >= sizeof name)
            return -EBADMSG;
        if (fread(name, 1, head.name_bytes, file) != head.name_bytes)
            break;
        name[head.name_bytes] = '\0';
        char *bytes = malloc(head.bytes);
        if (bytes == NULL)
            return -ENOMEM;
        bool is_whole = fread(bytes, 1, head.bytes, file) == head.bytes;
        int answer = is_whole ? play(name, bytes, head.bytes, head.offset) : 0;
        free(bytes);
        if (!is_whole || answer < 0)
            return is_whole ? answer : written;
        written += answer;
    }
    return written;
}

EXPORT int64_t standin_hf3fs_replay(const char *path, uint64_t entries)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    int64_t written = play_all(file, entries);
    fclose(file);
    return written;
}
