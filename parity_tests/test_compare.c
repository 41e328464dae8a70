/* The comparator must fail what is wrong; a judge that is blind is worse than none. */
#include "parity/compare.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static dppo_tensor vector(dppo_dtype dtype, int64_t count, void *data) {
    return (dppo_tensor){.dtype = dtype, .ndim = 1, .shape = {count}, .stride = {1}, .data = data};
}

static dppo_comparison compare_as(const dppo_tensor *actual, const dppo_tensor *expected, bool gradient) {
    dppo_compare_options options = {
        .tolerance = dppo_default_tolerance(expected ? expected->dtype : DPPO_F32), .gradient = gradient};
    dppo_comparison result;
    dppo_compare(actual, expected, &options, &result);
    /* A verdict and its explanation go together. */
    assert_int_equal(result.passed, result.message[0] == '\0');
    return result;
}

static dppo_comparison compare_values(float actual, float expected) {
    dppo_tensor a = vector(DPPO_F32, 1, &actual), b = vector(DPPO_F32, 1, &expected);
    return compare_as(&a, &b, false);
}

static void equal_passes(void **state) {
    (void)state;
    dppo_comparison result = compare_values(1.5F, 1.5F);
    assert_true(result.passed);
    assert_true(result.bitwise_share == 1 && result.max_ulp == 0 && result.max_abs == 0);
}

static void nan_fails(void **state) {
    (void)state;
    assert_false(compare_values(NAN, 1).passed);
    assert_false(compare_values(1, NAN).passed);
    assert_false(compare_values(NAN, INFINITY).passed);
    assert_true(isinf(compare_values(NAN, 1).max_abs));
    assert_true(isinf(compare_values(1, NAN).max_rel));
}

static void nan_in_the_same_place_passes(void **state) {
    (void)state;
    float a[] = {1, NAN, 3}, b[] = {1, NAN, 3}, c[] = {NAN, 1, 3};
    dppo_tensor x = vector(DPPO_F32, 3, a), y = vector(DPPO_F32, 3, b), z = vector(DPPO_F32, 3, c);
    assert_true(compare_as(&x, &y, false).passed);
    assert_int_equal(compare_as(&x, &z, false).outside, 2);
}

static void infinity_equals_its_own_sign_only(void **state) {
    (void)state;
    assert_true(compare_values(INFINITY, INFINITY).passed);
    assert_true(compare_values(-INFINITY, -INFINITY).passed);
    assert_false(compare_values(INFINITY, -INFINITY).passed);
    assert_false(compare_values(INFINITY, 3e38F).passed);
    assert_false(compare_values(3e38F, INFINITY).passed); /* rtol * inf would admit anything */
}

static void wrong_shape_fails(void **state) {
    (void)state;
    float values[6] = {0};
    dppo_tensor flat = vector(DPPO_F32, 6, values);
    dppo_tensor matrix = {.dtype = DPPO_F32, .ndim = 2, .shape = {2, 3}, .stride = {3, 1}, .data = values};
    dppo_tensor turned = {.dtype = DPPO_F32, .ndim = 2, .shape = {3, 2}, .stride = {2, 1}, .data = values};
    dppo_tensor scalar = {.dtype = DPPO_F32, .data = values};
    dppo_tensor one = vector(DPPO_F32, 1, values);
    assert_false(compare_as(&flat, &matrix, false).passed);
    assert_false(compare_as(&turned, &matrix, false).passed);
    assert_false(compare_as(&scalar, &one, false).passed);
}

static void wrong_dtype_fails(void **state) {
    (void)state;
    float f[] = {1, 0};
    double d[] = {1, 0};
    int64_t i[] = {1, 0};
    uint8_t b[] = {1, 0};
    dppo_tensor all[] = {vector(DPPO_F32, 2, f), vector(DPPO_F64, 2, d), vector(DPPO_I64, 2, i),
                         vector(DPPO_BOOL, 2, b)};
    for (int x = 0; x < 4; x++)
        for (int y = 0; y < 4; y++)
            assert_int_equal(compare_as(&all[x], &all[y], false).passed, x == y);
}

static void missing_and_extra_fail(void **state) {
    (void)state;
    float value = 0;
    dppo_tensor tensor = vector(DPPO_F32, 1, &value);
    assert_false(compare_as(NULL, &tensor, false).passed);
    assert_false(compare_as(&tensor, NULL, false).passed);
}

static void one_bad_element_in_a_million_fails(void **state) {
    (void)state;
    enum { COUNT = 1000000 };
    float *a = malloc(2 * COUNT * sizeof *a), *b = a + COUNT;
    assert_non_null(a);
    for (int i = 0; i < COUNT; i++)
        a[i] = b[i] = (float)i * 1e-3F;
    dppo_tensor x = {.dtype = DPPO_F32, .ndim = 2, .shape = {1000, 1000}, .stride = {1000, 1}, .data = a};
    dppo_tensor y = x;
    y.data = b;
    assert_true(compare_as(&x, &y, false).passed);
    a[654321] += 1;
    dppo_comparison result = compare_as(&x, &y, false);
    assert_false(result.passed);
    assert_int_equal(result.outside, 1);
    assert_string_equal(result.worst_index, "(654, 321)");
    assert_true(result.p99_ulp == 0 && result.max_ulp > 0);
    free(a);
}

static void zero_gradient_fails(void **state) {
    (void)state;
    float zero[] = {0, 0, 0}, small[] = {0, 1e-7F, 0};
    dppo_tensor x = vector(DPPO_F32, 3, zero), y = vector(DPPO_F32, 3, small);
    assert_true(compare_as(&x, &y, false).passed); /* within atol: only the gradient's guard sees it */
    assert_false(compare_as(&x, &y, true).passed);
    assert_false(compare_as(&y, &x, true).passed);
    assert_true(compare_as(&x, &x, true).passed);
}

