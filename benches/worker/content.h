/* What lies in memory before a transfer and has to lie there after it. */
#ifndef BENCH_CONTENT_H
#define BENCH_CONTENT_H

#include "session.h"

/* Fills the first `count` objects of memory for the puts of one command. */
void content_fill(const session_t *session, size_t count, uint64_t seed);

/* Makes object `index` of memory, filled before, the object `id`, and remembers what was put. */
void content_stamp(session_t *session, size_t index, uint64_t id, uint64_t seed);

/* Compares object `index` of memory with what was put as `id`. */
int content_check(const session_t *session, size_t index, uint64_t id, const char *what);

#endif
