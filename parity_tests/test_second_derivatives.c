/* Gradients of gradients against differences of gradients: for f(x), a cotangent u and directions v, w of the
 * inputs x, the derivative along v of <w, d<u, f>/dx> by the tape, and by differences of d<u, f>/dx. */
#include "autograd/functions.h"
#include "nn/sequential.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST_INPUTS = 4 };

typedef dppo_tensor *function(dppo_cx *cx, dppo_tensor *const *x);

typedef struct subject {
    const char *name;
    function *f;
    double scale, shift; /* inputs are scale * randn + shift */
    int count;
    struct {
        int ndim;
        int64_t shape[4];
    } inputs[MOST_INPUTS];
} subject;

#define UNARY(name)                                                                                          \
    static dppo_tensor *of_##name(dppo_cx *cx, dppo_tensor *const *x) {                                      \
        return dppo_##name(cx, x[0]);                                                                        \
    }
UNARY(exp)
UNARY(log)
UNARY(sqrt)
UNARY(sin)
UNARY(cos)
UNARY(tanh)
UNARY(atanh)
UNARY(sigmoid)
UNARY(erf)
UNARY(relu)
UNARY(gelu)
UNARY(mish)
UNARY(square)
UNARY(log1p)

#define WRITTEN(name, formula)                                                                               \
    static dppo_tensor *of_##name(dppo_cx *cx, dppo_tensor *const *x) {                                      \
        return formula;                                                                                      \
    }
static const int first_dim[] = {0}, last_dim[] = {-1}, two_dims[] = {1, 2};
static const int64_t rows[] = {2, 0, 2, 1}, picked[] = {1, 0, 2, 2, 2, 0}, pads[] = {2, 1, 1, 1};

static dppo_tensor *index_of(dppo_cx *cx, int ndim, const int64_t *shape, const int64_t *values) {
    return dppo_from_i64(cx, ndim, shape, values);
}

WRITTEN(elu, dppo_elu(cx, x[0], 1.3))
WRITTEN(softplus, dppo_softplus(cx, x[0], 1.5, 20))
WRITTEN(softplus_threshold, dppo_softplus(cx, x[0], 1, 0.5))
WRITTEN(pow, dppo_pow_scalar(cx, x[0], 2.5))
WRITTEN(rdiv, dppo_rdiv_scalar(cx, x[0], 3))
WRITTEN(clamp_of_square, dppo_square(cx, dppo_clamp(cx, x[0], -0.6, 0.7)))
WRITTEN(maximum, dppo_square(cx, dppo_maximum(cx, x[0], x[1])))
WRITTEN(mul, dppo_mul(cx, x[0], x[1]))
WRITTEN(div, dppo_div(cx, x[0], x[1]))
WRITTEN(mse_loss, dppo_mse_loss(cx, x[0], x[1]))
WRITTEN(softmax, dppo_softmax(cx, x[0], -1))
WRITTEN(softmax_columns, dppo_softmax(cx, x[0], 0))
WRITTEN(log_softmax, dppo_log_softmax(cx, x[0], -1))
WRITTEN(log_softmax_columns, dppo_log_softmax(cx, x[0], 0))
WRITTEN(logsumexp, dppo_logsumexp(cx, x[0], 1, last_dim, false))
WRITTEN(mean, dppo_square(cx, dppo_mean(cx, x[0], 1, last_dim, false)))
WRITTEN(var, dppo_var(cx, x[0], 1, last_dim, 1, false))
WRITTEN(std, dppo_std(cx, x[0], 1, last_dim, 1, false))
WRITTEN(cumsum, dppo_square(cx, dppo_cumsum(cx, x[0], 1)))
WRITTEN(cumprod, dppo_cumprod(cx, x[0], 1))
WRITTEN(prod, dppo_prod(cx, x[0], 1, false))
WRITTEN(max_dim, dppo_square(cx, dppo_max_dim(cx, x[0], 1, false, NULL)))
WRITTEN(layer_norm, dppo_layer_norm(cx, x[0], x[1], x[2], 1e-5))
WRITTEN(layer_norm_plain, dppo_layer_norm(cx, x[0], NULL, NULL, 1e-5))
WRITTEN(group_norm, dppo_group_norm(cx, x[0], 2, x[1], x[2], 1e-5))
WRITTEN(group_norm_plain, dppo_group_norm(cx, x[0], 3, NULL, NULL, 1e-5))
WRITTEN(linear, dppo_square(cx, dppo_linear(cx, x[0], x[1], x[2])))
WRITTEN(matmul, dppo_tanh(cx, dppo_matmul(cx, x[0], x[1])))
WRITTEN(dot, dppo_square(cx, dppo_dot(cx, x[0], x[1])))
WRITTEN(conv1d, dppo_square(cx, dppo_conv1d(cx, x[0], x[1], x[2], 2, 1)))
WRITTEN(conv2d, dppo_square(cx, dppo_conv2d(cx, x[0], x[1], x[2], (int64_t[]){1, 2}, (int64_t[]){1, 0})))
WRITTEN(conv_transpose1d, dppo_square(cx, dppo_conv_transpose1d(cx, x[0], x[1], x[2], 2, 1, 1)))
WRITTEN(index_select, dppo_square(cx, dppo_index_select(cx, x[0], 0, index_of(cx, 1, (int64_t[]){4}, rows))))
WRITTEN(gather, dppo_square(cx, dppo_gather(cx, x[0], 1, index_of(cx, 2, (int64_t[]){3, 2}, picked))))
WRITTEN(embedding, dppo_square(cx, dppo_embedding(cx, index_of(cx, 2, (int64_t[]){2, 2}, rows), x[0])))
WRITTEN(index_put,
        dppo_square(cx, dppo_index_put_rows(cx, x[0], index_of(cx, 1, (int64_t[]){2}, rows), x[1])))
