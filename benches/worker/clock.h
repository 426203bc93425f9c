/* Wall time and CPU time of this process. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

typedef struct {
    double wall_s;
    double user_s;
    double system_s;
} span_t;

/* Seconds of a clock that only goes forward. */
double clock_now_s(void);

/* The time of now; CPU time is that of all threads, the kernel's io_uring workers for this process among them. */
span_t span_start(void);

/* Adds to `total` what passed since `start`. */
void span_add(span_t *total, span_t start);

#endif
