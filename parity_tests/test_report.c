/* Report pages: what they say, that they are whole, and what is refused with which words. */
#include "report/chart.h"
#include "report/page.h"
#include "report/report.h"
#include "report/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* -- folders
 * ----------------------------------------------------------------------------------------------------- */

static char folder[128];

static int make_scratch(void **unused) {
    (void)unused;
    (void)snprintf(folder, sizeof folder, "/tmp/dppo-report-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_scratch(void **unused) {
    static const char *const names[] = {"config.yaml",       "metrics.csv", "run.yaml", "teacher_forced.csv",
                                        "report/index.html", "parity.csv",  "report",   ""};
    (void)unused;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)remove(path);
    }
    return 0;
}

static void put_bytes(const char *name, const char *bytes, size_t length) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static void put(const char *name, const char *content) {
    put_bytes(name, content, strlen(content));
}

static void drop(const char *name) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    (void)remove(path);
}

#define HEADER                                                                                               \
    "itr,side,mode,total env step,loss,bc loss,avg episode reward - train,avg episode reward - eval,"        \
    "seconds - update,seconds - iteration\n"
#define FORCED_HEADER "itr,quantity,count,max_abs,max_rel,worst,c,torch,bitwise_share,status\n"
#define PARITY_HEADER                                                                                        \
    "function,case,answer,pair,status,max_abs,max_rel,max_ulp,p99_ulp,bitwise_share,truth_ratio,worst_"      \
    "index\n"

static const char two_sides[] = HEADER "0,c,eval,0,,,,209.5,,2\n"
                                       "0,torch,eval,0,,,,209.5,,3\n"
                                       "1,c,train,10000,0.5,,100,,8,10\n"
                                       "1,torch,train,10000,0.5,,100,,18,20\n"
                                       "2,c,train,20000,0.25,,200,,8,10\n"
                                       "2,torch,train,20000,0.25000001,,200,,18,20\n"
                                       "3,c,train,30000,0.125,,1234.5,,8,10\n"
                                       "3,torch,train,30000,0.13,,1250,,18,20\n";
static const char forced[] = FORCED_HEADER "1,loss,4,0,0,0,0.5,0.5,1.0,passed\n"
                                           "1,actor_grad_norm,4,0,0,0,0.5,0.5,1.0,passed\n"
                                           "2,loss,4,1e-8,4e-8,2,0.25,0.25000001,0.75,passed\n"
                                           "2,actor_grad_norm,4,0,0,0,0.5,0.5,1.0,passed\n"
                                           "3,loss,4,3e-8,4e-8,3,0.25,0.25000003,0.25,passed\n"
                                           "3,actor_grad_norm,4,0,0,0,0.5,0.5,1.0,passed\n";
static const char run_yaml[] = "command: 'dppo train x.yaml'\nwritten: '2024-01-02 03:04:05'\nseed: 42\n"
                               "first: c\nsecond: torch\niterations: 4\nteacher_forced_within: true\n"
                               "teacher_forced_iterations: 3\nteacher_forced_failures: 0\n"
                               "free_equal_iterations: 2\nopenblas: '0.3.21'\n";

static void put_two_sides(void) {
    put("config.yaml", "name: hopper\nseed: 42\n");
    put("metrics.csv", two_sides);
    put("teacher_forced.csv", forced);
    put("run.yaml", run_yaml);
}

static char *read_page(void) {
    char path[256], *page;
    (void)snprintf(path, sizeof path, "%s/report/index.html", folder);
    if (dppo_read_file(path, &page, NULL) != DPPO_OK) fail_msg("%s", dppo_message());
    return page;
}

/* -- wholeness
 * --------------------------------------------------------------------------------------------------- */

static bool is_void(const char *tag) {
    static const char *const names[] = {"meta", "link", "input", "br"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(tag, names[i]) == 0) return true;
    return false;
}

/* Behind "</name>", for elements whose content is not markup. */
static const char *skip_raw(const char *p, const char *tag) {
    char end[64];
    (void)snprintf(end, sizeof end, "</%.40s>", tag);
    p = strstr(p, end);
    assert_non_null(p);
    return p;
}

