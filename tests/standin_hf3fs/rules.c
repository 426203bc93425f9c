/* Broken rules end the process: a client that breaks one has a bug, whatever the genuine library would have answered. */

#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

long thread_id(void)
{
    static _Thread_local long id;
    if (id == 0)
        id = syscall(SYS_gettid);
    return id;
}

void rule_broken(const char *function, const char *format, ...)
{
    char rule[512], line[640];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rule, sizeof rule, format, arguments);
    va_end(arguments);
    /* In one write, so that what other threads print does not mix with it. */
    int bytes = snprintf(line, sizeof line, "stand-in for hf3fs: %s: %s (thread %ld)\n", function, rule, thread_id());
    if (write(STDERR_FILENO, line, (size_t)bytes) < 0)
        abort();
    abort();
}
