#include "cli/cli.h"

#include "base/log.h"
#include "base/pool.h"
#include "report/report.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- options shared by the verbs that run cases
 * ------------------------------------------------------------------ */

typedef struct arguments {
    const char *csv, *junit, *markdown, *report;
    dppo_parity_options run;
    int file_count;
    char **files;
} arguments;

static bool choose_side(const char *word, dppo_parity_options *run) {
    if (strcmp(word, "c") == 0) {
        run->torch = NULL;
    } else if (strcmp(word, "torch") == 0) {
        run->c = NULL;
    } else if (strcmp(word, "both") != 0) {
        (void)fprintf(stderr, "dppo: --side is c, torch or both, not %s\n", word);
        return false;
    }
    if (run->c || run->torch) return true;
    (void)fputs("dppo: this build has no libtorch side\n", stderr);
    return false;
}

static bool parse(int argc, char **argv, arguments *given) {
    static const struct option options[] = {
        {"csv", required_argument, NULL, 'c'},      {"junit", required_argument, NULL, 'j'},
        {"markdown", required_argument, NULL, 'm'}, {"report", required_argument, NULL, 'r'},
        {"side", required_argument, NULL, 's'},     {NULL, 0, NULL, 0},
    };
    int option;
    const char *side = "both";
    *given = (arguments){.run = {.c = dppo_c_side(), .torch = dppo_torch_side()}};
    optind = 0; /* glibc: start over */
    while ((option = getopt_long(argc, argv, "k:", options, NULL)) != -1) {
        switch (option) {
        case 'k':
            given->run.pattern = optarg;
            break;
        case 'c':
            given->csv = optarg;
            break;
        case 'j':
            given->junit = optarg;
            break;
        case 'm':
            given->markdown = optarg;
            break;
        case 'r':
            given->report = optarg;
            break;
        case 's':
            side = optarg;
            break;
        default:
            return false;
        }
    }
    given->files = argv + optind;
    given->file_count = argc - optind;
    return choose_side(side, &given->run);
}

/* One thread: libtorch's results change with their number, ours do not. */
static dppo_status run_files(const arguments *given, dppo_parity_results *results) {
    dppo_file_list files;
    dppo_status status = dppo_fixture_files(given->file_count, given->files, &files);
    dppo_catch_interrupt();
    dppo_set_threads(1);
    for (size_t i = 0; status == DPPO_OK && i < files.count; i++) {
        size_t before = results->error_count;
        status = dppo_parity_run_file(files.paths[i], &given->run, results);
        for (size_t e = before; e < results->error_count; e++)
            (void)fprintf(stderr, "dppo: %s\n", results->errors[e]);
    }
    dppo_file_list_free(&files);
    return status;
}

/* -- run
 * -----------------------------------------------------------------------------------------------------------
 */

/* Equal in every bit, or how far apart, for each pair that was judged. */
static void print_numbers(const dppo_parity_result *result) {
    dppo_parity_summary summary;
    for (dppo_pair pair = DPPO_C_TORCH; pair <= DPPO_TORCH_RECORD; pair++) {
        if (!dppo_parity_summarise(result, pair, &summary)) continue;
        (void)printf("  %s: ", dppo_pair_name(pair));
        if (summary.bitwise_share == 1 && summary.max_ulp == 0)
            (void)printf("equal");
        else
            (void)printf("%.6g ulp", summary.max_ulp);
    }
}

static void print_result(void *context, const dppo_parity_result *result) {
    (void)context;
    (void)printf("%-7s  %s/%s", dppo_verdict_name(result->verdict), result->function, result->name);
    print_numbers(result);
    if (result->message[0]) (void)printf("  (%s)", result->message);
    (void)printf("\n");
    for (size_t i = 0; i < result->count; i++)
        if (result->rows[i].verdict == DPPO_FAILED)
            (void)printf("         %s %s: %s\n", dppo_pair_name(result->rows[i].pair), result->rows[i].answer,
                         result->rows[i].numbers.message);
    (void)fflush(stdout);
}

typedef void writer(const dppo_parity_results *results, dppo_text *text);

static dppo_status write_file(const dppo_parity_results *results, writer *write, const char *path) {
    if (!path) return DPPO_OK;
    dppo_text text = {0};
    write(results, &text);
    dppo_status status = dppo_text_save(&text, path);
    dppo_text_free(&text);
    return status;
}

/* In a GitHub job the findings also go where a reviewer looks: annotations and the job's summary. */
static dppo_status tell_github(const dppo_parity_results *results) {
    const char *inside = getenv("GITHUB_ACTIONS"), *summary = getenv("GITHUB_STEP_SUMMARY");
    dppo_text text = {0};
    if (!inside || strcmp(inside, "true") != 0) return DPPO_OK;
    dppo_parity_annotations(results, &text);
    if (text.bytes) (void)fputs(text.bytes, stdout);
    dppo_text_free(&text);
    FILE *file = summary && summary[0] ? fopen(summary, "ae") : NULL;
    if (!file)
        return summary && summary[0] ? dppo_fail(DPPO_IO, "%s: cannot be appended to", summary) : DPPO_OK;
    dppo_parity_markdown(results, &text);
    bool good = text.bytes && fputs(text.bytes, file) >= 0;
    dppo_text_free(&text);
    if (fclose(file) != 0 || !good) return dppo_fail(DPPO_IO, "%s: cannot be written", summary);
    return DPPO_OK;
}

