#include "bucket.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CELLS ((size_t)1 << 16)

typedef struct entry {
    struct entry *next;
    content_t *content;
    char name[];
} entry_t;

typedef struct upload {
    struct upload *next;
    uint64_t id;
    time_t initiated;
    content_t **parts; /* by number; NULL where none came */
    unsigned part_room;
    char name[];
} upload_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry_t *cells[CELLS];
static upload_t *uploads;
static size_t object_count, upload_count;

/* FNV-1a: names are this program's own benchmark's, nobody attacks it. */
static entry_t **cell_of(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return &cells[(hash ^ hash >> 32) % CELLS];
}

/* Where the name is, or where it would be hung in. */
static entry_t **place_of(const char *name)
{
    entry_t **at = cell_of(name);

    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static bool holds(const entry_t *entry, condition_t condition)
{
    if (condition.if_absent && entry != NULL)
        return false;
    return condition.if_version == 0 || (entry != NULL && entry->content->version == condition.if_version);
}

content_t *bucket_find(const char *name)
{
    content_t *content = NULL;
    entry_t *entry;

    pthread_mutex_lock(&lock);
    entry = *place_of(name);
    if (entry != NULL)
        content = content_share(entry->content);
    pthread_mutex_unlock(&lock);
    return content;
}

static change_t put_locked(const char *name, content_t *content, condition_t condition, content_t **old_out)
{
    entry_t **const place = place_of(name);
    const size_t length = strlen(name) + 1;

    if (!holds(*place, condition))
        return CHANGE_CONDITION_FAILED;
    if (*place == NULL) {
        entry_t *const entry = malloc(sizeof *entry + length);
        if (entry == NULL)
            return CHANGE_NO_MEMORY;
        memcpy(entry->name, name, length);
        entry->next = NULL;
        entry->content = NULL;
        *place = entry;
        object_count++;
    }
    *old_out = (*place)->content;
    (*place)->content = content;
    return CHANGE_DONE;
}

change_t bucket_put(const char *name, content_t *content, condition_t condition)
{
    content_t *old = NULL;
    change_t change;

    pthread_mutex_lock(&lock);
    change = put_locked(name, content, condition, &old);
    pthread_mutex_unlock(&lock);
    content_release(change == CHANGE_DONE ? old : content);
    return change;
}

change_t bucket_remove(const char *name, condition_t condition)
{
    change_t change = CHANGE_DONE;
    entry_t **place, *entry;

    pthread_mutex_lock(&lock);
    place = place_of(name);
    entry = *place;
    if (entry == NULL)
        change = CHANGE_NO_NAME;
    else if (!holds(entry, condition))
        change = CHANGE_CONDITION_FAILED;
    else {
        *place = entry->next;
        object_count--;
    }
    pthread_mutex_unlock(&lock);
    if (change == CHANGE_DONE) {
        content_release(entry->content);
        free(entry);
    }
    return change;
}

static int by_name(const void *one, const void *other)
{
    return strcmp(((const listed_t *)one)->name, ((const listed_t *)other)->name);
}

static int add(listed_t **listed, size_t *count, size_t *room, const char *name, listed_t line)
{
    if (*count == *room) {
        const size_t more = *room == 0 ? 64 : *room * 2;
        listed_t *const grown = realloc(*listed, more * sizeof *grown);
        if (grown == NULL)
            return -1;
        *listed = grown;
        *room = more;
    }
    line.name = strdup(name);
    if (line.name == NULL)
        return -1;
    (*listed)[(*count)++] = line;
    return 0;
}

int bucket_list(const char *prefix, const char *after, size_t limit, listed_t **listed_out, size_t *count_out,
                bool *more_out)
{
    const size_t prefix_bytes = strlen(prefix);
    listed_t *listed = NULL;
    size_t count = 0, room = 0;
    int status = 0;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CELLS && status == 0; i++)
        for (const entry_t *entry = cells[i]; entry != NULL && status == 0; entry = entry->next)
            if (strncmp(entry->name, prefix, prefix_bytes) == 0 && strcmp(entry->name, after) > 0)
                status = add(&listed, &count, &room, entry->name,
                             (listed_t){NULL, entry->content->bytes, entry->content->version,
                                        entry->content->modified});
    pthread_mutex_unlock(&lock);
    if (status != 0) {
        bucket_list_free(listed, count);
        return -1;
    }
    qsort(listed, count, sizeof *listed, by_name);
    *more_out = count > limit;
    for (; count > limit; count--)
        free(listed[count - 1].name);
    *listed_out = listed;
    *count_out = count;
    return 0;
}

void bucket_list_free(listed_t *listed, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(listed[i].name);
    free(listed);
}

static upload_t **upload_place(const char *name, uint64_t id)
{
    upload_t **at = &uploads;

    while (*at != NULL && ((*at)->id != id || strcmp((*at)->name, name) != 0))
        at = &(*at)->next;
    return at;
}

static void upload_free(upload_t *upload)
{
    for (unsigned i = 0; i < upload->part_room; i++)
        content_release(upload->parts[i]);
    free(upload->parts);
    free(upload);
}

