/* What a run folder holds, read and judged once for every section of the report. */
#ifndef DPPO_REPORT_RUN_DATA_H
#define DPPO_REPORT_RUN_DATA_H

#include "config/config.h"
#include "report/parity_table.h"
#include "report/table.h"

/* The free run is within tolerance where |c - torch| <= atol + rtol |torch|. */
#define DPPO_FREE_RUN_RTOL 1e-4
#define DPPO_FREE_RUN_ATOL 1e-6

/* One column of metrics.csv in one mode. A value is NaN where its side has none. */
typedef struct dppo_run_metric {
    const char *label; /* borrowed from the table */
    size_t count;      /* iterations where a side has a value */
    int64_t *itr;      /* (count) */
    double *c, *torch; /* (count) */
    bool seconds, eval;
    /* With two sides: */
    int64_t first_outside; /* iteration, -1 when never */
    int64_t first_gap;     /* the first iteration with any difference, -1 when never */
    double max_relative;   /* |c - torch| / max(|c|, |torch|), its largest finite value */
    int64_t max_relative_itr;
} dppo_run_metric;

/* One quantity of teacher_forced.csv over all iterations. */
typedef struct dppo_forced_quantity {
    const char *name; /* borrowed */
    int64_t count, iterations, failures;
    double max_abs, max_rel, bitwise_share; /* the worst of all iterations; share weighted by count */
    int64_t worst_itr, worst_index;         /* where max_abs is */
    double worst_c, worst_torch;
} dppo_forced_quantity;

typedef struct dppo_run_data {
    dppo_table metrics_csv, forced_csv, parity_csv; /* the last two without rows when there is no such file */
    bool has_forced, has_parity, finished;          /* finished: run.yaml is there */
    char *config_text;                              /* owned */
    dppo_config *run;                               /* run.yaml; NULL unless finished */
    bool pretraining, has_c, has_torch;
    int64_t iterations, first_itr, last_itr, env_steps; /* env_steps -1 when there is no such column */
    dppo_run_metric *metrics;
    size_t metric_count;
    dppo_forced_quantity *quantities;
    size_t quantity_count;
    dppo_function_summary *functions; /* of parity.csv, worst first */
    size_t function_count;
    int64_t forced_iterations, forced_failures; /* iterations, by teacher_forced.csv */
    int64_t free_equal;                         /* run.yaml's: -1 never apart; -2 not known */
    bool contradiction;                         /* run.yaml and teacher_forced.csv count differently */
} dppo_run_data;

/* Errors name file and line. Free with dppo_run_data_free() whatever the status. */
dppo_status dppo_run_data_read(const char *folder, dppo_run_data *data);
void dppo_run_data_free(dppo_run_data *data);

/* Both sides took part. */
bool dppo_run_compared(const dppo_run_data *data);
/* |c - torch| at index i: 0 where both are equal or both NaN, NaN where one is. */
double dppo_run_gap(const dppo_run_metric *metric, size_t i);
/* A metric by label in a mode; NULL without one. */
const dppo_run_metric *dppo_run_metric_named(const dppo_run_data *data, const char *label, bool eval);

#endif
