#include "report/chart.h"
#include "report/page.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Units of the view box: at 1600, 1000 and 400 px of page width a chart is shown at about its own size. */
enum {
    WIDTH = 420,
    LEFT = 58,
    RIGHT = WIDTH - 12,
    TOP = 20,
    BOTTOM = 168,
    GAP_TOP = 204,
    GAP_BOTTOM = 276,
    GAP_ZERO = 290,    /* where an exact zero is drawn: a log axis has no place for it */
    MANY = 60,         /* more points than these get no dots */
    MOST_COLUMNS = 120 /* of tooltips */
};

typedef struct span {
    double low, high;
} span;

typedef struct panel {
    const dppo_chart *chart;
    span x, y;
    double top, bottom;
} panel;

/* -- scales
 * ----------------------------------------------------------------------------------------------------------
 */

/* Keeps differences of huge values finite. */
static double clamped(double value) {
    return fmin(fmax(value, -1e300), 1e300);
}

static void include(span *range, double value) {
    if (!isfinite(value)) return;
    range->low = fmin(range->low, clamped(value));
    range->high = fmax(range->high, clamped(value));
}

/* 1, 2 or 5 times a power of ten, the smallest that is at least `raw`. */
static double nice_step(double raw) {
    double power = pow(10, floor(log10(raw))), scaled = raw / power;
    return power * (scaled <= 1.0000001 ? 1 : scaled <= 2.0000001 ? 2 : scaled <= 5.0000001 ? 5 : 10);
}

static double place(double value, span range, double from, double to) {
    return from + (to - from) * ((value - range.low) / (range.high - range.low));
}

/* What is placed on an axis: the exponent, where that goes by decades. */
static double on_axis(const panel *p, double value) {
    return p->chart->log ? log10(value) : value;
}

static double x_of(const panel *p, int64_t x) {
    return place(on_axis(p, (double)x), p->x, LEFT, RIGHT);
}

static double y_of(const panel *p, double y) {
    return place(clamped(y), p->y, p->bottom, p->top);
}

static span x_range(const dppo_chart *chart) {
    span range = {(double)chart->x_first, (double)chart->x_last};
    if (chart->log) range = (span){log10(range.low), log10(range.high)};
    if (range.high - range.low < 1) {
        range.low -= 0.5;
        range.high += 0.5;
    }
    return range;
}

/* Exponents of ten that hold every value. */
static span decades(const dppo_chart *chart) {
    span range = {INFINITY, -INFINITY};
    for (size_t i = 0; i < chart->count; i++) {
        if (chart->c && chart->c[i] > 0) include(&range, log10(chart->c[i]));
        if (chart->torch && chart->torch[i] > 0) include(&range, log10(chart->torch[i]));
    }
    if (range.low > range.high) range = (span){-1, 0};
    range.low = floor(range.low);
    range.high = fmax(ceil(range.high), range.low + 1);
    return range;
}

/* What the values span, rounded outwards to steps; a constant gets room above and below. */
static span value_range(const dppo_chart *chart, double *step) {
    span range = {INFINITY, -INFINITY};
    for (size_t i = 0; i < chart->count; i++) {
        if (chart->c) include(&range, chart->c[i]);
        if (chart->torch) include(&range, chart->torch[i]);
    }
    if (range.low > range.high) range = (span){0, 1}; /* nothing finite */
    double magnitude = fmax(fabs(range.low), fabs(range.high));
    if (range.high - range.low <= fmax(1e-9 * magnitude, 1e-290)) {
        double room = 0.1 * magnitude;
        range = magnitude > 1e-280 ? (span){range.low - room, range.high + room} : (span){0, 1};
    }
    *step = nice_step((range.high - range.low) / 4);
    range.low = floor(range.low / *step + 1e-9) * *step;
    range.high = ceil(range.high / *step - 1e-9) * *step;
    return range;
}

/* -- axes
 * ------------------------------------------------------------------------------------------------------------
 */

static void line(dppo_text *html, const char *class, double x1, double y1, double x2, double y2) {
    dppo_text_format(html, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", class, x1,
                     y1, x2, y2);
}

static void begin_words(dppo_text *html, const char *anchor, double x, double y) {
    dppo_text_format(html, "<text text-anchor=\"%s\" x=\"%.1f\" y=\"%.1f\">", anchor, x, y);
}

static void words(dppo_text *html, const char *anchor, double x, double y, const char *string) {
    begin_words(html, anchor, x, y);
    dppo_text_format(html, "%s</text>", string);
}

