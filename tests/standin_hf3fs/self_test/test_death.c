/* A daemon that dies, a new one, and writes that land after their client was killed. */

#include "self_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static struct hf3fs_iov iov;
static struct hf3fs_ior reads, writes;
static struct hf3fs_cqe cqes[64];
static int fd;

static void set_up(void)
{
    new_iov(&iov, MIB);
    new_ring(&reads, 8, true, -1);
    new_ring(&writes, 8, false, -1);
    fd = new_file("a", MIB, O_RDWR);
}

static void a_dead_daemon_answers_nothing(void)
{
    struct hf3fs_iov other;
    struct hf3fs_ior ring;
    set_up();
    standin_hf3fs_hold(true);
    CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    OK(hf3fs_submit_ios(&reads));
    standin_hf3fs_kill();
    standin_hf3fs_hold(false);
    CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    CHECK(prepare(&writes, &iov, 0, fd, 0, PAGE, 0) >= 0);
    OK(hf3fs_submit_ios(&reads));
    OK(hf3fs_submit_ios(&writes));
    EXPECT(0, wait_ms(&reads, cqes, 8, 1, 100));
    EXPECT(0, wait_ms(&writes, cqes, 8, 1, 20));
    CHECK(iov.base[0] == 0);
    for (int i = 0; i < 6; i++)
        CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    EXPECT(-EAGAIN, prepare(&reads, &iov, 0, fd, 0, PAGE, 0));
    CHECK(!hf3fs_is_hf3fs(fd));
    EXPECT(EBADF, hf3fs_reg_fd(fd, 0));
    EXPECT(-ENOTCONN, hf3fs_iovcreate(&other, mount_point, PAGE, 0, -1));
    EXPECT(-ENOTCONN, hf3fs_iorcreate(&ring, mount_point, 8, true, 0, -1));
    hf3fs_dereg_fd(fd);
    EXPECT(1, count(STANDIN_HF3FS_FDS_LIVE));
    EXPECT(0, count(STANDIN_HF3FS_HELD));
    /* With entries that never end, it can be left behind. */
    EXPECT(9, count(STANDIN_HF3FS_UNDER_WAY));
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iovdestroy(&iov);
    EXPECT(0, count(STANDIN_HF3FS_UNDER_WAY));
}

static void a_new_daemon_knows_nothing(void)
{
    struct hf3fs_ior ring;
    struct hf3fs_iov other;
    set_up();
    CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    standin_hf3fs_kill();
    standin_hf3fs_restart();
    OK(hf3fs_submit_ios(&reads));
    EXPECT(0, wait_ms(&reads, cqes, 8, 1, 50));
    new_ring(&ring, 8, true, 0);
    new_iov(&other, PAGE);
    EXPECT(-EBADF, one(&ring, &other, 0, fd, 0, PAGE));
    hf3fs_dereg_fd(fd);
    CHECK(hf3fs_reg_fd(fd, 0) <= 0);
    EXPECT(-EACCES, one(&ring, &iov, 0, fd, 0, PAGE));
    EXPECT(PAGE, one(&ring, &other, 0, fd, 0, PAGE));
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iordestroy(&ring);
    hf3fs_iovdestroy(&iov);
    hf3fs_iovdestroy(&other);
    end_file(fd);
    EXPECT(0, count(STANDIN_HF3FS_UNDER_WAY));
}

/* Killed while it works: once that returns, memory stays as it is. */
static void nothing_is_touched_after_death(void)
{
    for (int round = 0; round < 50; round++) {
        struct hf3fs_ior ring;
        new_iov(&iov, MIB);
        new_ring(&ring, 64, true, -1);
        fd = new_file("a", MIB, O_RDWR);
        for (size_t i = 0; i < 64; i++)
            CHECK(prepare(&ring, &iov, i * 16 * KIB, fd, i * 16 * KIB, 16 * KIB, i) >= 0);
        OK(hf3fs_submit_ios(&ring));
        usleep((useconds_t)(round * 5));
        standin_hf3fs_kill();
        memset(iov.base, 0xcc, MIB);
        int got = wait_ms(&ring, cqes, 64, 64, 5);
        CHECK(got >= 0 && got <= 64);
        for (size_t i = 0; i < MIB; i++)
            CHECK(iov.base[i] == 0xcc);
        hf3fs_iordestroy(&ring);
        hf3fs_iovdestroy(&iov);
        standin_hf3fs_restart();
        end_file(fd);
    }
}

static void dies_at_an_entry(void)
{
    set_up();
    EXPECT(PAGE, one(&reads, &iov, 0, fd, 0, PAGE));
    EXPECT(PAGE, one(&reads, &iov, 0, fd, 0, PAGE));
    CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 0) >= 0);
    OK(hf3fs_submit_ios(&reads));
    EXPECT(0, wait_ms(&reads, cqes, 8, 1, 50));
    CHECK(!hf3fs_is_hf3fs(fd));
}

