#include "parity/runner.h"

#include "base/log.h"

#include <fnmatch.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- sides
 * ------------------------------------------------------------------------------------------------------ */

bool dppo_side_has(const dppo_parity_side *side, const char *function) {
    for (size_t i = 0; i < side->count; i++)
        if (strcmp(side->names[i], function) == 0) return true;
    return false;
}

static const char *c_names[1024];
static dppo_parity_side c_side = {.name = "c", .call = dppo_c_call, .names = c_names};

static void list_c_side(void) {
    size_t count;
    const dppo_entry *entries = dppo_c_entries(&count);
    for (size_t i = 0; i < count && i < sizeof c_names / sizeof c_names[0]; i++)
        c_names[c_side.count++] = entries[i].function;
}

const dppo_parity_side *dppo_c_side(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, list_c_side);
    return &c_side;
}

bool dppo_parity_selected(const char *title, const char *pattern) {
    return !pattern || strstr(title, pattern) || fnmatch(pattern, title, 0) == 0;
}

/* -- asking
 * ------------------------------------------------------------------------------------------------------ */

static void ask_side(const dppo_parity_side *side, const dppo_case *parity_case, bool *asked,
                     dppo_status *status, char *message, size_t size, dppo_answer *answer, double *seconds) {
    *asked = side && dppo_side_has(side, parity_case->function);
    if (!*asked) return;
    double start = dppo_seconds();
    *status = side->call(parity_case, answer);
    *seconds = dppo_seconds() - start;
    if (*status == DPPO_OK) return;
    (void)snprintf(message, size, "%s: %s", side->name, dppo_message());
    /* An unknown class or method inside a known function is missing as well. */
    if (*status == DPPO_MISSING) *asked = false;
    dppo_answer_free(answer);
    *answer = (dppo_answer){0};
}

void dppo_parity_ask(const dppo_case *parity_case, const dppo_parity_options *options,
                     dppo_parity_answers *answers) {
    *answers = (dppo_parity_answers){0};
    ask_side(options->c, parity_case, &answers->asked_c, &answers->c_status, answers->c_message,
             sizeof answers->c_message, &answers->c, &answers->c_seconds);
    ask_side(options->torch, parity_case, &answers->asked_torch, &answers->torch_status,
             answers->torch_message, sizeof answers->torch_message, &answers->torch, &answers->torch_seconds);
    if (!answers->asked_c || !answers->asked_torch || !options->torch->truth) return;
    answers->has_truth = options->torch->truth(parity_case, &answers->truth) == DPPO_OK;
}

void dppo_parity_answers_free(dppo_parity_answers *answers) {
    dppo_answer_free(&answers->c);
    dppo_answer_free(&answers->torch);
    dppo_answer_free(&answers->truth);
    *answers = (dppo_parity_answers){0};
}

/* -- judging
 * ------------------------------------------------------------------------------------------------------ */

/* The three groups of an answer, as seen by the judge; the record of a case has the same three. */
typedef struct view {
    const dppo_named *group[3];
} view;
static const char *const group_names[3] = {"out", "grad", "state_after"};
enum { OUT, GRAD, STATE_AFTER };

static view view_of_answer(const dppo_answer *answer) {
    return (view){{&answer->out, &answer->grad, &answer->state_after}};
}

static view view_of_record(const dppo_case *parity_case) {
    return (view){{&parity_case->out, &parity_case->grad, &parity_case->state_after}};
}

static bool has_record(const dppo_case *parity_case) {
    return parity_case->out.count + parity_case->grad.count + parity_case->state_after.count > 0;
}

/* One pair being judged. */
typedef struct match {
    const dppo_case *parity_case;
    dppo_pair pair;
    view actual, expected, c, torch, truth;
    bool has_truth, float32_units;
    dppo_parity_result *result;
} match;

static bool holds_dtype(const dppo_named *map, dppo_dtype dtype) {
    for (size_t i = 0; i < map->count; i++)
        if (map->entries[i].tensor->dtype == dtype) return true;
    return false;
}

/* A Python float taken out of a float32 tensor (.item()) is recorded as float64 but has the precision of
 * float32: so are the float64 answers of a case that is given float32 tensors and no float64 ones. */
static bool computes_in_float32(const dppo_case *parity_case) {
    if (holds_dtype(&parity_case->in, DPPO_F64)) return false;
    return holds_dtype(&parity_case->in, DPPO_F32) || holds_dtype(&parity_case->state, DPPO_F32);
}

static bool starts_with(const char *string, const char *prefix) {
    return strncmp(string, prefix, strlen(prefix)) == 0;
}

