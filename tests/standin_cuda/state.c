/* The lock, the settings, and the frame of every call: what it must find before it begins, and how it waits. */

#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DEVICES_DEFAULT 2
#define DRIVER_VERSION_DEFAULT 13000
#define DELAY_US_DEFAULT 50
#define DELAY_US_MAX 1000000
#define PATIENCE_MS_DEFAULT 30000
#define PATIENCE_MS_MAX 3600000
#define MEMORY_MIB_DEFAULT 8192
#define MEMORY_MIB_MAX (1 << 20)
/* 1 says what was refused and which rules were broken, 2 every call too. */
#define VERBOSE_CALLS 2
#define NANOSECONDS 1000000000l

struct settings settings;
bool driver_initialised;

_Thread_local const char *call_name = "?";
_Thread_local struct context *call_context;
_Thread_local bool in_host_function;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress;
static pthread_condattr_t monotonic;
/* Those in wait_until(). Each is woken when what it waits for has come and not before: many wait at a time, for
 * streams of their own, and all of them awake at each operation's end would hold up the next. */
struct waiter {
    bool (*done)(void *);
    void *argument;
    pthread_cond_t woken;
    struct waiter *next;
};
static struct waiter *waiters;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static long environment(const char *name, long fallback, long least, long most)
{
    const char *text = getenv(name);
    if (text == NULL || *text == '\0')
        return fallback;
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < least || value > most) {
        fprintf(stderr, "standin_cuda: %s=%s is not a number from %ld to %ld\n", name, text, least, most);
        abort();
    }
    return value;
}

static void prepare(void)
{
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&progress, &monotonic);
    settings.devices = (int)environment("STANDIN_CUDA_DEVICES", DEVICES_DEFAULT, 0, DEVICES_MAX);
    settings.driver_version = (int)environment("STANDIN_CUDA_VERSION", DRIVER_VERSION_DEFAULT, 1000, 99990);
    settings.init_result = (int)environment("STANDIN_CUDA_INIT", CUDA_SUCCESS, 0, CUDA_ERROR_UNKNOWN);
    settings.delay_us = environment("STANDIN_CUDA_DELAY_US", DELAY_US_DEFAULT, 0, DELAY_US_MAX);
    settings.usual_delay_us = settings.delay_us;
    settings.patience_ms = environment("STANDIN_CUDA_PATIENCE_MS", PATIENCE_MS_DEFAULT, 1, PATIENCE_MS_MAX);
    settings.seed = (uint64_t)environment("STANDIN_CUDA_SEED", 1, 0, INT32_MAX);
    settings.device_bytes =
        (uint64_t)environment("STANDIN_CUDA_MEMORY_MIB", MEMORY_MIB_DEFAULT, 1, MEMORY_MIB_MAX) << 20;
    settings.verbose = (int)environment("STANDIN_CUDA_VERBOSE", 0, 0, VERBOSE_CALLS);
}

void lock(void)
{
    pthread_once(&once, prepare);
    pthread_mutex_lock(&mutex);
}

void unlock(void)
{
    pthread_mutex_unlock(&mutex);
}

void progress_made(void)
{
    for (struct waiter *waiter = waiters; waiter != NULL; waiter = waiter->next)
        if (waiter->done(waiter->argument))
            pthread_cond_signal(&waiter->woken);
    pthread_cond_broadcast(&progress);
}

/* splitmix64: any state will do, and neighbouring ones differ. */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

void verbose_line(const char *format, ...)
{
    if (settings.verbose == 0)
        return;
    va_list arguments;
    va_start(arguments, format);
    flockfile(stderr);
    fputs("standin_cuda: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    funlockfile(stderr);
    va_end(arguments);
}

CUresult call_begin(const char *name, enum need need)
{
    lock();
    call_name = name;
    call_context = NULL;
    count_call(name);
    if (settings.verbose == VERBOSE_CALLS)
        verbose_line("%s", name);
    CUresult result = CUDA_SUCCESS;
    if (in_host_function) {
        rule_broken("%s was called in a host function", name);
        result = CUDA_ERROR_NOT_PERMITTED;
    }
    if (result == CUDA_SUCCESS)
        result = failure_due(name, "");
    if (result == CUDA_SUCCESS && need != NEED_NOTHING && !driver_initialised)
        result = CUDA_ERROR_NOT_INITIALIZED;
    if (result == CUDA_SUCCESS && need == NEED_CONTEXT)
        result = context_enter(&call_context);
    if (result != CUDA_SUCCESS) {
        verbose_line("%s failed with %d as it began", name, result);
        unlock();
    }
    return result;
}

CUresult call_end(CUresult result)
{
    if (result != CUDA_SUCCESS && result != CUDA_ERROR_NOT_READY)
        verbose_line("%s failed with %d", call_name, result);
    unlock();
    return result;
}

CUresult refuse(const char *what, long long value)
{
    verbose_line("%s: %s %lld is not known here", call_name, what, value);
    return CUDA_ERROR_INVALID_VALUE;
}

static struct timespec from_now(long nanoseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += nanoseconds / NANOSECONDS;
    time.tv_nsec += nanoseconds % NANOSECONDS;
    if (time.tv_nsec >= NANOSECONDS) {
        time.tv_nsec -= NANOSECONDS;
        time.tv_sec++;
    }
    return time;
}

void wait_for_progress(long microseconds)
{
    struct timespec until = from_now(microseconds * 1000);
    pthread_cond_timedwait(&progress, &mutex, &until);
}

void wait_for_work(pthread_cond_t *work)
{
    pthread_cond_wait(work, &mutex);
}

bool wait_until(bool (*done)(void *), void *argument)
{
    /* The lock is let go, so another call of this thread cannot come between, but the name may be needed after. */
    const char *name = call_name;
    struct timespec until = from_now(settings.patience_ms * (NANOSECONDS / 1000));
    if (done(argument))
        return true;
    struct waiter waiter = {.done = done, .argument = argument, .next = waiters};
    pthread_cond_init(&waiter.woken, &monotonic);
    waiters = &waiter;
    bool came = true;
    while (came && !done(argument))
        came = pthread_cond_timedwait(&waiter.woken, &mutex, &until) != ETIMEDOUT || done(argument);
    struct waiter **at = &waiters;
    while (*at != &waiter)
        at = &(*at)->next;
    *at = waiter.next;
    pthread_cond_destroy(&waiter.woken);
    if (!came)
        rule_broken("%s waited longer than %ld ms: what it waits for may never come", name, settings.patience_ms);
    return came;
}