WRITTEN(cat, dppo_square(cx, dppo_cat(cx, 2, x, 1)))
WRITTEN(narrow, dppo_square(cx, dppo_narrow(cx, x[0], 1, 1, 2)))
WRITTEN(repeat_interleave, dppo_square(cx, dppo_repeat_interleave(cx, x[0], 3, 0)))
WRITTEN(flip, dppo_square(cx, dppo_flip(cx, x[0], 1, first_dim)))
WRITTEN(permute_and_sum, dppo_square(cx, dppo_sum(cx, dppo_transpose(cx, x[0], 0, 2), 2, two_dims, false)))
WRITTEN(pad, dppo_square(cx, dppo_pad(cx, x[0], 2, pads, DPPO_PAD_CONSTANT, 0)))
WRITTEN(pad_replicate, dppo_square(cx, dppo_pad(cx, x[0], 4, pads, DPPO_PAD_REPLICATE, 0)))
WRITTEN(pad_reflect, dppo_square(cx, dppo_pad(cx, x[0], 4, pads, DPPO_PAD_REFLECT, 0)))
WRITTEN(ensemble_linear, dppo_square(cx, dppo_ensemble_linear(cx, x[0], x[1], x[2])))

static dppo_tensor *of_attention(dppo_cx *cx, dppo_tensor *const *x) {
    dppo_attention a = {.in_proj_weight = x[1], .out_proj_weight = x[2], .num_heads = 2};
    return dppo_multi_head_attention(cx, &a, x[0], x[0], x[0], NULL);
}

#define MATRIX                                                                                               \
    {                                                                                                        \
        2, {                                                                                                 \
            3, 4                                                                                             \
        }                                                                                                    \
    }
#define VECTOR(n)                                                                                            \
    {                                                                                                        \
        1, {                                                                                                 \
            n                                                                                                \
        }                                                                                                    \
    }
#define ONE(name, scale, shift)                                                                              \
    {                                                                                                        \
#name, of_##name, scale, shift, 1, {                                                                 \
            MATRIX                                                                                           \
        }                                                                                                    \
    }
#define TWO(name, scale, shift)                                                                              \
    {                                                                                                        \
#name, of_##name, scale, shift, 2, {                                                                 \
            MATRIX, MATRIX                                                                                   \
        }                                                                                                    \
    }

