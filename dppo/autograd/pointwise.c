/* Pointwise functions. Gradients follow torch's formulas operation by operation, so that they round alike. */
#include "autograd/dims.h"
#include "autograd/map.h"

#include <math.h>
#include <string.h>

/* The backward of a unary function: name_backward, with g the upstream gradient, x the input, y the result.
 */
#define UNARY_BACKWARD(name, formula)                                                                        \
    static void name##_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,                          \
                                dppo_tensor **gradients) {                                                   \
        dppo_tensor *x = node->inputs[0], *y = node->output;                                                 \
        const dppo_map_params *saved = node->saved;                                                          \
        (void)x, (void)y, (void)saved;                                                                       \
        gradients[0] = (formula);                                                                            \
    }
#define UNARY(name, op, formula)                                                                             \
    UNARY_BACKWARD(name, formula)                                                                            \
    dppo_tensor *dppo_##name(dppo_cx *cx, dppo_tensor *input) {                                              \
        return dppo_map_recorded(cx, #name, op, &input, 0.0, 0.0, name##_backward);                          \
    }

static dppo_tensor *map2(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *a, dppo_tensor *b,
                         dppo_backward_function *backward) {
    return dppo_map_recorded(cx, name, op, (dppo_tensor *[]){a, b}, 0.0, 0.0, backward);
}

/* The slope of f, g f'(x), is one kernel's work; it is recorded as an operation whose own backward is the
 * same slope again for g, and gg g f''(x) for x. */
static dppo_tensor *slope(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *g, dppo_tensor *x,
                          const dppo_map_params *saved, dppo_backward_function *backward) {
    return dppo_map_recorded(cx, name, op, (dppo_tensor *[]){g, x}, saved->p, saved->q, backward);
}

/* The same where the slope follows from f's result or from what f kept. Unrecorded, it takes the place of g
 * if nobody else looks at that. */
static dppo_tensor *slope_over(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *g, dppo_tensor *y,
                               dppo_tensor *kept, dppo_backward_function *backward) {
    if (dppo_grad_enabled(cx)) return map2(cx, name, op, g, y, backward);
    dppo_tensor *out =
        dppo_map_over(cx, name, op, (dppo_tensor *[]){g, y, kept}, 0.0, 0.0, dppo_spare(cx, g));
    if (out) out->spare = true;
    return out;
}

/* gelu'' = pdf (2 - x^2), pdf = exp(-x^2 / 2) / sqrt(2 pi) */
static void gelu_grad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg, dppo_tensor **gradients) {
    dppo_tensor *g = node->inputs[0], *x = node->inputs[1];
    if (dppo_needs_grad(node, 0))
        gradients[0] = slope(cx, node->name, DPPO_MAP_GELU_GRAD, gg, x, node->saved, gelu_grad_backward);
    if (!dppo_needs_grad(node, 1)) return;
    dppo_tensor *x2 = dppo_square(cx, x);
    dppo_tensor *pdf =
        dppo_mul_scalar(cx, dppo_exp(cx, dppo_mul_scalar(cx, x2, -0.5)), 0.39894228040143267794);
    dppo_tensor *second = dppo_mul(cx, pdf, dppo_rsub_scalar(cx, x2, 2.0));
    gradients[1] = dppo_mul(cx, dppo_mul(cx, gg, g), second);
}

/* 1 where the relation holds, else 0: a factor, as in torch */
static dppo_tensor *factor(dppo_cx *cx, dppo_tensor *relation) {
    return dppo_to_dtype(cx, relation, DPPO_F32);
}

/* elu'' = elu' = alpha exp(x) where x < 0, else 0 */
static void elu_grad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg, dppo_tensor **gradients) {
    dppo_tensor *g = node->inputs[0], *x = node->inputs[1];
    if (dppo_needs_grad(node, 0))
        gradients[0] = slope(cx, node->name, DPPO_MAP_ELU_GRAD, gg, x, node->saved, elu_grad_backward);
    if (!dppo_needs_grad(node, 1)) return;
    dppo_tensor *second =
        slope(cx, node->name, DPPO_MAP_ELU_GRAD, dppo_mul(cx, gg, g), x, node->saved, elu_grad_backward);
    gradients[1] = dppo_mul(cx, second, factor(cx, dppo_lt(cx, x, dppo_scalar(cx, 0.0))));
}

