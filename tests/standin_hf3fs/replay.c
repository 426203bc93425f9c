/* standin_hf3fs_replay JOURNAL [ENTRIES]: carries out writes that were held when their client was killed. */

#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **arguments)
{
    if (count < 2 || count > 3) {
        fprintf(stderr, "usage: %s JOURNAL [ENTRIES]\n", arguments[0]);
        return 2;
    }
    int64_t written = standin_hf3fs_replay(arguments[1], count == 3 ? strtoull(arguments[2], NULL, 10) : UINT64_MAX);
    if (written < 0) {
        fprintf(stderr, "%s: %s\n", arguments[1], strerror((int)-written));
        return 1;
    }
    printf("%lld\n", (long long)written);
    return 0;
}
