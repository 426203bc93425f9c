/*
 * A libcufile.so.0 of the tests' own: it moves bytes as cuFile does, breaks what a test tells it to break, and counts
 * whoever breaks one of cuFile's rules. What real versions answer with a crash or a hang is such a rule here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, NOT_INITIALIZED = 5001, CUDA_DRIVER_ERROR = 5011, POINTER_INVALID = 5012, CONTEXT_MISMATCH = 5015,
    INVALID_FLAG = 5019, INVALID_VALUE = 5022, MEMORY_REGISTERED = 5023, MEMORY_NOT_REGISTERED = 5024, ALREADY_OPEN = 5026,
    NOT_REGISTERED = 5027, ALREADY_REGISTERED = 5028, SUBMIT_FAILED = 5035, INTERNAL_SUBMIT = 5040, IO_ERROR = 5044
};
enum { FILES_MAX = 4096, REGIONS_MAX = 256, BATCH_ENTRIES_MAX = 128, BUFFERS_MAX = 64, COMPLETE = 0x10, FAILED = 0x40 };

typedef struct { int code, cuda; } outcome_t;
typedef struct {
    unsigned major, minor;
    size_t poll, max_direct_io_size_kib;
    unsigned status, control, features, device_cache, buffer_cache, pinned, max_batch_io_size, batch_timeout_ms;
} properties_t;
typedef struct { int type; union { int fd; void *pointer; } handle; const void *operations; } description_t;
typedef struct {
    int mode;
    void *buffer;
    off_t file_offset, buffer_offset;
    size_t size;
    void *handle;
    int opcode;
    void *cookie;
} params_t;
typedef struct { void *cookie; int status; ssize_t moved; } event_t;

/* What a test may set, by name; all of it 0 to begin with. */
static struct {
    const char *name;
    int value;
} knobs[] = {
    {"open_hangs", 0},      /* cuFileDriverOpen never returns */
    {"open_code", 0},       /* cuFileDriverOpen fails with this */
    {"is_direct", 0},       /* there is an nvidia-fs */
    {"register_code", 0},   /* cuFileHandleRegister fails with this */
    {"memory_code", 0},     /* cuFileBufRegister fails with this */
    {"short_every", 0},     /* each n-th transfer moves half of its blocks and says that it is complete */
    {"error_every", 0},     /* each n-th transfer fails with EIO */
    {"error_at_block", 0},  /* transfers fail with EIO that begin at this block of 4 KiB of a file, counted from 1 */
    {"silent_failure", 0},  /* a failed entry of a batch is told by its event alone */
    {"told_twice_every", 0},/* each n-th batch tells of its first entry twice and of its last never */
    {"told_less_every", 0}, /* each n-th batch tells of one entry less */
    {"submit_code_every", 0},/* each n-th submission fails, with the first entries done */
    {"delay_us", 0},        /* most that a transfer takes longer */
    {"gate_closed", 0},     /* transfers wait until it is not set any more */
    {"stops_at", 0},        /* the n-th transfer from now on, and those behind it, wait until it is not set any more */
    {"max_direct_kib", 0},  /* properties.max_direct_io_size; 16 MiB */
};
enum {
    OPEN_HANGS, OPEN_CODE, IS_DIRECT, REGISTER_CODE, MEMORY_CODE, SHORT_EVERY, ERROR_EVERY, ERROR_AT_BLOCK, SILENT_FAILURE,
    TOLD_TWICE_EVERY, TOLD_LESS_EVERY, SUBMIT_CODE_EVERY, DELAY_US, GATE_CLOSED, STOPS_AT, MAX_DIRECT_KIB,
    KNOBS
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct { bool used; int fd; dev_t device; ino_t inode; } files[FILES_MAX];
static struct { char *start; size_t bytes; int transfers; } regions[REGIONS_MAX]; /* start NULL: free */
static int regions_known, device_transfers;
static bool has_met_devices;
static int users, files_open, batches_open, buffers_taken, buffers_peak, transfers, batches_run, submissions;
static int stopped, broken;
static bool compat_forbidden;
static char first_broken[256];

static void rule(bool kept, const char *text)
{
    if (kept)
        return;
    pthread_mutex_lock(&lock);
    if (broken++ == 0)
        snprintf(first_broken, sizeof first_broken, "%s", text);
    pthread_mutex_unlock(&lock);
}

static outcome_t answer(int code) { return (outcome_t){code, 0}; }
static int knob(int which) { return __atomic_load_n(&knobs[which].value, __ATOMIC_SEQ_CST); }
static bool is_due(int which, int *count)
{
    int every = knob(which), number = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
    return every > 0 && number % every == 0;
}

/* ---- for the tests ---- */

int standin_set(const char *name, int value)
{
    for (int i = 0; i < KNOBS; i++)
        if (strcmp(knobs[i].name, name) == 0) {
            pthread_mutex_lock(&lock);
            __atomic_store_n(&knobs[i].value, value, __ATOMIC_SEQ_CST);
            pthread_cond_broadcast(&changed);
            pthread_mutex_unlock(&lock);
            return 0;
        }
    return -1;
}

int standin_count(const char *what)
{
    pthread_mutex_lock(&lock);
    int count = strcmp(what, "users") == 0       ? users
                : strcmp(what, "files") == 0     ? files_open
                : strcmp(what, "batches") == 0   ? batches_open
                : strcmp(what, "regions") == 0   ? regions_known
                : strcmp(what, "device_transfers") == 0 ? device_transfers
                : strcmp(what, "transfers") == 0 ? transfers
                : strcmp(what, "batches_run") == 0 ? batches_run
                : strcmp(what, "buffers_peak") == 0 ? buffers_peak
                : strcmp(what, "stopped") == 0   ? stopped
                : strcmp(what, "broken") == 0    ? broken
                                                 : -1;
    pthread_mutex_unlock(&lock);
    return count;
}

const char *standin_broken_rule(void) { return first_broken; }

void standin_reset(void)
{
    for (int i = 0; i < KNOBS; i++)
        standin_set(knobs[i].name, 0);
    pthread_mutex_lock(&lock);
    transfers = device_transfers = batches_run = submissions = buffers_peak = stopped = broken = 0;
    first_broken[0] = 0;
    pthread_mutex_unlock(&lock);
}

/* ---- CUDA, where somebody has loaded it ---- */

enum { MEMORY_TYPE = 2, DEVICE_ORDINAL = 9, ON_DEVICE = 2 };

static struct {
    bool there;
    int (*attribute)(void *, int, uint64_t), (*current)(void **), (*make_current)(void *), (*device)(int *);
    int (*to_host)(void *, uint64_t, size_t), (*to_device)(uint64_t, const void *, size_t);
} cuda;

static bool has_cuda(void)
{
    pthread_mutex_lock(&lock);
    void *library = cuda.there ? NULL : dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
    if (library) {
        *(void **)&cuda.attribute = dlsym(library, "cuPointerGetAttribute");
        *(void **)&cuda.current = dlsym(library, "cuCtxGetCurrent");
        *(void **)&cuda.make_current = dlsym(library, "cuCtxSetCurrent");
        *(void **)&cuda.device = dlsym(library, "cuCtxGetDevice");
        *(void **)&cuda.to_host = dlsym(library, "cuMemcpyDtoH_v2");
        *(void **)&cuda.to_device = dlsym(library, "cuMemcpyHtoD_v2");
        cuda.there = true;
    }
    bool there = cuda.there;
    pthread_mutex_unlock(&lock);
    return there;
}

static void *current_context(void)
{
    void *context = NULL;
    return has_cuda() && cuda.current(&context) == 0 ? context : NULL;
}

/* Whether memory is a device's that is there. */
static bool is_on_device(const void *address)
{
    unsigned type = 0;
    return has_cuda() && cuda.attribute(&type, MEMORY_TYPE, (uintptr_t)address) == 0 && type == ON_DEVICE;
}

/* The same, asked by a thread that names the memory. */
static bool names_device(const void *address)
{
    if (!is_on_device(address))
        return false;
    rule(current_context() != NULL, "a device's memory was named by a thread without a context");
    pthread_mutex_lock(&lock);
    has_met_devices = true;
    pthread_mutex_unlock(&lock);
    return true;
}

/* ---- memory that is known ---- */

/* Counts a transfer of the region that this memory lies in, if it lies in one. */
static void use_region(const char *memory, size_t size, int transfers_more)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < REGIONS_MAX; i++)
        if (regions[i].start && regions[i].start < memory + size && memory < regions[i].start + regions[i].bytes)
            regions[i].transfers += transfers_more;
    pthread_mutex_unlock(&lock);
}