/* softplus'' = beta s (1 - s), s = sigmoid(beta x), up to the threshold, else 0 */
static void softplus_grad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg,
                                   dppo_tensor **gradients) {
    const dppo_map_params *saved = node->saved;
    dppo_tensor *g = node->inputs[0], *x = node->inputs[1];
    if (dppo_needs_grad(node, 0))
        gradients[0] = slope(cx, node->name, DPPO_MAP_SOFTPLUS_GRAD, gg, x, saved, softplus_grad_backward);
    if (!dppo_needs_grad(node, 1)) return;
    dppo_tensor *steep = dppo_mul_scalar(cx, x, saved->p), *s = dppo_sigmoid(cx, steep);
    dppo_tensor *bend = dppo_mul(cx, dppo_mul(cx, dppo_mul(cx, gg, g), dppo_rsub_scalar(cx, s, 1.0)), s);
    dppo_tensor *below = factor(cx, dppo_lt(cx, steep, dppo_scalar(cx, saved->q)));
    gradients[1] = dppo_mul_scalar(cx, dppo_mul(cx, bend, below), saved->p);
}

/* mish: g (t + x s (1 - t^2)), t = tanh(softplus(x)), s = sigmoid(x): with create_graph in these steps, as
 * torch takes them */
static dppo_tensor *mish_slope(dppo_cx *cx, dppo_tensor *g, dppo_tensor *x, dppo_tensor *gate) {
    if (!dppo_grad_enabled(cx))
        return slope_over(cx, "mish_backward", gate ? DPPO_MAP_GATED_MISH_GRAD : DPPO_MAP_MISH_GRAD, g, x,
                          gate, NULL);
    dppo_tensor *t = dppo_tanh(cx, dppo_softplus(cx, x, 1.0, 20.0)), *s = dppo_sigmoid(cx, x);
    dppo_tensor *rest = dppo_mul(cx, dppo_mul(cx, x, s), dppo_rsub_scalar(cx, dppo_mul(cx, t, t), 1.0));
    return dppo_mul(cx, g, dppo_add(cx, t, rest));
}

/* relu: g where y > 0. Again: of g, the same; of y, zeros and not nothing, as in torch: an optimizer passes
 * over parameters without a gradient. */
static void relu_grad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg, dppo_tensor **gradients) {
    if (dppo_needs_grad(node, 0))
        gradients[0] =
            map2(cx, "threshold_backward", DPPO_MAP_RELU_GRAD, gg, node->inputs[1], relu_grad_backward);
    if (dppo_needs_grad(node, 1)) gradients[1] = dppo_zeros_like(cx, gg);
}

/* tanh: g (1 - y^2). Again: of g, the same; of y, -2 y g. */
static void tanh_grad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg, dppo_tensor **gradients) {
    dppo_tensor *g = node->inputs[0], *y = node->inputs[1];
    if (dppo_needs_grad(node, 0))
        gradients[0] = map2(cx, "tanh_backward", DPPO_MAP_TANH_GRAD, gg, y, tanh_grad_backward);
    if (dppo_needs_grad(node, 1))
        gradients[1] = dppo_mul(cx, gg, dppo_mul(cx, dppo_mul_scalar(cx, y, -2.0), g));
}

/* sigmoid: g (1 - y) y. Again: of y, g (1 - 2 y). */
static void sigmoid_grad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg,
                                  dppo_tensor **gradients) {
    dppo_tensor *g = node->inputs[0], *y = node->inputs[1];
    if (dppo_needs_grad(node, 0))
        gradients[0] = map2(cx, "sigmoid_backward", DPPO_MAP_SIGMOID_GRAD, gg, y, sigmoid_grad_backward);
    if (dppo_needs_grad(node, 1))
        gradients[1] =
            dppo_mul(cx, dppo_mul(cx, gg, g), dppo_rsub_scalar(cx, dppo_mul_scalar(cx, y, 2.0), 1.0));
}

