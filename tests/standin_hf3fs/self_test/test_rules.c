/* Each rule is seen to end the process. */

#include "self_test.h"

#include <pthread.h>
#include <sys/stat.h>

static struct hf3fs_iov iov;
static struct hf3fs_ior reads, writes;
static struct hf3fs_cqe cqes[64];
static int fd;

static void set_up(void)
{
    new_iov(&iov, MIB);
    new_ring(&reads, 8, true, 0);
    new_ring(&writes, 8, false, 0);
    fd = new_file("a", MIB, O_RDWR);
}

/* Leaves an entry under way. */
static void set_up_busy(void)
{
    set_up();
    standin_hf3fs_hold(true);
    CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    OK(hf3fs_submit_ios(&reads));
}

/* ---- threads ---- */

static void *prepare_for_ever(void *unused)
{
    (void)unused;
    for (;;)
        prepare(&reads, &iov, 0, fd, 0, PAGE, 0);
    return NULL;
}

static void two_prepare(void)
{
    pthread_t thread;
    set_up_busy();
    OK(pthread_create(&thread, NULL, prepare_for_ever, NULL));
    prepare_for_ever(NULL);
}

static void *wait_long(void *unused)
{
    (void)unused;
    wait_ms(&reads, cqes, 1, 1, 3000);
    return NULL;
}

static void two_wait(void)
{
    pthread_t thread;
    struct hf3fs_cqe cqe;
    set_up();
    OK(pthread_create(&thread, NULL, wait_long, NULL));
    usleep(200000);
    wait_ms(&reads, &cqe, 1, 1, 1000);
}

static void *destroy_iov(void *unused)
{
    (void)unused;
    hf3fs_iovdestroy(&iov);
    return NULL;
}

static void *destroy_ring(void *unused)
{
    (void)unused;
    hf3fs_iordestroy(&reads);
    return NULL;
}

static void iov_on_another_thread(void)
{
    set_up();
    in_thread(destroy_iov, NULL);
}

static void ring_on_another_thread(void)
{
    set_up();
    in_thread(destroy_ring, NULL);
}

static void ring_destroyed_while_waited_for(void)
{
    pthread_t thread;
    set_up();
    OK(pthread_create(&thread, NULL, wait_long, NULL));
    usleep(200000);
    hf3fs_iordestroy(&reads);
}

/* ---- life ---- */

static void ring_destroyed_busy(void)
{
    set_up_busy();
    hf3fs_iordestroy(&reads);
}

/* A completion that nobody took is under way, too: its client cannot know. */
static void ring_destroyed_unreaped(void)
{
    set_up_busy();
    standin_hf3fs_hold(false);
    while (count(STANDIN_HF3FS_BATCHES) == 0)
        usleep(100);
    hf3fs_iordestroy(&reads);
}

static void iov_destroyed_busy(void)
{
    set_up_busy();
    hf3fs_iovdestroy(&iov);
}

static void iov_destroyed_twice(void)
{
    set_up();
    struct hf3fs_iov copy = iov;
    hf3fs_iovdestroy(&iov);
    new_iov(&iov, PAGE);
    hf3fs_iovdestroy(&copy);
}

static void same_iov_destroyed_twice(void)
{
    set_up();
    hf3fs_iovdestroy(&iov);
    hf3fs_iovdestroy(&iov);
}

static void wrapped_iov_destroyed(void)
{
    set_up();
    struct hf3fs_iov wrapped;
    OK(hf3fs_iovwrap(&wrapped, iov.base, (const uint8_t *)iov.id, mount_point, iov.size, 0, -1));
    hf3fs_iovdestroy(&wrapped);
}

static void memory_of_ring_destroyed(void)
{
    set_up();
    hf3fs_iovdestroy(&reads.iov);
}

static void ring_destroyed_twice(void)
{
    set_up();
    struct hf3fs_ior copy = reads;
    hf3fs_iordestroy(&reads);
    new_ring(&reads, 8, true, 0);
    hf3fs_iordestroy(&copy);
}

static void ring_used_after(void)
{
    set_up();
    struct hf3fs_ior copy = reads;
    hf3fs_iordestroy(&reads);
    prepare(&copy, &iov, 0, fd, 0, PAGE, 0);
}

static void ring_submitted_after(void)
{
    set_up();
    hf3fs_iordestroy(&reads);
    hf3fs_submit_ios(&reads);
}

static void ring_waited_after(void)
{
    set_up();
    struct hf3fs_ior copy = reads;
    hf3fs_iordestroy(&reads);
    wait_ms(&copy, cqes, 1, 0, 1);
}

static void iov_used_after(void)
{
    set_up();
    struct hf3fs_iov copy = iov;
    hf3fs_iovdestroy(&iov);
    prepare(&reads, &copy, 0, fd, 0, PAGE, 0);
}