outcome_t cuFileBufRegister(const void *address, size_t size, int flags)
{
    char *start = (char *)address;
    int free = -1, ordinal = -1, current = -2;
    rule(users > 0, "memory was registered without a driver");
    rule(flags == 0 && size > 0, "memory was registered with flags or without a length");
    if (!names_device(address))
        return answer(POINTER_INVALID);
    cuda.attribute(&ordinal, DEVICE_ORDINAL, (uintptr_t)address);
    if (cuda.device(&current) != 0)
        return answer(CUDA_DRIVER_ERROR);
    rule(ordinal == current, "memory was registered in the context of another device");
    if (ordinal != current)
        return answer(CONTEXT_MISMATCH);
    if (knob(MEMORY_CODE))
        return answer(knob(MEMORY_CODE));
    pthread_mutex_lock(&lock);
    bool overlaps = false;
    for (int i = 0; i < REGIONS_MAX; i++) {
        if (!regions[i].start)
            free = i;
        else
            overlaps |= regions[i].start < start + size && start < regions[i].start + regions[i].bytes;
    }
    if (!overlaps) {
        regions[free].start = start;
        regions[free].bytes = size;
        regions[free].transfers = 0;
        regions_known++;
    }
    pthread_mutex_unlock(&lock);
    rule(!overlaps, "memory was registered that is registered");
    return answer(overlaps ? MEMORY_REGISTERED : SUCCESS);
}

