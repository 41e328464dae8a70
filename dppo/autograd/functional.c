/* torch.nn.functional: what is more than a pointwise function. */
#include "autograd/dims.h"
#include "autograd/map.h"

#include <string.h>

/* -- layer_norm
 * ------------------------------------------------------------------------------------------------ */

typedef struct norm_saved {
    int64_t M, N;
    float *mean, *rstd; /* (M) */
    double eps;
} norm_saved;

static dppo_tensor *row_mean(dppo_cx *cx, dppo_tensor *x) {
    return dppo_mean(cx, x, 1, (int[]){-1}, true);
}

/* The gradients as steps of the tape, to be differentiated again. With h = (x - mean) rstd and u = g weight,
 *     dx = rstd (u - mean(u) - h mean(u h)), dweight = sum over rows g h, dbias = sum over rows g. */
static void layer_norm_steps(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const norm_saved *s = node->saved;
    dppo_tensor *x = node->inputs[0], *weight = node->inputs[1];
    dppo_tensor *centred = dppo_sub(cx, x, row_mean(cx, x));
    dppo_tensor *variance = row_mean(cx, dppo_square(cx, centred));
    dppo_tensor *rstd = dppo_pow_scalar(cx, dppo_add_scalar(cx, variance, s->eps), -0.5);
    dppo_tensor *h = dppo_mul(cx, centred, rstd), *u = weight ? dppo_mul(cx, g, weight) : g;
    if (dppo_needs_grad(node, 0)) {
        dppo_tensor *along = dppo_mul(cx, h, row_mean(cx, dppo_mul(cx, u, h)));
        gradients[0] = dppo_mul(cx, rstd, dppo_sub(cx, dppo_sub(cx, u, row_mean(cx, u)), along));
    }
    if (dppo_needs_grad(node, 1)) gradients[1] = dppo_sum_to_size(cx, dppo_mul(cx, g, h), 1, &s->N);
    if (dppo_needs_grad(node, 2)) gradients[2] = dppo_sum_to_size(cx, g, 1, &s->N);
}

/* Inputs: x, weight, bias, any of the last two absent. */
static void layer_norm_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const norm_saved *s = node->saved;
    const char *name = "layer_norm_backward";
    dppo_tensor *x = node->inputs[0], *weight = node->inputs[1];
    float *to[3] = {NULL, NULL, NULL};
    if (dppo_grad_enabled(cx)) {
        layer_norm_steps(cx, node, g, gradients);
        return;
    }
    if (!dppo_gradient_buffers(cx, node, 3, gradients, to)) return;
    const float *dy = dppo_packed(cx, name, g), *data = dppo_packed(cx, name, x);
    const float *scale = weight ? dppo_packed(cx, name, weight) : NULL;
    if (!dy || !data || (weight && !scale)) return;
    dppo_kernel_layer_norm_grad(s->M, s->N, to[0], to[1], to[2], dy, data, s->mean, s->rstd, scale);
}

static bool fits_last_dim(dppo_cx *cx, const dppo_tensor *input, const dppo_tensor *parameter) {
    if (!parameter || (parameter->ndim == 1 && parameter->shape[0] == input->shape[input->ndim - 1]))
        return true;
    (void)dppo_context_fail(cx, DPPO_INVALID,
                            "layer_norm: weight and bias must have the size of the last dim, %lld",
                            (long long)input->shape[input->ndim - 1]);
    return false;
}

dppo_tensor *dppo_layer_norm(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                             double eps) {
    const char *name = "layer_norm";
    const float *x = dppo_packed(cx, name, input);
    if (!x) return NULL;
    if (input->ndim == 0) return dppo_context_fail(cx, DPPO_INVALID, "layer_norm: of a rank-0 tensor");
    if (!fits_last_dim(cx, input, weight) || !fits_last_dim(cx, input, bias)) return NULL;
    norm_saved *s = dppo_arena_alloc(dppo_context_arena(cx), sizeof *s);
    int64_t N = input->shape[input->ndim - 1], M = N > 0 ? dppo_numel(input) / N : 0;
    float *moments = dppo_arena_alloc(dppo_context_arena(cx), (size_t)(2 * M + 1) * sizeof(float));
    if (!s || !moments)
        return dppo_context_fail(cx, DPPO_NO_MEMORY, "layer_norm: no memory for %lld rows", (long long)M);
    *s = (norm_saved){M, N, moments, moments + M, eps};
    const float *scale = weight ? dppo_packed(cx, name, weight) : NULL;
    const float *shift = bias ? dppo_packed(cx, name, bias) : NULL;
    dppo_tensor *out = dppo_result(cx, DPPO_F32, input->ndim, input->shape);
    if (!out || (weight && !scale) || (bias && !shift)) return NULL;
    dppo_kernel_layer_norm(M, N, dppo_f32(out), s->mean, s->rstd, x, scale, shift, (float)eps);
    dppo_node *node =
        dppo_record(cx, name, out, 3, (dppo_tensor *[]){input, weight, bias}, layer_norm_backward);
    if (node) node->saved = s;
    return out;
}

