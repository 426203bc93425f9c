/* Calls each operation of a store often enough to count its instructions, for scripts/bench-instructions.sh.
 *
 *     operations CONFIG
 *
 * Run under callgrind it writes several profiles for each operation, and prints a line "NAME CALLS": how many calls
 * are in each of them. Everything is warm by then: the pool is full, so that each put evicts, and every call was made
 * before. Without callgrind it makes the same calls and counts nothing. */
#include <nixl_store.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/callgrind.h>

enum {
    SLOTS = 256, /* nixl_pool_size of CONFIG */
    WARM_ROUNDS = 64,
    PROFILES = 5,   /* of each operation; odd, as the middle one counts */
    ROUNDS = SLOTS, /* in each profile; what is done now and then, such as noting uses, falls on many of them */
    BATCH_ITEMS = 64,
    CHAIN_KEYS = 64,
    KIB = 1024,
    SMALL_BYTES = 4 * KIB,
    LARGE_BYTES = 64 * KIB,
    PAGE_BYTES = 4096,
};

/* What an engine calls a chunk: a hash and its worker. */
typedef struct {
    char text[48];
} chunk_key_t;

typedef struct {
    nixl_store_t *store;
    unsigned char *memory; /* for a batch of small objects or one large one */
    uint64_t fresh;        /* number of the next key that was never put */
    chunk_key_t chain_keys[CHAIN_KEYS];
    nixl_store_key_t chain[CHAIN_KEYS];
    chunk_key_t item_keys[BATCH_ITEMS];
    nixl_store_segment_t segments[BATCH_ITEMS];
    nixl_store_item_t items[BATCH_ITEMS];
    nixl_store_result_t results[BATCH_ITEMS];
} bench_t;

typedef struct {
    const char *name;
    unsigned per_round; /* operations of one round */
    void (*round)(bench_t *bench, uint64_t number);
    void (*before)(bench_t *bench); /* made before the counting begins; may be NULL */
} operation_t;

static void fail(const char *what)
{
    fprintf(stderr, "operations: %s: %s\n", what, nixl_store_error_message());
    exit(1);
}

static void expect(nixl_store_status_t status, nixl_store_status_t wanted, const char *what)
{
    if (status != wanted) {
        fprintf(stderr, "operations: %s ended with %s: ", what, nixl_store_status_name(status));
        fail(what);
    }
}

/* The key of a number. Keys have one length. Written by hand, as snprintf would be most of what is counted. */
static void name_key(chunk_key_t *key, char kind, uint64_t number)
{
    memset(key->text, kind, sizeof key->text);
    for (size_t at = sizeof key->text; at > sizeof key->text - 16; number /= 16)
        key->text[--at] = "0123456789abcdef"[number % 16];
}

static void put_one(bench_t *bench, char kind, uint64_t number, size_t length)
{
    chunk_key_t key;
    name_key(&key, kind, number);
    expect(nixl_store_put(bench->store, &key, sizeof key, bench->memory, length), NIXL_STORE_OK, "put");
}

static void get_one(bench_t *bench, char kind, uint64_t number, size_t capacity, nixl_store_status_t wanted)
{
    chunk_key_t key;
    size_t length;
    name_key(&key, kind, number);
    expect(nixl_store_get(bench->store, &key, sizeof key, bench->memory, capacity, &length), wanted, "get");
}

static void put_small(bench_t *bench, uint64_t number)
{
    (void)number;
    put_one(bench, 'p', bench->fresh++, SMALL_BYTES);
}

static void put_large(bench_t *bench, uint64_t number)
{
    (void)number;
    put_one(bench, 'p', bench->fresh++, LARGE_BYTES);
}

static void fill_small(bench_t *bench)
{
    for (uint64_t slot = 0; slot < SLOTS; slot++)
        put_one(bench, 's', slot, SMALL_BYTES);
}

static void fill_large(bench_t *bench)
{
    for (uint64_t slot = 0; slot < SLOTS; slot++)
        put_one(bench, 'l', slot, LARGE_BYTES);
}

static void get_small(bench_t *bench, uint64_t number)
{
    get_one(bench, 's', number % SLOTS, SMALL_BYTES, NIXL_STORE_OK);
}

static void get_large(bench_t *bench, uint64_t number)
{
    get_one(bench, 'l', number % SLOTS, LARGE_BYTES, NIXL_STORE_OK);
}

static void get_miss(bench_t *bench, uint64_t number)
{
    get_one(bench, 'm', number, SMALL_BYTES, NIXL_STORE_NOT_FOUND);
}

/* Waits for a batch; each item must end with wanted. */
static void wait_for(bench_t *bench, nixl_store_ticket_t ticket, size_t count, nixl_store_status_t wanted)
{
    size_t result_count;
    nixl_store_status_t status = nixl_store_ticket_wait(bench->store, ticket, NIXL_STORE_TIMEOUT_INFINITE,
                                                        bench->results, count, &result_count);
    expect(status, wanted, "ticket_wait");
    for (size_t item = 0; item < result_count; item++)
        expect(bench->results[item].status, wanted, "item");
}

static void name_items(bench_t *bench, char kind, uint64_t first)
{
    for (size_t item = 0; item < BATCH_ITEMS; item++)
        name_key(&bench->item_keys[item], kind, first + item);
}

