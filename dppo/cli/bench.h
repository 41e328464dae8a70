/* What a benchmark is: two sides that take turns at one unit of work. */
#ifndef DPPO_CLI_BENCH_H
#define DPPO_CLI_BENCH_H

#include "algorithms/agent.h"
#include "envs/task.h"

typedef struct settings {
    int threads; /* of C; libtorch may have fewer */
    int64_t batch;
    int64_t repeats; /* 0: each benchmark's own */
} settings;

/* One benchmark under way. `agents` are those of C and, in a build with it, of libtorch. */
typedef struct bench {
    const settings *settings;
    const char *name; /* the spec's */
    dppo_config *config;
    const dppo_agent_class *sides[2];
    dppo_agent *agents[2];
    int torch_threads;                          /* at which libtorch is faster: all, or one */
    int64_t batch;                              /* rows of an act() or a pretrain_step() */
    int64_t obs_size, chunk_size, chain_length; /* To Do, Ta Da, K'+1 */
    float *obs, *actions, *chains;
    double *reward, *zeros, *firsts;
    dppo_rollout rollout;
    int64_t itr[2];
    double flops; /* of one repetition, when they can be told */
    float *A, *B, *C;
    dppo_vector_env *envs;
    dppo_task *task;
    mjData **data; /* (N) */
    struct dppo_bench_network *network;
} bench;

typedef struct bench_spec {
    const char *name, *summary;
    const char *first, *second; /* what a pair compares; NULL: nothing */
    int repeats;
    dppo_status (*open)(bench *b);
    /* One repetition by the pair's first (0) or second (1); seconds of one unit of work. */
    dppo_status (*run)(bench *b, int which, double *seconds);
} bench_spec;

enum { DPPO_BENCH_MOST = 64 }; /* benchmarks */

/* Uniform in +-scale, the same numbers each time. */
dppo_status dppo_bench_fill(float *values, int64_t count, double scale);

/* -- networks (bench_networks.c) */
extern const bench_spec dppo_bench_networks[];
extern const size_t dppo_bench_network_count;
void dppo_bench_network_free(struct dppo_bench_network *network);

#endif
