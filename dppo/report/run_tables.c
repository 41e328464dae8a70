/* Tables of a run: final values, teacher-forced quantities, phases. */
#include "report/run_sections.h"

#include <math.h>

static void number_cell(dppo_text *html, double value, int digits) {
    dppo_text_add(html, "<td>");
    dppo_html_number(html, value, digits);
    dppo_text_add(html, "</td>");
}

static void badge_cell(dppo_text *html, dppo_tone tone, const char *word) {
    dppo_text_add(html, "<td class=\"left\">");
    dppo_html_badge(html, tone, word);
    dppo_text_add(html, "</td>");
}

static void begin_table(dppo_text *html, const char *id, const char *title, const char *note,
                        const char *head) {
    dppo_text_format(html, "<section id=\"%s\"><h2>%s</h2>\n<p class=\"note\">%s</p>\n", id, title, note);
    dppo_text_format(html, "<div class=\"scroll\"><table><thead><tr>%s</tr></thead><tbody>\n", head);
}

static void end_table(dppo_text *html) {
    dppo_text_add(html, "</tbody></table></div></section>\n");
}

#define TH(name) "<th scope=\"col\">" name "</th>"
#define TH_LEFT(name) "<th scope=\"col\" class=\"left\">" name "</th>"

/* -- final values
 * ----------------------------------------------------------------------------------------------- */

/* "outside" is no alarm here: see run_verdict.c, only level 1 can fail. */
static void write_judgement(const dppo_run_metric *metric, dppo_text *html) {
    size_t last = metric->count - 1;
    number_cell(html, dppo_run_gap(metric, last), 3);
    dppo_text_add(html, "<td>");
    if (metric->first_outside >= 0)
        dppo_html_count(html, metric->first_outside);
    else
        dppo_text_add(html, "never");
    dppo_text_add(html, "</td>");
    if (metric->first_gap < 0)
        badge_cell(html, DPPO_TONE_GOOD, "no gap");
    else if (metric->first_outside < 0)
        badge_cell(html, DPPO_TONE_GOOD, "within");
    else
        badge_cell(html, DPPO_TONE_NEUTRAL, "outside");
}

static void write_final(const dppo_run_data *data, const dppo_run_metric *metric, dppo_text *html) {
    size_t last = metric->count - 1;
    dppo_text_add(html, "<tr><th scope=\"row\">");
    dppo_run_write_metric_name(metric, html);
    dppo_text_add(html, "</th><td>");
    dppo_html_count(html, metric->itr[last]);
    dppo_text_add(html, "</td>");
    if (data->has_c) number_cell(html, metric->c[last], 7);
    if (data->has_torch) number_cell(html, metric->torch[last], 7);
    if (dppo_run_compared(data)) write_judgement(metric, html);
    dppo_text_add(html, "</tr>\n");
}

void dppo_run_write_finals(const dppo_run_data *data, dppo_text *html) {
    dppo_text head = {0};
    dppo_text_format(&head, TH("metric") TH("%s") "%s%s%s", data->pretraining ? "epoch" : "iteration",
                     data->has_c ? TH("C") : "", data->has_torch ? TH("libtorch") : "",
                     dppo_run_compared(data) ? TH("gap") TH("first outside") TH_LEFT("free run") : "");
    if (head.failed) html->failed = true;
    begin_table(html, "finals", "Final values",
                dppo_run_compared(data)
                    ? "Free runs from one seed. Within means |C \xE2\x88\x92 libtorch| \xE2\x89\xA4 1e-6 + "
                      "1e-4 |libtorch| at every "
                      "iteration. A free run that leaves tolerance is no failure by itself: after the first "
                      "difference in rounding, the simulation drives the two apart. Level 1 decides."
                    : "The last value of every metric.",
                head.bytes ? head.bytes : "");
    for (size_t i = 0; i < data->metric_count; i++)
        if (!data->metrics[i].seconds) write_final(data, &data->metrics[i], html);
    end_table(html);
    dppo_text_free(&head);
}

/* -- teacher-forced
 * --------------------------------------------------------------------------------------------- */

