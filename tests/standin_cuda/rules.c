/* What the caller did: rules it broke, calls it made, and calls that a test wants to fail. */

#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RULES_KEPT 64u
#define RULE_BYTES 256
#define CALLS_MAX 512u
#define THREADS_MAX 1024u
#define FAILURES_MAX 32u
#define NAME_BYTES 64

struct calls {
    const char *name;
    unsigned long count;
};

struct sync_calls {
    long thread;
    unsigned long count;
};

struct failure {
    char name[NAME_BYTES];
    unsigned nth;
    CUresult code;
};

static char rules[RULES_KEPT][RULE_BYTES];
static unsigned rules_count;
static struct calls calls[CALLS_MAX];
static struct sync_calls syncs[THREADS_MAX];
static unsigned syncs_count;
static unsigned long syncs_total;
static struct failure failures[FAILURES_MAX];
static unsigned failures_count;
static unsigned long copies[STANDIN_COPY_KINDS];
static unsigned long long copied_bytes[STANDIN_COPY_KINDS];
static unsigned long allocations_while_waiting;

void rule_broken(const char *format, ...)
{
    char text[RULE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (rules_count < RULES_KEPT)
        memcpy(rules[rules_count], text, sizeof text);
    rules_count++;
    verbose_line("broken rule: %s", text);
}

/* Names are literals, but one name may stand in several files. */
static struct calls *calls_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (const char *at = name; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    for (uint32_t step = 0; step < CALLS_MAX; step++) {
        struct calls *slot = &calls[(hash + step) % CALLS_MAX];
        if (slot->name == NULL || strcmp(slot->name, name) == 0)
            return slot;
    }
    return NULL;
}

void count_call(const char *name)
{
    struct calls *slot = calls_of(name);
    if (slot == NULL)
        return;
    slot->name = name;
    slot->count++;
}

static struct sync_calls *syncs_of(long thread)
{
    for (unsigned i = 0; i < syncs_count; i++)
        if (syncs[i].thread == thread)
            return &syncs[i];
    return NULL;
}

void count_sync(void)
{
    long thread = syscall(SYS_gettid);
    struct sync_calls *slot = syncs_of(thread);
    syncs_total++;
    if (slot == NULL && syncs_count < THREADS_MAX) {
        slot = &syncs[syncs_count++];
        slot->thread = thread;
        slot->count = 0;
    }
    if (slot != NULL)
        slot->count++;
}

void count_allocation(int device)
{
    if (!device_waits_for_value(device))
        return;
    allocations_while_waiting++;
    verbose_line("%s while a stream of device %d waits for a value", call_name, device);
}

void count_copy(enum standin_copy kind, uint64_t bytes)
{
    copies[kind]++;
    copied_bytes[kind] += bytes;
}

CUresult failure_due(const char *name, const char *suffix)
{
    CUresult result = CUDA_SUCCESS;
    size_t length = strlen(name);
    for (unsigned i = 0; i < failures_count;) {
        struct failure *failure = &failures[i];
        bool same = strncmp(failure->name, name, length) == 0 && strcmp(failure->name + length, suffix) == 0;
        if (!same || failure->nth > 1 || result != CUDA_SUCCESS) {
            if (same && failure->nth > 1)
                failure->nth--;
            i++;
            continue;
        }
        result = failure->code;
        *failure = failures[--failures_count];
    }
    return result;
}

/* ---- for tests ---- */

CUDA_API int standin_fail(const char *name, unsigned nth, int code)
{
    int result = -1;
    lock();
    if (failures_count < FAILURES_MAX && nth > 0 && strlen(name) < NAME_BYTES) {
        struct failure *failure = &failures[failures_count++];
        strcpy(failure->name, name);
        failure->nth = nth;
        failure->code = (CUresult)code;
        result = 0;
    }
    unlock();
    return result;
}

CUDA_API void standin_reset(void)
{
    lock();
    rules_count = 0;
    memset(calls, 0, sizeof calls);
    syncs_count = 0;
    syncs_total = 0;
    failures_count = 0;
    memset(copies, 0, sizeof copies);
    memset(copied_bytes, 0, sizeof copied_bytes);
    allocations_while_waiting = 0;
    settings.delay_us = settings.usual_delay_us;
    release_all();
    unlock();
}

CUDA_API unsigned standin_broken_rules(void)
{
    lock();
    unsigned count = rules_count;
    unlock();
    return count;
}

CUDA_API int standin_broken_rule(unsigned index, char *text, size_t bytes)
{
    lock();
    int found = index < rules_count && index < RULES_KEPT;
    if (found)
        snprintf(text, bytes, "%s", rules[index]);
    unlock();
    return found;
}

CUDA_API unsigned long standin_calls(const char *name)
{
    lock();
    struct calls *slot = calls_of(name);
    unsigned long count = slot != NULL && slot->name != NULL ? slot->count : 0;
    unlock();
    return count;
}

CUDA_API unsigned long standin_sync_calls(long thread)
{
    lock();
    unsigned long count = syncs_total;
    if (thread >= 0) {
        struct sync_calls *slot = syncs_of(thread != 0 ? thread : syscall(SYS_gettid));
        count = slot != NULL ? slot->count : 0;
    }
    unlock();
    return count;
}

CUDA_API unsigned long standin_copies(enum standin_copy kind, unsigned long long *bytes)
{
    lock();
    bool known = (unsigned)kind < STANDIN_COPY_KINDS;
    unsigned long count = known ? copies[kind] : 0;
    if (bytes != NULL)
        *bytes = known ? copied_bytes[kind] : 0;
    unlock();
    return count;
}

CUDA_API unsigned long standin_allocations_while_waiting(void)
{
    lock();
    unsigned long count = allocations_while_waiting;
    unlock();
    return count;
}