/* Every element is closed in order, and every attribute's quotes are. */
static void assert_whole(const char *page) {
    static char stack[64][32];
    size_t depth = 0;
    assert_memory_equal(page, "<!DOCTYPE html>", 15);
    for (const char *p = page + 15; (p = strchr(p, '<'));) {
        bool closing = p[1] == '/';
        char tag[32];
        const char *name = p + 1 + closing;
        size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
        if (length == 0 || length >= sizeof tag) fail_msg("stray < in ...%.60s", p);
        memcpy(tag, name, length);
        tag[length] = '\0';
        for (p = name + length; *p && *p != '>'; p++)
            if (*p == '"') {
                p = strchr(p + 1, '"');
                assert_non_null(p);
            }
        assert_int_equal(*p, '>');
        if (closing) {
            if (depth == 0 || strcmp(stack[depth - 1], tag) != 0)
                fail_msg("</%s> closes <%s>", tag, depth ? stack[depth - 1] : "nothing");
            depth--;
        } else if (p[-1] != '/' && !is_void(tag)) {
            assert_true(depth < 64);
            (void)snprintf(stack[depth++], sizeof stack[0], "%s", tag);
            if (strcmp(tag, "script") == 0 || strcmp(tag, "style") == 0) p = skip_raw(p, tag);
        }
    }
    assert_int_equal(depth, 0);
}

/* Coordinates are numbers on the sheet. */
static void assert_drawn(const char *page) {
    static const char *const names[] = {" cx=\"", " x1=\"", " x2=\"", " x=\"",
                                        " cy=\"", " y1=\"", " y2=\"", " y=\""};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (const char *p = page; (p = strstr(p, names[i]));) {
            char *end;
            double value = strtod(p += strlen(names[i]), &end);
            if (*end != '"' || !(value >= 0 && value <= 420)) fail_msg("%s%.20s", names[i], p);
        }
    for (const char *p = page; (p = strstr(p, " d=\""));) {
        p += 4;
        size_t length = strspn(p, "ML0123456789. -lhz");
        if (p[length] != '"') fail_msg("path %.80s", p);
    }
}

static char *reported(void) {
    if (dppo_report_run(folder) != DPPO_OK) fail_msg("%s", dppo_message());
    char *page = read_page();
    assert_whole(page);
    assert_drawn(page);
    return page;
}

static void assert_has(const char *page, const char *part) {
    if (!strstr(page, part)) fail_msg("'%s' is not on the page", part);
}

static void assert_lacks(const char *page, const char *part) {
    const char *found = strstr(page, part);
    if (found) fail_msg("'%s' is on the page: %.80s", part, found);
}

static size_t occurrences(const char *page, const char *part) {
    size_t count = 0;
    for (const char *p = page; (p = strstr(p, part)); p += strlen(part))
        count++;
    return count;
}

/* The table row that begins with this heading. */
static void assert_row(const char *page, const char *heading, const char *cells) {
    char start[256];
    (void)snprintf(start, sizeof start, "<tr><th scope=\"row\">%s</th>%s", heading, cells);
    assert_has(page, start);
}

/* -- runs
 * -------------------------------------------------------------------------------------------------------- */

static void test_parted(void **unused) {
    (void)unused;
    put_two_sides();
    char *page = reported();
    assert_has(page, "class=\"verdict good\"");
    assert_has(page, "<strong>C and libtorch agree</strong>");
    assert_has(page, "<b>3 of 3</b> iterations");
    assert_has(page, "<b>until iteration 2</b>");
    assert_has(page, "Tolerance is first left by loss at iteration 3.");
    assert_has(page, "<b>0.038</b> (loss, iteration 3)");
    /* One chart a metric that has values; "bc loss" has none. Seconds of both modes. */
    assert_int_equal(occurrences(page, "<figure>"), 3 + 3);
    assert_lacks(page, "bc loss");
    assert_int_equal(occurrences(page, "class=\"outside-text\""), 2);
    assert_has(page, "First gap at 2, outside tolerance from 3.");
    assert_row(page, "loss", "<td>3</td><td>0.125</td><td>0.13</td><td>0.005</td><td>3</td>");
    assert_row(page, "avg episode reward - train",
               "<td>3</td><td>1,234.5</td><td>1,250</td><td>15.5</td><td>3</td>");
    assert_row(page, "avg episode reward - eval",
               "<td>0</td><td>209.5</td><td>209.5</td><td>0</td><td>never</td>");
    assert_row(page, "loss", "<td>3e-8</td><td>4e-8</td><td>3 / 3</td>"); /* the worst of all iterations */
    assert_row(page, "actor_grad_norm", "<td>0</td><td>0</td><td>no gap</td>");
    assert_has(page, "<td>66.67 %</td>"); /* 8 of 12 values of the loss */
    assert_has(page, "10 C, 20 libtorch");
    assert_has(page, "C is 2 times as fast");
    assert_has(page, "30,000");
    assert_has(page, "<code>dppo train x.yaml</code>");
    free(page);
}

