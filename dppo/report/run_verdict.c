/* The band on top. Level 1 decides whether the sides agree: it compares one update from one state. Level 2
 * only tells how long the free runs stay together, for MuJoCo is chaotic: once a rounding differs, they part,
 * and no one is wrong. */
#include "report/run_sections.h"

#include <math.h>

const char *dppo_run_rounds(const dppo_run_data *data, int64_t count) {
    if (data->pretraining) return count == 1 ? "epoch" : "epochs";
    return count == 1 ? "iteration" : "iterations";
}

/* The metric whose free runs are relatively farthest apart; NULL when none has a gap that is a number. */
static const dppo_run_metric *farthest(const dppo_run_data *data) {
    const dppo_run_metric *worst = NULL;
    for (size_t i = 0; i < data->metric_count; i++) {
        const dppo_run_metric *metric = &data->metrics[i];
        if (metric->max_relative > (worst ? worst->max_relative : 0)) worst = metric;
    }
    return worst;
}

static void write_level_1(const dppo_run_data *data, dppo_text *text) {
    int64_t held = data->forced_iterations - data->forced_failures;
    dppo_text_format(text, "Level 1 (%s) holds in <b>",
                     data->pretraining ? "every minibatch on the same data"
                                       : "teacher-forced: same state, same rollout");
    dppo_html_count(text, held);
    dppo_text_add(text, " of ");
    dppo_html_count(text, data->forced_iterations);
    dppo_text_format(text, "</b> %s.", dppo_run_rounds(data, data->forced_iterations));
}

/* What failed, and where to look first. */
static void write_failed_quantities(const dppo_run_data *data, dppo_text *text) {
    const char *before = " Outside tolerance: ";
    for (size_t i = 0; i < data->quantity_count; i++) {
        const dppo_forced_quantity *q = &data->quantities[i];
        if (q->failures == 0) continue;
        dppo_text_format(text, "%s<b>", before);
        dppo_html_escape(text, q->name);
        dppo_text_add(text, "</b> (gap ");
        dppo_html_number(text, q->max_abs, 3);
        dppo_text_format(text, " at %s ", dppo_run_rounds(data, 1));
        dppo_html_count(text, q->worst_itr);
        dppo_text_add(text, ")");
        before = ", ";
    }
    if (data->forced_failures > 0) dppo_text_add(text, ".");
}

/* First metric out of tolerance in the free run, as iteration; -1 when every metric stays within. */
static int64_t first_outside(const dppo_run_data *data, const char **label) {
    int64_t first = -1;
    for (size_t i = 0; i < data->metric_count; i++) {
        int64_t here = data->metrics[i].first_outside;
        if (here < 0 || (first >= 0 && here >= first)) continue;
        first = here;
        *label = data->metrics[i].label;
    }
    return first;
}

static void write_largest_gap(const dppo_run_data *data, dppo_text *text) {
    const dppo_run_metric *worst = farthest(data);
    const char *label = "";
    int64_t outside = first_outside(data, &label);
    if (!worst && outside < 0) {
        dppo_text_add(text, " Every logged metric is still equal to all printed digits.");
        return;
    }
    if (worst) {
        dppo_text_add(text, " The largest relative gap of a metric is <b>");
        dppo_html_number(text, worst->max_relative, 2);
        dppo_text_add(text, "</b> (");
        dppo_html_escape(text, worst->label);
        dppo_text_format(text, ", %s ", dppo_run_rounds(data, 1));
        dppo_html_count(text, worst->max_relative_itr);
        dppo_text_add(text, ").");
    }
    if (outside < 0) {
        dppo_text_add(text, " No metric leaves tolerance.");
        return;
    }
    dppo_text_add(text, " Tolerance is first left by ");
    dppo_html_escape(text, label);
    dppo_text_format(text, " at %s ", dppo_run_rounds(data, 1));
    dppo_html_count(text, outside);
    dppo_text_add(text, ".");
}

static bool any_gap(const dppo_run_data *data) {
    for (size_t i = 0; i < data->metric_count; i++)
        if (data->metrics[i].first_gap >= 0) return true;
    return false;
}

static void write_level_2(const dppo_run_data *data, dppo_text *text) {
    dppo_text_add(text, "<br>Level 2 (free runs from one seed): ");
    if (data->free_equal == -2) {
        dppo_text_add(text, "how long every bit is equal is not recorded.");
        write_largest_gap(data, text);
    } else if (data->free_equal < 0) {
        dppo_text_add(text, "<b>equal in every bit for all ");
        dppo_html_count(text, data->iterations);
        dppo_text_format(text, " %s</b>.", dppo_run_rounds(data, data->iterations));
        if (any_gap(data)) write_largest_gap(data, text); /* of what is logged, not of what is learned */
    } else {
        dppo_text_add(text, "equal in every bit <b>until ");
        dppo_text_format(text, "%s ", dppo_run_rounds(data, 1));
        dppo_html_count(text, data->free_equal);
        dppo_text_add(text, "</b>.");
        write_largest_gap(data, text);
    }
}

/* Single side, or two sides of which nothing was compared. */
static void write_uncompared(const dppo_run_data *data, dppo_text *html) {
    if (dppo_run_compared(data))
        dppo_page_verdict(html, DPPO_TONE_NEUTRAL, "Two sides, but no update was compared",
                          "There is no row in teacher_forced.csv: the run has no evidence of parity.");
    else
        dppo_page_verdict(
            html, DPPO_TONE_NEUTRAL,
            data->has_c ? "C only, nothing compared" : "libtorch only, nothing compared",
            "This is one side only. Run with <code>--compare torch</code> to judge C against libtorch.");
}

static size_t failed_functions(const dppo_run_data *data) {
    return dppo_count_functions(data->functions, data->function_count).failed;
}

/* teacher_forced.csv is the evidence; run.yaml, written by the same run, must say the same. */
static dppo_tone tone_of(const dppo_run_data *data) {
    bool bad = data->forced_failures > 0 || data->contradiction || failed_functions(data) > 0;
    return bad ? DPPO_TONE_BAD : DPPO_TONE_GOOD;
}

static const char *headline(const dppo_run_data *data, dppo_tone tone) {
    if (tone != DPPO_TONE_GOOD) return "C and libtorch disagree";
    bool equal = data->free_equal == -1 && !any_gap(data);
    return equal ? "C and libtorch agree in every bit" : "C and libtorch agree";
}

void dppo_run_write_verdict(const dppo_run_data *data, dppo_text *html) {
    if (!dppo_run_compared(data) || data->forced_iterations == 0) {
        write_uncompared(data, html);
    } else {
        dppo_text detail = {0};
        dppo_tone tone = tone_of(data);
        write_level_1(data, &detail);
        write_failed_quantities(data, &detail);
        write_level_2(data, &detail);
        if (data->contradiction)
            dppo_text_add(&detail,
                          "<br>run.yaml counts other failures than teacher_forced.csv has: one of them is "
                          "not of this run.");
        if (failed_functions(data) > 0)
            dppo_text_format(&detail, "<br>Function parity: <b>%zu failed</b> (of %zu functions).",
                             failed_functions(data), data->function_count);
        if (detail.failed) html->failed = true;
        dppo_page_verdict(html, tone, headline(data, tone), detail.bytes ? detail.bytes : "");
        dppo_text_free(&detail);
    }
    if (!data->finished)
        dppo_text_add(html,
                      "<p class=\"note\">run.yaml is missing: the run was stopped or still goes on.</p>\n");
}
