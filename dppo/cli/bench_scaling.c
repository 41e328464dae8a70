/* dppo bench scaling: time against the size of a minibatch and the number of environments. */
#include "base/log.h"
#include "cli/bench.h"
#include "report/chart.h"
#include "report/page.h"

#include <math.h>
#include <stdarg.h>

/* Largest first: what warms up at a large size is warm at a small one. */
static const int64_t batches[] = {100000, 30000, 10000, 3000, 1000, 300, 100, 30, 10, 3, 1};
static const int64_t envs[] = {400, 200, 100, 40, 20, 10, 4, 2, 1};

typedef struct series {
    const char *name, *summary, *size_name;
    const bench_spec *spec;
    const int64_t *sizes;
    size_t count;
    bool of_batch; /* a size is that of a minibatch, else a number of environments */
    bool per_env;  /* the benchmark's unit is one environment */
} series;

#define SIZES(array) array, sizeof array / sizeof *array
static const series all[] = {
    {"update", "a minibatch of DPPO's update", "pairs", &dppo_bench_update, SIZES(batches), true, false},
    {"act", "actions and chains of all environments", "environments", &dppo_bench_act, SIZES(envs), false,
     false},
    {"hopper", "an env step of all Hoppers", "environments", &dppo_bench_hopper, SIZES(envs), false, true},
};
/* Each size gets pairs for so long, at least a few and at most many. */
enum { SERIES = sizeof all / sizeof *all, MOST_SIZES = 16, LEAST_PAIRS = 5, MOST_PAIRS = 101 };
#define SECONDS_PER_SIZE 6.0
#define STEADY 0.1 /* quartiles further apart than this share of the median are pointed at */

/* Of one series, ascending. */
typedef struct table {
    const series *of;
    size_t count;
    int64_t sizes[MOST_SIZES];
    bench_result results[MOST_SIZES];
} table;

static table tables[SERIES];

static double seconds_of(const table *t, size_t i, int side) {
    const bench_result *r = &t->results[i];
    return r->seconds[side].median * (t->of->per_env ? (double)t->sizes[i] : 1);
}

static dppo_status measure(const settings *options, const series *s, table *t) {
    size_t first = 0; /* of the sizes wanted */
    while (first + 1 < s->count && options->batch > 0 && s->sizes[first] > options->batch)
        first++;
    *t = (table){.of = s, .count = s->count - first};
    for (size_t k = first; k < s->count; k++) {
        size_t i = s->count - 1 - k;
        bench_result results[DPPO_BENCH_PARTS];
        settings here = *options;
        *(s->of_batch ? &here.batch : &here.envs) = t->sizes[i] = s->sizes[k];
        here.repeats = options->repeats > 0 ? options->repeats : MOST_PAIRS;
        here.limit = SECONDS_PER_SIZE;
        here.least = LEAST_PAIRS;
        here.original = NULL; /* it has training's sizes only */
        DPPO_TRY(dppo_bench_measure(s->spec, &here, results));
        t->results[i] = results[0];
        dppo_progress("scaling", (long)(k - first) + 1, (long)t->count, s->name);
    }
    return DPPO_OK;
}

/* -- tables */

static bool wide(const bench_spread *s) {
    return s->high - s->low > STEADY * s->median;
}

/* Why a row is to be doubted: nothing is left out, but it is said. No program is faster than the peak. */
static const char *doubt(const bench_result *r) {
    if (r->share[0].median > 1) return "above the peak";
    if (r->repeats < LEAST_PAIRS) return "few pairs";
    return wide(&r->share[0]) || (r->present[1] && wide(&r->ratio[1])) ? "unsteady" : "";
}

static void add_csv(const table *t, dppo_text *csv) {
    for (size_t i = 0; i < t->count; i++) {
        const bench_result *r = &t->results[i];
        for (int k = 0; k < DPPO_BENCH_SIDES; k++) {
            if (!r->present[k]) continue;
            const bench_spread *time = &r->seconds[k], *ratio = &r->ratio[k], *share = &r->share[k];
            double seconds = seconds_of(t, i, k), unit = seconds / time->median;
            dppo_text_format(csv, "%s,%lld,%s,%.9g,%.9g,%.9g,%.9g,", t->of->name, (long long)t->sizes[i],
                             t->of->spec->sides[k], seconds, unit * time->low, unit * time->high,
                             unit * r->p99[k]);
            dppo_text_format(csv, "%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%lld,%s\n", ratio->median, ratio->low,
                             ratio->high, share->median, share->low, share->high, (long long)r->repeats,
                             doubt(r));
        }
    }
}

/* The same cells for people, in Markdown and on the page. */
enum { CELLS = 14, CELL = 64 };
typedef struct row {
    int count;
    char cells[CELLS][CELL];
} row;

__attribute__((format(printf, 2, 3))) static void put(row *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(to->cells[to->count++], CELL, format, arguments);
    va_end(arguments);
}

static row head_of(const table *t) {
    const char *const *sides = t->of->spec->sides;
    const bench_result *r = &t->results[0];
    row head = {0};
    put(&head, "%s", t->of->size_name);
    put(&head, "%s (ms)", sides[0]);
    for (int k = 1; k < DPPO_BENCH_SIDES; k++) {
        if (!r->present[k]) continue;
        put(&head, "%s (ms)", sides[k]);
        put(&head, "%s / %s", sides[k], sides[0]);
        put(&head, "quartiles");
    }
    if (r->share[0].median > 0) {
        put(&head, "%s, %% of gemm", sides[0]);
        put(&head, "quartiles");
    }
    put(&head, "pairs");
    put(&head, "doubt");
    return head;
}

