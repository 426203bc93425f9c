/* Batches without waiting: an event loop that learns of finished transfers through an eventfd.
 *
 *   async_batch [lmcache.yaml]        (else $LMCACHE_CONFIG_FILE, else a temporary store)
 *
 * One epoll set holds the store's completion queue and the engine's own events, here a timer that stands for
 * decode steps. The loop keeps a few batches in flight, first puts, then gets, and never blocks in the store. */
#include "common/pattern.h"
#include "common/temp_store.h"

#include <nixl_store.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 256 * 1024,
    BATCH_CHUNKS = 8,
    BATCH_COUNT = 64,
    BATCHES_IN_FLIGHT_MAX = 4,
    KEY_BYTES = 32,
    STEP_MILLISECONDS = 5,
    COMPLETIONS_PER_DRAIN = 8,
};

/* What must stay untouched while a batch is in flight is the payload alone: keys, items and segments are the
 * caller's again as soon as the call that submits them returns. */
typedef struct {
    unsigned char payload[BATCH_CHUNKS][CHUNK_BYTES];
    nixl_store_ticket_t ticket;
    unsigned batch; /* which chunks it holds */
} lane_t;

typedef struct {
    nixl_store_t *store;
    nixl_store_queue_t *queue;
    lane_t *lanes; /* BATCHES_IN_FLIGHT_MAX of them; the index of a lane is the user data of its batch */
    int epoll_fd, queue_fd, timer_fd;
    unsigned submitted, finished; /* batches of this phase */
    unsigned right_chunks, wrong_chunks;
    uint64_t steps; /* of the engine, taken while transfers were under way */
} loop_t;

