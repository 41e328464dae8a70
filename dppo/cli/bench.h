/* What a benchmark is: sides that take turns at one unit of work. Each file of bench_*.c tells one story:
 * bench_measure.c how turns are timed, bench_output.c how it is said, bench_scaling.c tables over sizes, the
 * others what is measured. */
#ifndef DPPO_CLI_BENCH_H
#define DPPO_CLI_BENCH_H

#include "algorithms/rollout.h"
#include "base/text.h"
#include "envs/task.h"

#include <stdio.h>

enum {
    DPPO_BENCH_SIDES = 3,
    DPPO_BENCH_PARTS = 2, /* of one repetition */
    DPPO_BENCH_MOST = 64, /* benchmarks */
    DPPO_BENCH_MOST_ENVS = 400
};

typedef struct settings {
    int threads;                          /* of C; libtorch may have fewer */
    int64_t batch;                        /* pairs of a minibatch; 0: the benchmark's own */
    int64_t envs;                         /* N of acting and stepping */
    int64_t repeats;                      /* 0: each benchmark's own */
    double limit;                         /* seconds after which no further pair is begun; 0: none */
    int64_t least;                        /* pairs that are made whatever the limit */
    bool full;                            /* `iteration` of training's own size */
    struct dppo_bench_original *original; /* the Python code, as a third side; NULL: not asked for */
} settings;

/* The matrix product that is the machine's measure (bench_gemm.c). */
typedef struct dppo_bench_peak dppo_bench_peak;
dppo_status dppo_bench_peak_new(int threads, dppo_bench_peak **peak);
void dppo_bench_peak_free(dppo_bench_peak *peak);
double dppo_bench_peak_flops(const dppo_bench_peak *peak); /* of one product */
double dppo_bench_peak_run(dppo_bench_peak *peak);         /* seconds of one, of the faster of two */

/* One benchmark under way. `agents` are those of C and, in a build with it, of libtorch. */
typedef struct bench {
    const settings *settings;
    const char *name; /* the spec's */
    dppo_config *config;
    const dppo_agent_class *sides[2];
    dppo_agent *agents[2];
    int torch_threads;                          /* at which libtorch is faster: all, or one */
    int original_threads;                       /* the same of the original */
    int64_t batch;                              /* rows of an act() or a pretrain_step() */
    int64_t obs_size, chunk_size, chain_length; /* To Do, Ta Da, K'+1 */
    float *obs, *actions, *chains;
    double *reward, *zeros, *firsts;
    dppo_rollout rollout;
    int64_t itr[2];
    double flops[DPPO_BENCH_PARTS];  /* of one repetition, when they can be told */
    double spared[DPPO_BENCH_PARTS]; /* of these, what C need not compute */
    dppo_bench_peak *peak;
    dppo_vector_env *envs;
    dppo_task *task;
    struct dppo_bench_bodies *bodies;
    struct dppo_bench_network *network;
    struct dppo_bench_iteration *iteration;
} bench;

typedef struct bench_part {
    const char *name, *summary;
} bench_part;

typedef struct bench_spec {
    bench_part parts[DPPO_BENCH_PARTS];  /* what a repetition measures; the first names the benchmark */
    const char *sides[DPPO_BENCH_SIDES]; /* the others are compared with the first */
    int repeats;
    int memory; /* 1 + the side that runs first, alone, to see how much memory it takes; 0: none */
    dppo_status (*open)(bench *b);
    /* One repetition by a side; seconds of one unit of work of each part. */
    dppo_status (*run)(bench *b, int which, double *seconds);
} bench_spec;

extern const bench_spec dppo_bench_gemm, dppo_bench_iteration, dppo_bench_update, dppo_bench_act,
    dppo_bench_act1, dppo_bench_pretrain, dppo_bench_hopper;
extern const bench_spec dppo_bench_networks[];
extern const size_t dppo_bench_network_count;
void dppo_bench_network_free(struct dppo_bench_network *network);
void dppo_bench_iteration_free(struct dppo_bench_iteration *iteration);
void dppo_bench_bodies_free(struct dppo_bench_bodies *bodies);

/* -- what agents are measured on (bench_agents.c) */

/* Uniform in +-scale, the same numbers each time. */
dppo_status dppo_bench_fill(float *values, int64_t count, double scale);
/* A configuration of fixtures/configs with initial weights, its shapes, and C's agent; libtorch's is made
 * when C has been seen alone. */
dppo_status dppo_bench_open_agents(bench *b, const char *name, int count, char **overrides);
dppo_status dppo_bench_open_buffers(bench *b, int64_t rows);
/* Elements of the matrices below `prefix`: each is a multiplication and an addition a row, forward. `first`
 * counts those of first layers alone, whose input needs no gradient. */
dppo_status dppo_bench_weights(const bench *b, const char *prefix, double *weights, double *first);

/* -- measuring (bench_measure.c) */

/* Quartiles over the pairs: half of them lie between low and high. */
typedef struct bench_spread {
    double low, median, high;
} bench_spread;

typedef struct bench_result {
    const bench_part *part;
    bool present[DPPO_BENCH_SIDES];
    bench_spread seconds[DPPO_BENCH_SIDES];
    double p99[DPPO_BENCH_SIDES];         /* seconds */
    bench_spread ratio[DPPO_BENCH_SIDES]; /* this side / first */
    double gflops[DPPO_BENCH_SIDES];      /* 0: unknown */
    bench_spread share[DPPO_BENCH_SIDES]; /* gflops / the peak beside it */
    double executed;                      /* share of the first side, of what it does compute */
    double peak;                          /* median GFLOP/s of the peak; 0: not measured */
    int64_t repeats, memory;              /* bytes; 0: not seen */
    int torch_threads, original_threads;  /* 0: not there */
} bench_result;

/* DPPO_MISSING names what one side does not have. */
dppo_status dppo_bench_measure(const bench_spec *spec, const settings *options,
                               bench_result results[DPPO_BENCH_PARTS]);

/* -- output (bench_output.c) */

void dppo_bench_print(FILE *out, const bench_spec *spec, const bench_result *r);
void dppo_bench_print_machine(FILE *out, const settings *options);
void dppo_bench_add_head(dppo_text *json, const settings *options);
void dppo_bench_add_result(dppo_text *json, const bench_spec *spec, const bench_result *r, bool more);

/* -- tables over sizes (bench_scaling.c); `folder` NULL: the table is only printed */
dppo_status dppo_bench_scaling(const settings *options, const char *folder, FILE *out);

#endif
