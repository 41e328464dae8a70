#include "distributions/mixture_same_family.h"

dppo_tensor *dppo_independent_sum(dppo_cx *cx, dppo_tensor *elementwise, int n) {
    if (!elementwise) return NULL;
    if (n < 0 || n > elementwise->ndim)
        return dppo_context_fail(cx, DPPO_INVALID, "Independent: %d event dimensions of %d", n,
                                 elementwise->ndim);
    if (n == 0) return elementwise;
    /* torch flattens the event and sums one dimension */
    int64_t shape[DPPO_MAX_DIMS];
    int kept = elementwise->ndim - n;
    for (int i = 0; i < kept; i++)
        shape[i] = elementwise->shape[i];
    int64_t event = 1;
    for (int i = kept; i < elementwise->ndim; i++)
        event *= elementwise->shape[i];
    shape[kept] = event;
    return dppo_sum(cx, dppo_reshape(cx, elementwise, kept + 1, shape), 1, (int[]){-1}, false);
}

/* logsumexp over the modes of log p(value | mode) + log p(mode) */
dppo_tensor *dppo_mixture_log_prob(dppo_cx *cx, dppo_tensor *logits, dppo_tensor *loc, dppo_tensor *scale,
                                   int event_dims, dppo_tensor *value) {
    dppo_tensor *padded = dppo_unsqueeze(cx, value, -1 - event_dims);
    dppo_tensor *each = dppo_independent_sum(cx, dppo_normal_log_prob(cx, loc, scale, padded), event_dims);
    dppo_tensor *weights = dppo_log_softmax(cx, dppo_categorical_from_logits(cx, logits).logits, -1);
    return dppo_logsumexp(cx, dppo_add(cx, each, weights), 1, (int[]){-1}, false);
}

/* all (sample..., batch..., M, event...), modes (sample..., batch...) -> (sample..., batch..., event...) */
static dppo_tensor *choose(dppo_cx *cx, dppo_tensor *all, dppo_tensor *modes, int event_dims) {
    if (!all || !modes) return NULL;
    int place = all->ndim - event_dims - 1;
    if (place != modes->ndim)
        return dppo_context_fail(cx, DPPO_INVALID, "MixtureSameFamily: logits of %d dimensions for loc of %d",
                                 modes->ndim + 1, all->ndim);
    int64_t shape[DPPO_MAX_DIMS];
    for (int i = 0; i < all->ndim; i++)
        shape[i] = all->shape[i];
    shape[place] = 1;
    dppo_tensor *index = modes;
    for (int i = 0; i <= event_dims; i++)
        index = dppo_unsqueeze(cx, index, -1);
    return dppo_squeeze_dim(cx, dppo_gather(cx, all, place, dppo_expand(cx, index, all->ndim, shape)), place);
}

dppo_tensor *dppo_mixture_sample(dppo_cx *cx, dppo_tensor *logits, dppo_tensor *loc, dppo_tensor *scale,
                                 int event_dims, int sample_ndim, const int64_t *sample_shape) {
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *modes =
        dppo_categorical_sample(cx, dppo_categorical_from_logits(cx, logits), sample_ndim, sample_shape);
    dppo_tensor *all = dppo_normal_sample(cx, loc, scale, sample_ndim, sample_shape);
    dppo_tensor *result = choose(cx, all, modes, event_dims);
    (void)dppo_set_grad_enabled(cx, enabled);
    return result;
}
