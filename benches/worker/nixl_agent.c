#include "nixl_agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "fail.h"

#define PAUSE_S_MIN 100e-6
#define PAUSE_S_MAX 5e-3

/* Loaded once: NIXL's library does not like to be unloaded. */
static nixl_capi_t capi;
static bool capi_loaded;

static int check(const char *what, int status)
{
    return status == NIXL_SUCCESS ? 0 : fail("%s: NIXL status %d", what, status);
}

int nixl_agent_begin(nixl_agent_state_t *self, const char *library, const shape_t *shape)
{
    static unsigned opened;
    const nixl_agent_config_t config = {.num_workers = 1};

    memset(self, 0, sizeof *self);
    self->shape = *shape;
    if (library == NULL)
        return fail("library= is needed: the path of libnixl_capi.so");
    if (!capi_loaded && nixl_capi_load(&capi, library) != 0)
        return -1;
    capi_loaded = true;
    self->memory_indices = calloc(shape->memory_objects, sizeof *self->memory_indices);
    self->slot_indices = calloc(shape->memory_objects, sizeof *self->slot_indices);
    if (self->memory_indices == NULL || self->slot_indices == NULL)
        return fail("out of memory");
    snprintf(self->agent_name, sizeof self->agent_name, "bench-%u", opened++);
    if (check("create_configured_agent", capi.create_configured_agent(self->agent_name, &config, &self->agent)) != 0)
        return -1;
    return check("create_params", capi.create_params(&self->params));
}

int nixl_agent_param(nixl_agent_state_t *self, const char *name, const char *value)
{
    return value == NULL ? 0 : check("params_add", capi.params_add(self->params, name, value));
}

int nixl_agent_backend(nixl_agent_state_t *self, const char *backend, int storage_kind, bool merge)
{
    const size_t batch = self->shape.memory_objects;

    if (check("create_backend", capi.create_backend(self->agent, backend, self->params, &self->backend)) != 0 ||
        check("create_opt_args", capi.create_opt_args(&self->arguments)) != 0 ||
        check("opt_args_add_backend", capi.opt_args_add_backend(self->arguments, self->backend)) != 0 ||
        (!merge && check("skip_desc_merge", capi.opt_args_set_skip_desc_merge(self->arguments, true)) != 0) ||
        check("create_reg_dlist", capi.create_reg_dlist(NIXL_MEMORY_DRAM, &self->registered_memory)) != 0 ||
        check("create_reg_dlist", capi.create_reg_dlist(storage_kind, &self->registered_storage)) != 0 ||
        check("create_xfer_dlist", capi.create_xfer_dlist(NIXL_MEMORY_DRAM, &self->memory_list)) != 0 ||
        check("create_xfer_dlist", capi.create_xfer_dlist(storage_kind, &self->storage_list)) != 0 ||
        check("reg_dlist_add_desc",
              capi.reg_dlist_add_desc(self->registered_memory, (uintptr_t)self->shape.memory, self->shape.memory_bytes,
                                      0, "", 0)) != 0)
        return -1;
    for (size_t i = 0; i < batch; i++)
        if (check("xfer_dlist_add_desc",
                  capi.xfer_dlist_add_desc(self->memory_list,
                                           (uintptr_t)self->shape.memory + i * self->shape.object_stride,
                                           self->shape.object_bytes, 0)) != 0)
            return -1;
    return 0;
}

int nixl_agent_place(nixl_agent_state_t *self, uint64_t device, size_t bytes, const char *name)
{
    return check("reg_dlist_add_desc",
                 capi.reg_dlist_add_desc(self->registered_storage, 0, bytes, device, name, strlen(name)));
}

int nixl_agent_slot(nixl_agent_state_t *self, uint64_t device, uintptr_t offset)
{
    return check("xfer_dlist_add_desc",
                 capi.xfer_dlist_add_desc(self->storage_list, offset, self->shape.object_bytes, device));
}

int nixl_agent_ready(nixl_agent_state_t *self)
{
    if (check("register_mem", capi.register_mem(self->agent, self->registered_memory, self->arguments)) != 0 ||
        check("register_mem", capi.register_mem(self->agent, self->registered_storage, self->arguments)) != 0 ||
        check("prep_xfer_dlist",
              capi.prep_xfer_dlist(self->agent, "", self->memory_list, &self->memory, self->arguments)) != 0)
        return -1;
    return check("prep_xfer_dlist", capi.prep_xfer_dlist(self->agent, self->agent_name, self->storage_list,
                                                         &self->slots, self->arguments));
}

/* A hundredth of the time that the transfer took so far, within bounds: the end is seen at most 1 % late. */
static void pause_since(double start_s)
{
    const double wanted_s = (clock_now_s() - start_s) / 100;
    const double pause_s = wanted_s < PAUSE_S_MIN ? PAUSE_S_MIN : wanted_s > PAUSE_S_MAX ? PAUSE_S_MAX : wanted_s;
    const struct timespec pause = {0, (long)(pause_s * 1e9)};

    nanosleep(&pause, NULL);
}

int nixl_agent_transfer(nixl_agent_state_t *self, const batch_t *batch, int operation)
{
    nixl_request_t request = NULL;
    double start_s;
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
    start_s = clock_now_s();
    status = capi.post_xfer_req(self->agent, request, NULL);
    /* A plugin that makes progress only when it is asked is given no pause, one that has threads of its own is: looking
     * all the time would take a processor from them, and be charged to NIXL. */
    while (status == NIXL_IN_PROGRESS) {
        if (self->pauses)
            pause_since(start_s);
        status = capi.get_xfer_status(self->agent, request);
    }
    capi.release_xfer_req(self->agent, request);
    capi.destroy_xfer_req(request);
    return check("transfer", status);
}

void nixl_agent_end(nixl_agent_state_t *self)
{
    if (self->slots != NULL)
        capi.release_xfer_dlist_handle(self->agent, self->slots);
    if (self->memory != NULL)
        capi.release_xfer_dlist_handle(self->agent, self->memory);
    if (self->memory_list != NULL)
        capi.destroy_xfer_dlist(self->memory_list);
    if (self->storage_list != NULL)
        capi.destroy_xfer_dlist(self->storage_list);
    if (self->registered_storage != NULL) {
        capi.deregister_mem(self->agent, self->registered_storage, self->arguments);
        capi.destroy_reg_dlist(self->registered_storage);
    }
    if (self->registered_memory != NULL) {
        capi.deregister_mem(self->agent, self->registered_memory, self->arguments);
        capi.destroy_reg_dlist(self->registered_memory);
    }
    if (self->arguments != NULL)
        capi.destroy_opt_args(self->arguments);
    if (self->backend != NULL)
        capi.destroy_backend(self->backend);
    if (self->params != NULL)
        capi.destroy_params(self->params);
    if (self->agent != NULL)
        capi.destroy_agent(self->agent);
    free(self->memory_indices);
    free(self->slot_indices);
}
