/* Batches by io_depth, space in the ring, waiting. */

#include "self_test.h"

#define ENTRIES 8

static struct hf3fs_iov iov;
static struct hf3fs_ior ring;
static struct hf3fs_cqe cqes[64];
static int fd;

static void set_up(int io_depth)
{
    new_iov(&iov, MIB);
    fd = new_file("a", MIB, O_RDWR);
    new_ring(&ring, ENTRIES, true, io_depth);
}

static void tear_down(void)
{
    EXPECT(0, count(STANDIN_HF3FS_UNDER_WAY));
    hf3fs_iordestroy(&ring);
    hf3fs_iovdestroy(&iov);
    end_file(fd);
    EXPECT(0, count(STANDIN_HF3FS_IOVS_LIVE) + count(STANDIN_HF3FS_RINGS_LIVE) + count(STANDIN_HF3FS_FDS_LIVE));
}

static void prepare_many(int from, int to)
{
    for (int i = from; i < to; i++)
        CHECK(prepare(&ring, &iov, (size_t)i * PAGE, fd, (size_t)i * PAGE, PAGE, (uintptr_t)i) >= 0);
}

/* Each of those numbers once, whole. */
static void check_cqes(int from, int to)
{
    unsigned seen = 0;
    for (int i = 0; i < to - from; i++) {
        int number = (int)(intptr_t)cqes[i].userdata;
        CHECK(number >= from && number < to && !(seen & 1u << number));
        seen |= 1u << number;
        EXPECT(PAGE, cqes[i].result);
        CHECK(is_filled(iov.base + number * PAGE, PAGE, (size_t)number * PAGE));
    }
}

static void depth_0_is_one_batch(void)
{
    set_up(0);
    prepare_many(0, 5);
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, 50));
    EXPECT(5, count(STANDIN_HF3FS_UNDER_WAY));
    OK(hf3fs_submit_ios(&ring));
    EXPECT(5, wait_for(&ring, cqes, 8, 5));
    check_cqes(0, 5);
    EXPECT(1, count(STANDIN_HF3FS_BATCHES));
    EXPECT(5 * PAGE, count(STANDIN_HF3FS_BYTES_READ));
    EXPECT(5, count(STANDIN_HF3FS_READS));
    EXPECT(1, count(STANDIN_HF3FS_SUBMIT_CALLS));
    EXPECT(5, count(STANDIN_HF3FS_PREP_CALLS));
    EXPECT(2, count(STANDIN_HF3FS_WAIT_CALLS));
    tear_down();
}

static void negative_depth_bounds_a_batch(void)
{
    set_up(-3);
    prepare_many(0, 8);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(8, wait_for(&ring, cqes, 8, 8));
    check_cqes(0, 8);
    EXPECT(3, count(STANDIN_HF3FS_BATCHES));
    tear_down();
}

static void positive_depth_is_exact(void)
{
    set_up(3);
    prepare_many(0, 2);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, 50));
    prepare_many(2, 7);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(6, wait_for(&ring, cqes, 8, 6));
    check_cqes(0, 6);
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, 50));
    prepare_many(7, 9);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(3, wait_for(&ring, cqes, 8, 3));
    EXPECT(3, count(STANDIN_HF3FS_BATCHES));
    tear_down();
}

/* Reaping posts the semaphore: what was prepared meanwhile goes without a submit. */
static void reaping_submits(void)
{
    set_up(0);
    standin_hf3fs_hold(true);
    prepare_many(0, 2);
    OK(hf3fs_submit_ios(&ring));
    prepare_many(2, 4);
    EXPECT(1, count(STANDIN_HF3FS_HELD));
    standin_hf3fs_hold(false);
    EXPECT(4, wait_for(&ring, cqes, 8, 4));
    EXPECT(2, count(STANDIN_HF3FS_BATCHES));
    EXPECT(1, count(STANDIN_HF3FS_SUBMIT_CALLS));
    tear_down();
}

static void a_full_ring_says_again(void)
{
    set_up(0);
    standin_hf3fs_hold(true);
    prepare_many(0, ENTRIES);
    EXPECT(-EAGAIN, prepare(&ring, &iov, 0, fd, 0, PAGE, 0));
    OK(hf3fs_submit_ios(&ring));
    EXPECT(-EAGAIN, prepare(&ring, &iov, 0, fd, 0, PAGE, 0));
    standin_hf3fs_hold(false);
    while (count(STANDIN_HF3FS_BATCHES) == 0)
        usleep(100);
    /* Ended, and not yet reaped. */
    EXPECT(-EAGAIN, prepare(&ring, &iov, 0, fd, 0, PAGE, 0));
    EXPECT(3, wait_for(&ring, cqes, 3, 3));
    prepare_many(0, 3);
    EXPECT(-EAGAIN, prepare(&ring, &iov, 0, fd, 0, PAGE, 0));
    EXPECT(4, count(STANDIN_HF3FS_EAGAINS));
    OK(hf3fs_submit_ios(&ring));
    EXPECT(8, wait_for(&ring, cqes, 64, 8));
    tear_down();
}

