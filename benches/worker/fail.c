#include "fail.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static char message[1024];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int fail(const char *format, ...)
{
    pthread_mutex_lock(&lock);
    if (message[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, sizeof message, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&lock);
    return -1;
}

const char *fail_message(void)
{
    return message[0] != '\0' ? message : "failed without a reason";
}

void fail_clear(void)
{
    message[0] = '\0';
}
