/* Why the current command failed. One message is kept, the first; it goes into the command's answer. */
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

/* Keeps the message and returns -1, so that a function can end with it. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

const char *fail_message(void);
void fail_clear(void);

#endif