static void power_of_ten(dppo_text *html, int exponent) {
    dppo_text_format(html, "10<tspan dy=\"-4\" font-size=\"8.5\">%s%d</tspan>",
                     exponent < 0 ? "\xE2\x88\x92" : "", exponent < 0 ? -exponent : exponent);
}

/* A common power of ten for the labels of very small and very large values; 0 when they read well as they
 * are. */
static int common_exponent(span range) {
    double magnitude = fmax(fabs(range.low), fabs(range.high));
    int exponent = (int)floor(log10(magnitude) + 1e-9);
    return exponent < -2 || exponent >= 7 ? exponent : 0;
}

/* As many digits as tell neighbouring ticks apart. */
static int tick_digits(double value, double step) {
    if (value == 0) return 1;
    int digits = (int)floor(log10(fabs(value)) + 1e-9) - (int)floor(log10(step) + 1e-9) + 1;
    return digits < 1 ? 1 : digits > 12 ? 12 : digits;
}

static void value_axis(const panel *p, double step, dppo_text *html) {
    int exponent = common_exponent(p->y), ticks = (int)lround((p->y.high - p->y.low) / step);
    double first = round(p->y.low / step);
    if (exponent != 0) {
        begin_words(html, "start", 4, TOP - 9);
        dppo_text_add(html, "\xC3\x97");
        power_of_ten(html, exponent);
        dppo_text_add(html, "</text>");
    }
    for (int i = 0; i <= ticks && i <= 12; i++) {
        double value = (first + i) * step, y = y_of(p, value);
        line(html, "grid", LEFT, y, RIGHT, y);
        begin_words(html, "end", LEFT - 6, y + 4);
        dppo_html_number(html, value / pow(10, exponent), tick_digits(value, step));
        dppo_text_add(html, "</text>");
    }
}

/* Whole numbers only: there is no iteration 2.5. */
static void x_axis(const panel *p, double bottom, dppo_text *html) {
    double step = fmax(1, nice_step((p->x.high - p->x.low) / 6));
    line(html, "axis", LEFT, bottom, RIGHT, bottom);
    double first = ceil(p->x.low / step);
    for (int i = 0; (first + i) * step <= p->x.high; i++) {
        double value = (first + i) * step;
        double x = place(value, p->x, LEFT, RIGHT);
        line(html, "axis", x, bottom, x, bottom + 4);
        begin_words(html, "middle", x, bottom + 17);
        dppo_html_count(html, (int64_t)value);
        dppo_text_add(html, "</text>");
    }
    words(html, "middle", (LEFT + RIGHT) / 2.0, bottom + 32, p->chart->x_label);
}

/* Powers of ten within the range. */
static void log_x_axis(const panel *p, double bottom, dppo_text *html) {
    line(html, "axis", LEFT, bottom, RIGHT, bottom);
    for (int exponent = (int)ceil(p->x.low); exponent <= p->x.high; exponent++) {
        double x = place(exponent, p->x, LEFT, RIGHT);
        bool edge = x > RIGHT - 20; /* long numbers end within the view */
        line(html, "axis", x, bottom, x, bottom + 4);
        begin_words(html, edge ? "end" : "middle", edge ? RIGHT + 10 : x, bottom + 17);
        dppo_html_count(html, (int64_t)lround(pow(10, exponent)));
        dppo_text_add(html, "</text>");
    }
    words(html, "middle", (LEFT + RIGHT) / 2.0, bottom + 32, p->chart->x_label);
}

/* Decades, not all of them when they are many. */
static void log_axis(const panel *p, dppo_text *html) {
    int low = (int)p->y.low, high = (int)p->y.high, step = (high - low + 3) / 4;
    for (int exponent = low; exponent <= high; exponent += step) {
        double y = y_of(p, exponent);
        line(html, "grid", LEFT, y, RIGHT, y);
        begin_words(html, "end", LEFT - 6, y + 4);
        power_of_ten(html, exponent);
        dppo_text_add(html, "</text>");
    }
}

/* And below them the row of exact zeros. */
static void gap_axis(const panel *p, dppo_text *html) {
    words(html, "start", 4, GAP_TOP - 12, "gap |C \xE2\x88\x92 libtorch|, log axis");
    log_axis(p, html);
    line(html, "grid", LEFT, GAP_ZERO, RIGHT, GAP_ZERO);
    words(html, "end", LEFT - 6, GAP_ZERO + 4, "0");
}

/* -- lines
 * -----------------------------------------------------------------------------------------------------------
 */

static bool shown(const double *y, size_t count, size_t i) {
    return i < count && !isnan(y[i]);
}

