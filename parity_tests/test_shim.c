/* The torch side's door: what it must refuse, and the conventions its answers follow. That libtorch's
 * functions are right is not tested here; that a case reaches them unchanged is. */
#include "shim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A case made by hand; args is JSON. */
static dppo_case make_case(const char *function, const char *args) {
    dppo_case made = {.function = strdup(function), .name = strdup("made")};
    assert_int_equal(dppo_config_parse_json(args, "args", &made.args), DPPO_OK);
    return made;
}

static void add(dppo_named *map, const char *name, int64_t rows, int64_t columns, const float *values) {
    dppo_tensor *tensor = dppo_named_add(map, name, DPPO_F32, 2, (int64_t[]){rows, columns});
    assert_non_null(tensor);
    memcpy(tensor->data, values, (size_t)(rows * columns) * sizeof *values);
}

static void add_draw(dppo_case *made, const char *name, const char *kind, int64_t count) {
    assert_non_null(dppo_named_add(&made->draws, name, DPPO_F32, 1, &count));
    made->draws.entries[made->draws.count - 1].kind = strdup(kind);
    made->has_draws = true;
}

static void free_case(dppo_case *made) {
    free(made->function);
    free(made->name);
    dppo_config_free(made->init);
    dppo_config_free(made->args);
    for (dppo_named **map = (dppo_named *[]){&made->in, &made->state, &made->draws, &made->cotangent, NULL};
         *map; map++)
        dppo_named_free(*map);
}

/* Calls, expects `status`, and frees the case; the answer is the caller's. */
static dppo_answer call(dppo_case made, dppo_side_call *side, dppo_status status) {
    dppo_answer answer;
    assert_int_equal(side(&made, &answer), status);
    free_case(&made);
    return answer;
}

static void expect_message(dppo_case made, dppo_status status, const char *part) {
    dppo_answer answer = call(made, shim_call, status);
    if (strstr(dppo_message(), part) == NULL) fail_msg("message '%s' lacks '%s'", dppo_message(), part);
    assert_null(strchr(dppo_message(), '\n'));
    dppo_answer_free(&answer);
}

static void names_are_sorted_and_unique(void **state) {
    (void)state;
    size_t count = 0;
    const char *const *names = shim_functions(&count);
    assert_true(count > 100);
    for (size_t i = 1; i < count; i++)
        assert_true(strcmp(names[i - 1], names[i]) < 0);
}

static void unknown_function_is_missing(void **state) {
    (void)state;
    expect_message(make_case("torch.clampp", "{}"), DPPO_MISSING, "torch.clampp");
}

static void exceptions_become_one_line(void **state) {
    (void)state;
    dppo_case made = make_case("torch.matmul", "{}");
    add(&made.in, "input", 2, 3, (float[6]){0});
    add(&made.in, "other", 2, 3, (float[6]){0});
    expect_message(made, DPPO_INVALID, "cannot be multiplied");
}

static void absent_inputs_and_arguments_are_named(void **state) {
    (void)state;
    expect_message(make_case("torch.exp", "{}"), DPPO_INVALID, "in/input");
    dppo_case made = make_case("torch.softmax", "{}");
    add(&made.in, "input", 1, 1, (float[1]){0});
    expect_message(made, DPPO_INVALID, "dim");
}

static void draws_are_checked(void **state) {
    (void)state;
    dppo_case kind = make_case("torch.randn", "{\"size\": [3]}");
    add_draw(&kind, "0", "rand", 3);
    expect_message(kind, DPPO_INVALID, "draws/0");
    dppo_case shape = make_case("torch.randn", "{\"size\": [3]}");
    add_draw(&shape, "0", "randn", 4);
    expect_message(shape, DPPO_INVALID, "draws/0");
    dppo_case left_over = make_case("torch.randn", "{\"size\": [3]}");
    add_draw(&left_over, "0", "randn", 3);
    add_draw(&left_over, "1", "randn", 3);
    expect_message(left_over, DPPO_INVALID, "1 of 2");
    dppo_case missing = make_case("torch.randn", "{\"size\": [3]}");
    missing.has_draws = true;
    expect_message(missing, DPPO_INVALID, "missing");
}