static bool all_zero(const dppo_tensor *tensor) {
    for (int64_t i = 0, count = dppo_numel(tensor); i < count; i++)
        if (dppo_tensor_at(tensor, i) != 0) return false;
    return true;
}

/* Did the record ask for this answer? A recording need not have wanted gradients of its inputs, or of
 * anything; where it holds gradients of parameters, one it lacks is no gradient at all, and must be zero or
 * absent. */
static bool record_asks(const dppo_named *record, int group, const char *name, const dppo_tensor *extra) {
    if (group != GRAD) return record->count > 0;
    if (starts_with(name, "in/") || all_zero(extra)) return false;
    for (size_t i = 0; i < record->count; i++)
        if (starts_with(record->entries[i].name, "state/")) return true;
    return false;
}

static bool has_reason(const dppo_case *parity_case) {
    return parity_case->reason && parity_case->reason[0];
}

/* The case's own tolerance where it has one. True when that is wider than the default: then a reason is due.
 */
static bool tolerance_for(const match *m, const dppo_tensor *tensor, dppo_compare_options *options) {
    bool floating = tensor->dtype == DPPO_F32 || tensor->dtype == DPPO_F64;
    dppo_dtype precision = tensor->dtype == DPPO_F64 && m->float32_units ? DPPO_F32 : tensor->dtype;
    dppo_tolerance usual = dppo_default_tolerance(precision);
    options->float32_units = precision == DPPO_F32;
    options->tolerance = usual;
    if (!floating) return false;
    if (m->parity_case->has_rtol) options->tolerance.rtol = m->parity_case->rtol;
    if (m->parity_case->has_atol) options->tolerance.atol = m->parity_case->atol;
    return options->tolerance.rtol > usual.rtol || options->tolerance.atol > usual.atol;
}

static bool in_float32(const match *m, const dppo_tensor *tensor) {
    return tensor && (tensor->dtype == DPPO_F32 || (tensor->dtype == DPPO_F64 && m->float32_units));
}

/* What the tolerance refused, and the criterion of truth allows. */
static void excuse(bool held, double error, dppo_comparison *numbers) {
    if (!held || numbers->outside == 0 || !isfinite(error)) return;
    numbers->passed = true;
    numbers->message[0] = '\0';
}

/* How far libtorch itself is from the truth, in units of the last place of each answer's largest value: the
 * largest over a group's answers, for how well a case is conditioned shows better in all of them than in one.
 */
static double units_off(const match *m, int group) {
    double most = 0;
    for (size_t i = 0; i < m->torch.group[group]->count; i++) {
        dppo_truth truth;
        const dppo_tensor *torch = m->torch.group[group]->entries[i].tensor;
        if (!in_float32(m, torch)) continue;
        dppo_judge_truth(torch, torch,
                         dppo_named_get(m->truth.group[group], m->torch.group[group]->entries[i].name),
                         &truth);
        if (truth.known && truth.unit > 0) most = fmax(most, truth.torch_error / truth.unit);
    }
    return most;
}

/* A record was rounded by the library and the processor of whoever made it, and where a function is
 * ill-conditioned libtorch itself, on another processor, is outside of the tolerance. So a record, too, may
 * be as far from the truth as C may, twice as far as libtorch is here and a unit: then it holds the same
 * numbers. One that means something else is further away. */
static void apply_truth_to_record(const match *m, int group, const char *name, dppo_comparison *numbers) {
    dppo_truth record, answer;
    const dppo_tensor *torch = dppo_named_get(m->torch.group[group], name);
    const dppo_tensor *exact = dppo_named_get(m->truth.group[group], name);
    const dppo_tensor *actual = dppo_named_get(m->actual.group[group], name);
    if (numbers->outside == 0 || !torch || !in_float32(m, actual)) return;
    dppo_judge_truth(dppo_named_get(m->expected.group[group], name), torch, exact, &record);
    dppo_judge_truth(actual, torch, exact, &answer);
    if (!record.known || !answer.known) return;
    double error = fmax(record.c_error, answer.c_error), units = units_off(m, group);
    excuse(error <= (2 * units + 1) * record.unit, error, numbers);
    if (numbers->passed) m->result->near_truth++;
}

/* C and libtorch in float32 against libtorch in float64. The criterion decides the pair of the two; where the
 * case gives a reason (a long or ill-conditioned sum) it also excuses what the tolerance alone would refuse.
 * A case that widens its tolerance has said that it needs more than either, and why. */
