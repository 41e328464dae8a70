#include "autograd/autograd.h"
#include "autograd/map.h"
#include "autograd/rows_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The gradient a leaf gathers during one backward. It is added to leaf->grad only at the end, as torch's
 * engine sums all contributions of a call before it touches .grad. */
typedef struct leaf_gradient {
    dppo_tensor *leaf, *gradient;
} leaf_gradient;

struct dppo_context {
    dppo_arena *arena;
    dppo_generator *generator;
    dppo_node *first, *last;
    int64_t sequence;
    bool grad_enabled;
    dppo_status status;
    leaf_gradient *leaves;
    size_t leaf_count, leaf_capacity;
    dppo_rows *rows; /* borrowed; NULL: whole batches */
};

dppo_context *dppo_context_new(dppo_generator *generator) {
    dppo_context *context = calloc(1, sizeof *context);
    if (!context) return NULL;
    context->arena = dppo_arena_new();
    context->generator = generator;
    context->grad_enabled = true;
    if (context->arena) return context;
    free(context);
    return NULL;
}

void dppo_context_free(dppo_context *context) {
    if (!context) return;
    dppo_arena_free(context->arena);
    free(context->leaves);
    free(context);
}

dppo_arena *dppo_context_arena(dppo_context *context) {
    return context->arena;
}

dppo_generator *dppo_context_generator(dppo_context *context) {
    return context->generator;
}

void dppo_context_reset(dppo_context *context) {
    dppo_arena_reset(context->arena);
    context->first = context->last = NULL;
    context->status = DPPO_OK;
    context->leaf_count = 0;
    context->rows = NULL;
}

dppo_context_mark dppo_context_position(const dppo_context *context) {
    return (dppo_context_mark){dppo_arena_position(context->arena), context->last};
}

void dppo_context_rewind(dppo_context *context, dppo_context_mark mark) {
    dppo_arena_rewind(context->arena, mark.arena);
    context->last = mark.last;
}

dppo_rows *dppo_context_rows(const dppo_context *context) {
    return context->rows;
}

void dppo_context_set_rows(dppo_context *context, dppo_rows *rows) {
    context->rows = rows;
}

dppo_status dppo_context_status(dppo_context *context) {
    return context->status;
}

dppo_tensor *dppo_context_fail(dppo_context *context, dppo_status status, const char *format, ...) {
    char text[900];
    va_list arguments;
    if (context->status != DPPO_OK) return NULL; /* the first failure is the cause */
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    context->status = dppo_fail(status, "%s", text);
    return NULL;
}

bool dppo_set_grad_enabled(dppo_context *context, bool enabled) {
    bool before = context->grad_enabled;
    context->grad_enabled = enabled;
    return before;
}

bool dppo_grad_enabled(const dppo_context *context) {
    return context->grad_enabled;
}

dppo_tensor *dppo_result(dppo_context *context, dppo_dtype dtype, int ndim, const int64_t *shape) {
    if (context->status != DPPO_OK) return NULL;
    dppo_tensor *tensor = dppo_tensor_new(context->arena, dtype, ndim, shape);
    if (tensor) return tensor;
    char text[160];
    return dppo_context_fail(
        context, DPPO_NO_MEMORY, "no memory for a tensor of shape %s",
        dppo_shape_text(ndim < DPPO_MAX_DIMS ? ndim : DPPO_MAX_DIMS, shape, text, sizeof text));
}

dppo_tensor *dppo_view_of(dppo_context *context, const dppo_tensor *tensor, int ndim, const int64_t *shape,
                          const int64_t *stride, int64_t offset) {
    if (context->status != DPPO_OK) return NULL;
    dppo_tensor *view = dppo_arena_alloc(context->arena, sizeof *view);
    if (!view) return dppo_context_fail(context, DPPO_NO_MEMORY, "no memory for a view");
    *view = (dppo_tensor){.dtype = tensor->dtype, .ndim = ndim};
    for (int d = 0; d < ndim; d++) {
        view->shape[d] = shape[d];
        view->stride[d] = stride[d];
    }
    view->data = (unsigned char *)tensor->data + offset * (int64_t)dppo_dtype_size(tensor->dtype);
    return view;
}

dppo_node *dppo_record(dppo_context *context, const char *name, dppo_tensor *output, int input_count,
                       dppo_tensor *const *inputs, dppo_backward_function *backward) {
    bool wanted = false;
    if (!context->grad_enabled || context->status != DPPO_OK) return NULL;
    for (int i = 0; i < input_count; i++)
        wanted = wanted || (inputs[i] && inputs[i]->requires_grad);
    if (!wanted) return NULL;
    dppo_node *node = dppo_arena_alloc(context->arena, sizeof *node);
    if (!node) {
        (void)dppo_context_fail(context, DPPO_NO_MEMORY, "%s: no memory for the tape", name);
        return NULL;
    }
    *node = (dppo_node){.name = name,
                        .backward = backward,
                        .output = output,
                        .input_count = input_count,
                        .previous = context->last,
                        .sequence = context->sequence++};
    for (int i = 0; i < input_count; i++)
        node->inputs[i] = inputs[i];
    output->node = node;
    output->requires_grad = true;
    *(context->last ? &context->last->next : &context->first) = node;
    context->last = node;
    return node;
}

