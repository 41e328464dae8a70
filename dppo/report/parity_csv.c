/* Summaries of functions out of the CSV that `dppo parity run --csv` writes. */
#include "report/parity_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS(X) X(function) X(pair) X(status) X(max_abs) X(max_ulp) X(bitwise_share) X(truth_ratio)

typedef struct keys {
#define FIELD(name) int name;
    COLUMNS(FIELD)
#undef FIELD
    int case_name; /* "case", which C keeps for itself */
} keys;

typedef struct csv_row {
    const char *function, *case_name;
    dppo_pair pair;
    dppo_verdict verdict;
    dppo_parity_summary numbers; /* has a share unless it is NaN */
} csv_row;

static dppo_status find_keys(const dppo_table *table, keys *k) {
#define FIND(name) DPPO_TRY(dppo_table_require(table, #name, &k->name));
    COLUMNS(FIND)
#undef FIND
    return dppo_table_require(table, "case", &k->case_name);
}

static dppo_status bad_word(const dppo_table *table, size_t row, int column) {
    return dppo_fail(DPPO_FORMAT, "%s:%zu: %s: '%.60s' is not known", table->path, table->lines[row + 1],
                     table->cells[column], dppo_table_cell(table, row, column));
}

static dppo_status read_pair(const dppo_table *table, size_t row, int column, dppo_pair *pair) {
    for (*pair = DPPO_C_TORCH; *pair <= DPPO_TORCH_RECORD; ++*pair)
        if (strcmp(dppo_table_cell(table, row, column), dppo_pair_name(*pair)) == 0) return DPPO_OK;
    return bad_word(table, row, column);
}

static dppo_status read_verdict(const dppo_table *table, size_t row, int column, dppo_verdict *verdict) {
    for (*verdict = DPPO_PASSED; *verdict <= DPPO_SKIPPED; ++*verdict)
        if (strcmp(dppo_table_cell(table, row, column), dppo_verdict_name(*verdict)) == 0) return DPPO_OK;
    return bad_word(table, row, column);
}

static dppo_status read_row(const dppo_table *table, const keys *k, size_t row, csv_row *r) {
    r->function = dppo_table_cell(table, row, k->function);
    r->case_name = dppo_table_cell(table, row, k->case_name);
    DPPO_TRY(read_pair(table, row, k->pair, &r->pair));
    DPPO_TRY(read_verdict(table, row, k->status, &r->verdict));
    DPPO_TRY(dppo_table_number(table, row, k->max_abs, &r->numbers.max_abs));
    DPPO_TRY(dppo_table_number(table, row, k->max_ulp, &r->numbers.max_ulp));
    DPPO_TRY(dppo_table_number(table, row, k->bitwise_share, &r->numbers.bitwise_share));
    return dppo_table_number(table, row, k->truth_ratio, &r->numbers.truth_ratio);
}

static dppo_function_summary *summary_named(dppo_function_summary *functions, size_t *count,
                                            const char *name) {
    for (size_t i = *count; i-- > 0;) /* rows of a function mostly stand together */
        if (strcmp(functions[i].function, name) == 0) return &functions[i];
    functions[*count] = (dppo_function_summary){.function = name, .numbers = {.truth_ratio = NAN}};
    return &functions[(*count)++];
}

/* Numbers of the foremost pair a function has: a better pair replaces what an earlier one left. */
static void add_numbers(dppo_function_summary *f, const csv_row *r) {
    if (isnan(r->numbers.bitwise_share) || (f->has_numbers && r->pair > f->pair)) return;
    if (!f->has_numbers || r->pair < f->pair)
        f->numbers = (dppo_parity_summary){.bitwise_share = 1, .truth_ratio = NAN};
    f->has_numbers = true;
    f->pair = r->pair;
    f->numbers.answers++;
    f->numbers.max_abs = fmax(f->numbers.max_abs, r->numbers.max_abs);
    f->numbers.max_ulp = fmax(f->numbers.max_ulp, r->numbers.max_ulp);
    f->numbers.bitwise_share = fmin(f->numbers.bitwise_share, r->numbers.bitwise_share);
    f->numbers.truth_ratio = fmax(f->numbers.truth_ratio, r->numbers.truth_ratio); /* passes over NaN */
}

/* A case fails with one of its rows and is skipped when all of them are; its rows stand together. */
static void add_case(dppo_function_summary *f, bool failed, bool passed) {
    f->cases++;
    if (failed)
        f->failed++;
    else if (passed)
        f->passed++;
    else
        f->skipped++;
}

static dppo_status summarise(const dppo_table *table, dppo_function_summary *functions, size_t *count) {
    keys k;
    csv_row here = {0}, before = {0};
    dppo_function_summary *f = NULL;
    bool failed = false, passed = false;
    DPPO_TRY(find_keys(table, &k));
    for (size_t row = 0; row < table->rows; row++) {
        DPPO_TRY(read_row(table, &k, row, &here));
        bool same =
            f && strcmp(here.function, before.function) == 0 && strcmp(here.case_name, before.case_name) == 0;
        if (!same && f) add_case(f, failed, passed);
        if (!same) failed = passed = false;
        f = summary_named(functions, count, here.function);
        failed = failed || here.verdict == DPPO_FAILED;
        passed = passed || here.verdict == DPPO_PASSED;
        add_numbers(f, &here);
        before = here;
    }
    if (f) add_case(f, failed, passed);
    return DPPO_OK;
}

dppo_status dppo_functions_of_csv(const dppo_table *table, dppo_function_summary **functions, size_t *count) {
    *count = 0;
    *functions = calloc(table->rows + 1, sizeof **functions);
    if (!*functions) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", table->path);
    dppo_status status = summarise(table, *functions, count);
    if (status == DPPO_OK) return DPPO_OK;
    free(*functions);
    *functions = NULL;
    *count = 0;
    return status;
}
