/* In which order entries end, and when: holding, releasing, delays, reversed and random order. */

#include "self_test.h"

static struct hf3fs_iov iov;
static struct hf3fs_ior ring;
static struct hf3fs_cqe cqes[64];
static int fd;

static void set_up(int entries, int io_depth)
{
    new_iov(&iov, 64 * PAGE);
    fd = new_file("a", 64 * PAGE, O_RDWR);
    new_ring(&ring, entries, true, io_depth);
}

static void tear_down(void)
{
    EXPECT(0, count(STANDIN_HF3FS_UNDER_WAY));
    hf3fs_iordestroy(&ring);
    hf3fs_iovdestroy(&iov);
    end_file(fd);
}

static void submit(int entries)
{
    for (int i = 0; i < entries; i++)
        CHECK(prepare(&ring, &iov, (size_t)i * PAGE, fd, (size_t)i * PAGE, PAGE, (uintptr_t)i) >= 0);
    OK(hf3fs_submit_ios(&ring));
}

static int number(int at)
{
    return (int)(intptr_t)cqes[at].userdata;
}

static bool are_all(int entries)
{
    uint64_t seen = 0;
    for (int i = 0; i < entries; i++)
        seen |= 1ull << number(i);
    return seen == (entries == 64 ? UINT64_MAX : (1ull << entries) - 1);
}

static void held_entries_touch_nothing(void)
{
    set_up(16, -2);
    standin_hf3fs_hold(true);
    submit(8);
    EXPECT(0, wait_ms(&ring, cqes, 16, 1, 50));
    EXPECT(4, count(STANDIN_HF3FS_HELD));
    for (size_t i = 0; i < 64 * PAGE; i++)
        CHECK(iov.base[i] == 0);
    EXPECT(1, standin_hf3fs_release(1));
    EXPECT(2, wait_for(&ring, cqes, 16, 2));
    CHECK(number(0) == 0 && number(1) == 1);
    CHECK(is_filled(iov.base, 2 * PAGE, 0) && iov.base[2 * PAGE] == 0);
    EXPECT(0, wait_ms(&ring, cqes, 16, 1, 20));
    EXPECT(3, count(STANDIN_HF3FS_HELD));
    EXPECT(3, standin_hf3fs_release(7));
    EXPECT(6, wait_for(&ring, cqes, 16, 6));
    EXPECT(0, standin_hf3fs_release(1));
    submit(2);
    EXPECT(0, wait_ms(&ring, cqes, 16, 1, 20));
    standin_hf3fs_reset();
    EXPECT(2, wait_for(&ring, cqes, 16, 2));
    tear_down();
}

static void order_within_a_batch(void)
{
    set_up(32, 0);
    submit(32);
    EXPECT(32, wait_for(&ring, cqes, 64, 32));
    for (int i = 0; i < 32; i++)
        EXPECT(i, number(i));
    standin_hf3fs_order(STANDIN_HF3FS_REVERSED);
    submit(32);
    EXPECT(32, wait_for(&ring, cqes, 64, 32));
    for (int i = 0; i < 32; i++)
        EXPECT(31 - i, number(i));
    standin_hf3fs_order(STANDIN_HF3FS_RANDOM);
    submit(32);
    EXPECT(32, wait_for(&ring, cqes, 64, 32));
    int moved = 0;
    for (int i = 0; i < 32; i++)
        moved += number(i) != i;
    CHECK(moved > 8 && are_all(32));
    tear_down();
}

static void reversed_batches(void)
{
    set_up(32, -4);
    standin_hf3fs_order(STANDIN_HF3FS_REVERSED);
    for (int round = 0; round < 200; round++) {
        /* All are taken at one submit, so the first to end is the last. */
        submit(32);
        EXPECT(32, wait_for(&ring, cqes, 64, 32));
        for (int i = 0; i < 32; i++)
            EXPECT(31 - i, number(i));
    }
    tear_down();
}

static void random_batches(void)
{
    int moved = 0;
    set_up(32, -1);
    standin_hf3fs_order(STANDIN_HF3FS_RANDOM);
    for (int round = 0; round < 200; round++) {
        submit(32);
        EXPECT(32, wait_for(&ring, cqes, 64, 32));
        CHECK(are_all(32));
        for (int i = 0; i < 32; i++)
            moved += number(i) != i;
    }
    CHECK(moved > 200);
    tear_down();
}

/* Space that comes back late, under every order, and nothing is lost. */
static void random_under_load(void)
{
    uint64_t got = 0, sent = 0;
    set_up(16, -3);
    while (got < 5000) {
        if (got % 700 == 0)
            standin_hf3fs_order((int)(got / 700 % 3));
        while (sent < 5000) {
            int slot = prepare(&ring, &iov, sent % 64 * PAGE, fd, sent % 64 * PAGE, PAGE, 0);
            CHECK(slot >= 0 || slot == -EAGAIN);
            if (slot < 0)
                break;
            sent++;
        }
        OK(hf3fs_submit_ios(&ring));
        got += (uint64_t)wait_for(&ring, cqes, 5, 1);
    }
    EXPECT(5000, got);
    tear_down();
}

static void batches_run_beside_one_another(void)
{
    set_up(64, -1);
    standin_hf3fs_delay(20000);
    struct timespec begin = in_ms(0);
    submit(64);
    EXPECT(64, wait_for(&ring, cqes, 64, 64));
    struct timespec end = in_ms(0);
    long ms = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    /* One after another they would take 640 ms on average in 1 worker; the longest takes 20, or 32 times that. */
    CHECK(ms >= 10);
    CHECK(are_all(64));
    int moved = 0;
    for (int i = 0; i < 64; i++)
        moved += number(i) != i;
    CHECK(moved > 16);
    tear_down();
}

static void waits_as_the_environment_says(void)
{
    set_up(8, 0);
    submit(8);
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, 20));
    standin_hf3fs_hold(false);
    EXPECT(8, wait_for(&ring, cqes, 8, 8));
    for (int i = 0; i < 8; i++)
        EXPECT(7 - i, number(i));
    tear_down();
}

static void holds_at_an_entry(void)
{
    set_up(8, -1);
    submit(2);
    EXPECT(2, wait_for(&ring, cqes, 8, 2));
    submit(3);
    EXPECT(0, wait_ms(&ring, cqes, 8, 1, 20));
    standin_hf3fs_hold(false);
    EXPECT(3, wait_for(&ring, cqes, 8, 3));
    tear_down();
}

const struct test order_tests[] = {
    {"held_entries_touch_nothing", held_entries_touch_nothing, NULL, NULL},
    {"order_within_a_batch", order_within_a_batch, NULL, NULL},
    {"reversed_batches", reversed_batches, NULL, NULL},
    {"random_batches", random_batches, NULL, NULL},
    {"random_under_load", random_under_load, NULL, NULL},
    {"random_under_load_and_delay", random_under_load, NULL, "STANDIN_HF3FS_DELAY_US=200 STANDIN_HF3FS_SEED=7"},
    {"random_under_load_with_one_worker", random_under_load, NULL, "STANDIN_HF3FS_WORKERS=1"},
    {"batches_run_beside_one_another", batches_run_beside_one_another, NULL, "STANDIN_HF3FS_WORKERS=1"},
    {"waits_as_the_environment_says", waits_as_the_environment_says, NULL,
     "STANDIN_HF3FS_ORDER=reversed STANDIN_HF3FS_HOLD=1"},
    {"holds_at_an_entry", holds_at_an_entry, NULL, "STANDIN_HF3FS_HOLD_AT=4"},
    {NULL, NULL, NULL, NULL},
};