static void apply_truth(const match *m, int group, const char *name, bool wider, dppo_parity_row *row) {
    dppo_comparison *numbers = &row->numbers;
    dppo_truth truth;
    if (!m->has_truth) return;
    if (m->pair != DPPO_C_TORCH) apply_truth_to_record(m, group, name, numbers);
    const dppo_tensor *c = dppo_named_get(m->c.group[group], name);
    if (m->pair == DPPO_TORCH_RECORD || !in_float32(m, c)) return;
    dppo_judge_truth(c, dppo_named_get(m->torch.group[group], name),
                     dppo_named_get(m->truth.group[group], name), &truth);
    if (!truth.known) return;
    row->truth_ratio = truth.ratio;
    if (m->pair != DPPO_C_TORCH) return;
    if (!truth.held && !wider) {
        size_t used = strlen(numbers->message);
        numbers->passed = false;
        (void)snprintf(numbers->message + used, sizeof numbers->message - used,
                       "%sfurther from float64 truth than allowed: C %.3g, torch %.3g, unit %.3g",
                       used ? "; " : "", truth.c_error, truth.torch_error, truth.unit);
    } else if (has_reason(m->parity_case)) {
        excuse(truth.held, truth.c_error, numbers);
    }
}

static dppo_status judge_answer(const match *m, int group, const char *name) {
    char answer[1024];
    const dppo_tensor *actual = dppo_named_get(m->actual.group[group], name);
    const dppo_tensor *expected = dppo_named_get(m->expected.group[group], name);
    (void)snprintf(answer, sizeof answer, "%s/%s", group_names[group], name);
    dppo_parity_row row = {.answer = answer, .pair = m->pair, .truth_ratio = NAN};
    dppo_compare_options options = {.gradient = group == GRAD};
    bool wider = tolerance_for(m, expected ? expected : actual, &options);
    dppo_compare(actual, expected, &options, &row.numbers);
    if (actual && expected) apply_truth(m, group, name, wider, &row);
    if (wider && !has_reason(m->parity_case)) {
        row.numbers.passed = false;
        (void)snprintf(row.numbers.message, sizeof row.numbers.message,
                       "tolerance without reason: rtol %g, atol %g are wider than the default",
                       options.tolerance.rtol, options.tolerance.atol);
    }
    row.verdict = row.numbers.passed ? DPPO_PASSED : DPPO_FAILED;
    return dppo_parity_result_row(m->result, &row);
}

static dppo_status judge_pair(const match *m) {
    bool against_record = m->pair != DPPO_C_TORCH;
    for (int group = 0; group < 3; group++) {
        const dppo_named *expected = m->expected.group[group], *actual = m->actual.group[group];
        for (size_t i = 0; i < expected->count; i++)
            DPPO_TRY(judge_answer(m, group, expected->entries[i].name));
        for (size_t i = 0; i < actual->count; i++) {
            const char *name = actual->entries[i].name;
            if (dppo_named_get(expected, name)) continue;
            if (against_record && !record_asks(expected, group, name, actual->entries[i].tensor)) continue;
            DPPO_TRY(judge_answer(m, group, name));
        }
    }
    return DPPO_OK;
}

/* A pair that should be there and is not: one row without numbers. */
static dppo_status empty_row(dppo_parity_result *result, dppo_pair pair, dppo_verdict verdict,
                             const char *why) {
    char nothing[] = "";
    dppo_parity_row row = {.answer = nothing, .pair = pair, .verdict = verdict, .truth_ratio = NAN};
    (void)snprintf(row.numbers.message, sizeof row.numbers.message, "%s", why);
    return dppo_parity_result_row(result, &row);
}

static dppo_status judge_pairs(const dppo_case *parity_case, const dppo_parity_options *options,
                               const dppo_parity_answers *answers, dppo_parity_result *result) {
    view c = view_of_answer(&answers->c), torch = view_of_answer(&answers->torch);
    view record = view_of_record(parity_case);
    struct {
        dppo_pair pair;
        view actual, expected;
        bool wanted, possible;
    } pairs[] = {
        {DPPO_C_TORCH, c, torch, options->c && options->torch, answers->asked_c && answers->asked_torch},
        {DPPO_C_RECORD, c, record, options->c && has_record(parity_case), answers->asked_c},
        {DPPO_TORCH_RECORD, torch, record, options->torch && has_record(parity_case), answers->asked_torch},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (!pairs[i].wanted) continue;
        if (!pairs[i].possible) {
            DPPO_TRY(empty_row(result, pairs[i].pair, DPPO_SKIPPED, "a side has no such function"));
            continue;
        }
        match m = {.parity_case = parity_case,
                   .pair = pairs[i].pair,
                   .actual = pairs[i].actual,
                   .expected = pairs[i].expected,
                   .c = c,
                   .torch = torch,
                   .truth = view_of_answer(&answers->truth),
                   .has_truth = answers->has_truth,
                   .float32_units = computes_in_float32(parity_case),
                   .result = result};
        DPPO_TRY(judge_pair(&m));
    }
    return DPPO_OK;
}