/* -- softmax
 * -------------------------------------------------------------------------------------------------- */

typedef struct softmax_saved {
    int dim;
    bool logarithm;
} softmax_saved;

/* The tensor as (outer, N, columns) around `dim`. */
static void around(const dppo_tensor *x, int dim, int64_t size[3]) {
    size[0] = size[1] = size[2] = 1;
    for (int d = 0; d < x->ndim; d++)
        size[d < dim ? 0 : d == dim ? 1 : 2] *= x->shape[d];
}

static dppo_tensor *softmax_slope(dppo_cx *cx, void *saved, dppo_tensor *g, dppo_tensor *y);

/* Sums along the dim. The slopes and their own gradients, of g and of the result y:
 *     softmax      y (g - sum(g y))    of g, the same of gg; of y, gg g - gg sum(g y) - g sum(gg y)
 *     log_softmax  g - exp(y) sum(g)   of g, gg - sum(gg exp(y)); of y, -gg exp(y) sum(g) */
static void softmax_slope_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg,
                                   dppo_tensor **gradients) {
    const softmax_saved *s = node->saved;
    dppo_tensor *g = node->inputs[0], *y = node->inputs[1];
    int dims = y->ndim > 0, dim[] = {s->dim};
    if (s->logarithm) {
        dppo_tensor *part = dppo_mul(cx, gg, dppo_exp(cx, y));
        if (dppo_needs_grad(node, 0)) gradients[0] = dppo_sub(cx, gg, dppo_sum(cx, part, dims, dim, true));
        if (dppo_needs_grad(node, 1))
            gradients[1] = dppo_neg(cx, dppo_mul(cx, part, dppo_sum(cx, g, dims, dim, true)));
        return;
    }
    if (dppo_needs_grad(node, 0)) gradients[0] = softmax_slope(cx, node->saved, gg, y);
    if (!dppo_needs_grad(node, 1)) return;
    dppo_tensor *of_g = dppo_mul(cx, gg, dppo_sum(cx, dppo_mul(cx, y, g), dims, dim, true));
    dppo_tensor *of_gg = dppo_mul(cx, g, dppo_sum(cx, dppo_mul(cx, y, gg), dims, dim, true));
    gradients[1] = dppo_sub(cx, dppo_sub(cx, dppo_mul(cx, g, gg), of_g), of_gg);
}

/* saved: a softmax_saved in the arena, shared with the node that comes of it. */
static dppo_tensor *softmax_slope(dppo_cx *cx, void *saved, dppo_tensor *g, dppo_tensor *y) {
    const softmax_saved *s = saved;
    const char *name = s->logarithm ? "log_softmax_backward" : "softmax_backward";
    const float *dy = dppo_packed(cx, name, g);
    dppo_tensor *out = dy ? dppo_result(cx, DPPO_F32, y->ndim, y->shape) : NULL;
    int64_t size[3];
    if (!out) return NULL;
    around(y, s->dim, size);
    if (s->dim < y->ndim - 1)
        dppo_kernel_softmax_grad_columns(size[0], size[1], size[2], dppo_f32(out), dy, dppo_f32(y),
                                         s->logarithm);
    else
        dppo_kernel_softmax_grad(size[0], size[1], dppo_f32(out), dy, dppo_f32(y), s->logarithm);
    dppo_node *node = dppo_record(cx, name, out, 2, (dppo_tensor *[]){g, y}, softmax_slope_backward);
    if (node) node->saved = saved;
    return out;
}

static void softmax_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    gradients[0] = softmax_slope(cx, node->saved, g, node->output);
}

static dppo_tensor *softmax(dppo_cx *cx, const char *name, dppo_tensor *input, int dim, bool logarithm) {
    if (!input || !dppo_wrap_dim(cx, name, input->ndim, &dim)) return NULL;
    const float *x = dppo_packed(cx, name, input);
    dppo_tensor *out = x ? dppo_result(cx, DPPO_F32, input->ndim, input->shape) : NULL;
    int64_t size[3];
    if (!out) return NULL;
    around(input, dim, size);
    if (dim < input->ndim - 1) /* columns side by side, with sums in another order than rows have */
        dppo_kernel_softmax_columns(size[0], size[1], size[2], dppo_f32(out), x, logarithm);
    else
        dppo_kernel_softmax(size[0], size[1], dppo_f32(out), x, logarithm);
    dppo_node *node = dppo_record(cx, name, out, 1, &input, softmax_backward);
    if (!node) return out;
    softmax_saved *s = dppo_arena_alloc(dppo_context_arena(cx), sizeof *s);
    if (!s) return dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", name);
    *s = (softmax_saved){dim, logarithm};
    node->saved = s;
    return out;
}

