/* Preallocated files with places for objects, for the engines that have none of their own: a file for each object, or
 * one file with all of them. */
#ifndef BENCH_SLOT_FILES_H
#define BENCH_SLOT_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct {
    int *fds;
    size_t file_count;
    size_t stride; /* bytes from one object of a file to the next */
} slot_files_t;

/* Creates the files in `directory`, which has to exist. */
int slot_files_create(slot_files_t *files, const char *directory, size_t objects, size_t stride, bool file_per_object,
                      bool direct);

/* Opens files that are there, for reading; `paths` has colons between them. */
int slot_files_open(slot_files_t *files, const char *paths, size_t stride, bool direct);

int slot_files_fd(const slot_files_t *files, size_t slot);
off_t slot_files_offset(const slot_files_t *files, size_t slot);
void slot_files_close(slot_files_t *files);

#endif