bool dppo_needs_grad(const dppo_node *node, int input) {
    return input < node->input_count && node->inputs[input] && node->inputs[input]->requires_grad &&
           !(node->skipped >> input & 1U);
}

static dppo_tensor **leaf_slot(dppo_context *context, dppo_tensor *leaf) {
    for (size_t i = 0; i < context->leaf_count; i++)
        if (context->leaves[i].leaf == leaf) return &context->leaves[i].gradient;
    if (context->leaf_count == context->leaf_capacity) {
        size_t capacity = context->leaf_capacity ? 2 * context->leaf_capacity : 64;
        leaf_gradient *leaves = realloc(context->leaves, capacity * sizeof *leaves);
        if (!leaves) {
            (void)dppo_context_fail(context, DPPO_NO_MEMORY, "backward: no memory for %zu leaves", capacity);
            return NULL;
        }
        context->leaves = leaves;
        context->leaf_capacity = capacity;
    }
    context->leaves[context->leaf_count] = (leaf_gradient){leaf, NULL};
    return &context->leaves[context->leaf_count++].gradient;
}

static dppo_tensor *sum(dppo_context *context, dppo_tensor *a, dppo_tensor *b) {
    if (context->grad_enabled) return dppo_add(context, a, b);
    dppo_tensor *over = dppo_spare(context, b) ? b : dppo_spare(context, a);
    dppo_tensor *out = dppo_map_over(context, "add", DPPO_MAP_ADD, (dppo_tensor *[]){a, b}, 0.0, 0.0, over);
    if (out) out->spare = true;
    return out;
}

/* Adds one contribution to what a tensor has gathered so far: old + new, in the order of arrival. */
static void accumulate(dppo_context *context, const char *name, dppo_tensor *input, dppo_tensor *gradient) {
    if (!gradient || !input->requires_grad) return;
    char a[128], b[128];
    if (!dppo_same_shape(input, gradient)) {
        (void)dppo_context_fail(context, DPPO_INVALID, "%s: a gradient of shape %s for a tensor of shape %s",
                                name, dppo_shape_text(gradient->ndim, gradient->shape, a, sizeof a),
                                dppo_shape_text(input->ndim, input->shape, b, sizeof b));
        return;
    }
    dppo_tensor **slot = input->node ? &input->node->gradient : leaf_slot(context, input);
    if (!slot) return;
    *slot = *slot ? sum(context, *slot, gradient) : gradient;
}

static void run_node(dppo_context *context, dppo_node *node) {
    dppo_tensor *gradients[DPPO_MAX_INPUTS] = {0};
    node->backward(context, node, node->gradient, gradients);
    for (int i = 0; i < node->input_count; i++) /* passed on as it is, perhaps to several */
        if (gradients[i] == node->gradient) node->gradient->spare = false;
    for (int i = 0; i < node->input_count && context->status == DPPO_OK; i++)
        if (dppo_needs_grad(node, i)) accumulate(context, node->name, node->inputs[i], gradients[i]);
}

static const unsigned EVERY_INPUT = ~0U;

/* The oldest node that can lie between the tape's end and `inputs`: that of an input, or for a leaf the first
 * of all. */
static dppo_node *oldest_of(const dppo_context *context, int input_count, dppo_tensor *const *inputs) {
    dppo_node *oldest = NULL;
    for (int i = 0; i < input_count; i++) {
        dppo_node *node = inputs[i]->node ? inputs[i]->node : context->first;
        if (!oldest || (node && node->sequence < oldest->sequence)) oldest = node;
    }
    return oldest;
}

static bool is_one_of(const dppo_tensor *tensor, int count, dppo_tensor *const *tensors) {
    for (int i = 0; i < count; i++)
        if (tensor == tensors[i]) return true;
    return false;
}

/* Leaves open only the ways that lead down to `inputs`: a node's input is one of them, or the result of a
 * node that has such an input. Nodes are visited from the oldest on, so theirs are known. */
static void skip_side_ways(dppo_node *oldest, int input_count, dppo_tensor *const *inputs) {
    for (dppo_node *node = oldest; node; node = node->next) {
        node->skipped = EVERY_INPUT;
        for (int i = 0; i < node->input_count; i++) {
            const dppo_tensor *from = node->inputs[i];
            if (!from) continue;
            bool inner =
                from->node && from->node->sequence >= oldest->sequence && from->node->skipped != EVERY_INPUT;
            if (inner || is_one_of(from, input_count, inputs)) node->skipped &= ~(1U << i);
        }
    }
}

