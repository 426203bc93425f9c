/* Bare storage: one file, read and written past the page cache by a few threads, as an upper bound for what goes through
 * it. */
#ifndef GPU_STORAGE_H
#define GPU_STORAGE_H

#include <stdbool.h>
#include <stddef.h>

struct storage {
    int file;
    bool direct; /* false: the file system has no O_DIRECT */
};

/* Opens FOLDER/bare.bin with `bytes` reserved; ends the program if that cannot be. */
void storage_open(struct storage *storage, const char *folder, size_t bytes);
void storage_close(struct storage *storage);

/* Writes or reads the first `bytes` from or to memory that is aligned to a page. */
void storage_move(const struct storage *storage, void *memory, size_t bytes, bool write);

#endif
