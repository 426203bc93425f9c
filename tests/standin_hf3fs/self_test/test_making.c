/* What is made in a mount and in /dev/shm, and what is left of it. */

#include "self_test.h"

#include <dirent.h>
#include <sys/stat.h>

static char names[8][256];

/* The links in the mount, by name. */
static int links(void)
{
    int found = 0;
    DIR *folder = opendir(path_in_mount("3fs-virt/iovs"));
    CHECK(folder != NULL);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.')
            snprintf(names[found++ % 8], sizeof names[0], "%s", entry->d_name);
    closedir(folder);
    return found;
}

static const char *target_of(const char *name)
{
    static char target[256];
    char path[512];
    snprintf(path, sizeof path, "%s/3fs-virt/iovs/%s", mount_point, name);
    ssize_t bytes = readlink(path, target, sizeof target - 1);
    CHECK(bytes > 0);
    target[bytes] = '\0';
    return target;
}

static void an_iov_is_a_file_and_a_link(void)
{
    struct hf3fs_iov iov;
    struct stat stat_;
    OK(hf3fs_iovcreate(&iov, mount_point, MIB, 64 * KIB, -1));
    CHECK(iov.size == MIB && iov.block_size == 64 * KIB && strcmp(iov.mount_point, mount_point) == 0);
    memset(iov.base, 1, MIB);
    EXPECT(1, links());
    CHECK(strlen(names[0]) == 36 + strlen(".b65536") && strcmp(names[0] + 36, ".b65536") == 0);
    const char *target = target_of(names[0]);
    CHECK(strncmp(target, "/dev/shm/hf3fs-iov-", 19) == 0);
    OK(stat(target, &stat_));
    EXPECT(MIB, stat_.st_size);
    struct hf3fs_iov other;
    OK(hf3fs_iovopen(&other, (const uint8_t *)iov.id, mount_point, MIB, 64 * KIB, -1));
    CHECK(other.base != iov.base && other.base[5] == 1);
    EXPECT(2, count(STANDIN_HF3FS_IOVS_LIVE));
    hf3fs_iovdestroy(&other);
    hf3fs_iovunlink(&iov);
    CHECK(stat(target, &stat_) != 0);
    hf3fs_iovdestroy(&iov);
    CHECK(iov.iovh == NULL);
    EXPECT(0, links());
    EXPECT(0, count(STANDIN_HF3FS_IOVS_LIVE));
    EXPECT(2, count(STANDIN_HF3FS_IOVS_MADE));
    EXPECT(-ENOENT, hf3fs_iovopen(&other, (const uint8_t *)iov.id, mount_point, MIB, 64 * KIB, -1));
}

static void a_ring_unlinks_its_memory(void)
{
    struct hf3fs_ior ring;
    struct stat stat_;
    EXPECT(28816, hf3fs_ior_size(256));
    OK(hf3fs_iorcreate3(&ring, mount_point, 256, false, -8, 1, 0, -1));
    EXPECT(256, hf3fs_io_entries(&ring));
    EXPECT(28816, ring.iov.size);
    EXPECT(1, links());
    CHECK(strcmp(names[0] + 36, ".w-8.pl.t0") == 0);
    CHECK(stat(target_of(names[0]), &stat_) != 0);
    EXPECT(1, count(STANDIN_HF3FS_RINGS_LIVE));
    hf3fs_iordestroy(&ring);
    EXPECT(0, links());
    OK(hf3fs_iorcreate(&ring, mount_point, 3, true, 2, -1));
    links();
    CHECK(strcmp(names[0] + 36, ".r2.t0") == 0);
    hf3fs_iordestroy(&ring);
    OK(hf3fs_iorcreate2(&ring, mount_point, 3, true, 0, -1, -1));
    links();
    CHECK(strcmp(names[0] + 36, ".r0.ph.t0") == 0);
    hf3fs_iordestroy(&ring);
    EXPECT(3, count(STANDIN_HF3FS_RINGS_MADE));
    EXPECT(0, count(STANDIN_HF3FS_RINGS_LIVE));
    EXPECT(0, count(STANDIN_HF3FS_IOVS_MADE));
}