static const subject subjects[] = {
    ONE(exp, 1, 0),
    ONE(log, 0.1, 2),
    ONE(log1p, 0.1, 1),
    ONE(sqrt, 0.1, 2),
    ONE(sin, 1, 0),
    ONE(cos, 1, 0),
    ONE(tanh, 1, 0),
    ONE(atanh, 0.2, 0),
    ONE(sigmoid, 1, 0),
    ONE(erf, 1, 0),
    ONE(square, 1, 0),
    ONE(gelu, 1, 0),
    ONE(mish, 1, 0),
    ONE(softplus, 1, 0),
    ONE(pow, 0.1, 2),
    ONE(rdiv, 0.1, 2),
    TWO(mul, 1, 0),
    TWO(div, 0.2, 2),
    TWO(mse_loss, 1, 0),
    ONE(softmax, 1, 0),
    ONE(softmax_columns, 1, 0),
    ONE(log_softmax, 1, 0),
    ONE(log_softmax_columns, 1, 0),
    ONE(logsumexp, 1, 0),
    ONE(mean, 1, 0),
    ONE(var, 1, 0),
    ONE(std, 1, 0),
    ONE(cumsum, 1, 0),
    ONE(cumprod, 0.2, 1),
    ONE(prod, 0.2, 1),
    {"layer_norm", of_layer_norm, 1, 0, 3, {MATRIX, VECTOR(4), VECTOR(4)}},
    ONE(layer_norm_plain, 1, 0),
    {"group_norm", of_group_norm, 1, 0, 3, {{3, {2, 6, 3}}, VECTOR(6), VECTOR(6)}},
    {"group_norm_plain", of_group_norm_plain, 1, 0, 1, {{4, {2, 6, 2, 2}}}},
    {"linear", of_linear, 1, 0, 3, {MATRIX, {2, {5, 4}}, VECTOR(5)}},
    {"matmul", of_matmul, 0.5, 0, 2, {{3, {2, 3, 4}}, {3, {2, 4, 2}}}},
    {"dot", of_dot, 1, 0, 2, {VECTOR(5), VECTOR(5)}},
    {"conv1d", of_conv1d, 1, 0, 3, {{3, {2, 3, 6}}, {3, {4, 3, 3}}, VECTOR(4)}},
    {"conv2d", of_conv2d, 1, 0, 3, {{4, {2, 2, 4, 5}}, {4, {3, 2, 2, 3}}, VECTOR(3)}},
    {"conv_transpose1d", of_conv_transpose1d, 1, 0, 3, {{3, {2, 3, 4}}, {3, {3, 2, 3}}, VECTOR(2)}},
    ONE(index_select, 1, 0),
    ONE(gather, 1, 0),
    ONE(embedding, 1, 0),
    {"index_put", of_index_put, 1, 0, 2, {MATRIX, {2, {2, 4}}}},
    TWO(cat, 1, 0),
    ONE(narrow, 1, 0),
    ONE(repeat_interleave, 1, 0),
    ONE(flip, 1, 0),
    {"permute_and_sum", of_permute_and_sum, 1, 0, 1, {{3, {2, 3, 4}}}},
    ONE(pad, 1, 0),
    {"pad_replicate", of_pad_replicate, 1, 0, 1, {{4, {1, 2, 3, 4}}}},
    {"pad_reflect", of_pad_reflect, 1, 0, 1, {{4, {1, 2, 3, 4}}}},
    {"ensemble_linear", of_ensemble_linear, 1, 0, 3, {{3, {2, 3, 4}}, {3, {2, 5, 4}}, {2, {2, 5}}}},
    {"attention", of_attention, 0.7, 0, 3, {{3, {3, 2, 4}}, {2, {12, 4}}, {2, {4, 4}}}},
    /* With kinks, away from which the draws of this seed lie. */
    ONE(relu, 1, 0),
    ONE(elu, 1, 0),
    ONE(softplus_threshold, 1, 0),
    ONE(clamp_of_square, 1, 0),
    TWO(maximum, 1, 0),
    ONE(max_dim, 1, 0),
};

typedef struct point {
    dppo_tensor *x[MOST_INPUTS], *v[MOST_INPUTS], *w[MOST_INPUTS], *u;
} point;

/* x + step v as leaves. */
static void leaves_at(dppo_cx *cx, const subject *s, const point *p, double step, dppo_tensor **leaves) {
    for (int i = 0; i < s->count; i++) {
        leaves[i] = dppo_add(cx, p->x[i], dppo_mul_scalar(cx, p->v[i], step));
        leaves[i]->requires_grad = true;
    }
}

