/* Loaded in front of the library, it makes one bit of one get wrong. The examples must notice: a check that
 * nothing can fail would be worth nothing. */
#define _GNU_SOURCE /* RTLD_NEXT */

#include <nixl_store.h>

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

/* Which get is hit; a later one, so that not only the first bytes are looked at. */
#define GET_TO_SPOIL 5

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned get_count;
static nixl_store_ticket_t spoiled_ticket;
static unsigned char *spoiled_byte;

/* ISO C has no cast from an object pointer to a function pointer; POSIX promises that the bits fit. */
static void find_next(const char *name, void *function_out, size_t function_bytes)
{
    void *const symbol = dlsym(RTLD_NEXT, name);
    memcpy(function_out, &symbol, function_bytes);
}

nixl_store_status_t nixl_store_batch_get(nixl_store_t *store, const nixl_store_item_t *items, size_t item_count,
                                         const nixl_store_submit_options_t *options, nixl_store_ticket_t *ticket_out)
{
    nixl_store_status_t (*next)(nixl_store_t *, const nixl_store_item_t *, size_t, const nixl_store_submit_options_t *,
                                nixl_store_ticket_t *);
    nixl_store_status_t status;

    find_next("nixl_store_batch_get", &next, sizeof next);
    status = next(store, items, item_count, options, ticket_out);
    pthread_mutex_lock(&lock);
    if (status == NIXL_STORE_OK && ++get_count == GET_TO_SPOIL) {
        const nixl_store_item_t *const item = &items[item_count - 1];
        const nixl_store_segment_t *const segment = &item->segments[item->segment_count - 1];
        spoiled_ticket = *ticket_out;
        spoiled_byte = (unsigned char *)segment->address + segment->length - 1;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

nixl_store_status_t nixl_store_ticket_wait(nixl_store_t *store, nixl_store_ticket_t ticket, uint64_t timeout_ms,
                                           nixl_store_result_t *results_out, size_t result_capacity,
                                           size_t *result_count_out)
{
    nixl_store_status_t (*next)(nixl_store_t *, nixl_store_ticket_t, uint64_t, nixl_store_result_t *, size_t, size_t *);
    nixl_store_status_t status;

    find_next("nixl_store_ticket_wait", &next, sizeof next);
    status = next(store, ticket, timeout_ms, results_out, result_capacity, result_count_out);
    pthread_mutex_lock(&lock);
    if (status != NIXL_STORE_IN_PROGRESS && ticket == spoiled_ticket && spoiled_byte != NULL) {
        *spoiled_byte ^= 1;
        spoiled_byte = NULL;
    }
    pthread_mutex_unlock(&lock);
    return status;
}