static void iov_unlinked_after(void)
{
    set_up();
    hf3fs_iovdestroy(&iov);
    hf3fs_iovunlink(&iov);
}

static void iov_changed(void)
{
    set_up();
    iov.size *= 2;
    prepare(&reads, &iov, 0, fd, 0, PAGE, 0);
}

/* ---- making ---- */

static void size_0(void)
{
    hf3fs_iovcreate(&iov, mount_point, 0, 0, -1);
}

static void block_above_size(void)
{
    hf3fs_iovcreate(&iov, mount_point, PAGE, 2 * PAGE, -1);
}

static void negative_block(void)
{
    hf3fs_iovcreate(&iov, mount_point, PAGE, (size_t)-1, -1);
}

static void flags(void)
{
    hf3fs_iorcreate4(&reads, mount_point, 8, true, 0, 0, -1, 1);
}

static void negative_timeout(void)
{
    hf3fs_iorcreate4(&reads, mount_point, 8, true, 0, -1, -1, 0);
}

static void depth_with_timeout(void)
{
    hf3fs_iorcreate3(&reads, mount_point, 8, true, -4, 0, 5, -1);
}

static void depth_above_entries(void)
{
    hf3fs_iorcreate(&reads, mount_point, 8, true, 9, -1);
}

static void path_not_there(void)
{
    char found[64];
    hf3fs_extract_mount_point(found, sizeof found, "/nowhere/at/all");
}

/* ---- entries ---- */

static void wrong_direction(void)
{
    set_up();
    hf3fs_prep_io(&reads, &iov, false, iov.base, fd, 0, PAGE, NULL);
}

static void outside_above(void)
{
    set_up();
    prepare(&reads, &iov, MIB - PAGE + 1, fd, 0, PAGE, 0);
}

static void outside_below(void)
{
    set_up();
    hf3fs_prep_io(&reads, &iov, true, iov.base - 1, fd, 0, PAGE, NULL);
}

static void length_that_wraps(void)
{
    set_up();
    prepare(&reads, &iov, PAGE, fd, 0, (size_t)-PAGE, 0);
}

static void length_0(void)
{
    set_up();
    prepare(&reads, &iov, 0, fd, 0, 0, 0);
}

static void in_memory_of_ring(void)
{
    set_up();
    hf3fs_prep_io(&reads, &reads.iov, true, reads.iov.base, fd, 0, PAGE, NULL);
}

static void wrapped_too_large(void)
{
    set_up();
    struct hf3fs_iov wrapped;
    OK(hf3fs_iovwrap(&wrapped, iov.base, (const uint8_t *)iov.id, mount_point, 2 * MIB, 0, -1));
    prepare(&reads, &wrapped, MIB, fd, 0, PAGE, 0);
}

static void not_registered(void)
{
    set_up();
    end_file(fd);
    prepare(&reads, &iov, 0, fd, 0, PAGE, 0);
}

/* ---- files ---- */

static void closed_before_use(void)
{
    set_up();
    close(fd);
    prepare(&reads, &iov, 0, fd, 0, PAGE, 0);
}

static void another_file_by_then(void)
{
    set_up();
    close(fd);
    EXPECT(fd, open(path_in_mount("b"), O_RDWR | O_CREAT, 0644));
    prepare(&reads, &iov, 0, fd, 0, PAGE, 0);
}

static void closed_before_deregistered(void)
{
    set_up();
    close(fd);
    hf3fs_dereg_fd(fd);
}

static void another_file_deregistered(void)
{
    set_up();
    close(fd);
    EXPECT(fd, open(path_in_mount("b"), O_RDWR | O_CREAT, 0644));
    hf3fs_dereg_fd(fd);
}

static void deregistered_busy(void)
{
    set_up_busy();
    hf3fs_dereg_fd(fd);
}

static void deregistered_twice(void)
{
    set_up();
    hf3fs_dereg_fd(fd);
    hf3fs_dereg_fd(fd);
}

static void deregistered_by_duplicate(void)
{
    set_up();
    int other = open(path_in_mount("b"), O_RDWR | O_CREAT, 0644);
    hf3fs_dereg_fd(-hf3fs_reg_fd(other, 0));
}

/* ---- waiting ---- */

static void wrong_clock(void)
{
    struct timespec until;
    set_up();
    clock_gettime(CLOCK_MONOTONIC, &until);
    hf3fs_wait_for_ios(&reads, cqes, 1, 1, &until);
}

static void relative_time(void)
{
    struct timespec until = {.tv_sec = 1};
    set_up();
    hf3fs_wait_for_ios(&reads, cqes, 1, 1, &until);
}