static void a_cotangent_without_result_fails(void **state) {
    (void)state;
    dppo_case made = make_case("torch.exp", "{}");
    add(&made.in, "input", 1, 1, (float[1]){0});
    add(&made.cotangent, "values", 1, 1, (float[1]){1});
    expect_message(made, DPPO_INVALID, "cotangent/values");
}

/* result = input^2: the gradient is 2 * input * cotangent. */
static void gradients_carry_the_cotangent(void **state) {
    (void)state;
    dppo_case made = make_case("torch.square", "{}");
    add(&made.in, "input", 1, 2, (float[2]){3, -5});
    add(&made.cotangent, "result", 1, 2, (float[2]){0.5F, 2});
    dppo_answer answer = call(made, shim_call, DPPO_OK);
    const dppo_tensor *gradient = dppo_named_get(&answer.grad, "in/input");
    assert_non_null(gradient);
    assert_true(dppo_f32(gradient)[0] == 3 && dppo_f32(gradient)[1] == -20);
    assert_int_equal(answer.grad.count, 1);
    dppo_answer_free(&answer);
}

static void an_input_without_use_fails(void **state) {
    (void)state;
    dppo_case made = make_case("torch.square", "{}");
    add(&made.in, "input", 1, 2, (float[2]){3, -5});
    add(&made.in, "unused", 1, 2, (float[2]){3, -5});
    expect_message(made, DPPO_INVALID, "unused");
}

/* exp(0.1f) in float64, which float32 does not have. */
static void the_truth_is_float64(void **state) {
    (void)state;
    for (int truth = 0; truth < 2; truth++) {
        dppo_case made = make_case("torch.exp", "{}");
        add(&made.in, "input", 1, 1, (float[1]){0.1F});
        dppo_answer answer = call(made, truth ? shim_call_float64 : shim_call, DPPO_OK);
        const dppo_tensor *result = dppo_named_get(&answer.out, "result");
        assert_int_equal(result->dtype, truth ? DPPO_F64 : DPPO_F32);
        double error = fabs(dppo_tensor_at(result, 0) - exp((double)0.1F));
        assert_true(truth ? error < 1e-15 : error > 1e-15 && error < 1e-7);
        dppo_answer_free(&answer);
    }
}

static double first_draw(const char *function, dppo_side_call *side, int64_t seed) {
    dppo_case made = make_case(function, "{\"size\": [3]}");
    made.has_seed = true;
    made.manual_seed = seed;
    dppo_answer answer = call(made, side, DPPO_OK);
    double value = dppo_tensor_at(dppo_named_get(&answer.out, "result"), 0);
    dppo_answer_free(&answer);
    return value;
}

/* torch.manual_seed(0): torch.rand(1) is 0.4963, torch.randn(1) is 1.5410, in every installation. The truth
 * is evaluated at the same draws. */
static void seeds_give_torchs_streams(void **state) {
    (void)state;
    assert_true(fabs(first_draw("torch.rand", shim_call, 0) - 0.4963) < 5e-5);
    assert_true(fabs(first_draw("torch.randn", shim_call, 0) - 1.5410) < 5e-5);
    assert_true(first_draw("torch.randn", shim_call, 0) == first_draw("torch.randn", shim_call_float64, 0));
    assert_true(first_draw("torch.randn", shim_call, 0) != first_draw("torch.randn", shim_call, 1));
}

static void reductions_add_in_one_order(void **state) {
    (void)state;
    assert_int_equal(shim_init(0), DPPO_OK);
    if (getenv("ATEN_CPU_CAPABILITY") == NULL) fail_msg("the vector capability was left to the machine");
    assert_string_not_equal(shim_cpu_capability(), "unknown");
    assert_non_null(strchr(shim_torch_version(), '.'));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_sorted_and_unique),
        cmocka_unit_test(unknown_function_is_missing),
        cmocka_unit_test(exceptions_become_one_line),
        cmocka_unit_test(absent_inputs_and_arguments_are_named),
        cmocka_unit_test(draws_are_checked),
        cmocka_unit_test(a_cotangent_without_result_fails),
        cmocka_unit_test(gradients_carry_the_cotangent),
        cmocka_unit_test(an_input_without_use_fails),
        cmocka_unit_test(the_truth_is_float64),
        cmocka_unit_test(seeds_give_torchs_streams),
        cmocka_unit_test(reductions_add_in_one_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