/* A path through sheet coordinates, holes left out. */
static void path(const panel *p, const double *y, const char *class, dppo_text *html) {
    size_t count = p->chart->count;
    dppo_text_format(html, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < count; i++)
        if (shown(y, count, i))
            dppo_text_format(html, "%s%.1f %.1f", i > 0 && shown(y, count, i - 1) ? "L" : "M",
                             x_of(p, p->chart->x[i]), y[i]);
    dppo_text_add(html, "\"/>\n");
}

/* Dots are lines without length and with round ends. Of many points only those that no line shows. */
static void dots(const panel *p, const double *y, const char *class, bool all, dppo_text *html) {
    size_t count = p->chart->count;
    dppo_text_format(html, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < count; i++) {
        bool alone = !(i > 0 && shown(y, count, i - 1)) && !shown(y, count, i + 1);
        if (shown(y, count, i) && (all || alone || count <= MANY))
            dppo_text_format(html, "M%.1f %.1fh0", x_of(p, p->chart->x[i]), y[i]);
    }
    dppo_text_add(html, "\"/>\n");
}

static void curve(const panel *p, const double *values, const char *line_class, const char *dot_class,
                  double *y, dppo_text *html) {
    for (size_t i = 0; i < p->chart->count; i++)
        y[i] = isfinite(values[i]) ? y_of(p, on_axis(p, values[i])) : NAN;
    path(p, y, line_class, html);
    dots(p, y, dot_class, false, html);
}

double dppo_chart_gap(double c, double torch) {
    return c == torch || (isnan(c) && isnan(torch)) ? 0 : fabs(c - torch);
}

static double gap_of(const dppo_chart *chart, size_t i) {
    return dppo_chart_gap(chart->c[i], chart->torch[i]);
}

static double limit_of(const dppo_chart *chart, size_t i) {
    return chart->atol + chart->rtol * fabs(chart->torch[i]);
}

/* Exponents of ten that hold every gap above zero and the limit. */
static span gap_range(const dppo_chart *chart) {
    span range = {INFINITY, -INFINITY};
    for (size_t i = 0; i < chart->count; i++) {
        double gap = gap_of(chart, i);
        if (gap > 0) include(&range, log10(gap));
        include(&range, log10(limit_of(chart, i)));
    }
    if (range.low > range.high) range = (span){-6, 0};
    range.low = floor(range.low);
    range.high = fmax(ceil(range.high), range.low + 1);
    return range;
}

/* The gap as a line over its positive values; zeros on their own row, what is no number as a mark on top. */
static void gap_curve(const panel *p, double *y, dppo_text *html) {
    const dppo_chart *chart = p->chart;
    for (size_t i = 0; i < chart->count; i++) {
        double gap = gap_of(chart, i);
        y[i] = gap > 0 && isfinite(gap) ? y_of(p, log10(gap)) : NAN;
    }
    path(p, y, "gap", html);
    dots(p, y, "gap-dot", false, html);
    for (size_t i = 0; i < chart->count; i++)
        y[i] = gap_of(chart, i) == 0 ? GAP_ZERO : NAN;
    dots(p, y, "zero-dot", true, html);
    for (size_t i = 0; i < chart->count; i++)
        if (!isfinite(gap_of(chart, i)))
            dppo_text_format(html, "<path class=\"outside-dot\" d=\"M%.1f %dl-4 -7h8z\"/>",
                             x_of(p, chart->x[i]), GAP_TOP + 4);
}

static void limit_curve(const panel *p, double *y, dppo_text *html) {
    for (size_t i = 0; i < p->chart->count; i++) {
        double limit = log10(limit_of(p->chart, i));
        y[i] = isfinite(limit) ? y_of(p, limit) : NAN;
    }
    path(p, y, "limit", html);
}

static void outside_mark(const panel *p, dppo_text *html) {
    double x = x_of(p, p->chart->first_outside);
    bool right = x > (LEFT + RIGHT) / 2.0; /* the words go where there is room */
    line(html, "outside", x, TOP, x, GAP_ZERO);
    dppo_text_format(html,
                     "<text class=\"outside-text\" text-anchor=\"%s\" x=\"%.1f\" y=\"%d\">outside from ",
                     right ? "end" : "start", right ? x - 4 : x + 4, BOTTOM + 14);
    dppo_html_count(html, p->chart->first_outside);
    dppo_text_add(html, "</text>\n");
}

/* -- tooltips
 * -------------------------------------------------------------------------------------------------------- */

