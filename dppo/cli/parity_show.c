/* `dppo parity show` and `bisect`: one case under the magnifying glass. */
#include "cli/cli.h"

#include "base/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A case found by its title, asked and judged. */
typedef struct examined {
    dppo_case parity_case;
    dppo_parity_answers answers;
    dppo_parity_result result;
} examined;

static void examined_free(examined *found) {
    dppo_parity_result_free(&found->result);
    dppo_parity_answers_free(&found->answers);
    dppo_case_free(&found->parity_case);
}

/* Loads `title` from the file if it is there. */
static dppo_status load_from(const char *path, const char *title, dppo_case *parity_case, bool *found) {
    dppo_case_file *file;
    dppo_status status = dppo_case_file_open(path, &file);
    DPPO_TRY(status);
    for (size_t i = 0; status == DPPO_OK && !*found && i < dppo_case_file_count(file); i++) {
        if (strcmp(dppo_case_file_name(file, i), title) != 0) continue;
        *found = true;
        status = dppo_case_load(file, i, parity_case);
    }
    dppo_case_file_close(file);
    return status;
}

static dppo_status examine(int argc, char **argv, examined *found) {
    dppo_file_list files;
    bool there = false;
    *found = (examined){0};
    dppo_status status = dppo_fixture_files(argc - 2, argv + 2, &files);
    for (size_t i = 0; status == DPPO_OK && !there && i < files.count; i++)
        status = load_from(files.paths[i], argv[1], &found->parity_case, &there);
    dppo_file_list_free(&files);
    DPPO_TRY(status);
    if (!there) return dppo_fail(DPPO_MISSING, "no case %s in these files; see dppo parity list", argv[1]);
    dppo_parity_options options = {.c = dppo_c_side(), .torch = dppo_torch_side()};
    dppo_set_threads(1);
    dppo_parity_ask(&found->parity_case, &options, &found->answers);
    return dppo_parity_judge(&found->parity_case, &options, &found->answers, &found->result);
}

static int verdict_exit(dppo_verdict verdict) {
    return verdict == DPPO_PASSED   ? DPPO_EXIT_OK
           : verdict == DPPO_FAILED ? DPPO_EXIT_MISMATCH
                                    : DPPO_EXIT_MISSING;
}

static bool bad_arguments(const dppo_verb *verb, int argc, char **argv) {
    if (argc >= 2 && argv[1][0] != '-' && strchr(argv[1], '/')) return false;
    (void)fputs(verb->usage, stderr);
    return true;
}

/* -- show
 * ----------------------------------------------------------------------------------------------------------
 */

enum { SHOWN_ELEMENTS = 6 };

static void print_tensor(const dppo_tensor *tensor) {
    char shape[128];
    int64_t count = dppo_numel(tensor);
    (void)printf("%s %s  ", dppo_dtype_name(tensor->dtype),
                 dppo_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape));
    for (int64_t i = 0; i < count && i < SHOWN_ELEMENTS; i++)
        (void)printf("%s%.9g", i ? ", " : "", dppo_tensor_at(tensor, i));
    (void)printf("%s\n", count > SHOWN_ELEMENTS ? ", ..." : "");
}

static void print_map(const char *group, const dppo_named *map) {
    for (size_t i = 0; i < map->count; i++) {
        (void)printf("  %s/%s%s%s  ", group, map->entries[i].name, map->entries[i].kind ? " " : "",
                     map->entries[i].kind ? map->entries[i].kind : "");
        print_tensor(map->entries[i].tensor);
    }
}

static void print_json(const char *name, const dppo_config *tree) {
    if (!tree) return;
    dppo_text text = {0};
    dppo_config_write_json(tree, &text);
    (void)printf("  %s %s\n", name, text.bytes ? text.bytes : "");
    dppo_text_free(&text);
}

