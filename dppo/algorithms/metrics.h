/* metrics.csv: one row an iteration and side, the same names as everywhere. */
#ifndef DPPO_ALGORITHMS_METRICS_H
#define DPPO_ALGORITHMS_METRICS_H

#include "algorithms/rollout.h"
#include "base/text.h"

/* Columns after itr, side, mode and the update's metrics (agent.h). */
#define DPPO_EPISODE_METRICS(X)                                                                              \
    X(train_episode_reward, "avg episode reward - train")                                                    \
    X(train_num_episode, "num episode - train")                                                              \
    X(eval_episode_reward, "avg episode reward - eval")                                                      \
    X(eval_best_reward, "avg best reward - eval")                                                            \
    X(eval_success_rate, "success rate - eval")                                                              \
    X(eval_num_episode, "num episode - eval")

/* The profile of an iteration, wall-clock seconds: acting, stepping the environments, the update's phases,
 * and saving: checkpoints and tables (with two sides both's, and copies of the side's own state; comparing
 * the two is no part of either's iteration). Together they are the iteration but for bookkeeping. */
#define DPPO_ITERATION_PHASES(X)                                                                             \
    X(act_seconds, "seconds - act")                                                                          \
    X(env_seconds, "seconds - env")                                                                          \
    DPPO_UPDATE_PHASES(X)                                                                                    \
    X(save_seconds, "seconds - save")

/* And the sums they are measured against: the whole update, the whole iteration. */
#define DPPO_PHASE_METRICS(X)                                                                                \
    DPPO_ITERATION_PHASES(X)                                                                                 \
    X(update_seconds, "seconds - update")                                                                    \
    X(iteration_seconds, "seconds - iteration")

typedef struct dppo_metrics_row {
    int64_t itr, total_env_step;
    const char *side; /* "c", "torch" */
    bool eval;
#define DPPO_ROW_FIELD(field, label) double field;
    DPPO_UPDATE_METRICS(DPPO_ROW_FIELD)
    DPPO_EPISODE_METRICS(DPPO_ROW_FIELD)
    DPPO_PHASE_METRICS(DPPO_ROW_FIELD)
#undef DPPO_ROW_FIELD
} dppo_metrics_row;

/* A row with every number NaN (an empty cell). */
dppo_metrics_row dppo_metrics_empty(int64_t itr, const char *side, bool eval);
void dppo_metrics_take_update(dppo_metrics_row *row, const dppo_update_metrics *metrics);
void dppo_metrics_take_episodes(dppo_metrics_row *row, const dppo_episodes *episodes);

void dppo_metrics_header(dppo_text *csv);
void dppo_metrics_add(dppo_text *csv, const dppo_metrics_row *row);

/* Reads a CSV of this or a similar kind (first column an integer) and keeps the header and the rows whose
 * first column is below `end`; a missing file gives empty text. */
dppo_status dppo_csv_read_until(const char *path, int64_t end, dppo_text *csv);

#endif
