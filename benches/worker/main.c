/* The benchmark's worker: one engine in one process, driven by commands on standard input, each answered by a line of
 * JSON on standard output. The driver keeps several workers alive and lets them take turns.
 *
 *     worker store|nixl|nixl-obj|pread|usrbio|sockets
 *
 * Commands: open, put, get, latency, remove, fill, contains, prefix, memory, close, quit; see session.h, lookups.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "engine.h"
#include "fail.h"
#include "lookups.h"
#include "session.h"

static const engine_ops_t *const ENGINES[] = {&engine_store, &engine_nixl, &engine_nixl_obj, &engine_pread,
                                              &engine_usrbio, &engine_sockets};

static int dispatch(session_t *session, const engine_ops_t *ops, const command_t *command)
{
    const char *const name = command->name;

    if (strcmp(name, "memory") == 0)
        return lookups_memory();
    if (strcmp(name, "open") == 0)
        return session->ops == NULL ? session_open(session, ops, command) : fail("open already");
    if (session->ops == NULL)
        return fail("open comes first");
    if (strcmp(name, "put") == 0)
        return session_put(session, command);
    if (strcmp(name, "get") == 0)
        return session_get(session, command);
    if (strcmp(name, "latency") == 0)
        return session_latency(session, command);
    if (strcmp(name, "remove") == 0)
        return session_remove(session);
    if (strcmp(name, "close") == 0)
        return session_close(session);
    if (ops != &engine_store)
        return fail("this engine does not know the command %s", name);
    if (strcmp(name, "fill") == 0)
        return lookups_fill(session, command);
    if (strcmp(name, "contains") == 0)
        return lookups_contains(session, command);
    if (strcmp(name, "prefix") == 0)
        return lookups_prefix(session, command);
    return fail("there is no command %s", name);
}

/* Members are printed as they come and an error is known only at the end, so the answer is put together in memory. */
static int answer(session_t *session, const engine_ops_t *ops, char *line, FILE *out)
{
    command_t command;
    char *members = NULL;
    size_t length = 0;
    int status;

    json = open_memstream(&members, &length);
    if (json == NULL)
        return -1;
    fail_clear();
    status = command_parse(&command, line);
    if (status == 0)
        status = dispatch(session, ops, &command);
    fclose(json);
    json = out;
    if (status == 0) {
        fprintf(out, "{\"ok\":true%s}\n", members);
    } else {
        fprintf(out, "{\"ok\":false,\"error\":");
        json_text(fail_message());
        fprintf(out, "}\n");
    }
    fflush(out);
    free(members);
    return 0;
}

/* The answers' own way out. What a library prints, as cuFile does, goes to the log. */
static FILE *take_stdout(void)
{
    const int file = dup(STDOUT_FILENO);

    return file < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ? NULL : fdopen(file, "w");
}

int main(int argc, char **argv)
{
    const engine_ops_t *ops = NULL;
    session_t session = {0};
    char line[65536];
    FILE *out;

    for (size_t i = 0; i < sizeof ENGINES / sizeof *ENGINES && argc == 2; i++)
        if (strcmp(argv[1], ENGINES[i]->name) == 0)
            ops = ENGINES[i];
    if (ops == NULL) {
        fprintf(stderr, "usage: worker store|nixl|nixl-obj|pread|usrbio|sockets, then commands on standard input\n");
        return 2;
    }
    out = take_stdout();
    if (out == NULL) {
        perror("worker: standard output");
        return 1;
    }
    while (fgets(line, sizeof line, stdin) != NULL && strncmp(line, "quit", 4) != 0)
        if (line[strspn(line, " \t\r\n")] != '\0' && answer(&session, ops, line, out) != 0)
            return 1;
    return session.ops != NULL && session_close(&session) != 0;
}
