/* Runs each test in a process of its own, with the environment that it asks for and a bounded time. */

#include "self_test.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TEST_SECONDS_MAX 120
#define EVENTUALLY_POLLS 20000
#define POLL_NANOSECONDS 500000

struct driver cu;
struct standin standin;

static bool over_standin;

static const struct test *const groups[] = {
    device_tests, memory_tests, stream_tests, value_tests, capture_tests, fault_tests, life_tests, plain_tests,
};
#define GROUPS (sizeof groups / sizeof groups[0])

static void load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    void *address;
#define FIND(name, symbol, arguments)                    \
    address = dlsym(library, #symbol);                   \
    CHECK(address != NULL);                              \
    memcpy(&cu.name, &address, sizeof address);
    DRIVER_CALLS(FIND)
    over_standin = dlsym(library, "standin_reset") != NULL;
    if (!over_standin)
        return;
#define FIND_STANDIN(type, name, arguments)              \
    address = dlsym(library, #name);                     \
    CHECK(address != NULL);                              \
    memcpy(&standin.name, &address, sizeof address);
    STANDIN_CALLS(FIND_STANDIN)
}

void expect_broken_rule(const char *part_of_text)
{
    char text[256];
    if (!over_standin)
        return;
    unsigned count = standin.standin_broken_rules();
    bool found = count == 1 && standin.standin_broken_rule(0, text, sizeof text) && strstr(text, part_of_text) != NULL;
    if (!found) {
        fprintf(stderr, "expected one broken rule with \"%s\", got %u\n", part_of_text, count);
        for (unsigned i = 0; standin.standin_broken_rule(i, text, sizeof text); i++)
            fprintf(stderr, "  %s\n", text);
        exit(1);
    }
    standin.standin_reset();
}

void expect_no_broken_rule(void)
{
    char text[256];
    if (!over_standin || standin.standin_broken_rules() == 0)
        return;
    for (unsigned i = 0; standin.standin_broken_rule(i, text, sizeof text); i++)
        fprintf(stderr, "broken rule: %s\n", text);
    exit(1);
}

CUcontext begin(void)
{
    CUcontext context;
    OK(cu.cuInit(0));
    OK(cu.cuDevicePrimaryCtxRetain(&context, 0));
    OK(cu.cuCtxPushCurrent(context));
    return context;
}

void finish(void)
{
    CUcontext context;
    expect_no_broken_rule();
    if (over_standin) {
        CHECK(standin.standin_live(STANDIN_ALLOCATIONS) == 0);
        CHECK(standin.standin_live(STANDIN_REGISTRATIONS) == 0);
        CHECK(standin.standin_live(STANDIN_STREAMS) == 0);
        CHECK(standin.standin_live(STANDIN_EVENTS) == 0);
        CHECK(standin.standin_live(STANDIN_MODULES) == 0);
        CHECK(standin.standin_live(STANDIN_OTHERS) == 0);
        CHECK(standin.standin_live(STANDIN_OPERATIONS) == 0);
    }
    OK(cu.cuCtxPopCurrent(&context));
    OK(cu.cuDevicePrimaryCtxRelease(0));
    if (over_standin) {
        CHECK(standin.standin_live(STANDIN_CONTEXTS) == 0);
        CHECK(standin.standin_context_depth() == 0);
    }
    expect_no_broken_rule();
}

void fill(unsigned char *bytes, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (unsigned char)(seed >> 24);
    }
}

CUstream new_stream(unsigned flags)
{
    CUstream stream;
    OK(cu.cuStreamCreate(&stream, flags));
    return stream;
}

unsigned char *new_pinned(size_t bytes)
{
    void *pinned;
    OK(cu.cuMemHostAlloc(&pinned, bytes, 0));
    memset(pinned, 0, bytes);
    return pinned;
}

CUdeviceptr new_device(size_t bytes)
{
    CUdeviceptr address;
    OK(cu.cuMemAlloc(&address, bytes));
    return address;
}

struct body {
    void (*run)(void *);
    void *argument;
};

static void *run_body(void *argument)
{
    const struct body *body = argument;
    body->run(body->argument);
    return NULL;
}

void in_thread(void (*run)(void *), void *argument)
{
    pthread_t thread;
    struct body body = {run, argument};
    CHECK(pthread_create(&thread, NULL, run_body, &body) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

bool touching_crashes(uint64_t address)
{
    int status;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        volatile char *at = (volatile char *)(uintptr_t)address;
        _exit(*at == 1 ? 2 : 3);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status);
}

bool eventually(bool (*so)(void *), void *argument)
{
    struct timespec pause = {.tv_nsec = POLL_NANOSECONDS};
    for (int i = 0; i < EVENTUALLY_POLLS; i++) {
        if (so(argument))
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static const struct test *find(const char *name)
{
    for (size_t group = 0; group < GROUPS; group++)
        for (const struct test *test = groups[group]; test->name != NULL; test++)
            if (strcmp(test->name, name) == 0)
                return test;
    return NULL;
}

static void set_environment(const char *text)
{
    char copy[256], *rest, *pair;
    snprintf(copy, sizeof copy, "%s", text);
    for (pair = strtok_r(copy, " ", &rest); pair != NULL; pair = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(pair, '=');
        CHECK(equals != NULL);
        *equals = '\0';
        setenv(pair, equals + 1, 1);
    }
}

static bool run(const char *self, const struct test *test)
{
    int status;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (test->environment != NULL)
            set_environment(test->environment);
        execl(self, self, test->name, (char *)NULL);
        _exit(127);
    }
    CHECK(waitpid(child, &status, 0) == child);
    bool passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        printf("skip %s\n", test->name), passed = true;
    else
        printf("%s %s\n", passed ? "ok  " : "FAIL", test->name);
    return passed;
}

int main(int count, char **arguments)
{
    if (count > 1) {
        const struct test *test = find(arguments[1]);
        CHECK(test != NULL);
        alarm(TEST_SECONDS_MAX);
        load();
        if (test->asks_standin && !over_standin)
            return 77;
        test->body();
        return 0;
    }
    unsigned failed = 0, ran = 0;
    for (size_t group = 0; group < GROUPS; group++) {
        for (const struct test *test = groups[group]; test->name != NULL && groups[group] != plain_tests; test++) {
            failed += !run("/proc/self/exe", test);
            ran++;
        }
    }
    printf("%u tests, %u failed\n", ran, failed);
    return failed != 0;
}
