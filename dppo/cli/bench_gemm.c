/* The machine's own peak, on the same threads: single-precision products of the size of a hidden layer, by
 * one single-threaded OpenBLAS a thread or by our own product, whichever is faster. */
#include "base/log.h"
#include "base/pool.h"
#include "cli/bench.h"
#include "tensor/kernel.h"

#include <cblas.h>
#include <stdlib.h>

enum { GEMM_M = 1536, GEMM_N = 512, GEMM_K = 512 };

struct dppo_bench_peak {
    int threads;
    float *A, *B, *C; /* (threads, M, K), (K, N), (threads, M, N) */
};

void dppo_bench_peak_free(dppo_bench_peak *peak) {
    if (!peak) return;
    free(peak->A), free(peak->B), free(peak->C);
    free(peak);
}

dppo_status dppo_bench_peak_new(int threads, dppo_bench_peak **peak) {
    dppo_bench_peak *p = *peak = calloc(1, sizeof *p);
    if (!p) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    size_t chunks = (size_t)threads;
    p->threads = threads;
    p->A = malloc(chunks * GEMM_M * GEMM_K * sizeof *p->A);
    p->B = malloc(sizeof *p->B * GEMM_K * GEMM_N);
    p->C = malloc(chunks * GEMM_M * GEMM_N * sizeof *p->C);
    if (!p->A || !p->B || !p->C) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    DPPO_TRY(dppo_bench_fill(p->A, (int64_t)threads * GEMM_M * GEMM_K, 1));
    return dppo_bench_fill(p->B, (int64_t)GEMM_K * GEMM_N, 1);
}

double dppo_bench_peak_flops(const dppo_bench_peak *peak) {
    return 2.0 * GEMM_M * GEMM_N * GEMM_K * (double)peak->threads;
}

static void chunk(void *context, int64_t begin, int64_t end) {
    dppo_bench_peak *p = context;
    for (int64_t i = begin; i < end; i++)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, GEMM_M, GEMM_N, GEMM_K, 1,
                    p->A + i * GEMM_M * GEMM_K, GEMM_K, p->B, GEMM_N, 0, p->C + i * GEMM_M * GEMM_N, GEMM_N);
}

static double cblas_product(dppo_bench_peak *peak) {
    double start = dppo_seconds();
    dppo_parallel_for(peak->threads, 1, chunk, peak);
    return dppo_seconds() - start;
}

static double own_product(dppo_bench_peak *peak) {
    double start = dppo_seconds();
    dppo_kernel_gemm(false, false, peak->threads * GEMM_M, GEMM_N, GEMM_K, peak->A, GEMM_K, peak->B, GEMM_N,
                     0.0f, peak->C, GEMM_N);
    return dppo_seconds() - start;
}

double dppo_bench_peak_run(dppo_bench_peak *peak) {
    double cblas = cblas_product(peak), own = own_product(peak);
    return cblas < own ? cblas : own;
}

static dppo_status open_gemm(bench *b) {
    DPPO_TRY(dppo_bench_peak_new(b->settings->threads, &b->peak));
    b->flops[0] = dppo_bench_peak_flops(b->peak);
    return DPPO_OK;
}

static dppo_status run_gemm(bench *b, int which, double *seconds) {
    *seconds = which == 0 ? own_product(b->peak) : cblas_product(b->peak);
    return DPPO_OK;
}

const bench_spec dppo_bench_gemm = {{{"gemm", "a product of matrices, 1536 x 512 x 512 a thread"}},
                                    {"C", "cblas"},
                                    21,
                                    0,
                                    open_gemm,
                                    run_gemm};