outcome_t cuFileBufDeregister(const void *address)
{
    bool known = false, idle = true;
    rule(is_on_device(address), "memory was freed before it was deregistered");
    rule(current_context() != NULL, "a device's memory was named by a thread without a context");
    pthread_mutex_lock(&lock);
    for (int i = 0; i < REGIONS_MAX && !known; i++)
        if (address && regions[i].start == address) {
            known = true;
            idle = regions[i].transfers == 0;
            regions[i].start = NULL;
            regions_known--;
        }
    pthread_mutex_unlock(&lock);
    rule(known, "memory was deregistered that is not registered");
    rule(idle, "memory was deregistered while a transfer uses it");
    return answer(known ? SUCCESS : MEMORY_NOT_REGISTERED);
}

/* ---- the driver ---- */

outcome_t cuFileSetParameterBool(int parameter, bool value)
{
    if (standin_count("users") > 0)
        return answer(ALREADY_OPEN);
    if (parameter == 1)
        compat_forbidden = !value;
    return answer(SUCCESS);
}

outcome_t cuFileDriverOpen(void)
{
    bool forbidden = compat_forbidden;
    compat_forbidden = false;
    while (knob(OPEN_HANGS))
        pause();
    if (knob(OPEN_CODE))
        return answer(knob(OPEN_CODE));
    if (forbidden && !knob(IS_DIRECT))
        return answer(NOT_INITIALIZED);
    pthread_mutex_lock(&lock);
    users++;
    pthread_mutex_unlock(&lock);
    return answer(SUCCESS);
}

