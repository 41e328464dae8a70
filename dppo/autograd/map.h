/* Elementwise evaluation over broadcast operands, for the authors of functions. */
#ifndef DPPO_AUTOGRAD_MAP_H
#define DPPO_AUTOGRAD_MAP_H

#include "autograd/functions.h"
#include "tensor/kernel.h"

/* op over the operands' common shape, p and q its parameters; a new float32 tensor, nothing recorded. */
dppo_tensor *dppo_map(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs, double p,
                      double q);

/* The same with the memory of `over` (one of the operands, or NULL) for the result, where it fits. */
dppo_tensor *dppo_map_over(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                           double p, double q, dppo_tensor *over);
/* `gradient` where it may be overwritten, else NULL. */
dppo_tensor *dppo_spare(const dppo_cx *cx, dppo_tensor *gradient);

/* The same, recorded with its parameters: node->saved is a dppo_map_params. */
typedef struct dppo_map_params {
    double p, q;
} dppo_map_params;
dppo_tensor *dppo_map_recorded(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                               double p, double q, dppo_backward_function *backward);

/* For a backward that is linear in the upstream gradient (input 0) and piecewise constant in the rest, like
 * the gradients of relu, clamp and maximum: its own gradient is itself. */
dppo_tensor *dppo_map_gate(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                           double p, double q);

/* The backward of functions whose second derivative is not there: fails with the function's name. */
dppo_backward_function dppo_no_second_derivative;

/* The elements of a float32 tensor in row-major order: its own data where that is contiguous, else a copy in
 * the arena; NULL after a failure, which names the function and the dtype found. */
const float *dppo_packed(dppo_cx *cx, const char *function, const dppo_tensor *tensor);

/* Uninitialised gradients for the first `count` inputs that need one: gradients[i], and to[i] its elements
 * (left as they are for the others). False when memory is exhausted. */
bool dppo_gradient_buffers(dppo_cx *cx, const dppo_node *node, int count, dppo_tensor **gradients,
                           float **to);

#endif