static row row_of(const table *t, size_t i) {
    const bench_result *r = &t->results[i];
    row cells = {0};
    put(&cells, "%lld", (long long)t->sizes[i]);
    put(&cells, "%.4g", 1e3 * seconds_of(t, i, 0));
    for (int k = 1; k < DPPO_BENCH_SIDES; k++) {
        if (!r->present[k]) continue;
        put(&cells, "%.4g", 1e3 * seconds_of(t, i, k));
        put(&cells, "%.2f", r->ratio[k].median);
        put(&cells, "%.2f to %.2f", r->ratio[k].low, r->ratio[k].high);
    }
    if (r->share[0].median > 0) {
        put(&cells, "%.1f", 100 * r->share[0].median);
        put(&cells, "%.1f to %.1f", 100 * r->share[0].low, 100 * r->share[0].high);
    }
    put(&cells, "%lld", (long long)r->repeats);
    put(&cells, "%s", doubt(r));
    return cells;
}

static void add_markdown_row(const row *r, dppo_text *text) {
    for (int k = 0; k < r->count; k++)
        dppo_text_format(text, "| %s%s", r->cells[k], r->cells[k][0] ? " " : "");
    dppo_text_add(text, "|\n");
}

static void add_markdown(const table *t, dppo_text *text) {
    row cells = head_of(t);
    dppo_text_format(text, "%s: %s\n\n", t->of->name, t->of->summary);
    add_markdown_row(&cells, text);
    for (int k = 0; k < cells.count; k++)
        dppo_text_add(text, "|---");
    dppo_text_add(text, "|\n");
    for (size_t i = 0; i < t->count; i++) {
        cells = row_of(t, i);
        add_markdown_row(&cells, text);
    }
    dppo_text_add(text, "\n");
}

/* -- the page: a plot and its table for each series, in one file */

static void write_plot(const table *t, dppo_text *html) {
    double first[MOST_SIZES], second[MOST_SIZES];
    const char *const *sides = t->of->spec->sides;
    bool pairs = t->results[0].present[1];
    for (size_t i = 0; i < t->count; i++) {
        first[i] = seconds_of(t, i, 0);
        second[i] = pairs ? seconds_of(t, i, 1) : NAN;
    }
    dppo_chart chart = {.label = t->of->summary,
                        .x_label = t->of->size_name,
                        .count = t->count,
                        .x = t->sizes,
                        .x_first = t->sizes[0],
                        .x_last = t->sizes[t->count - 1],
                        .c = first,
                        .torch = pairs ? second : NULL,
                        .first_outside = -1,
                        .log = true,
                        .names = {sides[0], sides[1]}};
    dppo_text_format(html, "<figure><h3>%s (s): %s (thin)%s%s%s</h3>\n", t->of->summary, sides[0],
                     pairs ? ", " : "", pairs ? sides[1] : "", pairs ? " (wide)" : "");
    dppo_chart_write(&chart, html);
    dppo_text_add(html, "</figure>\n");
}

static void write_rows(const table *t, dppo_text *html) {
    row cells = head_of(t);
    dppo_text_format(html, "<h2>%s</h2><div class=\"scroll\"><table><thead><tr>", t->of->summary);
    for (int k = 0; k < cells.count; k++)
        dppo_text_format(html, "<th scope=\"col\">%s</th>", cells.cells[k]);
    dppo_text_add(html, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < t->count; i++) {
        cells = row_of(t, i);
        dppo_text_format(html, "<tr><th scope=\"row\">%s</th>", cells.cells[0]);
        for (int k = 1; k < cells.count; k++)
            dppo_text_format(html, "<td>%s</td>", cells.cells[k]);
        dppo_text_add(html, "</tr>\n");
    }
    dppo_text_add(html, "</tbody></table></div>\n");
}

static dppo_status write_page(const char *folder) {
    dppo_text html = {0};
    dppo_page_begin(&html, "Time against size", "dppo bench scaling: medians of pairs");
    dppo_text_add(&html, "<div class=\"charts\">\n");
    for (int i = 0; i < SERIES; i++)
        write_plot(&tables[i], &html);
    dppo_text_add(&html, "</div>\n");
    for (int i = 0; i < SERIES; i++)
        write_rows(&tables[i], &html);
    dppo_page_end(&html);
    dppo_status status = dppo_page_save(&html, folder);
    dppo_text_free(&html);
    return status;
}

static dppo_status save(const char *folder, const char *name, const dppo_text *text) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return dppo_fail(DPPO_INVALID, "%s: path too long", folder);
    return dppo_text_save(text, path);
}

dppo_status dppo_bench_scaling(const settings *options, const char *folder, FILE *out) {
    dppo_text csv = {0}, markdown = {0};
    dppo_status status = folder ? dppo_make_folder(folder) : DPPO_OK;
    dppo_text_add(&csv, "benchmark,size,side,median_s,q25_s,q75_s,p99_s,ratio,ratio_q25,ratio_q75,gemm_share,"
                        "gemm_share_q25,gemm_share_q75,pairs,doubt\n");
    for (int i = 0; i < SERIES && status == DPPO_OK; i++) {
        status = measure(options, &all[i], &tables[i]);
        if (status != DPPO_OK) break;
        add_csv(&tables[i], &csv);
        add_markdown(&tables[i], &markdown);
    }
    if (status == DPPO_OK) (void)fputs(markdown.bytes ? markdown.bytes : "", out);
    if (status == DPPO_OK && folder) status = save(folder, "scaling.csv", &csv);
    if (status == DPPO_OK && folder) status = save(folder, "scaling.md", &markdown);
    if (status == DPPO_OK && folder) status = write_page(folder);
    dppo_text_free(&csv);
    dppo_text_free(&markdown);
    return status;
}
