#include "report/run_data.h"
#include "report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static dppo_status no_memory(void) {
    return dppo_fail(DPPO_NO_MEMORY, "report: out of memory");
}

static dppo_status path_in(const char *folder, const char *name, char path[4096]) {
    if (snprintf(path, 4096, "%s/%s", folder, name) >= 4096)
        return dppo_fail(DPPO_INVALID, "%s: path too long", folder);
    return DPPO_OK;
}

/* A table that need not be there. */
static dppo_status read_optional(const char *folder, const char *name, dppo_table *table, bool *there) {
    char path[4096];
    DPPO_TRY(path_in(folder, name, path));
    *there = access(path, F_OK) == 0;
    return *there ? dppo_table_read(path, table) : DPPO_OK;
}

/* -- metrics.csv
 * ------------------------------------------------------------------------------------------------ */

/* Up to here doubles have room for half an iteration, which the axes of charts need. */
#define MOST_ITERATIONS 1000000000000

/* The columns that say what a row is; every other column is a metric. */
typedef struct row_keys {
    int itr, side, mode, env_steps;
} row_keys;

/* Where a row of the file belongs: the index of its iteration, its side and its mode. */
typedef struct row_place {
    size_t index;
    bool torch, eval;
} row_place;

static dppo_status find_keys(dppo_run_data *data, row_keys *keys) {
    const dppo_table *table = &data->metrics_csv;
    data->pretraining = dppo_table_column(table, "itr") < 0 && dppo_table_column(table, "epoch") >= 0;
    DPPO_TRY(dppo_table_require(table, data->pretraining ? "epoch" : "itr", &keys->itr));
    DPPO_TRY(dppo_table_require(table, "side", &keys->side));
    keys->mode = dppo_table_column(table, "mode");
    keys->env_steps = dppo_table_column(table, "total env step");
    if (table->rows == 0) return dppo_fail(DPPO_FORMAT, "%s: no rows below the header", table->path);
    return DPPO_OK;
}

static dppo_status bad_word(const dppo_table *table, size_t row, int column, const char *allowed) {
    return dppo_fail(DPPO_FORMAT, "%s:%zu: %s: '%.60s' is neither %s", table->path, table->lines[row + 1],
                     table->cells[column], dppo_table_cell(table, row, column), allowed);
}

static dppo_status place_side(dppo_run_data *data, const row_keys *keys, size_t row, row_place *place) {
    const dppo_table *table = &data->metrics_csv;
    const char *side = dppo_table_cell(table, row, keys->side);
    place->torch = strcmp(side, "torch") == 0;
    if (!place->torch && strcmp(side, "c") != 0) return bad_word(table, row, keys->side, "c nor torch");
    *(place->torch ? &data->has_torch : &data->has_c) = true;
    place->eval = false;
    if (keys->mode < 0) return DPPO_OK;
    const char *mode = dppo_table_cell(table, row, keys->mode);
    place->eval = strcmp(mode, "eval") == 0;
    return place->eval || strcmp(mode, "train") == 0 ? DPPO_OK
                                                     : bad_word(table, row, keys->mode, "train nor eval");
}

/* One order of rows, and one row an iteration and side: a file that was appended to twice is refused rather
 * than drawn. Fills itr[] with the iterations of the file, which must ascend, and places[] with every row's
 * place. */
static dppo_status place_rows(dppo_run_data *data, const row_keys *keys, int64_t *itr, row_place *places,
                              size_t *iterations) {
    const dppo_table *table = &data->metrics_csv;
    bool seen[2] = {false, false};
    *iterations = 0;
    for (size_t row = 0; row < table->rows; row++) {
        int64_t here;
        double steps;
        DPPO_TRY(dppo_table_integer(table, row, keys->itr, &here));
        if (here < 0 || here > MOST_ITERATIONS)
            return dppo_fail(DPPO_FORMAT, "%s:%zu: %s: %lld is no count of iterations", table->path,
                             table->lines[row + 1], table->cells[keys->itr], (long long)here);
        DPPO_TRY(place_side(data, keys, row, &places[row]));
        if (*iterations == 0 || here != itr[*iterations - 1]) {
            if (*iterations > 0 && here < itr[*iterations - 1])
                return dppo_fail(DPPO_FORMAT, "%s:%zu: iteration %lld after iteration %lld", table->path,
                                 table->lines[row + 1], (long long)here, (long long)itr[*iterations - 1]);
            itr[(*iterations)++] = here;
            seen[0] = seen[1] = false;
        }
        places[row].index = *iterations - 1;
        if (seen[places[row].torch])
            return dppo_fail(DPPO_FORMAT, "%s:%zu: iteration %lld of side %s a second time", table->path,
                             table->lines[row + 1], (long long)here, places[row].torch ? "torch" : "c");
        seen[places[row].torch] = true;
        if (keys->env_steps < 0) continue;
        DPPO_TRY(dppo_table_number(table, row, keys->env_steps, &steps));
        /* The last row has the total; an int64_t cannot hold what is beyond. */
        if (steps >= 0 && steps < 9e18) data->env_steps = (int64_t)steps;
    }
    data->iterations = (int64_t)*iterations;
    data->first_itr = itr[0];
    data->last_itr = itr[*iterations - 1];
    return DPPO_OK;
}