UNARY(neg, DPPO_MAP_NEG, dppo_neg(cx, g))
UNARY(abs, DPPO_MAP_ABS, dppo_mul(cx, g, dppo_sign(cx, x)))
UNARY(sign, DPPO_MAP_SIGN, dppo_zeros_like(cx, g))
UNARY(exp, DPPO_MAP_EXP, dppo_mul(cx, g, y))
UNARY(log, DPPO_MAP_LOG, dppo_div(cx, g, x))
UNARY(log1p, DPPO_MAP_LOG1P, dppo_div(cx, g, dppo_add_scalar(cx, x, 1.0)))
UNARY(sqrt, DPPO_MAP_SQRT, dppo_div(cx, g, dppo_mul_scalar(cx, y, 2.0)))
UNARY(sin, DPPO_MAP_SIN, dppo_mul(cx, g, dppo_cos(cx, x)))
UNARY(cos, DPPO_MAP_COS, dppo_mul(cx, g, dppo_neg(cx, dppo_sin(cx, x))))
UNARY(tanh, DPPO_MAP_TANH,
      slope_over(cx, "tanh_backward", DPPO_MAP_TANH_GRAD, g, y, NULL, tanh_grad_backward))
UNARY(atanh, DPPO_MAP_ATANH, dppo_div(cx, g, dppo_rsub_scalar(cx, dppo_square(cx, x), 1.0)))
UNARY(sigmoid, DPPO_MAP_SIGMOID,
      slope_over(cx, "sigmoid_backward", DPPO_MAP_SIGMOID_GRAD, g, y, NULL, sigmoid_grad_backward))
/* 2 / sqrt(pi) exp(-x^2) */
UNARY(erf, DPPO_MAP_ERF,
      dppo_mul(cx,
               dppo_mul_scalar(cx, dppo_exp(cx, dppo_neg(cx, dppo_square(cx, x))), 1.12837916709551257390),
               g))
UNARY(round, DPPO_MAP_ROUND, dppo_zeros_like(cx, g))
UNARY(relu, DPPO_MAP_RELU,
      slope_over(cx, "threshold_backward", DPPO_MAP_RELU_GRAD, g, y, NULL, relu_grad_backward))
UNARY(gelu, DPPO_MAP_GELU, slope(cx, "gelu_backward", DPPO_MAP_GELU_GRAD, g, x, saved, gelu_grad_backward))

/* op over the memory of its first operand. */
static dppo_tensor *in_place(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *const *inputs,
                             dppo_backward_function *backward) {
    if (!inputs[0]) return NULL;
    if (inputs[0]->requires_grad && !inputs[0]->node)
        return dppo_context_fail(cx, DPPO_INVALID, "%s_: a leaf that requires a gradient cannot be changed",
                                 name);
    dppo_tensor *out = dppo_map_over(cx, name, op, inputs, 0.0, 0.0, inputs[0]);
    if (out) (void)dppo_record(cx, name, out, dppo_kernel_map_arity(op), inputs, backward);
    return out;
}

dppo_tensor *dppo_relu_inplace(dppo_cx *cx, dppo_tensor *input) {
    return in_place(cx, "relu", DPPO_MAP_RELU, &input, relu_backward);
}

static void mish_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    gradients[0] = mish_slope(cx, g, node->inputs[0], node->saved);
}

/* x tanh(softplus(x)). What a backward will want again, three transcendental functions an element, is kept
 * where memory lies plain. */
dppo_tensor *dppo_mish(dppo_cx *cx, dppo_tensor *input) {
    bool kept = input && input->requires_grad && dppo_grad_enabled(cx) && input->dtype == DPPO_F32 &&
                dppo_is_contiguous(input);
    dppo_tensor *gate = kept ? dppo_result(cx, DPPO_F32, input->ndim, input->shape) : NULL;
    dppo_tensor *out = gate ? dppo_result(cx, DPPO_F32, input->ndim, input->shape)
                            : dppo_map(cx, "mish", DPPO_MAP_MISH, &input, 0.0, 0.0);
    if (!out) return NULL;
    if (gate) dppo_kernel_gated_mish(dppo_numel(input), dppo_f32(out), dppo_f32(gate), dppo_f32(input));
    dppo_node *node = dppo_record(cx, "mish", out, 1, &input, mish_backward);
    if (node) node->saved = gate;
    return out;
}

UNARY_BACKWARD(elu, slope(cx, "elu_backward", DPPO_MAP_ELU_GRAD, g, x, saved, elu_grad_backward))
dppo_tensor *dppo_elu(dppo_cx *cx, dppo_tensor *input, double alpha) {
    return dppo_map_recorded(cx, "elu", DPPO_MAP_ELU, &input, alpha, 0.0, elu_backward);
}

