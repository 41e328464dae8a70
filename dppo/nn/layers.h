/* The layers every network is made of, as modules with torch's parameter names, initialised as torch
 * initialises them (nothing is drawn, and weights stay zero, when the generator is NULL: they are about to be
 * loaded). */
#ifndef DPPO_NN_LAYERS_H
#define DPPO_NN_LAYERS_H

#include "autograd/functions.h"
#include "nn/module.h"

/* torch.nn.Linear: weight (out, in), bias (out) or NULL. */
typedef struct dppo_linear_layer {
    dppo_module module;
    dppo_tensor *weight, *bias;
} dppo_linear_layer;

/* torch.nn.LayerNorm over the last `ndim` dimensions: weight and bias of their `shape`, or NULL. */
typedef struct dppo_layer_norm_layer {
    dppo_module module;
    dppo_tensor *weight, *bias;
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    double eps;
} dppo_layer_norm_layer;

/* torch.nn.Embedding: weight (count, size), normal. The row padding_idx gets no gradient; -1: there is none.
 */
typedef struct dppo_embedding_layer {
    dppo_module module;
    dppo_tensor *weight;
    int64_t padding_idx;
} dppo_embedding_layer;

/* Owned by the caller until registered (dppo_module_child(parent, name, &layer->module)); NULL with a message
 * when memory is exhausted or a size makes no sense. */
dppo_linear_layer *dppo_linear_layer_new(dppo_generator *generator, int64_t in, int64_t out, bool bias);
dppo_layer_norm_layer *dppo_layer_norm_layer_new(int64_t size, double eps); /* over the last dimension */
dppo_layer_norm_layer *dppo_layer_norm_layer_new_over(int ndim, const int64_t *shape, bool affine,
                                                      double eps);
dppo_embedding_layer *dppo_embedding_layer_new(dppo_generator *generator, int64_t count, int64_t size);

dppo_tensor *dppo_linear_layer_forward(dppo_cx *cx, const dppo_linear_layer *layer, dppo_tensor *x);
dppo_tensor *dppo_layer_norm_layer_forward(dppo_cx *cx, const dppo_layer_norm_layer *layer, dppo_tensor *x);
dppo_tensor *dppo_embedding_layer_forward(dppo_cx *cx, const dppo_embedding_layer *layer, dppo_tensor *x);

/* Activations under torch.nn's class names, with their default arguments. */
#define DPPO_ACTIVATIONS(X)                                                                                  \
    X(RELU, "ReLU", dppo_relu(cx, x))                                                                        \
    X(ELU, "ELU", dppo_elu(cx, x, 1.0))                                                                      \
    X(GELU, "GELU", dppo_gelu(cx, x))                                                                        \
    X(TANH, "Tanh", dppo_tanh(cx, x))                                                                        \
    X(MISH, "Mish", dppo_mish(cx, x))                                                                        \
    X(IDENTITY, "Identity", x)                                                                               \
    X(SOFTPLUS, "Softplus", dppo_softplus(cx, x, 1.0, 20.0))

typedef enum dppo_activation_kind {
#define X(name, text, call) DPPO_ACTIVATION_##name,
    DPPO_ACTIVATIONS(X)
#undef X
} dppo_activation_kind;

/* DPPO_INVALID names an unknown one and lists the known. */
dppo_status dppo_activation_from_name(const char *name, dppo_activation_kind *kind);
const char *dppo_activation_name(dppo_activation_kind kind);
dppo_tensor *dppo_activation(dppo_cx *cx, dppo_activation_kind kind, dppo_tensor *x);
/* In place where that can be: of an x as dppo_add_inplace takes it. */
dppo_tensor *dppo_activation_inplace(dppo_cx *cx, dppo_activation_kind kind, dppo_tensor *x);

#endif