/* A process that is killed with four writes of 0xee under way, the last over the end of the file. */
static void killed_with_writes(const char *journal)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        set_up();
        memset(iov.base, 0xee, MIB);
        EXPECT(PAGE, one(&writes, &iov, 0, fd, 512 * KIB, PAGE));
        OK(standin_hf3fs_journal(journal));
        standin_hf3fs_hold(true);
        for (size_t i = 0; i < 4; i++)
            CHECK(prepare(&writes, &iov, 0, fd, i * 300 * KIB, 64 * KIB, i) >= 0);
        CHECK(prepare(&reads, &iov, 0, fd, 0, PAGE, 9) >= 0);
        OK(hf3fs_submit_ios(&writes));
        hf3fs_iovunlink(&iov);
        kill(getpid(), SIGKILL);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static uint8_t byte_at(size_t offset)
{
    uint8_t byte = 0;
    int file = open(path_in_mount("a"), O_RDONLY);
    EXPECT(1, pread(file, &byte, 1, (off_t)offset));
    close(file);
    return byte;
}

static void writes_land_late(void)
{
    const char *journal = path_in_mount("journal");
    killed_with_writes(journal);
    CHECK(byte_at(0) == pattern(0) && byte_at(512 * KIB) == 0xee);
    EXPECT(2, standin_hf3fs_replay(journal, 2));
    CHECK(byte_at(0) == 0xee && byte_at(64 * KIB - 1) == 0xee && byte_at(64 * KIB) == pattern(64 * KIB));
    CHECK(byte_at(364 * KIB - 1) == 0xee && byte_at(600 * KIB) == pattern(600 * KIB));
    EXPECT(4, standin_hf3fs_replay(journal, UINT64_MAX));
    CHECK(byte_at(600 * KIB) == 0xee && byte_at(964 * KIB - 1) == 0xee && byte_at(964 * KIB) == pattern(964 * KIB));
    /* One that was cut off, and a file that is gone. */
    OK(truncate(journal, 4 * 64 * KIB));
    EXPECT(3, standin_hf3fs_replay(journal, UINT64_MAX));
    OK(unlink(path_in_mount("a")));
    EXPECT(0, standin_hf3fs_replay(journal, UINT64_MAX));
    EXPECT(-ENOENT, standin_hf3fs_replay(path_in_mount("none"), 1));
    EXPECT(-ENOENT, standin_hf3fs_journal("/nowhere/journal"));
    OK(truncate(journal, 0));
    EXPECT(0, standin_hf3fs_replay(journal, UINT64_MAX));
}

static void a_program_replays(void)
{
    char command[1200];
    const char *journal = path_in_mount("journal"), *program = getenv("REPLAY");
    CHECK(program != NULL);
    killed_with_writes(journal);
    snprintf(command, sizeof command, "test \"$('%s' '%s' 1)\" = 1", program, journal);
    OK(system(command));
    CHECK(byte_at(0) == 0xee && byte_at(300 * KIB) == pattern(300 * KIB));
    snprintf(command, sizeof command, "test \"$('%s' '%s')\" = 4", program, journal);
    OK(system(command));
    CHECK(byte_at(300 * KIB) == 0xee);
    snprintf(command, sizeof command, "'%s' '%s/none' 2>&1 | grep -q 'No such file'", program, mount_point);
    OK(system(command));
}

static void only_held_writes_are_journalled(void)
{
    const char *journal = path_in_mount("journal");
    set_up();
    OK(standin_hf3fs_journal(journal));
    EXPECT(PAGE, one(&writes, &iov, 0, fd, 0, PAGE));
    EXPECT(0, standin_hf3fs_replay(journal, UINT64_MAX));
    standin_hf3fs_hold(true);
    CHECK(prepare(&writes, &iov, 0, fd, 0, PAGE, 0) >= 0);
    EXPECT(1, standin_hf3fs_replay(journal, UINT64_MAX));
    OK(standin_hf3fs_journal(NULL));
    CHECK(prepare(&writes, &iov, 0, fd, 0, PAGE, 0) >= 0);
    EXPECT(1, standin_hf3fs_replay(journal, UINT64_MAX));
    standin_hf3fs_hold(false);
    OK(hf3fs_submit_ios(&writes));
    EXPECT(2, wait_for(&writes, cqes, 8, 2));
}

const struct test death_tests[] = {
    {"a_dead_daemon_answers_nothing", a_dead_daemon_answers_nothing, NULL, NULL},
    {"a_new_daemon_knows_nothing", a_new_daemon_knows_nothing, NULL, NULL},
    {"nothing_is_touched_after_death", nothing_is_touched_after_death, NULL, NULL},
    {"dies_at_an_entry", dies_at_an_entry, NULL, "STANDIN_HF3FS_KILL_AT=3"},
    {"writes_land_late", writes_land_late, NULL, NULL},
    {"a_program_replays", a_program_replays, NULL, NULL},
    {"only_held_writes_are_journalled", only_held_writes_are_journalled, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