static void batch_put(bench_t *bench, uint64_t number)
{
    nixl_store_ticket_t ticket;
    (void)number;
    name_items(bench, 'p', bench->fresh);
    bench->fresh += BATCH_ITEMS;
    expect(nixl_store_batch_put(bench->store, bench->items, BATCH_ITEMS, NULL, &ticket), NIXL_STORE_OK, "batch_put");
    wait_for(bench, ticket, BATCH_ITEMS, NIXL_STORE_OK);
}

static void batch_get(bench_t *bench, uint64_t number)
{
    nixl_store_ticket_t ticket;
    name_items(bench, 's', number % (SLOTS / BATCH_ITEMS) * BATCH_ITEMS);
    expect(nixl_store_batch_get(bench->store, bench->items, BATCH_ITEMS, NULL, &ticket), NIXL_STORE_OK, "batch_get");
    wait_for(bench, ticket, BATCH_ITEMS, NIXL_STORE_OK);
}

/* What a batch costs that moves nothing. */
static void submit_wait(bench_t *bench, uint64_t number)
{
    nixl_store_ticket_t ticket;
    name_key(&bench->item_keys[0], 'm', number);
    expect(nixl_store_batch_get(bench->store, bench->items, 1, NULL, &ticket), NIXL_STORE_OK, "batch_get");
    wait_for(bench, ticket, 1, NIXL_STORE_NOT_FOUND);
}

static void contains_hit(bench_t *bench, uint64_t number)
{
    chunk_key_t key;
    name_key(&key, 's', number % SLOTS);
    expect(nixl_store_key_contains(bench->store, &key, sizeof key), NIXL_STORE_OK, "contains");
}

static void contains_miss(bench_t *bench, uint64_t number)
{
    chunk_key_t key;
    name_key(&key, 'm', number);
    expect(nixl_store_key_contains(bench->store, &key, sizeof key), NIXL_STORE_NOT_FOUND, "contains");
}

static void prefix_match(bench_t *bench, uint64_t number)
{
    size_t matched;
    (void)number;
    expect(nixl_store_prefix_match(bench->store, bench->chain, CHAIN_KEYS, &matched), NIXL_STORE_OK, "prefix_match");
    if (matched != CHAIN_KEYS)
        fail("prefix_match matched less than the chain");
}

static void remove_key(bench_t *bench, uint64_t number)
{
    chunk_key_t key;
    name_key(&key, 's', number % SLOTS);
    expect(nixl_store_key_remove(bench->store, &key, sizeof key), NIXL_STORE_OK, "remove");
}

static const operation_t operations[] = {
    {"put_4k", 1, put_small, NULL},
    {"put_64k", 1, put_large, NULL},
    {"get_64k", 1, get_large, fill_large},
    {"batch_put_4k_item", BATCH_ITEMS, batch_put, NULL},
    {"get_4k", 1, get_small, fill_small},
    {"batch_get_4k_item", BATCH_ITEMS, batch_get, NULL},
    {"get_miss", 1, get_miss, NULL},
    {"submit_wait", 1, submit_wait, NULL},
    {"contains_hit", 1, contains_hit, NULL},
    {"contains_miss", 1, contains_miss, NULL},
    {"prefix_match_key", CHAIN_KEYS, prefix_match, NULL},
    {"remove", 1, remove_key, fill_small}, /* the last one: it empties the pool */
};

static void count(bench_t *bench, const operation_t *operation)
{
    unsigned rounds = operation->per_round > 1 ? ROUNDS / 8 : ROUNDS;

    if (operation->before != NULL)
        operation->before(bench);
    for (uint64_t round = 0; round < WARM_ROUNDS; round++)
        operation->round(bench, round);
    for (unsigned profile = 0; profile < PROFILES; profile++) {
        if (operation->round == remove_key)
            operation->before(bench); /* what was removed before */
        CALLGRIND_ZERO_STATS;
        for (uint64_t round = 0; round < rounds; round++)
            operation->round(bench, round);
        CALLGRIND_DUMP_STATS_AT(operation->name);
    }
    printf("%s %u\n", operation->name, rounds * operation->per_round);
}

int main(int argc, char **argv)
{
    bench_t *bench = calloc(1, sizeof *bench);

    if (argc != 2 || bench == NULL) {
        fprintf(stderr, "usage: operations CONFIG\n");
        return 2;
    }
    bench->memory = aligned_alloc(PAGE_BYTES, BATCH_ITEMS * SMALL_BYTES);
    if (bench->memory == NULL)
        return perror("operations"), 1;
    memset(bench->memory, 0x5a, BATCH_ITEMS * SMALL_BYTES);
    for (size_t item = 0; item < BATCH_ITEMS; item++) {
        bench->segments[item] = (nixl_store_segment_t){.address = bench->memory + item * SMALL_BYTES,
                                                       .length = SMALL_BYTES};
        bench->items[item] = (nixl_store_item_t){.key = &bench->item_keys[item],
                                                 .key_length = sizeof(chunk_key_t),
                                                 .segments = &bench->segments[item],
                                                 .segment_count = 1};
    }
    for (size_t link = 0; link < CHAIN_KEYS; link++) {
        name_key(&bench->chain_keys[link], 's', link);
        bench->chain[link] = (nixl_store_key_t){.key = &bench->chain_keys[link], .key_length = sizeof(chunk_key_t)};
    }
    expect(nixl_store_open(argv[1], NULL, &bench->store), NIXL_STORE_OK, "open");
    for (size_t at = 0; at < sizeof operations / sizeof *operations; at++)
        count(bench, &operations[at]);
    expect(nixl_store_close(bench->store), NIXL_STORE_OK, "close");
    free(bench->memory);
    free(bench);
}
