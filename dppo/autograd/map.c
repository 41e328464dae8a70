#include "autograd/map.h"

#include "autograd/dims.h"
#include "autograd/integers.h"
#include "base/pool.h"

#include <string.h>

enum { OPERANDS = 3, ROW_GRAIN = 1 << 13, ROWS_BLOCK = 256 };

/* Operands walked together: dims that lie evenly in memory for all of them are merged. */
typedef struct walk {
    int arity, ndim;
    int64_t shape[DPPO_MAX_DIMS], stride[OPERANDS][DPPO_MAX_DIMS];
    const float *data[OPERANDS];
    float *out;
    dppo_map_op op;
    float params[2];
} walk;

const float *dppo_packed(dppo_cx *cx, const char *function, const dppo_tensor *tensor) {
    if (!tensor) return NULL;
    if (tensor->dtype != DPPO_F32) {
        (void)dppo_context_fail(cx, DPPO_INVALID, "%s: a float32 tensor expected, got %s", function,
                                dppo_dtype_name(tensor->dtype));
        return NULL;
    }
    if (dppo_is_contiguous(tensor)) return dppo_f32(tensor);
    dppo_tensor *copy = dppo_result(cx, DPPO_F32, tensor->ndim, tensor->shape);
    if (!copy) return NULL;
    dppo_tensor_pack(tensor, copy->data);
    return dppo_f32(copy);
}

static bool merges(const walk *w, int d) {
    for (int k = 0; k < w->arity; k++)
        if (w->stride[k][d] != w->stride[k][d + 1] * w->shape[d + 1]) return false;
    return true;
}

static void drop_dim(walk *w, int d) {
    for (int e = d; e + 1 < w->ndim; e++) {
        w->shape[e] = w->shape[e + 1];
        for (int k = 0; k < w->arity; k++)
            w->stride[k][e] = w->stride[k][e + 1];
    }
    w->ndim--;
}

static void merge_dims(walk *w) {
    for (int d = w->ndim - 1; d >= 0; d--)
        if (w->shape[d] == 1) drop_dim(w, d);
    for (int d = w->ndim - 2; d >= 0; d--)
        if (merges(w, d)) {
            w->shape[d + 1] *= w->shape[d];
            drop_dim(w, d);
        }
}

/* Where the operands' elements of that row begin. */
static void find_row(const walk *w, int64_t row, int64_t at[OPERANDS]) {
    for (int k = 0; k < w->arity; k++)
        at[k] = 0;
    for (int d = w->ndim - 2; d >= 0; d--) {
        for (int k = 0; k < w->arity; k++)
            at[k] += row % w->shape[d] * w->stride[k][d];
        row /= w->shape[d];
    }
}

/* Short rows of a function that treats all of a row alike: several are put together and are one. */
static bool joins_rows(const walk *w) {
    bool alike =
        w->op == DPPO_MAP_ADD || w->op == DPPO_MAP_SUB || w->op == DPPO_MAP_MUL || w->op == DPPO_MAP_DIV;
    return alike && w->shape[w->ndim - 1] <= ROWS_BLOCK / 4;
}

static void walk_joined(const walk *w, int64_t begin, int64_t end) {
    float joined[OPERANDS][ROWS_BLOCK];
    const float *const in[OPERANDS] = {joined[0], joined[1], joined[2]};
    const int64_t dense[OPERANDS] = {1, 1, 1};
    int64_t n = w->shape[w->ndim - 1], at[OPERANDS];
    for (int64_t row = begin; row < end; row += ROWS_BLOCK / n) {
        int64_t count = end - row < ROWS_BLOCK / n ? end - row : ROWS_BLOCK / n;
        for (int64_t r = 0; r < count; r++) {
            find_row(w, row + r, at);
            for (int k = 0; k < w->arity; k++)
                for (int64_t i = 0; i < n; i++)
                    joined[k][r * n + i] = w->data[k][at[k] + i * w->stride[k][w->ndim - 1]];
        }
        dppo_kernel_map(w->op, count * n, w->out + row * n, in, dense, w->params);
    }
}

static void walk_rows(void *context, int64_t begin, int64_t end) {
    const walk *w = context;
    int64_t n = w->shape[w->ndim - 1], at[OPERANDS], inner[OPERANDS] = {0};
    if (end - begin > 1 && joins_rows(w)) {
        walk_joined(w, begin, end);
        return;
    }
    for (int64_t row = begin; row < end; row++) {
        const float *in[OPERANDS] = {NULL};
        find_row(w, row, at);
        for (int k = 0; k < w->arity; k++) {
            in[k] = w->data[k] + at[k];
            inner[k] = w->stride[k][w->ndim - 1];
        }
        dppo_kernel_map(w->op, n, w->out + row * n, in, inner, w->params);
    }
}

static void run_walk(walk *w) {
    merge_dims(w);
    if (w->ndim == 0) { /* one element */
        w->ndim = 1;
        w->shape[0] = 1;
        for (int k = 0; k < w->arity; k++)
            w->stride[k][0] = 0;
    }
    int64_t rows = 1, n = w->shape[w->ndim - 1];
    for (int d = 0; d + 1 < w->ndim; d++)
        rows *= w->shape[d];
    if (rows == 0 || n == 0) return;
    dppo_parallel_for(rows, 1 + ROW_GRAIN / n, walk_rows, w);
}