/* sum over inputs of <w, d<u, f>/dx> */
static dppo_tensor *slope(dppo_cx *cx, const subject *s, const point *p, dppo_tensor *const *leaves,
                          bool create_graph) {
    dppo_tensor *y = s->f(cx, leaves), *first[MOST_INPUTS], *u = p->u, *total = NULL;
    if (dppo_grad(cx, 1, &y, &u, s->count, leaves, create_graph, first) != DPPO_OK) return NULL;
    for (int i = 0; i < s->count; i++) {
        assert_non_null(first[i]);
        dppo_tensor *part = dppo_sum(cx, dppo_mul(cx, first[i], p->w[i]), 0, NULL, false);
        total = total ? dppo_add(cx, total, part) : part;
    }
    return total;
}

/* In double, from the gradients' own elements. */
static double slope_value(dppo_cx *cx, const subject *s, const point *p, double step) {
    dppo_tensor *leaves[MOST_INPUTS], *first[MOST_INPUTS], *u = p->u;
    double total = 0;
    leaves_at(cx, s, p, step, leaves);
    dppo_tensor *y = s->f(cx, leaves);
    assert_int_equal(dppo_grad(cx, 1, &y, &u, s->count, leaves, false, first), DPPO_OK);
    for (int i = 0; i < s->count; i++)
        for (int64_t k = 0; k < dppo_numel(first[i]); k++)
            total += dppo_tensor_at(first[i], k) * dppo_tensor_at(p->w[i], k);
    return total;
}

static double by_tape(dppo_cx *cx, const subject *s, const point *p) {
    dppo_tensor *leaves[MOST_INPUTS], *second[MOST_INPUTS];
    double total = 0;
    leaves_at(cx, s, p, 0, leaves);
    dppo_tensor *along = slope(cx, s, p, leaves, true);
    if (dppo_grad(cx, 1, &along, NULL, s->count, leaves, false, second) != DPPO_OK)
        fail_msg("%s: %s", s->name, dppo_message());
    for (int i = 0; i < s->count; i++)
        for (int64_t k = 0; second[i] && k < dppo_numel(second[i]); k++)
            total += dppo_tensor_at(second[i], k) * dppo_tensor_at(p->v[i], k);
    return total;
}

/* Central differences at two steps, extrapolated: what is left is rounding, about 1e-7 / h. */
static double by_differences(dppo_cx *cx, const subject *s, const point *p) {
    double d[2], h = 1.0 / 64;
    for (int i = 0; i < 2; i++, h /= 2)
        d[i] = (slope_value(cx, s, p, h) - slope_value(cx, s, p, -h)) / (2 * h);
    return (4 * d[1] - d[0]) / 3;
}

static point draw_point(dppo_cx *cx, const subject *s) {
    point p;
    for (int i = 0; i < s->count; i++) {
        int ndim = s->inputs[i].ndim;
        const int64_t *shape = s->inputs[i].shape;
        p.x[i] = dppo_add_scalar(cx, dppo_mul_scalar(cx, dppo_randn(cx, ndim, shape), s->scale), s->shift);
        p.v[i] = dppo_mul_scalar(cx, dppo_randn(cx, ndim, shape), s->scale);
        p.w[i] = dppo_randn(cx, ndim, shape);
    }
    p.u = dppo_randn_like(cx, s->f(cx, p.x));
    assert_int_equal(dppo_context_status(cx), DPPO_OK);
    return p;
}

/* Piecewise linear: the second derivative is nothing. */
static bool is_flat(const subject *s) {
    return strcmp(s->name, "relu") == 0;
}

static void test_second_derivatives_are_the_differences_of_first(void **state) {
    (void)state;
    dppo_generator *generator = dppo_generator_new(3);
    dppo_cx *cx = dppo_context_new(generator);
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
        const subject *s = &subjects[i];
        point p = draw_point(cx, s);
        double tape = by_tape(cx, s, &p), differences = by_differences(cx, s, &p);
        double scale = fabs(differences) > 0.1 ? fabs(differences) : 0.1;
        if (!(fabs(tape - differences) <= 2e-3 * scale))
            fail_msg("%s: %.9g on the tape, %.9g by differences", s->name, tape, differences);
        if ((tape == 0) != is_flat(s)) fail_msg("%s: second derivative %g", s->name, tape);
        dppo_context_reset(cx);
    }
    dppo_context_free(cx);
    dppo_generator_free(generator);
}

