/* How turns are timed: sides take turns within one run, on the same threads, and what is compared is each
 * turn with its neighbour. The machine's peak takes its turn beside them. */
#include "base/log.h"
#include "cli/bench.h"
#include "cli/bench_original.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

enum { PEAK_PRODUCTS = 9 }; /* of a turn of the peak; their median counts */
#define PEAK_AGE 0.3        /* seconds after which the peak takes another turn */

typedef double times[DPPO_BENCH_PARTS][DPPO_BENCH_SIDES];

static bool is_torch(const bench_spec *spec, int which) {
    return spec->sides[which] && strcmp(spec->sides[which], "libtorch") == 0;
}

static bool is_original(const bench_spec *spec, int which) {
    return spec->sides[which] && strcmp(spec->sides[which], "original") == 0;
}

static bool has_side(const bench_spec *spec, const bench *b, int which) {
    if (is_original(spec, which)) return b->settings->original;
    return spec->sides[which] && (!is_torch(spec, which) || b->sides[1]);
}

/* The original knows a benchmark by its name, and answers with as many parts. */
static dppo_status run_side(const bench_spec *spec, bench *b, int which, double *seconds) {
    int parts = 0;
    if (!is_original(spec, which)) return spec->run(b, which, seconds);
    while (parts < DPPO_BENCH_PARTS && spec->parts[parts].name)
        parts++;
    return dppo_bench_original_run(b->settings->original, spec->parts[0].name, parts, seconds);
}

/* Each side finds its number of threads, and OpenBLAS told so: it has one setting for the process. Threads of
 * the other side may still spin for work a little; they are given time to go to sleep. */
static dppo_status take_turn(const bench_spec *spec, const bench *b, int which) {
    const struct timespec rest = {.tv_nsec = 10 * 1000 * 1000};
    (void)nanosleep(&rest, NULL);
#ifdef DPPO_WITH_SHIM
    if (which >= 0 && is_torch(spec, which)) return shim_init(b->torch_threads);
#endif
    if (which >= 0 && is_original(spec, which))
        return dppo_bench_original_threads(b->settings->original, b->original_threads);
    openblas_set_num_threads(1);
    return DPPO_OK;
}

/* -- PyTorch's threads, in C++ and in Python */

/* On few or busy cores libtorch can lose by more threads: the faster of two attempts each decides. Where an
 * attempt takes seconds, what threads cost is nothing beside the work. */
static dppo_status choose_threads(const bench_spec *spec, bench *b, int which, int *threads) {
    const int counts[2] = {b->settings->threads, 1};
    double best[2] = {INFINITY, INFINITY};
    for (int i = 0; i < 5; i++) { /* the first warms up */
        double seconds[DPPO_BENCH_PARTS], start = dppo_seconds();
        *threads = counts[i % 2];
        DPPO_TRY(take_turn(spec, b, which));
        DPPO_TRY(run_side(spec, b, which, seconds));
        if (i == 0 && dppo_seconds() - start > 1) return DPPO_OK;
        if (i > 0) best[i % 2] = fmin(best[i % 2], seconds[0]);
    }
    *threads = best[1] < best[0] ? 1 : counts[0];
    return DPPO_OK;
}

/* Every side runs once, so that memory is there and caches are filled; that of `memory` already has. */
static dppo_status warm_up(const bench_spec *spec, bench *b) {
    double unused[DPPO_BENCH_PARTS];
    for (int k = 0; k < DPPO_BENCH_SIDES; k++) {
        if (!has_side(spec, b, k) || k == spec->memory - 1) continue;
        if (is_torch(spec, k)) {
            if (b->config) DPPO_TRY(b->sides[1]->create(b->config, &b->agents[1]));
            DPPO_TRY(choose_threads(spec, b, k, &b->torch_threads));
        } else if (is_original(spec, k)) {
            DPPO_TRY(choose_threads(spec, b, k, &b->original_threads));
        } else {
            DPPO_TRY(take_turn(spec, b, k));
            DPPO_TRY(run_side(spec, b, k, unused));
        }
    }
    return DPPO_OK;
}

/* -- memory */

/* The most that the process held since the start of the turn, where Linux forgets what was before; all of its
 * life elsewhere. */
static dppo_status see_memory(const bench_spec *spec, bench *b, int64_t *bytes) {
    times unused;
    struct rusage usage;
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (file) {
        (void)fputs("5", file);
        (void)fclose(file);
    }
    DPPO_TRY(take_turn(spec, b, spec->memory - 1));
    DPPO_TRY(spec->run(b, spec->memory - 1, unused[0]));
    *bytes = getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
    return DPPO_OK;
}

/* -- pairs */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *values, int64_t count, double q) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    int64_t at = (int64_t)(q * (double)(count - 1) + 0.5);
    return values[at];
}

static bench_spread spread_of(double *values, int64_t count) {
    return (bench_spread){quantile(values, count, 0.25), quantile(values, count, 0.5),
                          quantile(values, count, 0.75)};
}

/* FLOP/s of the peak now. */
static dppo_status peak_turn(const bench_spec *spec, const bench *b, double *peak) {
    double seconds[PEAK_PRODUCTS];
    DPPO_TRY(take_turn(spec, b, -1));
    for (int i = 0; i < PEAK_PRODUCTS; i++)
        seconds[i] = dppo_bench_peak_run(b->peak);
    *peak = dppo_bench_peak_flops(b->peak) / quantile(seconds, PEAK_PRODUCTS, 0.5);
    return DPPO_OK;
}

