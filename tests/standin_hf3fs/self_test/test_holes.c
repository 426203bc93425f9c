/* Reads that meet holes and the end of a file, and writes that leave holes. */

#include "self_test.h"

static struct hf3fs_iov iov;
static struct hf3fs_ior reads, writes;

static void set_up(void)
{
    new_iov(&iov, MIB);
    new_ring(&reads, 8, true, 0);
    new_ring(&writes, 8, false, 0);
}

static void tear_down(void)
{
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iovdestroy(&iov);
}

static bool are(const uint8_t *memory, size_t bytes, uint8_t byte)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != byte)
            return false;
    return true;
}

static void the_end_of_a_file_is_short(void)
{
    set_up();
    int fd = new_file("a", 10000, O_RDWR);
    memset(iov.base, 0xaa, MIB);
    EXPECT(10000, one(&reads, &iov, 0, fd, 0, 64 * KIB));
    CHECK(is_filled(iov.base, 10000, 0));
    CHECK(are(iov.base + 10000, 64 * KIB - 10000, 0xaa));
    EXPECT(1, one(&reads, &iov, 0, fd, 9999, 5));
    EXPECT(0, one(&reads, &iov, 0, fd, 10000, 5));
    EXPECT(0, one(&reads, &iov, 0, fd, 1 << 30, 5));
    end_file(fd);
    tear_down();
}

static void a_hole_with_data_behind_is_zeros(void)
{
    set_up();
    int fd = new_file("a", 64 * KIB, O_RDWR);
    fill(iov.base, 64 * KIB, 0);
    EXPECT(4 * KIB, one(&writes, &iov, 0, fd, 256 * KIB, 4 * KIB));
    /* 64 KiB of data, a hole of 192 KiB, 4 KiB of data. */
    memset(iov.base, 0xaa, MIB);
    EXPECT(260 * KIB, one(&reads, &iov, 0, fd, 0, 512 * KIB));
    CHECK(is_filled(iov.base, 64 * KIB, 0));
    CHECK(are(iov.base + 64 * KIB, 192 * KIB, 0));
    CHECK(is_filled(iov.base + 256 * KIB, 4 * KIB, 0));
    CHECK(are(iov.base + 260 * KIB, MIB - 260 * KIB, 0xaa));
    /* It begins in the hole. */
    memset(iov.base, 0xaa, MIB);
    EXPECT(36 * KIB, one(&reads, &iov, 0, fd, 224 * KIB, 36 * KIB));
    CHECK(are(iov.base, 32 * KIB, 0));
    end_file(fd);
    tear_down();
}

static void a_hole_with_nothing_behind_ends_a_read(void)
{
    set_up();
    int fd = new_file("a", 64 * KIB, O_RDWR);
    OK(ftruncate(fd, MIB));
    memset(iov.base, 0xaa, MIB);
    EXPECT(64 * KIB, one(&reads, &iov, 0, fd, 0, 512 * KIB));
    CHECK(are(iov.base + 64 * KIB, MIB - 64 * KIB, 0xaa));
    EXPECT(0, one(&reads, &iov, 0, fd, 128 * KIB, 64 * KIB));
    CHECK(are(iov.base + 64 * KIB, MIB - 64 * KIB, 0xaa));
    EXPECT(4 * KIB, one(&reads, &iov, 0, fd, 60 * KIB, 8 * KIB));
    end_file(fd);
    /* Data lies behind, yet beyond what is asked for. */
    fd = new_file("b", 64 * KIB, O_RDWR);
    EXPECT(4 * KIB, one(&writes, &iov, 0, fd, 512 * KIB, 4 * KIB));
    EXPECT(64 * KIB, one(&reads, &iov, 0, fd, 0, 128 * KIB));
    EXPECT(0, lseek(fd, 0, SEEK_CUR));
    end_file(fd);
    tear_down();
}

const struct test hole_tests[] = {
    {"the_end_of_a_file_is_short", the_end_of_a_file_is_short, NULL, NULL},
    {"a_hole_with_data_behind_is_zeros", a_hole_with_data_behind_is_zeros, NULL, NULL},
    {"a_hole_with_nothing_behind_ends_a_read", a_hole_with_nothing_behind_ends_a_read, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
