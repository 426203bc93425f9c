#include "gpu.h"

#include <inttypes.h>
#include <string.h>

#include "launch.h"

/* Bytes from one row's block to the next: more than the longest, and odd, so that every alignment comes up. */
#define ROW_STRIDE (65536 + 70 + 128 + 1)
#define ROWS_MAX 4096
/* Pieces of copies: some shorter than a word, some long, no two of one alignment. */
#define PIECES 500
#define PIECE_BYTES_MAX 3001
#define BUFFER_BYTES ((size_t)PIECES * (PIECE_BYTES_MAX + 16))
#define UNTOUCHED 0xdb

/* The bytes that a row of the table is about; `fill` in ../cuda_kernels/device.cpp is the same. */
static void fill(unsigned char *bytes, size_t count, uint64_t seed)
{
    for (size_t at = 0; at < count; at++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[at] = (unsigned char)(seed >> 56);
    }
}

static unsigned read_table(const char *path, uint64_t seeds[], struct block blocks[], uint64_t sums[])
{
    char *const text = read_text(path), *rest = NULL;
    unsigned rows = 0;

    for (char *line = strtok_r(text, "\n", &rest); line != NULL && rows < ROWS_MAX; line = strtok_r(NULL, "\n", &rest))
        rows += sscanf(line, "%" SCNu64 "\t%" SCNu64 "\t%" SCNx64, &seeds[rows], &blocks[rows].bytes, &sums[rows]) == 3;
    free(text);
    return rows;
}

static unsigned check_sums(const struct kernels *kernels, CUstream stream, const char *sums_path)
{
    static uint64_t seeds[ROWS_MAX], wanted[ROWS_MAX];
    struct block *const blocks = pinned(ROWS_MAX * sizeof *blocks);
    uint64_t *const sums = pinned(ROWS_MAX * sizeof *sums);
    const unsigned rows = read_table(sums_path, seeds, blocks, wanted);
    unsigned char *const bytes = pinned((size_t)rows * ROW_STRIDE);
    CUdeviceptr device;
    unsigned wrong = 0;

    OK(cu.cuMemAlloc(&device, (size_t)rows * ROW_STRIDE));
    for (unsigned row = 0; row < rows; row++) {
        fill(bytes + (size_t)row * ROW_STRIDE, blocks[row].bytes, seeds[row]);
        blocks[row].address = device + (size_t)row * ROW_STRIDE;
    }
    OK(cu.cuMemcpyHtoDAsync(device, bytes, (size_t)rows * ROW_STRIDE, stream));
    kernels_sum(kernels, stream, blocks, rows, sums);
    OK(cu.cuStreamSynchronize(stream));
    for (unsigned row = 0; row < rows; row++)
        wrong += sums[row] != wanted[row];
    printf("sums of %u lengths, %u wrong\n", rows, wrong);
    OK(cu.cuMemFree(device));
    OK(cu.cuMemFreeHost(bytes));
    OK(cu.cuMemFreeHost(sums));
    OK(cu.cuMemFreeHost(blocks));
    return wrong + (rows == 0);
}

/* Gathers pieces of one piece of memory into a buffer, and scatters them to another. */
static unsigned check_copies(const struct kernels *kernels, CUstream stream)
{
    struct piece *const pieces = pinned(PIECES * sizeof *pieces), *const back = pinned(PIECES * sizeof *back);
    unsigned char *const from = pinned(BUFFER_BYTES), *const to = pinned(BUFFER_BYTES);
    CUdeviceptr memory, buffer, target;
    unsigned wrong = 0;
    size_t end = 0;

    OK(cu.cuMemAlloc(&memory, BUFFER_BYTES));
    OK(cu.cuMemAlloc(&buffer, BUFFER_BYTES));
    OK(cu.cuMemAlloc(&target, BUFFER_BYTES));
    fill(from, BUFFER_BYTES, 1);
    for (unsigned at = 0; at < PIECES; at++) {
        const size_t bytes = at * 7 % PIECE_BYTES_MAX;
        /* The first piece goes to the end of the buffer. */
        pieces[at] = (struct piece){memory + end, BUFFER_BYTES - end - bytes, bytes};
        back[at] = (struct piece){target + end, pieces[at].offset, bytes};
        end += bytes + at % 16;
    }
    OK(cu.cuMemcpyHtoDAsync(memory, from, BUFFER_BYTES, stream));
    OK(cu.cuMemsetD8Async(target, UNTOUCHED, BUFFER_BYTES, stream));
    kernels_copy(kernels->gather, stream, pieces, PIECES, buffer);
    kernels_copy(kernels->scatter, stream, back, PIECES, buffer);
    OK(cu.cuMemcpyDtoHAsync(to, target, BUFFER_BYTES, stream));
    OK(cu.cuStreamSynchronize(stream));
    for (unsigned at = 0; at < PIECES; at++) {
        const size_t start = (size_t)(pieces[at].address - memory), stop = start + pieces[at].bytes;
        wrong += memcmp(from + start, to + start, pieces[at].bytes) != 0;
        for (size_t gap = stop; gap < stop + at % 16; gap++)
            wrong += to[gap] != UNTOUCHED;
    }
    printf("%d pieces gathered and scattered, %u wrong\n", PIECES, wrong);
    OK(cu.cuMemFree(target));
    OK(cu.cuMemFree(buffer));
    OK(cu.cuMemFree(memory));
    OK(cu.cuMemFreeHost(to));
    OK(cu.cuMemFreeHost(from));
    OK(cu.cuMemFreeHost(back));
    OK(cu.cuMemFreeHost(pieces));
    return wrong;
}

int check_kernels(const char *ptx_path, const char *sums_path)
{
    struct kernels kernels;
    CUstream stream;
    unsigned wrong;

    driver_begin();
    OK(cu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    kernels_load(&kernels, ptx_path);
    wrong = check_sums(&kernels, stream, sums_path);
    wrong += check_copies(&kernels, stream);
    kernels_unload(&kernels);
    OK(cu.cuStreamDestroy(stream));
    driver_end();
    return wrong != 0;
}
