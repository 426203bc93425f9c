/* Sizes and offsets, in bytes, as src/capi/types.rs asserts them on the other side. */
#include <nixl_store.h>

#if defined(__cplusplus)
#define CHECK(name, condition) static_assert(condition, #name)
#elif __STDC_VERSION__ >= 201112L
#define CHECK(name, condition) _Static_assert(condition, #name)
#else
/* C99 has no assertion of its own: an array of negative size stops the compiler as well. */
#define CHECK(name, condition) extern char check_##name[(condition) ? 1 : -1]
#endif

#define SIZE(type, bytes) CHECK(type##_size, sizeof(type) == (bytes))
#define FIELD(type, field, offset) CHECK(type##_##field, offsetof(type, field) == (offset))
/* Room that is kept for later: how many elements, of how many bytes each. */
#define ROOM(type, count, bytes) \
    CHECK(type##_room, sizeof(((type *)0)->reserved) == (count) * (bytes) && sizeof(((type *)0)->reserved[0]) == (bytes))

CHECK(pointers, sizeof(void *) == 8 && sizeof(size_t) == 8);
CHECK(status, sizeof(nixl_store_status_t) == 4 && (nixl_store_status_t)-1 < 0);
CHECK(ticket, sizeof(nixl_store_ticket_t) == 8 && (nixl_store_ticket_t)-1 > 0);

SIZE(nixl_store_log_record_t, 32);
FIELD(nixl_store_log_record_t, struct_size, 0);
FIELD(nixl_store_log_record_t, time_unix_ns, 8);
FIELD(nixl_store_log_record_t, level, 16);
FIELD(nixl_store_log_record_t, reserved, 20);
FIELD(nixl_store_log_record_t, message, 24);

SIZE(nixl_store_open_options_t, 72);
FIELD(nixl_store_open_options_t, struct_size, 0);
FIELD(nixl_store_open_options_t, chunk_bytes, 8);
FIELD(nixl_store_open_options_t, worker_id, 16);
FIELD(nixl_store_open_options_t, world_size, 20);
FIELD(nixl_store_open_options_t, has_cuda_device, 24);
FIELD(nixl_store_open_options_t, cuda_device, 28);
FIELD(nixl_store_open_options_t, cache_namespace, 32);
FIELD(nixl_store_open_options_t, log_function, 40);
FIELD(nixl_store_open_options_t, log_context, 48);
FIELD(nixl_store_open_options_t, log_record_function, 64);
FIELD(nixl_store_open_options_t, config_text, 56);

SIZE(nixl_store_segment_t, 32);
FIELD(nixl_store_segment_t, address, 0);
FIELD(nixl_store_segment_t, length, 8);
FIELD(nixl_store_segment_t, memory_kind, 16);
FIELD(nixl_store_segment_t, cuda_device, 20);
FIELD(nixl_store_segment_t, reserved, 24);
ROOM(nixl_store_segment_t, 2, 4);

SIZE(nixl_store_item_t, 64);
FIELD(nixl_store_item_t, key, 0);
FIELD(nixl_store_item_t, key_length, 8);
FIELD(nixl_store_item_t, segments, 16);
FIELD(nixl_store_item_t, segment_count, 24);
FIELD(nixl_store_item_t, object_offset, 32);
FIELD(nixl_store_item_t, flags, 40);
FIELD(nixl_store_item_t, reserved, 44);
ROOM(nixl_store_item_t, 5, 4);

SIZE(nixl_store_result_t, 48);
FIELD(nixl_store_result_t, status, 0);
FIELD(nixl_store_result_t, os_error, 4);
FIELD(nixl_store_result_t, bytes, 8);
FIELD(nixl_store_result_t, object_length, 16);
FIELD(nixl_store_result_t, reserved, 24);
ROOM(nixl_store_result_t, 3, 8);

SIZE(nixl_store_submit_options_t, 56);
FIELD(nixl_store_submit_options_t, struct_size, 0);
FIELD(nixl_store_submit_options_t, deadline_ms, 8);
FIELD(nixl_store_submit_options_t, queue, 16);
FIELD(nixl_store_submit_options_t, user_data, 24);
FIELD(nixl_store_submit_options_t, flags, 32);
FIELD(nixl_store_submit_options_t, reserved, 36);
FIELD(nixl_store_submit_options_t, cuda_stream, 40);
FIELD(nixl_store_submit_options_t, request, 48);

SIZE(nixl_store_completion_t, 32);
FIELD(nixl_store_completion_t, ticket, 0);
FIELD(nixl_store_completion_t, user_data, 8);
FIELD(nixl_store_completion_t, status, 16);
FIELD(nixl_store_completion_t, reserved, 20);
ROOM(nixl_store_completion_t, 3, 4);

SIZE(nixl_store_key_t, 32);
FIELD(nixl_store_key_t, key, 0);
FIELD(nixl_store_key_t, key_length, 8);
FIELD(nixl_store_key_t, reserved, 16);
ROOM(nixl_store_key_t, 4, 4);

SIZE(nixl_store_stats_t, 208);
FIELD(nixl_store_stats_t, struct_size, 0);
FIELD(nixl_store_stats_t, keys, 8);
FIELD(nixl_store_stats_t, bytes_stored, 16);
FIELD(nixl_store_stats_t, slots, 24);
FIELD(nixl_store_stats_t, slots_free, 32);
FIELD(nixl_store_stats_t, capacity_bytes, 40);
FIELD(nixl_store_stats_t, keys_pinned, 48);
FIELD(nixl_store_stats_t, items_in_flight, 56);
FIELD(nixl_store_stats_t, puts_ok, 64);
FIELD(nixl_store_stats_t, puts_failed, 72);
FIELD(nixl_store_stats_t, gets_hit, 80);
FIELD(nixl_store_stats_t, gets_missed, 88);
FIELD(nixl_store_stats_t, gets_failed, 96);
FIELD(nixl_store_stats_t, bytes_put, 104);
FIELD(nixl_store_stats_t, bytes_got, 112);
FIELD(nixl_store_stats_t, bytes_direct, 120);
FIELD(nixl_store_stats_t, bytes_staged, 128);
FIELD(nixl_store_stats_t, evictions, 136);
FIELD(nixl_store_stats_t, corruptions, 144);
FIELD(nixl_store_stats_t, quarantined_slots, 152);
FIELD(nixl_store_stats_t, gets_unverified, 160);
FIELD(nixl_store_stats_t, short_transfers, 168);
FIELD(nixl_store_stats_t, retries, 176);
FIELD(nixl_store_stats_t, timed_out, 184);
FIELD(nixl_store_stats_t, cancelled, 192);
FIELD(nixl_store_stats_t, puts_declined, 200);

SIZE(nixl_store_capabilities_t, 936);
FIELD(nixl_store_capabilities_t, struct_size, 0);
FIELD(nixl_store_capabilities_t, object_bytes_max, 8);
FIELD(nixl_store_capabilities_t, direct_alignment, 16);
FIELD(nixl_store_capabilities_t, io_threads, 24);
FIELD(nixl_store_capabilities_t, direct_io, 28);
FIELD(nixl_store_capabilities_t, registered_buffers, 32);
FIELD(nixl_store_capabilities_t, reserved, 36);
FIELD(nixl_store_capabilities_t, backend, 40);
FIELD(nixl_store_capabilities_t, io_path, 56);
FIELD(nixl_store_capabilities_t, layout, 88);
FIELD(nixl_store_capabilities_t, reason, 120);
FIELD(nixl_store_capabilities_t, buffer_device, 632);
FIELD(nixl_store_capabilities_t, device_path, 648);
FIELD(nixl_store_capabilities_t, device_checksums, 664);
FIELD(nixl_store_capabilities_t, device_reason, 680);