/* Runs the tape from `last` back to `oldest` (NULL: all of it); keeps the gradients of `kept` results (their
 * nodes' gradient is copied to `found`). */
static void run_tape(dppo_context *context, dppo_node *last, const dppo_node *oldest, int kept_count,
                     dppo_tensor *const *kept, dppo_tensor **found) {
    const dppo_node *end = oldest ? oldest->previous : NULL;
    for (dppo_node *node = last; node != end && context->status == DPPO_OK; node = node->previous) {
        if (!node->gradient) continue;
        for (int i = 0; i < kept_count; i++)
            if (kept[i]->node == node) found[i] = node->gradient, found[i]->spare = false;
        if (node->skipped != EVERY_INPUT) run_node(context, node);
        node->gradient = NULL;
    }
    for (dppo_node *node = last; node != end; node = node->previous) {
        node->gradient = NULL; /* after a failure half-way */
        node->skipped = 0;
    }
}

static void seed_outputs(dppo_context *context, int count, dppo_tensor *const *outputs,
                         dppo_tensor *const *cotangents) {
    context->leaf_count = 0;
    for (int i = 0; i < count; i++) {
        dppo_tensor *cotangent = cotangents ? cotangents[i] : NULL;
        if (!outputs[i]) {
            (void)dppo_context_fail(context, DPPO_INVALID, "backward: output %d is missing", i);
            return;
        }
        if (!cotangent && dppo_numel(outputs[i]) == 1) cotangent = dppo_ones_like(context, outputs[i]);
        if (!cotangent)
            (void)dppo_context_fail(context, DPPO_INVALID,
                                    "backward: output %d has %lld elements and no cotangent", i,
                                    (long long)dppo_numel(outputs[i]));
        if (cotangent) cotangent->spare = false; /* the caller's */
        accumulate(context, "backward", outputs[i], cotangent);
    }
}

static dppo_status add_to_grad(dppo_tensor *leaf, const dppo_tensor *gradient) {
    if (!leaf->grad) {
        leaf->grad = dppo_tensor_heap(leaf->dtype, leaf->ndim, leaf->shape);
        if (!leaf->grad) return dppo_fail(DPPO_NO_MEMORY, "backward: no memory for a gradient");
        dppo_tensor_pack(gradient, leaf->grad->data);
        return DPPO_OK;
    }
    int64_t count = dppo_numel(leaf);
    float *grad = dppo_f32(leaf->grad);
    if (dppo_is_contiguous(gradient)) {
        const float *more = dppo_f32(gradient);
        for (int64_t i = 0; i < count; i++)
            grad[i] += more[i];
        return DPPO_OK;
    }
    for (int64_t i = 0; i < count; i++)
        grad[i] += (float)dppo_tensor_at(gradient, i);
    return DPPO_OK;
}

dppo_status dppo_backward(dppo_context *context, int count, dppo_tensor *const *outputs,
                          dppo_tensor *const *cotangents) {
    bool before = dppo_set_grad_enabled(context, false);
    seed_outputs(context, count, outputs, cotangents);
    run_tape(context, context->last, NULL, 0, NULL, NULL);
    dppo_set_grad_enabled(context, before);
    if (context->rows && context->leaf_count > 0) dppo_rows_refuse(context->rows);
    for (size_t i = 0; i < context->leaf_count && context->status == DPPO_OK; i++)
        if (context->leaves[i].gradient)
            context->status = add_to_grad(context->leaves[i].leaf, context->leaves[i].gradient);
    context->leaf_count = 0;
    return context->status;
}

dppo_status dppo_grad(dppo_context *context, int count, dppo_tensor *const *outputs,
                      dppo_tensor *const *cotangents, int input_count, dppo_tensor *const *inputs,
                      bool create_graph, dppo_tensor **gradients) {
    bool before = dppo_set_grad_enabled(context, create_graph);
    dppo_node *last = context->last, *oldest = oldest_of(context, input_count, inputs);
    for (int i = 0; i < input_count; i++)
        gradients[i] = NULL;
    if (oldest) skip_side_ways(oldest, input_count, inputs);
    seed_outputs(context, count, outputs, cotangents);
    run_tape(context, last, oldest, input_count, inputs, gradients);
    for (int i = 0; i < count; i++) /* of one that lies before all inputs */
        if (outputs[i] && outputs[i]->node) outputs[i]->node->gradient = NULL;
    for (int i = 0; i < input_count; i++)
        for (size_t l = 0; l < context->leaf_count && !inputs[i]->node; l++)
            if (context->leaves[l].leaf == inputs[i]) gradients[i] = context->leaves[l].gradient;
    context->leaf_count = 0;
    dppo_set_grad_enabled(context, before);
    return context->status;
}
