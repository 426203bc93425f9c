/* NIXL's POSIX plugin, as its own users drive it: agent, backend, registrations and prepared descriptor lists are made
 * once, a request is made, posted, polled and released for every batch. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "nixl_capi.h"
#include "slot_files.h"

typedef struct {
    shape_t shape;
    slot_files_t files;
    char agent_name[32];
    nixl_agent_t agent;
    nixl_backend_t backend;
    nixl_opt_args_t arguments;
    nixl_reg_dlist_t registered_memory, registered_files;
    nixl_prepped_t memory, slots;
    int *memory_indices, *slot_indices;
} nixl_t;

/* Loaded once: NIXL's library does not like to be unloaded. */
static nixl_capi_t capi;
static bool capi_loaded;

static int check(const char *what, int status)
{
    return status == NIXL_SUCCESS ? 0 : fail("%s: NIXL status %d", what, status);
}

static int add_params(const command_t *command, nixl_params_t params)
{
    const char *const queue = command_text(command, "queue", "use_uring");
    const char *const ios = command_text(command, "ios_pool_size", NULL);
    const char *const kernel = command_text(command, "kernel_queue_size", NULL);

    if (check("params_add", capi.params_add(params, queue, "true")) != 0)
        return -1;
    if (ios != NULL && check("params_add", capi.params_add(params, "ios_pool_size", ios)) != 0)
        return -1;
    if (kernel != NULL && check("params_add", capi.params_add(params, "kernel_queue_size", kernel)) != 0)
        return -1;
    return 0;
}

static int make_agent(nixl_t *self, const command_t *command)
{
    static unsigned opened;
    const nixl_agent_config_t config = {.num_workers = 1};
    nixl_params_t params = NULL;
    int failed;

    snprintf(self->agent_name, sizeof self->agent_name, "bench-%u", opened++);
    if (check("create_configured_agent", capi.create_configured_agent(self->agent_name, &config, &self->agent)) != 0 ||
        check("create_params", capi.create_params(&params)) != 0)
        return -1;
    failed = add_params(command, params) != 0 ||
             check("create_backend POSIX", capi.create_backend(self->agent, "POSIX", params, &self->backend)) != 0;
    capi.destroy_params(params);
    if (failed || check("create_opt_args", capi.create_opt_args(&self->arguments)) != 0 ||
        check("opt_args_add_backend", capi.opt_args_add_backend(self->arguments, self->backend)) != 0)
        return -1;
    return strcmp(command_text(command, "merge", "1"), "0") != 0
               ? 0
               : check("skip_desc_merge", capi.opt_args_set_skip_desc_merge(self->arguments, true));
}

/* Registers memory and slots, and prepares a descriptor for each object in memory and for each slot. */
static int prepare(nixl_t *self)
{
    const size_t batch = self->shape.memory_objects, slots = self->shape.live_objects;
    nixl_xfer_dlist_t memory = NULL, files = NULL;
    int failed;

    if (check("create_reg_dlist", capi.create_reg_dlist(NIXL_MEMORY_DRAM, &self->registered_memory)) != 0 ||
        check("create_reg_dlist", capi.create_reg_dlist(NIXL_MEMORY_FILE, &self->registered_files)) != 0 ||
        check("create_xfer_dlist", capi.create_xfer_dlist(NIXL_MEMORY_DRAM, &memory)) != 0 ||
        check("create_xfer_dlist", capi.create_xfer_dlist(NIXL_MEMORY_FILE, &files)) != 0)
        return -1;
    failed = check("reg_dlist_add_desc",
                   capi.reg_dlist_add_desc(self->registered_memory, (uintptr_t)self->shape.memory,
                                           self->shape.memory_bytes, 0, "", 0));
    for (size_t i = 0; i < batch && failed == 0; i++)
        failed = check("xfer_dlist_add_desc",
                       capi.xfer_dlist_add_desc(memory, (uintptr_t)self->shape.memory + i * self->shape.object_stride,
                                                self->shape.object_bytes, 0));
    for (size_t i = 0; i < self->files.file_count && failed == 0; i++)
        failed = check("reg_dlist_add_desc",
                       capi.reg_dlist_add_desc(self->registered_files, 0,
                                               self->shape.object_stride * (slots / self->files.file_count),
                                               (uint64_t)self->files.fds[i], "", 0));
    for (size_t i = 0; i < slots && failed == 0; i++)
        failed = check("xfer_dlist_add_desc",
                       capi.xfer_dlist_add_desc(files, (uintptr_t)slot_files_offset(&self->files, i),
                                                self->shape.object_bytes, (uint64_t)slot_files_fd(&self->files, i)));
    if (failed == 0)
        failed = check("register_mem", capi.register_mem(self->agent, self->registered_memory, self->arguments)) ||
                 check("register_mem", capi.register_mem(self->agent, self->registered_files, self->arguments)) ||
                 check("prep_xfer_dlist", capi.prep_xfer_dlist(self->agent, "", memory, &self->memory,
                                                               self->arguments)) ||
                 check("prep_xfer_dlist", capi.prep_xfer_dlist(self->agent, self->agent_name, files, &self->slots,
                                                               self->arguments));
    capi.destroy_xfer_dlist(memory);
    capi.destroy_xfer_dlist(files);
    return failed ? -1 : 0;
}