static void test_equal(void **unused) {
    (void)unused;
    put_two_sides();
    put("metrics.csv", HEADER "1,c,train,10,0.5,,100,,8,10\n1,torch,train,10,0.5,,100,,18,20\n");
    put("run.yaml", "second: torch\nteacher_forced_iterations: 3\nteacher_forced_failures: 0\n"
                    "free_equal_iterations: -1\n");
    char *page = reported();
    assert_has(page, "<strong>C and libtorch agree in every bit</strong>");
    assert_has(page, "<b>equal in every bit for all 1 iteration</b>");
    assert_has(page, "No gap at any point.");
    assert_lacks(page, "outside-text\" text-anchor");
    assert_has(page, "<path class=\"zero-dot\" d=\"M233.0 290.0h0\""); /* a row of its own for zeros */
    assert_has(page, "<path class=\"gap-dot\" d=\"\"/>");
    free(page);
}

static void test_level_1_fails(void **unused) {
    (void)unused;
    put_two_sides();
    put("teacher_forced.csv", FORCED_HEADER "1,loss,4,0,0,0,0.5,0.5,1.0,passed\n"
                                            "2,loss,4,0.5,1,2,0.25,0.75,0.75,failed\n"
                                            "2,ratio,4,nan,nan,2,nan,0.75,0.75,failed\n"
                                            "3,minibatches,1,2,,0,10,12,0,failed\n");
    put("run.yaml", "second: torch\nteacher_forced_iterations: 3\nteacher_forced_failures: 2\n"
                    "free_equal_iterations: 2\n");
    char *page = reported();
    assert_has(page, "class=\"verdict bad\"");
    assert_has(page, "<strong>C and libtorch disagree</strong>");
    assert_has(page, "<b>1 of 3</b>");
    assert_has(page, "<b>loss</b> (gap 0.5 at iteration 2)");
    assert_has(page, "<b>ratio</b> (gap NaN at iteration 2)");
    assert_row(page, "minibatches", "<td>2</td>");
    free(page);
}

/* The evidence counts, not what run.yaml says about it. */
static void test_contradiction(void **unused) {
    (void)unused;
    put_two_sides();
    put("teacher_forced.csv", FORCED_HEADER "2,loss,4,0.5,1,2,0.25,0.75,0.75,failed\n");
    char *page = reported();
    assert_has(page, "class=\"verdict bad\"");
    assert_has(page, "run.yaml counts other failures");
    free(page);
}

/* The same number of iterations, but run.yaml knows of no failure. */
static void test_other_failures(void **unused) {
    (void)unused;
    put_two_sides();
    put("run.yaml", "second: torch\nteacher_forced_iterations: 3\nteacher_forced_failures: 1\n");
    char *page = reported();
    assert_has(page, "class=\"verdict bad\"");
    assert_has(page, "<b>3 of 3</b>");
    assert_has(page, "run.yaml counts other failures");
    free(page);
}

/* Evidence of level 1 but no run.yaml: the page does not guess how long the bits were equal. */
static void test_unfinished(void **unused) {
    (void)unused;
    put_two_sides();
    drop("run.yaml");
    char *page = reported();
    assert_has(page, "<b>3 of 3</b>");
    assert_has(page, "how long every bit is equal is not recorded");
    assert_has(page, "run.yaml is missing: the run was stopped or still goes on.");
    assert_lacks(page, "agree in every bit");
    free(page);
}

static void test_nothing_compared(void **unused) {
    (void)unused;
    put_two_sides();
    drop("teacher_forced.csv");
    drop("run.yaml");
    char *page = reported();
    assert_has(page, "class=\"verdict neutral\"");
    assert_has(page, "no update was compared");
    assert_has(page, "run.yaml is missing");
    free(page);
}

