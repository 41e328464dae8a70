#include "parity/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *dppo_verdict_name(dppo_verdict verdict) {
    switch (verdict) {
    case DPPO_PASSED:
        return "passed";
    case DPPO_FAILED:
        return "failed";
    case DPPO_SKIPPED:
        return "skipped";
    }
    return "unknown";
}

const char *dppo_pair_name(dppo_pair pair) {
    switch (pair) {
    case DPPO_C_TORCH:
        return "c_torch";
    case DPPO_C_RECORD:
        return "c_record";
    case DPPO_TORCH_RECORD:
        return "torch_record";
    }
    return "unknown";
}

/* -- building
 * ------------------------------------------------------------------------------------------------ */

/* Room for one more element in a growing array; false when memory is exhausted. */
static bool reserve_one(void **array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return true;
    size_t larger = *capacity ? 2 * *capacity : 16;
    void *grown = realloc(*array, larger * size);
    if (!grown) return false;
    *array = grown;
    *capacity = larger;
    return true;
}

dppo_status dppo_parity_results_add(dppo_parity_results *results, dppo_parity_result *result) {
    void *cases = results->cases;
    bool room = reserve_one(&cases, results->count, &results->capacity, sizeof *results->cases);
    results->cases = cases;
    if (!room) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    results->cases[results->count++] = *result;
    results->passed += result->verdict == DPPO_PASSED;
    results->failed += result->verdict == DPPO_FAILED;
    results->skipped += result->verdict == DPPO_SKIPPED;
    *result = (dppo_parity_result){0};
    return DPPO_OK;
}

/* RFC 4180: a field with a comma, such as an index, stands in quotes. */
static void csv_field(dppo_text *text, const char *field) {
    if (!strpbrk(field, ",\"\n")) {
        dppo_text_add(text, field);
        return;
    }
    dppo_text_add(text, "\"");
    for (; *field; field++)
        dppo_text_format(text, *field == '"' ? "\"%c" : "%c", *field);
    dppo_text_add(text, "\"");
}

dppo_status dppo_parity_results_error(dppo_parity_results *results, const char *function, const char *name,
                                      const char *line) {
    size_t count = results->error_count + 1;
    dppo_text row = {0};
    char **errors = realloc(results->errors, count * sizeof *errors);
    if (errors) results->errors = errors;
    char **unreadable = realloc(results->unreadable, count * sizeof *unreadable);
    if (unreadable) results->unreadable = unreadable;
    char *copy = errors && unreadable ? strdup(line) : NULL;
    csv_field(&row, function);
    dppo_text_add(&row, ",");
    csv_field(&row, name);
    if (!copy || !row.bytes) {
        free(copy);
        dppo_text_free(&row);
        return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    }
    errors[count - 1] = copy;
    unreadable[count - 1] = row.bytes; /* taken over */
    results->error_count = count;
    return DPPO_OK;
}

dppo_status dppo_parity_result_row(dppo_parity_result *result, const dppo_parity_row *row) {
    void *rows = result->rows;
    bool room = reserve_one(&rows, result->count, &result->capacity, sizeof *result->rows);
    result->rows = rows;
    char *answer = room ? strdup(row->answer) : NULL;
    if (!answer) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    result->rows[result->count] = *row;
    result->rows[result->count++].answer = answer;
    return DPPO_OK;
}

void dppo_parity_result_free(dppo_parity_result *result) {
    for (size_t i = 0; i < result->count; i++)
        free(result->rows[i].answer);
    free(result->rows);
    free(result->file);
    free(result->function);
    free(result->name);
    *result = (dppo_parity_result){0};
}

void dppo_parity_results_free(dppo_parity_results *results) {
    for (size_t i = 0; i < results->count; i++)
        dppo_parity_result_free(&results->cases[i]);
    for (size_t i = 0; i < results->error_count; i++)
        free(results->errors[i]), free(results->unreadable[i]);
    free(results->cases);
    free(results->errors);
    free(results->unreadable);
    *results = (dppo_parity_results){0};
}

/* -- summaries
 * ----------------------------------------------------------------------------------------------- */