static int failed(const char *what, nixl_store_status_t status)
{
    if (status >= 0) /* not found, not admitted: an answer */
        return 0;
    fprintf(stderr, "async_batch: %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return 1;
}

static int system_failed(const char *what)
{
    fprintf(stderr, "async_batch: %s: %s\n", what, strerror(errno));
    return 1;
}

static uint64_t chunk_id(unsigned batch, unsigned chunk)
{
    return (uint64_t)batch * BATCH_CHUNKS + chunk;
}

static int submit(loop_t *loop, size_t lane_index, int is_put)
{
    const nixl_store_submit_options_t options = {
        .struct_size = sizeof options, .queue = loop->queue, .user_data = lane_index};
    lane_t *const lane = &loop->lanes[lane_index];
    char keys[BATCH_CHUNKS][KEY_BYTES];
    nixl_store_segment_t segments[BATCH_CHUNKS];
    nixl_store_item_t items[BATCH_CHUNKS];
    unsigned chunk;

    lane->batch = loop->submitted++;
    for (chunk = 0; chunk < BATCH_CHUNKS; chunk++) {
        const uint64_t id = chunk_id(lane->batch, chunk);
        const int key_length = snprintf(keys[chunk], KEY_BYTES, "async/%" PRIu64, id);

        if (is_put)
            pattern_fill(lane->payload[chunk], CHUNK_BYTES, id);
        else
            memset(lane->payload[chunk], 0, CHUNK_BYTES);
        segments[chunk] = (nixl_store_segment_t){.address = lane->payload[chunk], .length = CHUNK_BYTES};
        items[chunk] = (nixl_store_item_t){.key = keys[chunk],
                                           .key_length = (uint64_t)key_length,
                                           .segments = &segments[chunk],
                                           .segment_count = 1};
    }
    return is_put ? failed("batch put", nixl_store_batch_put(loop->store, items, BATCH_CHUNKS, &options, &lane->ticket))
                  : failed("batch get", nixl_store_batch_get(loop->store, items, BATCH_CHUNKS, &options, &lane->ticket));
}

/* Takes the results of a finished batch; waiting with no time only fetches them and releases the ticket. */
static int finish(loop_t *loop, const nixl_store_completion_t *completion, int is_put)
{
    lane_t *const lane = &loop->lanes[completion->user_data];
    nixl_store_result_t results[BATCH_CHUNKS];
    size_t chunk, count;

    if (completion->ticket != lane->ticket) {
        fprintf(stderr, "async_batch: a completion for a ticket that is not under way\n");
        return 1;
    }
    if (failed(is_put ? "put" : "get",
               nixl_store_ticket_wait(loop->store, lane->ticket, 0, results, BATCH_CHUNKS, &count)))
        return 1;
    loop->finished++;
    for (chunk = 0; chunk < count && !is_put; chunk++) {
        const uint64_t id = chunk_id(lane->batch, (unsigned)chunk);

        /* Evicted since, or declined when it was put: an engine computes it again. */
        if (results[chunk].status == NIXL_STORE_NOT_FOUND)
            continue;
        if (results[chunk].bytes != CHUNK_BYTES ||
            pattern_first_wrong(lane->payload[chunk], CHUNK_BYTES, id) != CHUNK_BYTES)
            loop->wrong_chunks++;
        else
            loop->right_chunks++;
    }
    return 0;
}

static int drain(loop_t *loop, int is_put)
{
    nixl_store_completion_t completions[COMPLETIONS_PER_DRAIN];
    size_t count = 0, index;

    if (failed("drain", nixl_store_queue_drain(loop->store, loop->queue, completions, COMPLETIONS_PER_DRAIN, &count)))
        return 1;
    for (index = 0; index < count; index++) {
        if (finish(loop, &completions[index], is_put))
            return 1;
        if (loop->submitted < BATCH_COUNT && submit(loop, completions[index].user_data, is_put))
            return 1;
    }
    return 0;
}

static int run_phase(loop_t *loop, int is_put)
{
    size_t lane;

    loop->submitted = loop->finished = 0;
    for (lane = 0; lane < BATCHES_IN_FLIGHT_MAX; lane++) {
        if (submit(loop, lane, is_put))
            return 1;
    }
    while (loop->finished < BATCH_COUNT) {
        struct epoll_event events[2];
        const int count = epoll_wait(loop->epoll_fd, events, 2, -1);
        int index;

        if (count < 0 && errno != EINTR)
            return system_failed("epoll_wait");
        for (index = 0; index < count; index++) {
            if (events[index].data.fd == loop->queue_fd) {
                if (drain(loop, is_put))
                    return 1;
            } else {
                uint64_t expirations = 0;
                if (read(loop->timer_fd, &expirations, sizeof expirations) == (ssize_t)sizeof expirations)
                    loop->steps += expirations;
            }
        }
    }
    return 0;
}

static int watch(loop_t *loop, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 ? system_failed("epoll_ctl") : 0;
}

static int run_loop(loop_t *loop)
{
    const struct timespec step = {.tv_nsec = STEP_MILLISECONDS * 1000000L};
    const struct itimerspec timer = {.it_interval = step, .it_value = step};
    int bad;

    if (failed("queue create", nixl_store_queue_create(loop->store, &loop->queue)))
        return 1;
    loop->lanes = calloc(BATCHES_IN_FLIGHT_MAX, sizeof *loop->lanes);
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->lanes == NULL || loop->epoll_fd < 0 || loop->timer_fd < 0 ||
        timerfd_settime(loop->timer_fd, 0, &timer, NULL) != 0)
        return system_failed("event loop");
    bad = failed("queue fd", nixl_store_queue_fd(loop->store, loop->queue, &loop->queue_fd)) ||
          watch(loop, loop->queue_fd) || watch(loop, loop->timer_fd) || run_phase(loop, 1) || run_phase(loop, 0);
    close(loop->timer_fd);
    close(loop->epoll_fd);
    return bad | failed("queue destroy", nixl_store_queue_destroy(loop->store, loop->queue));
}

static int open_and_run(const char *config_path)
{
    const nixl_store_open_options_t options = {.struct_size = sizeof options, .chunk_bytes = CHUNK_BYTES};
    loop_t loop = {0};
    int bad;

    if (failed("open", nixl_store_open(config_path, &options, &loop.store)))
        return 1;
    bad = run_loop(&loop);
    /* Closing waits for whatever is still in flight; only then may the payloads go. */
    bad |= failed("close", nixl_store_close(loop.store));
    free(loop.lanes);
    if (!bad && loop.wrong_chunks > 0) {
        fprintf(stderr, "async_batch: %u chunks came back wrong\n", loop.wrong_chunks);
        bad = 1;
    }
    if (!bad)
        printf("async_batch: %d chunks of %d KiB put and %u got back in batches of %d, at most %d in flight;\n"
               "             every byte right, and the engine took %" PRIu64 " steps of its own meanwhile\n",
               BATCH_COUNT * BATCH_CHUNKS, CHUNK_BYTES / 1024, loop.right_chunks, BATCH_CHUNKS,
               BATCHES_IN_FLIGHT_MAX, loop.steps);
    return bad;
}

int main(int argc, char **argv)
{
    const temp_store_options_t temp_options = {.policy = "LRU",
                                               .slot_count = BATCH_COUNT * BATCH_CHUNKS,
                                               .chunk_bytes = CHUNK_BYTES,
                                               .staging_bytes = 32u << 20};
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
