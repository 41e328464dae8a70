/* What shares memory and what does not, and who gets a gradient: what callers of views rely on. */
#include "autograd/functions.h"
#include "nn/module.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state) {
    *state = dppo_context_new(NULL);
    return *state ? 0 : -1;
}

static int teardown(void **state) {
    dppo_context_free(*state);
    return 0;
}

static dppo_tensor *six(dppo_cx *cx) {
    return dppo_from_f32(cx, 2, (int64_t[]){2, 3}, (float[]){0, 1, 2, 3, 4, 5});
}

static void test_views_see_what_is_written(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = six(cx);
    dppo_tensor *views[] = {
        dppo_view(cx, x, 1, (int64_t[]){6}),
        dppo_reshape(cx, x, 2, (int64_t[]){3, 2}),
        dppo_transpose(cx, x, 0, 1),
        dppo_unsqueeze(cx, x, 0),
        dppo_narrow(cx, x, 0, 0, 1),
        dppo_expand(cx, x, 3, (int64_t[]){4, 2, 3}),
        dppo_detach(cx, x),
        dppo_flatten(cx, x, 0, -1),
    };
    dppo_f32(x)[0] = 42.0f;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        assert_non_null(views[i]);
        assert_true(dppo_tensor_at(views[i], 0) == 42.0);
    }
    dppo_f32(views[6])[1] = -7.0f; /* detach: the other way round, too */
    assert_true(dppo_f32(x)[1] == -7.0f);
}

static void test_copies_do_not(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = six(cx);
    dppo_tensor *turned = dppo_transpose(cx, x, 0, 1);
    dppo_tensor *copies[] = {
        dppo_clone(cx, x),
        dppo_contiguous(cx, turned),
        dppo_reshape(cx, turned, 1, (int64_t[]){6}), /* not viewable: copied */
        dppo_repeat(cx, x, 2, (int64_t[]){1, 1}),
        dppo_flip(cx, x, 0, NULL),
    };
    dppo_f32(x)[0] = 42.0f;
    for (size_t i = 0; i < sizeof copies / sizeof *copies; i++) {
        assert_non_null(copies[i]);
        assert_true(dppo_tensor_at(copies[i], 0) == 0.0);
    }
    assert_null(dppo_view(cx, turned, 1, (int64_t[]){6}));
}

/* An expanded dim is one element seen many times. */
static void test_expand_repeats_one_element(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *row = dppo_narrow(cx, six(cx), 0, 1, 1), *wide = dppo_expand(cx, row, 2, (int64_t[]){4, 3});
    assert_int_equal(wide->stride[0], 0);
    dppo_f32(wide)[0] = 9.0f;
    for (int64_t i = 0; i < 4; i++)
        assert_true(dppo_tensor_at(wide, 3 * i) == 9.0);
}

/* clamp_ writes to its argument, seen through views, and returns it. */
static void test_clamp_inplace_writes_where_it_stands(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = six(cx), *view = dppo_view(cx, x, 1, (int64_t[]){6});
    const float expected[6] = {1, 1, 2, 3, 4, 4};
    assert_ptr_equal(dppo_clamp_inplace(cx, x, 1.0, 4.0), x);
    assert_memory_equal(view->data, expected, sizeof expected);
}

/* While recording the gradient is that of clamp, and a leaf that wants one may not be written. */
static void test_clamp_inplace_is_differentiated(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *leaf = six(cx), *gradient;
    leaf->requires_grad = true;
    dppo_tensor *y = dppo_clamp_inplace(cx, dppo_mul_scalar(cx, leaf, 1.0), 1.0, 4.0);
    const float slope[6] = {0, 1, 1, 1, 1, 0};
    dppo_tensor *sum = dppo_sum(cx, y, 0, NULL, false);
    assert_int_equal(dppo_grad(cx, 1, &sum, NULL, 1, &leaf, false, &gradient), DPPO_OK);
    assert_memory_equal(gradient->data, slope, sizeof slope);
    assert_null(dppo_clamp_inplace(cx, leaf, 1.0, 4.0));
    assert_int_equal(dppo_context_status(cx), DPPO_INVALID);
}

/* relu(u) + u, which has u's memory in the end where `inplace`; u itself is a sum of the leaf with zeros. */
static dppo_tensor *bent(dppo_cx *cx, dppo_tensor *leaf, bool inplace) {
    dppo_tensor *zeros = dppo_zeros_like(cx, leaf), *u = dppo_add(cx, leaf, zeros);
    dppo_tensor *h = dppo_add(cx, dppo_relu(cx, u), zeros);
    if (!inplace) return dppo_relu(cx, dppo_add(cx, h, u));
    dppo_tensor *out = dppo_relu_inplace(cx, dppo_add_inplace(cx, h, u));
    assert_ptr_equal(out->data, h->data);
    return out;
}

