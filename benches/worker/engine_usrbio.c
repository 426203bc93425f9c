/* Bare USRBIO of 3FS: as many threads as the store has I/O threads, each with a ring for reads and one for writes,
 * a file for each object, objects cut in pieces, no keys and no checksums. Memory is the iov, so nothing is copied. */
#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fail.h"
#include "slot_files.h"
#include "usrbio_capi.h"

#define LANES_MAX 16
#define RESULTS_MAX 64
/* How many entries the daemon takes as one batch. */
#define IO_DEPTH (-4)
/* Only a daemon that is gone takes so long. */
#define WAIT_S 10
/* Of one entry. 128 KiB to 1 MiB were slower or alike, and so was one file in place of one for each object. */
#define PIECE_BYTES ((size_t)2 << 20)

struct usrbio;

typedef struct {
    struct usrbio *engine;
    pthread_t thread;
    usrbio_ring_t reads, writes;
    bool has_reads, has_writes;
    /* Of the batch under way. */
    size_t piece;
    bool has_piece; /* taken, and not yet prepared */
    bool has_all;   /* no piece is left to take */
    int under_way;
    int status;
} lane_t;

typedef struct usrbio {
    usrbio_capi_t capi;
    shape_t shape;
    usrbio_iov_t iov;
    bool has_iov;
    slot_files_t files;
    size_t registered; /* files of them */
    int entries;
    size_t piece_bytes, pieces_per_object;
    size_t lane_count;
    lane_t lanes[LANES_MAX];
    pthread_barrier_t start, end;
    bool is_running, stop;
    /* The batch under way. */
    const batch_t *batch;
    bool for_read;
    size_t next_piece; /* the lanes take pieces in turn */
} usrbio_t;

/* ---- one lane's share of a batch ---- */

/* Prepares a piece. 1: done; 0: the ring is full for now; -1: failed. */
static int prepare(usrbio_t *self, const usrbio_ring_t *ring, size_t piece)
{
    const size_t object = piece / self->pieces_per_object;
    const size_t from = piece % self->pieces_per_object * self->piece_bytes;
    const size_t left = self->shape.object_bytes - from;
    const size_t bytes = left < self->piece_bytes ? left : self->piece_bytes;
    const size_t slot = self->batch->ids[object] % self->shape.live_objects;
    unsigned char *const memory = self->batch->memory + object * self->shape.object_stride + from;
    const size_t offset = (size_t)slot_files_offset(&self->files, slot) + from;
    const int status = self->capi.prep_io(ring, &self->iov, self->for_read, memory, slot_files_fd(&self->files, slot),
                                          offset, bytes, (const void *)(uintptr_t)bytes);

    if (status == -EAGAIN)
        return 0;
    return status < 0 ? fail("hf3fs_prep_io: %s", strerror(-status)) : 1;
}

/* Prepares pieces while there are some and room for them. How many, or -1. */
static int fill(usrbio_t *self, lane_t *lane, const usrbio_ring_t *ring)
{
    const size_t pieces = self->batch->count * self->pieces_per_object;
    int prepared = 0;

    while (lane->under_way < self->entries) {
        if (!lane->has_piece) {
            lane->piece = __atomic_fetch_add(&self->next_piece, 1, __ATOMIC_RELAXED);
            lane->has_piece = lane->piece < pieces;
            lane->has_all = !lane->has_piece;
            if (lane->has_all)
                break;
        }
        const int status = prepare(self, ring, lane->piece);
        if (status < 0)
            return -1;
        if (status == 0)
            break;
        lane->has_piece = false;
        lane->under_way++;
        prepared++;
    }
    return prepared;
}

/* Waits for one result at least, and checks all that come. */
static int take(usrbio_t *self, lane_t *lane, const usrbio_ring_t *ring)
{
    usrbio_result_t results[RESULTS_MAX];
    struct timespec until;
    int count, status = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    count = self->capi.wait_for_ios(ring, results, RESULTS_MAX, 1, &until);
    if (count <= 0) {
        /* Given up; the process ends with what is under way. */
        lane->under_way = 0;
        return fail("hf3fs_wait_for_ios: %s", count < 0 ? strerror(-count) : "no result came");
    }
    lane->under_way -= count;
    for (int i = 0; i < count; i++) {
        const size_t wanted = (size_t)(uintptr_t)results[i].userdata;
        if (results[i].result != (int64_t)wanted)
            status = fail("an entry of %zu bytes has the result %lld", wanted, (long long)results[i].result);
    }
    return status;
}

