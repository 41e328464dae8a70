/* N networks of one structure at once; declared in sequential.h. */
#include "autograd/map.h"
#include "nn/sequential.h"

#include "base/pool.h"

#include <stdio.h>
#include <string.h>

enum { MAX_MEMBERS = 64 };

/* -- stacking
 * ----------------------------------------------------------------------------------------------------- */

static dppo_status stack_entry(size_t count, const dppo_named *states, size_t entry, dppo_named *stacked) {
    const char *name = states[0].entries[entry].name;
    const dppo_tensor *first = states[0].entries[entry].tensor;
    int64_t shape[DPPO_MAX_DIMS] = {(int64_t)count};
    if (first->ndim + 1 > DPPO_MAX_DIMS)
        return dppo_fail(DPPO_INVALID, "stack_module_state: %s has too many dims", name);
    memcpy(shape + 1, first->shape, (size_t)first->ndim * sizeof *shape);
    dppo_tensor *all = dppo_named_add(stacked, name, first->dtype, first->ndim + 1, shape);
    if (!all) return dppo_fail(DPPO_NO_MEMORY, "stack_module_state: %s: out of memory, or given twice", name);
    size_t bytes = (size_t)dppo_numel(first) * dppo_dtype_size(first->dtype);
    for (size_t n = 0; n < count; n++) {
        const dppo_tensor *member = dppo_named_get(&states[n], name);
        if (!member || member->dtype != first->dtype || !dppo_same_shape(member, first))
            return dppo_fail(DPPO_INVALID, "stack_module_state: member %zu has no %s like the first's", n,
                             name);
        memcpy((char *)all->data + n * bytes, member->data, bytes);
    }
    return DPPO_OK;
}

dppo_status dppo_stack_module_state(size_t count, const dppo_module *const *members, dppo_named *stacked) {
    dppo_named states[MAX_MEMBERS] = {{0}};
    dppo_status status = DPPO_OK;
    if (count < 1 || count > MAX_MEMBERS)
        return dppo_fail(DPPO_INVALID, "stack_module_state: %zu members, not 1 to %d", count, MAX_MEMBERS);
    for (size_t n = 0; n < count && status == DPPO_OK; n++) {
        status = dppo_module_state_dict(members[n], "", &states[n]);
        if (status == DPPO_OK && states[n].count != states[0].count)
            status = dppo_fail(DPPO_INVALID, "stack_module_state: member %zu has another structure", n);
    }
    for (size_t i = 0; i < states[0].count && status == DPPO_OK; i++)
        status = stack_entry(count, states, i, stacked);
    for (size_t n = 0; n < count; n++)
        dppo_named_free(&states[n]);
    return status;
}

/* The struct stays where it is: layers point to it. */
static dppo_status stack_tensor(dppo_tensor *tensor, int64_t members) {
    int64_t shape[DPPO_MAX_DIMS] = {members};
    if (tensor->ndim + 1 > DPPO_MAX_DIMS) return dppo_fail(DPPO_INVALID, "stack: a tensor has too many dims");
    memcpy(shape + 1, tensor->shape, (size_t)tensor->ndim * sizeof *shape);
    dppo_tensor *all = dppo_tensor_heap(tensor->dtype, tensor->ndim + 1, shape);
    if (!all) return dppo_fail(DPPO_NO_MEMORY, "no memory for %lld members", (long long)members);
    size_t bytes = (size_t)dppo_numel(tensor) * dppo_dtype_size(tensor->dtype);
    for (int64_t n = 0; n < members; n++)
        memcpy((char *)all->data + (size_t)n * bytes, tensor->data, bytes);
    dppo_tensor old = *tensor;
    *tensor = *all;
    tensor->requires_grad = old.requires_grad;
    *all = old; /* its data and gradient go */
    dppo_tensor_free(all);
    return DPPO_OK;
}

