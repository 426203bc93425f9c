/* Bare blocking sockets: what an engine without any library would do with an object store. A few threads, a connection
 * each, plain HTTP/1.1 without a signature, no keys' digests and no checksums. It is the least that a client can do. */
#include "engine.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fail.h"

#define SOCKETS_MAX 64
#define HEAD_BYTES 2048

typedef struct sockets sockets_t;

typedef struct {
    sockets_t *all;
    pthread_t thread;
    int fd;
} line_t;

struct sockets {
    shape_t shape;
    const char *method; /* of the batch that is under way */
    const batch_t *batch;
    size_t next; /* object that nobody has taken yet */
    int failed;
    bool stop;
    pthread_barrier_t start, end;
    char bucket[64];
    uint16_t port;
    uint64_t line_count;
    line_t lines[SOCKETS_MAX];
};

static int send_all(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};

    while (message.msg_iovlen > 0) {
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return fail("send: %s", strerror(errno));
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return 0;
}

static int receive(int fd, void *memory, size_t bytes, int flags, size_t *got_out)
{
    ssize_t got;

    do
        got = recv(fd, memory, bytes, flags);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return fail("receive: %s", got < 0 ? strerror(errno) : "the server closed the connection");
    *got_out = (size_t)got;
    return 0;
}

/* The answer: status 200, and a body of exactly that many bytes, which may be none. */
static int read_answer(int fd, unsigned char *memory, size_t bytes)
{
    char head[HEAD_BYTES + 1];
    size_t have = 0, got = 0, head_bytes;
    const char *end, *length;

    do {
        if (have == HEAD_BYTES)
            return fail("the server's head is too long");
        if (receive(fd, head + have, HEAD_BYTES - have, 0, &got) != 0)
            return -1;
        have += got;
        head[have] = '\0';
        end = strstr(head, "\r\n\r\n");
    } while (end == NULL);
    head_bytes = (size_t)(end - head) + 4;
    length = strcasestr(head, "\r\ncontent-length:");
    if (strncmp(head, "HTTP/1.1 200", 12) != 0 || length == NULL || length > end)
        return fail("the server answers: %.*s", (int)strcspn(head, "\r\n"), head);
    if (strtoull(length + 17, NULL, 10) != bytes || have - head_bytes > bytes)
        return fail("the server sends another length than %zu", bytes);
    if (bytes == 0)
        return 0;
    got = have - head_bytes;
    memcpy(memory, head + head_bytes, got);
    while (got < bytes) {
        size_t more = 0;
        if (receive(fd, memory + got, bytes - got, MSG_WAITALL, &more) != 0)
            return -1;
        got += more;
    }
    return 0;
}

static int move(const line_t *line, const sockets_t *self, size_t index)
{
    const size_t bytes = self->shape.object_bytes;
    unsigned char *const memory = self->batch->memory + index * self->shape.object_stride;
    const bool put = self->method[0] == 'P';
    char head[512];
    struct iovec parts[2];
    int length = snprintf(head, sizeof head, "%s /%s/sockets/%llu HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n", self->method,
                          self->bucket, (unsigned long long)(self->batch->ids[index] % self->shape.live_objects),
                          self->port);

    if (put)
        length += snprintf(head + length, sizeof head - (size_t)length, "Content-Length: %zu\r\n", bytes);
    length += snprintf(head + length, sizeof head - (size_t)length, "\r\n");
    parts[0] = (struct iovec){head, (size_t)length};
    parts[1] = (struct iovec){memory, bytes};
    if (send_all(line->fd, parts, put ? 2 : 1) != 0)
        return -1;
    return read_answer(line->fd, memory, put ? 0 : bytes);
}

static void *work(void *argument)
{
    line_t *const line = argument;
    sockets_t *const self = line->all;

    for (;;) {
        size_t index;
        pthread_barrier_wait(&self->start);
        if (self->stop)
            return NULL;
        while ((index = __atomic_fetch_add(&self->next, 1, __ATOMIC_RELAXED)) < self->batch->count &&
               __atomic_load_n(&self->failed, __ATOMIC_RELAXED) == 0)
            if (move(line, self, index) != 0)
                __atomic_store_n(&self->failed, 1, __ATOMIC_RELAXED);
        pthread_barrier_wait(&self->end);
    }
}

static int connect_line(line_t *line, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    const int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    line->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (line->fd < 0 || connect(line->fd, (struct sockaddr *)&address, sizeof address) != 0)
        return fail("cannot connect to port %u: %s", port, strerror(errno));
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return 0;
}

static int sockets_close(void *engine)
{
    sockets_t *const self = engine;

    self->stop = true;
    pthread_barrier_wait(&self->start);
    for (size_t i = 0; i < self->line_count; i++) {
        pthread_join(self->lines[i].thread, NULL);
        close(self->lines[i].fd);
    }
    pthread_barrier_destroy(&self->start);
    pthread_barrier_destroy(&self->end);
    free(self);
    return 0;
}

/* port= bucket= threads=: a server on this machine that asks for no signature. */
static int sockets_open(const command_t *command, const shape_t *shape, void **engine_out)
{
    sockets_t *const self = calloc(1, sizeof *self);
    uint64_t port;

    if (self == NULL)
        return fail("out of memory");
    self->shape = *shape;
    snprintf(self->bucket, sizeof self->bucket, "%s", command_text(command, "bucket", "bench"));
    if (command_number(command, "port", 0, &port) != 0 ||
        command_number(command, "threads", 8, &self->line_count) != 0 || self->line_count == 0 ||
        self->line_count > SOCKETS_MAX) {
        free(self);
        return fail("threads= has to be from 1 to %d", SOCKETS_MAX);
    }
    self->port = (uint16_t)port;
    for (size_t i = 0; i < self->line_count; i++) {
        if (connect_line(&self->lines[i], self->port) == 0)
            continue;
        for (size_t open = 0; open <= i; open++)
            if (self->lines[open].fd >= 0)
                close(self->lines[open].fd);
        free(self);
        return -1;
    }
    pthread_barrier_init(&self->start, NULL, (unsigned)self->line_count + 1);
    pthread_barrier_init(&self->end, NULL, (unsigned)self->line_count + 1);
    for (size_t i = 0; i < self->line_count; i++) {
        self->lines[i].all = self;
        if (pthread_create(&self->lines[i].thread, NULL, work, &self->lines[i]) != 0) {
            /* The barriers would never open. */
            fprintf(stderr, "worker: cannot start a thread\n");
            exit(1);
        }
    }
    *engine_out = self;
    return 0;
}

static int transfer(sockets_t *self, const batch_t *batch, const char *method)
{
    self->method = method;
    self->batch = batch;
    self->next = 0;
    self->failed = 0;
    pthread_barrier_wait(&self->start);
    pthread_barrier_wait(&self->end);
    return self->failed ? -1 : 0;
}

static int sockets_put(void *engine, const batch_t *batch)
{
    return transfer(engine, batch, "PUT");
}

static int sockets_get(void *engine, const batch_t *batch)
{
    return transfer(engine, batch, "GET");
}

static void sockets_describe(void *engine)
{
    fprintf(json, ",\"threads\":%llu", (unsigned long long)((const sockets_t *)engine)->line_count);
}

const engine_ops_t engine_sockets = {
    .name = "sockets",
    .open = sockets_open,
    .put = sockets_put,
    .get = sockets_get,
    .put_one = sockets_put,
    .get_one = sockets_get,
    .describe = sockets_describe,
    .close = sockets_close,
};