static void test_single_side(void **unused) {
    (void)unused;
    put("config.yaml", "name: hopper\n");
    put("metrics.csv", HEADER "0,c,eval,0,,,,209.5,,2\n1,c,train,10000,0.5,,100,,8,10\n");
    put("run.yaml", "command: x\nseed: 42\nfirst: c\nsecond: null\niterations: 2\n");
    char *page = reported();
    assert_has(page, "class=\"verdict neutral\"");
    assert_has(page, "one side only");
    assert_has(page, "C only, nothing compared");
    assert_lacks(page, "<path class=\"torch\"");
    assert_lacks(page, "<path class=\"gap\"");
    assert_lacks(page, "<th scope=\"col\">libtorch</th>");
    assert_has(page, "209.5 \xE2\x86\x92 209.5");
    free(page);
    put("metrics.csv", HEADER "0,torch,eval,0,,,,209.5,,2\n");
    page = reported();
    assert_has(page, "libtorch only, nothing compared");
    assert_lacks(page, "<path class=\"c\"");
    free(page);
}

static void test_pretraining(void **unused) {
    (void)unused;
    put("config.yaml", "name: pre\n");
    put("metrics.csv", "epoch,side,loss - train,grad norm,seconds - update\n"
                       "1,c,0.5,1.5,2\n1,torch,0.5,1.5,4\n2,c,0.25,1.25,2\n2,torch,0.25,1.25,4\n");
    put("teacher_forced.csv",
        FORCED_HEADER "1,loss,4,0,0,0,0.5,0.5,1.0,passed\n2,loss,4,0,0,0,0.5,0.5,1.0,passed\n");
    put("run.yaml", "second: torch\nteacher_forced_iterations: 2\nteacher_forced_failures: 0\n"
                    "free_equal_iterations: -1\n");
    char *page = reported();
    assert_has(page, "<h1>Pre-training run</h1>");
    assert_has(page, "<b>2 of 2</b> epochs");
    assert_has(page, "equal in every bit for all 2 epochs");
    assert_has(page, "C: loss - train");
    assert_has(page, "best 0.25 at 2"); /* the lowest loss */
    assert_has(page, ">epoch</text>");
    assert_int_equal(occurrences(page, "<figure>"), 3);
    assert_lacks(page, "Environment steps");
    free(page);
}

/* -- what files may hold
 * ----------------------------------------------------------------------------------------- */

static void test_escaping(void **unused) {
    (void)unused;
    put_two_sides();
    put("config.yaml", "name: '<b>bold</b>'\nx: '</pre><script>alert(1)</script>'\n");
    put("metrics.csv", "itr,side,mode,\"a<i>\"\"b,c\"\n1,c,train,1\n1,torch,train,2\n");
    put("teacher_forced.csv", FORCED_HEADER "1,<script>evil()</script>,4,1,0,0,0.5,0.5,1.0,failed\n");
    put("run.yaml", "command: 'a & b \"<img src=x>\" \"'\n'<key>': '''\"'\n");
    put("parity.csv", PARITY_HEADER "<u>f</u>,x,out,c_torch,passed,0,0,0,0,1,,\n");
    char *page = reported();
    assert_lacks(page, "<script>evil");
    assert_lacks(page, "<script>alert");
    assert_lacks(page, "<b>bold");
    assert_lacks(page, "<img");
    assert_lacks(page, "<key>");
    assert_lacks(page, "<u>");
    assert_lacks(page, "a<i>");
    assert_has(page, "a&lt;i&gt;&quot;b,c");
    assert_has(page, "&lt;/pre&gt;&lt;script&gt;alert(1)");
    assert_has(page, "a &amp; b &quot;&lt;img src=x&gt;&quot;");
    free(page);
}

static void test_strange_values(void **unused) {
    (void)unused;
    put_two_sides();
    put("metrics.csv",
        HEADER "1,c,train,1e300,nan,1e308,inf,,1e-320,1\n1,torch,train,1,1,-1e308,5,,0,1\n"
               "900000000000,c,train,2,inf,1e308,-inf,,1,1\n900000000000,torch,train,2,inf,1e999,,,1,1\n"
               "900000000001,c,train,3,-nan,0,-1e-300,,,\n");
    char *page = reported();
    assert_has(page, "C is no finite number at 3 of 3 points.");
    assert_has(page, "class=\"outside-dot\""); /* a gap that is no number is marked */
    assert_row(page, "loss", "<td>900,000,000,001</td><td>NaN</td><td>NaN</td>");
    assert_has(page, "outside tolerance from 1.");
    free(page);
}

