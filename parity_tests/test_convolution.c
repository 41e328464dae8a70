/* Convolutions against their definition in double, their gradients against finite differences; any number of
 * threads. */
#include "autograd/functions.h"
#include "base/pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state) {
    dppo_generator *generator = dppo_generator_new(3);
    *state = generator ? dppo_context_new(generator) : NULL;
    return *state ? 0 : -1;
}

static int teardown(void **state) {
    dppo_generator *generator = dppo_context_generator(*state);
    dppo_context_free(*state);
    dppo_generator_free(generator);
    dppo_set_threads(1);
    return 0;
}

static dppo_tensor *drawn(dppo_cx *cx, int ndim, const int64_t *shape) {
    dppo_tensor *tensor = dppo_randn(cx, ndim, shape);
    assert_non_null(tensor);
    return tensor;
}

/* out[b, o, i, j] = bias[o] + sum x[b, c, i s + y - p, j s + z - p] w[o, c, y, z] */
static void test_conv2d_is_its_definition(void **state) {
    dppo_cx *cx = *state;
    enum { B = 2, C = 3, H = 7, W = 6, O = 4, K = 3, S = 2, P = 1, OH = 4, OW = 3 };
    dppo_tensor *x = drawn(cx, 4, (int64_t[]){B, C, H, W}), *w = drawn(cx, 4, (int64_t[]){O, C, K, K});
    dppo_tensor *bias = drawn(cx, 1, (int64_t[]){O});
    dppo_tensor *y = dppo_conv2d(cx, x, w, bias, (int64_t[]){S, S}, (int64_t[]){P, P});
    assert_non_null(y);
    assert_int_equal(y->shape[2], OH);
    assert_int_equal(y->shape[3], OW);
    for (int at = 0; at < B * O * OH * OW; at++) {
        int j = at % OW, i = at / OW % OH, o = at / (OW * OH) % O, b = at / (OW * OH * O);
        double sum = dppo_f32(bias)[o];
        for (int tap = 0; tap < C * K * K; tap++) {
            int z = j * S + tap % K - P, row = i * S + tap / K % K - P, c = tap / (K * K);
            if (z < 0 || z >= W || row < 0 || row >= H) continue;
            sum += (double)dppo_f32(x)[((b * C + c) * H + row) * W + z] * dppo_f32(w)[o * C * K * K + tap];
        }
        assert_true(fabs((double)dppo_f32(y)[at] - sum) <= 1e-5);
    }
}

typedef dppo_tensor *function(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias);

static dppo_tensor *down(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias) {
    return dppo_conv1d(cx, x, weight, bias, 2, 1);
}

static dppo_tensor *up(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias) {
    return dppo_conv_transpose1d(cx, x, weight, bias, 2, 1, 0);
}

static double objective(dppo_cx *cx, function *f, dppo_tensor *const *in, const dppo_tensor *cotangent) {
    const dppo_tensor *y = f(cx, in[0], in[1], in[2]);
    double sum = 0;
    for (int64_t i = 0; i < dppo_numel(y); i++)
        sum += (double)dppo_f32(y)[i] * dppo_f32(cotangent)[i];
    return sum;
}

/* The functions are linear in each operand: a central difference of any width is exact but for rounding. */
static void check_gradients(dppo_cx *cx, function *f, dppo_tensor **in) {
    dppo_tensor *gradients[3], *cotangent;
    for (int k = 0; k < 3; k++)
        in[k]->requires_grad = true;
    dppo_tensor *y = f(cx, in[0], in[1], in[2]);
    assert_non_null(y);
    cotangent = drawn(cx, y->ndim, y->shape);
    assert_int_equal(dppo_grad(cx, 1, &y, &cotangent, 3, in, false, gradients), DPPO_OK);
    (void)dppo_set_grad_enabled(cx, false);
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < dppo_numel(in[k]); i++) {
            float *value = dppo_f32(in[k]) + i, before = *value;
            *value = before + 1.0f;
            double above = objective(cx, f, in, cotangent);
            *value = before - 1.0f;
            double slope = (above - objective(cx, f, in, cotangent)) / 2;
            *value = before;
            assert_true(fabs(slope - (double)dppo_f32(gradients[k])[i]) <= 1e-4);
        }
    (void)dppo_set_grad_enabled(cx, true);
}

static void test_conv1d_gradients(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *in[3] = {drawn(cx, 3, (int64_t[]){2, 3, 7}), drawn(cx, 3, (int64_t[]){4, 3, 3}),
                          drawn(cx, 1, (int64_t[]){4})};
    check_gradients(cx, down, in);
}

static void test_conv_transpose1d_gradients(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *in[3] = {drawn(cx, 3, (int64_t[]){2, 3, 5}), drawn(cx, 3, (int64_t[]){3, 4, 4}),
                          drawn(cx, 1, (int64_t[]){4})};
    check_gradients(cx, up, in);
}

static void test_threads_change_nothing(void **state) {
    dppo_cx *cx = *state;
    dppo_tensor *x = drawn(cx, 3, (int64_t[]){37, 16, 20}), *w = drawn(cx, 3, (int64_t[]){24, 16, 5}), *y[2],
                *dx[2];
    dppo_tensor *cotangent = drawn(cx, 3, (int64_t[]){37, 24, 20});
    x->requires_grad = true;
    for (int run = 0; run < 2; run++) {
        dppo_set_threads(run == 0 ? 1 : 3);
        y[run] = dppo_conv1d(cx, x, w, NULL, 1, 2);
        assert_int_equal(dppo_grad(cx, 1, &y[run], &cotangent, 1, &x, false, &dx[run]), DPPO_OK);
    }
    assert_memory_equal(y[0]->data, y[1]->data, (size_t)dppo_numel(y[0]) * sizeof(float));
    assert_memory_equal(dx[0]->data, dx[1]->data, (size_t)dppo_numel(x) * sizeof(float));
}

static void refused(dppo_cx *cx, const dppo_tensor *result, const char *word) {
    assert_null(result);
    assert_int_equal(dppo_context_status(cx), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), word));
    dppo_context_reset(cx);
}

static void test_what_does_not_fit_is_refused(void **state) {
    dppo_cx *cx = *state;
    const int64_t x[3] = {1, 3, 4}, other[3] = {2, 4, 3}, longer[3] = {2, 3, 7};
    refused(cx, dppo_conv1d(cx, drawn(cx, 3, x), drawn(cx, 3, other), NULL, 1, 0), "(2, 4, 3)");
    refused(cx, dppo_conv1d(cx, drawn(cx, 3, x), drawn(cx, 3, longer), NULL, 1, 1), "kernel of 7 on 6");
    refused(cx, dppo_conv1d(cx, drawn(cx, 3, x), drawn(cx, 3, x), NULL, 0, 1), "stride 0");
    refused(cx, dppo_conv_transpose1d(cx, drawn(cx, 3, x), drawn(cx, 3, (int64_t[]){3, 2, 2}), NULL, 1, 0, 1),
            "output padding 1");
    refused(cx, dppo_group_norm(cx, drawn(cx, 3, x), 2, NULL, NULL, 1e-5), "3 channels in 2 groups");
    refused(cx, dppo_pad(cx, drawn(cx, 3, x), 2, (int64_t[]){4, 0}, DPPO_PAD_REFLECT, 0), "4 and 0 around 4");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_conv2d_is_its_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv1d_gradients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conv_transpose1d_gradients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_change_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_does_not_fit_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
