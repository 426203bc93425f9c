/* Shows that the real libcufile runs over the stand-in, in its compatibility mode: writes, reads and batches between
 * files and memory of cuMemAlloc, which cuFile cannot touch but through the driver.
 *
 * cufile_check LIBCUFILE FOLDER, with libcuda.so.1 of the stand-in in LD_LIBRARY_PATH. Files on tmpfs need no udev. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "cuda_api.h"
#include "standin.h"

#define SECONDS_MAX 60
#define FILE_BYTES (1u << 20)
#define REQUEST_BYTES (64u << 10)
#define BATCH_ENTRIES (FILE_BYTES / REQUEST_BYTES)
/* Where in the allocation the file's bytes begin: cuFile is given interior pointers and offsets. */
#define LEAD_BYTES 8192u
#define ALLOCATION_BYTES (LEAD_BYTES + FILE_BYTES)
#define BATCH_POLLS_MAX 100000

/* ---- what is needed of cufile.h ---- */

struct cufile_error {
    int code;
    int cuda_code;
};

struct cufile_description {
    int type;
    union {
        int file;
        void *pointer;
    } handle;
    const void *operations;
};

struct cufile_request {
    int mode;
    void *device_base;
    off_t file_offset;
    off_t device_offset;
    size_t bytes;
    void *file;
    int operation;
    void *cookie;
};

struct cufile_event {
    void *cookie;
    int status;
    size_t result;
};

_Static_assert(sizeof(struct cufile_request) == 64, "layout of cufile.h");
_Static_assert(sizeof(struct cufile_event) == 24, "layout of cufile.h");

enum { FILE_DESCRIPTOR = 1, BATCH_MODE = 1, BATCH_READ = 0, BATCH_WRITE = 1, STATUS_COMPLETE = 0x10 };

typedef struct cufile_error error_of;

#define CUFILE_CALLS(X)                                                                             \
    X(error_of, cuFileDriverOpen, cuFileDriverOpen, (void))                                         \
    X(error_of, cuFileDriverClose, cuFileDriverClose_v2, (void))                                    \
    X(error_of, cuFileGetVersion, cuFileGetVersion, (int *))                                        \
    X(error_of, cuFileHandleRegister, cuFileHandleRegister, (void **, struct cufile_description *)) \
    X(void, cuFileHandleDeregister, cuFileHandleDeregister, (void *))                               \
    X(error_of, cuFileBufRegister, cuFileBufRegister, (const void *, size_t, int))                  \
    X(error_of, cuFileBufDeregister, cuFileBufDeregister, (const void *))                           \
    X(ssize_t, cuFileRead, cuFileRead, (void *, void *, size_t, off_t, off_t))                      \
    X(ssize_t, cuFileWrite, cuFileWrite, (void *, const void *, size_t, off_t, off_t))              \
    X(error_of, cuFileBatchIOSetUp, cuFileBatchIOSetUp, (void **, unsigned))                        \
    X(error_of, cuFileBatchIOSubmit, cuFileBatchIOSubmit,                                           \
      (void *, unsigned, struct cufile_request *, unsigned))                                        \
    X(error_of, cuFileBatchIOGetStatus, cuFileBatchIOGetStatus,                                     \
      (void *, unsigned, unsigned *, struct cufile_event *, struct timespec *))                     \
    X(void, cuFileBatchIODestroy, cuFileBatchIODestroy, (void *))

