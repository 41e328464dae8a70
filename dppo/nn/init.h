/* torch.nn.init: fills a contiguous float32 tensor in place, drawing from `generator` exactly what torch
 * draws. */
#ifndef DPPO_NN_INIT_H
#define DPPO_NN_INIT_H

#include "random/generator.h"

dppo_status dppo_init_normal(dppo_generator *generator, dppo_tensor *tensor, double mean, double std);
dppo_status dppo_init_uniform(dppo_generator *generator, dppo_tensor *tensor, double from, double to);
dppo_status dppo_init_constant(dppo_tensor *tensor, double value);
dppo_status dppo_init_zeros(dppo_tensor *tensor);
dppo_status dppo_init_ones(dppo_tensor *tensor);

/* fan_in and fan_out are shape[1] and shape[0], times the size of a filter: at least two dimensions. */
dppo_status dppo_init_xavier_normal(dppo_generator *generator, dppo_tensor *tensor, double gain);
dppo_status dppo_init_xavier_uniform(dppo_generator *generator, dppo_tensor *tensor, double gain);
/* mode fan_in, leaky_relu with negative slope `a`: torch's default for Linear and Conv is a = sqrt(5). */
dppo_status dppo_init_kaiming_uniform(dppo_generator *generator, dppo_tensor *tensor, double a);
/* The bias that goes with it: uniform in +- 1 / sqrt(fan_in of `weight`). */
dppo_status dppo_init_bias(dppo_generator *generator, dppo_tensor *bias, const dppo_tensor *weight);
/* Normal, cut off outside of [from, to]: drawn by the inverse of its distribution function. */
dppo_status dppo_init_trunc_normal(dppo_generator *generator, dppo_tensor *tensor, double mean, double std,
                                   double from, double to);
/* (semi-)orthogonal, by the QR factorisation of a normal matrix (rows, everything else). */
dppo_status dppo_init_orthogonal(dppo_generator *generator, dppo_tensor *tensor, double gain);

#endif