dppo_status dppo_module_stack(dppo_module *module, int64_t members) {
    if (members < 1 || members > MAX_MEMBERS)
        return dppo_fail(DPPO_INVALID, "%lld members, not 1 to %d", (long long)members, MAX_MEMBERS);
    for (size_t i = 0; i < module->count; i++) {
        const dppo_module_entry *entry = &module->entries[i];
        if (entry->parameter) DPPO_TRY(stack_tensor(entry->parameter, members));
        if (entry->child && !entry->alias) DPPO_TRY(dppo_module_stack(entry->child, members));
    }
    return DPPO_OK;
}

/* -- N linear layers
 * ---------------------------------------------------------------------------------------------- */

typedef struct members {
    int64_t B, in, out;
    const float *x, *weight, *bias, *dy;
    float *y, *dx, *dweight;
} members;

static void forward_members(void *context, int64_t begin, int64_t end) {
    const members *m = context;
    for (int64_t n = begin; n < end; n++) {
        float *y = m->y + n * m->B * m->out;
        for (int64_t b = 0; m->bias && b < m->B; b++)
            memcpy(y + b * m->out, m->bias + n * m->out, (size_t)m->out * sizeof *y);
        dppo_kernel_gemm(false, true, m->B, m->out, m->in, m->x + n * m->B * m->in, m->in,
                         m->weight + n * m->out * m->in, m->in, m->bias ? 1.0f : 0.0f, y, m->out);
    }
}

/* dx = dy W, dW = dy' x */
static void backward_members(void *context, int64_t begin, int64_t end) {
    const members *m = context;
    for (int64_t n = begin; n < end; n++) {
        const float *dy = m->dy + n * m->B * m->out;
        if (m->dx)
            dppo_kernel_gemm(false, false, m->B, m->in, m->out, dy, m->out, m->weight + n * m->out * m->in,
                             m->in, 0.0f, m->dx + n * m->B * m->in, m->in);
        if (m->dweight)
            dppo_kernel_gemm(true, false, m->out, m->in, m->B, dy, m->out, m->x + n * m->B * m->in, m->in,
                             0.0f, m->dweight + n * m->out * m->in, m->in);
    }
}

/* Each member's bias adds its rows up as a single linear layer's does. */
static dppo_tensor *bias_gradients(dppo_cx *cx, dppo_tensor *g) {
    dppo_tensor *sums[MAX_MEMBERS];
    for (int64_t n = 0; n < g->shape[0]; n++)
        sums[n] = dppo_sum(cx, dppo_select(cx, g, 0, n), 1, (int[]){0}, false);
    return dppo_stack(cx, (int)g->shape[0], sums, 0);
}

static void ensemble_linear_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                     dppo_tensor **gradients) {
    const char *name = "ensemble_linear_backward";
    dppo_tensor *x = node->inputs[0], *weight = node->inputs[1];
    if (dppo_needs_grad(node, 2)) gradients[2] = bias_gradients(cx, g);
    if (dppo_grad_enabled(cx)) { /* the same products as operations that can be differentiated again */
        if (dppo_needs_grad(node, 0)) gradients[0] = dppo_matmul(cx, g, weight);
        if (dppo_needs_grad(node, 1)) gradients[1] = dppo_matmul(cx, dppo_transpose(cx, g, 1, 2), x);
        return;
    }
    members m = {.B = x->shape[1], .in = x->shape[2], .out = weight->shape[1]};
    m.x = dppo_packed(cx, name, x);
    m.weight = dppo_packed(cx, name, weight);
    m.dy = dppo_packed(cx, name, g);
    if (!m.x || !m.weight || !m.dy) return;
    for (int i = 0; i < 2; i++) {
        if (!dppo_needs_grad(node, i)) continue;
        gradients[i] = dppo_result(cx, DPPO_F32, 3, node->inputs[i]->shape);
        if (!gradients[i]) return;
        *(i == 0 ? &m.dx : &m.dweight) = dppo_f32(gradients[i]);
    }
    dppo_parallel_for(x->shape[0], 1, backward_members, &m);
}