/* mish three times, against differences of the second derivative: the steps can themselves be taken again. */
static void test_third_derivatives(void **state) {
    (void)state;
    dppo_cx *cx = dppo_context_new(NULL);
    double third[3], at = 0.3, h = 1.0 / 32;
    for (int i = 0; i < 3; i++) {
        float value = (float)(at + (i - 1) * h);
        dppo_tensor *x = dppo_from_f32(cx, 0, NULL, &value), *g = NULL;
        x->requires_grad = true;
        dppo_tensor *y = dppo_mish(cx, x);
        for (int order = 0; order < (i == 1 ? 3 : 2); order++, y = g)
            assert_int_equal(dppo_grad(cx, 1, &y, NULL, 1, &x, true, &g), DPPO_OK);
        third[i] = dppo_item(cx, y);
    }
    double differences = (third[2] - third[0]) / (2 * h);
    assert_true(fabs(third[1] - differences) < 2e-3 && fabs(differences) > 0.1);
    dppo_context_free(cx);
}

/* What cannot be differentiated again says so, by name. */
static void test_refusals_are_clean(void **state) {
    (void)state;
    dppo_cx *cx = dppo_context_new(NULL);
    dppo_tensor *x = dppo_from_f32(cx, 1, (int64_t[]){3}, (float[]){1, 0, 2}), *first, *second;
    x->requires_grad = true;
    dppo_tensor *y = dppo_prod(cx, x, DPPO_ALL, false);
    assert_int_equal(dppo_grad(cx, 1, &y, NULL, 1, &x, true, &first), DPPO_OK);
    dppo_tensor *sum = dppo_sum(cx, first, 0, NULL, false);
    assert_int_equal(dppo_grad(cx, 1, &sum, NULL, 1, &x, false, &second), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "prod_backward"));
    dppo_context_free(cx);
}

static void never_run(dppo_cx *cx, const dppo_node *node, dppo_tensor *gradient, dppo_tensor **gradients) {
    (void)node, (void)gradient, (void)gradients;
    (void)dppo_context_fail(cx, DPPO_INVALID, "a node before the input was run");
}

/* dppo_grad() stops at its inputs, and leaves nothing behind for the backward that follows. */
static void test_only_what_lies_between_is_run(void **state) {
    (void)state;
    dppo_cx *cx = dppo_context_new(NULL);
    dppo_tensor *x = dppo_from_f32(cx, 1, (int64_t[]){2}, (float[]){1, 2}), *side = dppo_ones_like(cx, x);
    x->requires_grad = side->requires_grad = true;
    dppo_tensor *before = dppo_result(cx, DPPO_F32, 1, (int64_t[]){2});
    dppo_f32(before)[0] = 3, dppo_f32(before)[1] = 4;
    (void)dppo_record(cx, "before", before, 1, &x, never_run);
    dppo_tensor *other = dppo_result(cx, DPPO_F32, 1, (int64_t[]){2});
    dppo_f32(other)[0] = other->requires_grad = 1, dppo_f32(other)[1] = 1;
    (void)dppo_record(cx, "beside", other, 1, &side, never_run);
    dppo_tensor *y = dppo_sum(cx, dppo_mul(cx, dppo_square(cx, before), other), 0, NULL, false), *g;
    assert_int_equal(dppo_grad(cx, 1, &y, NULL, 1, &before, false, &g), DPPO_OK);
    assert_true(dppo_f32(g)[0] == 6 && dppo_f32(g)[1] == 8);
    assert_int_equal(dppo_backward(cx, 1, &y, NULL), DPPO_INVALID); /* of everything: runs them */
    assert_non_null(strstr(dppo_message(), "was run"));
    dppo_tensor_free(x->grad);
    dppo_tensor_free(side->grad);
    dppo_context_free(cx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_derivatives_are_the_differences_of_first),
        cmocka_unit_test(test_third_derivatives),
        cmocka_unit_test(test_refusals_are_clean),
        cmocka_unit_test(test_only_what_lies_between_is_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