#define DRIVER_CALLS(X)                                                                 \
    X(CUresult, cuInit, cuInit, (unsigned))                                             \
    X(CUresult, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext *, int)) \
    X(CUresult, cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (int))         \
    X(CUresult, cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                          \
    X(CUresult, cuMemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                     \
    X(CUresult, cuMemFree, cuMemFree_v2, (CUdeviceptr))                                 \
    X(unsigned, broken_rules, standin_broken_rules, (void))                             \
    X(int, broken_rule, standin_broken_rule, (unsigned, char *, size_t))                \
    X(unsigned long, copies, standin_copies, (enum standin_copy, unsigned long long *)) \
    X(unsigned long, live, standin_live, (enum standin_kind))                           \
    X(int, read, standin_read, (uint64_t, void *, size_t))                              \
    X(int, write, standin_write, (uint64_t, const void *, size_t))

static struct {
#define MEMBER(type, name, symbol, arguments) type(*name) arguments;
    CUFILE_CALLS(MEMBER)
} cufile;

static struct {
    DRIVER_CALLS(MEMBER)
} driver;

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);  \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

#define OK(call)                                                                                       \
    do {                                                                                               \
        error_of error_ = (call);                                                                      \
        if (error_.code != 0) {                                                                        \
            fprintf(stderr, "%s:%d: %d (CUDA %d) from %s\n", __FILE__, __LINE__, error_.code,           \
                    error_.cuda_code, #call);                                                          \
            exit(1);                                                                                   \
        }                                                                                              \
    } while (0)

typedef FILE *(*opener)(const char *, const char *);

static opener next_fopen, next_fopen64;

static opener next_of(const char *symbol)
{
    opener next;
    void *address = dlsym(RTLD_NEXT, symbol);
    memcpy(&next, &address, sizeof next);
    return next;
}

/* Found before main, once: dlsym forgets the thread's dlerror, and cuFile opens files between a failed
   dlopen and its question why. It ends with an exception where there is no answer. */
__attribute__((constructor)) static void find_next(void)
{
    next_fopen = next_of("fopen");
    next_fopen64 = next_of("fopen64");
}

/* cuFile looks for its kernel module in /proc/modules, and looks for ever where there is no such file. */
static FILE *open_or_nothing(opener next, const char *path, const char *mode)
{
    bool missing = strcmp(path, "/proc/modules") == 0 && access(path, R_OK) != 0;
    return next(missing ? "/dev/null" : path, mode);
}

/* These come before the C library's for all that is loaded later. */
FILE *fopen(const char *path, const char *mode)
{
    return open_or_nothing(next_fopen, path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return open_or_nothing(next_fopen64, path, mode);
}

static void *load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    return library;
}

static void load_all(const char *cufile_path)
{
    void *address, *library = load("libcuda.so.1");
#define FIND(table, name, symbol)         \
    address = dlsym(library, #symbol);    \
    CHECK(address != NULL);               \
    memcpy(&table.name, &address, sizeof address);
#define FIND_DRIVER(type, name, symbol, arguments) FIND(driver, name, symbol)
    DRIVER_CALLS(FIND_DRIVER)
    library = load(cufile_path);
#define FIND_CUFILE(type, name, symbol, arguments) FIND(cufile, name, symbol)
    CUFILE_CALLS(FIND_CUFILE)
}

static unsigned char expected[FILE_BYTES], got[FILE_BYTES];
static int file;
static void *handle;
static CUdeviceptr device;

static void new_bytes(unsigned seed)
{
    for (size_t i = 0; i < FILE_BYTES; i++) {
        seed = seed * 1664525u + 1013904223u;
        expected[i] = (unsigned char)(seed >> 24);
    }
}

static void expect_file(void)
{
    CHECK(pread(file, got, FILE_BYTES, 0) == FILE_BYTES);
    CHECK(memcmp(got, expected, FILE_BYTES) == 0);
}

static void expect_device(void)
{
    CHECK(driver.read(device + LEAD_BYTES, got, FILE_BYTES) == 0);
    CHECK(memcmp(got, expected, FILE_BYTES) == 0);
}

static void *pointer(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

/* By base and offset if `interior` is 0, by a pointer into the allocation otherwise. */
static void one_by_one(bool interior)
{
    void *base = pointer(interior ? device + LEAD_BYTES : device);
    off_t lead = interior ? 0 : LEAD_BYTES;
    new_bytes(interior ? 1 : 2);
    CHECK(driver.write(device + LEAD_BYTES, expected, FILE_BYTES) == 0);
    for (off_t at = 0; at < (off_t)FILE_BYTES; at += REQUEST_BYTES)
        CHECK(cufile.cuFileWrite(handle, base, REQUEST_BYTES, at, lead + at) == (ssize_t)REQUEST_BYTES);
    expect_file();
    new_bytes(interior ? 3 : 4);
    CHECK(pwrite(file, expected, FILE_BYTES, 0) == FILE_BYTES);
    for (off_t at = 0; at < (off_t)FILE_BYTES; at += REQUEST_BYTES)
        CHECK(cufile.cuFileRead(handle, base, REQUEST_BYTES, at, lead + at) == (ssize_t)REQUEST_BYTES);
    expect_device();
}

static void run_batch(int operation)
{
    static struct cufile_request requests[BATCH_ENTRIES];
    static struct cufile_event events[BATCH_ENTRIES];
    bool seen[BATCH_ENTRIES] = {false};
    unsigned done = 0;
    void *batch;
    for (size_t i = 0; i < BATCH_ENTRIES; i++) {
        requests[i] = (struct cufile_request){.mode = BATCH_MODE,
                                              .device_base = pointer(device + LEAD_BYTES + i * REQUEST_BYTES),
                                              .file_offset = (off_t)(i * REQUEST_BYTES),
                                              .bytes = REQUEST_BYTES,
                                              .file = handle,
                                              .operation = operation,
                                              .cookie = pointer(i)};
    }
    OK(cufile.cuFileBatchIOSetUp(&batch, BATCH_ENTRIES));
    OK(cufile.cuFileBatchIOSubmit(batch, BATCH_ENTRIES, requests, 0));
    for (unsigned poll = 0; done < BATCH_ENTRIES; poll++) {
        unsigned count = BATCH_ENTRIES;
        struct timespec limit = {.tv_nsec = 1000000};
        CHECK(poll < BATCH_POLLS_MAX);
        OK(cufile.cuFileBatchIOGetStatus(batch, 1, &count, events, &limit));
        for (unsigned i = 0; i < count; i++) {
            size_t which = (size_t)(uintptr_t)events[i].cookie;
            CHECK(events[i].status == STATUS_COMPLETE && events[i].result == REQUEST_BYTES);
            CHECK(which < BATCH_ENTRIES && !seen[which]);
            seen[which] = true;
            done++;
        }
    }
    cufile.cuFileBatchIODestroy(batch);
}

static void batches(void)
{
    new_bytes(5);
    CHECK(driver.write(device + LEAD_BYTES, expected, FILE_BYTES) == 0);
    run_batch(BATCH_WRITE);
    expect_file();
    new_bytes(6);
    CHECK(pwrite(file, expected, FILE_BYTES, 0) == FILE_BYTES);
    run_batch(BATCH_READ);
    expect_device();
}

static void report(int version)
{
    char text[256];
    unsigned long long to_device, to_host;
    driver.copies(STANDIN_HOST_TO_DEVICE, &to_device);
    driver.copies(STANDIN_DEVICE_TO_HOST, &to_host);
    printf("cuFile %d: %llu bytes to the device, %llu from it, %u broken rules, left over: %lu allocations, "
           "%lu registrations, %lu streams, %lu contexts\n",
           version, to_device, to_host, driver.broken_rules(), driver.live(STANDIN_ALLOCATIONS),
           driver.live(STANDIN_REGISTRATIONS), driver.live(STANDIN_STREAMS), driver.live(STANDIN_CONTEXTS));
    for (unsigned i = 0; driver.broken_rule(i, text, sizeof text); i++)
        printf("  broken rule: %s\n", text);
    CHECK(to_device >= 3 * FILE_BYTES && to_host >= 3 * FILE_BYTES);
}

int main(int count, char **arguments)
{
    CUcontext context;
    char path[4096];
    int version = 0;
    if (count != 3) {
        fprintf(stderr, "usage: cufile_check LIBCUFILE FOLDER\n");
        return 2;
    }
    alarm(SECONDS_MAX);
    snprintf(path, sizeof path, "%s/cufile_check.%d", arguments[2], (int)getpid());
    load_all(arguments[1]);
    CHECK(driver.cuInit(0) == CUDA_SUCCESS);
    CHECK(driver.cuDevicePrimaryCtxRetain(&context, 0) == CUDA_SUCCESS);
    CHECK(driver.cuCtxSetCurrent(context) == CUDA_SUCCESS);
    CHECK(driver.cuMemAlloc(&device, ALLOCATION_BYTES) == CUDA_SUCCESS);
    OK(cufile.cuFileDriverOpen());
    OK(cufile.cuFileGetVersion(&version));

    file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0);
    CHECK(ftruncate(file, FILE_BYTES) == 0);
    struct cufile_description description = {.type = FILE_DESCRIPTOR, .handle.file = file};
    OK(cufile.cuFileHandleRegister(&handle, &description));
    one_by_one(true);
    OK(cufile.cuFileBufRegister(pointer(device), ALLOCATION_BYTES, 0));
    one_by_one(false);
    batches();
    OK(cufile.cuFileBufDeregister(pointer(device)));
    cufile.cuFileHandleDeregister(handle);
    close(file);
    /* Not before: batches open the file once more, by its name. */
    CHECK(unlink(path) == 0);
    CHECK(driver.cuMemFree(device) == CUDA_SUCCESS);
    OK(cufile.cuFileDriverClose());
    CHECK(driver.cuCtxSetCurrent(NULL) == CUDA_SUCCESS);
    CHECK(driver.cuDevicePrimaryCtxRelease(0) == CUDA_SUCCESS);
    report(version);
    return 0;
}