static void widen(dppo_parity_summary *summary, double *elements, double *equal, const dppo_parity_row *row) {
    summary->answers++;
    summary->max_abs = fmax(summary->max_abs, row->numbers.max_abs);
    summary->max_ulp = fmax(summary->max_ulp, row->numbers.max_ulp);
    summary->truth_ratio = fmax(summary->truth_ratio, row->truth_ratio); /* fmax passes over NAN */
    *elements += (double)row->numbers.count;
    *equal += row->numbers.bitwise_share * (double)row->numbers.count;
}

/* Rows without an answer stand for a pair of sides that could not be formed. */
static bool has_numbers(const dppo_parity_row *row) {
    return row->verdict != DPPO_SKIPPED && row->answer[0] != '\0';
}

bool dppo_parity_summarise(const dppo_parity_result *result, dppo_pair pair, dppo_parity_summary *summary) {
    double elements = 0, equal = 0;
    *summary = (dppo_parity_summary){.truth_ratio = NAN};
    for (size_t i = 0; i < result->count; i++)
        if (result->rows[i].pair == pair && has_numbers(&result->rows[i]))
            widen(summary, &elements, &equal, &result->rows[i]);
    summary->bitwise_share = elements > 0 ? equal / elements : 1;
    return summary->answers > 0;
}

static int by_function(const void *a, const void *b) {
    return strcmp(((const dppo_function_summary *)a)->function, ((const dppo_function_summary *)b)->function);
}

static bool function_has(const dppo_parity_results *results, const char *function, dppo_pair pair) {
    dppo_parity_summary ignored;
    for (size_t i = 0; i < results->count; i++)
        if (strcmp(results->cases[i].function, function) == 0 &&
            dppo_parity_summarise(&results->cases[i], pair, &ignored))
            return true;
    return false;
}

/* All rows of the first pair that any case of the function has, so that a table compares like with like. */
static void fill_function(const dppo_parity_results *results, dppo_function_summary *row) {
    double elements = 0, equal = 0;
    row->numbers.truth_ratio = NAN;
    for (dppo_pair pair = DPPO_C_TORCH; pair <= DPPO_TORCH_RECORD && !row->has_numbers; pair++) {
        row->pair = pair;
        row->has_numbers = function_has(results, row->function, pair);
    }
    for (size_t i = 0; i < results->count; i++) {
        const dppo_parity_result *result = &results->cases[i];
        if (strcmp(result->function, row->function) != 0) continue;
        row->cases++;
        row->passed += result->verdict == DPPO_PASSED;
        row->failed += result->verdict == DPPO_FAILED;
        row->skipped += result->verdict == DPPO_SKIPPED;
        for (size_t j = 0; j < result->count; j++)
            if (result->rows[j].pair == row->pair && has_numbers(&result->rows[j]))
                widen(&row->numbers, &elements, &equal, &result->rows[j]);
    }
    row->numbers.bitwise_share = elements > 0 ? equal / elements : 1;
}

dppo_function_summary *dppo_parity_functions(const dppo_parity_results *results, size_t *count) {
    dppo_function_summary *rows = calloc(results->count + 1, sizeof *rows);
    *count = 0;
    if (!rows) return NULL;
    for (size_t i = 0; i < results->count; i++) {
        bool seen = false;
        for (size_t j = 0; j < *count && !seen; j++)
            seen = strcmp(rows[j].function, results->cases[i].function) == 0;
        if (!seen) rows[(*count)++].function = results->cases[i].function;
    }
    qsort(rows, *count, sizeof *rows, by_function);
    for (size_t i = 0; i < *count; i++)
        fill_function(results, &rows[i]);
    return rows;
}

/* -- CSV
 * -------------------------------------------------------------------------------------------------------- */

static void csv_row(const dppo_parity_result *result, const dppo_parity_row *row, dppo_text *text) {
    csv_field(text, result->function);
    dppo_text_add(text, ",");
    csv_field(text, result->name);
    dppo_text_add(text, ",");
    csv_field(text, row->answer);
    dppo_text_format(text, ",%s,%s,", dppo_pair_name(row->pair), dppo_verdict_name(row->verdict));
    if (!has_numbers(row)) {
        dppo_text_add(text, ",,,,,,\n");
        return;
    }
    const dppo_comparison *numbers = &row->numbers;
    dppo_text_format(text, "%.9g,%.9g,%.9g,%.9g,%.9g,", numbers->max_abs, numbers->max_rel, numbers->max_ulp,
                     numbers->p99_ulp, numbers->bitwise_share);
    if (!isnan(row->truth_ratio)) dppo_text_format(text, "%.9g", row->truth_ratio);
    dppo_text_add(text, ",");
    csv_field(text, numbers->worst_index);
    dppo_text_add(text, "\n");
}