/* The operand as it is where its last dim is dense or expanded, else packed: loops know strides 0 and 1. */
static bool add_operand(dppo_cx *cx, const char *function, walk *w, int k, const dppo_tensor *input) {
    int64_t stride[DPPO_MAX_DIMS], last = 0;
    for (int d = input->ndim - 1; d >= 0 && last == 0; d--)
        if (input->shape[d] != 1) last = input->stride[d] == 0 ? 1 : input->stride[d];
    memcpy(stride, input->stride, sizeof stride);
    w->data[k] = dppo_f32(input);
    if (input->dtype != DPPO_F32 || (last != 0 && last != 1)) {
        w->data[k] = dppo_packed(cx, function, input);
        int64_t step = 1;
        for (int d = input->ndim - 1; d >= 0; d--) {
            stride[d] = step;
            step *= input->shape[d];
        }
    }
    if (!w->data[k]) return false;
    int lead = w->ndim - input->ndim;
    for (int d = 0; d < w->ndim; d++)
        w->stride[k][d] = d < lead || input->shape[d - lead] == 1 ? 0 : stride[d - lead];
    return true;
}

dppo_tensor *dppo_spare(const dppo_cx *cx, dppo_tensor *gradient) {
    return gradient && gradient->spare && !dppo_grad_enabled(cx) ? gradient : NULL;
}

/* A new tensor, over the memory of an operand if that is as large and lies plain. */
static dppo_tensor *result_over(dppo_cx *cx, const walk *w, dppo_tensor *over) {
    dppo_tensor whole = {.ndim = w->ndim};
    memcpy(whole.shape, w->shape, sizeof whole.shape);
    if (!over || over->dtype != DPPO_F32 || !dppo_is_contiguous(over) || !dppo_same_shape(over, &whole))
        return dppo_result(cx, DPPO_F32, w->ndim, w->shape);
    dppo_tensor *out = dppo_view_of(cx, over, over->ndim, over->shape, over->stride, 0);
    if (out) out->spare = over->spare;
    return out;
}

dppo_tensor *dppo_map(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs, double p,
                      double q) {
    return dppo_map_over(cx, function, op, inputs, p, q, NULL);
}

dppo_tensor *dppo_map_over(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                           double p, double q, dppo_tensor *over) {
    walk w = {.arity = dppo_kernel_map_arity(op), .op = op, .params = {(float)p, (float)q}};
    dppo_tensor all = {.ndim = 0}, *operands[OPERANDS];
    if (dppo_stays_integer(op, inputs, p, q)) return dppo_integer_map(cx, function, op, inputs, p, q);
    for (int k = 0; k < w.arity; k++) {
        operands[k] = dppo_float_operand(cx, op, inputs[k]);
        if (!operands[k]) return NULL;
        if (!dppo_broadcast_shape(cx, function, &all, inputs[k], &w.ndim, w.shape)) return NULL;
        all.ndim = w.ndim;
        memcpy(all.shape, w.shape, sizeof all.shape);
    }
    dppo_tensor *out = result_over(cx, &w, over);
    if (!out) return NULL;
    w.out = dppo_f32(out);
    for (int k = 0; k < w.arity; k++)
        if (!add_operand(cx, function, &w, k, operands[k])) return NULL;
    run_walk(&w);
    return out;
}

dppo_tensor *dppo_map_recorded(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                               double p, double q, dppo_backward_function *backward) {
    dppo_tensor *out = dppo_map(cx, function, op, inputs, p, q);
    if (!out) return NULL;
    dppo_node *node = dppo_record(cx, function, out, dppo_kernel_map_arity(op), inputs, backward);
    if (!node) return out;
    dppo_map_params *params = dppo_arena_alloc(dppo_context_arena(cx), sizeof *params);
    if (!params) return dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", function);
    *params = (dppo_map_params){p, q};
    node->saved = params;
    return out;
}

typedef struct gate {
    dppo_map_op op;
    double p, q;
} gate;

static void gate_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gradient,
                          dppo_tensor **gradients) {
    const gate *saved = node->saved;
    dppo_tensor *inputs[OPERANDS] = {gradient, node->inputs[1], node->inputs[2]};
    if (dppo_needs_grad(node, 0))
        gradients[0] = dppo_map_gate(cx, node->name, saved->op, inputs, saved->p, saved->q);
}

dppo_tensor *dppo_map_gate(dppo_cx *cx, const char *function, dppo_map_op op, dppo_tensor *const *inputs,
                           double p, double q) {
    dppo_tensor *out = dppo_map(cx, function, op, inputs, p, q);
    if (!out) return NULL;
    dppo_node *node = dppo_record(cx, function, out, dppo_kernel_map_arity(op), inputs, gate_backward);
    if (!node) return out;
    gate *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", function);
    *saved = (gate){op, p, q};
    node->saved = saved;
    return out;
}

void dppo_no_second_derivative(dppo_cx *cx, const dppo_node *node, dppo_tensor *gradient,
                               dppo_tensor **gradients) {
    (void)gradient, (void)gradients;
    (void)dppo_context_fail(cx, DPPO_INVALID, "%s: its gradient cannot be differentiated again", node->name);
}

bool dppo_gradient_buffers(dppo_cx *cx, const dppo_node *node, int count, dppo_tensor **gradients,
                           float **to) {
    for (int i = 0; i < count; i++) {
        if (!dppo_needs_grad(node, i)) continue;
        gradients[i] = dppo_result(cx, DPPO_F32, node->inputs[i]->ndim, node->inputs[i]->shape);
        if (!gradients[i]) return false;
        to[i] = dppo_f32(gradients[i]);
    }
    return true;
}
