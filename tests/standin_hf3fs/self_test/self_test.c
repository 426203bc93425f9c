/* Runs each test in a process of its own, with a mount of its own, the environment that it asks for and a bounded time. */

#include "self_test.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TEST_SECONDS_MAX 120
#define WAIT_MS_MAX 10000

const char *mount_point;

static const struct test *const groups[] = {making_tests, file_tests,  ring_tests,  order_tests, hole_tests,
                                            fault_tests,  death_tests, rule_tests, speed_tests};
#define GROUPS (sizeof groups / sizeof groups[0])

/* ---- what tests share ---- */

const char *path_in_mount(const char *name)
{
    static char paths[16][512];
    static unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof paths[0], "%s/%s", mount_point, name);
    return path;
}

void new_iov(struct hf3fs_iov *iov, size_t size)
{
    OK(hf3fs_iovcreate(iov, mount_point, size, 0, -1));
}

void new_ring(struct hf3fs_ior *ring, int entries, bool read, int io_depth)
{
    OK(hf3fs_iorcreate4(ring, mount_point, entries, read, io_depth, 0, -1, 0));
}

uint8_t pattern(size_t at)
{
    uint64_t z = (at / 8 + 1) * 0x9e3779b97f4a7c15u;
    return (uint8_t)(z >> (8 * (at % 8)));
}

void fill(uint8_t *memory, size_t bytes, size_t from)
{
    for (size_t i = 0; i < bytes; i++)
        memory[i] = pattern(from + i);
}

bool is_filled(const uint8_t *memory, size_t bytes, size_t from)
{
    for (size_t i = 0; i < bytes; i++)
        if (memory[i] != pattern(from + i))
            return false;
    return true;
}

int new_file(const char *name, size_t bytes, int flags)
{
    const char *path = path_in_mount(name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    uint8_t *content = malloc(bytes + 1);
    CHECK(fd >= 0 && content != NULL);
    fill(content, bytes, 0);
    EXPECT(bytes, write(fd, content, bytes));
    free(content);
    close(fd);
    fd = open(path, flags);
    CHECK(fd >= 0);
    CHECK(hf3fs_reg_fd(fd, 0) <= 0);
    return fd;
}

void end_file(int fd)
{
    hf3fs_dereg_fd(fd);
    close(fd);
}

int prepare(struct hf3fs_ior *ring, struct hf3fs_iov *iov, size_t at, int fd, size_t offset, size_t bytes,
            uintptr_t number)
{
    return hf3fs_prep_io(ring, iov, ring->for_read, iov->base + at, fd, offset, bytes, (const void *)number);
}

struct timespec in_ms(long milliseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    long long ns = time.tv_sec * 1000000000ll + time.tv_nsec + milliseconds * 1000000ll;
    time.tv_sec = ns / 1000000000;
    time.tv_nsec = ns % 1000000000;
    return time;
}

int wait_ms(struct hf3fs_ior *ring, struct hf3fs_cqe *cqes, int most, int least, long milliseconds)
{
    struct timespec until = in_ms(milliseconds);
    return hf3fs_wait_for_ios(ring, cqes, most, least, &until);
}

int wait_for(struct hf3fs_ior *ring, struct hf3fs_cqe *cqes, int most, int least)
{
    int got = wait_ms(ring, cqes, most, least, WAIT_MS_MAX);
    CHECK(got >= least);
    return got;
}

int64_t one(struct hf3fs_ior *ring, struct hf3fs_iov *iov, size_t at, int fd, size_t offset, size_t bytes)
{
    struct hf3fs_cqe cqe;
    int index = prepare(ring, iov, at, fd, offset, bytes, 77);
    CHECK(index >= 0);
    OK(hf3fs_submit_ios(ring));
    EXPECT(1, wait_for(ring, &cqe, 1, 1));
    EXPECT(index, cqe.index);
    CHECK(cqe.userdata == (const void *)77);
    return cqe.result;
}

void in_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    OK(pthread_create(&thread, NULL, body, argument));
    OK(pthread_join(thread, NULL));
}