static void test_in_place_equals_out_of_place(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *results[2], *gradients[2], *leaf = dppo_sub_scalar(cx, six(cx), 2.5);
    leaf->requires_grad = true;
    for (int i = 0; i < 2; i++) {
        results[i] = bent(cx, leaf, i == 1);
        dppo_tensor *sum = dppo_sum(cx, results[i], 0, NULL, false);
        assert_int_equal(dppo_grad(cx, 1, &sum, NULL, 1, &leaf, false, &gradients[i]), DPPO_OK);
    }
    assert_memory_equal(results[0]->data, results[1]->data, 6 * sizeof(float));
    assert_memory_equal(gradients[0]->data, gradients[1]->data, 6 * sizeof(float));
    assert_null(dppo_relu_inplace(cx, leaf));
    assert_int_equal(dppo_context_status(cx), DPPO_INVALID);
}

/* Backward writes gradients over others that nobody looks at: not over those it was given, nor over those
 * that it hands out or passes on to several. With create_graph it never does. */
static void test_backward_overwrites_only_its_own(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *weight = dppo_from_f32(cx, 2, (int64_t[]){3, 3}, (float[]){1, -2, 3, 4, 5, -6, -7, 8, 9});
    dppo_tensor *bias = dppo_zeros(cx, DPPO_F32, 1, (int64_t[]){3}), *x = dppo_sub_scalar(cx, six(cx), 2.5);
    x->requires_grad = true;
    dppo_tensor *u = dppo_linear(cx, x, weight, bias), *r = dppo_relu(cx, u);
    dppo_tensor *v = dppo_linear(cx, r, weight, bias), *s = dppo_add(cx, v, dppo_tanh(cx, u));
    dppo_tensor *y = dppo_linear(cx, s, weight, bias);
    dppo_tensor *wanted[] = {x, u, r, s}, *plain[4], *recorded[4], *alone, *other;
    dppo_tensor *upstream = dppo_mul_scalar(cx, six(cx), 0.25), *kept = dppo_clone(cx, upstream);
    assert_int_equal(dppo_grad(cx, 1, &y, &upstream, 4, wanted, true, recorded), DPPO_OK);
    assert_int_equal(dppo_grad(cx, 1, &y, &upstream, 4, wanted, false, plain), DPPO_OK);
    assert_int_equal(dppo_grad(cx, 1, &y, &upstream, 1, &x, false, &alone), DPPO_OK);
    assert_memory_equal(alone->data, recorded[0]->data, 6 * sizeof(float));
    assert_int_equal(dppo_grad(cx, 1, &r, &alone, 1, &u, false, &other), DPPO_OK);
    assert_memory_equal(alone->data, recorded[0]->data, 6 * sizeof(float));
    assert_memory_equal(upstream->data, kept->data, 6 * sizeof(float));
    for (int i = 0; i < 4; i++)
        assert_memory_equal(plain[i]->data, recorded[i]->data, 6 * sizeof(float));
}

static void test_who_requires_a_gradient(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = six(cx);
    assert_false(dppo_exp(cx, x)->requires_grad);
    x->requires_grad = true;
    assert_true(dppo_exp(cx, x)->requires_grad);
    assert_true(dppo_view(cx, x, 1, (int64_t[]){6})->requires_grad);
    assert_false(dppo_exp(cx, dppo_detach(cx, x))->requires_grad);
    bool before = dppo_set_grad_enabled(cx, false);
    assert_false(dppo_exp(cx, x)->requires_grad);
    (void)dppo_set_grad_enabled(cx, before);
    assert_true(dppo_exp(cx, x)->requires_grad);
}

/* A buffer is in the state_dict, among no parameters, and loaded in place: whoever holds it sees it. */
static void test_buffers_are_state_and_no_parameters(void **state) {
    (void)state;
    dppo_module *module = dppo_module_new(sizeof *module, "Module");
    dppo_named saved = {0};
    const dppo_tensor *mean = dppo_module_buffer(module, "mean", 1, (int64_t[]){2});
    (void)dppo_module_parameter(module, "weight", 1, (int64_t[]){1});
    assert_non_null(mean);
    assert_false(mean->requires_grad);
    assert_int_equal(dppo_module_parameters(module, NULL, NULL, 0), 1);
    assert_int_equal(dppo_module_state_dict(module, "", &saved), DPPO_OK);
    assert_int_equal(saved.count, 2);
    dppo_f32(dppo_named_get(&saved, "mean"))[1] = 3.5f;
    assert_true(dppo_f32(mean)[1] == 0.0f); /* the state_dict was a copy */
    assert_int_equal(dppo_module_load_state_dict(module, "", &saved, true), DPPO_OK);
    assert_true(dppo_f32(mean)[1] == 3.5f);
    dppo_named_free(&saved);
    dppo_module_free(module);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_views_see_what_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies_do_not, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expand_repeats_one_element, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clamp_inplace_writes_where_it_stands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clamp_inplace_is_differentiated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_in_place_equals_out_of_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_backward_overwrites_only_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_who_requires_a_gradient, setup, teardown),
        cmocka_unit_test(test_buffers_are_state_and_no_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
