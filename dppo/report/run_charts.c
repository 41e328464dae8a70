/* Every logged metric as a chart, the rewards first. */
#include "report/chart.h"
#include "report/run_sections.h"

#include <math.h>
#include <string.h>

static int64_t not_finite(const double *values, size_t count) {
    int64_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += !isfinite(values[i]);
    return found;
}

static void count_holes(const char *side, int64_t holes, const dppo_run_metric *metric, dppo_text *html) {
    if (holes == 0) return;
    dppo_text_format(html, "%s is no finite number at ", side);
    dppo_html_count(html, holes);
    dppo_text_format(html, " of %zu points. ", metric->count);
}

static void write_caption(const dppo_run_data *data, const dppo_run_metric *metric, dppo_text *html) {
    dppo_text_add(html, "<figcaption>");
    if (data->has_c) count_holes("C", not_finite(metric->c, metric->count), metric, html);
    if (data->has_torch) count_holes("libtorch", not_finite(metric->torch, metric->count), metric, html);
    if (metric->seconds)
        dppo_text_add(html, "Wall clock; not compared.");
    else if (dppo_run_compared(data) && metric->first_gap < 0)
        dppo_text_add(html, "No gap at any point.");
    else if (dppo_run_compared(data)) {
        dppo_text_add(html, "First gap at ");
        dppo_html_count(html, metric->first_gap);
        dppo_text_add(html,
                      metric->first_outside < 0 ? ", always within tolerance." : ", outside tolerance from ");
        if (metric->first_outside >= 0) {
            dppo_html_count(html, metric->first_outside);
            dppo_text_add(html, ".");
        }
    }
    dppo_text_add(html, "</figcaption>");
}

void dppo_run_write_metric_name(const dppo_run_metric *metric, dppo_text *html) {
    dppo_html_escape(html, metric->label);
    /* Labels that end in "- eval" say their mode themselves; only evaluation of another name needs the word.
     */
    if (metric->eval && !strstr(metric->label, "- eval")) dppo_text_add(html, " (eval)");
}

static void write_figure(const dppo_run_data *data, const dppo_run_metric *metric, dppo_text *html) {
    bool gap = dppo_run_compared(data) && !metric->seconds;
    dppo_chart chart = {.label = metric->label,
                        .x_label = data->pretraining ? "epoch" : "iteration",
                        .count = metric->count,
                        .x = metric->itr,
                        .x_first = data->first_itr,
                        .x_last = data->last_itr,
                        .c = data->has_c ? metric->c : NULL,
                        .torch = data->has_torch ? metric->torch : NULL,
                        .gap_panel = gap,
                        .rtol = DPPO_FREE_RUN_RTOL,
                        .atol = DPPO_FREE_RUN_ATOL,
                        .first_outside = gap ? metric->first_outside : -1};
    dppo_text_add(html, "<figure><h3>");
    dppo_run_write_metric_name(metric, html);
    dppo_text_add(html, metric->seconds ? " (s)</h3>\n" : "</h3>\n");
    dppo_chart_write(&chart, html);
    write_caption(data, metric, html);
    dppo_text_add(html, "</figure>\n");
}

/* 0: rewards, 1: other metrics, 2: seconds. */
static int rank(const dppo_run_metric *metric) {
    return strstr(metric->label, "reward") ? 0 : metric->seconds ? 2 : 1;
}

void dppo_run_write_charts(const dppo_run_data *data, dppo_text *html) {
    dppo_text_add(html, "<section id=\"charts\"><h2>Curves</h2>\n");
    dppo_chart_legend(data->has_c, data->has_torch, dppo_run_compared(data), html);
    dppo_text_add(html, "<div class=\"charts\">\n");
    for (int wanted = 0; wanted < 3; wanted++)
        for (int eval = 1; eval >= 0; eval--)
            for (size_t i = 0; i < data->metric_count; i++)
                if (rank(&data->metrics[i]) == wanted && data->metrics[i].eval == (eval == 1))
                    write_figure(data, &data->metrics[i], html);
    dppo_text_add(html, "</div></section>\n");
}
