/* The environment, for processes that cannot call the controls. What cannot be understood ends the process: a test that
 * asks for a fault and gets none proves nothing. */

#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

uint64_t settings_number(const char *name, uint64_t otherwise)
{
    const char *value = variable(name);
    char *end;
    if (value == NULL)
        return otherwise;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    RULE(errno == 0 && *end == '\0' && *value >= '0' && *value <= '9', "%s=%s is not a number", name, value);
    return number;
}

static int word_of(const char *const *words, int count, const char *name, const char *word)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0)
            return i;
    rule_broken(__func__, "%s: %s is not known", name, word);
}

/* KIND:DIRECTION:EVERY[:CODE],... */
static void faults_of(const char *name)
{
    static const char *const kinds[] = {"short", "error", "zero", "long"};
    static const char *const directions[] = {"read", "write", "both"};
    char copy[512], *rest;
    const char *value = variable(name);
    if (value == NULL)
        return;
    RULE(strlen(value) < sizeof copy, "%s is too long", name);
    strcpy(copy, value);
    for (char *part = strtok_r(copy, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        char kind[16], direction[16];
        unsigned long long every;
        int code = EIO;
        RULE(sscanf(part, "%15[^:]:%15[^:]:%llu:%d", kind, direction, &every, &code) >= 3, "%s: %s", name, part);
        standin_hf3fs_fault(word_of(kinds, 4, name, kind), word_of(directions, 3, name, direction) + 1, every, code);
    }
}

/* CALL:NTH:CODE,... */
static void failures_of(const char *name)
{
    static const char *const calls[] = {"iovcreate", "iorcreate", "reg_fd"};
    char copy[512], *rest;
    const char *value = variable(name);
    if (value == NULL)
        return;
    RULE(strlen(value) < sizeof copy, "%s is too long", name);
    strcpy(copy, value);
    for (char *part = strtok_r(copy, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest)) {
        char call[16];
        unsigned long long nth;
        int code;
        RULE(sscanf(part, "%15[^:]:%llu:%d", call, &nth, &code) == 3, "%s: %s", name, part);
        standin_hf3fs_fail(word_of(calls, 3, name, call), nth, code);
    }
}

void settings_from_environment(void)
{
    static const char *const orders[] = {"as_done", "reversed", "random"};
    const char *order = variable("STANDIN_HF3FS_ORDER"), *journal = variable("STANDIN_HF3FS_JOURNAL");
    standin_hf3fs_seed(settings_number("STANDIN_HF3FS_SEED", 1));
    daemon_reset();
    standin_hf3fs_delay(settings_number("STANDIN_HF3FS_DELAY_US", 0));
    standin_hf3fs_order(order ? word_of(orders, 3, "STANDIN_HF3FS_ORDER", order) : STANDIN_HF3FS_AS_DONE);
    standin_hf3fs_eagain(settings_number("STANDIN_HF3FS_EAGAIN_EVERY", 0));
    standin_hf3fs_entries_max(settings_number("STANDIN_HF3FS_ENTRIES_MAX", 0));
    faults_of("STANDIN_HF3FS_FAULTS");
    failures_of("STANDIN_HF3FS_FAIL");
    int error = standin_hf3fs_journal(journal);
    RULE(error == 0, "STANDIN_HF3FS_JOURNAL=%s: %s", journal, strerror(-error));
    standin_hf3fs_hold(settings_number("STANDIN_HF3FS_HOLD", 0) != 0);
}

EXPORT void standin_hf3fs_reset(void)
{
    counts_reset();
    faults_reset();
    settings_from_environment();
}

static __attribute__((constructor)) void loaded(void)
{
    settings_from_environment();
}

static __attribute__((destructor)) void ends(void)
{
    counts_report();
}