/* An infinite limit allows nothing; late iterations have an axis. */
static void test_infinite_on_one_side(void **unused) {
    (void)unused;
    put_two_sides();
    put("metrics.csv", "itr,side,mode,loss\n900000000000,c,train,1\n900000000000,torch,train,1\n"
                       "900000000001,c,train,1\n900000000001,torch,train,inf\n");
    char *page = reported();
    assert_row(page, "loss",
               "<td>900,000,000,001</td><td>1</td><td>inf</td><td>inf</td>"
               "<td>900,000,000,001</td><td class=\"left\"><span class=\"badge neutral\">outside");
    free(page);
}

/* More iterations than a chart has room for dots and tooltips. */
static void test_long_run(void **unused) {
    (void)unused;
    put_two_sides();
    dppo_text csv = {0};
    dppo_text_add(&csv, "itr,side,mode,loss\n");
    for (int i = 0; i < 1000; i++)
        dppo_text_format(&csv, "%d,c,train,%.9g\n%d,torch,train,%.9g\n", i, sin(i), i,
                         sin(i) * (1 + 1e-9 * i));
    put("metrics.csv", csv.bytes);
    dppo_text_free(&csv);
    char *page = reported();
    assert_true(occurrences(page, "class=\"hit\"") <= 120);
    assert_has(page, "<path class=\"c-dot\" d=\"\"/>");
    free(page);
}

static void test_one_iteration_one_metric(void **unused) {
    (void)unused;
    put("config.yaml", "");
    put("metrics.csv", "itr,side,loss\r\n7,c,0\r\n"); /* from Windows, and without a mode */
    char *page = reported();
    assert_has(page, "<path class=\"c-dot\" d=\"M233.0 168.0h0\"/>");
    assert_row(page, "loss", "<td>7</td><td>0</td>");
    free(page);
}

static void test_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *file, *content, *message;
    } cases[] = {
        {"metrics.csv", "", "metrics.csv:1: empty, no header"},
        {"metrics.csv", "\n\n", "metrics.csv:1: empty, no header"},
        {"metrics.csv", HEADER, "metrics.csv: no rows below the header"},
        {"metrics.csv", "a,b\n1,2\n", "metrics.csv:1: no column 'itr'"},
        {"metrics.csv", "itr,loss\n1,2\n", "metrics.csv:1: no column 'side'"},
        {"metrics.csv", "itr,side,loss\n1,c,2\n\n2,c\n", "metrics.csv:4: 2 cells where the header has 3"},
        {"metrics.csv", "itr,side,loss\n1,c,2\n2,c,1,5\n", "metrics.csv:3: 4 cells where the header has 3"},
        {"metrics.csv", "itr,side,loss\n1,c,12x\n", "metrics.csv:2: loss: '12x' is not a number"},
        {"metrics.csv", "itr,side,loss\n1.5,c,1\n", "metrics.csv:2: itr: '1.5' is not an integer"},
        {"metrics.csv", "itr,side,loss\n,c,1\n", "metrics.csv:2: itr: '' is not an integer"},
        {"metrics.csv", "itr,side,loss\n99999999999999999999,c,1\n", "is not an integer"},
        {"metrics.csv", "itr,side,loss\n-1,c,1\n", "metrics.csv:2: itr: -1 is no count"},
        {"metrics.csv", "itr,side,loss\n1000000000001,c,1\n",
         "metrics.csv:2: itr: 1000000000001 is no count"},
        {"metrics.csv", "itr,side,loss\n1,jax,1\n", "metrics.csv:2: side: 'jax' is neither c nor torch"},
        {"metrics.csv", "itr,side,mode,loss\n1,c,test,1\n", "metrics.csv:2: mode: 'test' is neither"},
        {"metrics.csv", "itr,side,loss\n1,c,1\n1,c,2\n",
         "metrics.csv:3: iteration 1 of side c a second time"},
        {"metrics.csv", "itr,side,loss\n2,c,1\n1,c,2\n", "metrics.csv:3: iteration 1 after iteration 2"},
        {"metrics.csv", "itr,side,loss\n1,c,\"2\n", "metrics.csv:2: a quote that is never closed"},
        {"teacher_forced.csv", "itr,quantity\n1,loss\n", "teacher_forced.csv:1: no column 'count'"},
        {"teacher_forced.csv", FORCED_HEADER "1,loss,4,x,0,0,0,0,1,passed\n",
         "teacher_forced.csv:2: max_abs: 'x'"},
        {"teacher_forced.csv", FORCED_HEADER "1,loss,4,0,0,0,0,0,1,maybe\n",
         "teacher_forced.csv:2: status: 'maybe'"},
        {"teacher_forced.csv", FORCED_HEADER "1,loss,-4,0,0,0,0,0,1,passed\n", "teacher_forced.csv:2: count"},
        {"parity.csv", "function,case\nf,x\n", "parity.csv:1: no column"},
        {"parity.csv", PARITY_HEADER "f,x,out,c_jax,passed,0,0,0,0,1,,\n", "parity.csv:2: pair: 'c_jax'"},
        {"parity.csv", PARITY_HEADER "f,x,out,c_torch,good,0,0,0,0,1,,\n", "parity.csv:2: status: 'good'"},
        {"run.yaml", "a: [1\n", "run.yaml"},
        {"run.yaml", "free_equal_iterations: many\n", "run.yaml:1: free_equal_iterations: must be an int"},
    };
    put_two_sides();
    char *before = reported();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put_two_sides();
        drop("parity.csv");
        put(cases[i].file, cases[i].content);
        assert_int_not_equal(dppo_report_run(folder), DPPO_OK);
        if (!strstr(dppo_message(), cases[i].message))
            fail_msg("'%s' is not in '%s'", cases[i].message, dppo_message());
        assert_null(strchr(dppo_message(), '\n'));
        assert_non_null(strstr(dppo_message(), folder));
        char *after = read_page();
        assert_string_equal(before, after); /* the old page stays */
        free(after);
    }
    free(before);
}

