/* A small S3 server in memory, which the benchmark measures clients against: it is as fast as the kernel's loopback, so
 * that the client is what limits. It checks no signature and is no place for anybody's data.
 *
 *     s3_memory --bucket NAME --memory-bytes N [--port N]
 *
 * It listens on 127.0.0.1, says "listening PORT" on standard output, and ends when its standard input does: then it can
 * outlive nobody who started it. */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"

/* A client with more than this at a time is sent away. */
#define CONNECTIONS_MAX 512
#define THREAD_STACK_BYTES ((size_t)256 << 10)

typedef struct {
    connection_t connection;
    request_t request;
} client_t;

static atomic_uint connections;

static void *serve(void *argument)
{
    client_t *const client = argument;
    const exchange_t exchange = {&client->request, &client->connection};

    for (;;) {
        const request_status_t status = request_read(&client->request, &client->connection);
        if (status == REQUEST_BAD) {
            static const char bad[] =
                "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            connection_send(&client->connection, bad, sizeof bad - 1, 0);
        }
        if (status != REQUEST_READY || service_serve(&exchange) != 0 || !client->request.keep_alive)
            break;
    }
    close(client->connection.fd);
    free(client);
    atomic_fetch_sub(&connections, 1);
    return NULL;
}

static int start(int fd)
{
    const int on = 1;
    client_t *const client = calloc(1, sizeof *client);
    pthread_attr_t attributes;
    pthread_t thread;
    int status;

    if (client == NULL)
        return -1;
    client->connection.fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    status = pthread_create(&thread, &attributes, serve, client);
    pthread_attr_destroy(&attributes);
    if (status != 0)
        free(client);
    return status == 0 ? 0 : -1;
}

static void *wait_for_end(void *nothing)
{
    char byte;
    ssize_t got;

    do
        got = read(STDIN_FILENO, &byte, 1);
    while (got > 0 || (got < 0 && errno == EINTR));
    (void)nothing;
    exit(0);
}

static int listen_on(uint16_t *port)
{
    const int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t length = sizeof address;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, CONNECTIONS_MAX) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return -1;
    *port = ntohs(address.sin_port);
    return fd;
}

static int parse(int argc, char **argv, const char **bucket, size_t *memory_bytes, uint16_t *port)
{
    static const struct option options[] = {{"bucket", required_argument, NULL, 'b'},
                                            {"memory-bytes", required_argument, NULL, 'm'},
                                            {"port", required_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    int code;

    while ((code = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (code == 'b')
            *bucket = optarg;
        else if (code == 'm')
            *memory_bytes = strtoull(optarg, NULL, 10);
        else if (code == 'p')
            *port = (uint16_t)strtoul(optarg, NULL, 10);
        else
            return -1;
    }
    return optind == argc && *bucket != NULL && *memory_bytes >= 4096 ? 0 : -1;
}

int main(int argc, char **argv)
{
    const char *bucket = NULL;
    size_t memory_bytes = 0;
    uint16_t port = 0;
    pthread_t thread;
    int listener;

    if (parse(argc, argv, &bucket, &memory_bytes, &port) != 0) {
        fprintf(stderr, "usage: s3_memory --bucket NAME --memory-bytes N [--port N]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    service_start(bucket);
    listener = bodies_create(memory_bytes) == 0 ? listen_on(&port) : -1;
    if (listener < 0 || pthread_create(&thread, NULL, wait_for_end, NULL) != 0) {
        fprintf(stderr, "s3_memory: cannot start: %s\n", strerror(errno));
        return 1;
    }
    printf("listening %u\n", port);
    fflush(stdout);
    for (;;) {
        const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        if (atomic_fetch_add(&connections, 1) < CONNECTIONS_MAX && start(fd) == 0)
            continue;
        atomic_fetch_sub(&connections, 1);
        close(fd);
    }
}
