#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void escaped(dppo_text *text, const char *string) {
    for (; *string; string++) {
        if (*string == '&')
            dppo_text_add(text, "&amp;");
        else if (*string == '<')
            dppo_text_add(text, "&lt;");
        else
            dppo_text_append(text, string, 1);
    }
}

/* Failed functions first, then by distance: what deserves a look stands on top. */
static int worst_first(const void *a, const void *b) {
    const dppo_function_summary *x = a, *y = b;
    if ((x->failed > 0) != (y->failed > 0)) return x->failed > 0 ? -1 : 1;
    if (x->numbers.max_ulp != y->numbers.max_ulp) return x->numbers.max_ulp > y->numbers.max_ulp ? -1 : 1;
    return 0;
}

static void write_function(const dppo_function_summary *row, dppo_text *text) {
    const char *status = row->failed ? "failed" : row->skipped ? "skipped" : "passed";
    dppo_text_format(text, "<tr class=\"%s\"><td>", status);
    escaped(text, row->function);
    dppo_text_format(text, "</td><td>%zu</td><td>%s</td>", row->cases, status);
    if (!row->has_numbers) {
        dppo_text_add(text, "<td></td><td></td><td></td><td></td></tr>\n");
        return;
    }
    dppo_text_format(text, "<td>%s</td><td>%.6g</td><td>%.2f %%</td><td>", dppo_pair_name(row->pair),
                     row->numbers.max_ulp, 100 * row->numbers.bitwise_share);
    if (!isnan(row->numbers.truth_ratio)) dppo_text_format(text, "%.3g", row->numbers.truth_ratio);
    dppo_text_add(text, "</td></tr>\n");
}

static void write_failures(const dppo_parity_results *results, dppo_text *text) {
    for (size_t i = 0; i < results->error_count; i++) {
        dppo_text_add(text, "<p class=\"failed\">unreadable: ");
        escaped(text, results->errors[i]);
        dppo_text_add(text, "</p>\n");
    }
    for (size_t i = 0; i < results->count; i++) {
        const dppo_parity_result *result = &results->cases[i];
        for (size_t j = 0; j < result->count; j++) {
            if (result->rows[j].verdict != DPPO_FAILED) continue;
            dppo_text_add(text, "<p class=\"failed\">");
            escaped(text, result->function);
            dppo_text_add(text, "/");
            escaped(text, result->name);
            dppo_text_format(text, " %s ", dppo_pair_name(result->rows[j].pair));
            escaped(text, result->rows[j].answer);
            dppo_text_add(text, ": ");
            escaped(text, result->rows[j].numbers.message);
            dppo_text_add(text, "</p>\n");
        }
    }
}

static void write_page(const dppo_parity_results *results, dppo_function_summary *rows, size_t count,
                       dppo_text *text) {
    bool good = results->failed == 0 && results->error_count == 0;
    dppo_text_add(text,
                  "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Function parity"
                  "</title>\n<link rel=\"icon\" href=\"data:,\"><style>\n"
                  "body{font:15px/1.5 sans-serif;margin:2em auto;max-width:64em;padding:0 1em}\n"
                  "table{border-collapse:collapse;width:100%}td,th{padding:.2em .6em;text-align:right;"
                  "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}\n"
                  ".failed{color:#a00}.skipped{color:#777}.verdict{font-size:1.4em}\n"
                  "</style></head><body>\n<h1>Function parity</h1>\n");
    dppo_text_format(text, "<p class=\"verdict %s\">%s: %zu passed, %zu failed, %zu skipped</p>\n",
                     good ? "passed" : "failed", good ? "Parity holds" : "Parity is broken", results->passed,
                     results->failed, results->skipped);
    if (!results->with_torch)
        dppo_text_add(text, "<p>Against the record only; libtorch did not take part.</p>\n");
    write_failures(results, text);
    dppo_text_add(text, "<table><thead><tr><th>function</th><th>cases</th><th>status</th><th>pair</th>"
                        "<th>worst ULP</th><th>bitwise equal</th><th>truth ratio</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < count; i++)
        write_function(&rows[i], text);
    dppo_text_add(text, "</tbody></table>\n</body></html>\n");
}

dppo_status dppo_report_parity(const dppo_parity_results *results, const char *folder) {
    char path[4096];
    size_t count;
    DPPO_TRY(dppo_make_folder(folder));
    if (snprintf(path, sizeof path, "%s/index.html", folder) >= (int)sizeof path)
        return dppo_fail(DPPO_INVALID, "%s: path too long", folder);
    dppo_function_summary *rows = dppo_parity_functions(results, &count);
    if (!rows) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    qsort(rows, count, sizeof *rows, worst_first);
    dppo_text text = {0};
    write_page(results, rows, count, &text);
    dppo_status status = dppo_text_save(&text, path);
    dppo_text_free(&text);
    free(rows);
    return status;
}