void dppo_parity_csv(const dppo_parity_results *results, dppo_text *text) {
    dppo_text_add(text, DPPO_CSV_HEADER "\n");
    for (size_t i = 0; i < results->count; i++)
        for (size_t j = 0; j < results->cases[i].count; j++)
            csv_row(&results->cases[i], &results->cases[i].rows[j], text);
    for (size_t i = 0; i < results->error_count; i++)
        dppo_text_format(text, "%s,,%s,%s,,,,,,,\n", results->unreadable[i],
                         dppo_pair_name(results->with_torch ? DPPO_C_TORCH : DPPO_C_RECORD),
                         dppo_verdict_name(DPPO_FAILED));
}

/* -- JUnit
 * -------------------------------------------------------------------------------------------------------- */

static void xml(dppo_text *text, const char *string) {
    for (; *string; string++) {
        unsigned char c = (unsigned char)*string;
        if (c == '&')
            dppo_text_add(text, "&amp;");
        else if (c == '<')
            dppo_text_add(text, "&lt;");
        else if (c == '>')
            dppo_text_add(text, "&gt;");
        else if (c == '"')
            dppo_text_add(text, "&quot;");
        else
            dppo_text_format(text, "%c", c < 32 && c != '\n' && c != '\t' ? '?' : c);
    }
}

/* One line with everything a row knows, for people. */
static void row_line(const dppo_parity_row *row, dppo_text *text) {
    dppo_text_format(text, "%s %s %s: ", dppo_pair_name(row->pair), row->answer,
                     dppo_verdict_name(row->verdict));
    if (has_numbers(row))
        dppo_text_format(text, "max abs %.3g, max rel %.3g, max ulp %.6g, p99 ulp %.6g, bitwise %.4f",
                         row->numbers.max_abs, row->numbers.max_rel, row->numbers.max_ulp,
                         row->numbers.p99_ulp, row->numbers.bitwise_share);
    if (has_numbers(row) && !isnan(row->truth_ratio))
        dppo_text_format(text, ", truth ratio %.3g", row->truth_ratio);
    if (row->numbers.message[0]) dppo_text_format(text, "; %s", row->numbers.message);
}

static void junit_case(const dppo_parity_result *result, dppo_text *text) {
    dppo_text lines = {0}, first = {0};
    if (result->message[0]) dppo_text_format(&first, "%s", result->message);
    for (size_t i = 0; i < result->count; i++) {
        row_line(&result->rows[i], &lines);
        dppo_text_add(&lines, "\n");
        if (result->rows[i].verdict == DPPO_FAILED && !first.bytes) row_line(&result->rows[i], &first);
    }
    dppo_text_add(text, "    <testcase classname=\"");
    xml(text, result->function);
    dppo_text_add(text, "\" name=\"");
    xml(text, result->name);
    dppo_text_format(text, "\" time=\"%.6f\">\n", result->c_seconds + result->torch_seconds);
    if (result->verdict != DPPO_PASSED) {
        dppo_text_format(text, "      <%s message=\"",
                         result->verdict == DPPO_FAILED ? "failure" : "skipped");
        xml(text, first.bytes ? first.bytes : "");
        dppo_text_add(text, "\"/>\n");
    }
    dppo_text_add(text, "      <system-out>");
    xml(text, lines.bytes ? lines.bytes : "");
    dppo_text_add(text, "</system-out>\n    </testcase>\n");
    if (lines.failed || first.failed) text->failed = true;
    dppo_text_free(&lines);
    dppo_text_free(&first);
}