static void nanoseconds_too_many(void)
{
    struct timespec until = in_ms(0);
    until.tv_nsec = 1000000000;
    set_up();
    hf3fs_wait_for_ios(&reads, cqes, 1, 1, &until);
}

#define UNDER_WAY "entries under way"
#define DESTROYED "a ring was used that was destroyed or never made"
#define OUTSIDE "reach outside the iov"

const struct test rule_tests[] = {
    {"two_prepare", two_prepare, "hf3fs_prep_io: called for one ring by two threads", NULL},
    {"two_wait", two_wait, "hf3fs_wait_for_ios: called for one ring by two threads", NULL},
    {"iov_on_another_thread", iov_on_another_thread, "hf3fs_iovdestroy: made by thread", NULL},
    {"ring_on_another_thread", ring_on_another_thread, "hf3fs_iordestroy: made by thread", NULL},
    {"ring_destroyed_while_waited_for", ring_destroyed_while_waited_for, "destroyed while a thread uses it", NULL},
    {"ring_destroyed_busy", ring_destroyed_busy, "hf3fs_iordestroy: destroyed with 1 entries under way", NULL},
    {"ring_destroyed_unreaped", ring_destroyed_unreaped, "hf3fs_iordestroy: destroyed with 1 entries", NULL},
    {"iov_destroyed_busy", iov_destroyed_busy, "hf3fs_iovdestroy: destroyed with 1 entries under way", NULL},
    {"iov_destroyed_twice", iov_destroyed_twice, "hf3fs_iovdestroy: what is destroyed", NULL},
    {"same_iov_destroyed_twice", same_iov_destroyed_twice, "was destroyed already", NULL},
    {"wrapped_iov_destroyed", wrapped_iov_destroyed, "was wrapped", NULL},
    {"memory_of_ring_destroyed", memory_of_ring_destroyed, "the memory of a ring was destroyed", NULL},
    {"ring_destroyed_twice", ring_destroyed_twice, DESTROYED, NULL},
    {"ring_used_after", ring_used_after, DESTROYED, NULL},
    {"ring_submitted_after", ring_submitted_after, DESTROYED, NULL},
    {"ring_waited_after", ring_waited_after, DESTROYED, NULL},
    {"iov_used_after", iov_used_after, "an iov was used that was destroyed", NULL},
    {"iov_unlinked_after", iov_unlinked_after, "an iov was unlinked that", NULL},
    {"iov_changed", iov_changed, "an iov was changed", NULL},
    {"size_0", size_0, "hf3fs_iovcreate: an iov of size 0", NULL},
    {"block_above_size", block_above_size, "a block_size of 8192 for 4096 bytes", NULL},
    {"negative_block", negative_block, "a negative block_size", NULL},
    {"flags", flags, "hf3fs_iorcreate4: flags 1", NULL},
    {"negative_timeout", negative_timeout, "a timeout of -1", NULL},
    {"depth_with_timeout", depth_with_timeout, "an io_depth of -4 with a timeout of 5", NULL},
    {"depth_above_entries", depth_above_entries, "an io_depth of 9 with 8 entries", NULL},
    {"path_not_there", path_not_there, "/nowhere/at/all, which is not there", NULL},
    {"wrong_direction", wrong_direction, "a write in a ring for reads", NULL},
    {"outside_above", outside_above, OUTSIDE, NULL},
    {"outside_below", outside_below, OUTSIDE, NULL},
    {"length_that_wraps", length_that_wraps, OUTSIDE, NULL},
    {"length_0", length_0, "an entry of length 0", NULL},
    {"in_memory_of_ring", in_memory_of_ring, "an entry in the memory of a ring", NULL},
    {"wrapped_too_large", wrapped_too_large, "wrapped as too large", NULL},
    {"not_registered", not_registered, "is not registered", NULL},
    {"closed_before_use", closed_before_use, "hf3fs_prep_io: file", NULL},
    {"another_file_by_then", another_file_by_then, "is another one now", NULL},
    {"closed_before_deregistered", closed_before_deregistered, "hf3fs_dereg_fd: file", NULL},
    {"another_file_deregistered", another_file_deregistered, "is another one now", NULL},
    {"deregistered_busy", deregistered_busy, UNDER_WAY, NULL},
    {"deregistered_twice", deregistered_twice, "is not registered", NULL},
    {"deregistered_by_duplicate", deregistered_by_duplicate, "by the number of its duplicate", NULL},
    {"wrong_clock", wrong_clock, "it is absolute, of CLOCK_REALTIME", NULL},
    {"relative_time", relative_time, "it is absolute, of CLOCK_REALTIME", NULL},
    {"nanoseconds_too_many", nanoseconds_too_many, "a timeout with 1000000000 nanoseconds", NULL},
    {NULL, NULL, NULL, NULL},
};
