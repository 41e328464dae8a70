#include "algorithms/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

dppo_metrics_row dppo_metrics_empty(int64_t itr, const char *side, bool eval) {
    dppo_metrics_row row = {.itr = itr, .side = side, .eval = eval};
#define CLEAR(field, label) row.field = NAN;
    DPPO_UPDATE_METRICS(CLEAR)
    DPPO_EPISODE_METRICS(CLEAR)
    DPPO_PHASE_METRICS(CLEAR)
#undef CLEAR
    return row;
}

void dppo_metrics_take_update(dppo_metrics_row *row, const dppo_update_metrics *metrics) {
#define TAKE(field, label) row->field = metrics->field;
    DPPO_UPDATE_METRICS(TAKE)
#undef TAKE
#define TAKE(field, label) row->field = metrics->phases.field;
    DPPO_UPDATE_PHASES(TAKE)
#undef TAKE
}

void dppo_metrics_take_episodes(dppo_metrics_row *row, const dppo_episodes *episodes) {
    if (row->eval) {
        row->eval_episode_reward = episodes->avg_episode_reward;
        row->eval_best_reward = episodes->avg_best_reward;
        row->eval_success_rate = episodes->success_rate;
        row->eval_num_episode = (double)episodes->count;
    } else {
        row->train_episode_reward = episodes->avg_episode_reward;
        row->train_num_episode = (double)episodes->count;
    }
}

void dppo_metrics_header(dppo_text *csv) {
    dppo_text_add(csv, "itr,side,mode,total env step");
#define NAME(field, label) dppo_text_add(csv, "," label);
    DPPO_UPDATE_METRICS(NAME)
    DPPO_EPISODE_METRICS(NAME)
    DPPO_PHASE_METRICS(NAME)
#undef NAME
    dppo_text_add(csv, "\n");
}

static void add_cell(dppo_text *csv, double value) {
    if (isnan(value))
        dppo_text_add(csv, ",");
    else
        dppo_text_format(csv, ",%.9g", value);
}

void dppo_metrics_add(dppo_text *csv, const dppo_metrics_row *row) {
    dppo_text_format(csv, "%lld,%s,%s,%lld", (long long)row->itr, row->side, row->eval ? "eval" : "train",
                     (long long)row->total_env_step);
#define CELL(field, label) add_cell(csv, row->field);
    DPPO_UPDATE_METRICS(CELL)
    DPPO_EPISODE_METRICS(CELL)
    DPPO_PHASE_METRICS(CELL)
#undef CELL
    dppo_text_add(csv, "\n");
}

dppo_status dppo_csv_read_until(const char *path, int64_t end, dppo_text *csv) {
    char *bytes;
    if (access(path, F_OK) != 0) return DPPO_OK;
    DPPO_TRY(dppo_read_file(path, &bytes, NULL));
    bool header = true;
    for (char *line = bytes; *line;) {
        char *newline = strchr(line, '\n');
        if (!newline) break; /* a torn last line is not a row */
        if (header || strtoll(line, NULL, 10) < end)
            dppo_text_append(csv, line, (size_t)(newline - line) + 1);
        header = false;
        line = newline + 1;
    }
    free(bytes);
    return csv->failed ? dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path) : DPPO_OK;
}
