/* The rules of judging, with sides that answer what each test wants. */
#include "parity/runner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What the fake sides answer: out/result and, unless NAN, grad/in/x; two elements each. */
typedef struct script {
    float out, grad;
    dppo_status status;
} script;
static script c_script, torch_script;
static double truth_out;

static void put_pair(dppo_named *map, const char *name, double value) {
    static const int64_t shape[] = {2};
    float *values = dppo_f32(dppo_named_add(map, name, DPPO_F32, 1, shape));
    values[0] = 1;
    values[1] = (float)value;
}

static dppo_status answer_with(const script *s, dppo_answer *answer) {
    *answer = (dppo_answer){0};
    if (s->status != DPPO_OK) return dppo_fail(s->status, "the script says so");
    put_pair(&answer->out, "result", (double)s->out);
    if (isnan(s->grad)) return DPPO_OK;
    put_pair(&answer->grad, "in/x", (double)s->grad);
    if (s->grad == 0) dppo_f32(answer->grad.entries[0].tensor)[0] = 0;
    return DPPO_OK;
}

static dppo_status call_c(const dppo_case *parity_case, dppo_answer *answer) {
    (void)parity_case;
    return answer_with(&c_script, answer);
}

static dppo_status call_torch(const dppo_case *parity_case, dppo_answer *answer) {
    (void)parity_case;
    return answer_with(&torch_script, answer);
}

static dppo_status call_truth(const dppo_case *parity_case, dppo_answer *answer) {
    static const int64_t shape[] = {2};
    (void)parity_case;
    *answer = (dppo_answer){0};
    double *values = dppo_f64(dppo_named_add(&answer->out, "result", DPPO_F64, 1, shape));
    values[0] = 1;
    values[1] = truth_out;
    return DPPO_OK;
}

static const char *const known[] = {"f"};
static const dppo_parity_side fake_c = {.name = "c", .call = call_c, .names = known, .count = 1};
static const dppo_parity_side fake_torch = {
    .name = "torch", .call = call_torch, .truth = call_truth, .names = known, .count = 1};
static const dppo_parity_side ignorant = {.name = "torch", .call = call_torch};

typedef struct setting {
    script c, torch;
    double truth, record; /* NAN: no record */
    double rtol;          /* 0: the default */
    const char *reason;
    const dppo_parity_side *torch_side;
    bool record_grad, unknown;
} setting;

/* Everything agrees: the base from which each test departs. */
static setting agreement(void) {
    return (setting){{2, 3, DPPO_OK}, {2, 3, DPPO_OK}, 2, 2, 0, NULL, &fake_torch, true, false};
}

static dppo_verdict judge(const setting *s, char message[512]) {
    dppo_case c = {.has_rtol = s->rtol > 0, .rtol = s->rtol};
    dppo_parity_options options = {.c = &fake_c, .torch = s->torch_side};
    dppo_parity_answers answers;
    dppo_parity_result result;
    c_script = s->c;
    torch_script = s->torch;
    truth_out = s->truth;
    c.file = strdup("test");
    c.function = strdup(s->unknown ? "g" : "f");
    c.name = strdup("case");
    c.reason = s->reason ? strdup(s->reason) : NULL;
    put_pair(&c.in, "x", 0);
    if (!isnan(s->record)) put_pair(&c.out, "result", s->record);
    if (s->record_grad) put_pair(&c.grad, "in/x", 3);
    dppo_parity_ask(&c, &options, &answers);
    assert_int_equal(dppo_parity_judge(&c, &options, &answers, &result), DPPO_OK);
    dppo_verdict verdict = result.verdict;
    assert_true(result.count > 0);
    memcpy(message, result.message, sizeof result.message);
    for (size_t i = 0; i < result.count && !message[0]; i++)
        if (result.rows[i].verdict == DPPO_FAILED) memcpy(message, result.rows[i].numbers.message, 320);
    dppo_parity_result_free(&result);
    dppo_parity_answers_free(&answers);
    dppo_case_free(&c);
    return verdict;
}

static void expect(const setting *s, dppo_verdict verdict, const char *says) {
    char message[512];
    dppo_verdict found = judge(s, message);
    if (found != verdict) print_error("%s: %s\n", dppo_verdict_name(found), message);
    assert_int_equal(found, verdict);
    if (says && !strstr(message, says)) print_error("\"%s\" does not say \"%s\"\n", message, says);
    assert_true(!says || strstr(message, says));
}

static void agreement_passes(void **state) {
    (void)state;
    setting s = agreement();
    expect(&s, DPPO_PASSED, NULL);
    s.record = NAN;
    s.record_grad = false;
    expect(&s, DPPO_PASSED, NULL); /* C against torch is enough */
    s.torch_side = NULL;
    expect(&s, DPPO_SKIPPED, "nothing to compare");
}