/* The second batch ends first: its slots are free again and the ring has no space for them. */
static void space_comes_back_in_order(void)
{
    set_up(-4);
    standin_hf3fs_hold(true);
    standin_hf3fs_order(STANDIN_HF3FS_REVERSED);
    prepare_many(0, 8);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(2, count(STANDIN_HF3FS_HELD));
    EXPECT(1, standin_hf3fs_release(1));
    EXPECT(4, wait_for(&ring, cqes, 8, 4));
    check_cqes(4, 8);
    EXPECT(-EAGAIN, prepare(&ring, &iov, 0, fd, 0, PAGE, 0));
    EXPECT(1, standin_hf3fs_release(9));
    EXPECT(4, wait_for(&ring, cqes, 8, 4));
    check_cqes(0, 4);
    standin_hf3fs_hold(false);
    prepare_many(0, 8);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(8, wait_for(&ring, cqes, 8, 8));
    tear_down();
}

static long elapsed_ms(const struct timespec *since)
{
    struct timespec now = in_ms(0);
    return (now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000;
}

static void waiting_as_asked(void)
{
    set_up(-1);
    struct timespec begin = in_ms(0);
    EXPECT(0, wait_ms(&ring, cqes, 8, 0, 2000));
    CHECK(elapsed_ms(&begin) < 1000);
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, 200));
    CHECK(elapsed_ms(&begin) >= 199);
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, -500));
    prepare_many(0, 8);
    OK(hf3fs_submit_ios(&ring));
    /* No more than there is room for, and a minimum above the room is the room. */
    EXPECT(3, hf3fs_wait_for_ios(&ring, cqes, 3, 100, NULL));
    EXPECT(5, hf3fs_wait_for_ios(&ring, cqes, 8, 5, NULL));
    EXPECT(-EINVAL, hf3fs_wait_for_ios(&ring, cqes, 0, 0, NULL));
    EXPECT(8, count(STANDIN_HF3FS_BATCHES));
    /* Partial at the timeout. */
    standin_hf3fs_hold(true);
    prepare_many(0, 4);
    OK(hf3fs_submit_ios(&ring));
    EXPECT(2, standin_hf3fs_release(2));
    EXPECT(2, wait_ms(&ring, cqes, 8, 4, 200));
    standin_hf3fs_hold(false);
    EXPECT(2, wait_for(&ring, cqes, 8, 2));
    tear_down();
}

static void block_overrun_is_in_the_completion(void)
{
    set_up(0);
    struct hf3fs_iov blocks;
    OK(hf3fs_iovcreate(&blocks, mount_point, 64 * KIB, 16 * KIB, -1));
    EXPECT(16 * KIB, one(&ring, &blocks, 16 * KIB, fd, 0, 16 * KIB));
    EXPECT(-EINVAL, one(&ring, &blocks, 16 * KIB, fd, 0, 16 * KIB + 1));
    EXPECT(-EINVAL, one(&ring, &blocks, 16 * KIB - 1, fd, 0, 2));
    EXPECT(1, one(&ring, &blocks, 16 * KIB - 1, fd, 0, 1));
    hf3fs_iovdestroy(&blocks);
    tear_down();
}

static void wrapped_memory(void)
{
    set_up(0);
    struct hf3fs_iov wrapped;
    uint8_t unknown[16] = {1};
    OK(hf3fs_iovwrap(&wrapped, iov.base, (const uint8_t *)iov.id, mount_point, iov.size, 0, -1));
    EXPECT(PAGE, one(&ring, &wrapped, PAGE, fd, PAGE, PAGE));
    CHECK(is_filled(iov.base + PAGE, PAGE, PAGE));
    OK(hf3fs_iovwrap(&wrapped, iov.base, unknown, mount_point, iov.size, 0, -1));
    EXPECT(-EACCES, one(&ring, &wrapped, PAGE, fd, PAGE, PAGE));
    tear_down();
}

/* Preparing and waiting may be two threads' work. */
static void *reaper(void *argument)
{
    int *left = argument;
    struct hf3fs_cqe some[4];
    while (*left > 0) {
        int got = wait_for(&ring, some, 4, 1);
        for (int i = 0; i < got; i++)
            EXPECT(PAGE, some[i].result);
        *left -= got;
    }
    return NULL;
}

#include <pthread.h>

static void one_prepares_another_waits(void)
{
    pthread_t thread;
    int left = 20000;
    set_up(-2);
    OK(pthread_create(&thread, NULL, reaper, &left));
    for (int i = 0; i < 20000;) {
        int slot = prepare(&ring, &iov, (size_t)(i % 256) * PAGE, fd, (size_t)(i % 256) * PAGE, PAGE, 0);
        CHECK(slot >= 0 || slot == -EAGAIN);
        i += slot >= 0;
        OK(hf3fs_submit_ios(&ring));
    }
    OK(pthread_join(thread, NULL));
    CHECK(is_filled(iov.base, MIB, 0));
    tear_down();
}

const struct test ring_tests[] = {
    {"depth_0_is_one_batch", depth_0_is_one_batch, NULL, NULL},
    {"negative_depth_bounds_a_batch", negative_depth_bounds_a_batch, NULL, NULL},
    {"positive_depth_is_exact", positive_depth_is_exact, NULL, NULL},
    {"reaping_submits", reaping_submits, NULL, NULL},
    {"a_full_ring_says_again", a_full_ring_says_again, NULL, NULL},
    {"space_comes_back_in_order", space_comes_back_in_order, NULL, NULL},
    {"waiting_as_asked", waiting_as_asked, NULL, NULL},
    {"waiting_in_long_slices", waiting_as_asked, NULL, "HF3FS_USRBIO_WAIT_JITTER_MS=20"},
    {"block_overrun_is_in_the_completion", block_overrun_is_in_the_completion, NULL, NULL},
    {"wrapped_memory", wrapped_memory, NULL, NULL},
    {"one_prepares_another_waits", one_prepares_another_waits, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