static bool is_seconds(const char *label) {
    return strncmp(label, "seconds", 7) == 0;
}

double dppo_run_gap(const dppo_run_metric *metric, size_t i) {
    return dppo_chart_gap(metric->c[i], metric->torch[i]);
}

/* The relative gap is taken of the larger value, so that it is at most 2 and a torch value near zero does not
 * blow it up; what leaves tolerance is judged as everywhere, relative to torch. */
static void judge(dppo_run_metric *metric) {
    for (size_t i = 0; i < metric->count; i++) {
        double gap = dppo_run_gap(metric, i);
        double relative = gap / fmax(fabs(metric->c[i]), fabs(metric->torch[i]));
        if (gap == 0) continue;
        if (metric->first_gap < 0) metric->first_gap = metric->itr[i];
        bool within =
            gap <= DPPO_FREE_RUN_ATOL + DPPO_FREE_RUN_RTOL * fabs(metric->torch[i]) && isfinite(gap);
        if (!within && metric->first_outside < 0) metric->first_outside = metric->itr[i];
        if (!(relative <= metric->max_relative) && isfinite(relative)) {
            metric->max_relative = relative;
            metric->max_relative_itr = metric->itr[i];
        }
    }
}

static dppo_status allocate(dppo_run_metric *metric, size_t capacity) {
    metric->itr = malloc((capacity + 1) * sizeof *metric->itr);
    metric->c = malloc((capacity + 1) * sizeof *metric->c);
    metric->torch = malloc((capacity + 1) * sizeof *metric->torch);
    if (!metric->itr || !metric->c || !metric->torch) return no_memory();
    for (size_t i = 0; i < capacity; i++)
        metric->c[i] = metric->torch[i] = NAN;
    return DPPO_OK;
}

/* Keeps the iterations that belong to the metric: those where a side wrote something. */
static void compact(dppo_run_metric *metric, const int64_t *itr, const bool *wrote, size_t iterations) {
    for (size_t i = 0; i < iterations; i++) {
        if (!wrote[i]) continue;
        metric->itr[metric->count] = itr[i];
        metric->c[metric->count] = metric->c[i];
        metric->torch[metric->count++] = metric->torch[i];
    }
}

static dppo_status read_metric(dppo_run_data *data, int column, bool eval, const int64_t *itr,
                               const row_place *places, bool *wrote) {
    const dppo_table *table = &data->metrics_csv;
    size_t iterations = (size_t)data->iterations;
    const char *label = table->cells[column];
    dppo_run_metric metric = {
        .label = label, .eval = eval, .seconds = is_seconds(label), .first_outside = -1, .first_gap = -1};
    dppo_status status = allocate(&metric, iterations);
    memset(wrote, 0, iterations * sizeof *wrote);
    for (size_t row = 0; row < table->rows && status == DPPO_OK; row++) {
        if (places[row].eval != eval) continue;
        size_t index = places[row].index;
        status = dppo_table_number(table, row, column, (places[row].torch ? metric.torch : metric.c) + index);
        /* An empty cell is "no such metric here", the word nan a value that is not a number. */
        wrote[index] = wrote[index] || *dppo_table_cell(table, row, column);
    }
    if (status == DPPO_OK) compact(&metric, itr, wrote, iterations);
    if (status != DPPO_OK || metric.count == 0) {
        free(metric.itr);
        free(metric.c);
        free(metric.torch);
        return status;
    }
    if (data->has_c && data->has_torch && !metric.seconds) judge(&metric);
    data->metrics[data->metric_count++] = metric;
    return DPPO_OK;
}

