#include "storage.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 8
#define PIECE_BYTES ((size_t)1 << 20)

struct share {
    int file;
    unsigned char *memory;
    size_t bytes;
    bool write;
    atomic_size_t next; /* the first byte that nobody has taken yet */
};

static void die(const char *what, int error)
{
    fprintf(stderr, "bare storage: %s: %s\n", what, strerror(error));
    exit(1);
}

void storage_open(struct storage *storage, const char *folder, size_t bytes)
{
    char path[4096];
    int error;

    snprintf(path, sizeof path, "%s/bare.bin", folder);
    storage->file = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
    storage->direct = storage->file >= 0;
    if (!storage->direct)
        storage->file = open(path, O_RDWR | O_CREAT, 0600);
    if (storage->file < 0)
        die(path, errno);
    unlink(path);
    error = posix_fallocate(storage->file, 0, (off_t)bytes);
    if (error != 0)
        die(path, error);
}

void storage_close(struct storage *storage)
{
    close(storage->file);
}

static void *move(void *argument)
{
    struct share *const share = argument;
    size_t at;

    while ((at = atomic_fetch_add(&share->next, PIECE_BYTES)) < share->bytes) {
        const size_t wanted = share->bytes - at < PIECE_BYTES ? share->bytes - at : PIECE_BYTES;
        const ssize_t moved = share->write ? pwrite(share->file, share->memory + at, wanted, (off_t)at)
                                           : pread(share->file, share->memory + at, wanted, (off_t)at);
        if (moved != (ssize_t)wanted)
            die(share->write ? "a short write" : "a short read", moved < 0 ? errno : EIO);
    }
    return NULL;
}

void storage_move(const struct storage *storage, void *memory, size_t bytes, bool write)
{
    struct share share = {storage->file, memory, bytes, write, 0};
    pthread_t threads[THREADS];

    for (size_t index = 0; index < THREADS; index++) {
        const int error = pthread_create(&threads[index], NULL, move, &share);
        if (error != 0)
            die("a thread", error);
    }
    for (size_t index = 0; index < THREADS; index++)
        pthread_join(threads[index], NULL);
}
