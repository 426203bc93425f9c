/* Many rings at once: bytes stay right, and nothing is left behind. */

#include "self_test.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS 2000

static int fds[THREADS];

static void *writes_and_reads(void *argument)
{
    int self = (int)(intptr_t)argument;
    struct hf3fs_iov iov;
    struct hf3fs_ior reads, writes;
    struct hf3fs_cqe cqes[16];
    new_iov(&iov, 32 * PAGE);
    new_ring(&reads, 16, true, self % 2 == 0 ? 0 : -3);
    new_ring(&writes, 16, false, self % 2 == 0 ? -4 : 0);
    for (int round = 0; round < ROUNDS; round++) {
        size_t offset = (size_t)(round % 64) * 16 * PAGE;
        fill(iov.base, 16 * PAGE, offset + (size_t)self * 1000 + (size_t)round * 64);
        for (size_t i = 0; i < 16; i++)
            CHECK(prepare(&writes, &iov, i * PAGE, fds[self], offset + i * PAGE, PAGE, i) >= 0);
        OK(hf3fs_submit_ios(&writes));
        EXPECT(16, wait_for(&writes, cqes, 16, 16));
        for (size_t i = 0; i < 16; i++)
            CHECK(prepare(&reads, &iov, (16 + i) * PAGE, fds[self], offset + i * PAGE, PAGE, i) >= 0);
        OK(hf3fs_submit_ios(&reads));
        EXPECT(16, wait_for(&reads, cqes, 16, 16));
        CHECK(memcmp(iov.base, iov.base + 16 * PAGE, 16 * PAGE) == 0);
    }
    hf3fs_iordestroy(&reads);
    hf3fs_iordestroy(&writes);
    hf3fs_iovdestroy(&iov);
    return NULL;
}

static void many_rings(void)
{
    pthread_t threads[THREADS];
    char name[16];
    for (int i = 0; i < THREADS; i++) {
        snprintf(name, sizeof name, "%d", i);
        fds[i] = new_file(name, PAGE, O_RDWR);
    }
    for (int i = 0; i < THREADS; i++)
        OK(pthread_create(&threads[i], NULL, writes_and_reads, (void *)(intptr_t)i));
    for (int i = 0; i < THREADS; i++)
        OK(pthread_join(threads[i], NULL));
    for (int i = 0; i < THREADS; i++)
        end_file(fds[i]);
    EXPECT(THREADS * ROUNDS * 16 * PAGE, count(STANDIN_HF3FS_BYTES_READ));
    EXPECT(THREADS * ROUNDS * 16 * PAGE, count(STANDIN_HF3FS_BYTES_WRITTEN));
    EXPECT(0, count(STANDIN_HF3FS_UNDER_WAY));
}

static int open_files(void)
{
    int found = 0;
    for (int i = 0; i < 256; i++)
        found += fcntl(i, F_GETFD) >= 0;
    return found;
}

static void everything_comes_back(void)
{
    int files = 0;
    struct hf3fs_iov iov;
    struct hf3fs_ior ring;
    for (int round = 0; round < 500; round++) {
        int fd = new_file("a", PAGE, O_RDWR | O_DIRECT);
        new_iov(&iov, PAGE);
        new_ring(&ring, 4, true, 0);
        EXPECT(99, one(&ring, &iov, 1, fd, 1, 99));
        hf3fs_iordestroy(&ring);
        hf3fs_iovdestroy(&iov);
        end_file(fd);
        if (round == 0)
            files = open_files();
    }
    EXPECT(files, open_files());
}

const struct test speed_tests[] = {
    {"many_rings", many_rings, NULL, NULL},
    {"many_rings_under_faults", many_rings, NULL, "STANDIN_HF3FS_ORDER=random STANDIN_HF3FS_DELAY_US=20"},
    {"everything_comes_back", everything_comes_back, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