static dppo_status read_metrics(dppo_run_data *data, int64_t *itr, row_place *places, bool *wrote) {
    const dppo_table *table = &data->metrics_csv;
    row_keys keys;
    size_t iterations;
    DPPO_TRY(find_keys(data, &keys));
    DPPO_TRY(place_rows(data, &keys, itr, places, &iterations));
    data->metrics = calloc(2 * table->columns, sizeof *data->metrics);
    if (!data->metrics) return no_memory();
    for (int column = 0; column < (int)table->columns; column++) {
        if (column == keys.itr || column == keys.side || column == keys.mode || column == keys.env_steps)
            continue;
        DPPO_TRY(read_metric(data, column, true, itr, places, wrote));
        DPPO_TRY(read_metric(data, column, false, itr, places, wrote));
    }
    return DPPO_OK;
}

static dppo_status open_metrics(const char *folder, dppo_run_data *data) {
    char path[4096];
    DPPO_TRY(path_in(folder, "metrics.csv", path));
    DPPO_TRY(dppo_table_read(path, &data->metrics_csv));
    size_t rows = data->metrics_csv.rows + 1;
    int64_t *itr = malloc(rows * sizeof *itr);
    row_place *places = malloc(rows * sizeof *places);
    bool *wrote = malloc(rows * sizeof *wrote);
    dppo_status status = itr && places && wrote ? read_metrics(data, itr, places, wrote) : no_memory();
    free(itr);
    free(places);
    free(wrote);
    return status;
}

/* -- teacher_forced.csv
 * ----------------------------------------------------------------------------------------- */

#define FORCED_COLUMNS(X)                                                                                    \
    X(itr) X(quantity) X(count) X(max_abs) X(max_rel) X(worst) X(c) X(torch) X(bitwise_share) X(status)

typedef struct forced_keys {
#define FIELD(name) int name;
    FORCED_COLUMNS(FIELD)
#undef FIELD
} forced_keys;

static dppo_status find_forced_keys(const dppo_table *table, forced_keys *keys) {
#define FIND(name) DPPO_TRY(dppo_table_require(table, #name, &keys->name));
    FORCED_COLUMNS(FIND)
#undef FIND
    return DPPO_OK;
}

static dppo_forced_quantity *quantity_named(dppo_run_data *data, const char *name) {
    for (size_t i = 0; i < data->quantity_count; i++)
        if (strcmp(data->quantities[i].name, name) == 0) return &data->quantities[i];
    dppo_forced_quantity *quantity = &data->quantities[data->quantity_count++];
    *quantity = (dppo_forced_quantity){.name = name, .max_abs = -1};
    return quantity;
}

/* NaN counts as worse than any number. */
static bool worse(double value, double than) {
    return !isnan(than) && (isnan(value) || value > than);
}

static dppo_status add_forced_row(dppo_run_data *data, const forced_keys *keys, size_t row, int64_t *itr,
                                  bool *failed) {
    const dppo_table *table = &data->forced_csv;
    int64_t count, index;
    double max_abs, max_rel, share, c, torch;
    DPPO_TRY(dppo_table_integer(table, row, keys->itr, itr));
    DPPO_TRY(dppo_table_integer(table, row, keys->count, &count));
    DPPO_TRY(dppo_table_number(table, row, keys->max_abs, &max_abs));
    DPPO_TRY(dppo_table_number(table, row, keys->max_rel, &max_rel));
    DPPO_TRY(dppo_table_integer(table, row, keys->worst, &index));
    DPPO_TRY(dppo_table_number(table, row, keys->c, &c));
    DPPO_TRY(dppo_table_number(table, row, keys->torch, &torch));
    DPPO_TRY(dppo_table_number(table, row, keys->bitwise_share, &share));
    const char *status = dppo_table_cell(table, row, keys->status);
    *failed = strcmp(status, "failed") == 0;
    if (!*failed && strcmp(status, "passed") != 0)
        return bad_word(table, row, keys->status, "passed nor failed");
    if (count < 0)
        return dppo_fail(DPPO_FORMAT, "%s:%zu: count: below zero", table->path, table->lines[row + 1]);
    dppo_forced_quantity *q = quantity_named(data, dppo_table_cell(table, row, keys->quantity));
    if (worse(max_abs, q->max_abs)) {
        q->max_abs = max_abs;
        q->worst_itr = *itr;
        q->worst_index = index;
        q->worst_c = c;
        q->worst_torch = torch;
    }
    if (worse(max_rel, q->max_rel)) q->max_rel = max_rel;
    q->bitwise_share += share * (double)count;
    q->count += count;
    q->iterations++;
    q->failures += *failed;
    return DPPO_OK;
}

