/* What a stream's thread does when an operation's turn has come. */

#include "internal.h"

#include <string.h>

void context_fault(struct context *context, CUresult code, const char *name)
{
    verbose_line("%s left error %d in its context", name, code);
    if (context->sticky == CUDA_SUCCESS)
        context->sticky = code;
    progress_made();
}

static enum standin_copy copy_kind(const struct operation *operation)
{
    bool from_device = operation->from.kind == PLACE_DEVICE || operation->from.kind == PLACE_MANAGED;
    bool to_device = operation->to.kind == PLACE_DEVICE || operation->to.kind == PLACE_MANAGED;
    if (from_device)
        return to_device ? STANDIN_DEVICE_TO_DEVICE : STANDIN_DEVICE_TO_HOST;
    return to_device ? STANDIN_HOST_TO_DEVICE : STANDIN_HOST_TO_HOST;
}

/* The bytes move without the lock, between the gates that keep memory mapped. */
static bool copy(struct operation *operation)
{
    copying_begin();
    char *to = place_bytes(&operation->to, operation->bytes, operation->name);
    char *from = to != NULL ? place_bytes(&operation->from, operation->bytes, operation->name) : NULL;
    if (from != NULL) {
        unlock();
        memmove(to, from, operation->bytes);
        lock();
        count_copy(copy_kind(operation), operation->bytes);
    }
    copying_end();
    return from != NULL;
}

static bool set(struct operation *operation)
{
    copying_begin();
    char *to = place_bytes(&operation->to, operation->bytes, operation->name);
    if (to != NULL) {
        unlock();
        memset(to, (int)operation->value, operation->bytes);
        lock();
        count_copy(STANDIN_SET, operation->bytes);
    }
    copying_end();
    return to != NULL;
}

static bool write_value(struct operation *operation)
{
    char *to = place_bytes(&operation->to, operation->width, operation->name);
    if (to == NULL)
        return false;
    if (operation->width == 4)
        __atomic_store_n((uint32_t *)(void *)to, (uint32_t)operation->value, __ATOMIC_RELEASE);
    else
        __atomic_store_n((uint64_t *)(void *)to, operation->value, __ATOMIC_RELEASE);
    return true;
}

/* The difference is taken in the width of the word, so that a counter may wrap around. */
static bool value_reached(const struct operation *operation, uint64_t now)
{
    uint64_t mask = operation->width == 4 ? UINT32_MAX : UINT64_MAX;
    uint64_t wanted = operation->value & mask;
    uint64_t sign = operation->width == 4 ? 1ull << 31 : 1ull << 63;
    switch (operation->flags) {
    case CU_STREAM_WAIT_VALUE_EQ:
        return now == wanted;
    case CU_STREAM_WAIT_VALUE_AND:
        return (now & wanted) != 0;
    case CU_STREAM_WAIT_VALUE_NOR:
        return (~(now | wanted) & mask) != 0;
    default:
        return ((now - wanted) & sign) == 0;
    }
}

bool value_satisfied(struct stream *stream, struct operation *operation)
{
    char *at = place_bytes(&operation->to, operation->width, operation->name);
    if (at == NULL) {
        context_fault(stream->context, CUDA_ERROR_ILLEGAL_ADDRESS, operation->name);
        return true;
    }
    uint64_t now = operation->width == 4 ? __atomic_load_n((uint32_t *)(void *)at, __ATOMIC_ACQUIRE)
                                         : __atomic_load_n((uint64_t *)(void *)at, __ATOMIC_ACQUIRE);
    return value_reached(operation, now);
}

static void call_host_function(struct operation *operation)
{
    unlock();
    in_host_function = true;
    operation->host_function(operation->host_data);
    in_host_function = false;
    lock();
}

static CUresult launch(struct operation *operation)
{
    int answer;
    copying_begin();
    unlock();
    CUresult result = launch_run(operation->launch, &answer);
    lock();
    copying_end();
    if (result == CUDA_ERROR_ILLEGAL_ADDRESS)
        rule_broken("kernel %s used memory that is not alive on device %d", operation->launch->name,
                    operation->launch->device);
    else if (result != CUDA_SUCCESS)
        rule_broken("kernel %s could not run: standin_kernel_launch answered %d", operation->launch->name, answer);
    return result;
}

static void pool_reach(const struct operation *operation)
{
    struct allocation *allocation = memory_find_id(operation->value);
    if (allocation == NULL)
        return;
    if (operation->type == OPERATION_POOL_ALLOC)
        allocation->unreached = false;
    else
        allocation_free(allocation);
}

void operation_execute(struct stream *stream, struct operation *operation)
{
    CUresult result = failure_due(operation->name, ":run");
    bool alive = true;
    if (result == CUDA_SUCCESS) {
        switch (operation->type) {
        case OPERATION_COPY:
            alive = copy(operation);
            break;
        case OPERATION_SET:
            alive = set(operation);
            break;
        case OPERATION_WRITE_VALUE:
            alive = write_value(operation);
            break;
        case OPERATION_HOST_FUNCTION:
            call_host_function(operation);
            break;
        case OPERATION_LAUNCH:
            result = launch(operation);
            break;
        case OPERATION_POOL_ALLOC:
        case OPERATION_POOL_FREE:
            pool_reach(operation);
            break;
        case OPERATION_RECORD:
        case OPERATION_WAIT_EVENT:
        case OPERATION_WAIT_VALUE:
            break;
        }
    }
    if (!alive)
        result = CUDA_ERROR_ILLEGAL_ADDRESS;
    if (result != CUDA_SUCCESS)
        context_fault(stream->context, result, operation->name);
}
