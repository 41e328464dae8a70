/* The page of a parity run: whether C may be trusted, then what is worst. */
#include "report/page.h"
#include "report/parity_table.h"
#include "report/report.h"

#include <math.h>
#include <stdlib.h>

typedef struct page {
    const dppo_parity_results *results;
    dppo_function_summary *functions;
    size_t count;
    dppo_function_counts counts;
} page;

/* -- verdict
 * ----------------------------------------------------------------------------------------------------- */

static const char *headline(const dppo_parity_results *r, dppo_tone *tone) {
    *tone = DPPO_TONE_BAD;
    if (r->failed > 0) return "Parity is broken";
    if (r->error_count > 0) return "Some files could not be read";
    *tone = DPPO_TONE_NEUTRAL;
    if (r->count == 0) return "Nothing was judged";
    if (r->passed == 0) return "Every case was skipped";
    if (r->skipped > 0) return "Parity holds where it was judged; some cases were skipped";
    *tone = DPPO_TONE_GOOD;
    return r->with_torch ? "C, libtorch and the record agree" : "Agreement with the record";
}

static void write_verdict(const page *p, dppo_text *html) {
    const dppo_parity_results *r = p->results;
    dppo_tone tone;
    const char *words = headline(r, &tone);
    dppo_text detail = {0};
    dppo_text_format(&detail,
                     "<b>%zu passed, %zu failed, %zu skipped</b> of %zu cases of %zu functions; "
                     "%zu functions are equal in every bit.",
                     r->passed, r->failed, r->skipped, r->count, p->count, p->counts.equal);
    if (r->error_count > 0) dppo_text_format(&detail, " %zu unreadable.", r->error_count);
    if (!r->with_torch) dppo_text_add(&detail, "<br>libtorch took no part: C is judged by the record only.");
    if (detail.failed) html->failed = true;
    dppo_page_verdict(html, tone, words, detail.bytes ? detail.bytes : "");
    dppo_text_free(&detail);
}

/* -- what failed
 * ------------------------------------------------------------------------------------------------- */

static void write_cell(dppo_text *html, const char *class, const char *string) {
    dppo_text_format(html, "<td class=\"%s\">", class);
    dppo_html_escape(html, string);
    dppo_text_add(html, "</td>");
}

static void write_case_name(const dppo_parity_result *result, dppo_text *html) {
    dppo_text_add(html, "<tr><th scope=\"row\">");
    dppo_html_escape(html, result->function);
    dppo_text_add(html, "/");
    dppo_html_escape(html, result->name);
    dppo_text_add(html, "</th>");
}

static void write_failed_answer(const dppo_parity_result *result, const dppo_parity_row *row,
                                dppo_text *html) {
    write_case_name(result, html);
    write_cell(html, "left", row->answer);
    write_cell(html, "left", dppo_pair_name(row->pair));
    if (row->answer[0] && row->numbers.count > 0) {
        dppo_text_add(html, "<td>");
        dppo_html_number(html, row->numbers.max_abs, 3);
        dppo_text_add(html, "</td><td>");
        dppo_html_number(html, row->numbers.max_ulp, 6);
        dppo_text_add(html, "</td>");
        write_cell(html, "left", row->numbers.worst_index);
    } else {
        dppo_text_add(html, "<td></td><td></td><td></td>");
    }
    write_cell(html, "left wide", row->numbers.message);
    dppo_text_add(html, "</tr>\n");
}

/* A case that failed as a whole: a side said no. */
static void write_failed_case(const dppo_parity_result *result, dppo_text *html) {
    write_case_name(result, html);
    dppo_text_add(html, "<td></td><td></td><td></td><td></td><td></td>");
    write_cell(html, "left wide", result->message);
    dppo_text_add(html, "</tr>\n");
}

static void write_failures(const dppo_parity_results *results, dppo_text *html) {
    if (results->failed == 0) return;
    dppo_text_add(
        html, "<section id=\"failed\"><h2>Failed answers</h2>\n<p class=\"note\"><code>dppo parity show "
              "CASE</code> prints inputs and answers.</p><div class=\"scroll\"><table><thead><tr>"
              "<th scope=\"col\">case</th><th scope=\"col\" class=\"left\">answer</th><th scope=\"col\" "
              "class=\"left\">pair</th><th scope=\"col\">largest |gap|</th><th scope=\"col\">worst ULP</th>"
              "<th scope=\"col\" class=\"left\">where</th><th scope=\"col\" class=\"left\">what is wrong"
              "</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < results->count; i++) {
        const dppo_parity_result *result = &results->cases[i];
        if (result->verdict == DPPO_FAILED && result->message[0]) write_failed_case(result, html);
        for (size_t j = 0; j < result->count; j++)
            if (result->rows[j].verdict == DPPO_FAILED) write_failed_answer(result, &result->rows[j], html);
    }
    dppo_text_add(html, "</tbody></table></div></section>\n");
}

static void write_errors(const dppo_parity_results *results, dppo_text *html) {
    if (results->error_count == 0) return;
    dppo_text_add(html, "<section id=\"unreadable\"><h2>Unreadable</h2><ul>\n");
    for (size_t i = 0; i < results->error_count; i++) {
        dppo_text_add(html, "<li>");
        dppo_html_escape(html, results->errors[i]);
        dppo_text_add(html, "</li>\n");
    }
    dppo_text_add(html, "</ul></section>\n");
}

static void write_skipped(const dppo_parity_results *results, dppo_text *html) {
    if (results->skipped == 0) return;
    dppo_text_format(html,
                     "<section id=\"skipped\"><h2>Skipped</h2><details><summary>%zu cases</summary><ul>\n",
                     results->skipped);
    for (size_t i = 0; i < results->count; i++) {
        const dppo_parity_result *result = &results->cases[i];
        if (result->verdict != DPPO_SKIPPED) continue;
        dppo_text_add(html, "<li>");
        dppo_html_escape(html, result->function);
        dppo_text_add(html, "/");
        dppo_html_escape(html, result->name);
        dppo_text_add(html, ": ");
        dppo_html_escape(html, result->message);
        dppo_text_add(html, "</li>\n");
    }
    dppo_text_add(html, "</ul></details></section>\n");
}

/* -- the page
 * ---------------------------------------------------------------------------------------------------- */

static void write_page(const page *p, dppo_text *html) {
    dppo_page_begin(html, "Function parity", "C against libtorch, against the record, against float64 truth");
    write_verdict(p, html);
    write_errors(p->results, html);
    write_failures(p->results, html);
    dppo_text_add(html, "<section id=\"parity\"><h2>Functions</h2>\n");
    dppo_parity_table_write(p->functions, p->count, "equal in every bit (elements)", html);
    dppo_text_add(html, "</section>\n");
    write_skipped(p->results, html);
    dppo_page_end(html);
}

dppo_status dppo_report_parity(const dppo_parity_results *results, const char *folder) {
    page p = {.results = results};
    dppo_text html = {0};
    p.functions = dppo_parity_functions(results, &p.count);
    if (!p.functions) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    dppo_functions_worst_first(p.functions, p.count);
    p.counts = dppo_count_functions(p.functions, p.count);
    write_page(&p, &html);
    dppo_status status = dppo_page_save(&html, folder);
    dppo_text_free(&html);
    free(p.functions);
    return status;
}
