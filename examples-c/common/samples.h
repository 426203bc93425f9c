/* Durations collected for percentiles, and the clock they are taken with. */
#ifndef NIXL_STORE_EXAMPLES_SAMPLES_H
#define NIXL_STORE_EXAMPLES_SAMPLES_H

#include <stddef.h>

typedef struct {
    double *seconds;
    size_t count;
    size_t capacity;
    double seconds_sum;
} samples_t;

/* Seconds on a clock that never steps back. */
double samples_now(void);

/* Exits the process if memory runs out: an example has nothing better to do. */
void samples_add(samples_t *samples, double seconds);

/* Nearest-rank percentile of at least 0 and at most 100 percent; 0 if there are no samples. Sorts the samples. */
double samples_percentile(samples_t *samples, double percent);

void samples_free(samples_t *samples);

#endif
