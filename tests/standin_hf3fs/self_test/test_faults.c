/* Faults by schedule. */

#include "self_test.h"

static struct hf3fs_iov iov;
static struct hf3fs_ior reads, writes;
static int fd;

static void set_up(void)
{
    new_iov(&iov, MIB);
    new_ring(&reads, 8, true, -1);
    new_ring(&writes, 8, false, -1);
    fd = new_file("a", MIB, O_RDWR);
}

static void tear_down(void)
{
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iovdestroy(&iov);
    end_file(fd);
}

static int64_t read_one(size_t bytes)
{
    memset(iov.base, 0xaa, MIB);
    return one(&reads, &iov, 0, fd, 0, bytes);
}

static bool is_untouched(size_t from)
{
    for (size_t i = from; i < MIB; i++)
        if (iov.base[i] != 0xaa)
            return false;
    return true;
}

static void short_results(void)
{
    set_up();
    standin_hf3fs_fault(STANDIN_HF3FS_SHORT, STANDIN_HF3FS_READS_ONLY, 2, 0);
    EXPECT(20 * KIB, read_one(20 * KIB));
    EXPECT(PAGE, read_one(PAGE)); /* too small to be cut */
    EXPECT(8 * KIB, read_one(20 * KIB));
    CHECK(is_filled(iov.base, 8 * KIB, 0) && is_untouched(8 * KIB));
    EXPECT(20 * KIB, read_one(20 * KIB));
    EXPECT(20 * KIB, one(&writes, &iov, 0, fd, 0, 20 * KIB));
    EXPECT(20 * KIB, one(&writes, &iov, 0, fd, 0, 20 * KIB));
    EXPECT(PAGE, read_one(8 * KIB));
    EXPECT(2, count(STANDIN_HF3FS_FAULTS));
    EXPECT(3 * 20 * KIB - 20 * KIB + PAGE + 8 * KIB + PAGE, count(STANDIN_HF3FS_BYTES_READ));
    EXPECT(40 * KIB, count(STANDIN_HF3FS_BYTES_WRITTEN));
    tear_down();
}

static void errors(void)
{
    set_up();
    standin_hf3fs_fault(STANDIN_HF3FS_ERROR, STANDIN_HF3FS_WRITES_ONLY, 3, ENOSPC);
    EXPECT(PAGE, read_one(PAGE));
    memset(iov.base, 0, PAGE);
    EXPECT(PAGE, one(&writes, &iov, 0, fd, 0, PAGE));
    EXPECT(PAGE, one(&writes, &iov, 0, fd, PAGE, PAGE));
    EXPECT(-ENOSPC, one(&writes, &iov, 0, fd, 2 * PAGE, PAGE));
    EXPECT(PAGE, one(&writes, &iov, 0, fd, 3 * PAGE, PAGE));
    EXPECT(4 * PAGE, read_one(4 * PAGE));
    CHECK(iov.base[2 * PAGE - 1] == 0 && is_filled(iov.base + 2 * PAGE, PAGE, 2 * PAGE) && iov.base[3 * PAGE] == 0);
    standin_hf3fs_fault(STANDIN_HF3FS_ERROR, STANDIN_HF3FS_BOTH, 1, EIO);
    EXPECT(-EIO, read_one(PAGE));
    CHECK(is_untouched(0));
    standin_hf3fs_reset();
    EXPECT(PAGE, read_one(PAGE));
    EXPECT(0, count(STANDIN_HF3FS_FAULTS));
    tear_down();
}

static void zero_and_long_results(void)
{
    set_up();
    standin_hf3fs_fault(STANDIN_HF3FS_ZERO, STANDIN_HF3FS_BOTH, 2, 0);
    standin_hf3fs_fault(STANDIN_HF3FS_LONG, STANDIN_HF3FS_BOTH, 3, 0);
    EXPECT(PAGE, read_one(PAGE));
    EXPECT(0, read_one(PAGE));
    CHECK(is_untouched(0));
    EXPECT(2 * PAGE, read_one(PAGE));
    CHECK(is_filled(iov.base, PAGE, 0) && is_untouched(PAGE));
    EXPECT(0, read_one(PAGE));
    EXPECT(PAGE, read_one(PAGE));
    /* Both are due: the first of the list. */
    EXPECT(0, read_one(PAGE));
    tear_down();
}

static void as_the_environment_says(void)
{
    struct hf3fs_iov other;
    set_up();
    EXPECT(-ENOMEM, hf3fs_iovcreate(&other, mount_point, PAGE, 0, -1));
    EXPECT(PAGE, read_one(PAGE));
    EXPECT(-ENODATA, read_one(PAGE));
    EXPECT(PAGE, read_one(PAGE));
    EXPECT(2 * PAGE, one(&writes, &iov, 0, fd, 0, 4 * PAGE));
    standin_hf3fs_entries_max(1);
    CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    EXPECT(-EAGAIN, prepare(&reads, &iov, 0, fd, 0, PAGE, 0));
    struct hf3fs_cqe cqe;
    OK(hf3fs_submit_ios(&reads));
    EXPECT(1, wait_for(&reads, &cqe, 1, 1));
    tear_down();
}

