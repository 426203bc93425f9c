/* One pread or pwrite after the other: what an engine without any library would do. */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "slot_files.h"

typedef struct {
    shape_t shape;
    slot_files_t files;
} pread_t;

static int pread_close(void *engine)
{
    pread_t *const self = engine;

    slot_files_close(&self->files);
    free(self);
    return 0;
}

/* With paths=, stride= the objects are those of files that another program wrote, else of an own file. */
static int pread_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    const char *const directory = command_text(command, "directory", NULL);
    const char *const paths = command_text(command, "paths", NULL);
    const bool direct = strcmp(command_text(command, "direct", "1"), "0") != 0;
    uint64_t stride;
    pread_t *self;
    int status;

    if (command_number(command, "stride", shape->object_stride, &stride) != 0)
        return -1;
    if ((directory == NULL) == (paths == NULL))
        return fail("either directory= or paths= is needed");
    self = calloc(1, sizeof *self);
    if (self == NULL)
        return fail("out of memory");
    self->shape = *shape;
    status = paths != NULL ? slot_files_open(&self->files, paths, stride, direct)
                           : slot_files_create(&self->files, directory, shape->live_objects, stride, false, direct);
    if (status != 0) {
        pread_close(self);
        return -1;
    }
    *engine_out = self;
    return 0;
}

static int move(const pread_t *self, uint64_t id, unsigned char *memory, bool write)
{
    const size_t slot = id % self->shape.live_objects;
    const int fd = slot_files_fd(&self->files, slot);
    const off_t offset = slot_files_offset(&self->files, slot);
    size_t done = 0;

    while (done < self->shape.object_bytes) {
        const size_t left = self->shape.object_bytes - done;
        const ssize_t moved = write ? pwrite(fd, memory + done, left, offset + (off_t)done)
                                    : pread(fd, memory + done, left, offset + (off_t)done);
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return fail("%s: %s", write ? "pwrite" : "pread", moved < 0 ? strerror(errno) : "end of file");
        done += (size_t)moved;
    }
    return 0;
}

static int move_all(const pread_t *self, const batch_t *batch, bool write)
{
    for (size_t i = 0; i < batch->count; i++)
        if (move(self, batch->ids[i], batch->memory + i * self->shape.object_stride, write) != 0)
            return -1;
    return 0;
}

static int pread_put(void *engine, const batch_t *batch)
{
    return move_all(engine, batch, true);
}

static int pread_get(void *engine, const batch_t *batch)
{
    return move_all(engine, batch, false);
}

const engine_ops_t engine_pread = {
    .name = "pread",
    .open = pread_open,
    .put = pread_put,
    .get = pread_get,
    .put_one = pread_put,
    .get_one = pread_get,
    .close = pread_close,
    .many_threads = true,
};