/* Moves pieces until all lanes together have moved the batch. */
static int move_share(usrbio_t *self, lane_t *lane)
{
    const usrbio_ring_t *const ring = self->for_read ? &lane->reads : &lane->writes;
    int status = 0;

    lane->has_piece = lane->has_all = false;
    do {
        const int prepared = status == 0 && !lane->has_all ? fill(self, lane, ring) : 0;
        if (prepared < 0)
            status = -1;
        if (prepared > 0 && self->capi.submit_ios(ring) != 0)
            status = fail("hf3fs_submit_ios failed");
        if (lane->under_way > 0 && take(self, lane, ring) != 0)
            status = -1;
    } while (lane->under_way > 0 || (status == 0 && !lane->has_all));
    return status;
}

static void *run_lane(void *argument)
{
    lane_t *const lane = argument;
    usrbio_t *const self = lane->engine;

    for (;;) {
        pthread_barrier_wait(&self->start);
        if (self->stop)
            return NULL;
        lane->status = move_share(self, lane);
        pthread_barrier_wait(&self->end);
    }
}

/* ---- batches ---- */

static void begin_batch(usrbio_t *self, const batch_t *batch, bool for_read)
{
    self->batch = batch;
    self->for_read = for_read;
    self->next_piece = 0;
}

static int move_batch(usrbio_t *self, const batch_t *batch, bool for_read)
{
    int status = 0;

    begin_batch(self, batch, for_read);
    pthread_barrier_wait(&self->start);
    pthread_barrier_wait(&self->end);
    for (size_t i = 0; i < self->lane_count; i++)
        status |= self->lanes[i].status;
    return status == 0 ? 0 : -1;
}

/* On the calling thread, which saves two wake-ups. */
static int move_one(usrbio_t *self, const batch_t *batch, bool for_read)
{
    begin_batch(self, batch, for_read);
    return move_share(self, &self->lanes[0]);
}

static int usrbio_put(void *engine, const batch_t *batch)
{
    return move_batch(engine, batch, false);
}

static int usrbio_get(void *engine, const batch_t *batch)
{
    return move_batch(engine, batch, true);
}

static int usrbio_put_one(void *engine, const batch_t *batch)
{
    return move_one(engine, batch, false);
}

static int usrbio_get_one(void *engine, const batch_t *batch)
{
    return move_one(engine, batch, true);
}

/* ---- open and close: by one thread, which the library asks for ---- */

static void end_lanes(usrbio_t *self)
{
    if (self->is_running) {
        self->stop = true;
        pthread_barrier_wait(&self->start);
        for (size_t i = 0; i < self->lane_count; i++)
            pthread_join(self->lanes[i].thread, NULL);
        pthread_barrier_destroy(&self->start);
        pthread_barrier_destroy(&self->end);
    }
    for (size_t i = 0; i < self->lane_count; i++) {
        if (self->lanes[i].has_reads)
            self->capi.iordestroy(&self->lanes[i].reads);
        if (self->lanes[i].has_writes)
            self->capi.iordestroy(&self->lanes[i].writes);
    }
}

static int usrbio_close(void *engine)
{
    usrbio_t *const self = engine;

    end_lanes(self);
    for (size_t i = 0; i < self->registered; i++)
        self->capi.dereg_fd(self->files.fds[i]);
    if (self->has_iov)
        self->capi.iovdestroy(&self->iov);
    slot_files_close(&self->files);
    free(self);
    return 0;
}

static int make_ring(usrbio_t *self, const char *mount, usrbio_ring_t *ring, bool for_read, bool *has_ring)
{
    const int status = self->capi.iorcreate4(ring, mount, self->entries, for_read, IO_DEPTH, 0, -1, 0);

    *has_ring = status == 0;
    return status == 0 ? 0 : fail("hf3fs_iorcreate4: %s", strerror(-status));
}