outcome_t cuFileDriverClose_v2(void)
{
    rule(standin_count("users") > 0, "the driver was closed more often than opened");
    pthread_mutex_lock(&lock);
    users--;
    bool last = users == 0;
    pthread_mutex_unlock(&lock);
    rule(!last || standin_count("files") == 0, "the driver was closed with files registered");
    rule(!last || standin_count("batches") == 0, "the driver was closed with batches set up");
    rule(!last || standin_count("regions") == 0, "the driver was closed with memory registered");
    /* Its buffers stay pinned for CUDA otherwise, and are freed. */
    rule(!last || !has_met_devices || !has_cuda() || current_context() != NULL,
         "the driver was closed without a context, after it has met a device's memory");
    if (last)
        has_met_devices = false;
    return answer(SUCCESS);
}

outcome_t cuFileDriverGetProperties(properties_t *properties)
{
    memset(properties, 0, sizeof *properties);
    properties->max_direct_io_size_kib = knob(MAX_DIRECT_KIB) ? (size_t)knob(MAX_DIRECT_KIB) : 16384;
    properties->max_batch_io_size = BATCH_ENTRIES_MAX;
    properties->major = knob(IS_DIRECT) ? 2 : 0;
    return answer(SUCCESS);
}

/* ---- files ---- */

/* The number of a file behind a handle, or -1. */
static int file_of(const void *handle)
{
    intptr_t index = (intptr_t)handle - 1;
    struct stat stat;
    pthread_mutex_lock(&lock);
    bool known = index >= 0 && index < FILES_MAX && files[index].used;
    pthread_mutex_unlock(&lock);
    rule(known, "a file was used that is not registered");
    if (!known)
        return -1;
    bool same = fstat(files[index].fd, &stat) == 0 && stat.st_dev == files[index].device
                && stat.st_ino == files[index].inode;
    rule(same, "a file was closed before it was deregistered");
    return same ? (int)index : -1;
}

outcome_t cuFileHandleRegister(void **handle, description_t *description)
{
    struct stat stat;
    int fd = description->handle.fd, free = -1;
    int flags = fcntl(fd, F_GETFL);
    if (knob(REGISTER_CODE))
        return answer(knob(REGISTER_CODE));
    if (flags < 0 || description->type != 1 || fstat(fd, &stat) != 0 || !S_ISREG(stat.st_mode))
        return answer(INVALID_VALUE);
    if (flags & (O_NOFOLLOW | O_NOATIME | O_APPEND | O_NONBLOCK))
        return answer(INVALID_FLAG);
    rule(users > 0, "a file was registered without a driver");
    pthread_mutex_lock(&lock);
    for (int i = 0; i < FILES_MAX; i++) {
        if (files[i].used && files[i].fd == fd) {
            pthread_mutex_unlock(&lock);
            rule(false, "a descriptor was registered twice");
            return answer(ALREADY_REGISTERED);
        }
        if (!files[i].used && free < 0)
            free = i;
    }
    files[free].used = true;
    files[free].fd = fd;
    files[free].device = stat.st_dev;
    files[free].inode = stat.st_ino;
    files_open++;
    pthread_mutex_unlock(&lock);
    *handle = (void *)(intptr_t)(free + 1);
    return answer(SUCCESS);
}

void cuFileHandleDeregister(void *handle)
{
    int index = file_of(handle);
    if (index < 0)
        return;
    pthread_mutex_lock(&lock);
    files[index].used = false;
    files_open--;
    pthread_mutex_unlock(&lock);
}

/* ---- transfers ---- */

