/* torch.distributions.Independent and MixtureSameFamily, of the one family that is mixed here: Normal. */
#ifndef DPPO_DISTRIBUTIONS_MIXTURE_SAME_FAMILY_H
#define DPPO_DISTRIBUTIONS_MIXTURE_SAME_FAMILY_H

#include "distributions/categorical.h"
#include "distributions/normal.h"

/* Independent(.., n): what is elementwise becomes a sum over the last n dimensions (the event). 0 <= n <=
 * ndim. */
dppo_tensor *dppo_independent_sum(dppo_cx *cx, dppo_tensor *elementwise, int n);

/* MixtureSameFamily(Categorical(logits), Independent(Normal(loc, scale), event_dims)): logits (batch..., M),
 * loc and scale (batch..., M, event...). value (batch..., event...) -> (batch...) */
dppo_tensor *dppo_mixture_log_prob(dppo_cx *cx, dppo_tensor *logits, dppo_tensor *loc, dppo_tensor *scale,
                                   int event_dims, dppo_tensor *value);
/* A mode for every sample, then a sample of every mode, then the mode's: sample_shape + batch + event, as
 * torch draws them. Without a gradient. */
dppo_tensor *dppo_mixture_sample(dppo_cx *cx, dppo_tensor *logits, dppo_tensor *loc, dppo_tensor *scale,
                                 int event_dims, int sample_ndim, const int64_t *sample_shape);

#endif
