/* torch.distributions.Normal. loc, scale and value broadcast against each other; results are elementwise. */
#ifndef DPPO_DISTRIBUTIONS_NORMAL_H
#define DPPO_DISTRIBUTIONS_NORMAL_H

#include "autograd/functions.h"

/* -(value - loc)^2 / (2 scale^2) - log scale - log sqrt(2 pi) */
dppo_tensor *dppo_normal_log_prob(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, dppo_tensor *value);

/* 1/2 + 1/2 log(2 pi) + log scale, in the shape of loc and scale together. */
dppo_tensor *dppo_normal_entropy(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale);

/* (1 + erf((value - loc) / (scale sqrt 2))) / 2 */
dppo_tensor *dppo_normal_cdf(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, dppo_tensor *value);

/* Draws of shape sample_shape + the common shape of loc and scale. sample: without a gradient, as
 * torch.normal(); rsample: loc + eps * scale, differentiable (gradients of loc and scale). */
dppo_tensor *dppo_normal_sample(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, int sample_ndim,
                                const int64_t *sample_shape);
dppo_tensor *dppo_normal_rsample(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, int sample_ndim,
                                 const int64_t *sample_shape);

#endif