static void print_call(const dppo_case *parity_case) {
    (void)printf("%s/%s   (%s)\n", parity_case->function, parity_case->name, parity_case->file);
    print_json("init", parity_case->init);
    if (parity_case->method) (void)printf("  method %s\n", parity_case->method);
    print_json("args", parity_case->args);
    if (parity_case->has_seed) (void)printf("  manual_seed %lld\n", (long long)parity_case->manual_seed);
    if (parity_case->has_rtol) (void)printf("  rtol %g\n", parity_case->rtol);
    if (parity_case->has_atol) (void)printf("  atol %g\n", parity_case->atol);
    if (parity_case->reason) (void)printf("  reason %s\n", parity_case->reason);
    print_map("in", &parity_case->in);
    print_map("state", &parity_case->state);
    print_map("draws", &parity_case->draws);
    print_map("cotangent", &parity_case->cotangent);
}

static void print_answer(const char *side, const dppo_named *out, const dppo_named *grad,
                         const dppo_named *after) {
    if (out->count + grad->count + after->count == 0) return;
    (void)printf("%s\n", side);
    print_map("out", out);
    print_map("grad", grad);
    print_map("state_after", after);
}

static void print_row(const dppo_parity_row *row) {
    const dppo_comparison *numbers = &row->numbers;
    (void)printf("  %-7s %-12s %s", dppo_verdict_name(row->verdict), dppo_pair_name(row->pair), row->answer);
    if (numbers->worst >= 0)
        (void)printf(
            "  max abs %.3g, max rel %.3g, max ulp %.6g, equal %.2f %%; worst at %s: %.9g against %.9g",
            numbers->max_abs, numbers->max_rel, numbers->max_ulp, 100 * numbers->bitwise_share,
            numbers->worst_index, numbers->worst_actual, numbers->worst_expected);
    if (row->answer[0] && !isnan(row->truth_ratio)) (void)printf("; truth ratio %.3g", row->truth_ratio);
    (void)printf("%s%s\n", numbers->message[0] ? "  -- " : "", numbers->message);
}

static int show_verb(int argc, char **argv);

const dppo_verb dppo_verb_parity_show = {
    .name = "show",
    .summary = "one case: inputs, answers, worst element of each pair",
    .usage =
        "usage: dppo parity show FUNCTION/CASE [FILES..]\n\n"
        "Prints what goes in, what each side and the record answer, and the worst element of each pair.\n",
    .run = show_verb,
};

static int show_verb(int argc, char **argv) {
    examined found;
    if (bad_arguments(&dppo_verb_parity_show, argc, argv)) return DPPO_EXIT_USAGE;
    if (examine(argc, argv, &found) != DPPO_OK) {
        examined_free(&found);
        return dppo_cli_error();
    }
    const dppo_case *parity_case = &found.parity_case;
    const dppo_parity_answers *answers = &found.answers;
    print_call(parity_case);
    print_answer("record", &parity_case->out, &parity_case->grad, &parity_case->state_after);
    print_answer("C", &answers->c.out, &answers->c.grad, &answers->c.state_after);
    print_answer("torch", &answers->torch.out, &answers->torch.grad, &answers->torch.state_after);
    print_answer("truth (torch in float64)", &answers->truth.out, &answers->truth.grad,
                 &answers->truth.state_after);
    (void)printf("%s%s%s\n", dppo_verdict_name(found.result.verdict), found.result.message[0] ? ": " : "",
                 found.result.message);
    for (size_t i = 0; i < found.result.count; i++)
        print_row(&found.result.rows[i]);
    int code = verdict_exit(found.result.verdict);
    examined_free(&found);
    return code;
}

/* -- bisect
 * -------------------------------------------------------------------------------------------------------- */

static int stage_of(const char *answer) {
    return strncmp(answer, "out/", 4) == 0           ? 0
           : strncmp(answer, "grad/state/", 11) == 0 ? 1
           : strncmp(answer, "grad/in/", 8) == 0     ? 2
                                                     : 3;
}

/* In the order in which values are computed: results, gradients of parameters from the last layer back to the
 * first (layers are numbered, so backwards by name), gradients of inputs, then the state afterwards. */