uint64_t upload_create(const char *name)
{
    static uint64_t last_id;
    const size_t length = strlen(name) + 1;
    upload_t *const upload = calloc(1, sizeof *upload + length);

    if (upload == NULL)
        return 0;
    memcpy(upload->name, name, length);
    upload->initiated = time(NULL);
    pthread_mutex_lock(&lock);
    upload->id = ++last_id;
    upload->next = uploads;
    uploads = upload;
    upload_count++;
    pthread_mutex_unlock(&lock);
    return upload->id;
}

static change_t part_locked(const char *name, uint64_t id, unsigned number, content_t *part, content_t **old_out)
{
    upload_t *const upload = *upload_place(name, id);

    if (upload == NULL)
        return CHANGE_NO_UPLOAD;
    if (number == 0 || number > UPLOAD_PARTS_MAX)
        return CHANGE_BAD_PART;
    if (number > upload->part_room) {
        content_t **const grown = realloc(upload->parts, number * sizeof *grown);
        if (grown == NULL)
            return CHANGE_NO_MEMORY;
        for (unsigned i = upload->part_room; i < number; i++)
            grown[i] = NULL;
        upload->parts = grown;
        upload->part_room = number;
    }
    *old_out = upload->parts[number - 1];
    upload->parts[number - 1] = part;
    return CHANGE_DONE;
}

change_t upload_part(const char *name, uint64_t id, unsigned number, content_t *part)
{
    content_t *old = NULL;
    change_t change;

    pthread_mutex_lock(&lock);
    change = part_locked(name, id, number, part, &old);
    pthread_mutex_unlock(&lock);
    content_release(change == CHANGE_DONE ? old : part);
    return change;
}

/* A part has one body, of which the object takes a share. */
static change_t assemble(const upload_t *upload, const unsigned *numbers, const uint64_t *versions, size_t count,
                         content_t **content_out)
{
    content_t *const content = content_new(count);

    if (content == NULL)
        return CHANGE_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const content_t *const part =
            numbers[i] >= 1 && numbers[i] <= upload->part_room ? upload->parts[numbers[i] - 1] : NULL;
        if (part == NULL || part->version != versions[i] || (i > 0 && numbers[i] <= numbers[i - 1])) {
            content_release(content);
            return CHANGE_BAD_PART;
        }
        content_add(content, part->parts[0].body != NULL ? body_share(part->parts[0].body) : NULL, part->bytes);
    }
    *content_out = content;
    return CHANGE_DONE;
}

change_t upload_complete(const char *name, uint64_t id, const unsigned *numbers, const uint64_t *versions, size_t count,
                         condition_t condition, uint64_t *version_out)
{
    content_t *content = NULL, *old = NULL;
    upload_t **place, *upload;
    change_t change;

    pthread_mutex_lock(&lock);
    place = upload_place(name, id);
    upload = *place;
    change = upload == NULL ? CHANGE_NO_UPLOAD : assemble(upload, numbers, versions, count, &content);
    if (change == CHANGE_DONE) {
        *version_out = content->version;
        change = put_locked(name, content, condition, &old);
        if (change == CHANGE_DONE) {
            *place = upload->next;
            upload_count--;
            content = NULL;
        } else {
            upload = NULL;
        }
    } else {
        upload = NULL;
    }
    pthread_mutex_unlock(&lock);
    content_release(content);
    content_release(old);
    if (upload != NULL)
        upload_free(upload);
    return change;
}

change_t upload_abort(const char *name, uint64_t id)
{
    upload_t **place, *upload;

    pthread_mutex_lock(&lock);
    place = upload_place(name, id);
    upload = *place;
    if (upload != NULL) {
        *place = upload->next;
        upload_count--;
    }
    pthread_mutex_unlock(&lock);
    if (upload == NULL)
        return CHANGE_NO_UPLOAD;
    upload_free(upload);
    return CHANGE_DONE;
}

int upload_list(const char *prefix, listed_t **listed_out, size_t *count_out)
{
    const size_t prefix_bytes = strlen(prefix);
    listed_t *listed = NULL;
    size_t count = 0, room = 0;
    int status = 0;

    pthread_mutex_lock(&lock);
    for (const upload_t *upload = uploads; upload != NULL && status == 0; upload = upload->next)
        if (strncmp(upload->name, prefix, prefix_bytes) == 0)
            status = add(&listed, &count, &room, upload->name, (listed_t){NULL, 0, upload->id, upload->initiated});
    pthread_mutex_unlock(&lock);
    if (status != 0) {
        bucket_list_free(listed, count);
        return -1;
    }
    qsort(listed, count, sizeof *listed, by_name);
    *listed_out = listed;
    *count_out = count;
    return 0;
}

void bucket_clear(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < CELLS; i++) {
        while (cells[i] != NULL) {
            entry_t *const entry = cells[i];
            cells[i] = entry->next;
            content_release(entry->content);
            free(entry);
        }
    }
    while (uploads != NULL) {
        upload_t *const upload = uploads;
        uploads = upload->next;
        upload_free(upload);
    }
    object_count = upload_count = 0;
    pthread_mutex_unlock(&lock);
}

size_t bucket_objects(void)
{
    size_t count;

    pthread_mutex_lock(&lock);
    count = object_count;
    pthread_mutex_unlock(&lock);
    return count;
}

size_t bucket_uploads(void)
{
    size_t count;

    pthread_mutex_lock(&lock);
    count = upload_count;
    pthread_mutex_unlock(&lock);
    return count;
}
