#include "report/parity_table.h"
#include "report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* -- order and counts
 * ------------------------------------------------------------------------------------------- */

static bool equal_in_bits(const dppo_function_summary *f) {
    return f->has_numbers && !f->failed && f->numbers.bitwise_share >= 1;
}

/* Larger stands earlier; what was skipped as a whole says nothing and stands last. */
static int severity(const dppo_function_summary *f) {
    return f->failed ? 2 : f->has_numbers;
}

static int worst_first(const void *a, const void *b) {
    const dppo_function_summary *x = a, *y = b;
    if (severity(x) != severity(y)) return severity(y) - severity(x);
    if (x->numbers.max_ulp != y->numbers.max_ulp) return x->numbers.max_ulp > y->numbers.max_ulp ? -1 : 1;
    if (x->numbers.bitwise_share != y->numbers.bitwise_share)
        return x->numbers.bitwise_share < y->numbers.bitwise_share ? -1 : 1;
    return strcmp(x->function, y->function);
}

void dppo_functions_worst_first(dppo_function_summary *functions, size_t count) {
    if (count > 0) qsort(functions, count, sizeof *functions, worst_first);
}

dppo_function_counts dppo_count_functions(const dppo_function_summary *functions, size_t count) {
    dppo_function_counts counts = {0};
    for (size_t i = 0; i < count; i++) {
        counts.failed += functions[i].failed > 0;
        counts.skipped += functions[i].failed == 0 && functions[i].skipped > 0;
        counts.equal += equal_in_bits(&functions[i]);
    }
    return counts;
}

/* -- the table
 * --------------------------------------------------------------------------------------------------- */

static const char *pair_words(dppo_pair pair) {
    return pair == DPPO_C_TORCH ? "C, libtorch" : pair == DPPO_C_RECORD ? "C, record" : "libtorch, record";
}

static void write_status(const dppo_function_summary *f, dppo_text *html) {
    dppo_text_add(html, "<td class=\"left\">");
    if (f->failed)
        dppo_html_badge(html, DPPO_TONE_BAD, "failed");
    else if (f->skipped)
        dppo_html_badge(html, DPPO_TONE_NEUTRAL, f->passed ? "partly skipped" : "skipped");
    else
        dppo_html_badge(html, DPPO_TONE_GOOD, equal_in_bits(f) ? "equal in every bit" : "passed");
    dppo_text_add(html, "</td>");
}

static void write_function(const dppo_function_summary *f, dppo_text *html) {
    dppo_text_add(html, "<tr><th scope=\"row\">");
    dppo_html_escape(html, f->function);
    dppo_text_add(html, "</th><td>");
    dppo_html_count(html, (int64_t)f->cases);
    dppo_text_add(html, "</td>");
    write_status(f, html);
    if (!f->has_numbers) {
        dppo_text_add(html, "<td></td><td></td><td></td><td></td></tr>\n");
        return;
    }
    dppo_text_format(html, "<td class=\"left\">%s</td><td>", pair_words(f->pair));
    dppo_html_number(html, f->numbers.max_ulp, 6);
    dppo_text_add(html, "</td><td>");
    dppo_html_percent(html, f->numbers.bitwise_share);
    dppo_text_add(html, "</td><td>");
    if (!isnan(f->numbers.truth_ratio)) dppo_html_number(html, f->numbers.truth_ratio, 3);
    dppo_text_add(html, "</td></tr>\n");
}

void dppo_parity_table_write(const dppo_function_summary *functions, size_t count, const char *share,
                             dppo_text *html) {
    dppo_text_add(
        html, "<p class=\"note\">Worst first. The distance is in units in the last place (ULP). The truth "
              "ratio is the error of C against float64 over that of libtorch in float32; up to 2 is as "
              "good.</p>\n<div class=\"filter\" data-table=\"functions\" hidden><label for=\"word\">Show "
              "only</label><input id=\"word\" type=\"search\" placeholder=\"function or status\"></div>\n"
              "<div class=\"scroll\"><table id=\"functions\"><thead><tr><th scope=\"col\">function</th>"
              "<th scope=\"col\">cases</th><th scope=\"col\" class=\"left\">status</th><th scope=\"col\" "
              "class=\"left\">compared</th><th scope=\"col\">worst ULP</th><th scope=\"col\">");
    dppo_text_add(html, share);
    dppo_text_add(html, "</th><th scope=\"col\">worst truth ratio</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < count; i++)
        write_function(&functions[i], html);
    dppo_text_add(html, "</tbody></table></div>\n");
}
