/* NIXL's OBJ plugin, on a name for each object. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "nixl_agent.h"

/* What the plugin takes, by its own names; those that the command has are handed on. */
static const char *const PARAMETERS[] = {"access_key", "secret_key",  "bucket",     "endpoint_override",
                                         "scheme",     "region",      "use_virtual_addressing",
                                         "req_checksum", "crtMinLimit", "num_threads", "throughput_target_gbps"};

static int obj_close(void *engine)
{
    nixl_agent_end(engine);
    free(engine);
    return 0;
}

static int prepare(nixl_agent_state_t *self, const command_t *command, const shape_t *shape)
{
    if (nixl_agent_begin(self, command_text(command, "library", NULL), shape) != 0)
        return -1;
    /* The plugin has threads of its own. */
    self->pauses = true;
    for (size_t i = 0; i < sizeof PARAMETERS / sizeof *PARAMETERS; i++)
        if (nixl_agent_param(self, PARAMETERS[i], command_text(command, PARAMETERS[i], NULL)) != 0)
            return -1;
    if (nixl_agent_backend(self, "OBJ", NIXL_MEMORY_OBJECT, true) != 0)
        return -1;
    for (size_t i = 0; i < shape->live_objects; i++) {
        char name[128];
        /* The plugin tells objects apart by a number of the caller's. */
        snprintf(name, sizeof name, "%s/%zu", command_text(command, "prefix", "nixl"), i);
        if (nixl_agent_place(self, i, shape->object_bytes, name) != 0 || nixl_agent_slot(self, i, 0) != 0)
            return -1;
    }
    return nixl_agent_ready(self);
}

static int obj_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    nixl_agent_state_t *const self = calloc(1, sizeof *self);

    if (self == NULL)
        return fail("out of memory");
    if (prepare(self, command, shape) != 0) {
        obj_close(self);
        return -1;
    }
    *engine_out = self;
    return 0;
}

static int obj_put(void *engine, const batch_t *batch)
{
    return nixl_agent_transfer(engine, batch, NIXL_OPERATION_WRITE);
}

static int obj_get(void *engine, const batch_t *batch)
{
    return nixl_agent_transfer(engine, batch, NIXL_OPERATION_READ);
}

const engine_ops_t engine_nixl_obj = {
    .name = "nixl-obj",
    .open = obj_open,
    .put = obj_put,
    .get = obj_get,
    .put_one = obj_put,
    .get_one = obj_get,
    .close = obj_close,
};
