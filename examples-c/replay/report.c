#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_INTERVAL_SECONDS 0.1
#define PROGRESS_BAR_WIDTH 24
/* Room for every number that is formatted here. */
#define TEXT_BYTES 32

static double percent_of(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static double gigabytes_per_second(const replay_traffic_t *traffic)
{
    return traffic->batches.seconds_sum > 0 ? (double)traffic->bytes / traffic->batches.seconds_sum * 1e-9 : 0;
}

/* "2.0 GiB": sizes of things that are made of blocks. */
static const char *binary_size(char text[TEXT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;

    for (; value >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1024;
    snprintf(text, TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

/* "12,345": digits in groups of three. */
static const char *grouped(char text[TEXT_BYTES], uint64_t value)
{
    char digits[TEXT_BYTES];
    const int count = snprintf(digits, sizeof digits, "%" PRIu64, value);
    int from, to = 0;

    for (from = 0; from < count; from++) {
        if (from > 0 && (count - from) % 3 == 0)
            text[to++] = ',';
        text[to++] = digits[from];
    }
    text[to] = '\0';
    return text;
}

void replay_progress(const replay_totals_t *totals)
{
    static double shown_at;
    const double now = samples_now();
    char bar[PROGRESS_BAR_WIDTH + 1];
    int place;

    if (!isatty(STDERR_FILENO) || now - shown_at < PROGRESS_INTERVAL_SECONDS)
        return;
    shown_at = now;
    for (place = 0; place < PROGRESS_BAR_WIDTH; place++)
        bar[place] = (size_t)place * totals->request_count < totals->requests_done * PROGRESS_BAR_WIDTH ? '#' : '.';
    bar[PROGRESS_BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %zu/%zu requests  hits %.1f %%  put %.1f, get %.1f GB/s\033[K", bar,
            totals->requests_done, totals->request_count, percent_of(totals->blocks_hit, totals->blocks_referenced),
            gigabytes_per_second(&totals->put), gigabytes_per_second(&totals->get));
    fflush(stderr);
}

void replay_progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

static void print_count_row(const char *name, uint64_t put, uint64_t get, uint64_t final_get)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];
    printf("  %-22s%14s%14s%14s\n", name, grouped(a, put), grouped(b, get), grouped(c, final_get));
}

static void print_latency_row(const char *name, double percent, replay_totals_t *totals)
{
    printf("  %-22s%11.2f ms%11.2f ms%11.2f ms\n", name, samples_percentile(&totals->put.batches, percent) * 1e3,
           samples_percentile(&totals->get.batches, percent) * 1e3,
           samples_percentile(&totals->final_get.batches, percent) * 1e3);
}

static void print_traffic(replay_totals_t *totals)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];

    printf("  %-22s%14s%14s%14s\n", "", "put", "get", "read back");
    print_count_row("blocks", totals->put.blocks, totals->get.blocks, totals->final_get.blocks);
    print_count_row("batches", totals->put.batches.count, totals->get.batches.count, totals->final_get.batches.count);
    printf("  %-22s%14s%14s%14s\n", "bytes", binary_size(a, totals->put.bytes), binary_size(b, totals->get.bytes),
           binary_size(c, totals->final_get.bytes));
    printf("  %-22s%9.2f GB/s%9.2f GB/s%9.2f GB/s\n", "throughput", gigabytes_per_second(&totals->put),
           gigabytes_per_second(&totals->get), gigabytes_per_second(&totals->final_get));
    print_latency_row("batch latency, p50", 50, totals);
    print_latency_row("batch latency, p90", 90, totals);
    print_latency_row("batch latency, p99", 99, totals);
}

void replay_report(replay_totals_t *totals, const nixl_store_capabilities_t *capabilities,
                   const nixl_store_stats_t *stats)
{
    char a[TEXT_BYTES], b[TEXT_BYTES], c[TEXT_BYTES];

    printf("\nReplay of %s\n\n", totals->trace_path);
    printf("  %-22s%s through %s, %s%s\n", "store", capabilities->backend, capabilities->io_path, capabilities->layout,
           strcmp(capabilities->backend, "OBJ") == 0 ? "" : capabilities->direct_io ? ", O_DIRECT" : ", page cache");
    if (capabilities->reason[0] != '\0')
        printf("  %-22s%s\n", "", capabilities->reason);
    if (stats->slots > 0)
        printf("  %-22s%s slots of %s = %s\n", "pool", grouped(a, stats->slots), binary_size(b, totals->block_bytes),
               binary_size(c, stats->slots * totals->block_bytes));
    printf("  %-22s%s blocks = %s\n\n", "working set", grouped(a, totals->blocks_distinct),
           binary_size(b, totals->blocks_distinct * totals->block_bytes));

    print_traffic(totals);

    printf("\n  %-22s%s of %s\n", "requests", grouped(a, totals->requests_done), grouped(b, totals->request_count));
    printf("  %-22s%s\n", "blocks referenced", grouped(a, totals->blocks_referenced));
    printf("  %-22s%.1f %% (a cache that never evicts: %.1f %%)\n", "blocks hit",
           percent_of(totals->blocks_hit, totals->blocks_referenced),
           percent_of(totals->blocks_hit_unbounded, totals->blocks_referenced));
    if (totals->blocks_hit_of_others > 0)
        printf("  %-22s%s of them put by another process\n", "", grouped(a, totals->blocks_hit_of_others));
    printf("  %-22s%s\n", "evictions", grouped(a, stats->evictions));
    if (totals->blocks_declined > 0)
        printf("  %-22s%s\n", "puts declined", grouped(a, totals->blocks_declined));
    printf("  %-22s%s\n", "corruptions caught", grouped(a, stats->corruptions));
    if (totals->blocks_lost > 0)
        printf("  %-22s%s\n", "blocks lost", grouped(a, totals->blocks_lost));
    printf("  %-22s%s of %s blocks read back, every byte compared\n", "wrong blocks", grouped(a, totals->blocks_wrong),
           grouped(b, totals->get.blocks + totals->final_get.blocks));
    printf("  %-22s%.1f s\n\n", "wall time", totals->wall_seconds);
}
