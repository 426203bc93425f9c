/* The smallest program that needs header, library and loader to agree.
 *
 *   consumer [VERSION [CONFIGURATION]]    CONFIGURATION is a file that must be refused; prints why it is
 */
#include <nixl_store.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    nixl_store_t *store = NULL;
    const nixl_store_status_t status = nixl_store_open("/nowhere/lmcache.yaml", NULL, &store);

    if (argc > 1 && strcmp(nixl_store_version(), argv[1]) != 0) {
        fprintf(stderr, "consumer: library %s is not package %s\n", nixl_store_version(), argv[1]);
        return 1;
    }
    if (nixl_store_abi_version() != NIXL_STORE_ABI_VERSION) {
        fprintf(stderr, "consumer: library and header disagree on the ABI\n");
        return 1;
    }
    if (status >= 0 || store != NULL || nixl_store_error_message()[0] == '\0') {
        fprintf(stderr, "consumer: a missing configuration was not refused with a message\n");
        return 1;
    }
    if (argc > 2) {
        if (nixl_store_open(argv[2], NULL, &store) >= 0) {
            fprintf(stderr, "consumer: %s was not refused\n", argv[2]);
            return 1;
        }
        puts(nixl_store_error_message());
    }
    printf("consumer: nixl_store %s, ABI %u\n", nixl_store_version(), (unsigned)nixl_store_abi_version());
    return 0;
}