static void test_refused_files(void **unused) {
    (void)unused;
    put_two_sides();
    put_bytes("metrics.csv", "itr,side\n1,c\0\n", 14);
    assert_int_equal(dppo_report_run(folder), DPPO_FORMAT);
    assert_non_null(strstr(dppo_message(), "metrics.csv: not text"));
    drop("metrics.csv");
    assert_int_equal(dppo_report_run(folder), DPPO_IO);
    assert_non_null(strstr(dppo_message(), "metrics.csv"));
    put_two_sides();
    drop("config.yaml");
    assert_int_equal(dppo_report_run(folder), DPPO_IO);
    assert_non_null(strstr(dppo_message(), "config.yaml"));
}

/* -- parity
 * ------------------------------------------------------------------------------------------------------ */

static void test_parity_in_run(void **unused) {
    (void)unused;
    put_two_sides();
    put("parity.csv", PARITY_HEADER "a.near,x,out,c_torch,passed,1e-7,0,3,0,0.5,1.25,(0)\n"
                                    "a.near,x,out,c_record,passed,1e-7,0,900,0,0.1,,(0)\n"
                                    "a.near,y,out,c_record,skipped,,,,,,,\n"
                                    "b.far,x,out,c_record,passed,1e-6,0,70,0,0.25,,(0)\n"
                                    "c.same,x,out,c_torch,passed,0,0,0,0,1,,\n"
                                    "d.none,x,,c_torch,skipped,,,,,,,\n"
                                    "e.bad,x,out,c_torch,failed,1,0,5,0,0.999999,,\n"
                                    "e.bad,y,out,c_torch,passed,0,0,0,0,1,,\n");
    char *page = reported();
    assert_has(page, "class=\"verdict bad\"");
    assert_has(page, "Function parity: <b>1 failed</b> (of 5 functions).");
    assert_has(page, "5 functions, 1 of them equal in every bit, <b>1 failed</b>");
    static const char *const order[] = {"e.bad</th>", "b.far</th>", "a.near</th>", "c.same</th>",
                                        "d.none</th>"};
    const char *p = page;
    for (size_t i = 0; i < 5; i++) {
        const char *next = strstr(p, order[i]);
        if (!next) fail_msg("%s is missing or stands too early", order[i]);
        p = next;
    }
    assert_row(page, "e.bad",
               "<td>2</td><td class=\"left\"><span class=\"badge bad\">failed</span></td>"
               "<td class=\"left\">C, libtorch</td><td>5</td><td>&gt;99.99 %</td>");
    /* The pair with libtorch counts, not the one with the record. */
    assert_row(page, "a.near",
               "<td>2</td><td class=\"left\"><span class=\"badge neutral\">partly skipped</span></td>"
               "<td class=\"left\">C, libtorch</td><td>3</td><td>50.00 %</td><td>1.25</td>");
    assert_row(page, "c.same", "<td>1</td><td class=\"left\"><span class=\"badge good\">equal in every bit");
    free(page);
}