/* Descriptors open on the folder of links, and whether they go away at exec. */
static int folder_opens(bool *cloexec)
{
    char link[64], path[512];
    int found = 0;
    for (int fd = 0; fd < 256; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t bytes = readlink(link, path, sizeof path - 1);
        if (bytes <= 0)
            continue;
        path[bytes] = '\0';
        if (strstr(path, "/3fs-virt/iovs") != NULL) {
            *cloexec = (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0;
            found++;
        }
    }
    return found;
}

static void the_folder_stays_open(void)
{
    struct hf3fs_iov iov;
    bool cloexec;
    EXPECT(0, folder_opens(&cloexec));
    for (int i = 0; i < 2; i++) {
        new_iov(&iov, PAGE);
        hf3fs_iovdestroy(&iov);
        EXPECT(1, folder_opens(&cloexec));
        CHECK(!cloexec);
    }
}

static void making_says_what_failed(void)
{
    struct hf3fs_iov iov;
    struct hf3fs_ior ring;
    char longest[300];
    memset(longest, 'a', sizeof longest);
    longest[299] = '\0';
    EXPECT(-ENOENT, hf3fs_iovcreate(&iov, "/nowhere", PAGE, 0, -1));
    EXPECT(-ENOENT, hf3fs_iorcreate(&ring, "/nowhere", 8, true, 0, -1));
    EXPECT(-EINVAL, hf3fs_iovcreate(&iov, longest, PAGE, 0, -1));
    EXPECT(-EINVAL, hf3fs_iovcreate(NULL, mount_point, PAGE, 0, -1));
    EXPECT(-EINVAL, hf3fs_iorcreate(&ring, mount_point, 0, true, 0, -1));
    EXPECT(-EINVAL, hf3fs_iorcreate(&ring, "", 8, true, 0, -1));
    hf3fs_iovdestroy(NULL);
    hf3fs_iordestroy(NULL);
}

static void the_semaphore_must_be_there(void)
{
    struct hf3fs_ior ring;
    const char *link = path_in_mount("3fs-virt/iovs/submit-ios");
    OK(standin_hf3fs_mount("/somewhere:/else"));
    EXPECT(-ENOENT, hf3fs_iorcreate(&ring, mount_point, 8, true, 0, -1));
    /* As the genuine library, it leaves its link then. */
    EXPECT(1, links());
    OK(symlink("/tmp/sem.of-nothing", link));
    EXPECT(-EIO, hf3fs_iorcreate(&ring, mount_point, 8, true, 0, -1));
    OK(unlink(link));
    OK(symlink("/dev/shm/sem.of-a-daemon", link));
    OK(hf3fs_iorcreate(&ring, mount_point, 8, true, 0, -1));
    hf3fs_iordestroy(&ring);
    EXPECT(0, count(STANDIN_HF3FS_RINGS_LIVE));
    OK(standin_hf3fs_mount(NULL));
}

static void mounts_are_told_apart(void)
{
    char found[256], sister[512];
    int inside = open(path_in_mount("."), O_RDONLY), outside = open("/tmp", O_RDONLY);
    CHECK(hf3fs_is_hf3fs(inside));
    CHECK(!hf3fs_is_hf3fs(outside));
    CHECK(!hf3fs_is_hf3fs(-1) && !hf3fs_is_hf3fs(999));
    EXPECT(strlen(mount_point) + 1, hf3fs_extract_mount_point(found, sizeof found, path_in_mount("3fs-virt")));
    CHECK(strcmp(found, mount_point) == 0);
    strcpy(found, "left");
    EXPECT(strlen(mount_point) + 1, hf3fs_extract_mount_point(found, 3, mount_point));
    CHECK(strcmp(found, "left") == 0);
    EXPECT(-1, hf3fs_extract_mount_point(found, sizeof found, "/tmp"));
    /* By whole names. */
    snprintf(sister, sizeof sister, "%s-sister", mount_point);
    OK(mkdir(sister, 0755));
    EXPECT(-1, hf3fs_extract_mount_point(found, sizeof found, sister));
    OK(rmdir(sister));
    OK(standin_hf3fs_mount("/nowhere"));
    CHECK(!hf3fs_is_hf3fs(inside));
    OK(standin_hf3fs_mount(mount_point));
    CHECK(hf3fs_is_hf3fs(inside));
}

static void links_and_holes_over_the_mount(void)
{
    int fd = new_file("a", 4 * PAGE, O_RDWR);
    size_t start = PAGE, end = 2 * PAGE;
    OK(hf3fs_hardlink(path_in_mount("a"), path_in_mount("b")));
    EXPECT(EEXIST, hf3fs_hardlink(path_in_mount("a"), path_in_mount("b")));
    EXPECT(ENOENT, hf3fs_hardlink(path_in_mount("c"), path_in_mount("d")));
    EXPECT(ENOTTY, hf3fs_hardlink("/dev/null", path_in_mount("d")));
    OK(hf3fs_punchhole(fd, 1, &start, &end, 0));
    uint8_t bytes[2];
    EXPECT(2, pread(fd, bytes, 2, PAGE - 1));
    CHECK(bytes[0] == pattern(PAGE - 1) && bytes[1] == 0);
    EXPECT(EBADF, hf3fs_punchhole(999, 1, &start, &end, 0));
    end_file(fd);
}

static void a_report_at_the_end(void)
{
    char line[64];
    struct hf3fs_iov iov;
    pid_t child = fork();
    if (child == 0) {
        new_iov(&iov, PAGE);
        exit(0);
    }
    for (int i = 0; i < 1000 && access(path_in_mount("report"), F_OK) != 0; i++)
        usleep(10000);
    usleep(100000);
    FILE *file = fopen(path_in_mount("report"), "r");
    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
    CHECK(strcmp(line, "iovs_made 1\n") == 0);
    CHECK(fgets(line, sizeof line, file) != NULL && strcmp(line, "iovs_live 1\n") == 0);
    fclose(file);
}

static void report_into_mount(void)
{
    setenv("STANDIN_HF3FS_REPORT", path_in_mount("report"), 1);
    a_report_at_the_end();
    unsetenv("STANDIN_HF3FS_REPORT");
}

const struct test making_tests[] = {
    {"an_iov_is_a_file_and_a_link", an_iov_is_a_file_and_a_link, NULL, NULL},
    {"a_ring_unlinks_its_memory", a_ring_unlinks_its_memory, NULL, NULL},
    {"the_folder_stays_open", the_folder_stays_open, NULL, NULL},
    {"making_says_what_failed", making_says_what_failed, NULL, NULL},
    {"the_semaphore_must_be_there", the_semaphore_must_be_there, NULL, NULL},
    {"mounts_are_told_apart", mounts_are_told_apart, NULL, NULL},
    {"links_and_holes_over_the_mount", links_and_holes_over_the_mount, NULL, NULL},
    {"a_report_at_the_end", report_into_mount, NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