UNARY_BACKWARD(softplus,
               slope(cx, "softplus_backward", DPPO_MAP_SOFTPLUS_GRAD, g, x, saved, softplus_grad_backward))
dppo_tensor *dppo_softplus(dppo_cx *cx, dppo_tensor *input, double beta, double threshold) {
    return dppo_map_recorded(cx, "softplus", DPPO_MAP_SOFTPLUS, &input, beta, threshold, softplus_backward);
}

/* -- arithmetic ---------------------------------------------------------------------------------------------
 */

/* The gradient of operand i, whose shape may have been broadcast. */
static dppo_tensor *of_operand(dppo_cx *cx, const dppo_node *node, int i, dppo_tensor *gradient) {
    return dppo_sum_to_size(cx, gradient, node->inputs[i]->ndim, node->inputs[i]->shape);
}

static void add_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    for (int i = 0; i < 2; i++)
        if (dppo_needs_grad(node, i)) gradients[i] = of_operand(cx, node, i, g);
}

static void sub_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    if (dppo_needs_grad(node, 0)) gradients[0] = of_operand(cx, node, 0, g);
    if (dppo_needs_grad(node, 1)) gradients[1] = of_operand(cx, node, 1, dppo_neg(cx, g));
}

static void mul_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    for (int i = 0; i < 2; i++)
        if (dppo_needs_grad(node, i))
            gradients[i] = of_operand(cx, node, i, dppo_mul(cx, g, node->inputs[1 - i]));
}

/* a / b: of a, g / b; of b, -g (a / b) / b */
static void div_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *a = node->inputs[0], *b = node->inputs[1];
    if (dppo_needs_grad(node, 0)) gradients[0] = of_operand(cx, node, 0, dppo_div(cx, g, b));
    if (dppo_needs_grad(node, 1))
        gradients[1] =
            of_operand(cx, node, 1, dppo_mul(cx, dppo_neg(cx, g), dppo_div(cx, dppo_div(cx, a, b), b)));
}

static dppo_tensor *expanded_copy(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape) {
    dppo_tensor *out = input ? dppo_result(cx, input->dtype, ndim, shape) : NULL;
    dppo_tensor *expanded = out ? dppo_expand(cx, input, ndim, shape) : NULL;
    if (!expanded) return NULL;
    dppo_tensor_pack(expanded, out->data);
    return out;
}

/* Indices are int64: +, - and * on them, without gradients. */
static dppo_tensor *integer_arithmetic(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *a,
                                       dppo_tensor *b) {
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    if (op == DPPO_MAP_DIV) return dppo_context_fail(cx, DPPO_INVALID, "%s: int64 operands", name);
    if (!dppo_broadcast_shape(cx, name, a, b, &ndim, shape)) return NULL;
    dppo_tensor *x = expanded_copy(cx, a, ndim, shape), *y = expanded_copy(cx, b, ndim, shape);
    if (!x || !y) return NULL;
    uint64_t *to = x->data;
    const uint64_t *from = y->data;
    for (int64_t i = 0, n = dppo_numel(x); i < n; i++)
        to[i] = op == DPPO_MAP_ADD ? to[i] + from[i] : op == DPPO_MAP_SUB ? to[i] - from[i] : to[i] * from[i];
    return x;
}

static dppo_tensor *arithmetic(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *input,
                               dppo_tensor *other, dppo_backward_function *backward) {
    if (!input || !other) return NULL;
    if (input->dtype == DPPO_I64 && other->dtype == DPPO_I64)
        return integer_arithmetic(cx, name, op, input, other);
    return map2(cx, name, op, input, other, backward);
}

dppo_tensor *dppo_add(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return arithmetic(cx, "add", DPPO_MAP_ADD, input, other, add_backward);
}

dppo_tensor *dppo_add_inplace(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    if (!other) return NULL;
    return in_place(cx, "add", DPPO_MAP_ADD, (dppo_tensor *[]){input, other}, add_backward);
}

dppo_tensor *dppo_sub(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return arithmetic(cx, "sub", DPPO_MAP_SUB, input, other, sub_backward);
}