static int nixl_close(void *engine)
{
    nixl_t *const self = engine;

    if (self->slots != NULL)
        capi.release_xfer_dlist_handle(self->agent, self->slots);
    if (self->memory != NULL)
        capi.release_xfer_dlist_handle(self->agent, self->memory);
    if (self->registered_files != NULL) {
        capi.deregister_mem(self->agent, self->registered_files, self->arguments);
        capi.destroy_reg_dlist(self->registered_files);
    }
    if (self->registered_memory != NULL) {
        capi.deregister_mem(self->agent, self->registered_memory, self->arguments);
        capi.destroy_reg_dlist(self->registered_memory);
    }
    if (self->arguments != NULL)
        capi.destroy_opt_args(self->arguments);
    if (self->backend != NULL)
        capi.destroy_backend(self->backend);
    if (self->agent != NULL)
        capi.destroy_agent(self->agent);
    slot_files_close(&self->files);
    free(self->memory_indices);
    free(self->slot_indices);
    free(self);
    return 0;
}

static int nixl_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    const char *const directory = command_text(command, "directory", NULL);
    const char *const library = command_text(command, "library", NULL);
    const bool file_per_object = strcmp(command_text(command, "files", "slot"), "slot") == 0;
    const bool direct = strcmp(command_text(command, "direct", "1"), "0") != 0;
    nixl_t *self;

    if (directory == NULL || library == NULL)
        return fail("directory= and library= are needed: where the slots go, and libnixl_capi.so");
    if (!capi_loaded && nixl_capi_load(&capi, library) != 0)
        return -1;
    capi_loaded = true;
    self = calloc(1, sizeof *self);
    if (self == NULL)
        return fail("out of memory");
    self->shape = *shape;
    self->memory_indices = calloc(shape->memory_objects, sizeof *self->memory_indices);
    self->slot_indices = calloc(shape->memory_objects, sizeof *self->slot_indices);
    if (self->memory_indices == NULL || self->slot_indices == NULL)
        fail("out of memory");
    else if (slot_files_create(&self->files, directory, shape->live_objects, shape->object_stride, file_per_object,
                               direct) == 0 &&
             make_agent(self, command) == 0 && prepare(self) == 0) {
        *engine_out = self;
        return 0;
    }
    nixl_close(self);
    return -1;
}

static int transfer(nixl_t *self, const batch_t *batch, int operation)
{
    nixl_request_t request = NULL;
    int status;

    for (size_t i = 0; i < batch->count; i++) {
        const size_t at = (size_t)(batch->memory - self->shape.memory) / self->shape.object_stride + i;
        self->memory_indices[i] = (int)at;
        self->slot_indices[i] = (int)(batch->ids[i] % self->shape.live_objects);
    }
    status = capi.make_xfer_req(self->agent, operation, self->memory, self->memory_indices, batch->count, self->slots,
                                self->slot_indices, batch->count, &request, self->arguments);
    if (status != NIXL_SUCCESS)
        return check("make_xfer_req", status);
    status = capi.post_xfer_req(self->agent, request, NULL);
    /* Without a pause: NIXL makes progress only when it is asked, and nothing else is to be done here. */
    while (status == NIXL_IN_PROGRESS)
        status = capi.get_xfer_status(self->agent, request);
    capi.release_xfer_req(self->agent, request);
    capi.destroy_xfer_req(request);
    return check("transfer", status);
}

static int nixl_put(void *engine, const batch_t *batch)
{
    return transfer(engine, batch, NIXL_OPERATION_WRITE);
}

static int nixl_get(void *engine, const batch_t *batch)
{
    return transfer(engine, batch, NIXL_OPERATION_READ);
}

static void nixl_describe(void *engine)
{
    const nixl_t *const self = engine;

    printf(",\"files\":%zu", self->files.file_count);
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
