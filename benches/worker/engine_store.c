/* nixl-store, through its C ABI. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "fail.h"
#include "nixl_store.h"

typedef struct {
    nixl_store_t *store;
    shape_t shape;
    double open_s;
    double register_s;
    struct {
        nixl_store_item_t *items;
        nixl_store_segment_t *segments;
        nixl_store_result_t *results;
    } scratch[THREADS_MAX];
} store_t;

static int failed(const char *what, nixl_store_status_t status)
{
    return fail("%s: %s: %s", what, nixl_store_status_name(status), nixl_store_error_message());
}

static int store_close(void *engine)
{
    store_t *const self = engine;
    nixl_store_status_t status = NIXL_STORE_OK;

    if (self->store != NULL)
        status = nixl_store_close(self->store);
    for (size_t i = 0; i < THREADS_MAX; i++) {
        free(self->scratch[i].items);
        free(self->scratch[i].segments);
        free(self->scratch[i].results);
    }
    free(self);
    return status == NIXL_STORE_OK ? 0 : failed("nixl_store_close", status);
}

static int prepare(store_t *self, const char *config)
{
    nixl_store_open_options_t options = {0};
    nixl_store_status_t status;
    double start_s;

    for (size_t i = 0; i < THREADS_MAX; i++) {
        const size_t count = self->shape.memory_objects;
        self->scratch[i].items = calloc(count, sizeof *self->scratch[i].items);
        self->scratch[i].segments = calloc(count, sizeof *self->scratch[i].segments);
        self->scratch[i].results = calloc(count, sizeof *self->scratch[i].results);
        if (self->scratch[i].items == NULL || self->scratch[i].segments == NULL || self->scratch[i].results == NULL)
            return fail("out of memory");
    }
    options.struct_size = sizeof options;
    options.chunk_bytes = self->shape.object_bytes;
    start_s = clock_now_s();
    status = nixl_store_open(config, &options, &self->store);
    if (status != NIXL_STORE_OK)
        return failed("nixl_store_open", status);
    self->open_s = clock_now_s() - start_s;
    if (self->shape.memory == NULL)
        return 0;
    start_s = clock_now_s();
    status = nixl_store_memory_register(self->store, self->shape.memory, self->shape.memory_bytes);
    self->register_s = clock_now_s() - start_s;
    return status == NIXL_STORE_OK ? 0 : failed("nixl_store_memory_register", status);
}

static int store_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    const char *const config = command_text(command, "config", NULL);
    store_t *self;

    if (config == NULL)
        return fail("config= is missing: the YAML file of the store");
    self = calloc(1, sizeof *self);
    if (self == NULL)
        return fail("out of memory");
    self->shape = *shape;
    if (prepare(self, config) != 0) {
        store_close(self);
        return -1;
    }
    *engine_out = self;
    return 0;
}

/* The store frees it when it is closed. */
static unsigned char *store_memory(void *engine)
{
    store_t *const self = engine;
    void *address = NULL;
    const nixl_store_status_t status = nixl_store_memory_allocate(self->store, self->shape.memory_bytes, &address);

    if (status != NIXL_STORE_OK) {
        failed("nixl_store_memory_allocate", status);
        return NULL;
    }
    return address;
}

typedef nixl_store_status_t submit_fn_t(nixl_store_t *, const nixl_store_item_t *, size_t,
                                        const nixl_store_submit_options_t *, nixl_store_ticket_t *);

static int transfer(store_t *self, const batch_t *batch, submit_fn_t *submit, const char *what)
{
    nixl_store_item_t *const items = self->scratch[batch->thread].items;
    nixl_store_segment_t *const segments = self->scratch[batch->thread].segments;
    nixl_store_result_t *const results = self->scratch[batch->thread].results;
    nixl_store_ticket_t ticket;
    nixl_store_status_t status;
    size_t result_count;

    for (size_t i = 0; i < batch->count; i++) {
        segments[i].address = batch->memory + i * self->shape.object_stride;
        segments[i].length = self->shape.object_bytes;
        segments[i].memory_kind = NIXL_STORE_MEMORY_HOST;
        items[i].key = batch->keys[i];
        items[i].key_length = KEY_BYTES;
        items[i].segments = &segments[i];
        items[i].segment_count = 1;
    }
    status = submit(self->store, items, batch->count, NULL, &ticket);
    if (status != NIXL_STORE_OK)
        return failed(what, status);
    status = nixl_store_ticket_wait(self->store, ticket, NIXL_STORE_TIMEOUT_INFINITE, results, batch->count,
                                    &result_count);
    if (status != NIXL_STORE_OK)
        return failed(what, status);
    for (size_t i = 0; i < result_count; i++)
        if (results[i].bytes != self->shape.object_bytes)
            return fail("%s: item %zu moved %llu bytes", what, i, (unsigned long long)results[i].bytes);
    return 0;
}

static int store_put(void *engine, const batch_t *batch)
{
    return transfer(engine, batch, nixl_store_batch_put, "nixl_store_batch_put");
}

static int store_get(void *engine, const batch_t *batch)
{
    return transfer(engine, batch, nixl_store_batch_get, "nixl_store_batch_get");
}

static int store_put_one(void *engine, const batch_t *batch)
{
    store_t *const self = engine;
    const nixl_store_status_t status =
        nixl_store_put(self->store, batch->keys[0], KEY_BYTES, batch->memory, self->shape.object_bytes);

    return status == NIXL_STORE_OK ? 0 : failed("nixl_store_put", status);
}

static int store_get_one(void *engine, const batch_t *batch)
{
    store_t *const self = engine;
    size_t length = 0;
    const nixl_store_status_t status =
        nixl_store_get(self->store, batch->keys[0], KEY_BYTES, batch->memory, self->shape.object_bytes, &length);

    if (status != NIXL_STORE_OK)
        return failed("nixl_store_get", status);
    return length == self->shape.object_bytes ? 0 : fail("nixl_store_get: %zu bytes", length);
}

static int store_remove(void *engine, const batch_t *batch)
{
    store_t *const self = engine;

    for (size_t i = 0; i < batch->count; i++) {
        const nixl_store_status_t status = nixl_store_key_remove(self->store, batch->keys[i], KEY_BYTES);
        if (status != NIXL_STORE_OK)
            return failed("nixl_store_key_remove", status);
    }
    return 0;
}

static void store_describe(void *engine)
{
    store_t *const self = engine;
    nixl_store_capabilities_t capabilities = {0};

    capabilities.struct_size = sizeof capabilities;
    if (nixl_store_capabilities_read(self->store, &capabilities) != NIXL_STORE_OK)
        return;
    fprintf(json, ",\"version\":\"%s\",\"backend\":\"%s\",\"io_path\":\"%s\",\"layout\":\"%s\"", nixl_store_version(),
           capabilities.backend, capabilities.io_path, capabilities.layout);
    fprintf(json, ",\"direct_io\":%u,\"io_threads\":%u,\"registered_buffers\":%u,\"reason\":", capabilities.direct_io,
           capabilities.io_threads, capabilities.registered_buffers);
    json_text(capabilities.reason);
    fprintf(json, ",\"open_s\":%.6f,\"register_s\":%.6f", self->open_s, self->register_s);
}

void *engine_store_handle(void *engine)
{
    return ((store_t *)engine)->store;
}

const engine_ops_t engine_store = {
    .name = "store",
    .open = store_open,
    .memory = store_memory,
    .put = store_put,
    .get = store_get,
    .put_one = store_put_one,
    .get_one = store_get_one,
    .remove = store_remove,
    .describe = store_describe,
    .close = store_close,
    .many_threads = true,
};
