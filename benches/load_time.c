/* Loads a shared library in a process that has nothing else loaded, and tells how long it took and what came with it:
 * the first line is seconds, each further one the path of a shared object. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int count_object(struct dl_phdr_info *object, size_t size, void *count)
{
    (void)object, (void)size;
    ++*(size_t *)count;
    return 0;
}

/* Objects are listed in the order in which they were loaded. */
static int print_object(struct dl_phdr_info *object, size_t size, void *skip)
{
    (void)size;
    if (*(size_t *)skip > 0)
        --*(size_t *)skip;
    else if (strlen(object->dlpi_name) > 0)
        puts(object->dlpi_name);
    return 0;
}

int main(int argc, char **argv)
{
    struct timespec start, end;
    size_t before = 0;
    void *library;

    if (argc != 2) {
        fprintf(stderr, "usage: load_time LIBRARY\n");
        return 2;
    }
    dl_iterate_phdr(count_object, &before);
    clock_gettime(CLOCK_MONOTONIC, &start);
    library = dlopen(argv[1], RTLD_NOW);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (library == NULL) {
        fprintf(stderr, "load_time: %s\n", dlerror());
        return 1;
    }
    printf("%.9f\n", (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9);
    dl_iterate_phdr(print_object, &before);
    return 0;
}