/* Moves bytes, or breaks. Negative: -errno. */
static ssize_t move(void *handle, char *buffer, size_t size, off_t offset, bool is_write)
{
    int index = file_of(handle);
    if (index < 0)
        return -NOT_REGISTERED;
    int fd = files[index].fd;
    rule(size <= ((size_t)(knob(MAX_DIRECT_KIB) ? knob(MAX_DIRECT_KIB) : 16384) << 10), "a transfer was larger than the driver takes");
    if (fcntl(fd, F_GETFL) & O_DIRECT)
        rule(((uintptr_t)buffer | size | (uintptr_t)offset) % 4096 == 0, "a transfer of a direct file was not aligned");
    pthread_mutex_lock(&lock);
    bool stops = knob(STOPS_AT) == 1;
    stopped += stops;
    if (knob(STOPS_AT) > 1)
        __atomic_sub_fetch(&knobs[STOPS_AT].value, 1, __ATOMIC_SEQ_CST);
    while (knob(GATE_CLOSED) || (stops && knob(STOPS_AT)))
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    if (knob(DELAY_US))
        usleep((useconds_t)(random() % knob(DELAY_US)));
    static int shorts, errors;
    __atomic_add_fetch(&transfers, 1, __ATOMIC_SEQ_CST);
    if (is_due(ERROR_EVERY, &errors) || (knob(ERROR_AT_BLOCK) && offset / 4096 + 1 == knob(ERROR_AT_BLOCK)))
        return -EIO;
    if (is_due(SHORT_EVERY, &shorts) && size >= 8192)
        size = size / 2 / 4096 * 4096;
    if (!is_on_device(buffer)) {
        ssize_t moved = is_write ? pwrite(fd, buffer, size, offset) : pread(fd, buffer, size, offset);
        return moved < 0 ? -errno : moved;
    }
    __atomic_add_fetch(&device_transfers, 1, __ATOMIC_SEQ_CST);
    uintptr_t device = (uintptr_t)buffer;
    char *bounce = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    ssize_t moved = -EIO;
    if (!is_write || cuda.to_host(bounce, device, size) == 0)
        moved = is_write ? pwrite(fd, bounce, size, offset) : pread(fd, bounce, size, offset);
    if (moved < 0)
        moved = -errno;
    if (!is_write && moved > 0 && cuda.to_device(device, bounce, (size_t)moved) != 0)
        moved = -EIO;
    free(bounce);
    return moved;
}

static ssize_t call(void *handle, char *buffer, size_t size, off_t offset, off_t buffer_offset, bool is_write)
{
    names_device(buffer);
    use_region(buffer + buffer_offset, size, 1);
    ssize_t moved = move(handle, buffer + buffer_offset, size, offset, is_write);
    use_region(buffer + buffer_offset, size, -1);
    if (moved >= 0 || moved <= -NOT_INITIALIZED)
        return moved;
    errno = (int)-moved;
    return -1;
}

ssize_t cuFileRead(void *handle, void *buffer, size_t size, off_t offset, off_t buffer_offset)
{
    return call(handle, buffer, size, offset, buffer_offset, false);
}

ssize_t cuFileWrite(void *handle, const void *buffer, size_t size, off_t offset, off_t buffer_offset)
{
    return call(handle, (char *)buffer, size, offset, buffer_offset, true);
}

/* ---- batches ---- */

typedef struct {
    unsigned entries_max, count;
    bool is_pending, is_broken;
    params_t params[BATCH_ENTRIES_MAX];
    event_t events[BATCH_ENTRIES_MAX];
    int buffers;
    void *context; /* of the thread that submitted */
    pthread_t worker;
} batch_t;

outcome_t cuFileBatchIOSetUp(void **batch_out, unsigned entries)
{
    if (entries == 0 || entries > BATCH_ENTRIES_MAX)
        return answer(INVALID_VALUE);
    batch_t *batch = calloc(1, sizeof *batch);
    batch->entries_max = entries;
    pthread_mutex_lock(&lock);
    batches_open++;
    pthread_mutex_unlock(&lock);
    *batch_out = batch;
    return answer(SUCCESS);
}

