/* The driver: runs one learner, or the C and the libtorch learner side by side, on the same environments and
 * seeds.
 *
 * A run folder holds config.yaml (resolved), metrics.csv, teacher_forced.csv (with two sides), run.yaml
 * (command, seeds, versions, verdict figures), checkpoint/state_<itr>.h5 and checkpoint/best.h5. */
#ifndef DPPO_ALGORITHMS_DRIVER_H
#define DPPO_ALGORITHMS_DRIVER_H

#include "algorithms/agent.h"
#include "algorithms/lockstep.h"
#include "algorithms/rollout.h"

typedef struct dppo_run_options {
    const char *folder;             /* made if it is not there */
    const char *command;            /* as typed, for run.yaml */
    const char *versions;           /* YAML lines naming libraries and machine, or NULL */
    const dppo_agent_class *first;  /* the learner */
    const dppo_agent_class *second; /* the one it is compared with, or NULL */
    const char *resume;             /* a checkpoint of an earlier run of the same configuration, or NULL */
    bool overwrite;                 /* replace the run that the folder holds, which is refused otherwise */
    int64_t stop_after;             /* iterations (epochs) to run at most now; negative: all */
} dppo_run_options;

/* How a comparison went; all zero without a second side. */
typedef struct dppo_run_result {
    int64_t iterations;         /* run so far, resumed ones included */
    bool teacher_forced_within; /* level 1 holds for every iteration */
    int64_t teacher_forced_iterations;
    int64_t teacher_forced_failures;
    int64_t free_equal_iterations; /* iterations until the free runs first differ in a bit; -1: never */
} dppo_run_result;

/* Fine-tuning (agents with update) and pre-training (agents with pretrain_step), by the config's _target_. A
 * signal (base/log.h) ends the run after the iteration or epoch under way with a checkpoint: DPPO_INTERRUPTED
 * says how to go on. */
dppo_status dppo_train(const dppo_config *config, const dppo_run_options *options, dppo_run_result *result);
dppo_status dppo_pretrain(const dppo_config *config, const dppo_run_options *options,
                          dppo_run_result *result);

/* Evaluation of an agent (an eval config): episodes of n_steps chunk-steps. */
dppo_status dppo_evaluate(const dppo_config *config, const dppo_agent_class *agents, dppo_episodes *episodes);

/* Pieces both kinds of run share (run_folder.c): what is written besides metrics. */
/* Before anything is computed: DPPO_INVALID when the folder holds a run that is neither resumed nor to be
 * overwritten, or when the checkpoint to resume is of another configuration. Only how long to run, paths and
 * what is logged may differ. */
dppo_status dppo_run_folder_check(const dppo_config *config, const dppo_run_options *options);
/* Makes the folder and its config.yaml; of a run to overwrite, what we wrote is removed first. */
dppo_status dppo_run_folder_open(const dppo_config *config, const dppo_run_options *options);
dppo_status dppo_run_folder_path(const dppo_run_options *options, const char *name, char *path, size_t size);
dppo_status dppo_run_folder_result(const dppo_run_options *options, const dppo_config *config,
                                   const dppo_run_result *result);

#endif
