#include "samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

double samples_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void samples_add(samples_t *samples, double seconds)
{
    if (samples->count == samples->capacity) {
        const size_t capacity = samples->capacity == 0 ? 1024 : samples->capacity * 2;
        double *const grown = realloc(samples->seconds, capacity * sizeof *grown);
        if (grown == NULL) {
            fprintf(stderr, "out of memory\n");
            exit(1);
        }
        samples->seconds = grown;
        samples->capacity = capacity;
    }
    samples->seconds[samples->count++] = seconds;
    samples->seconds_sum += seconds;
}

static int compare_seconds(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double samples_percentile(samples_t *samples, double percent)
{
    size_t rank;

    if (samples->count == 0)
        return 0;
    qsort(samples->seconds, samples->count, sizeof *samples->seconds, compare_seconds);
    rank = (size_t)((double)samples->count * percent / 100.0 + 0.9999999);
    rank = rank == 0 ? 1 : rank > samples->count ? samples->count : rank;
    return samples->seconds[rank - 1];
}

void samples_free(samples_t *samples)
{
    free(samples->seconds);
    *samples = (samples_t){NULL, 0, 0, 0};
}
