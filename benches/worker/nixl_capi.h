/* The part of NIXL 1.5's C API (libnixl_capi.so) that moves bytes between memory and files or objects, found at run
 * time: the benchmark builds and runs without NIXL. Numbers and signatures are those of that library's binary
 * interface. */
#ifndef BENCH_NIXL_CAPI_H
#define BENCH_NIXL_CAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NIXL_SUCCESS = 0, NIXL_IN_PROGRESS = 1 };
enum { NIXL_MEMORY_DRAM = 0, NIXL_MEMORY_OBJECT = 3, NIXL_MEMORY_FILE = 4 };
enum { NIXL_OPERATION_READ = 0, NIXL_OPERATION_WRITE = 1 };

typedef struct {
    bool enable_prog_thread;
    bool enable_listen_thread;
    int listen_port;
    int thread_sync; /* 0: none */
    unsigned int num_workers;
    uint64_t pthr_delay_us;
    uint64_t lthr_delay_us;
    bool capture_telemetry;
} nixl_agent_config_t;

/* Opaque handles. */
typedef struct nixl_agent_s *nixl_agent_t;
typedef struct nixl_params_s *nixl_params_t;
typedef struct nixl_backend_s *nixl_backend_t;
typedef struct nixl_opt_args_s *nixl_opt_args_t;
typedef struct nixl_reg_dlist_s *nixl_reg_dlist_t;
typedef struct nixl_xfer_dlist_s *nixl_xfer_dlist_t;
typedef struct nixl_prepped_s *nixl_prepped_t;
typedef struct nixl_request_s *nixl_request_t;

typedef struct {
    int (*create_configured_agent)(const char *, const nixl_agent_config_t *, nixl_agent_t *);
    int (*destroy_agent)(nixl_agent_t);
    int (*create_params)(nixl_params_t *);
    int (*params_add)(nixl_params_t, const char *, const char *);
    int (*destroy_params)(nixl_params_t);
    int (*create_backend)(nixl_agent_t, const char *, nixl_params_t, nixl_backend_t *);
    int (*destroy_backend)(nixl_backend_t);
    int (*create_opt_args)(nixl_opt_args_t *);
    int (*destroy_opt_args)(nixl_opt_args_t);
    int (*opt_args_add_backend)(nixl_opt_args_t, nixl_backend_t);
    int (*opt_args_set_skip_desc_merge)(nixl_opt_args_t, bool);
    int (*create_reg_dlist)(int, nixl_reg_dlist_t *);
    int (*reg_dlist_add_desc)(nixl_reg_dlist_t, uintptr_t, size_t, uint64_t, const void *, size_t);
    int (*destroy_reg_dlist)(nixl_reg_dlist_t);
    int (*register_mem)(nixl_agent_t, nixl_reg_dlist_t, nixl_opt_args_t);
    int (*deregister_mem)(nixl_agent_t, nixl_reg_dlist_t, nixl_opt_args_t);
    int (*create_xfer_dlist)(int, nixl_xfer_dlist_t *);
    int (*xfer_dlist_add_desc)(nixl_xfer_dlist_t, uintptr_t, size_t, uint64_t);
    int (*destroy_xfer_dlist)(nixl_xfer_dlist_t);
    int (*prep_xfer_dlist)(nixl_agent_t, const char *, nixl_xfer_dlist_t, nixl_prepped_t *, nixl_opt_args_t);
    int (*release_xfer_dlist_handle)(nixl_agent_t, nixl_prepped_t);
    int (*make_xfer_req)(nixl_agent_t, int, nixl_prepped_t, const int *, size_t, nixl_prepped_t, const int *, size_t,
                         nixl_request_t *, nixl_opt_args_t);
    int (*post_xfer_req)(nixl_agent_t, nixl_request_t, nixl_opt_args_t);
    int (*get_xfer_status)(nixl_agent_t, nixl_request_t);
    int (*release_xfer_req)(nixl_agent_t, nixl_request_t);
    int (*destroy_xfer_req)(nixl_request_t);
} nixl_capi_t;

/* Loads the library at `path`; -1 after fail(), which names what is missing. */
int nixl_capi_load(nixl_capi_t *capi, const char *path);

#endif
