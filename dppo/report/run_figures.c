/* The figures a reader looks for first: how long, how far, how good, how fast. */
#include "report/run_sections.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians, because the first iteration warms up caches and a shared machine has bad moments. */
double dppo_run_median(const double *values, size_t count) {
    double *sorted = malloc((count + 1) * sizeof *sorted), median = NAN;
    size_t kept = 0;
    if (!sorted) return NAN;
    for (size_t i = 0; i < count; i++)
        if (isfinite(values[i])) sorted[kept++] = values[i];
    if (kept > 0) {
        /* halves are added, not a sum halved: two values near the largest double have no sum */
        qsort(sorted, kept, sizeof *sorted, by_value);
        median = sorted[(kept - 1) / 2] / 2 + sorted[kept / 2] / 2;
    }
    free(sorted);
    return median;
}

/* What the run is judged by: reward of evaluation, else of training, else the loss. */
static const dppo_run_metric *headline(const dppo_run_data *data) {
    const dppo_run_metric *metric = dppo_run_metric_named(data, "avg episode reward - eval", true);
    if (!metric) metric = dppo_run_metric_named(data, "avg episode reward - train", false);
    return metric ? metric : dppo_run_metric_named(data, "loss - train", false);
}

static void begin(dppo_text *html, const char *term) {
    dppo_text_format(html, "<div><dt>%s</dt><dd>", term);
}

static void end(dppo_text *html) {
    dppo_text_add(html, "</dd></div>\n");
}

static void write_counts(const dppo_run_data *data, dppo_text *html) {
    begin(html, data->pretraining ? "Epochs" : "Iterations");
    dppo_html_count(html, data->iterations);
    dppo_text_format(html, "<small>%s ", dppo_run_rounds(data, 1));
    dppo_html_count(html, data->first_itr);
    dppo_text_add(html, " to ");
    dppo_html_count(html, data->last_itr);
    dppo_text_add(html, "</small>");
    end(html);
    if (data->env_steps < 0) return;
    begin(html, "Environment steps");
    dppo_html_count(html, data->env_steps);
    dppo_text_format(html, "<small>trained on%s</small>", dppo_run_compared(data) ? ", each side" : "");
    end(html);
}

static void first_and_last(const double *values, size_t count, double *first, double *last) {
    *first = *last = NAN;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) continue;
        if (isnan(*first)) *first = values[i];
        *last = values[i];
    }
}

/* "209 → 2,031, best 2,107 at 40" of one side. */
static void write_progress(const dppo_run_metric *metric, const double *values, const char *side,
                           dppo_text *html) {
    bool lowest = strstr(metric->label, "loss") != NULL;
    double first, last, best = NAN;
    int64_t where = 0;
    first_and_last(values, metric->count, &first, &last);
    for (size_t i = 0; i < metric->count; i++) {
        if (!isfinite(values[i]) || (lowest ? values[i] >= best : values[i] <= best)) continue;
        best = values[i];
        where = metric->itr[i];
    }
    dppo_text_format(html, "<div><dt>%s: ", side);
    dppo_run_write_metric_name(metric, html);
    dppo_text_add(html, "</dt><dd>");
    dppo_html_number(html, first, 4);
    dppo_text_add(html, " \xE2\x86\x92 ");
    dppo_html_number(html, last, 4);
    dppo_text_add(html, "<small>first to last; best ");
    dppo_html_number(html, best, 4);
    dppo_text_add(html, " at ");
    dppo_html_count(html, where);
    dppo_text_add(html, "</small>");
    end(html);
}

static void write_speed(const dppo_run_data *data, dppo_text *html) {
    const dppo_run_metric *seconds = dppo_run_metric_named(data, "seconds - iteration", false);
    if (!seconds) seconds = dppo_run_metric_named(data, "seconds - update", false);
    if (!seconds) return;
    double c = dppo_run_median(seconds->c, seconds->count),
           torch = dppo_run_median(seconds->torch, seconds->count);
    begin(html, data->pretraining ? "Seconds per epoch" : "Seconds per training iteration");
    dppo_html_number(html, data->has_c ? c : torch, 3);
    dppo_text_add(html, data->has_c ? " C" : " libtorch");
    if (dppo_run_compared(data)) {
        dppo_text_add(html, ", ");
        dppo_html_number(html, torch, 3);
        dppo_text_add(html, " libtorch");
    }
    dppo_text_add(html, "<small>median");
    if (dppo_run_compared(data) && c > 0 && torch > 0) {
        dppo_text_add(html, "; C is ");
        dppo_html_number(html, c <= torch ? torch / c : c / torch, 3);
        dppo_text_add(html, c <= torch ? " times as fast" : " times slower");
    }
    dppo_text_add(html, "</small>");
    end(html);
}

void dppo_run_write_figures(const dppo_run_data *data, dppo_text *html) {
    const dppo_run_metric *metric = headline(data);
    dppo_text_add(html, "<section id=\"figures\" aria-label=\"Key figures\"><dl class=\"figures\">\n");
    if (metric && data->has_c) write_progress(metric, metric->c, "C", html);
    if (metric && data->has_torch) write_progress(metric, metric->torch, "libtorch", html);
    write_counts(data, html);
    write_speed(data, html);
    dppo_text_add(html, "</dl></section>\n");
}