dppo_tensor *dppo_mul(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return arithmetic(cx, "mul", DPPO_MAP_MUL, input, other, mul_backward);
}

dppo_tensor *dppo_div(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return arithmetic(cx, "div", DPPO_MAP_DIV, input, other, div_backward);
}

/* A rank-0 operand of the other's dtype, in the arena: torch's wrapped number. */
static dppo_tensor *number(dppo_cx *cx, const dppo_tensor *like, double value) {
    if (!like) return NULL;
    return dppo_full(cx, like->dtype == DPPO_I64 ? DPPO_I64 : DPPO_F32, 0, NULL, value);
}

dppo_tensor *dppo_add_scalar(dppo_cx *cx, dppo_tensor *input, double other) {
    return dppo_add(cx, input, number(cx, input, other));
}

dppo_tensor *dppo_sub_scalar(dppo_cx *cx, dppo_tensor *input, double other) {
    return dppo_sub(cx, input, number(cx, input, other));
}

dppo_tensor *dppo_rsub_scalar(dppo_cx *cx, dppo_tensor *input, double other) {
    return dppo_sub(cx, number(cx, input, other), input);
}

/* torch keeps the number as a double for the backward: a rank-0 gradient is scaled in double, others in
 * float. */
static dppo_tensor *scaled(dppo_cx *cx, const char *name, dppo_map_op op, dppo_tensor *input, double other,
                           dppo_backward_function *backward) {
    dppo_tensor *value = number(cx, input, other);
    if (!value) return NULL;
    if (input->dtype == DPPO_I64) return integer_arithmetic(cx, name, op, input, value);
    dppo_tensor *out = dppo_map(cx, name, op, (dppo_tensor *[]){input, value}, 0.0, 0.0);
    dppo_node *node = out ? dppo_record(cx, name, out, 1, &input, backward) : NULL;
    if (!node) return out;
    double *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", name);
    *saved = other;
    node->saved = saved;
    return out;
}

static void mul_scalar_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const double *other = node->saved;
    gradients[0] = g->ndim == 0 && !dppo_grad_enabled(cx) ? dppo_scalar(cx, (double)*dppo_f32(g) * *other)
                                                          : dppo_mul_scalar(cx, g, *other);
}

static void div_scalar_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const double *other = node->saved;
    gradients[0] = g->ndim == 0 && !dppo_grad_enabled(cx) ? dppo_scalar(cx, (double)*dppo_f32(g) / *other)
                                                          : dppo_div_scalar(cx, g, *other);
}

dppo_tensor *dppo_mul_scalar(dppo_cx *cx, dppo_tensor *input, double other) {
    return scaled(cx, "mul", DPPO_MAP_MUL, input, other, mul_scalar_backward);
}

dppo_tensor *dppo_div_scalar(dppo_cx *cx, dppo_tensor *input, double other) {
    return scaled(cx, "div", DPPO_MAP_DIV, input, other, div_scalar_backward);
}

UNARY_BACKWARD(reciprocal, dppo_mul(cx, dppo_neg(cx, g), dppo_mul(cx, y, y)))

dppo_tensor *dppo_rdiv_scalar(dppo_cx *cx, dppo_tensor *input, double other) {
    dppo_tensor *inverse =
        dppo_map_recorded(cx, "reciprocal", DPPO_MAP_RECIPROCAL, &input, 0.0, 0.0, reciprocal_backward);
    return dppo_mul_scalar(cx, inverse, other);
}

/* g (e x^(e-1)) */
static void pow_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const double *exponent = node->saved;
    dppo_tensor *x = node->inputs[0];
    gradients[0] =
        *exponent == 0.0
            ? dppo_zeros_like(cx, g)
            : dppo_mul(cx, g, dppo_mul_scalar(cx, dppo_pow_scalar(cx, x, *exponent - 1.0), *exponent));
}

