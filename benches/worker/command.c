#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

FILE *json;

int command_parse(command_t *command, char *line)
{
    const char *const separators = strchr(line, '\t') != NULL ? "\t\r\n" : " \r\n";
    char *rest = NULL;
    char *word = strtok_r(line, separators, &rest);

    command->name = word != NULL ? word : "";
    command->field_count = 0;
    while ((word = strtok_r(NULL, separators, &rest)) != NULL) {
        char *const equals = strchr(word, '=');
        if (equals == NULL)
            return fail("\"%s\" is not name=value", word);
        if (command->field_count == COMMAND_FIELDS_MAX)
            return fail("more than %d fields", COMMAND_FIELDS_MAX);
        *equals = '\0';
        command->fields[command->field_count].name = word;
        command->fields[command->field_count].value = equals + 1;
        command->field_count++;
    }
    return 0;
}

const char *command_text(const command_t *command, const char *name, const char *otherwise)
{
    for (size_t i = 0; i < command->field_count; i++)
        if (strcmp(command->fields[i].name, name) == 0)
            return command->fields[i].value;
    return otherwise;
}

int command_number(const command_t *command, const char *name, uint64_t otherwise, uint64_t *number_out)
{
    const char *const text = command_text(command, name, NULL);
    char *end = NULL;

    if (text == NULL) {
        *number_out = otherwise;
        return 0;
    }
    errno = 0;
    *number_out = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        return fail("%s=%s is not a whole number", name, text);
    return 0;
}

void json_text(const char *text)
{
    putc('"', json);
    for (; *text != '\0'; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\')
            fprintf(json, "\\%c", byte);
        else if (byte < 0x20)
            fprintf(json, "\\u%04x", byte);
        else
            putc(byte, json);
    }
    putc('"', json);
}