static void *run(void *argument)
{
    batch_t *batch = argument;
    unsigned order[BATCH_ENTRIES_MAX];
    if (batch->context)
        cuda.make_current(batch->context);
    for (unsigned i = 0; i < batch->count; i++)
        order[i] = i;
    for (unsigned i = batch->count; i > 1; i--) { /* any order */
        unsigned other = (unsigned)random() % i, kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
    for (unsigned i = 0; i < batch->count; i++) {
        params_t *p = &batch->params[order[i]];
        ssize_t moved = move(p->handle, p->buffer, p->size, p->file_offset, p->opcode == 1);
        batch->events[i] = (event_t){p->cookie, moved < 0 ? FAILED : COMPLETE, moved < 0 ? -1 : moved};
    }
    return NULL;
}

static void end(batch_t *batch)
{
    if (!batch->is_pending)
        return;
    pthread_join(batch->worker, NULL);
    batch->is_pending = false;
    for (unsigned i = 0; i < batch->count; i++)
        use_region(batch->params[i].buffer, batch->params[i].size, -1);
    pthread_mutex_lock(&lock);
    buffers_taken -= batch->buffers;
    batches_run++;
    pthread_mutex_unlock(&lock);
}

outcome_t cuFileBatchIOSubmit(void *argument, unsigned count, params_t *params, unsigned flags)
{
    batch_t *batch = argument;
    int buffers = 0;
    rule(!batch->is_broken, "a batch was used again after an error, which ends the process");
    rule(!batch->is_pending, "a batch was submitted to while it runs, which reads freed memory");
    rule(flags == 0, "flags");
    if (batch->is_broken || batch->is_pending || count == 0 || count > batch->entries_max) {
        rule(count > 0 && count <= batch->entries_max, "more entries than the batch has room for");
        return answer(INTERNAL_SUBMIT);
    }
    for (unsigned i = 0; i < count; i++) {
        rule(params[i].mode == 1 && params[i].size > 0, "an ill-formed entry");
        rule(params[i].buffer_offset == 0, "an offset into host memory, which is ignored");
        names_device(params[i].buffer);
        buffers += (int)((params[i].size + (1 << 20) - 1) >> 20);
    }
    if (is_due(SUBMIT_CODE_EVERY, &submissions)) {
        for (unsigned i = 0; i < count / 2; i++)
            move(params[i].handle, params[i].buffer, params[i].size, params[i].file_offset, params[i].opcode == 1);
        batch->is_broken = true;
        return answer(SUBMIT_FAILED);
    }
    pthread_mutex_lock(&lock);
    buffers_taken += buffers;
    if (buffers_taken > buffers_peak)
        buffers_peak = buffers_taken;
    bool fits = buffers_taken <= BUFFERS_MAX;
    pthread_mutex_unlock(&lock);
    rule(fits, "more under way than cuFile has buffers for, which hangs");
    batch->buffers = buffers;
    batch->count = count;
    memcpy(batch->params, params, count * sizeof *params);
    for (unsigned i = 0; i < count; i++)
        use_region(params[i].buffer, params[i].size, 1);
    batch->context = current_context();
    batch->is_pending = true;
    return answer(pthread_create(&batch->worker, NULL, run, batch) == 0 ? SUCCESS : SUBMIT_FAILED);
}

outcome_t cuFileBatchIOGetStatus(void *argument, unsigned least, unsigned *count, event_t *events, struct timespec *timeout)
{
    batch_t *batch = argument;
    static int twice, less;
    rule(batch->is_pending, "events were asked for that nothing will bring");
    rule(least == batch->count && *count == batch->count && timeout == NULL,
         "events were asked for in parts, which reads freed memory");
    if (!batch->is_pending)
        return answer(INVALID_VALUE);
    end(batch);
    unsigned told = batch->count;
    for (unsigned i = 0; i < told; i++) {
        events[i] = batch->events[i];
        if (events[i].status == FAILED && !knob(SILENT_FAILURE)) {
            /* The events that were to follow are lost, and count as told. */
            memset(events + i + 1, 0, (told - i - 1) * sizeof *events);
            batch->is_broken = true;
            *count = told;
            return answer(IO_ERROR);
        }
        batch->is_broken |= events[i].status == FAILED;
    }
    if (is_due(TOLD_TWICE_EVERY, &twice) && told > 1)
        events[told - 1] = events[0], batch->is_broken = true;
    if (is_due(TOLD_LESS_EVERY, &less))
        told--, batch->is_broken = true;
    *count = told;
    return answer(SUCCESS);
}

void cuFileBatchIODestroy(void *argument)
{
    batch_t *batch = argument;
    end(batch);
    pthread_mutex_lock(&lock);
    batches_open--;
    pthread_mutex_unlock(&lock);
    free(batch);
}
