#include "clock.h"

#include <sys/resource.h>
#include <time.h>

double clock_now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

span_t span_start(void)
{
    struct rusage usage;
    span_t span;

    getrusage(RUSAGE_SELF, &usage);
    span.user_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec * 1e-6;
    span.system_s = (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec * 1e-6;
    span.wall_s = clock_now_s();
    return span;
}

void span_add(span_t *total, span_t start)
{
    const double wall_s = clock_now_s();
    const span_t end = span_start();

    total->wall_s += wall_s - start.wall_s;
    total->user_s += end.user_s - start.user_s;
    total->system_s += end.system_s - start.system_s;
}
