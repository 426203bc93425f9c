/* How much of a prompt need not be computed: a chain of 128 keys in one batch, asked without waiting for storage.
 *
 *   chain_lookup [lmcache.yaml]        (else $LMCACHE_CONFIG_FILE, else a temporary store)
 *
 * An engine knows the keys of all chunks of a prompt before it computes one. It submits them as a chain, goes on with
 * what it has to do, and learns from the results how long the stored prefix is and how much memory its chunks take. It
 * then pins them, so that they are still there when they are got, and at the end unpins them; here it also removes them. */
#include "common/pattern.h"
#include "common/temp_store.h"

#include <nixl_store.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    CHAIN_KEYS = 128,
    STORED_KEYS = 96, /* of the chain: then there is a gap */
    STRAY_KEY = 100,  /* stored too, and of no use without those before it */
    CHUNK_BYTES = 16 * 1024,
    KEY_BYTES = 32,
    DEADLINE_MS = 2000, /* a lookup that takes longer than computing the prompt is of no use */
};

typedef struct {
    char names[CHAIN_KEYS][KEY_BYTES];
    nixl_store_key_t keys[CHAIN_KEYS];
} chain_t;

/* nixl_store_batch_lookup, _pin, _unpin or _remove: they all look alike. */
typedef nixl_store_status_t (*question_t)(nixl_store_t *, const nixl_store_key_t *, size_t,
                                          const nixl_store_submit_options_t *, nixl_store_ticket_t *);

static int failed(const char *what, nixl_store_status_t status)
{
    if (status >= 0) /* not found, pinned, not admitted: an answer */
        return 0;
    fprintf(stderr, "chain_lookup: %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return 1;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void name_keys(chain_t *chain)
{
    memset(chain, 0, sizeof *chain);
    for (unsigned at = 0; at < CHAIN_KEYS; at++) {
        /* Stands for the hash of all tokens up to the end of the chunk. */
        const int bytes = snprintf(chain->names[at], KEY_BYTES, "chain/%016" PRIx64, pattern_mix(at));

        chain->keys[at].key = chain->names[at];
        chain->keys[at].key_length = (uint64_t)bytes;
    }
}

static int put_some(nixl_store_t *store, const chain_t *chain)
{
    static unsigned char chunk[CHUNK_BYTES];

    for (unsigned at = 0; at < CHAIN_KEYS; at++) {
        if (at >= STORED_KEYS && at != STRAY_KEY)
            continue;
        pattern_fill(chunk, sizeof chunk, at);
        if (failed("put", nixl_store_put(store, chain->keys[at].key, (size_t)chain->keys[at].key_length, chunk,
                                         sizeof chunk)))
            return 1;
    }
    return 0;
}

/* Asks about the first `count` keys and waits for the answers. */
static int ask(nixl_store_t *store, const char *what, question_t question, uint32_t flags, const chain_t *chain,
               size_t count, nixl_store_result_t *results)
{
    nixl_store_submit_options_t options;
    nixl_store_ticket_t ticket;

    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    options.deadline_ms = DEADLINE_MS;
    options.flags = flags;
    if (failed(what, question(store, chain->keys, count, &options, &ticket)))
        return 1;
    /* ... here the engine goes on; or the batch has a completion queue, as in async_batch.c ... */
    return failed(what, nixl_store_ticket_wait(store, ticket, NIXL_STORE_TIMEOUT_INFINITE, results, count, &count));
}

static int run(nixl_store_t *store)
{
    static chain_t chain;
    static nixl_store_result_t results[CHAIN_KEYS];
    size_t prefix = 0, matched = 0, admitted = 0, pinned = 0, removed = 0;
    uint64_t bytes = 0;
    double asked;

    name_keys(&chain);
    /* What an earlier run that was interrupted may have left. */
    if (ask(store, "remove", nixl_store_batch_remove, 0, &chain, CHAIN_KEYS, results) || put_some(store, &chain))
        return 1;

    asked = now_ms();
    if (ask(store, "lookup", nixl_store_batch_lookup, NIXL_STORE_SUBMIT_CHAIN, &chain, CHAIN_KEYS, results))
        return 1;
    asked = now_ms() - asked;
    while (prefix < CHAIN_KEYS && results[prefix].status == NIXL_STORE_OK)
        bytes += results[prefix++].object_length;
    printf("chain_lookup: %zu of a chain of %d chunks are stored, %" PRIu64 " bytes that need not be computed again;\n"
           "              asked and answered in %.2f ms\n",
           prefix, CHAIN_KEYS, bytes, asked);
    if (prefix != STORED_KEYS || bytes != (uint64_t)STORED_KEYS * CHUNK_BYTES) {
        fprintf(stderr, "chain_lookup: wrong: %d were put, of %d bytes each\n", STORED_KEYS, CHUNK_BYTES);
        return 1;
    }

    /* With cache_policy REUSE a store declines what is not worth displacing anything for. This says beforehand how many of
     * the other chunks it takes, so that no more need be copied and put. Other policies take all. */
    if (failed("plan", nixl_store_prefix_plan(store, chain.keys, CHAIN_KEYS, CHUNK_BYTES, 0, &matched, &admitted)))
        return 1;
    printf("              %zu more would be stored if they were put now\n", admitted);

    /* One that was evicted since is not found, and ends the prefix. */
    if (ask(store, "pin", nixl_store_batch_pin, 0, &chain, prefix, results))
        return 1;
    while (pinned < prefix && results[pinned].status == NIXL_STORE_OK)
        pinned++;
    /* ... get them, see async_batch.c ... */
    if (ask(store, "unpin", nixl_store_batch_unpin, 0, &chain, prefix, results) ||
        ask(store, "remove", nixl_store_batch_remove, 0, &chain, CHAIN_KEYS, results))
        return 1;
    for (size_t at = 0; at < CHAIN_KEYS; at++)
        removed += results[at].status == NIXL_STORE_OK;
    printf("              %zu were pinned and unpinned in a batch each, %zu removed\n", pinned, removed);
    if (pinned != prefix || removed != STORED_KEYS + 1) {
        fprintf(stderr, "chain_lookup: wrong: %zu should have been pinned, %d removed\n", prefix, STORED_KEYS + 1);
        return 1;
    }
    return 0;
}

static int open_and_run(const char *config_path)
{
    nixl_store_open_options_t options;
    nixl_store_t *store;
    int bad;

    memset(&options, 0, sizeof options);
    options.struct_size = sizeof options;
    if (failed("open", nixl_store_open(config_path, &options, &store)))
        return 1;
    bad = run(store);
    return bad | failed("close", nixl_store_close(store));
}

int main(int argc, char **argv)
{
    const temp_store_options_t temp_options = {
        .policy = "LRU", .slot_count = CHAIN_KEYS, .chunk_bytes = CHUNK_BYTES, .staging_bytes = 4u << 20};
    temp_store_t temp_store;
    int bad;

    if (argc > 1 || getenv("LMCACHE_CONFIG_FILE") != NULL)
        return open_and_run(argc > 1 ? argv[1] : NULL);
    if (temp_store_create(&temp_store, &temp_options) != 0)
        return 1;
    bad = open_and_run(temp_store.config_path);
    temp_store_remove(&temp_store);
    return bad;
}
