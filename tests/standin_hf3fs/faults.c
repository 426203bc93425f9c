/* What goes wrong when, by schedule; and chance, from a seed. */

#include "internal.h"

struct schedule {
    atomic_int direction, code;
    atomic_uint_fast64_t every, met;
};

static struct schedule schedules[STANDIN_HF3FS_FAULT_KINDS];
static struct schedule eagains;
static atomic_uint_fast64_t entries_max;
static atomic_uint_fast64_t delay_us, seed;
static atomic_int order;
static struct {
    atomic_uint_fast64_t left; /* calls until it fails, with that one */
    atomic_int code;
} failures[STANDIN_HF3FS_FAILING_CALLS];

static bool is_due(struct schedule *schedule)
{
    uint64_t every = atomic_load_explicit(&schedule->every, memory_order_relaxed);
    return every != 0 && (atomic_fetch_add(&schedule->met, 1) + 1) % every == 0;
}

struct fault fault_draw(bool read, uint64_t bytes)
{
    struct fault fault = {-1, 0};
    int direction = read ? STANDIN_HF3FS_READS_ONLY : STANDIN_HF3FS_WRITES_ONLY;
    for (int kind = 0; kind < STANDIN_HF3FS_FAULT_KINDS; kind++) {
        struct schedule *schedule = &schedules[kind];
        if (atomic_load_explicit(&schedule->every, memory_order_relaxed) == 0
            || !(atomic_load(&schedule->direction) & direction) || (kind == STANDIN_HF3FS_SHORT && bytes < 8192))
            continue;
        /* Each schedule counts each entry, also one that another spoils. */
        if (is_due(schedule) && fault.kind < 0)
            fault = (struct fault){kind, atomic_load(&schedule->code)};
    }
    if (fault.kind >= 0)
        count_add(STANDIN_HF3FS_FAULTS, 1);
    return fault;
}

bool eagain_due(uint64_t under_way)
{
    uint64_t most = atomic_load_explicit(&entries_max, memory_order_relaxed);
    if (most != 0 && under_way >= most)
        return true;
    return under_way > 0 && is_due(&eagains);
}

int failure_due(enum standin_hf3fs_call call)
{
    uint64_t left = atomic_load(&failures[call].left);
    while (left > 0)
        if (atomic_compare_exchange_weak(&failures[call].left, &left, left - 1))
            return left == 1 ? atomic_load(&failures[call].code) : 0;
    return 0;
}

/* SplitMix64, of Steele, Lea and Flood. */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t delay_draw(uint64_t *state)
{
    uint64_t longest_us = atomic_load_explicit(&delay_us, memory_order_relaxed);
    if (longest_us == 0)
        return 0;
    uint64_t chance = random_next(state);
    uint64_t delay_ns = random_next(state) % (longest_us * 1000 + 1);
    return chance % 64 == 0 ? delay_ns * 32 : delay_ns;
}

uint64_t seed_now(void)
{
    return atomic_load(&seed);
}

int order_now(void)
{
    return atomic_load_explicit(&order, memory_order_relaxed);
}

void faults_reset(void)
{
    for (int kind = 0; kind < STANDIN_HF3FS_FAULT_KINDS; kind++)
        standin_hf3fs_fault(kind, STANDIN_HF3FS_BOTH, 0, 0);
    for (int call = 0; call < STANDIN_HF3FS_FAILING_CALLS; call++)
        standin_hf3fs_fail(call, 0, 0);
}

/* ---- the controls ---- */

EXPORT void standin_hf3fs_fault(int kind, int direction, uint64_t every, int code)
{
    RULE(kind >= 0 && kind < STANDIN_HF3FS_FAULT_KINDS, "there is no fault %d", kind);
    RULE((direction & ~STANDIN_HF3FS_BOTH) == 0 && direction != 0, "there is no direction %d", direction);
    RULE(kind != STANDIN_HF3FS_ERROR || every == 0 || code > 0, "%d is not an errno", code);
    struct schedule *schedule = &schedules[kind];
    atomic_store(&schedule->every, 0);
    atomic_store(&schedule->direction, direction);
    atomic_store(&schedule->code, code);
    atomic_store(&schedule->met, 0);
    atomic_store(&schedule->every, every);
}

EXPORT void standin_hf3fs_eagain(uint64_t every)
{
    atomic_store(&eagains.met, 0);
    atomic_store(&eagains.every, every);
}

EXPORT void standin_hf3fs_entries_max(uint64_t entries)
{
    atomic_store(&entries_max, entries);
}

EXPORT void standin_hf3fs_fail(int call, uint64_t nth, int code)
{
    RULE(call >= 0 && call < STANDIN_HF3FS_FAILING_CALLS, "there is no call %d", call);
    RULE(nth == 0 || code > 0, "%d is not an errno", code);
    atomic_store(&failures[call].left, 0);
    atomic_store(&failures[call].code, code);
    atomic_store(&failures[call].left, nth);
}

EXPORT void standin_hf3fs_delay(uint64_t longest_us)
{
    atomic_store(&delay_us, longest_us);
}

EXPORT void standin_hf3fs_seed(uint64_t from)
{
    atomic_store(&seed, from);
}

EXPORT void standin_hf3fs_order(int which)
{
    RULE(which >= STANDIN_HF3FS_AS_DONE && which <= STANDIN_HF3FS_RANDOM, "there is no order %d", which);
    atomic_store(&order, which);
}
