/* Convolutions and GroupNorm as modules with torch's parameter names, initialised as torch initialises them
 * (a NULL generator draws nothing: weights stay zero and are about to be loaded). */
#ifndef DPPO_NN_CONVOLUTION_H
#define DPPO_NN_CONVOLUTION_H

#include "autograd/functions.h"
#include "nn/module.h"

/* One-dimensional kinds use the first of two sizes; dilation and groups 0 stand for 1. */
typedef struct dppo_conv_options {
    int64_t in_channels, out_channels, kernel_size[2], stride[2], padding[2], dilation[2];
    int64_t output_padding; /* of the transposed one */
    int64_t groups;
    bool bias;
} dppo_conv_options;

/* weight (O, C / groups, K..), of the transposed kind (C, O / groups, K); bias (O) or NULL. */
typedef struct dppo_conv_layer {
    dppo_module module;
    dppo_tensor *weight, *bias;
    dppo_conv_kind kind;
    dppo_conv_options options;
} dppo_conv_layer;

/* torch.nn.GroupNorm: weight, bias (C), or NULL when not affine. */
typedef struct dppo_group_norm_layer {
    dppo_module module;
    dppo_tensor *weight, *bias;
    int64_t num_groups;
    double eps;
} dppo_group_norm_layer;

/* Owned by the caller until registered; NULL with a message when memory is exhausted or a size makes no
 * sense. */
dppo_conv_layer *dppo_conv_layer_new(dppo_generator *generator, dppo_conv_kind kind,
                                     const dppo_conv_options *options);
dppo_group_norm_layer *dppo_group_norm_layer_new(int64_t num_groups, int64_t num_channels, double eps,
                                                 bool affine);

dppo_tensor *dppo_conv_layer_forward(dppo_cx *cx, const dppo_conv_layer *layer, dppo_tensor *x);
dppo_tensor *dppo_group_norm_layer_forward(dppo_cx *cx, const dppo_group_norm_layer *layer, dppo_tensor *x);

#endif
