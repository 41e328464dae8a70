#include "algorithms/lockstep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

dppo_gap dppo_gap_of(int64_t count, const double *c, const double *torch, dppo_training_tolerance tolerance) {
    dppo_gap gap = {.within = true, .bitwise_share = 1};
    int64_t equal = 0;
    double worst = -1;
    for (int64_t i = 0; i < count; i++) {
        bool same = c[i] == torch[i]; /* NaN equals nothing: a run that has one is no evidence */
        double error = same ? 0 : fabs(c[i] - torch[i]);
        double relative = same ? 0 : error / fabs(torch[i]);
        equal += same;
        if (!(error <= tolerance.atol + tolerance.rtol * fabs(torch[i])) && !same) gap.within = false;
        if (error > gap.max_abs) gap.max_abs = error;
        if (relative > gap.max_rel) gap.max_rel = relative;
        double badness = isnan(error) ? INFINITY : error;
        if (badness > worst) {
            worst = badness;
            gap.worst = i;
            gap.c = c[i];
            gap.torch = torch[i];
        }
        if (isnan(error)) gap.max_abs = gap.max_rel = NAN;
    }
    if (count > 0) gap.bitwise_share = (double)equal / (double)count;
    return gap;
}

static void write_gap(dppo_text *csv, int64_t itr, const char *quantity, int64_t count, const dppo_gap *gap) {
    dppo_text_format(csv, "%lld,%s,%lld,%.9g,%.9g,%lld,%.9g,%.9g,%.6f,%s\n", (long long)itr, quantity,
                     (long long)count, gap->max_abs, gap->max_rel, (long long)gap->worst, gap->c, gap->torch,
                     gap->bitwise_share, gap->within ? "passed" : "failed");
}

static const struct {
    const char *name;
    size_t offset;
} trace_columns[] = {
#define COLUMN(field) {#field, offsetof(dppo_trace_row, field)},
    DPPO_TRACE_COLUMNS(COLUMN)
#undef COLUMN
};

static double column_of(const dppo_trace_row *row, size_t offset) {
    double value;
    memcpy(&value, (const char *)row + offset, sizeof value);
    return value;
}

dppo_status dppo_compare_traces(dppo_text *csv, int64_t itr, const dppo_trace *c, const dppo_trace *torch,
                                dppo_training_tolerance tolerance, bool *within) {
    size_t count = c->count < torch->count ? c->count : torch->count;
    double *values = malloc((2 * count + 1) * sizeof *values);
    if (!values) return dppo_fail(DPPO_NO_MEMORY, "comparison: out of memory");
    for (size_t k = 0; k < sizeof trace_columns / sizeof *trace_columns; k++) {
        for (size_t i = 0; i < count; i++) {
            values[i] = column_of(&c->rows[i], trace_columns[k].offset);
            values[count + i] = column_of(&torch->rows[i], trace_columns[k].offset);
        }
        dppo_gap gap = dppo_gap_of((int64_t)count, values, values + count, tolerance);
        write_gap(csv, itr, trace_columns[k].name, (int64_t)count, &gap);
        *within = *within && gap.within;
    }
    free(values);
    if (c->count != torch->count) {
        dppo_text_format(csv, "%lld,minibatches,1,%zu,,0,%zu,%zu,0,failed\n", (long long)itr,
                         c->count > torch->count ? c->count - torch->count : torch->count - c->count,
                         c->count, torch->count);
        *within = false;
    }
    return DPPO_OK;
}

/* Changes of one tensor, scaled by the larger of the two sides' largest change, appended to the lists. */
static void add_changes(const dppo_tensor *before, const dppo_tensor *c, const dppo_tensor *torch,
                        double *changes, double *others, int64_t *count) {
    int64_t n = dppo_numel(before);
    double scale = 0;
    for (int64_t i = 0; i < n; i++) {
        double b = (double)dppo_f32(before)[i];
        changes[*count + i] = (double)dppo_f32(c)[i] - b;
        others[*count + i] = (double)dppo_f32(torch)[i] - b;
        scale = fmax(scale, fmax(fabs(changes[*count + i]), fabs(others[*count + i])));
    }
    if (scale == 0) return; /* frozen */
    for (int64_t i = 0; i < n; i++) {
        changes[*count + i] /= scale;
        others[*count + i] /= scale;
    }
    *count += n;
}

static int64_t total_elements(const dppo_named *state) {
    int64_t total = 0;
    for (size_t i = 0; i < state->count; i++)
        total += dppo_numel(state->entries[i].tensor);
    return total;
}

dppo_status dppo_compare_changes(dppo_text *csv, int64_t itr, const dppo_named *before, const dppo_named *c,
                                 const dppo_named *torch, dppo_training_tolerance tolerance, bool *within) {
    int64_t total = total_elements(before), count = 0;
    double *changes = malloc((size_t)(2 * total + 1) * sizeof *changes);
    if (!changes) return dppo_fail(DPPO_NO_MEMORY, "comparison: out of memory");
    dppo_status status = DPPO_OK;
    for (size_t i = 0; i < before->count && status == DPPO_OK; i++) {
        const char *name = before->entries[i].name;
        const dppo_tensor *b = before->entries[i].tensor;
        if (strncmp(name, "model/", 6) != 0 || b->dtype != DPPO_F32) continue;
        const dppo_tensor *x = dppo_named_get(c, name), *y = dppo_named_get(torch, name);
        if (!x || !y || !dppo_same_shape(b, x) || !dppo_same_shape(b, y))
            status = dppo_fail(DPPO_INVALID, "%s: missing or of another shape on one side", name);
        else
            add_changes(b, x, y, changes, changes + total, &count);
    }
    if (status == DPPO_OK) {
        dppo_gap gap = dppo_gap_of(count, changes, changes + total, tolerance);
        write_gap(csv, itr, "parameter_change", count, &gap);
        *within = *within && gap.within;
    }
    free(changes);
    return status;
}

bool dppo_states_equal(const dppo_named *a, const dppo_named *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const dppo_tensor *x = a->entries[i].tensor, *y = dppo_named_get(b, a->entries[i].name);
        if (!y || x->dtype != y->dtype || !dppo_same_shape(x, y)) return false;
        if (memcmp(x->data, y->data, (size_t)dppo_numel(x) * dppo_dtype_size(x->dtype)) != 0) return false;
    }
    return true;
}