static dppo_status write_all(const arguments *given, const dppo_parity_results *results) {
    DPPO_TRY(write_file(results, dppo_parity_csv, given->csv));
    DPPO_TRY(write_file(results, dppo_parity_junit, given->junit));
    DPPO_TRY(write_file(results, dppo_parity_markdown, given->markdown));
    if (given->report) DPPO_TRY(dppo_report_parity(results, given->report));
    return tell_github(results);
}

static int exit_status(const dppo_parity_results *results) {
    if (results->error_count > 0) return DPPO_EXIT_USAGE;
    if (results->failed > 0) return DPPO_EXIT_MISMATCH;
    /* Nothing selected is nothing proved. */
    if (results->skipped > 0 || results->count == 0) return DPPO_EXIT_MISSING;
    return DPPO_EXIT_OK;
}

static int run_verb(int argc, char **argv) {
    arguments given;
    dppo_parity_results results = {0};
    if (!parse(argc, argv, &given)) return DPPO_EXIT_USAGE;
    given.run.each = print_result;
    if (!dppo_torch_side())
        (void)puts("built without libtorch: C is compared with the record only (c_record)");
    dppo_status status = run_files(&given, &results);
    bool ran = status == DPPO_OK;
    if (ran) status = write_all(&given, &results);
    int code = status == DPPO_OK ? exit_status(&results) : dppo_cli_error();
    if (results.count == 0 && status == DPPO_OK && results.error_count == 0)
        (void)fprintf(stderr, "dppo: no case %s%s\n", given.run.pattern ? "matches " : "to run",
                      given.run.pattern ? given.run.pattern : "");
    if (ran)
        (void)printf("%zu passed, %zu failed, %zu skipped\n", results.passed, results.failed,
                     results.skipped);
    dppo_parity_results_free(&results);
    return code;
}

static const dppo_verb run_leaf = {
    .name = "run",
    .summary = "run cases and judge the answers",
    .usage =
        "usage: dppo parity run [FILES..] [-k PATTERN] [--side c|torch|both]\n"
        "                       [--csv F] [--junit F] [--markdown F] [--report DIR]\n\n"
        "Runs every case of the files (default: $DPPO_FIXTURES, else the installed or source fixtures/*.h5) "
        "in\n"
        "C and in libtorch, and compares both with each other, with the record and with float64 truth.\n\n"
        "  -k PATTERN     only cases whose FUNCTION/CASE contains PATTERN or matches it as a glob\n"
        "  --side SIDE    only this side against the record (default: both)\n"
        "  --csv F        a row per case, answer and pair of sides\n"
        "  --junit F      JUnit XML with the numbers in it\n"
        "  --markdown F   a summary for people\n"
        "  --report DIR   writes DIR/index.html\n\n"
        "Exit status: 0 all passed, 1 a case failed, 2 usage or an unreadable file, 3 a case was skipped.\n",
    .run = run_verb,
};

/* -- list
 * ----------------------------------------------------------------------------------------------------------
 */

typedef struct listed {
    const char *function; /* borrowed from a side's list or owned by `owned` */
    char *owned;
    size_t cases;
} listed;

typedef struct listing {
    listed *rows;
    size_t count;
} listing;

/* The row of a function, made when it is new; NULL when memory is exhausted. */
static listed *listing_add(listing *list, const char *function, size_t length) {
    for (size_t i = 0; i < list->count; i++)
        if (strlen(list->rows[i].function) == length &&
            strncmp(list->rows[i].function, function, length) == 0)
            return &list->rows[i];
    listed *rows = realloc(list->rows, (list->count + 1) * sizeof *rows);
    if (!rows) return NULL;
    list->rows = rows;
    char *owned = strndup(function, length);
    if (!owned) return NULL;
    rows[list->count] = (listed){owned, owned, 0};
    return &rows[list->count++];
}

static void listing_free(listing *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->rows[i].owned);
    free(list->rows);
}

static bool list_side(listing *list, const dppo_parity_side *side, const char *pattern) {
    for (size_t i = 0; side && i < side->count; i++)
        if (dppo_parity_selected(side->names[i], pattern) &&
            !listing_add(list, side->names[i], strlen(side->names[i])))
            return false;
    return true;
}

