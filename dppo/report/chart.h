/* One metric as inline SVG: both sides overlaid, and below them their gap on a log axis. Complete without
 * script: every iteration has a <title> with its numbers. */
#ifndef DPPO_REPORT_CHART_H
#define DPPO_REPORT_CHART_H

#include "base/text.h"

#include <stdint.h>

typedef struct dppo_chart {
    const char *label;       /* of the metric, for the accessible name; escaped here */
    const char *x_label;     /* "iteration"; HTML */
    size_t count;            /* at least 1 */
    const int64_t *x;        /* (count) ascending */
    int64_t x_first, x_last; /* what the axis covers: the same in every chart of a page */
    const double *c,
        *torch;            /* (count) values that are not finite leave a hole; NULL: the side took no part */
    bool gap_panel;        /* needs both sides */
    double rtol, atol;     /* of the gap panel's dashed limit atol + rtol |torch| */
    int64_t first_outside; /* x where the limit is first left; -1 when never */
    bool log;              /* both axes by decades: x and values are above zero */
    const char *names[2];  /* of c and torch where they are others than C and libtorch; HTML */
} dppo_chart;

/* |c - torch|: 0 where they are equal, infinite ones too, or neither is a number; NaN where one is none. */
double dppo_chart_gap(double c, double torch);

void dppo_chart_write(const dppo_chart *chart, dppo_text *html);
/* The legend of all charts of a page. */
void dppo_chart_legend(bool c, bool torch, bool gap, dppo_text *html);

#endif
