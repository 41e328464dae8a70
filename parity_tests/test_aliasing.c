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
        cmocka_unit_test_setup_teardown(test_who_requires_a_gradient, setup, teardown),
        cmocka_unit_test(test_buffers_are_state_and_no_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