static void values_and_gradients_are_judged(void **state) {
    (void)state;
    setting s = agreement();
    s.c.out = 2.01F;
    expect(&s, DPPO_FAILED, "outside");
    s = agreement();
    s.torch.out = 2.01F;
    s.truth = 2.01;
    expect(&s, DPPO_FAILED, "outside");
    s = agreement();
    s.c.grad = -3; /* a flipped sign in a backward */
    expect(&s, DPPO_FAILED, "outside");
    s = agreement();
    s.c.grad = NAN; /* no gradient at all */
    expect(&s, DPPO_FAILED, "missing");
    s = agreement();
    s.torch.grad = NAN;
    s.record_grad = false;
    expect(&s, DPPO_FAILED, "extra");
    s = agreement();
    s.c.grad = 0;
    expect(&s, DPPO_FAILED, NULL);
}

static void gradients_the_record_lacks_are_not_held_against_it(void **state) {
    (void)state;
    setting s = agreement();
    s.record_grad = false;
    expect(&s, DPPO_PASSED, NULL);
}

static void tolerance_needs_a_reason(void **state) {
    (void)state;
    setting s = agreement();
    s.torch_side = NULL;
    s.c.out = 2.001F;
    s.rtol = 1e-2;
    expect(&s, DPPO_FAILED, "tolerance without reason");
    s.reason = "a long sum";
    expect(&s, DPPO_PASSED, NULL);
    s.rtol = 1e-9; /* narrower is free, and holds */
    s.reason = NULL;
    s.c.out = 2.00002F;
    expect(&s, DPPO_FAILED, "outside");
}

static void truth_catches_what_tolerance_admits(void **state) {
    (void)state;
    setting s = agreement();
    s.c.out = 2.000005F; /* within 1e-5 of libtorch, but libtorch is exact */
    expect(&s, DPPO_FAILED, "truth");
    s.rtol = 1e-3; /* a case that needs more may have it, if it says why */
    s.reason = "rounds differently by design";
    expect(&s, DPPO_PASSED, NULL);
}

static void truth_excuses_only_with_a_reason(void **state) {
    (void)state;
    setting s = agreement();
    s.record = NAN;
    s.record_grad = false;
    s.c.out = 2.0001F;
    s.torch.out = 1.9999F;
    expect(&s, DPPO_FAILED, "outside");
    s.reason = "ill-conditioned";
    expect(&s, DPPO_PASSED, NULL);
}

/* A record as far from the truth as libtorch is holds the same numbers; one that is further away does not,
 * whatever the two sides agree on. */
static void truth_excuses_records_that_are_as_near(void **state) {
    (void)state;
    setting s = agreement();
    s.c.out = s.torch.out = 2.0001F;
    s.record = 1.9999;
    expect(&s, DPPO_PASSED, NULL);
    s.record = 1.9995;
    expect(&s, DPPO_FAILED, "outside");
    s = agreement();
    s.c.out = s.torch.out = 2.01F;
    s.truth = (double)2.01F; /* both sides compute something else than the record's maker */
    expect(&s, DPPO_FAILED, "outside");
    s = agreement();
    s.c.out = 2.0003F; /* near the record, and further from the truth than libtorch allows */
    s.torch.out = 2.0001F;
    s.record = 2.0002;
    expect(&s, DPPO_FAILED, "truth");
}

static void unknown_functions_are_skipped(void **state) {
    (void)state;
    setting s = agreement();
    s.unknown = true;
    expect(&s, DPPO_SKIPPED, "no C entry");
    s = agreement();
    s.torch_side = &ignorant;
    expect(&s, DPPO_SKIPPED, "no torch entry");
    s.c.out = 5; /* what can be judged still is */
    expect(&s, DPPO_FAILED, NULL);
}

static void a_failed_call_fails(void **state) {
    (void)state;
    setting s = agreement();
    s.c.status = DPPO_INVALID;
    expect(&s, DPPO_FAILED, "the script says so");
    s.record = NAN;
    s.record_grad = false;
    s.torch_side = NULL;
    expect(&s, DPPO_FAILED, "the script says so");
    s.c.status = DPPO_MISSING;
    expect(&s, DPPO_SKIPPED, "the script says so");
}

static void patterns_are_substrings_or_globs(void **state) {
    (void)state;
    assert_true(dppo_parity_selected("torch.clamp/bounds", NULL));
    assert_true(dppo_parity_selected("torch.clamp/bounds", "clamp/b"));
    assert_true(dppo_parity_selected("torch.clamp/bounds", "torch.*/bounds"));
    assert_false(dppo_parity_selected("torch.clamp/bounds", "torch.*/other"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agreement_passes),
        cmocka_unit_test(values_and_gradients_are_judged),
        cmocka_unit_test(gradients_the_record_lacks_are_not_held_against_it),
        cmocka_unit_test(tolerance_needs_a_reason),
        cmocka_unit_test(truth_catches_what_tolerance_admits),
        cmocka_unit_test(truth_excuses_only_with_a_reason),
        cmocka_unit_test(truth_excuses_records_that_are_as_near),
        cmocka_unit_test(unknown_functions_are_skipped),
        cmocka_unit_test(a_failed_call_fails),
        cmocka_unit_test(patterns_are_substrings_or_globs),
    };
    return cmocka_run_group_tests_name("runner", tests, NULL, NULL);
}
