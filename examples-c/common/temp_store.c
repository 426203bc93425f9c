#define _GNU_SOURCE /* nftw, mkdtemp */

#include "temp_store.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What a slot takes beside its chunk (the record's trailer, at most this much up to 16 MiB) and a pool beside
 * its slots, rounded up generously: an estimate for a friendly message, not an accounting. */
#define SLOT_OVERHEAD_BYTES ((uint64_t)8192)
#define POOL_OVERHEAD_BYTES ((uint64_t)64 << 20)

/* Open folders that nftw keeps while it walks. */
#define WALK_FOLDERS_MAX 16

static int complain(const char *what, const char *path)
{
    fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
    return -1;
}

static int check_free_space(const char *parent, const temp_store_options_t *options)
{
    struct statvfs space;
    uint64_t available, needed;

    if (statvfs(parent, &space) != 0)
        return complain("cannot use", parent);
    available = (uint64_t)space.f_bavail * space.f_frsize;
    if (__builtin_mul_overflow(options->chunk_bytes + SLOT_OVERHEAD_BYTES, options->slot_count, &needed) ||
        __builtin_add_overflow(needed, POOL_OVERHEAD_BYTES, &needed) || needed > available) {
        fprintf(stderr, "%s has %" PRIu64 " MiB free: too few for %" PRIu64 " slots of %" PRIu64 " KiB\n", parent,
                available >> 20, options->slot_count, options->chunk_bytes >> 10);
        return -1;
    }
    return 0;
}

/* A double-quoted YAML scalar; the folder's name may hold anything that a file system allows. */
static void write_quoted(FILE *file, const char *text)
{
    putc('"', file);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            putc('\\', file);
        putc(*text, file);
    }
    putc('"', file);
}

static int write_config(const temp_store_t *temp_store, const temp_store_options_t *options)
{
    FILE *const file = fopen(temp_store->config_path, "w");

    if (file == NULL)
        return complain("cannot create", temp_store->config_path);
    fprintf(file,
            "chunk_size: 256\n"
            "nixl_buffer_size: %" PRIu64 "\n"
            "nixl_buffer_device: cpu\n"
            "cache_policy: %s\n"
            "extra_config:\n"
            "  enable_nixl_storage: true\n"
            "  nixl_backend: POSIX\n"
            "  nixl_pool_size: %" PRIu64 "\n"
            "  use_direct_io: %s\n"
            "  nixl_path:\n"
            "    - ",
            options->staging_bytes, options->policy, options->slot_count, options->direct_io ? "true" : "false");
    write_quoted(file, temp_store->folder);
    putc('\n', file);
    if (ferror(file) | fclose(file))
        return complain("cannot write", temp_store->config_path);
    return 0;
}

int temp_store_create(temp_store_t *temp_store, const temp_store_options_t *options)
{
    const char *parent = options->parent != NULL ? options->parent : getenv("TMPDIR");
    int length;

    if (parent == NULL || parent[0] == '\0')
        parent = "/tmp";
    if (strpbrk(parent, ",\n\r\t") != NULL) {
        fprintf(stderr, "%s: nixl_path separates folders by commas; choose a folder with a plain name\n", parent);
        return -1;
    }
    if (check_free_space(parent, options) != 0)
        return -1;
    length = snprintf(temp_store->folder, sizeof temp_store->folder, "%s/nixl_store.XXXXXX", parent);
    if (length < 0 || (size_t)length + sizeof "/lmcache.yaml" > sizeof temp_store->folder) {
        errno = ENAMETOOLONG;
        return complain("cannot use", parent);
    }
    if (mkdtemp(temp_store->folder) == NULL)
        return complain("cannot create", temp_store->folder);
    memcpy(temp_store->config_path, temp_store->folder, (size_t)length);
    strcpy(temp_store->config_path + length, "/lmcache.yaml");
    if (write_config(temp_store, options) != 0) {
        temp_store_remove(temp_store);
        return -1;
    }
    return 0;
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about, (void)kind, (void)place;
    return remove(path) != 0 ? complain("cannot remove", path) : 0;
}

void temp_store_remove(temp_store_t *temp_store)
{
    nftw(temp_store->folder, remove_entry, WALK_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
