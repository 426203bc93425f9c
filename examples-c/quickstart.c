/* The four calls: open, put, get, close.
 *
 *   cc quickstart.c $(pkg-config --cflags --libs nixl_store) -o quickstart
 *   ./quickstart lmcache.yaml              (or set LMCACHE_CONFIG_FILE)
 */
#include <nixl_store.h>

#include <stdio.h>
#include <string.h>

static char chunk[1 << 20], copy[sizeof chunk];

static int failed(const char *what, nixl_store_status_t status)
{
    if (status >= 0) /* not found, not admitted: an answer */
        return 0;
    fprintf(stderr, "quickstart: %s: %s: %s\n", what, nixl_store_status_name(status), nixl_store_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    const char *config_path = argc > 1 ? argv[1] : NULL; /* NULL: $LMCACHE_CONFIG_FILE */
    const char key[] = "llama-3.1-8b/layer-all/chunk-0";
    nixl_store_t *store = NULL;
    nixl_store_status_t put;
    size_t length = 0;
    int bad;

    memset(chunk, 'k', sizeof chunk); /* stands for the KV cache of a few tokens */

    if (failed("open", nixl_store_open(config_path, NULL, &store)))
        return 1;
    put = nixl_store_put(store, key, strlen(key), chunk, sizeof chunk);
    bad = failed("put", put) || failed("get", nixl_store_get(store, key, strlen(key), copy, sizeof copy, &length));
    bad |= failed("close", nixl_store_close(store));

    if (!bad && put == NIXL_STORE_NOT_ADMITTED) {
        printf("quickstart: the store keeps what it has: with cache_policy REUSE one use is not worth a place\n");
        return 0;
    }
    if (!bad && (length != sizeof chunk || memcmp(chunk, copy, length) != 0)) {
        fprintf(stderr, "quickstart: the bytes that came back are not those that were put\n");
        bad = 1;
    }
    if (!bad)
        printf("quickstart: put and got back %zu bytes with nixl_store %s\n", length, nixl_store_version());
    return bad;
}