void dppo_parity_junit(const dppo_parity_results *results, dppo_text *text) {
    dppo_text_add(text, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    dppo_text_format(text,
                     "  <testsuite name=\"dppo parity\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" "
                     "skipped=\"%zu\">\n",
                     results->count + results->error_count, results->failed, results->error_count,
                     results->skipped);
    for (size_t i = 0; i < results->count; i++)
        junit_case(&results->cases[i], text);
    for (size_t i = 0; i < results->error_count; i++) {
        dppo_text_format(text, "    <testcase classname=\"file\" name=\"unreadable %zu\"><error message=\"",
                         i);
        xml(text, results->errors[i]);
        dppo_text_add(text, "\"/></testcase>\n");
    }
    dppo_text_add(text, "  </testsuite>\n</testsuites>\n");
}

/* -- Markdown and annotations
 * ------------------------------------------------------------------------------------- */

void dppo_parity_function_table(const dppo_parity_results *results, dppo_text *text) {
    size_t count;
    dppo_function_summary *rows = dppo_parity_functions(results, &count);
    if (!rows) text->failed = true;
    dppo_text_add(text, "| function | cases | status | pair | worst ULP | bitwise equal | truth ratio |\n"
                        "|---|---:|---|---|---:|---:|---:|\n");
    for (size_t i = 0; rows && i < count; i++) {
        const dppo_function_summary *row = &rows[i];
        const char *status = row->failed ? "**failed**" : row->skipped ? "skipped" : "passed";
        dppo_text_format(text, "| %s | %zu | %s | ", row->function, row->cases, status);
        if (!row->has_numbers) {
            dppo_text_add(text, "none | | | |\n");
            continue;
        }
        dppo_text_format(text, "%s | %.6g | %.2f %% | ", dppo_pair_name(row->pair), row->numbers.max_ulp,
                         100 * row->numbers.bitwise_share);
        if (!isnan(row->numbers.truth_ratio)) dppo_text_format(text, "%.3g ", row->numbers.truth_ratio);
        dppo_text_add(text, "|\n");
    }
    free(rows);
}

void dppo_parity_markdown(const dppo_parity_results *results, dppo_text *text) {
    dppo_text_format(text, "## Function parity: %zu passed, %zu failed, %zu skipped\n\n", results->passed,
                     results->failed, results->skipped);
    if (!results->with_torch)
        dppo_text_add(text, "Against the record only: the libtorch side did not take part.\n\n");
    for (size_t i = 0; i < results->error_count; i++)
        dppo_text_format(text, "- unreadable: %s\n", results->errors[i]);
    for (size_t i = 0; i < results->count; i++) {
        const dppo_parity_result *result = &results->cases[i];
        if (result->verdict != DPPO_FAILED) continue;
        dppo_text_format(text, "- **%s/%s** %s\n", result->function, result->name, result->message);
        for (size_t j = 0; j < result->count; j++) {
            if (result->rows[j].verdict != DPPO_FAILED) continue;
            dppo_text_add(text, "  - ");
            row_line(&result->rows[j], text);
            dppo_text_add(text, "\n");
        }
    }
    dppo_text_add(text, "\n");
    dppo_parity_function_table(results, text);
}

/* GitHub reads % as the start of an escape in annotations. */
static void annotation_text(dppo_text *text, const char *string) {
    for (; *string; string++)
        dppo_text_add(text, *string == '%' ? "%25" : *string == '\n' ? "%0A" : (char[]){*string, '\0'});
}

void dppo_parity_annotations(const dppo_parity_results *results, dppo_text *text) {
    for (size_t i = 0; i < results->error_count; i++) {
        dppo_text_add(text, "::error title=unreadable fixture::");
        annotation_text(text, results->errors[i]);
        dppo_text_add(text, "\n");
    }
    for (size_t i = 0; i < results->count; i++) {
        const dppo_parity_result *result = &results->cases[i];
        if (result->verdict != DPPO_FAILED) continue;
        dppo_text line = {0};
        for (size_t j = 0; j < result->count && !line.bytes; j++)
            if (result->rows[j].verdict == DPPO_FAILED) row_line(&result->rows[j], &line);
        dppo_text_format(text, "::error title=parity %s/%s::", result->function, result->name);
        annotation_text(text, result->message[0] ? result->message : line.bytes ? line.bytes : "failed");
        dppo_text_add(text, "\n");
        dppo_text_free(&line);
    }
}