/* torch replaces these exponents by cheaper operations, which round differently. */
static dppo_tensor *power(dppo_cx *cx, dppo_tensor *x, double e) {
    if (e == 0.0) return dppo_ones_like(cx, x);
    if (e == 0.5) return dppo_map(cx, "pow", DPPO_MAP_SQRT, &x, 0.0, 0.0);
    if (e == -0.5) return dppo_map(cx, "pow", DPPO_MAP_RSQRT, &x, 0.0, 0.0);
    if (e == -1.0) return dppo_map(cx, "pow", DPPO_MAP_RECIPROCAL, &x, 0.0, 0.0);
    if (e != 2.0 && e != 3.0 && e != -2.0) return dppo_map(cx, "pow", DPPO_MAP_POW, &x, e, 0.0);
    dppo_tensor *squared = dppo_map(cx, "pow", DPPO_MAP_MUL, (dppo_tensor *[]){x, x}, 0.0, 0.0);
    if (e == 3.0) return dppo_map(cx, "pow", DPPO_MAP_MUL, (dppo_tensor *[]){squared, x}, 0.0, 0.0);
    return e == 2.0 ? squared : dppo_map(cx, "pow", DPPO_MAP_RECIPROCAL, &squared, 0.0, 0.0);
}

dppo_tensor *dppo_pow_scalar(dppo_cx *cx, dppo_tensor *input, double exponent) {
    if (!input || exponent == 1.0) return input;
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *out = power(cx, input, exponent);
    (void)dppo_set_grad_enabled(cx, enabled);
    dppo_node *node = out ? dppo_record(cx, "pow", out, 1, &input, pow_backward) : NULL;
    if (!node) return out;
    double *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "pow: no memory for the tape");
    *saved = exponent;
    node->saved = saved;
    return out;
}

dppo_tensor *dppo_square(dppo_cx *cx, dppo_tensor *input) {
    return dppo_pow_scalar(cx, input, 2.0);
}

/* -- bounds
 * -------------------------------------------------------------------------------------------------- */

UNARY_BACKWARD(clamp, dppo_map_gate(cx, "clamp_backward", DPPO_MAP_CLAMP_GRAD, (dppo_tensor *[]){g, x},
                                    saved->p, saved->q))

dppo_tensor *dppo_clamp(dppo_cx *cx, dppo_tensor *input, double min, double max) {
    return dppo_map_recorded(cx, "clamp", DPPO_MAP_CLAMP, &input, min, max, clamp_backward);
}

/* of x where min <= x <= max; of min where x < min; of max where max < x (torch lets min below max decide).
 */
static void clamp_tensor_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                  dppo_tensor **gradients) {
    dppo_tensor *x = node->inputs[0], *low = node->inputs[1], *high = node->inputs[2];
    const char *name = "clamp_backward";
    if (dppo_needs_grad(node, 0)) {
        dppo_tensor *within =
            dppo_map_gate(cx, name, DPPO_MAP_WITHIN_GRAD, (dppo_tensor *[]){g, x, low}, 0, 0);
        within = dppo_map_gate(cx, name, DPPO_MAP_WITHIN_GRAD, (dppo_tensor *[]){within, high, x}, 0, 0);
        gradients[0] = of_operand(cx, node, 0, within);
    }
    if (dppo_needs_grad(node, 1)) {
        dppo_tensor *below =
            dppo_map_gate(cx, name, DPPO_MAP_OUTSIDE_GRAD, (dppo_tensor *[]){g, x, low}, 0, 0);
        below = dppo_map_gate(cx, name, DPPO_MAP_OUTSIDE_GRAD, (dppo_tensor *[]){below, low, high}, 0, 0);
        gradients[1] = of_operand(cx, node, 1, below);
    }
    if (dppo_needs_grad(node, 2)) {
        /* above the upper bound, or the bounds crossed: high < max(x, low) */
        dppo_tensor *top = dppo_map(cx, name, DPPO_MAP_MAXIMUM, (dppo_tensor *[]){x, low}, 0, 0);
        dppo_tensor *above =
            dppo_map_gate(cx, name, DPPO_MAP_OUTSIDE_GRAD, (dppo_tensor *[]){g, high, top}, 0, 0);
        gradients[2] = of_operand(cx, node, 2, above);
    }
}

dppo_tensor *dppo_clamp_tensor(dppo_cx *cx, dppo_tensor *input, dppo_tensor *min, dppo_tensor *max) {
    dppo_tensor *low = min ? min : number(cx, input, -INFINITY),
                *high = max ? max : number(cx, input, INFINITY);
    return dppo_map_recorded(cx, "clamp", DPPO_MAP_CLAMP_TENSOR, (dppo_tensor *[]){input, low, high}, 0.0,
                             0.0, clamp_tensor_backward);
}