static void add_case(dppo_parity_results *results, const char *function, const char *name,
                     dppo_verdict verdict, double max_ulp, const char *message) {
    dppo_parity_result result = {
        .file = strdup("t.h5"), .function = strdup(function), .name = strdup(name), .verdict = verdict};
    char answer[] = "out/result";
    dppo_parity_row row = {.answer = answer,
                           .pair = DPPO_C_TORCH,
                           .verdict = verdict,
                           .truth_ratio = NAN,
                           .numbers = {.count = 10,
                                       .max_abs = max_ulp * 1e-7,
                                       .max_ulp = max_ulp,
                                       .bitwise_share = max_ulp > 0 ? 0.5 : 1}};
    (void)snprintf(row.numbers.worst_index, sizeof row.numbers.worst_index, "(2, 3)");
    (void)snprintf(row.numbers.message, sizeof row.numbers.message, "%s", message);
    if (verdict == DPPO_SKIPPED)
        (void)snprintf(result.message, sizeof result.message, "%s", message);
    else
        assert_int_equal(dppo_parity_result_row(&result, &row), DPPO_OK);
    assert_int_equal(dppo_parity_results_add(results, &result), DPPO_OK);
}

static char *parity_page(const dppo_parity_results *results) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/report", folder);
    if (dppo_report_parity(results, path) != DPPO_OK) fail_msg("%s", dppo_message());
    char *page = read_page();
    assert_whole(page);
    return page;
}

static void test_parity_page(void **unused) {
    (void)unused;
    dppo_parity_results results = {.with_torch = true};
    char *page = parity_page(&results);
    assert_has(page, "Nothing was judged");
    free(page);
    add_case(&results, "torch.exp", "plain", DPPO_PASSED, 0, "");
    add_case(&results, "torch.sum", "long", DPPO_PASSED, 1234, "");
    page = parity_page(&results);
    assert_has(page, "class=\"verdict good\"");
    assert_has(page, "<b>2 passed, 0 failed, 0 skipped</b> of 2 cases of 2 functions; 1 functions are equal");
    assert_true(strstr(page, "torch.sum</th>") < strstr(page, "torch.exp</th>"));
    assert_has(page, "<td>1,234</td><td>50.00 %</td>");
    assert_lacks(page, "id=\"failed\"");
    free(page);
    add_case(&results, "torch.new", "plain", DPPO_SKIPPED, 0, "unknown <function>");
    page = parity_page(&results);
    assert_has(page, "class=\"verdict neutral\"");
    assert_has(page, "torch.new/plain: unknown &lt;function&gt;");
    free(page);
    add_case(&results, "torch.bad", "plain", DPPO_FAILED, 7, "3 of 10 <outside>");
    page = parity_page(&results);
    assert_has(page, "class=\"verdict bad\"");
    assert_has(page, "Parity is broken");
    assert_row(page, "torch.bad/plain",
               "<td class=\"left\">out/result</td><td class=\"left\">c_torch</td>"
               "<td>7e-7</td><td>7</td><td class=\"left\">(2, 3)</td>"
               "<td class=\"left wide\">3 of 10 &lt;outside&gt;</td>");
    free(page);
    dppo_parity_results_free(&results);
}

static void test_parity_unreadable(void **unused) {
    (void)unused;
    dppo_parity_results results = {0};
    add_case(&results, "torch.exp", "plain", DPPO_PASSED, 0, "");
    assert_int_equal(dppo_parity_results_error(&results, "x.h5", "", "x.h5: <torn>"), DPPO_OK);
    char *page = parity_page(&results);
    assert_has(page, "class=\"verdict bad\"");
    assert_has(page, "<li>x.h5: &lt;torn&gt;</li>");
    assert_has(page, "libtorch took no part");
    free(page);
    dppo_parity_results_free(&results);
}

/* -- pieces
 * ------------------------------------------------------------------------------------------------------ */

