#include "distributions/categorical.h"

#include "autograd/dims.h"

#include <float.h>
#include <math.h>

static const int last = -1;

dppo_categorical dppo_categorical_from_logits(dppo_cx *cx, dppo_tensor *logits) {
    dppo_tensor *normalised = dppo_sub(cx, logits, dppo_logsumexp(cx, logits, 1, &last, true));
    return (dppo_categorical){normalised, dppo_softmax(cx, normalised, -1)};
}

/* log of the probabilities, kept eps away from 0 and 1. */
dppo_categorical dppo_categorical_from_probs(dppo_cx *cx, dppo_tensor *probs) {
    dppo_tensor *normalised = dppo_div(cx, probs, dppo_sum(cx, probs, 1, &last, true));
    dppo_tensor *kept = dppo_clamp(cx, normalised, (double)FLT_EPSILON, 1 - (double)FLT_EPSILON);
    return (dppo_categorical){dppo_log(cx, kept), normalised};
}

dppo_tensor *dppo_categorical_log_prob(dppo_cx *cx, dppo_categorical dist, dppo_tensor *value) {
    dppo_tensor *index = dppo_unsqueeze(cx, dppo_to_dtype(cx, value, DPPO_I64), -1);
    if (!index || !dist.logits) return NULL;
    int64_t shape[DPPO_MAX_DIMS];
    int ndim;
    if (!dppo_broadcast_shape(cx, "Categorical", index, dist.logits, &ndim, shape)) return NULL;
    dppo_tensor *log_pmf = dppo_expand(cx, dist.logits, ndim, shape);
    shape[ndim - 1] = 1;
    return dppo_squeeze_dim(cx, dppo_gather(cx, log_pmf, -1, dppo_expand(cx, index, ndim, shape)), -1);
}

/* -sum p log p, where an impossible category (log p = -inf) adds nothing. */
dppo_tensor *dppo_categorical_entropy(dppo_cx *cx, dppo_categorical dist) {
    dppo_tensor *logits = dppo_clamp(cx, dist.logits, (double)-FLT_MAX, (double)INFINITY);
    return dppo_neg(cx, dppo_sum(cx, dppo_mul(cx, logits, dist.probs), 1, &last, false));
}

/* One multinomial draw of (rows, samples), samples moved to the front. */
static dppo_tensor *draw(dppo_cx *cx, dppo_tensor *probs, int sample_ndim, const int64_t *sample_shape) {
    int batch_ndim = probs->ndim - 1;
    if (sample_ndim < 0 || sample_ndim + batch_ndim > DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "Categorical: a sample shape of %d dimensions",
                                 sample_ndim);
    int64_t shape[DPPO_MAX_DIMS], samples = 1;
    for (int i = 0; i < sample_ndim; i++)
        samples *= shape[i] = sample_shape[i];
    for (int i = 0; i < batch_ndim; i++)
        shape[sample_ndim + i] = probs->shape[i];
    dppo_tensor *rows = dppo_reshape(cx, probs, 2, (int64_t[]){-1, probs->shape[batch_ndim]});
    dppo_tensor *drawn = dppo_multinomial(cx, rows, samples, true);
    return dppo_reshape(cx, dppo_transpose(cx, drawn, 0, 1), sample_ndim + batch_ndim, shape);
}

dppo_tensor *dppo_categorical_sample(dppo_cx *cx, dppo_categorical dist, int sample_ndim,
                                     const int64_t *sample_shape) {
    if (!dist.probs) return NULL;
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *result = draw(cx, dist.probs, sample_ndim, sample_shape);
    (void)dppo_set_grad_enabled(cx, enabled);
    return result;
}
