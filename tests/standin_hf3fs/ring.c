/* A ring from the daemon's side: what is ready becomes batches, what is done becomes completions. */

#include "internal.h"

static uint32_t position(const struct ring *ring, uint64_t counter)
{
    return (uint32_t)(counter % ring->slots);
}

struct entry *ring_entry(const struct batch *batch, uint32_t index)
{
    struct ring *ring = batch->ring;
    return &ring->entries[ring->submitted[position(ring, batch->first + index)]];
}

/* Entries of the next batch; 0 where there is none. */
static uint64_t next_batch(const struct ring *ring)
{
    uint64_t ready = ring->submit_head - ring->submit_taken;
    if (ring->depth > 0)
        return ready >= (uint64_t)ring->depth ? (uint64_t)ring->depth : 0;
    if (ring->depth < 0 && ready > (uint64_t)-(int64_t)ring->depth)
        return (uint64_t)-(int64_t)ring->depth;
    return ready;
}

void ring_take(struct ring *ring)
{
    uint64_t entries;
    if (ring->daemon != daemon_now())
        return;
    while ((entries = next_batch(ring)) > 0) {
        struct batch *batch = &ring->batches[position(ring, ring->batch_head++)];
        batch->ring = ring;
        batch->next = NULL;
        batch->first = ring->submit_taken;
        batch->entries = (uint32_t)entries;
        batch->started = 0;
        atomic_store(&batch->unfinished, (uint32_t)entries);
        ring->submit_taken += entries;
        daemon_push(batch);
    }
}

static void shuffle(uint32_t *order, uint32_t count, uint64_t *chance)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t other = (uint32_t)(random_next(chance) % i), kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

/* The completions of a batch appear together. */
static void end_batch(struct batch *batch, int how)
{
    struct ring *ring = batch->ring;
    uint64_t moved = 0;
    for (uint32_t i = 0; i < batch->entries; i++)
        ring->order[i] = how == STANDIN_HF3FS_REVERSED ? batch->entries - 1 - i : i;
    if (how == STANDIN_HF3FS_RANDOM)
        shuffle(ring->order, batch->entries, &ring->chance);
    for (uint32_t i = 0; i < batch->entries; i++) {
        uint32_t slot = ring->submitted[position(ring, batch->first + ring->order[i])];
        const struct entry *entry = &ring->entries[slot];
        ring->completed[position(ring, ring->complete_head++)] =
            (struct hf3fs_cqe){(int32_t)slot, 0, entry->result, entry->userdata};
        moved += entry->moved;
    }
    atomic_store(&batch->state, BATCH_ENDED);
    count_add(STANDIN_HF3FS_BATCHES, 1);
    count_add(ring->read ? STANDIN_HF3FS_BYTES_READ : STANDIN_HF3FS_BYTES_WRITTEN, (int64_t)moved);
}

/* Space comes back as far as all batches from the oldest on have ended. */
static void give_space_back(struct ring *ring)
{
    while (ring->batch_tail != ring->batch_head) {
        struct batch *oldest = &ring->batches[position(ring, ring->batch_tail)];
        if (atomic_load(&oldest->state) != BATCH_ENDED)
            break;
        ring->submit_tail += oldest->entries;
        ring->batch_tail++;
    }
}

static struct batch *batch_at(struct ring *ring, uint64_t counter)
{
    return &ring->batches[position(ring, counter)];
}

/* The newest goes first: those that are done wait for later ones that are not, except held ones. */
static void end_reversed(struct ring *ring)
{
    for (uint64_t at = ring->batch_head; at != ring->batch_tail; at--) {
        struct batch *batch = batch_at(ring, at - 1);
        int state = atomic_load(&batch->state);
        if (state == BATCH_QUEUED)
            break;
        if (state == BATCH_DONE)
            end_batch(batch, STANDIN_HF3FS_REVERSED);
    }
}

/* What is done waits, by chance, while others are carried out; then all that is done goes, from a random one on. */
static void end_random(struct ring *ring)
{
    uint64_t count = ring->batch_head - ring->batch_tail, others = 0;
    for (uint64_t at = ring->batch_tail; at != ring->batch_head; at++)
        others += atomic_load(&batch_at(ring, at)->state) == BATCH_QUEUED;
    if (others > 0 && random_next(&ring->chance) % 2 == 0)
        return;
    uint64_t from = random_next(&ring->chance) % count;
    bool backwards = random_next(&ring->chance) % 2 == 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t step = backwards ? count - 1 - i : i;
        struct batch *batch = batch_at(ring, ring->batch_tail + (from + step) % count);
        if (atomic_load(&batch->state) == BATCH_DONE)
            end_batch(batch, STANDIN_HF3FS_RANDOM);
    }
}

void ring_batch_done(struct batch *batch)
{
    struct ring *ring = batch->ring;
    pthread_mutex_lock(&ring->lock);
    uint64_t before = ring->complete_head;
    atomic_store(&batch->state, BATCH_DONE);
    switch (order_now()) {
    case STANDIN_HF3FS_REVERSED:
        end_reversed(ring);
        break;
    case STANDIN_HF3FS_RANDOM:
        end_random(ring);
        break;
    default:
        /* Others are done too where the order was another one a moment ago. */
        for (uint64_t at = ring->batch_tail; at != ring->batch_head; at++)
            if (atomic_load(&batch_at(ring, at)->state) == BATCH_DONE)
                end_batch(batch_at(ring, at), STANDIN_HF3FS_AS_DONE);
    }
    give_space_back(ring);
    /* Under the lock: once it is free, the client may destroy the ring. */
    if (ring->complete_head != before)
        sem_post(&ring->completions);
    pthread_mutex_unlock(&ring->lock);
}
