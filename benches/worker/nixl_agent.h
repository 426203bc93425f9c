/* A NIXL agent as its own users drive it: agent, backend, registrations and prepared descriptor lists are made once, a
 * request is made, posted, polled and released for every batch. Which plugin it is and what lies on storage is the
 * engine's. */
#ifndef BENCH_NIXL_AGENT_H
#define BENCH_NIXL_AGENT_H

#include "engine.h"
#include "nixl_capi.h"

typedef struct {
    shape_t shape;
    bool pauses; /* between two looks at a transfer */
    char agent_name[32];
    nixl_agent_t agent;
    nixl_params_t params;
    nixl_backend_t backend;
    nixl_opt_args_t arguments;
    nixl_reg_dlist_t registered_memory, registered_storage;
    nixl_xfer_dlist_t memory_list, storage_list;
    nixl_prepped_t memory, slots;
    int *memory_indices, *slot_indices;
} nixl_agent_state_t;

/* The order of calls: begin, parameters, backend, places and slots, ready; then transfers. Each returns 0, or -1 after
 * fail(); `end` is due after a `begin` of any outcome. */

int nixl_agent_begin(nixl_agent_state_t *self, const char *library, const shape_t *shape);
int nixl_agent_param(nixl_agent_state_t *self, const char *name, const char *value);
int nixl_agent_backend(nixl_agent_state_t *self, const char *backend, int storage_kind, bool merge);
/* Something on storage to register: a file by its number, or an object by a number of ours and its name. */
int nixl_agent_place(nixl_agent_state_t *self, uint64_t device, size_t bytes, const char *name);
/* Where the next slot is: slots are numbered as they are added, from 0 to live_objects. */
int nixl_agent_slot(nixl_agent_state_t *self, uint64_t device, uintptr_t offset);
int nixl_agent_ready(nixl_agent_state_t *self);
int nixl_agent_transfer(nixl_agent_state_t *self, const batch_t *batch, int operation);
void nixl_agent_end(nixl_agent_state_t *self);

#endif
