/* A store in a fresh folder that is removed again: what an example uses when it is given no configuration. */
#ifndef NIXL_STORE_EXAMPLES_TEMP_STORE_H
#define NIXL_STORE_EXAMPLES_TEMP_STORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMP_STORE_PATH_BYTES_MAX 1024

typedef struct {
    const char *parent;     /* folder to make the folder in; NULL: $TMPDIR, else /tmp */
    const char *policy;     /* cache_policy */
    uint64_t slot_count;    /* nixl_pool_size */
    uint64_t chunk_bytes;   /* largest object */
    uint64_t staging_bytes; /* nixl_buffer_size */
    int direct_io;          /* use_direct_io */
} temp_store_options_t;

typedef struct {
    char folder[TEMP_STORE_PATH_BYTES_MAX];
    char config_path[TEMP_STORE_PATH_BYTES_MAX]; /* for nixl_store_open */
} temp_store_t;

/* Makes the folder and a configuration file in it. Returns 0, or -1 after a message on stderr; then there is
 * nothing to remove. */
int temp_store_create(temp_store_t *temp_store, const temp_store_options_t *options);

/* Removes the folder and everything in it. Call it after the store is closed. */
void temp_store_remove(temp_store_t *temp_store);

#ifdef __cplusplus
}
#endif

#endif