dppo_tensor *dppo_gelu_tanh(dppo_cx *cx, dppo_tensor *input) {
    static const double root = 0.7978845608028654; /* sqrt(2 / pi) */
    if (!input) return NULL;
    dppo_tensor *cube = dppo_mul(cx, dppo_mul(cx, input, input), input);
    dppo_tensor *inner = dppo_mul_scalar(cx, dppo_add(cx, input, dppo_mul_scalar(cx, cube, 0.044715)), root);
    return dppo_mul(cx, dppo_mul_scalar(cx, input, 0.5), dppo_add_scalar(cx, dppo_tanh(cx, inner), 1));
}

dppo_tensor *dppo_softmax(dppo_cx *cx, dppo_tensor *input, int dim) {
    return softmax(cx, "softmax", input, dim, false);
}

dppo_tensor *dppo_log_softmax(dppo_cx *cx, dppo_tensor *input, int dim) {
    return softmax(cx, "log_softmax", input, dim, true);
}

/* -- losses
 * ------------------------------------------------------------------------------------------------------ */

/* g 2 / n (x - t), in the order (2/n (x - t)) g. */
static void mse_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    for (int i = 0; i < 2; i++) {
        if (!dppo_needs_grad(node, i)) continue;
        dppo_tensor *x = node->inputs[i], *t = node->inputs[1 - i];
        double norm = 2.0 / (double)dppo_numel(x);
        if (dppo_grad_enabled(cx))
            gradients[i] = dppo_mul(cx, dppo_mul_scalar(cx, dppo_sub(cx, x, t), norm), g);
        else
            gradients[i] = dppo_map(cx, "mse_loss_backward", DPPO_MAP_SQUARED_DIFFERENCE_GRAD,
                                    (dppo_tensor *[]){g, x, t}, norm, 0.0);
    }
}

dppo_tensor *dppo_mse_loss(dppo_cx *cx, dppo_tensor *input, dppo_tensor *target) {
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    if (!input || !target || !dppo_broadcast_shape(cx, "mse_loss", input, target, &ndim, shape)) return NULL;
    dppo_tensor *x = dppo_expand(cx, input, ndim, shape), *t = dppo_expand(cx, target, ndim, shape);
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *squares =
        dppo_map(cx, "mse_loss", DPPO_MAP_SQUARED_DIFFERENCE, (dppo_tensor *[]){x, t}, 0.0, 0.0);
    dppo_tensor *out = dppo_mean(cx, squares, 0, NULL, false);
    (void)dppo_set_grad_enabled(cx, enabled);
    if (out) (void)dppo_record(cx, "mse_loss", out, 2, (dppo_tensor *[]){x, t}, mse_backward);
    return out;
}

/* -- dropout and embedding
 * ------------------------------------------------------------------------------------------ */

/* x noise, noise = bernoulli(1 - p) / (1 - p); one double of the stream per element, as torch's bernoulli_.
 */
dppo_tensor *dppo_dropout(dppo_cx *cx, dppo_tensor *input, double p, bool training) {
    if (!input || !training || p == 0.0) return input;
    if (!(p >= 0.0 && p <= 1.0))
        return dppo_context_fail(cx, DPPO_INVALID, "dropout: p = %g is not a probability", p);
    dppo_generator *generator = dppo_context_generator(cx);
    if (!generator) return dppo_context_fail(cx, DPPO_INVALID, "dropout: no generator to draw from");
    dppo_tensor *noise = dppo_zeros(cx, DPPO_F32, input->ndim, input->shape);
    if (!noise || p == 1.0) return dppo_mul(cx, input, noise);
    for (int64_t i = 0, n = dppo_numel(noise); i < n; i++)
        dppo_f32(noise)[i] = dppo_random_double(generator) < 1.0 - p ? 1.0f : 0.0f;
    return dppo_mul(cx, input, dppo_div_scalar(cx, noise, 1.0 - p));
}

dppo_tensor *dppo_embedding(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight) {
    if (!input || !weight) return NULL;
    if (weight->ndim != 2 || input->ndim + 1 > DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "embedding: weight has %d dims, input %d", weight->ndim,
                                 input->ndim);
    int64_t shape[DPPO_MAX_DIMS], count = dppo_numel(input);
    memcpy(shape, input->shape, sizeof shape);
    shape[input->ndim] = weight->shape[1];
    dppo_tensor *rows = dppo_index_select(cx, weight, 0, dppo_reshape(cx, input, 1, &count));
    return dppo_reshape(cx, rows, input->ndim + 1, shape);
}