static void test_numbers(void **unused) {
    (void)unused;
    static const struct {
        double value;
        int digits;
        const char *text;
    } cases[] = {
        {0, 3, "0"},
        {-0.0, 3, "0"},
        {1, 3, "1"},
        {999, 3, "999"},
        {1000, 3, "1,000"},
        {-1234567, 7, "-1,234,567"},
        {1234.5, 5, "1,234.5"},
        {1234.56, 3, "1,235"},
        {0.125, 3, "0.125"},
        {0.1, 9, "0.1"},
        {0.01234, 2, "0.012"},
        {1e-4, 3, "0.0001"},
        {1.5e-7, 3, "1.5e-7"},
        {-2e-12, 3, "-2e-12"},
        {1e9, 3, "1e9"},
        {1.25e300, 3, "1.25e300"},
        {NAN, 3, "NaN"},
        {INFINITY, 3, "inf"},
        {-INFINITY, 3, "-inf"},
        {999.9999, 3, "1,000"},
        {123456789, 3, "123,456,789"},
    };
    char buffer[DPPO_NUMBER_TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(dppo_number_text(cases[i].value, cases[i].digits, buffer), cases[i].text);
}

static void test_percent(void **unused) {
    (void)unused;
    dppo_text text = {0};
    static const double shares[] = {1, 0, 0.5, 0.9999999, 1e-9};
    for (size_t i = 0; i < 5; i++) {
        dppo_html_percent(&text, shares[i]);
        dppo_text_add(&text, ";");
    }
    assert_string_equal(text.bytes, "100 %;0 %;50.00 %;&gt;99.99 %;&lt;0.01 %;");
    dppo_text_free(&text);
}

static void test_quoted_cells(void **unused) {
    (void)unused;
    dppo_table table;
    char path[256];
    put("parity.csv", "\xEF\xBB\xBF"
                      "a,\"b,\"\"c\"\"\nd\"\r\n\"1\",\"\"\r\n,2");
    (void)snprintf(path, sizeof path, "%s/parity.csv", folder);
    assert_int_equal(dppo_table_read(path, &table), DPPO_OK);
    assert_int_equal(table.columns, 2);
    assert_int_equal(table.rows, 2);
    assert_int_equal(dppo_table_column(&table, "b,\"c\"\nd"), 1);
    assert_string_equal(dppo_table_cell(&table, 0, 0), "1");
    assert_string_equal(dppo_table_cell(&table, 0, 1), "");
    assert_string_equal(dppo_table_cell(&table, 1, 1), "2");
    assert_int_equal(table.lines[2], 4); /* the header took two lines */
    dppo_table_free(&table);
}

/* What ctest opens in a browser: a page with everything on it. */
static void test_page_for_the_browser(void **unused) {
    (void)unused;
    put_two_sides();
    put("parity.csv", PARITY_HEADER "torch.exp,x,out,c_torch,passed,0,0,0,0,1,,\n");
    char *page = reported();
    static const char *const ids[] = {"verdict",        "figures", "charts", "finals",
                                      "teacher-forced", "phases",  "parity", "provenance"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char id[64];
        (void)snprintf(id, sizeof id, "id=\"%s\"", ids[i]);
        assert_int_equal(occurrences(page, id), 1);
    }
    assert_lacks(page, "http");
    assert_has(page, "prefers-color-scheme:dark");
    if (getenv("REPORT_PAGE")) {
        dppo_text text = {0};
        dppo_text_add(&text, page);
        if (dppo_text_save(&text, getenv("REPORT_PAGE")) != DPPO_OK) fail_msg("%s", dppo_message());
        dppo_text_free(&text);
    }
    free(page);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_scratch, remove_scratch)
    const struct CMUnitTest tests[] = {
        TEST(test_parted),
        TEST(test_equal),
        TEST(test_level_1_fails),
        TEST(test_contradiction),
        TEST(test_nothing_compared),
        TEST(test_single_side),
        TEST(test_pretraining),
        TEST(test_escaping),
        TEST(test_strange_values),
        TEST(test_long_run),
        TEST(test_one_iteration_one_metric),
        TEST(test_refused),
        TEST(test_refused_files),
        TEST(test_parity_in_run),
        TEST(test_parity_page),
        TEST(test_parity_unreadable),
        TEST(test_other_failures),
        TEST(test_unfinished),
        TEST(test_infinite_on_one_side),
        TEST(test_numbers),
        TEST(test_percent),
        TEST(test_quoted_cells),
        TEST(test_page_for_the_browser),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
