/* The one bucket: names and what they stand for, and the uploads that are under way. Every function may be called by
 * any thread. */
#ifndef S3_MEMORY_BUCKET_H
#define S3_MEMORY_BUCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "object.h"

/* S3's own bounds. */
#define NAME_BYTES_MAX 1024
#define UPLOAD_PARTS_MAX 10000

/* What has to be true of the name for a change to take place. */
typedef struct {
    bool if_absent;
    uint64_t if_version; /* 0: any */
} condition_t;

typedef enum {
    CHANGE_DONE,
    CHANGE_CONDITION_FAILED,
    CHANGE_NO_NAME,
    CHANGE_NO_UPLOAD,
    CHANGE_BAD_PART,
    CHANGE_NO_MEMORY,
} change_t;

/* A share of what the name stands for; NULL if there is nothing. */
content_t *bucket_find(const char *name);

/* Makes the name stand for the content. Takes over the caller's share, whatever comes of it. */
change_t bucket_put(const char *name, content_t *content, condition_t condition);

change_t bucket_remove(const char *name, condition_t condition);

/* Forgets every object and every upload. */
void bucket_clear(void);

/* One line of a listing. The name is the caller's to free, the content is not shared: its numbers are copied. */
typedef struct {
    char *name;
    size_t bytes;
    uint64_t version;
    time_t modified;
} listed_t;

/* The names that begin with `prefix` and come after `after`, sorted by bytes, at most `limit` of them. *more_out says
 * whether there are others behind. -1 without memory. */
int bucket_list(const char *prefix, const char *after, size_t limit, listed_t **listed_out, size_t *count_out,
                bool *more_out);
void bucket_list_free(listed_t *listed, size_t count);

/* Uploads. An id of 0 is none. */
uint64_t upload_create(const char *name);
/* Takes over the share of the part. */
change_t upload_part(const char *name, uint64_t id, unsigned number, content_t *part);
/* Makes an object of the parts with these numbers and versions, in this order. */
change_t upload_complete(const char *name, uint64_t id, const unsigned *numbers, const uint64_t *versions, size_t count,
                         condition_t condition, uint64_t *version_out);
change_t upload_abort(const char *name, uint64_t id);
/* All of them with that prefix; `version` of a line is the upload's id. */
int upload_list(const char *prefix, listed_t **listed_out, size_t *count_out);

size_t bucket_objects(void);
size_t bucket_uploads(void);

#endif