static int by_dependency(const void *a, const void *b) {
    const dppo_parity_row *x = *(const dppo_parity_row *const *)a, *y = *(const dppo_parity_row *const *)b;
    int stage = stage_of(x->answer), other = stage_of(y->answer);
    if (stage != other) return stage - other;
    int order = strverscmp(x->answer, y->answer);
    return stage == 1 ? -order : order;
}

static const dppo_tensor *record_of(const dppo_case *parity_case, const char *answer) {
    const char *name = strchr(answer, '/') + 1;
    if (strncmp(answer, "out/", 4) == 0) return dppo_named_get(&parity_case->out, name);
    if (strncmp(answer, "grad/", 5) == 0) return dppo_named_get(&parity_case->grad, name);
    return dppo_named_get(&parity_case->state_after, name);
}

static void print_place(const examined *found, const dppo_parity_row *row, int64_t flat, const char *what) {
    char index[128];
    const dppo_tensor *tensor = record_of(&found->parity_case, row->answer);
    if (flat < 0) {
        (void)printf("%s: %s %s (%s)\n", what, dppo_pair_name(row->pair), row->answer, row->numbers.message);
    } else if (tensor && tensor->ndim > 0) {
        (void)printf("%s: %s %s, first at %s\n", what, dppo_pair_name(row->pair), row->answer,
                     dppo_index_text(tensor, flat, index, sizeof index));
    } else {
        (void)printf("%s: %s %s, first at element %lld\n", what, dppo_pair_name(row->pair), row->answer,
                     (long long)flat);
    }
}

static void bisect_pair(const examined *found, const dppo_parity_row **rows, size_t count, dppo_pair pair) {
    const dppo_parity_row *failed = NULL, *unequal = NULL;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (rows[i]->pair != pair || !rows[i]->answer[0]) continue;
        any = true;
        if (!failed && rows[i]->verdict == DPPO_FAILED) failed = rows[i];
        if (!unequal && rows[i]->numbers.bitwise_share < 1) unequal = rows[i];
    }
    if (failed) print_place(found, failed, failed->numbers.first_outside, "first out of tolerance");
    if (unequal) print_place(found, unequal, unequal->numbers.first_unequal, "first not equal in every bit");
    if (any && !unequal) (void)printf("%s: equal in every bit\n", dppo_pair_name(pair));
}

static int bisect_verb(int argc, char **argv);

const dppo_verb dppo_verb_parity_bisect = {
    .name = "bisect",
    .summary = "where the answers of one case first part",
    .usage =
        "usage: dppo parity bisect FUNCTION/CASE [FILES..]\n\n"
        "Walks the answers in the order they are computed (results, gradients of parameters from the last "
        "layer\n"
        "to the first, gradients of inputs, state afterwards) and names, for each pair of sides, the first "
        "that\n"
        "leaves tolerance and the first that is not equal in every bit, with the first such element: for\n"
        "recorded training steps (steps, ...) its leading index is the step.\n",
    .run = bisect_verb,
};

static int bisect_verb(int argc, char **argv) {
    examined found;
    if (bad_arguments(&dppo_verb_parity_bisect, argc, argv)) return DPPO_EXIT_USAGE;
    const dppo_parity_row **rows = NULL;
    dppo_status status = examine(argc, argv, &found);
    if (status == DPPO_OK) rows = calloc(found.result.count + 1, sizeof *rows);
    if (!rows) {
        if (status == DPPO_OK) (void)dppo_fail(DPPO_NO_MEMORY, "out of memory");
        examined_free(&found);
        return dppo_cli_error();
    }
    for (size_t i = 0; i < found.result.count; i++)
        rows[i] = &found.result.rows[i];
    qsort(rows, found.result.count, sizeof *rows, by_dependency);
    (void)printf("%s: %s%s%s\n", argv[1], dppo_verdict_name(found.result.verdict),
                 found.result.message[0] ? ", " : "", found.result.message);
    for (dppo_pair pair = DPPO_C_TORCH; pair <= DPPO_TORCH_RECORD; pair++)
        bisect_pair(&found, rows, found.result.count, pair);
    int code = verdict_exit(found.result.verdict);
    free(rows);
    examined_free(&found);
    return code;
}
