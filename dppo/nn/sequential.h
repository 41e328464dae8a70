/* torch.nn.Sequential and ModuleList of the plain layers, from a configuration: a list of nodes with
 * `_target_` (Linear, LayerNorm, Dropout, or an activation of layers.h) and the constructor's arguments.
 *
 * A network can also be evaluated with parameters from elsewhere (torch.func.functional_call), and as an
 * ensemble (torch.vmap over torch.func.stack_module_state): N members of one structure at once. */
#ifndef DPPO_NN_SEQUENTIAL_H
#define DPPO_NN_SEQUENTIAL_H

#include "config/config.h"
#include "nn/layers.h"

enum { DPPO_MAX_SEQUENTIAL = 64 };

typedef struct dppo_sequential {
    dppo_module module;
    size_t count;
    struct {
        enum { DPPO_LAYER_LINEAR, DPPO_LAYER_NORM, DPPO_LAYER_DROPOUT, DPPO_LAYER_ACTIVATION } kind;
        dppo_module *layer; /* of the first two; borrowed from the registry */
        dppo_activation_kind activation;
        double p; /* of dropout */
    } layers[DPPO_MAX_SEQUENTIAL];
} dppo_sequential;

/* init: normalized_shape (an int or a list), eps, elementwise_affine. */
dppo_status dppo_layer_norm_layer_from_config(const dppo_config *init, dppo_layer_norm_layer **layer);

/* Named "0", "1", ...; layers without parameters count. `type` is "Sequential" or "ModuleList". */
dppo_status dppo_sequential_new(const dppo_config *modules, const char *type, dppo_generator *generator,
                                dppo_sequential **sequential);

/* One layer, and all of them in turn. */
dppo_tensor *dppo_sequential_layer(dppo_cx *cx, const dppo_sequential *self, size_t layer, dppo_tensor *x);
dppo_tensor *dppo_sequential_forward(dppo_cx *cx, const dppo_sequential *self, dppo_tensor *x);

/* Parameters by state_dict name; those the map lacks are the module's own. The tensors are used as they are,
 * so that gradients reach them. */
dppo_tensor *dppo_functional_call(dppo_cx *cx, const dppo_sequential *self, size_t count,
                                  const char *const *names, dppo_tensor *const *tensors, dppo_tensor *x);

/* Parameters and buffers of members of one structure under their names, each stacked to (N, ..). */
dppo_status dppo_stack_module_state(size_t count, const dppo_module *const *members, dppo_named *stacked);

/* N members at once: every parameter of `self` must be among the stacked ones (N, ..). x (B, ..) is seen by
 * all members, or (N, B, ..) has one input for each when `per_member`; returns (N, B, ..). */
dppo_tensor *dppo_ensemble_forward(dppo_cx *cx, const dppo_sequential *self, size_t count,
                                   const char *const *names, dppo_tensor *const *tensors, dppo_tensor *x,
                                   bool per_member);

/* x (N, B, in), weight (N, out, in), bias (N, out) or NULL -> (N, B, out): member n is
 * dppo_linear(x[n], weight[n], bias[n]) in every bit, all of them on the worker pool and in one node. */
dppo_tensor *dppo_ensemble_linear(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias);
/* LayerNorm over the last dim of x (N, B, D) with each member's own weight and bias (N, D). */
dppo_tensor *dppo_ensemble_norm(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias,
                                double eps);

/* Turns a module into N of its kind, all with its values: every parameter and buffer becomes (N, ..) under
 * its old name. Its layers (Linear, LayerNorm, activations) then take and return (N, B, ..). Gradients it had
 * are gone. */
dppo_status dppo_module_stack(dppo_module *module, int64_t members);

#endif
