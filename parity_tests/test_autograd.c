/* The tape: accumulation, no_grad, detach, gradients of gradients, errors that stick. */
#include "autograd/functions.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static dppo_tensor *leaf(int ndim, const int64_t *shape, const float *values) {
    dppo_tensor *tensor = dppo_tensor_heap(DPPO_F32, ndim, shape);
    assert_non_null(tensor);
    memcpy(tensor->data, values, (size_t)dppo_numel(tensor) * sizeof *values);
    tensor->requires_grad = true;
    return tensor;
}

static int setup(void **state) {
    *state = dppo_context_new(NULL);
    return *state ? 0 : -1;
}

static int teardown(void **state) {
    dppo_context_free(*state);
    return 0;
}

/* y = x * x + x, summed: dy/dx = 2 x + 1, from three uses of x. */
static void test_contributions_are_added(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = leaf(1, (int64_t[]){3}, (float[]){1, -2, 3});
    dppo_tensor *y = dppo_sum(cx, dppo_add(cx, dppo_mul(cx, x, x), x), 0, NULL, false);
    assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_OK);
    const float expected[3] = {3, -3, 7};
    assert_memory_equal(x->grad->data, expected, sizeof expected);
    dppo_tensor_free(x);
}

/* A second backward adds to what is there. */
static void test_grad_accumulates_over_calls(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = leaf(1, (int64_t[]){2}, (float[]){1, 2});
    for (int i = 0; i < 2; i++) {
        dppo_tensor *y = dppo_sum(cx, dppo_mul_scalar(cx, x, 3), 0, NULL, false);
        assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_OK);
    }
    assert_true(dppo_f32(x->grad)[0] == 6 && dppo_f32(x->grad)[1] == 6);
    dppo_tensor_free(x);
}

static void test_no_grad_and_detach_cut_the_graph(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = leaf(1, (int64_t[]){2}, (float[]){1, 2});
    bool before = dppo_set_grad_enabled(cx, false);
    assert_false(dppo_mul(cx, x, x)->requires_grad);
    dppo_set_grad_enabled(cx, before);
    dppo_tensor *cut = dppo_detach(cx, dppo_mul(cx, x, x));
    assert_false(cut->requires_grad);
    dppo_tensor *y = dppo_sum(cx, dppo_mul(cx, x, cut), 0, NULL, false);
    assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_OK);
    assert_true(dppo_f32(x->grad)[0] == 1 && dppo_f32(x->grad)[1] == 4);
    dppo_tensor_free(x);
}

/* x^3: the second derivative is 6 x. */
static void test_gradient_of_a_gradient(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = leaf(1, (int64_t[]){2}, (float[]){2, -5});
    dppo_tensor *y = dppo_mul(cx, dppo_mul(cx, x, x), x), *one = dppo_ones_like(cx, x), *first, *second;
    assert_int_equal(dppo_grad(cx, 1, &y, &one, 1, &x, true, &first), DPPO_OK);
    assert_true(dppo_f32(first)[0] == 12 && dppo_f32(first)[1] == 75);
    assert_int_equal(dppo_grad(cx, 1, &first, &one, 1, &x, false, &second), DPPO_OK);
    assert_true(dppo_f32(second)[0] == 12 && dppo_f32(second)[1] == -30);
    assert_null(x->grad);
    dppo_tensor_free(x);
}

/* The gradient of an intermediate result, and none for what the output does not depend on. */
static void test_gradient_of_a_result(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = leaf(1, (int64_t[]){2}, (float[]){1, 2}), *z = leaf(1, (int64_t[]){2}, (float[]){1, 1});
    dppo_tensor *middle = dppo_mul_scalar(cx, x, 2),
                *y = dppo_sum(cx, dppo_mul(cx, middle, middle), 0, NULL, false);
    dppo_tensor *inputs[2] = {middle, z}, *gradients[2];
    assert_int_equal(dppo_grad(cx, 1, &y, NULL, 2, inputs, false, gradients), DPPO_OK);
    assert_true(dppo_f32(gradients[0])[0] == 4 && dppo_f32(gradients[0])[1] == 8);
    assert_null(gradients[1]);
    dppo_tensor_free(x);
    dppo_tensor_free(z);
}

static void test_broadcast_gradients_are_summed(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *row = leaf(2, (int64_t[]){1, 3}, (float[]){1, 2, 3}),
                *column = leaf(2, (int64_t[]){2, 1}, (float[]){10, 20});
    dppo_tensor *y = dppo_sum(cx, dppo_mul(cx, row, column), 0, NULL, false);
    assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_OK);
    for (int i = 0; i < 3; i++)
        assert_true(dppo_f32(row->grad)[i] == 30);
    assert_true(dppo_f32(column->grad)[0] == 6 && dppo_f32(column->grad)[1] == 6);
    dppo_tensor_free(row);
    dppo_tensor_free(column);
}

/* The first failure stays, later operations pass NULL on, a reset clears it. */
static void test_errors_stick(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *a = dppo_zeros(cx, DPPO_F32, 1, (int64_t[]){2}),
                *b = dppo_zeros(cx, DPPO_F32, 1, (int64_t[]){3});
    dppo_tensor *y = dppo_exp(cx, dppo_add(cx, a, b));
    assert_null(y);
    assert_int_equal(dppo_context_status(cx), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "(2,)"));
    assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_INVALID);
    dppo_context_reset(cx);
    assert_int_equal(dppo_context_status(cx), DPPO_OK);
    assert_non_null(dppo_zeros(cx, DPPO_F32, 1, (int64_t[]){2}));
}

static void test_backward_needs_a_cotangent(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = leaf(1, (int64_t[]){2}, (float[]){1, 2}), *y = dppo_mul(cx, x, x);
    assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_INVALID);
    dppo_tensor_free(x);
}

/* Views share memory; what is not viewable is refused by view and copied by reshape. */
static void test_views_alias(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = dppo_from_f32(cx, 2, (int64_t[]){2, 3}, (float[]){0, 1, 2, 3, 4, 5});
    dppo_tensor *turned = dppo_transpose(cx, x, 0, 1), *flat = dppo_reshape(cx, turned, 1, (int64_t[]){-1});
    assert_ptr_equal(turned->data, x->data);
    assert_ptr_not_equal(flat->data, x->data);
    const float expected[6] = {0, 3, 1, 4, 2, 5};
    assert_memory_equal(flat->data, expected, sizeof expected);
    assert_ptr_equal(dppo_narrow(cx, x, 1, 1, 2)->data, dppo_f32(x) + 1);
    assert_ptr_equal(dppo_view(cx, x, 2, (int64_t[]){3, 2})->data, x->data);
    assert_null(dppo_view(cx, turned, 1, (int64_t[]){6}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_contributions_are_added, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grad_accumulates_over_calls, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_grad_and_detach_cut_the_graph, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gradient_of_a_gradient, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gradient_of_a_result, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broadcast_gradients_are_summed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_stick, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backward_needs_a_cotangent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_views_alias, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