uint64_t count(int what)
{
    return standin_hf3fs_count(what);
}

/* ---- running ---- */

static void set_environment(const char *text)
{
    char copy[512], *rest;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *pair = strtok_r(copy, " ", &rest); pair != NULL; pair = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(pair, '=');
        CHECK(equals != NULL);
        *equals = '\0';
        setenv(pair, equals + 1, 1);
    }
}

static void make_mount(char *path)
{
    char folder[256];
    CHECK(mkdtemp(path) != NULL);
    snprintf(folder, sizeof folder, "%s/3fs-virt", path);
    OK(mkdir(folder, 0755));
    snprintf(folder, sizeof folder, "%s/3fs-virt/iovs", path);
    OK(mkdir(folder, 0755));
    setenv("STANDIN_HF3FS_MOUNT", path, 1);
}

/* Removes a folder, and the shared memory that its links name: processes that aborted left theirs. */
static void remove_all(const char *path)
{
    char below[512], target[512];
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%.200s/%s", path, entry->d_name);
        ssize_t bytes = readlink(below, target, sizeof target - 1);
        if (bytes > 0) {
            target[bytes] = '\0';
            if (strncmp(target, "/dev/shm/hf3fs-iov-", 19) == 0)
                unlink(target);
        }
        if (unlink(below) != 0)
            remove_all(below);
    }
    if (folder != NULL)
        closedir(folder);
    rmdir(path);
}

static const struct test *find(const char *name)
{
    for (size_t group = 0; group < GROUPS; group++)
        for (const struct test *test = groups[group]; test->name != NULL; test++)
            if (strcmp(test->name, name) == 0)
                return test;
    return NULL;
}

static bool run(const struct test *test)
{
    char mount[256], said[4096] = "";
    const char *tmp = getenv("TMPDIR");
    int status, pipe_fds[2];
    snprintf(mount, sizeof mount, "%s/standin-hf3fs.XXXXXX", tmp != NULL ? tmp : "/tmp");
    make_mount(mount);
    fflush(stdout);
    OK(pipe2(pipe_fds, O_CLOEXEC));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        if (test->environment != NULL)
            set_environment(test->environment);
        dup2(pipe_fds[1], STDERR_FILENO);
        execl("/proc/self/exe", "self_test", test->name, (char *)NULL);
        _exit(127);
    }
    close(pipe_fds[1]);
    size_t bytes = 0;
    char rest[512];
    for (ssize_t got = 1; got > 0;) {
        bool room = bytes < sizeof said - 1;
        got = room ? read(pipe_fds[0], said + bytes, sizeof said - 1 - bytes) : read(pipe_fds[0], rest, sizeof rest);
        if (got > 0 && room)
            bytes += (size_t)got;
    }
    close(pipe_fds[0]);
    CHECK(waitpid(child, &status, 0) == child);
    bool passed = test->broken_rule == NULL ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                                            : WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT
                                                  && strstr(said, test->broken_rule) != NULL
                                                  && strstr(said, "(thread ") != NULL;
    printf("%s %s\n", passed ? "ok  " : "FAIL", test->name);
    if (!passed)
        printf("     status %x, said: %s\n", status, said);
    remove_all(mount);
    return passed;
}

int main(int arguments_count, char **arguments)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    if (arguments_count > 1) {
        const struct test *test = find(arguments[1]);
        CHECK(test != NULL);
        alarm(TEST_SECONDS_MAX);
        mount_point = getenv("STANDIN_HF3FS_MOUNT");
        if (mount_point == NULL) {
            static char mount[] = "/tmp/standin-hf3fs.XXXXXX";
            make_mount(mount);
            mount_point = mount;
        }
        test->body();
        return 0;
    }
    unsigned failed = 0, ran = 0;
    for (size_t group = 0; group < GROUPS; group++) {
        for (const struct test *test = groups[group]; test->name != NULL; test++) {
            failed += !run(test);
            ran++;
        }
    }
    printf("%u tests, %u failed\n", ran, failed);
    return failed != 0;
}
