/* The program that scripts/test-gpu.sh runs on a machine with a GPU; gpu.h says what each command does.
 *
 *   gpu kernels PTX SUMS
 *   gpu streams
 *   gpu bench FOLDER PTX
 */
#include "gpu.h"

#include <stdio.h>
#include <string.h>

#include "driver.h"

int main(int count, char **arguments)
{
    const char *const command = count > 1 ? arguments[1] : "";

    driver_load();
    if (strcmp(command, "kernels") == 0 && count == 4)
        return check_kernels(arguments[2], arguments[3]);
    if (strcmp(command, "streams") == 0 && count == 2)
        return check_streams();
    if (strcmp(command, "bench") == 0 && count == 4)
        return bench(arguments[2], arguments[3]);
    fprintf(stderr, "usage: gpu kernels PTX SUMS | streams | bench FOLDER PTX\n");
    return 2;
}
