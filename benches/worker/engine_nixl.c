/* NIXL's plugins for files, on files with a place for each object: POSIX, GDS or GDS_MT. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "nixl_agent.h"
#include "slot_files.h"

typedef struct {
    nixl_agent_state_t agent;
    slot_files_t files;
} nixl_t;

static int nixl_close(void *engine)
{
    nixl_t *const self = engine;

    nixl_agent_end(&self->agent);
    slot_files_close(&self->files);
    free(self);
    return 0;
}

static int begin(nixl_t *self, const command_t *command, const shape_t *shape)
{
    const bool merge = strcmp(command_text(command, "merge", "1"), "0") != 0;
    const char *const plugin = command_text(command, "plugin", "POSIX");

    if (nixl_agent_begin(&self->agent, command_text(command, "library", NULL), shape) != 0)
        return -1;
    if (strcmp(plugin, "POSIX") != 0) {
        /* cuFile has threads of its own. */
        self->agent.pauses = true;
        return nixl_agent_backend(&self->agent, plugin, NIXL_MEMORY_FILE, merge);
    }
    if (nixl_agent_param(&self->agent, command_text(command, "queue", "use_uring"), "true") != 0 ||
        nixl_agent_param(&self->agent, "ios_pool_size", command_text(command, "ios_pool_size", NULL)) != 0 ||
        nixl_agent_param(&self->agent, "kernel_queue_size", command_text(command, "kernel_queue_size", NULL)) != 0)
        return -1;
    return nixl_agent_backend(&self->agent, plugin, NIXL_MEMORY_FILE, merge);
}

/* Registers the files, and prepares a descriptor for each slot. */
static int prepare(nixl_t *self, const shape_t *shape)
{
    const size_t file_bytes = shape->object_stride * (shape->live_objects / self->files.file_count);

    for (size_t i = 0; i < self->files.file_count; i++)
        if (nixl_agent_place(&self->agent, (uint64_t)self->files.fds[i], file_bytes, "") != 0)
            return -1;
    for (size_t i = 0; i < shape->live_objects; i++)
        if (nixl_agent_slot(&self->agent, (uint64_t)slot_files_fd(&self->files, i),
                            (uintptr_t)slot_files_offset(&self->files, i)) != 0)
            return -1;
    return nixl_agent_ready(&self->agent);
}

static int nixl_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    const char *const directory = command_text(command, "directory", NULL);
    const bool file_per_object = strcmp(command_text(command, "files", "slot"), "slot") == 0;
    const bool direct = strcmp(command_text(command, "direct", "1"), "0") != 0;
    nixl_t *self;

    if (directory == NULL)
        return fail("directory= is needed: where the slots go");
    self = calloc(1, sizeof *self);
    if (self == NULL)
        return fail("out of memory");
    if (slot_files_create(&self->files, directory, shape->live_objects, shape->object_stride, file_per_object,
                          direct) == 0 &&
        begin(self, command, shape) == 0 && prepare(self, shape) == 0) {
        *engine_out = self;
        return 0;
    }
    nixl_close(self);
    return -1;
}

static int nixl_put(void *engine, const batch_t *batch)
{
    return nixl_agent_transfer(&((nixl_t *)engine)->agent, batch, NIXL_OPERATION_WRITE);
}

static int nixl_get(void *engine, const batch_t *batch)
{
    return nixl_agent_transfer(&((nixl_t *)engine)->agent, batch, NIXL_OPERATION_READ);
}

static void nixl_describe(void *engine)
{
    const nixl_t *const self = engine;

    fprintf(json, ",\"files\":%zu", self->files.file_count);
}

const engine_ops_t engine_nixl = {
    .name = "nixl",
    .open = nixl_open,
    .put = nixl_put,
    .get = nixl_get,
    .put_one = nixl_put,
    .get_one = nixl_get,
    .describe = nixl_describe,
    .close = nixl_close,
};
