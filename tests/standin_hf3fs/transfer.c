/* One entry, carried out over a plain file by the descriptor that was duplicated when the file was registered. */

#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define GRANULE 4096u

/* How much of a range there is to read: up to the end of its last data. A hole that data follows in the range counts,
 * one that nothing follows does not. */
static uint64_t readable(struct registration *file, uint64_t offset, uint64_t bytes)
{
    int fd = registration_seek_fd(file);
    off_t at = (off_t)offset, end = (off_t)(offset + bytes), known = at;
    if (fd < 0)
        return bytes;
    /* Mostly the last byte is data, which one look tells; a look for the next hole may go through the whole file. */
    off_t last = lseek(fd, end - 1, SEEK_DATA);
    if (last == end - 1 || (last < 0 && errno != ENXIO))
        return bytes;
    for (;;) {
        off_t hole = lseek(fd, at, SEEK_HOLE);
        if (hole < 0)
            return errno == ENXIO ? (uint64_t)known - offset : bytes;
        if (hole > at)
            known = hole < end ? hole : end;
        if (hole >= end)
            return (uint64_t)known - offset;
        off_t data = lseek(fd, hole, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return bytes;
        if (data < 0 || data >= end)
            return (uint64_t)known - offset;
        at = data;
    }
}

static ssize_t once(int fd, bool read, uint8_t *memory, uint64_t bytes, uint64_t offset)
{
    ssize_t moved;
    do
        moved = read ? pread(fd, memory, bytes, (off_t)offset) : pwrite(fd, memory, bytes, (off_t)offset);
    while (moved < 0 && errno == EINTR);
    return moved;
}

/* Moves all of it. Less at the end of the file, -errno at an error: a write that is cut short by one is an error. */
static int64_t move(struct registration *file, bool read, uint8_t *memory, uint64_t bytes, uint64_t offset)
{
    /* 3FS knows no appending: pwrite would ignore the offset. */
    int fd = file->status & O_APPEND ? registration_plain_fd(file) : file->dup_fd;
    uint64_t done = 0;
    while (done < bytes) {
        ssize_t moved = once(fd, read, memory + done, bytes - done, offset + done);
        if (moved < 0 && errno == EINVAL && file->status & O_DIRECT && fd == file->dup_fd) {
            /* 3FS takes any alignment, a local file system does not. */
            fd = registration_plain_fd(file);
            continue;
        }
        if (moved < 0)
            return -errno;
        if (moved == 0)
            break;
        done += (uint64_t)moved;
    }
    return (int64_t)done;
}

void transfer(struct entry *entry, bool read)
{
    entry->moved = 0;
    entry->result = 0;
    /* In the order in which the daemon looks: file, memory, block. */
    if (entry->file == NULL || entry->iov == NULL) {
        entry->result = entry->file == NULL ? -EBADF : -EACCES;
        return;
    }
    uint64_t bytes = entry->bytes, within = (uint64_t)(entry->memory - entry->iov->base);
    uint64_t block = entry->iov->block_size;
    if (block != 0 && within / block != (within + bytes - 1) / block) {
        entry->result = -EINVAL;
        return;
    }
    if (entry->fault.kind == STANDIN_HF3FS_ERROR || entry->fault.kind == STANDIN_HF3FS_ZERO) {
        entry->result = entry->fault.kind == STANDIN_HF3FS_ERROR ? -entry->fault.code : 0;
        return;
    }
    if (entry->fault.kind == STANDIN_HF3FS_SHORT)
        bytes = bytes / 2 / GRANULE * GRANULE;
    if (read && !entry->file->on_mount)
        bytes = readable(entry->file, entry->offset, bytes);
    entry->result = move(entry->file, read, entry->memory, bytes, entry->offset);
    if (entry->result > 0)
        entry->moved = (uint64_t)entry->result;
    if (entry->fault.kind == STANDIN_HF3FS_LONG && entry->result >= 0)
        entry->result = (int64_t)entry->bytes + GRANULE;
}
