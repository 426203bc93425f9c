/* Every function with the parameters that programs were written for. */
#include <nixl_store.h>

struct signatures {
    nixl_store_status_t (*open)(const char *, const nixl_store_open_options_t *, nixl_store_t **);
    nixl_store_status_t (*put)(nixl_store_t *, const void *, size_t, const void *, size_t);
    nixl_store_status_t (*get)(nixl_store_t *, const void *, size_t, void *, size_t, size_t *);
    nixl_store_status_t (*close)(nixl_store_t *);

    nixl_store_status_t (*batch_put)(nixl_store_t *, const nixl_store_item_t *, size_t,
                                     const nixl_store_submit_options_t *, nixl_store_ticket_t *);
    nixl_store_status_t (*batch_get)(nixl_store_t *, const nixl_store_item_t *, size_t,
                                     const nixl_store_submit_options_t *, nixl_store_ticket_t *);

    nixl_store_status_t (*batch_lookup)(nixl_store_t *, const nixl_store_key_t *, size_t,
                                        const nixl_store_submit_options_t *, nixl_store_ticket_t *);
    nixl_store_status_t (*batch_remove)(nixl_store_t *, const nixl_store_key_t *, size_t,
                                        const nixl_store_submit_options_t *, nixl_store_ticket_t *);
    nixl_store_status_t (*batch_pin)(nixl_store_t *, const nixl_store_key_t *, size_t,
                                     const nixl_store_submit_options_t *, nixl_store_ticket_t *);
    nixl_store_status_t (*batch_unpin)(nixl_store_t *, const nixl_store_key_t *, size_t,
                                       const nixl_store_submit_options_t *, nixl_store_ticket_t *);

    nixl_store_status_t (*ticket_wait)(nixl_store_t *, nixl_store_ticket_t, uint64_t, nixl_store_result_t *, size_t,
                                       size_t *);
    nixl_store_status_t (*ticket_poll)(nixl_store_t *, nixl_store_ticket_t);
    nixl_store_status_t (*ticket_cancel)(nixl_store_t *, nixl_store_ticket_t);
    nixl_store_status_t (*ticket_progress)(nixl_store_t *, nixl_store_ticket_t, size_t, uint64_t, uint64_t,
                                           uint64_t *);

    nixl_store_status_t (*stream_wait)(nixl_store_t *, nixl_store_ticket_t, size_t, uint64_t, void *);

    nixl_store_status_t (*queue_create)(nixl_store_t *, nixl_store_queue_t **);
    nixl_store_status_t (*queue_fd)(nixl_store_t *, nixl_store_queue_t *, int *);
    nixl_store_status_t (*queue_drain)(nixl_store_t *, nixl_store_queue_t *, nixl_store_completion_t *, size_t,
                                       size_t *);
    nixl_store_status_t (*queue_destroy)(nixl_store_t *, nixl_store_queue_t *);

    nixl_store_status_t (*memory_register)(nixl_store_t *, void *, size_t);
    nixl_store_status_t (*memory_unregister)(nixl_store_t *, void *);
    nixl_store_status_t (*memory_allocate)(nixl_store_t *, size_t, void **);
    nixl_store_status_t (*memory_free)(nixl_store_t *, void *);

    nixl_store_status_t (*key_contains)(nixl_store_t *, const void *, size_t);
    nixl_store_status_t (*key_length)(nixl_store_t *, const void *, size_t, uint64_t *);
    nixl_store_status_t (*prefix_match)(nixl_store_t *, const nixl_store_key_t *, size_t, size_t *);
    nixl_store_status_t (*key_remove)(nixl_store_t *, const void *, size_t);
    nixl_store_status_t (*key_pin)(nixl_store_t *, const void *, size_t);
    nixl_store_status_t (*key_unpin)(nixl_store_t *, const void *, size_t);
    nixl_store_status_t (*clear)(nixl_store_t *, uint64_t *);

    nixl_store_status_t (*flush)(nixl_store_t *);
    nixl_store_status_t (*stats_read)(nixl_store_t *, nixl_store_stats_t *);
    nixl_store_status_t (*capabilities_read)(nixl_store_t *, nixl_store_capabilities_t *);
    const char *(*version)(void);
    uint32_t (*abi_version)(void);
    const char *(*status_name)(nixl_store_status_t);
    const char *(*error_message)(void);
};

extern const struct signatures signatures;
const struct signatures signatures = {
    nixl_store_open,           nixl_store_put,           nixl_store_get,
    nixl_store_close,          nixl_store_batch_put,     nixl_store_batch_get,
    nixl_store_batch_lookup,   nixl_store_batch_remove,  nixl_store_batch_pin,
    nixl_store_batch_unpin,
    nixl_store_ticket_wait,    nixl_store_ticket_poll,   nixl_store_ticket_cancel,
    nixl_store_ticket_progress, nixl_store_stream_wait,
    nixl_store_queue_create,   nixl_store_queue_fd,      nixl_store_queue_drain,
    nixl_store_queue_destroy,  nixl_store_memory_register, nixl_store_memory_unregister,
    nixl_store_memory_allocate, nixl_store_memory_free,  nixl_store_key_contains,
    nixl_store_key_length,     nixl_store_prefix_match,  nixl_store_key_remove,
    nixl_store_key_pin,        nixl_store_key_unpin,     nixl_store_clear,
    nixl_store_flush,          nixl_store_stats_read,    nixl_store_capabilities_read,
    nixl_store_version,        nixl_store_abi_version,   nixl_store_status_name,
    nixl_store_error_message,
};
