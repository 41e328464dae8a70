/* Attention with several heads (Vaswani et al. 2017), in the steps and the order of libtorch's
 * multi_head_attention_forward. T queries, S keys, B samples, H heads of size D, E = H D. */
#include "autograd/functions.h"

#include <math.h>
#include <string.h>

/* By value, as there: a query given twice is projected once. */
static bool equal_values(dppo_cx *cx, dppo_tensor *a, dppo_tensor *b) {
    if (a == b) return true;
    if (!dppo_same_shape(a, b) || a->dtype != DPPO_F32 || b->dtype != DPPO_F32) return false;
    bool enabled = dppo_set_grad_enabled(cx, false);
    const dppo_tensor *x = dppo_contiguous(cx, a), *y = dppo_contiguous(cx, b);
    (void)dppo_set_grad_enabled(cx, enabled);
    for (int64_t i = 0, n = x && y ? dppo_numel(x) : 0; i < n; i++)
        if (!(dppo_f32(x)[i] == dppo_f32(y)[i])) return false;
    return x && y;
}

/* The bias is added to the product, as there; dppo_linear() puts it into the sum. */
static dppo_tensor *linear(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias) {
    dppo_tensor *y = dppo_matmul(cx, x, dppo_transpose(cx, weight, 0, 1));
    return bias ? dppo_add(cx, y, bias) : y;
}

/* Rows [from, to) E of in_proj's weight and bias, applied to x (T, B, E): `to - from` pieces (T, B, E). */
static bool project(dppo_cx *cx, const dppo_attention *a, dppo_tensor *x, int from, int to,
                    dppo_tensor **pieces) {
    int64_t E = x->shape[x->ndim - 1], start = from * E, rows = (to - from) * E;
    bool all = rows == a->in_proj_weight->shape[0];
    dppo_tensor *weight = all ? a->in_proj_weight : dppo_narrow(cx, a->in_proj_weight, 0, start, rows);
    dppo_tensor *bias = a->in_proj_bias;
    if (bias && !all) bias = dppo_narrow(cx, bias, 0, start, rows);
    dppo_tensor *y = linear(cx, x, weight, bias);
    if (to - from == 1) return (pieces[0] = y) != NULL;
    return y && dppo_split(cx, y, E, -1, pieces, to - from) == to - from;
}

/* pieces: query, key, value. */
static bool project_all(dppo_cx *cx, const dppo_attention *a, dppo_tensor *query, dppo_tensor *key,
                        dppo_tensor *value, dppo_tensor **pieces) {
    bool same_source = equal_values(cx, key, value);
    if (same_source && equal_values(cx, query, key)) return project(cx, a, query, 0, 3, pieces);
    if (!project(cx, a, query, 0, 1, pieces)) return false;
    if (same_source) return project(cx, a, key, 1, 3, pieces + 1);
    return project(cx, a, key, 1, 2, pieces + 1) && project(cx, a, value, 2, 3, pieces + 2);
}

/* (T, B, E) -> (B H, T, D) */
static dppo_tensor *heads_first(dppo_cx *cx, const dppo_attention *a, dppo_tensor *x) {
    if (!x) return NULL;
    int64_t shape[3] = {x->shape[0], x->shape[1] * a->num_heads, x->shape[2] / a->num_heads};
    return dppo_transpose(cx, dppo_reshape(cx, x, 3, shape), 0, 1);
}

/* The scores (B H, T, S), with -infinity, or whatever a float mask adds, where attention is masked. */
static dppo_tensor *masked(dppo_cx *cx, const dppo_attention *a, dppo_tensor *scores, int64_t B) {
    dppo_tensor *mask = a->attn_mask;
    if (mask && mask->dtype == DPPO_BOOL)
        scores = dppo_masked_fill(cx, scores, mask, -INFINITY);
    else if (mask)
        scores = dppo_add(cx, scores, mask);
    if (!a->key_padding_mask || !scores) return scores;
    int64_t heads[4] = {B, a->num_heads, scores->shape[1], scores->shape[2]};
    int64_t flat[3] = {scores->shape[0], scores->shape[1], scores->shape[2]};
    dppo_tensor *keys = dppo_unsqueeze(cx, dppo_unsqueeze(cx, a->key_padding_mask, 1), 2);
    scores = dppo_masked_fill(cx, dppo_reshape(cx, scores, 4, heads), keys, -INFINITY);
    return dppo_reshape(cx, scores, 3, flat);
}

