/* The context of a computation: where results live, what is recorded, which numbers are drawn, what went
 * wrong.
 *
 * Every operation of autograd/functions.h takes a context first and returns a tensor in its arena. Errors are
 * sticky: an operation that fails stores one message and returns NULL, operations that are given NULL return
 * NULL, so a formula is written straight down and checked once with dppo_context_status().
 *
 * Recording. When gradients are on and an input requires one, an operation adds a node; dppo_backward() runs
 * the nodes from the last to the first, as torch's engine does, so that gradients with several contributions
 * are added in torch's order. A backward is itself written with the operations of functions.h: with
 * create_graph it is recorded, and can be differentiated again, as often as wanted. Where one kernel computes
 * a gradient that has several steps (mish, softmax, layer_norm, ...), the kernel serves first derivatives,
 * bit for bit as libtorch's; with create_graph the steps are taken on the tape. */
#ifndef DPPO_AUTOGRAD_AUTOGRAD_H
#define DPPO_AUTOGRAD_AUTOGRAD_H

#include "base/arena.h"
#include "random/generator.h"
#include "tensor/tensor.h"

enum { DPPO_MAX_INPUTS = 8 };

typedef struct dppo_context dppo_context;
typedef struct dppo_node dppo_node;

/* Computes the gradients of the node's inputs from that of its output: writes input_gradients[i] (NULL where
 * none is needed: check dppo_needs_grad(node, i)). */
typedef void dppo_backward_function(dppo_context *context, const dppo_node *node,
                                    dppo_tensor *output_gradient, dppo_tensor **input_gradients);

struct dppo_node {
    const char *name; /* the function's torch name */
    dppo_backward_function *backward;
    dppo_tensor *output;
    int input_count;
    dppo_tensor *inputs[DPPO_MAX_INPUTS]; /* differentiable inputs, entries may be NULL */
    void *saved;                          /* whatever the backward wants, in the arena */
    dppo_tensor *gradient;                /* of the output, while backward runs */
    dppo_node *previous, *next;           /* recorded just before and after */
    int64_t sequence;
    unsigned skipped; /* a bit for each input whose gradient the running dppo_grad() has no use for */
};

/* Owned by the caller. The generator is borrowed and may be NULL where nothing is drawn. */
dppo_context *dppo_context_new(dppo_generator *generator);
void dppo_context_free(dppo_context *context);

dppo_arena *dppo_context_arena(dppo_context *context);
dppo_generator *dppo_context_generator(dppo_context *context);

/* Forgets all results and the tape; memory is kept for the next step. Clears the sticky error. */
void dppo_context_reset(dppo_context *context);

/* A position to come back to: results and nodes made since are forgotten. */
typedef struct dppo_context_mark {
    dppo_arena_mark arena;
    dppo_node *last;
} dppo_context_mark;
dppo_context_mark dppo_context_position(const dppo_context *context);
void dppo_context_rewind(dppo_context *context, dppo_context_mark mark);

/* DPPO_OK, or the first failure (its text is then dppo_message()). */
dppo_status dppo_context_status(dppo_context *context);
/* Makes `status` sticky, with a message; returns NULL, for `return dppo_context_fail(...)`. */
dppo_tensor *dppo_context_fail(dppo_context *context, dppo_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Turns recording on or off; returns what it was (torch.no_grad: set false, restore after). */
bool dppo_set_grad_enabled(dppo_context *context, bool enabled);
bool dppo_grad_enabled(const dppo_context *context);

/* For authors of operations. dppo_result: a new contiguous tensor. dppo_view: a tensor over the same data.
 * dppo_record: makes `output` the result of a node when recording is on and one of `inputs` requires a
 * gradient; returns the node, or NULL when nothing is recorded (then `saved` is not needed). */
dppo_tensor *dppo_result(dppo_context *context, dppo_dtype dtype, int ndim, const int64_t *shape);
dppo_tensor *dppo_view_of(dppo_context *context, const dppo_tensor *tensor, int ndim, const int64_t *shape,
                          const int64_t *stride, int64_t offset);
dppo_node *dppo_record(dppo_context *context, const char *name, dppo_tensor *output, int input_count,
                       dppo_tensor *const *inputs, dppo_backward_function *backward);
bool dppo_needs_grad(const dppo_node *node, int input);

/* Accumulates d(sum outputs[i] * cotangents[i]) into `grad` of every leaf that requires one; a NULL cotangent
 * is 1 for a rank-0 output. grad is created on the heap when it is NULL. */
dppo_status dppo_backward(dppo_context *context, int count, dppo_tensor *const *outputs,
                          dppo_tensor *const *cotangents);

/* The gradients with respect to `inputs` (leaves or results), as tensors of the context (NULL where the
 * outputs do not depend on one), without touching any `grad`; create_graph records the computation of the
 * gradients too. Only nodes between the outputs and the inputs run, as in torch's engine. */
dppo_status dppo_grad(dppo_context *context, int count, dppo_tensor *const *outputs,
                      dppo_tensor *const *cotangents, int input_count, dppo_tensor *const *inputs,
                      bool create_graph, dppo_tensor **gradients);

#endif