/* taken (repeats), peaks (repeats + 1), before each and after the last; the order within a pair turns. */
static dppo_status measure_pairs(const bench_spec *spec, bench *b, int64_t *repeats, times *taken,
                                 double *peaks) {
    int which[DPPO_BENCH_SIDES], sides = 0;
    double start = dppo_seconds(), peak = 0, peak_at = -INFINITY;
    for (int k = 0; k < DPPO_BENCH_SIDES; k++)
        if (has_side(spec, b, k)) which[sides++] = k;
    for (int64_t i = 0; i < *repeats; i++) {
        if (b->peak && dppo_seconds() - peak_at > PEAK_AGE) {
            DPPO_TRY(peak_turn(spec, b, &peak));
            peak_at = dppo_seconds();
        }
        peaks[i] = peak;
        for (int k = 0; k < sides; k++) {
            int side = which[(i + k) % sides];
            double seconds[DPPO_BENCH_PARTS];
            DPPO_TRY(take_turn(spec, b, side));
            DPPO_TRY(run_side(spec, b, side, seconds));
            for (int part = 0; part < DPPO_BENCH_PARTS && spec->parts[part].name; part++)
                taken[i][part][side] = seconds[part];
        }
        if (dppo_interrupted()) return dppo_fail(DPPO_INTERRUPTED, "bench: interrupted");
        bool late = b->settings->limit > 0 && dppo_seconds() - start > b->settings->limit;
        if (late && i + 1 >= b->settings->least) *repeats = i + 1;
    }
    return b->peak ? peak_turn(spec, b, &peaks[*repeats]) : DPPO_OK;
}

/* `column` is room for as many numbers as there are repeats. Of the peaks before and after a turn the higher
 * counts: what lowers one is somebody else. */
static void summarize(const bench_spec *spec, const bench *b, int part, const times *taken,
                      const double *peaks, double *column, bench_result *r) {
    int64_t count = r->repeats;
    r->part = &spec->parts[part];
    for (int k = 0; k < DPPO_BENCH_SIDES; k++) {
        if (!(r->present[k] = has_side(spec, b, k))) continue;
        for (int64_t i = 0; i < count; i++)
            column[i] = taken[i][part][k];
        r->seconds[k] = spread_of(column, count);
        r->p99[k] = quantile(column, count, 0.99);
        r->gflops[k] = 1e-9 * b->flops[part] / r->seconds[k].median;
        for (int64_t i = 0; i < count; i++)
            column[i] = taken[i][part][k] / taken[i][part][0];
        r->ratio[k] = spread_of(column, count);
        for (int64_t i = 0; i < count && b->peak; i++)
            column[i] = b->flops[part] / taken[i][part][k] / fmax(peaks[i], peaks[i + 1]);
        if (b->peak) r->share[k] = spread_of(column, count);
    }
    if (b->flops[part] > 0) r->executed = r->share[0].median * (1 - b->spared[part] / b->flops[part]);
    memcpy(column, peaks, (size_t)count * sizeof *column);
    if (b->peak) r->peak = 1e-9 * quantile(column, count, 0.5);
}

static void close_bench(bench *b) {
    dppo_bench_network_free(b->network);
    dppo_bench_iteration_free(b->iteration);
    dppo_bench_bodies_free(b->bodies);
    for (int i = 0; i < 2; i++)
        if (b->agents[i]) b->sides[i]->destroy(b->agents[i]);
    dppo_vector_env_free(b->envs);
    dppo_task_free(b->task);
    dppo_config_free(b->config);
    dppo_bench_peak_free(b->peak);
    free(b->obs), free(b->actions), free(b->chains);
    free(b->reward), free(b->zeros), free(b->firsts);
}

static dppo_status run_bench(const bench_spec *spec, bench *b, int64_t *repeats, int64_t *memory,
                             times *taken, double *peaks) {
    DPPO_TRY(spec->open(b));
    if (spec->memory) DPPO_TRY(see_memory(spec, b, memory));
    if (b->flops[0] > 0 && !b->peak) DPPO_TRY(dppo_bench_peak_new(b->settings->threads, &b->peak));
    DPPO_TRY(warm_up(spec, b));
    return measure_pairs(spec, b, repeats, taken, peaks);
}

dppo_status dppo_bench_measure(const bench_spec *spec, const settings *options,
                               bench_result results[DPPO_BENCH_PARTS]) {
    bench b = {.settings = options, .name = spec->parts[0].name};
    int64_t repeats = options->repeats > 0 ? options->repeats : spec->repeats, memory = 0;
    times *taken = calloc((size_t)repeats, sizeof *taken);
    double *peaks = calloc((size_t)(2 * repeats) + 1, sizeof *peaks);
    dppo_status status = taken && peaks ? run_bench(spec, &b, &repeats, &memory, taken, peaks)
                                        : dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    for (int part = 0; part < DPPO_BENCH_PARTS; part++) {
        results[part] = (bench_result){.repeats = repeats,
                                       .memory = memory,
                                       .torch_threads = b.torch_threads,
                                       .original_threads = b.original_threads};
        if (status == DPPO_OK && spec->parts[part].name)
            summarize(spec, &b, part, taken, peaks, peaks + repeats + 1, &results[part]);
    }
    free(taken);
    free(peaks);
    close_bench(&b);
    return status == DPPO_OK ? DPPO_OK : dppo_fail_in(status, "bench %s", spec->parts[0].name);
}