/* An iteration fails when one of its rows does; rows of an iteration stand together. */
static dppo_status read_forced_rows(dppo_run_data *data) {
    const dppo_table *table = &data->forced_csv;
    forced_keys keys;
    int64_t itr, last = -1;
    bool failed, counted = false;
    DPPO_TRY(find_forced_keys(table, &keys));
    data->quantities = calloc(table->rows + 1, sizeof *data->quantities);
    if (!data->quantities) return no_memory();
    for (size_t row = 0; row < table->rows; row++) {
        DPPO_TRY(add_forced_row(data, &keys, row, &itr, &failed));
        if (row == 0 || itr != last) {
            data->forced_iterations++;
            counted = false;
        }
        if (failed && !counted) {
            data->forced_failures++;
            counted = true;
        }
        last = itr;
    }
    for (size_t i = 0; i < data->quantity_count; i++) {
        dppo_forced_quantity *q = &data->quantities[i];
        q->bitwise_share = q->count > 0 ? q->bitwise_share / (double)q->count : 1;
    }
    return DPPO_OK;
}

/* -- run.yaml
 * --------------------------------------------------------------------------------------------------- */

static dppo_status read_run(const char *folder, dppo_run_data *data) {
    char path[4096];
    int64_t iterations, failures;
    DPPO_TRY(path_in(folder, "run.yaml", path));
    data->free_equal = -2;
    data->finished = access(path, F_OK) == 0;
    if (!data->finished) return DPPO_OK;
    DPPO_TRY(dppo_config_load(path, &data->run));
    const dppo_config *run = data->run;
    DPPO_TRY(dppo_config_int_or(run, "free_equal_iterations", -2, &data->free_equal));
    DPPO_TRY(dppo_config_int_or(run, "teacher_forced_iterations", data->forced_iterations, &iterations));
    DPPO_TRY(dppo_config_int_or(run, "teacher_forced_failures", data->forced_failures, &failures));
    data->contradiction = iterations != data->forced_iterations || failures != data->forced_failures;
    return DPPO_OK;
}

/* -- all
 * -------------------------------------------------------------------------------------------------------- */

dppo_status dppo_run_data_read(const char *folder, dppo_run_data *data) {
    char path[4096];
    *data = (dppo_run_data){.env_steps = -1};
    DPPO_TRY(path_in(folder, "config.yaml", path));
    DPPO_TRY(dppo_read_file(path, &data->config_text, NULL));
    DPPO_TRY(open_metrics(folder, data));
    DPPO_TRY(read_optional(folder, "teacher_forced.csv", &data->forced_csv, &data->has_forced));
    if (data->has_forced) DPPO_TRY(read_forced_rows(data));
    DPPO_TRY(read_optional(folder, "parity.csv", &data->parity_csv, &data->has_parity));
    if (data->has_parity)
        DPPO_TRY(dppo_functions_of_csv(&data->parity_csv, &data->functions, &data->function_count));
    dppo_functions_worst_first(data->functions, data->function_count);
    return read_run(folder, data);
}

void dppo_run_data_free(dppo_run_data *data) {
    for (size_t i = 0; i < data->metric_count; i++) {
        free(data->metrics[i].itr);
        free(data->metrics[i].c);
        free(data->metrics[i].torch);
    }
    free(data->metrics);
    free(data->quantities);
    free(data->functions);
    free(data->config_text);
    dppo_table_free(&data->metrics_csv);
    dppo_table_free(&data->forced_csv);
    dppo_table_free(&data->parity_csv);
    dppo_config_free(data->run);
    *data = (dppo_run_data){0};
}

bool dppo_run_compared(const dppo_run_data *data) {
    return data->has_c && data->has_torch;
}

const dppo_run_metric *dppo_run_metric_named(const dppo_run_data *data, const char *label, bool eval) {
    for (size_t i = 0; i < data->metric_count; i++)
        if (data->metrics[i].eval == eval && strcmp(data->metrics[i].label, label) == 0)
            return &data->metrics[i];
    return NULL;
}