static bool attention_fits(dppo_cx *cx, const dppo_attention *a, const dppo_tensor *query,
                           const dppo_tensor *key, const dppo_tensor *value) {
    int64_t E = query->ndim == 3 ? query->shape[2] : 0;
    bool fit = E > 0 && key->ndim == 3 && dppo_same_shape(key, value) && key->shape[1] == query->shape[1] &&
               key->shape[2] == E && a->num_heads > 0 && E % a->num_heads == 0 &&
               a->in_proj_weight->ndim == 2 && a->in_proj_weight->shape[0] == 3 * E;
    const dppo_tensor *mask = a->attn_mask, *keys = a->key_padding_mask;
    if (mask)
        fit = fit && mask->ndim == 2 && mask->shape[0] == query->shape[0] && mask->shape[1] == key->shape[0];
    if (keys)
        fit = fit && keys->dtype == DPPO_BOOL && keys->ndim == 2 && keys->shape[0] == key->shape[1] &&
              keys->shape[1] == key->shape[0];
    if (!fit)
        (void)dppo_context_fail(
            cx, DPPO_INVALID, "multi_head_attention: query, key, value, heads and masks do not go together");
    return fit;
}

/* query (T, B, E), key and value (S, B, E). */
static dppo_tensor *attend(dppo_cx *cx, const dppo_attention *a, dppo_tensor *query, dppo_tensor *key,
                           dppo_tensor *value, dppo_tensor **weights) {
    if (!query || !key || !value || !attention_fits(cx, a, query, key, value)) return NULL;
    int64_t T = query->shape[0], B = query->shape[1], E = query->shape[2], S = key->shape[0];
    dppo_tensor *p[3];
    if (!project_all(cx, a, query, key, value, p)) return NULL;
    p[0] = dppo_mul_scalar(cx, p[0], 1.0 / sqrt((double)(E / a->num_heads)));
    for (int i = 0; i < 3; i++)
        p[i] = heads_first(cx, a, p[i]);
    dppo_tensor *scores = dppo_matmul(cx, p[0], dppo_transpose(cx, p[1], 1, 2));
    dppo_tensor *attention = dppo_softmax(cx, masked(cx, a, scores, B), -1);
    attention = dppo_dropout(cx, attention, a->dropout, a->training);
    dppo_tensor *mixed = dppo_transpose(cx, dppo_matmul(cx, attention, p[2]), 0, 1);
    mixed = dppo_reshape(cx, mixed, 3, (int64_t[]){T, B, E});
    if (weights) {
        *weights = dppo_reshape(cx, attention, 4, (int64_t[]){B, a->num_heads, T, S});
        if (a->average_weights)
            *weights =
                dppo_div_scalar(cx, dppo_sum(cx, *weights, 1, (int[]){1}, false), (double)a->num_heads);
    }
    return linear(cx, mixed, a->out_proj_weight, a->out_proj_bias);
}

dppo_tensor *dppo_multi_head_attention(dppo_cx *cx, const dppo_attention *a, dppo_tensor *query,
                                       dppo_tensor *key, dppo_tensor *value, dppo_tensor **weights) {
    dppo_tensor *in[3] = {query, key, value};
    if (!query || !key || !value) return NULL;
    bool batched = query->ndim == 3;
    for (int i = 0; i < 3; i++) {
        /* One tensor given twice stays one. */
        if (i > 0 && (i == 1 ? key == query : value == key)) {
            in[i] = in[i - 1];
            continue;
        }
        if (!batched) in[i] = dppo_unsqueeze(cx, in[i], 1);
        if (batched && a->batch_first) in[i] = dppo_transpose(cx, in[i], 0, 1);
    }
    dppo_tensor *out = attend(cx, a, in[0], in[1], in[2], weights);
    if (!batched && out && weights) *weights = dppo_squeeze_dim(cx, *weights, 0);
    if (!batched) return dppo_squeeze_dim(cx, out, 1);
    return a->batch_first ? dppo_transpose(cx, out, 0, 1) : out;
}
