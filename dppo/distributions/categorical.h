/* torch.distributions.Categorical over the last dimension: categories 0..n-1. */
#ifndef DPPO_DISTRIBUTIONS_CATEGORICAL_H
#define DPPO_DISTRIBUTIONS_CATEGORICAL_H

#include "autograd/functions.h"

/* logits (..., n), normalised: logsumexp 0; probs (..., n), sum 1. Both NULL after a failure. */
typedef struct dppo_categorical {
    dppo_tensor *logits, *probs;
} dppo_categorical;

/* From unnormalised logits, or from unnormalised probabilities. */
dppo_categorical dppo_categorical_from_logits(dppo_cx *cx, dppo_tensor *logits);
dppo_categorical dppo_categorical_from_probs(dppo_cx *cx, dppo_tensor *probs);

/* value (...), of whole numbers in any dtype, broadcast against the batch -> (...) */
dppo_tensor *dppo_categorical_log_prob(dppo_cx *cx, dppo_categorical dist, dppo_tensor *value);
dppo_tensor *dppo_categorical_entropy(dppo_cx *cx, dppo_categorical dist);
/* int64, sample_shape + batch shape */
dppo_tensor *dppo_categorical_sample(dppo_cx *cx, dppo_categorical dist, int sample_ndim,
                                     const int64_t *sample_shape);

#endif
