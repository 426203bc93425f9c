#include "body.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES ((size_t)4096)

struct body {
    size_t offset, room; /* of the mapping */
    atomic_uint shares;
};

/* A stretch that nobody has. They lie in a list by offset, never two side by side. */
typedef struct free_stretch {
    size_t offset, bytes;
    struct free_stretch *next;
} free_stretch_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static free_stretch_t *free_stretches;
static size_t taken_bytes;
static unsigned char *mapping;

int bodies_create(size_t bytes_max)
{
    const size_t bytes = bytes_max / PAGE_BYTES * PAGE_BYTES;

    mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    free_stretches = malloc(sizeof *free_stretches);
    if (mapping == MAP_FAILED || free_stretches == NULL)
        return -1;
    madvise(mapping, bytes, MADV_HUGEPAGE);
    *free_stretches = (free_stretch_t){0, bytes, NULL};
    return 0;
}

/* First fit: what is touched again and again stays small, and touched pages cost no fault. */
static int take(size_t bytes, size_t *offset_out)
{
    for (free_stretch_t **at = &free_stretches; *at != NULL; at = &(*at)->next) {
        free_stretch_t *const stretch = *at;
        if (stretch->bytes < bytes)
            continue;
        *offset_out = stretch->offset;
        stretch->offset += bytes;
        stretch->bytes -= bytes;
        if (stretch->bytes == 0) {
            *at = stretch->next;
            free(stretch);
        }
        taken_bytes += bytes;
        return 0;
    }
    return -1;
}

/* Makes one stretch of two that touch each other. */
static void join(free_stretch_t *stretch)
{
    free_stretch_t *const next = stretch->next;

    if (next == NULL || stretch->offset + stretch->bytes != next->offset)
        return;
    stretch->bytes += next->bytes;
    stretch->next = next->next;
    free(next);
}

static void give_back(size_t offset, size_t bytes)
{
    free_stretch_t **at = &free_stretches;
    free_stretch_t *before = NULL, *const stretch = malloc(sizeof *stretch);

    taken_bytes -= bytes;
    if (stretch == NULL)
        return; /* the room is lost, which the bound on it makes a refusal later */
    while (*at != NULL && (*at)->offset < offset) {
        before = *at;
        at = &before->next;
    }
    *stretch = (free_stretch_t){offset, bytes, *at};
    *at = stretch;
    join(stretch);
    if (before != NULL)
        join(before);
}

body_t *body_new(size_t bytes)
{
    body_t *const body = malloc(sizeof *body);
    int status;

    if (body == NULL || bytes > SIZE_MAX - PAGE_BYTES) {
        free(body);
        return NULL;
    }
    /* Whole pages, at least one. */
    body->room = (bytes + PAGE_BYTES - (bytes != 0 ? 1 : 0)) / PAGE_BYTES * PAGE_BYTES;
    atomic_init(&body->shares, 1);
    pthread_mutex_lock(&lock);
    status = take(body->room, &body->offset);
    pthread_mutex_unlock(&lock);
    if (status == 0)
        return body;
    free(body);
    return NULL;
}

unsigned char *body_start(const body_t *body)
{
    return mapping + body->offset;
}

body_t *body_share(body_t *body)
{
    atomic_fetch_add_explicit(&body->shares, 1, memory_order_relaxed);
    return body;
}

void body_release(body_t *body)
{
    if (body == NULL || atomic_fetch_sub_explicit(&body->shares, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_lock(&lock);
    give_back(body->offset, body->room);
    pthread_mutex_unlock(&lock);
    free(body);
}

size_t bodies_bytes(void)
{
    size_t bytes;

    pthread_mutex_lock(&lock);
    bytes = taken_bytes;
    pthread_mutex_unlock(&lock);
    return bytes;
}