/* Counts the cases of a file without reading them. */
static dppo_status list_file(listing *list, const char *path, const char *pattern) {
    dppo_case_file *file;
    DPPO_TRY(dppo_case_file_open(path, &file));
    dppo_status status = DPPO_OK;
    for (size_t i = 0; status == DPPO_OK && i < dppo_case_file_count(file); i++) {
        const char *title = dppo_case_file_name(file, i);
        if (!dppo_parity_selected(title, pattern)) continue;
        listed *row = listing_add(list, title, (size_t)(strchr(title, '/') - title));
        if (row)
            row->cases++;
        else
            status = dppo_fail(DPPO_NO_MEMORY, "out of memory");
    }
    dppo_case_file_close(file);
    return status;
}

static int by_function(const void *a, const void *b) {
    return strcmp(((const listed *)a)->function, ((const listed *)b)->function);
}

static const char *mark(const dppo_parity_side *side, const char *function) {
    if (!side) return "not built";
    return dppo_side_has(side, function) ? "yes" : "-";
}

static void print_listing(const listing *list) {
    size_t cases = 0, without_case = 0, no_c = 0, no_torch = 0;
    const dppo_parity_side *c = dppo_c_side(), *torch = dppo_torch_side();
    (void)printf("%-44s %6s  %-4s %s\n", "function", "cases", "C", "torch");
    for (size_t i = 0; i < list->count; i++) {
        const listed *row = &list->rows[i];
        (void)printf("%-44s %6zu  %-4s %s%s\n", row->function, row->cases, mark(c, row->function),
                     mark(torch, row->function), row->cases ? "" : "   no case");
        cases += row->cases;
        without_case += row->cases == 0;
        no_c += !dppo_side_has(c, row->function);
        no_torch += torch && !dppo_side_has(torch, row->function);
    }
    (void)printf("%zu functions, %zu cases; %zu without a case, %zu without C", list->count, cases,
                 without_case, no_c);
    if (torch) (void)printf(", %zu without torch", no_torch);
    (void)printf("\n");
}

static int list_functions(const arguments *given) {
    listing list = {0};
    dppo_file_list files;
    bool bad = false;
    dppo_status status = dppo_fixture_files(given->file_count, given->files, &files);
    bool room = list_side(&list, dppo_c_side(), given->run.pattern) &&
                list_side(&list, dppo_torch_side(), given->run.pattern);
    if (!room) status = dppo_fail(DPPO_NO_MEMORY, "out of memory");
    for (size_t i = 0; status == DPPO_OK && i < files.count; i++) {
        if (list_file(&list, files.paths[i], given->run.pattern) == DPPO_OK) continue;
        (void)dppo_cli_error();
        bad = true;
    }
    if (status == DPPO_OK && list.count) {
        qsort(list.rows, list.count, sizeof *list.rows, by_function);
        print_listing(&list);
    }
    dppo_file_list_free(&files);
    listing_free(&list);
    if (status != DPPO_OK) return dppo_cli_error();
    return bad ? DPPO_EXIT_USAGE : DPPO_EXIT_OK;
}

/* The listing with numbers: runs everything first. */
static int list_measured(const arguments *given) {
    dppo_parity_results results = {0};
    dppo_text text = {0};
    dppo_status status = run_files(given, &results);
    if (status == DPPO_OK) {
        dppo_parity_function_table(&results, &text);
        if (text.bytes) (void)fputs(text.bytes, stdout);
    }
    int code = status != DPPO_OK ? dppo_cli_error() : results.error_count ? DPPO_EXIT_USAGE : DPPO_EXIT_OK;
    dppo_text_free(&text);
    dppo_parity_results_free(&results);
    return code;
}

static int list_verb(int argc, char **argv) {
    arguments given;
    bool measured = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--markdown") != 0) continue;
        measured = true;
        memmove(argv + i, argv + i + 1, (size_t)(argc - i) * sizeof *argv);
        argc--;
        break;
    }
    if (!parse(argc, argv, &given)) return DPPO_EXIT_USAGE;
    return measured ? list_measured(&given) : list_functions(&given);
}

static const dppo_verb list_leaf = {
    .name = "list",
    .summary = "every function: its cases, which sides have it, what has none",
    .usage = "usage: dppo parity list [FILES..] [-k PATTERN] [--markdown]\n\n"
             "Lists every function of the files and of both sides with its number of cases, without running "
             "them;\n"
             "which are equal in every bit takes a run, and is a column of --markdown (and of "
             "reports/parity.md).\n\n"
             "  --markdown   runs the cases and prints a table: function, cases, worst ULP, share of "
             "elements equal\n"
             "               in every bit, error against float64 truth relative to libtorch's\n",
    .run = list_verb,
};

/* -- the verb
 * ---------------------------------------------------------------------------------------------------------
 */

static const dppo_verb *const verbs[] = {
    &list_leaf, &run_leaf, &dppo_verb_parity_show, &dppo_verb_parity_record, &dppo_verb_parity_bisect, NULL};

const dppo_verb dppo_verb_parity = {
    .name = "parity",
    .summary = "judge C against libtorch and the record, function by function",
    .usage = "usage: dppo parity VERB [ARGUMENTS]\n\n",
    .children = verbs,
};
