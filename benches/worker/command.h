/* The line protocol: a command is a name and `name=value` pairs, the answer one line of JSON. Fields are separated by
 * tabs, or by blanks if the line has no tab. */
#ifndef BENCH_COMMAND_H
#define BENCH_COMMAND_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define COMMAND_FIELDS_MAX 32

typedef struct {
    const char *name;
    size_t field_count;
    struct {
        const char *name;
        const char *value;
    } fields[COMMAND_FIELDS_MAX];
} command_t;

/* Where the members of the answer go, each with a comma before it. It is not stdout, to which libraries print. */
extern FILE *json;

/* Splits `line` in place; the command points into it. */
int command_parse(command_t *command, char *line);

/* The value of a field, or what is given for one that is not there. */
const char *command_text(const command_t *command, const char *name, const char *otherwise);

/* As above, a whole number; one that is none is a failure. */
int command_number(const command_t *command, const char *name, uint64_t otherwise, uint64_t *number_out);

/* Prints text as a JSON string. */
void json_text(const char *text);

#endif
