/* torch.distributions.Normal. loc, scale and value broadcast against each other; results are elementwise. */
#ifndef DPPO_DISTRIBUTIONS_NORMAL_H
#define DPPO_DISTRIBUTIONS_NORMAL_H

#include "autograd/functions.h"

/* -(value - loc)^2 / (2 scale^2) - log scale - log sqrt(2 pi) */
dppo_tensor *dppo_normal_log_prob(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale, dppo_tensor *value);

/* 1/2 + 1/2 log(2 pi) + log scale, in the shape of loc and scale together. */
dppo_tensor *dppo_normal_entropy(dppo_cx *cx, dppo_tensor *loc, dppo_tensor *scale);

#endif