/* clamp_: the values change in place, and the input is returned. While recording, a result of the tape keeps
 * its values (its own backward may want them) and the clamped ones are a new tensor: go on with what is
 * returned. */
dppo_tensor *dppo_clamp_inplace(dppo_cx *cx, dppo_tensor *input, double min, double max) {
    dppo_tensor *out = dppo_clamp(cx, input, min, max);
    if (!out) return NULL;
    if (input->requires_grad && dppo_grad_enabled(cx)) {
        if (!input->node)
            return dppo_context_fail(cx, DPPO_INVALID,
                                     "clamp_: a leaf that requires a gradient cannot be changed");
        return out;
    }
    if (dppo_tensor_copy(input, out) != DPPO_OK)
        return dppo_context_fail(cx, DPPO_INVALID, "clamp_: %s", dppo_message());
    return input;
}

static void choice_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients,
                            dppo_map_op op) {
    for (int i = 0; i < 2; i++) {
        dppo_tensor *operands[] = {g, node->inputs[i], node->inputs[1 - i]};
        if (dppo_needs_grad(node, i))
            gradients[i] = of_operand(cx, node, i, dppo_map_gate(cx, node->name, op, operands, 0.0, 0.0));
    }
}

static void maximum_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    choice_backward(cx, node, g, gradients, DPPO_MAP_MAXIMUM_GRAD);
}

static void minimum_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    choice_backward(cx, node, g, gradients, DPPO_MAP_MINIMUM_GRAD);
}

dppo_tensor *dppo_maximum(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return map2(cx, "maximum", DPPO_MAP_MAXIMUM, input, other, maximum_backward);
}

dppo_tensor *dppo_minimum(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return map2(cx, "minimum", DPPO_MAP_MINIMUM, input, other, minimum_backward);
}

/* -- comparisons
 * --------------------------------------------------------------------------------------------- */

typedef enum relation { GT, GE, LT, LE, EQ } relation;

static bool holds(relation r, double a, double b) {
    switch (r) {
    case GT:
        return a > b;
    case GE:
        return a >= b;
    case LT:
        return a < b;
    case LE:
        return a <= b;
    default:
        return a == b;
    }
}

static dppo_tensor *compare(dppo_cx *cx, const char *name, relation r, dppo_tensor *input,
                            dppo_tensor *other) {
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    if (!input || !other || !dppo_broadcast_shape(cx, name, input, other, &ndim, shape)) return NULL;
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *a = expanded_copy(cx, input, ndim, shape), *b = expanded_copy(cx, other, ndim, shape);
    (void)dppo_set_grad_enabled(cx, enabled);
    dppo_tensor *out = dppo_result(cx, DPPO_BOOL, ndim, shape);
    if (!a || !b || !out) return NULL;
    int64_t n = dppo_numel(out);
    if (a->dtype == DPPO_F32 && b->dtype == DPPO_F32) {
        for (int64_t i = 0; i < n; i++)
            dppo_bool(out)[i] = holds(r, (double)dppo_f32(a)[i], (double)dppo_f32(b)[i]);
    } else {
        for (int64_t i = 0; i < n; i++)
            dppo_bool(out)[i] = holds(r, dppo_tensor_at(a, i), dppo_tensor_at(b, i));
    }
    return out;
}

dppo_tensor *dppo_gt(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return compare(cx, "gt", GT, input, other);
}

dppo_tensor *dppo_ge(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return compare(cx, "ge", GE, input, other);
}

dppo_tensor *dppo_lt(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return compare(cx, "lt", LT, input, other);
}

dppo_tensor *dppo_le(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return compare(cx, "le", LE, input, other);
}

dppo_tensor *dppo_eq(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return compare(cx, "eq", EQ, input, other);
}

dppo_tensor *dppo_isnan(dppo_cx *cx, dppo_tensor *input) {
    const float *x = dppo_packed(cx, "isnan", input);
    dppo_tensor *out = x ? dppo_result(cx, DPPO_BOOL, input->ndim, input->shape) : NULL;
    for (int64_t i = 0, n = out ? dppo_numel(out) : 0; i < n; i++)
        dppo_bool(out)[i] = (uint8_t)(isnan(x[i]) != 0);
    return out;
}