static void numbers_of(const dppo_chart *chart, size_t i, dppo_text *html) {
    dppo_text_format(html, "%s ", chart->x_label);
    dppo_html_count(html, chart->x[i]);
    if (chart->c) {
        dppo_text_format(html, "\n%s ", chart->names[0] ? chart->names[0] : "C");
        dppo_html_number(html, chart->c[i], 9);
    }
    if (chart->torch) {
        dppo_text_format(html, "\n%s ", chart->names[1] ? chart->names[1] : "libtorch");
        dppo_html_number(html, chart->torch[i], 9);
    }
    if (!chart->gap_panel) return;
    dppo_text_add(html, "\ngap ");
    dppo_html_number(html, gap_of(chart, i), 3);
    dppo_text_add(html, " of ");
    dppo_html_number(html, limit_of(chart, i), 3);
    dppo_text_add(html, " allowed");
}

/* Invisible columns around the iterations, each with its numbers; at most MOST_COLUMNS of them. */
static void columns(const panel *p, double bottom, dppo_text *html) {
    const dppo_chart *chart = p->chart;
    size_t every = (chart->count + MOST_COLUMNS - 1) / MOST_COLUMNS, last = (chart->count - 1) / every;
    double left = LEFT - 4;
    for (size_t k = 0; k <= last; k++) {
        size_t i = k * every;
        double right = k == last ? RIGHT + 6 : (x_of(p, chart->x[i]) + x_of(p, chart->x[i + every])) / 2;
        dppo_text_format(html,
                         "<rect class=\"hit\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"><title>",
                         left, TOP, fmax(right - left, 0.5), bottom - TOP);
        numbers_of(chart, i, html);
        dppo_text_add(html, "</title></rect>");
        left = right;
    }
    dppo_text_add(html, "\n");
}

static void gap_panel(const panel *values, double *y, dppo_text *html) {
    panel gaps = {values->chart, values->x, gap_range(values->chart), GAP_TOP, GAP_BOTTOM};
    gap_axis(&gaps, html);
    limit_curve(&gaps, y, html);
    gap_curve(&gaps, y, html);
    if (values->chart->first_outside >= 0) outside_mark(&gaps, html);
}

void dppo_chart_write(const dppo_chart *chart, dppo_text *html) {
    double step = 1, bottom = chart->gap_panel ? GAP_ZERO + 6 : BOTTOM;
    panel values = {chart, x_range(chart), chart->log ? decades(chart) : value_range(chart, &step), TOP,
                    BOTTOM};
    double *y = malloc(chart->count * sizeof *y); /* of the line being drawn */
    if (!y) {
        html->failed = true;
        return;
    }
    dppo_text_format(html, "<svg%s viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"",
                     chart->count > MANY ? " class=\"dense\"" : "", WIDTH, bottom + 38);
    dppo_html_escape(html, chart->label);
    dppo_text_format(html, " over %s%s\">\n", chart->x_label, chart->log ? "" : "s");
    if (chart->log)
        log_axis(&values, html);
    else
        value_axis(&values, step, html);
    if (chart->torch) curve(&values, chart->torch, "torch", "torch-dot", y, html);
    if (chart->c) curve(&values, chart->c, "c", "c-dot", y, html);
    if (chart->gap_panel) gap_panel(&values, y, html);
    (chart->log ? log_x_axis : x_axis)(&values, bottom, html);
    columns(&values, bottom, html);
    dppo_text_add(html, "</svg>\n");
    free(y);
}

static void legend_item(dppo_text *html, const char *class, const char *name) {
    dppo_text_format(
        html,
        "<span><svg viewBox=\"0 0 42 12\" aria-hidden=\"true\"><line class=\"%s\" x1=\"3\" y1=\"6\" "
        "x2=\"39\" y2=\"6\"/></svg>%s</span>\n",
        class, name);
}

void dppo_chart_legend(bool c, bool torch, bool gap, dppo_text *html) {
    dppo_text_add(html, "<div class=\"legend\">\n");
    if (c) legend_item(html, "c", "C (thin line)");
    if (torch) legend_item(html, "torch", "libtorch (wide line)");
    if (gap) {
        legend_item(html, "gap", "gap");
        dppo_text_add(html,
                      "<span><svg viewBox=\"0 0 42 12\" aria-hidden=\"true\"><circle class=\"zero-dot\" "
                      "cx=\"21\" cy=\"6\" r=\"3\"/></svg>no gap at all</span>\n");
        legend_item(html, "limit", "tolerance");
        legend_item(html, "outside", "first iteration outside");
    }
    dppo_text_add(html, "</div>\n");
}