static int begin_lanes(usrbio_t *self, const char *mount)
{
    for (size_t i = 0; i < self->lane_count; i++) {
        lane_t *const lane = &self->lanes[i];
        lane->engine = self;
        if (make_ring(self, mount, &lane->reads, true, &lane->has_reads) != 0 ||
            make_ring(self, mount, &lane->writes, false, &lane->has_writes) != 0)
            return -1;
    }
    pthread_barrier_init(&self->start, NULL, (unsigned)self->lane_count + 1);
    pthread_barrier_init(&self->end, NULL, (unsigned)self->lane_count + 1);
    for (size_t i = 0; i < self->lane_count; i++)
        if (pthread_create(&self->lanes[i].thread, NULL, run_lane, &self->lanes[i]) != 0) {
            /* The barriers would never open. */
            fprintf(stderr, "worker: cannot start a thread\n");
            exit(1);
        }
    self->is_running = true;
    return 0;
}

static int prepare_files(usrbio_t *self, const command_t *command)
{
    const bool file_per_object = strcmp(command_text(command, "files", "slot"), "slot") == 0;

    if (slot_files_create(&self->files, command_text(command, "directory", "."), self->shape.live_objects,
                          self->shape.object_stride, file_per_object, true) != 0)
        return -1;
    for (; self->registered < self->files.file_count; self->registered++) {
        const int status = self->capi.reg_fd(self->files.fds[self->registered], 0);
        if (status > 0)
            return fail("hf3fs_reg_fd: %s", strerror(status));
    }
    return 0;
}

static int prepare_all(usrbio_t *self, const command_t *command)
{
    const char *const mount = command_text(command, "mount", "");
    int status;

    if (usrbio_capi_load(&self->capi, command_text(command, "library", "libhf3fs_api_shared.so")) != 0)
        return -1;
    status = self->capi.iovcreate(&self->iov, mount, self->shape.memory_bytes, 0, -1);
    if (status != 0)
        return fail("hf3fs_iovcreate: %s", strerror(-status));
    self->has_iov = true;
    return prepare_files(self, command) == 0 ? begin_lanes(self, mount) : -1;
}

static int usrbio_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    uint64_t lanes, entries, piece_bytes;
    usrbio_t *self;

    if (command_number(command, "lanes", 2, &lanes) != 0 || command_number(command, "entries", 64, &entries) != 0 ||
        command_number(command, "piece_bytes", PIECE_BYTES, &piece_bytes) != 0)
        return -1;
    if (lanes == 0 || lanes > LANES_MAX || entries == 0 || entries > INT16_MAX || piece_bytes == 0)
        return fail("lanes= has to be 1 to %d, entries= 1 to %d, piece_bytes= more than none", LANES_MAX, INT16_MAX);
    if (shape->memory != NULL)
        return fail("memory=engine is needed: the daemon reaches no other");
    self = calloc(1, sizeof *self);
    if (self == NULL)
        return fail("out of memory");
    self->shape = *shape;
    self->lane_count = lanes;
    self->entries = (int)entries;
    self->piece_bytes = piece_bytes;
    self->pieces_per_object = (shape->object_bytes + piece_bytes - 1) / piece_bytes;
    if (prepare_all(self, command) != 0) {
        usrbio_close(self);
        return -1;
    }
    *engine_out = self;
    return 0;
}

static unsigned char *usrbio_memory(void *engine)
{
    return ((usrbio_t *)engine)->iov.base;
}

static void usrbio_describe(void *engine)
{
    const usrbio_t *const self = engine;

    fprintf(json, ",\"lanes\":%zu,\"entries\":%d,\"piece_bytes\":%zu", self->lane_count, self->entries,
            self->piece_bytes);
}

const engine_ops_t engine_usrbio = {
    .name = "usrbio",
    .open = usrbio_open,
    .memory = usrbio_memory,
    .put = usrbio_put,
    .get = usrbio_get,
    .put_one = usrbio_put_one,
    .get_one = usrbio_get_one,
    .describe = usrbio_describe,
    .close = usrbio_close,
};