static void write_quantity(const dppo_forced_quantity *q, dppo_text *html) {
    dppo_text_add(html, "<tr><th scope=\"row\">");
    dppo_html_escape(html, q->name);
    dppo_text_add(html, "</th>");
    number_cell(html, q->max_abs, 3);
    number_cell(html, q->max_rel, 3);
    dppo_text_add(html, "<td>");
    if (q->max_abs == 0) {
        dppo_text_add(html, "no gap</td><td></td><td></td>");
    } else {
        dppo_html_count(html, q->worst_itr);
        dppo_text_add(html, " / ");
        dppo_html_count(html, q->worst_index);
        dppo_text_add(html, "</td>");
        number_cell(html, q->worst_c, 7);
        number_cell(html, q->worst_torch, 7);
    }
    dppo_text_add(html, "<td>");
    dppo_html_percent(html, q->bitwise_share);
    dppo_text_add(html, "</td><td>");
    dppo_html_count(html, q->iterations - q->failures);
    dppo_text_add(html, " of ");
    dppo_html_count(html, q->iterations);
    dppo_text_add(html, "</td>");
    if (q->failures > 0)
        badge_cell(html, DPPO_TONE_BAD, "failed");
    else
        badge_cell(html, DPPO_TONE_GOOD, q->bitwise_share >= 1 ? "equal in every bit" : "passed");
    dppo_text_add(html, "</tr>\n");
}

void dppo_run_write_forced(const dppo_run_data *data, dppo_text *html) {
    if (!data->has_forced) return;
    begin_table(
        html, "teacher-forced", data->pretraining ? "Every minibatch, level 1" : "Teacher-forced, level 1",
        data->pretraining
            ? "Both sides take the same minibatches. The worst of all epochs, failed quantities first."
            : "At each iteration both sides do the same update from the same state on the same rollout. The "
              "worst of all iterations, failed quantities first; parameter changes are relative to the "
              "largest change of their tensor.",
        TH("quantity") TH("largest |gap|") TH("largest relative gap") TH("where (iteration / index)")
            TH("C there") TH("libtorch there") TH("equal in every bit") TH("within") TH_LEFT("status"));
    for (int failed = 1; failed >= 0; failed--)
        for (size_t i = 0; i < data->quantity_count; i++)
            if ((data->quantities[i].failures > 0) == (failed == 1))
                write_quantity(&data->quantities[i], html);
    end_table(html);
}

/* -- phases
 * ----------------------------------------------------------------------------------------------------- */

static double total(const double *values, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i])) sum += values[i];
    return sum;
}

static void write_phase(const dppo_run_data *data, const dppo_run_metric *metric, dppo_text *html) {
    double c = dppo_run_median(metric->c, metric->count),
           torch = dppo_run_median(metric->torch, metric->count);
    dppo_text_add(html, "<tr><th scope=\"row\">");
    dppo_run_write_metric_name(metric, html);
    dppo_text_add(html, "</th>");
    if (data->has_c) {
        number_cell(html, c, 3);
        number_cell(html, total(metric->c, metric->count), 4);
    }
    if (data->has_torch) {
        number_cell(html, torch, 3);
        number_cell(html, total(metric->torch, metric->count), 4);
    }
    if (dppo_run_compared(data)) number_cell(html, torch / c, 3);
    dppo_text_add(html, "</tr>\n");
}

void dppo_run_write_phases(const dppo_run_data *data, dppo_text *html) {
    dppo_text head = {0};
    dppo_text_format(&head, TH("phase") "%s%s%s", data->has_c ? TH("C, median (s)") TH("C, total (s)") : "",
                     data->has_torch ? TH("libtorch, median (s)") TH("libtorch, total (s)") : "",
                     dppo_run_compared(data) ? TH("libtorch / C") : "");
    if (head.failed) html->failed = true;
    begin_table(html, "phases", "Time by phase",
                data->pretraining ? "Wall clock of an epoch."
                                  : "Wall clock of an iteration; both sides use the same environments.",
                head.bytes ? head.bytes : "");
    for (int eval = 0; eval < 2; eval++)
        for (size_t i = 0; i < data->metric_count; i++)
            if (data->metrics[i].seconds && data->metrics[i].eval == (eval == 1))
                write_phase(data, &data->metrics[i], html);
    end_table(html);
    dppo_text_free(&head);
}