dppo_tensor *dppo_ensemble_linear(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias) {
    const char *name = "ensemble_linear";
    if (!x || !weight) return NULL;
    bool fit = x->ndim == 3 && weight->ndim == 3 && x->shape[0] == weight->shape[0] &&
               x->shape[0] <= MAX_MEMBERS && x->shape[2] == weight->shape[2];
    if (bias)
        fit = fit && bias->ndim == 2 && bias->shape[0] == x->shape[0] && bias->shape[1] == weight->shape[1];
    if (!fit)
        return dppo_context_fail(cx, DPPO_INVALID,
                                 "%s: x (N, B, in), weight (N, out, in) and bias (N, out), N "
                                 "at most %d, are expected",
                                 name, MAX_MEMBERS);
    members m = {.B = x->shape[1], .in = x->shape[2], .out = weight->shape[1]};
    m.x = dppo_packed(cx, name, x);
    m.weight = dppo_packed(cx, name, weight);
    m.bias = bias ? dppo_packed(cx, name, bias) : NULL;
    dppo_tensor *y = dppo_result(cx, DPPO_F32, 3, (int64_t[]){x->shape[0], m.B, m.out});
    if (!m.x || !m.weight || (bias && !m.bias) || !y) return NULL;
    m.y = dppo_f32(y);
    dppo_parallel_for(x->shape[0], 1, forward_members, &m);
    (void)dppo_record(cx, name, y, 3, (dppo_tensor *[]){x, weight, bias}, ensemble_linear_backward);
    return y;
}

/* -- the network
 * ---------------------------------------------------------------------------------------------------- */

/* The stacked parameter "<layer>.<name>". */
static dppo_tensor *stacked(dppo_cx *cx, size_t count, const char *const *names, dppo_tensor *const *tensors,
                            size_t layer, const char *name) {
    char path[64];
    (void)snprintf(path, sizeof path, "%zu.%s", layer, name);
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], path) == 0) return tensors[i];
    return dppo_context_fail(cx, DPPO_INVALID, "vmap: the stacked parameters lack %s", path);
}

/* Rows are normalised with weights of their member's own. */
dppo_tensor *dppo_ensemble_norm(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias,
                                double eps) {
    dppo_tensor *each[MAX_MEMBERS];
    if (!x || !weight || !bias) return NULL;
    for (int64_t n = 0; n < x->shape[0]; n++)
        each[n] = dppo_layer_norm(cx, dppo_select(cx, x, 0, n), dppo_select(cx, weight, 0, n),
                                  dppo_select(cx, bias, 0, n), eps);
    return dppo_stack(cx, (int)x->shape[0], each, 0);
}

dppo_tensor *dppo_ensemble_forward(dppo_cx *cx, const dppo_sequential *self, size_t count,
                                   const char *const *names, dppo_tensor *const *tensors, dppo_tensor *x,
                                   bool per_member) {
    if (!x || count == 0) return NULL;
    int64_t N = tensors[0]->ndim > 0 ? tensors[0]->shape[0] : 0;
    if (x->ndim != (per_member ? 3 : 2) || N < 1 || N > MAX_MEMBERS)
        return dppo_context_fail(cx, DPPO_INVALID, "vmap: input of %d dims for %lld members", x->ndim,
                                 (long long)N);
    if (!per_member) x = dppo_expand(cx, x, 3, (int64_t[]){N, x->shape[0], x->shape[1]});
    for (size_t i = 0; i < self->count; i++) {
        bool linear = self->layers[i].kind == DPPO_LAYER_LINEAR,
             norm = self->layers[i].kind == DPPO_LAYER_NORM;
        if (!linear && !norm) {
            x = dppo_sequential_layer(cx, self, i, x);
            continue;
        }
        const dppo_module *layer = self->layers[i].layer;
        dppo_tensor *weight = stacked(cx, count, names, tensors, i, "weight"), *bias = NULL;
        if (norm || ((const dppo_linear_layer *)layer)->bias)
            bias = stacked(cx, count, names, tensors, i, "bias");
        x = norm ? dppo_ensemble_norm(cx, x, weight, bias, ((const dppo_layer_norm_layer *)layer)->eps)
                 : dppo_ensemble_linear(cx, x, weight, bias);
    }
    return x;
}