static void tolerance_is_assert_closes(void **state) {
    (void)state;
    assert_true(compare_values(1 + 1.1e-5F, 1).passed); /* 1e-5 + 1.3e-6 = 1.13e-5 */
    assert_false(compare_values(1 + 1.2e-5F, 1).passed);
    assert_true(compare_values(1000.0009F, 1000).passed); /* 1.31e-3 */
    assert_false(compare_values(1000.002F, 1000).passed);
    double a = 1 + 1.9e-7, b = 1 + 2.1e-7, one = 1;
    dppo_tensor x = vector(DPPO_F64, 1, &a), y = vector(DPPO_F64, 1, &b), z = vector(DPPO_F64, 1, &one);
    assert_true(compare_as(&x, &z, false).passed);
    assert_false(compare_as(&y, &z, false).passed);
}

static void integers_are_exact(void **state) {
    (void)state;
    int64_t a[] = {INT64_MAX}, b[] = {INT64_MAX - 1}; /* equal once rounded to double */
    dppo_tensor x = vector(DPPO_I64, 1, a), y = vector(DPPO_I64, 1, b);
    dppo_comparison result = compare_as(&x, &y, false);
    assert_false(result.passed);
    assert_true(result.max_abs == 1);
}

static void ulp_counts_representable_numbers(void **state) {
    (void)state;
    float next = nextafterf(1, 2);
    assert_true(compare_values(next, 1).max_ulp == 1);
    assert_true(compare_values(-0.0F, 0.0F).max_ulp == 0);
    assert_true(compare_values(-0.0F, 0.0F).bitwise_share == 0); /* equal in value, not in bits */
    assert_true(compare_values(nextafterf(0, 1), nextafterf(0, -1)).max_ulp == 2);
}

static void strides_do_not_matter(void **state) {
    (void)state;
    float rows[] = {1, 2, 3, 4, 5, 6}, columns[] = {1, 4, 2, 5, 3, 6};
    dppo_tensor x = {.dtype = DPPO_F32, .ndim = 2, .shape = {2, 3}, .stride = {3, 1}, .data = rows};
    dppo_tensor y = {.dtype = DPPO_F32, .ndim = 2, .shape = {2, 3}, .stride = {1, 2}, .data = columns};
    assert_true(compare_as(&x, &y, false).passed);
    columns[5] = 7;
    assert_string_equal(compare_as(&x, &y, false).worst_index, "(1, 2)");
}

static void empty_tensors_agree(void **state) {
    (void)state;
    float none = 0;
    dppo_tensor x = vector(DPPO_F32, 0, &none);
    assert_true(compare_as(&x, &x, true).passed);
}

static void truth_bounds_the_error_of_c(void **state) {
    (void)state;
    double exact = 1;
    float torch = nextafterf(1, 2), twice = nextafterf(nextafterf(torch, 2), 2);
    float beyond = nextafterf(twice, 2);
    dppo_tensor truth = vector(DPPO_F64, 1, &exact), t = vector(DPPO_F32, 1, &torch);
    dppo_tensor good = vector(DPPO_F32, 1, &twice), bad = vector(DPPO_F32, 1, &beyond);
    dppo_truth result;
    dppo_judge_truth(&good, &t, &truth, &result); /* 3 units <= 2 * 1 + 1 */
    assert_true(result.known && result.held && result.ratio == 3);
    dppo_judge_truth(&bad, &t, &truth, &result);
    assert_true(result.known && !result.held && result.ratio == 4);
    float nan = NAN;
    dppo_tensor broken = vector(DPPO_F32, 1, &nan);
    dppo_judge_truth(&broken, &t, &truth, &result);
    assert_false(result.held);
    dppo_judge_truth(&good, &t, NULL, &result);
    assert_false(result.known);
}

static void overflow_of_float32_is_no_error_against_truth(void **state) {
    (void)state;
    double exact[] = {1e39, 1};
    float torch[] = {INFINITY, 1}, good[] = {INFINITY, 1}, bad[] = {INFINITY, 1.1F};
    dppo_tensor truth = vector(DPPO_F64, 2, exact), t = vector(DPPO_F32, 2, torch);
    dppo_tensor g = vector(DPPO_F32, 2, good), b = vector(DPPO_F32, 2, bad);
    dppo_truth result;
    dppo_judge_truth(&g, &t, &truth, &result);
    assert_true(result.known && result.held && result.ratio == 0);
    dppo_judge_truth(&b, &t, &truth, &result);
    assert_true(result.known && !result.held);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_passes),
        cmocka_unit_test(nan_fails),
        cmocka_unit_test(nan_in_the_same_place_passes),
        cmocka_unit_test(infinity_equals_its_own_sign_only),
        cmocka_unit_test(wrong_shape_fails),
        cmocka_unit_test(wrong_dtype_fails),
        cmocka_unit_test(missing_and_extra_fail),
        cmocka_unit_test(one_bad_element_in_a_million_fails),
        cmocka_unit_test(zero_gradient_fails),
        cmocka_unit_test(tolerance_is_assert_closes),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(ulp_counts_representable_numbers),
        cmocka_unit_test(strides_do_not_matter),
        cmocka_unit_test(empty_tensors_agree),
        cmocka_unit_test(truth_bounds_the_error_of_c),
        cmocka_unit_test(overflow_of_float32_is_no_error_against_truth),
    };
    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