static void append_message(dppo_parity_result *result, const char *format, const char *argument) {
    size_t used = strlen(result->message);
    if (used) used += (size_t)snprintf(result->message + used, sizeof result->message - used, "; ");
    if (used < sizeof result->message)
        (void)snprintf(result->message + used, sizeof result->message - used, format, argument);
}

/* A failed call is a failure even when there was nothing to compare it with. */
static void note_side(const dppo_parity_side *side, bool asked, dppo_status status, const char *message,
                      dppo_parity_result *result, bool *failed, bool *missing) {
    if (!side) return;
    if (!asked) {
        *missing = true;
        if (message[0])
            append_message(result, "%s", message);
        else
            append_message(result, "no %s entry", strcmp(side->name, "c") == 0 ? "C" : side->name);
    } else if (status != DPPO_OK) {
        *failed = true;
        append_message(result, "%s", message);
    }
}

static void decide(const dppo_parity_options *options, const dppo_parity_answers *answers,
                   dppo_parity_result *result) {
    bool failed = false, missing = false, compared = false;
    note_side(options->c, answers->asked_c, answers->c_status, answers->c_message, result, &failed, &missing);
    note_side(options->torch, answers->asked_torch, answers->torch_status, answers->torch_message, result,
              &failed, &missing);
    for (size_t i = 0; i < result->count; i++) {
        failed = failed || result->rows[i].verdict == DPPO_FAILED;
        compared = compared || result->rows[i].verdict != DPPO_SKIPPED;
    }
    if (!failed && result->near_truth)
        append_message(result, "%s", "outside the tolerance of a record that is as near the truth");
    result->verdict = failed ? DPPO_FAILED : missing || !compared ? DPPO_SKIPPED : DPPO_PASSED;
    if (!compared && !missing && !failed) append_message(result, "%s", "nothing to compare with");
}

dppo_status dppo_parity_judge(const dppo_case *parity_case, const dppo_parity_options *options,
                              const dppo_parity_answers *answers, dppo_parity_result *result) {
    *result = (dppo_parity_result){.c_seconds = answers->c_seconds, .torch_seconds = answers->torch_seconds};
    result->file = strdup(parity_case->file);
    result->function = strdup(parity_case->function);
    result->name = strdup(parity_case->name);
    if (!result->file || !result->function || !result->name)
        return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    DPPO_TRY(judge_pairs(parity_case, options, answers, result));
    decide(options, answers, result);
    /* Whatever happened, the table has a row for the case. */
    if (result->count > 0) return DPPO_OK;
    return empty_row(result, options->c ? DPPO_C_RECORD : DPPO_TORCH_RECORD, result->verdict,
                     result->message);
}

/* -- files
 * ------------------------------------------------------------------------------------------------------- */

static dppo_status run_case(dppo_case_file *file, size_t index, const dppo_parity_options *options,
                            dppo_parity_results *results) {
    dppo_case parity_case;
    dppo_status status = dppo_case_load(file, index, &parity_case);
    if (status != DPPO_OK) {
        const char *function = parity_case.function ? parity_case.function : "",
                   *name = parity_case.name ? parity_case.name : "";
        if (status != DPPO_NO_MEMORY)
            status = dppo_parity_results_error(results, function, name, dppo_message());
        dppo_case_free(&parity_case);
        return status;
    }
    dppo_parity_answers answers;
    dppo_parity_result result;
    dppo_parity_ask(&parity_case, options, &answers);
    status = dppo_parity_judge(&parity_case, options, &answers, &result);
    if (status == DPPO_OK && options->each) options->each(options->context, &result);
    if (status == DPPO_OK) status = dppo_parity_results_add(results, &result);
    dppo_parity_result_free(&result);
    dppo_parity_answers_free(&answers);
    dppo_case_free(&parity_case);
    return status;
}

dppo_status dppo_parity_run_file(const char *path, const dppo_parity_options *options,
                                 dppo_parity_results *results) {
    dppo_case_file *file;
    dppo_status status = dppo_case_file_open(path, &file);
    if (options->torch) results->with_torch = true;
    if (status != DPPO_OK)
        return status == DPPO_NO_MEMORY ? status
                                        : dppo_parity_results_error(results, path, "", dppo_message());
    for (size_t i = 0; status == DPPO_OK && i < dppo_case_file_count(file); i++) {
        if (!dppo_parity_selected(dppo_case_file_name(file, i), options->pattern)) continue;
        status = dppo_interrupted() ? dppo_fail(DPPO_INTERRUPTED, "interrupted")
                                    : run_case(file, i, options, results);
    }
    dppo_case_file_close(file);
    return status;
}