static void again_before_the_ring_is_full(void)
{
    struct hf3fs_cqe cqes[8];
    set_up();
    standin_hf3fs_eagain(2);
    CHECK(prepare(&reads, &iov, 0 * PAGE, fd, 0, PAGE, 0) >= 0); /* nothing is under way: not asked of the schedule */
    CHECK(prepare(&reads, &iov, 1 * PAGE, fd, 0, PAGE, 0) >= 0);
    EXPECT(-EAGAIN, prepare(&reads, &iov, 2 * PAGE, fd, 0, PAGE, 0));
    CHECK(prepare(&reads, &iov, 3 * PAGE, fd, 0, PAGE, 0) >= 0);
    EXPECT(1, count(STANDIN_HF3FS_EAGAINS));
    OK(hf3fs_submit_ios(&reads));
    EXPECT(3, wait_for(&reads, cqes, 8, 3));
    standin_hf3fs_eagain(1);
    for (int i = 0; i < 5; i++)
        EXPECT(PAGE, read_one(PAGE)); /* an idle ring takes what it is given */
    standin_hf3fs_eagain(0);
    standin_hf3fs_entries_max(3);
    for (size_t i = 0; i < 3; i++)
        CHECK(prepare(&reads, &iov, (16 + i) * PAGE, fd, 0, PAGE, 0) >= 0);
    EXPECT(-EAGAIN, prepare(&reads, &iov, 5 * PAGE, fd, 0, PAGE, 0));
    OK(hf3fs_submit_ios(&reads));
    EXPECT(1, wait_for(&reads, cqes, 1, 1));
    CHECK(prepare(&reads, &iov, 6 * PAGE, fd, 0, PAGE, 0) >= 0);
    EXPECT(-EAGAIN, prepare(&reads, &iov, 7 * PAGE, fd, 0, PAGE, 0));
    OK(hf3fs_submit_ios(&reads));
    EXPECT(3, wait_for(&reads, cqes, 8, 3));
    tear_down();
}

static void the_nth_call_fails(void)
{
    struct hf3fs_iov other;
    struct hf3fs_ior ring;
    set_up();
    standin_hf3fs_fail(STANDIN_HF3FS_IOVCREATE, 2, EIO);
    standin_hf3fs_fail(STANDIN_HF3FS_IORCREATE, 1, EMFILE);
    standin_hf3fs_fail(STANDIN_HF3FS_REG_FD, 1, ENFILE);
    new_iov(&other, PAGE);
    hf3fs_iovdestroy(&other);
    EXPECT(-EIO, hf3fs_iovcreate(&other, mount_point, PAGE, 0, -1));
    new_iov(&other, PAGE);
    hf3fs_iovdestroy(&other);
    EXPECT(-EMFILE, hf3fs_iorcreate4(&ring, mount_point, 8, true, 0, 0, -1, 0));
    new_ring(&ring, 8, true, 0);
    hf3fs_iordestroy(&ring);
    int more = open(path_in_mount("b"), O_RDWR | O_CREAT, 0644);
    EXPECT(ENFILE, hf3fs_reg_fd(more, 0));
    CHECK(hf3fs_reg_fd(more, 0) <= 0);
    end_file(more);
    tear_down();
}

static void real_errors_are_told(void)
{
    set_up();
    /* A negative offset is no offset of a file. */
    EXPECT(-EINVAL, one(&writes, &iov, 0, fd, (size_t)1 << 63, PAGE));
    tear_down();
}

const struct test fault_tests[] = {
    {"short_results", short_results, NULL, NULL},
    {"errors", errors, NULL, NULL},
    {"zero_and_long_results", zero_and_long_results, NULL, NULL},
    {"as_the_environment_says", as_the_environment_says, NULL,
     "STANDIN_HF3FS_FAULTS=error:read:2:61,short:write:1 STANDIN_HF3FS_FAIL=iovcreate:2:12"},
    {"again_before_the_ring_is_full", again_before_the_ring_is_full, NULL, NULL},
    {"the_nth_call_fails", the_nth_call_fails, NULL, NULL},
    {"real_errors_are_told", real_errors_are_told, NULL, NULL},
    {"a_fault_misspelt", set_up, "word_of: STANDIN_HF3FS_FAULTS: shrot is not known",
     "STANDIN_HF3FS_FAULTS=shrot:read:2"},
    {"a_number_misspelt", set_up, "STANDIN_HF3FS_DELAY_US=1ms is not a number", "STANDIN_HF3FS_DELAY_US=1ms"},
    {NULL, NULL, NULL, NULL},
};
