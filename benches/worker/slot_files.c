#include "slot_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"

static int allocate(slot_files_t *files, size_t count, size_t stride)
{
    files->fds = malloc(count * sizeof *files->fds);
    if (files->fds == NULL)
        return fail("out of memory");
    files->file_count = count;
    files->stride = stride;
    for (size_t i = 0; i < count; i++)
        files->fds[i] = -1;
    return 0;
}

int slot_files_create(slot_files_t *files, const char *directory, size_t objects, size_t stride, bool file_per_object,
                      bool direct)
{
    const size_t file_count = file_per_object ? objects : 1;

    if (allocate(files, file_count, stride) != 0)
        return -1;
    for (size_t i = 0; i < file_count; i++) {
        char path[PATH_MAX];
        int error;
        snprintf(path, sizeof path, "%s/slot-%zu.bin", directory, i);
        files->fds[i] = open(path, O_RDWR | O_CREAT | O_CLOEXEC | (direct ? O_DIRECT : 0), 0600);
        if (files->fds[i] < 0)
            return fail("cannot create %s: %s", path, strerror(errno));
        error = posix_fallocate(files->fds[i], 0, (off_t)(stride * (objects / file_count)));
        if (error != 0)
            return fail("cannot reserve space for %s: %s", path, strerror(error));
    }
    return 0;
}

int slot_files_open(slot_files_t *files, const char *paths, size_t stride, bool direct)
{
    size_t count = 1;
    char *copy, *rest = NULL;

    for (const char *at = paths; *at != '\0'; at++)
        count += *at == ':';
    copy = strdup(paths);
    if (copy == NULL || allocate(files, count, stride) != 0) {
        free(copy);
        return fail("out of memory");
    }
    count = 0;
    for (char *path = strtok_r(copy, ":", &rest); path != NULL; path = strtok_r(NULL, ":", &rest)) {
        files->fds[count] = open(path, O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0));
        if (files->fds[count] < 0) {
            fail("cannot open %s: %s", path, strerror(errno));
            free(copy);
            return -1;
        }
        count++;
    }
    free(copy);
    return 0;
}

int slot_files_fd(const slot_files_t *files, size_t slot)
{
    return files->fds[slot % files->file_count];
}

off_t slot_files_offset(const slot_files_t *files, size_t slot)
{
    return (off_t)(slot / files->file_count * files->stride);
}

void slot_files_close(slot_files_t *files)
{
    for (size_t i = 0; i < files->file_count; i++)
        if (files->fds[i] >= 0)
            close(files->fds[i]);
    free(files->fds);
    files->fds = NULL;
    files->file_count = 0;
}
