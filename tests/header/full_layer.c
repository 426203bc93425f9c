/* The full layer as an engine would use it, so that its types and constants work together in every dialect. */
#include <nixl_store.h>

#ifdef __cplusplus
#define ZERO {}
#else
#define ZERO {0}
#endif
#define ZEROS {ZERO}

static void log_message(void *context, uint32_t level, const char *message) {
    *(uint32_t *)context += level <= NIXL_STORE_LOG_WARN && message[0] != 0;
}

int full_layer(const char *path, void *keys_and_values, size_t layer_bytes, void *cuda_stream);

/* Fetches one layer of one chunk, in two segments, and waits for it through a queue. */
int full_layer(const char *path, void *keys_and_values, size_t layer_bytes, void *cuda_stream) {
    nixl_store_t *store;
    nixl_store_queue_t *queue;
    nixl_store_ticket_t ticket;
    nixl_store_open_options_t open_options = ZERO;
    nixl_store_submit_options_t submit_options = ZERO;
    nixl_store_segment_t segments[2] = ZEROS;
    nixl_store_item_t item = ZERO;
    nixl_store_completion_t completion;
    nixl_store_result_t result;
    nixl_store_stats_t stats = ZERO;
    nixl_store_capabilities_t capabilities = ZERO;
    nixl_store_key_t chain[1] = ZEROS;
    uint32_t warnings = 0;
    uint64_t bytes = 0;
    size_t count = 0;
    int fd;

    open_options.struct_size = sizeof open_options;
    open_options.log_function = log_message;
    open_options.log_context = &warnings;
    if (nixl_store_open(path, &open_options, &store) != NIXL_STORE_OK)
        return -1;
    if (nixl_store_queue_create(store, &queue) != NIXL_STORE_OK ||
        nixl_store_queue_fd(store, queue, &fd) != NIXL_STORE_OK)
        return -1;

    chain[0].key = "chunk";
    chain[0].key_length = 5;
    if (nixl_store_prefix_match(store, chain, 1, &count) != NIXL_STORE_OK || count == 0)
        return 0;

    segments[0].address = keys_and_values;
    segments[0].length = layer_bytes;
    segments[0].memory_kind = NIXL_STORE_MEMORY_AUTO;
    segments[1].address = (char *)keys_and_values + layer_bytes;
    segments[1].length = layer_bytes;
    segments[1].memory_kind = NIXL_STORE_MEMORY_HOST;
    item.key = chain[0].key;
    item.key_length = chain[0].key_length;
    item.segments = segments;
    item.segment_count = sizeof segments / sizeof segments[0];
    item.object_offset = 2 * (uint64_t)layer_bytes;
    item.flags = NIXL_STORE_ITEM_RANGE | NIXL_STORE_ITEM_FRONT;
    submit_options.struct_size = sizeof submit_options;
    submit_options.deadline_ms = 500;
    submit_options.queue = queue;
    submit_options.user_data = 42;
    submit_options.flags = NIXL_STORE_SUBMIT_AFTER_STREAM;
    submit_options.cuda_stream = cuda_stream;
    if (nixl_store_batch_get(store, &item, 1, &submit_options, &ticket) != NIXL_STORE_OK)
        return -1;
    if (nixl_store_stream_wait(store, ticket, 0, layer_bytes, cuda_stream) != NIXL_STORE_OK ||
        nixl_store_stream_wait(store, ticket, NIXL_STORE_ITEMS_ALL, 0, cuda_stream) != NIXL_STORE_OK ||
        nixl_store_ticket_progress(store, ticket, 0, layer_bytes, 100, &bytes) > NIXL_STORE_IN_PROGRESS)
        return -1;
    if (nixl_store_queue_drain(store, queue, &completion, 1, &count) != NIXL_STORE_OK || completion.user_data != 42)
        return -1;
    if (nixl_store_ticket_wait(store, ticket, NIXL_STORE_TIMEOUT_INFINITE, &result, 1, &count) != NIXL_STORE_OK)
        return result.status == NIXL_STORE_ERROR_OUT_OF_RANGE ? fd : result.os_error;

    stats.struct_size = sizeof stats;
    capabilities.struct_size = sizeof capabilities;
    if (nixl_store_stats_read(store, &stats) != NIXL_STORE_OK ||
        nixl_store_capabilities_read(store, &capabilities) != NIXL_STORE_OK || capabilities.reason[0] != 0)
        return -1;
    return nixl_store_close(store) == NIXL_STORE_OK && stats.gets_hit == 1 ? 1 : -1;
}
