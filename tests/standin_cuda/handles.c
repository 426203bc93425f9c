/* Handles. They are numbers, not addresses: whoever follows one crashes, and none is given out twice, so that a
 * destroyed one is known for what it is. */

#include "internal.h"

#define HANDLE_TAG 0xcdaull
#define HANDLE_TAG_SHIFT 52
#define HANDLE_KIND_SHIFT 44
#define HANDLE_KIND_MASK 0xffull
#define HANDLE_SERIAL_MASK ((1ull << HANDLE_KIND_SHIFT) - 1)
/* Real handles are aligned pointers; 1 and 2 are the default streams. */
#define HANDLE_STEP 16ull
#define BUCKETS 4096u

static struct object *buckets[BUCKETS];
static unsigned long counts[HANDLE_KINDS];
static uint64_t last_serial;

static const char *const kind_names[HANDLE_KINDS] = {
    "?", "context", "stream", "event", "memory pool", "VMM handle", "module", "function", "graph",
};

static struct object **bucket(uint64_t handle)
{
    return &buckets[(handle / HANDLE_STEP) % BUCKETS];
}

static enum handle_kind kind_of(uint64_t handle)
{
    if (handle >> HANDLE_TAG_SHIFT != HANDLE_TAG)
        return 0;
    return (enum handle_kind)(handle >> HANDLE_KIND_SHIFT & HANDLE_KIND_MASK);
}

void handle_give(struct object *object, enum handle_kind kind)
{
    last_serial += HANDLE_STEP;
    object->handle =
        HANDLE_TAG << HANDLE_TAG_SHIFT | (uint64_t)kind << HANDLE_KIND_SHIFT | (last_serial & HANDLE_SERIAL_MASK);
    struct object **head = bucket(object->handle);
    object->next_in_bucket = *head;
    *head = object;
    counts[kind]++;
}

void handle_take(struct object *object)
{
    for (struct object **at = bucket(object->handle); *at != NULL; at = &(*at)->next_in_bucket) {
        if (*at == object) {
            *at = object->next_in_bucket;
            counts[kind_of(object->handle)]--;
            return;
        }
    }
}

void *handle_peek(uint64_t handle, enum handle_kind kind)
{
    if (kind_of(handle) != kind)
        return NULL;
    for (struct object *at = *bucket(handle); at != NULL; at = at->next_in_bucket)
        if (at->handle == handle)
            return at;
    return NULL;
}

void *handle_find(const void *handle, enum handle_kind kind)
{
    uint64_t number = (uint64_t)(uintptr_t)handle;
    void *found = handle_peek(number, kind);
    if (found == NULL) {
        if (kind_of(number) == kind && (number & HANDLE_SERIAL_MASK) <= last_serial)
            rule_broken("%s was given a destroyed %s", call_name, kind_names[kind]);
        else
            verbose_line("%s was given %p, which is no %s", call_name, handle, kind_names[kind]);
    }
    return found;
}

unsigned long handle_count(enum handle_kind kind)
{
    return counts[kind];
}
