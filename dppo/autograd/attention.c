/* Attention with several heads (Vaswani et al. 2017), in the steps and the order of
 * torch.nn.functional.multi_head_attention_forward (Python, 1.13), which libtorch's own differs from in
 * rounding. T queries, S keys, B samples, H heads of size D, E = H D. */
#include "autograd/functions.h"

#include <math.h>

/* Rows [from, to) E of in_proj's weight and bias, applied to x (T, B, E): `to - from` pieces (T, B, E). */
static bool project(dppo_cx *cx, const dppo_attention *a, dppo_tensor *x, int from, int to,
                    dppo_tensor **pieces) {
    int64_t E = x->shape[x->ndim - 1], start = from * E, rows = (to - from) * E;
    bool all = rows == a->in_proj_weight->shape[0];
    dppo_tensor *weight = all ? a->in_proj_weight : dppo_narrow(cx, a->in_proj_weight, 0, start, rows);
    dppo_tensor *bias = a->in_proj_bias;
    if (bias && !all) bias = dppo_narrow(cx, bias, 0, start, rows);
    dppo_tensor *y = dppo_linear(cx, x, weight, bias);
    if (to - from == 1) return (pieces[0] = y) != NULL;
    return y && dppo_split(cx, y, E, -1, pieces, to - from) == to - from;
}

/* pieces: query, key, value. What is given twice, as one tensor, is projected once. */
static bool project_all(dppo_cx *cx, const dppo_attention *a, dppo_tensor *query, dppo_tensor *key,
                        dppo_tensor *value, dppo_tensor **pieces) {
    bool same_source = key == value;
    if (same_source && query == key) return project(cx, a, query, 0, 3, pieces);
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

/* What is added to the scores, (1 or B H, T or 1, S): 0, or -infinity where attention is masked, or what a
 * float mask holds. */
static dppo_tensor *added_mask(dppo_cx *cx, const dppo_attention *a, int64_t B, int64_t T, int64_t S) {
    dppo_tensor *mask = a->attn_mask, *keys = a->key_padding_mask;
    dppo_tensor *zero = dppo_full(cx, DPPO_F32, 0, NULL, 0);
    if (mask && mask->dtype == DPPO_BOOL) mask = dppo_masked_fill(cx, zero, mask, -INFINITY);
    if (mask && mask->ndim == 2) mask = dppo_unsqueeze(cx, mask, 0);
    if (!keys) return mask;
    int64_t heads[4] = {B, a->num_heads, 1, S}, flat[3] = {B * a->num_heads, 1, S};
    keys = dppo_unsqueeze(cx, dppo_unsqueeze(cx, keys, 1), 2);
    keys = dppo_reshape(cx, dppo_expand(cx, keys, 4, heads), 3, flat);
    if (!mask) return dppo_masked_fill(cx, zero, keys, -INFINITY);
    mask = dppo_expand(cx, mask, 3, (int64_t[]){flat[0], T, S});
    return dppo_masked_fill(cx, mask, keys, -INFINITY);
}

static bool attention_fits(dppo_cx *cx, const dppo_attention *a, const dppo_tensor *query,
                           const dppo_tensor *key, const dppo_tensor *value) {
    int64_t E = query->ndim == 3 ? query->shape[2] : 0;
    bool fit = E > 0 && key->ndim == 3 && dppo_same_shape(key, value) && key->shape[1] == query->shape[1] &&
               key->shape[2] == E && a->num_heads > 0 && E % a->num_heads == 0 &&
               a->in_proj_weight->ndim == 2 && a->in_proj_weight->shape[0] == 3 * E;
    const dppo_tensor *mask = a->attn_mask, *keys = a->key_padding_mask;
    if (mask) {
        int first = mask->ndim - 2; /* (T, S), behind B H in a mask for every sample and head */
        fit = fit && (first == 0 || first == 1) && mask->shape[first] == query->shape[0] &&
              mask->shape[first + 1] == key->shape[0];
        if (first == 1) fit = fit && mask->shape[0] == query->shape[1] * a->num_heads;
    }
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
    for (int i = 0; i < 3; i++)
        p[i] = heads_first(cx, a, p[i]);
    p[0] = dppo_div_scalar(cx, p[0], sqrt((double)(E / a->num_heads)));
    dppo_tensor *scores = dppo_matmul(cx, p[0], dppo_transpose(cx, p[1], 1, 2));
    if (a->attn_mask || a->key_padding_mask) scores = dppo_add(cx, scores, added_mask(cx, a, B, T, S));
    dppo_tensor *attention = dppo_softmax(cx, scores, -1);
    attention = dppo_dropout(cx, attention, a->dropout, a->training);
    dppo_tensor *mixed = dppo_transpose(cx, dppo_matmul(cx, attention, p[2]), 0, 1);
    if (weights) {
        *weights = dppo_reshape(cx, attention, 4, (int64_t[]){B, a->num_heads, T, S});
        if (a->average_weights)
            *weights =
                dppo_div_scalar(cx, dppo_sum(cx, *weights, 1, (int[]){1}, false), (double)a->num_heads);
    }
    mixed = dppo_linear(cx, dppo_reshape(cx, mixed, 2, (int64_t[]){T * B, E}), a->out_proj_weight,
                        a->out_proj_bias);
    return dppo_reshape(cx, mixed, 3, (int64_t[]){T, B, E});
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
    dppo_attention one = *a;
    if (!batched && a->key_padding_mask) one.key_padding_mask = dppo_unsqueeze(cx, a->key_padding_mask, 0);
    dppo_tensor *out = attend(cx, &one, in[0], in[1], in[2], weights);
    if (!batched && out && weights) *weights = dppo_squeeze_dim(cx, *weights, 0);
    if (!batched) return dppo_squeeze_dim(cx, out, 1);
    return a->batch_first ? dppo_transpose(cx, out, 0, 1) : out;
}
