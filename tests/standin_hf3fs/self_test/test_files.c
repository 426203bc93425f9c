/* Registered files: what is answered, what stays after a close. */

#include "self_test.h"

#include <sys/stat.h>

static void registering_answers_the_duplicate(void)
{
    int fd = open(path_in_mount("a"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int answer = hf3fs_reg_fd(fd, 0);
    CHECK(answer < 0);
    struct stat one_, other;
    OK(fstat(fd, &one_));
    OK(fstat(-answer, &other));
    CHECK(one_.st_ino == other.st_ino);
    EXPECT(0, fcntl(-answer, F_GETFD) & FD_CLOEXEC);
    EXPECT(EINVAL, hf3fs_reg_fd(fd, 0));
    EXPECT(EINVAL, hf3fs_reg_fd(-answer, 0));
    EXPECT(1, count(STANDIN_HF3FS_FDS_LIVE));
    hf3fs_dereg_fd(fd);
    CHECK(fcntl(-answer, F_GETFD) < 0);
    CHECK(hf3fs_reg_fd(fd, 0) < 0);
    end_file(fd);
    EXPECT(0, count(STANDIN_HF3FS_FDS_LIVE));
    EXPECT(2, count(STANDIN_HF3FS_FDS_REGISTERED));
    EXPECT(EBADF, hf3fs_reg_fd(fd, 0));
    EXPECT(EBADF, hf3fs_reg_fd(open("/dev/null", O_RDWR), 0));
    EXPECT(EBADF, hf3fs_reg_fd(-1, 0));
    EXPECT(EBADF, hf3fs_reg_fd(1 << 30, 0));
}

static void a_number_closed_early_stays_taken(void)
{
    int fd = new_file("a", PAGE, O_RDWR);
    close(fd);
    EXPECT(fd, open(path_in_mount("b"), O_RDWR | O_CREAT, 0644));
    EXPECT(EINVAL, hf3fs_reg_fd(fd, 0));
}

static void the_duplicate_does_io_too(void)
{
    struct hf3fs_iov iov;
    struct hf3fs_ior ring;
    int fd = open(path_in_mount("a"), O_RDWR | O_CREAT, 0644);
    int answer = hf3fs_reg_fd(fd, 0);
    new_iov(&iov, PAGE);
    new_ring(&ring, 4, false, 0);
    fill(iov.base, PAGE, 0);
    EXPECT(PAGE, one(&ring, &iov, 0, answer, 0, PAGE));
    EXPECT(PAGE, one(&ring, &iov, 0, -answer, PAGE, PAGE));
    EXPECT(PAGE, one(&ring, &iov, 0, fd, 2 * PAGE, PAGE));
    EXPECT(0, lseek(fd, 0, SEEK_CUR));
    EXPECT(3 * PAGE, lseek(fd, 0, SEEK_END));
    hf3fs_iordestroy(&ring);
    hf3fs_iovdestroy(&iov);
    end_file(fd);
}

static void access_is_checked(void)
{
    struct hf3fs_iov iov;
    struct hf3fs_ior reads, writes;
    new_iov(&iov, PAGE);
    new_ring(&reads, 4, true, 0);
    new_ring(&writes, 4, false, 0);
    int read_only = new_file("a", PAGE, O_RDONLY), write_only = new_file("b", PAGE, O_WRONLY);
    EXPECT(-EACCES, prepare(&writes, &iov, 0, read_only, 0, PAGE, 0));
    EXPECT(-EACCES, prepare(&reads, &iov, 0, write_only, 0, PAGE, 0));
    EXPECT(PAGE, one(&reads, &iov, 0, read_only, 0, PAGE));
    EXPECT(PAGE, one(&writes, &iov, 0, write_only, 0, PAGE));
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iovdestroy(&iov);
    end_file(read_only);
    end_file(write_only);
}

/* 3FS takes direct I/O of any alignment, and ignores O_APPEND. */
static void any_alignment_goes(void)
{
    struct hf3fs_iov iov;
    struct hf3fs_ior reads, writes;
    static const int flags[] = {O_DIRECT, O_APPEND, O_DIRECT | O_APPEND};
    new_iov(&iov, 64 * KIB);
    new_ring(&reads, 4, true, 0);
    new_ring(&writes, 4, false, 0);
    for (int i = 0; i < 3; i++) {
        int fd = new_file("a", 64 * KIB, O_RDWR | flags[i]);
        EXPECT(PAGE, one(&reads, &iov, 0, fd, PAGE, PAGE));
        CHECK(is_filled(iov.base, PAGE, PAGE));
        EXPECT(777, one(&reads, &iov, 13, fd, 5, 777));
        CHECK(is_filled(iov.base + 13, 777, 5));
        memset(iov.base, 0xee, 100);
        EXPECT(99, one(&writes, &iov, 1, fd, 7, 99));
        EXPECT(200, one(&reads, &iov, 1000, fd, 0, 200));
        CHECK(iov.base[1006] == pattern(6) && iov.base[1007] == 0xee && iov.base[1105] == 0xee);
        CHECK(iov.base[1106] == pattern(106));
        EXPECT(64 * KIB, lseek(fd, 0, SEEK_END));
        end_file(fd);
    }
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iovdestroy(&iov);
}

static void an_unlinked_file_goes_on(void)
{
    struct hf3fs_iov iov;
    struct hf3fs_ior reads;
    new_iov(&iov, PAGE);
    new_ring(&reads, 4, true, 0);
    int fd = new_file("a", PAGE, O_RDWR | O_DIRECT);
    OK(unlink(path_in_mount("a")));
    EXPECT(100, one(&reads, &iov, 1, fd, 1, 100));
    CHECK(is_filled(iov.base + 1, 100, 1));
    end_file(fd);
    hf3fs_iordestroy(&reads);
    hf3fs_iovdestroy(&iov);
}

const struct test file_tests[] = {
    {"registering_answers_the_duplicate", registering_answers_the_duplicate, NULL, NULL},
    {"a_number_closed_early_stays_taken", a_number_closed_early_stays_taken, NULL, NULL},
    {"the_duplicate_does_io_too", the_duplicate_does_io_too, NULL, NULL},
    {"access_is_checked", access_is_checked, NULL, NULL},
    {"any_alignment_goes", any_alignment_goes, NULL, NULL},
    {"an_unlinked_file_goes_on", an_unlinked_file_goes_on, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
