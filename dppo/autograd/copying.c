/* Copying, joining and indexed access: the functions of "indexing, slicing, joining" whose results are new
 * memory. */
#include "autograd/dims.h"
#include "autograd/integers.h"
#include "tensor/kernel.h"

#include <string.h>

/* -- copies
 * ---------------------------------------------------------------------------------------------------- */

static void pass_gradient(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                          dppo_tensor **gradients) {
    (void)cx;
    (void)node;
    gradients[0] = gradient;
}

dppo_tensor *dppo_clone(dppo_cx *cx, dppo_tensor *input) {
    dppo_tensor *out = input ? dppo_result(cx, input->dtype, input->ndim, input->shape) : NULL;
    if (!out) return NULL;
    dppo_tensor_pack(input, out->data);
    (void)dppo_record(cx, "clone", out, 1, &input, pass_gradient);
    return out;
}

dppo_tensor *dppo_contiguous(dppo_cx *cx, dppo_tensor *input) {
    return !input || dppo_is_contiguous(input) ? input : dppo_clone(cx, input);
}

dppo_tensor *dppo_to_dtype(dppo_cx *cx, dppo_tensor *input, dppo_dtype dtype) {
    if (!input || input->dtype == dtype) return input;
    dppo_tensor *out = dppo_result(cx, dtype, input->ndim, input->shape);
    if (!out) return NULL;
    dppo_status status = dppo_tensor_copy(out, input);
    return status == DPPO_OK ? out : dppo_context_fail(cx, status, "%s", dppo_message());
}

static dppo_tensor *repeat_dims(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *repeats);

/* New dims in front one by one, from the last of them: their gradients are summed in that order, the first
 * first. */
dppo_tensor *dppo_repeat(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *repeats) {
    if (!input) return NULL;
    int lead = ndim - input->ndim;
    if (lead < 0 || ndim > DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "repeat: %d repeats for a tensor with %d dims", ndim,
                                 input->ndim);
    dppo_tensor *out = repeat_dims(cx, input, input->ndim, repeats + lead);
    for (int d = lead - 1; d >= 0 && out; d--) {
        int64_t shape[DPPO_MAX_DIMS] = {repeats[d]};
        memcpy(shape + 1, out->shape, (size_t)out->ndim * sizeof *shape);
        if (repeats[d] < 0)
            return dppo_context_fail(cx, DPPO_INVALID, "repeat: %lld times", (long long)repeats[d]);
        out = dppo_clone(cx, dppo_expand(cx, out, out->ndim + 1, shape));
    }
    return out;
}

/* As many repeats as dims. */
static dppo_tensor *repeat_dims(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *repeats) {
    int64_t apart[DPPO_MAX_DIMS], wide[DPPO_MAX_DIMS], shape[DPPO_MAX_DIMS];
    int lead = ndim - input->ndim;
    if (lead < 0 || 2 * ndim > DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "repeat: %d repeats for a tensor with %d dims", ndim,
                                 input->ndim);
    for (int d = 0; d < ndim; d++) {
        int64_t size = d < lead ? 1 : input->shape[d - lead];
        if (repeats[d] < 0)
            return dppo_context_fail(cx, DPPO_INVALID, "repeat: %lld times", (long long)repeats[d]);
        apart[2 * d] = 1;
        wide[2 * d] = repeats[d];
        apart[2 * d + 1] = wide[2 * d + 1] = size;
        shape[d] = repeats[d] * size;
    }
    dppo_tensor *spread = dppo_expand(cx, dppo_reshape(cx, input, 2 * ndim, apart), 2 * ndim, wide);
    return dppo_reshape(cx, dppo_clone(cx, spread), ndim, shape);
}

dppo_tensor *dppo_repeat_interleave(dppo_cx *cx, dppo_tensor *input, int64_t repeats, int dim) {
    int64_t wide[DPPO_MAX_DIMS];
    if (!input) return NULL;
    if (dim == DPPO_ALL) {
        input = dppo_flatten(cx, input, 0, -1);
        dim = 0;
    }
    if (!input || !dppo_wrap_dim(cx, "repeat_interleave", input->ndim, &dim)) return NULL;
    if (repeats < 0 || input->ndim == DPPO_MAX_DIMS)
        return dppo_context_fail(cx, DPPO_INVALID, "repeat_interleave: %lld repeats", (long long)repeats);
    for (int d = 0; d < input->ndim + 1; d++)
        wide[d] = d == dim + 1 ? repeats : -1;
    dppo_tensor *spread = dppo_expand(cx, dppo_unsqueeze(cx, input, dim + 1), input->ndim + 1, wide);
    return dppo_flatten(cx, dppo_clone(cx, spread), dim, dim + 1);
}

/* As index_select of every position, repeated. */
dppo_tensor *dppo_repeat_interleave_each(dppo_cx *cx, dppo_tensor *input, dppo_tensor *repeats, int dim) {
    const char *name = "repeat_interleave";
    if (!input || !repeats) return NULL;
    if (dim == DPPO_ALL) {
        input = dppo_flatten(cx, input, 0, -1);
        dim = 0;
    }
    if (!input || !dppo_wrap_dim(cx, name, input->ndim, &dim)) return NULL;
    repeats = dppo_contiguous(cx, repeats);
    int64_t n = input->shape[dim], given = repeats ? dppo_numel(repeats) : 0, total = 0;
    if (!repeats || repeats->dtype != DPPO_I64 || repeats->ndim > 1 || (given != n && given != 1))
        return dppo_context_fail(cx, DPPO_INVALID, "%s: repeats are no int64 of %lld", name, (long long)n);
    const int64_t *each = dppo_i64(repeats);
    for (int64_t i = 0; i < n; i++) {
        int64_t times = each[given == 1 ? 0 : i];
        if (times < 0) return dppo_context_fail(cx, DPPO_INVALID, "%s: %lld repeats", name, (long long)times);
        total += times;
    }
    dppo_tensor *index = dppo_result(cx, DPPO_I64, 1, &total);
    for (int64_t i = 0, at = 0; index && i < n; i++)
        for (int64_t k = 0; k < each[given == 1 ? 0 : i]; k++)
            dppo_i64(index)[at++] = i;
    return dppo_index_select(cx, input, dim, index);
}

/* -- joining
 * ------------------------------------------------------------------------------------------------------ */

typedef struct saved_cat {
    int dim, count;
    dppo_tensor **tensors;
} saved_cat;

/* A contiguous tensor seen as (outer, size, inner) around dim. */
static void blocks(const dppo_tensor *tensor, int dim, int64_t *outer, int64_t *inner) {
    *outer = *inner = 1;
    for (int d = 0; d < tensor->ndim; d++) {
        if (d < dim) *outer *= tensor->shape[d];
        if (d > dim) *inner *= tensor->shape[d];
    }
}

static void cat_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                         dppo_tensor **gradients) {
    const saved_cat *saved = node->saved;
    int64_t start = 0;
    for (int i = 0; i < saved->count; i++) {
        int64_t length = saved->tensors[i]->shape[saved->dim];
        if (dppo_needs_grad(node, i)) gradients[i] = dppo_narrow(cx, gradient, saved->dim, start, length);
        start += length;
    }
}

static bool check_cat(dppo_cx *cx, int count, dppo_tensor *const *tensors, int *dim, int64_t *shape) {
    char a[128], b[128];
    for (int i = 0; i < count; i++)
        if (!tensors[i]) return false;
    if (count < 1) {
        (void)dppo_context_fail(cx, DPPO_INVALID, "cat: no tensors");
        return false;
    }
    if (!dppo_wrap_dim(cx, "cat", tensors[0]->ndim, dim)) return false;
    memcpy(shape, tensors[0]->shape, sizeof tensors[0]->shape);
    shape[*dim] = 0;
    for (int i = 0; i < count; i++) {
        bool fits = tensors[i]->ndim == tensors[0]->ndim && tensors[i]->ndim > 0 &&
                    tensors[i]->dtype == tensors[0]->dtype;
        for (int d = 0; fits && d < tensors[i]->ndim; d++)
            fits = d == *dim || tensors[i]->shape[d] == shape[d];
        if (!fits) {
            (void)dppo_context_fail(cx, DPPO_INVALID, "cat: %s %s and %s %s along dim %d",
                                    dppo_dtype_name(tensors[0]->dtype),
                                    dppo_shape_text(tensors[0]->ndim, tensors[0]->shape, a, sizeof a),
                                    dppo_dtype_name(tensors[i]->dtype),
                                    dppo_shape_text(tensors[i]->ndim, tensors[i]->shape, b, sizeof b), *dim);
            return false;
        }
        shape[*dim] += tensors[i]->shape[*dim];
    }
    return true;
}

static void copy_blocks(dppo_tensor *out, int64_t at, const dppo_tensor *piece, const void *packed, int dim) {
    int64_t outer, inner;
    blocks(out, dim, &outer, &inner);
    size_t size = dppo_dtype_size(out->dtype), run = (size_t)(piece->shape[dim] * inner) * size;
    dppo_kernel_copy_runs(outer, run, (unsigned char *)out->data + (size_t)(at * inner) * size,
                          (size_t)(out->shape[dim] * inner) * size, packed, run, NULL);
}

static dppo_tensor *cat_few(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim,
                            const int64_t *shape) {
    dppo_tensor *out = dppo_result(cx, tensors[0]->dtype, tensors[0]->ndim, shape);
    int64_t at = 0;
    for (int i = 0; out && i < count; i++) {
        bool before = dppo_set_grad_enabled(cx, false);
        dppo_tensor *packed = dppo_contiguous(cx, tensors[i]);
        dppo_set_grad_enabled(cx, before);
        if (!packed) return NULL;
        copy_blocks(out, at, tensors[i], packed->data, dim);
        at += tensors[i]->shape[dim];
    }
    dppo_node *node = out ? dppo_record(cx, "cat", out, count, tensors, cat_backward) : NULL;
    if (!node) return out;
    saved_cat *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "cat: no memory for the tape");
    *saved = (saved_cat){dim, count, node->inputs};
    node->saved = saved;
    return out;
}

/* Integers among floats become floats; NULL after a failure. */
static dppo_tensor *const *promoted(dppo_cx *cx, int count, dppo_tensor *const *tensors) {
    dppo_dtype dtype = DPPO_BOOL;
    bool mixed = false;
    for (int i = 0; i < count; i++) {
        if (!tensors[i]) return NULL;
        mixed = mixed || tensors[i]->dtype != tensors[0]->dtype;
        dtype = dppo_promoted(dtype, tensors[i]->dtype);
    }
    if (!mixed || dtype == DPPO_F64) return tensors;
    dppo_tensor **same = dppo_arena_alloc(dppo_context_arena(cx), (size_t)count * sizeof *same);
    if (!same) (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "cat: no memory");
    for (int i = 0; same && i < count; i++)
        same[i] = dppo_to_dtype(cx, tensors[i], dtype);
    return same;
}

/* The tape has room for DPPO_MAX_INPUTS inputs a node: longer lists are joined in two levels. */
dppo_tensor *dppo_cat(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim) {
    int64_t shape[DPPO_MAX_DIMS];
    dppo_tensor *few[DPPO_MAX_INPUTS];
    tensors = promoted(cx, count, tensors);
    if (!tensors || dppo_context_status(cx) != DPPO_OK || !check_cat(cx, count, tensors, &dim, shape))
        return NULL;
    if (count <= DPPO_MAX_INPUTS) return cat_few(cx, count, tensors, dim, shape);
    int part = (count + DPPO_MAX_INPUTS - 1) / DPPO_MAX_INPUTS, parts = 0;
    for (int i = 0; i < count; i += part)
        few[parts++] = dppo_cat(cx, part < count - i ? part : count - i, tensors + i, dim);
    return dppo_cat(cx, parts, few, dim);
}

dppo_tensor *dppo_stack(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim) {
    if (count < 1) return dppo_context_fail(cx, DPPO_INVALID, "stack: no tensors");
    dppo_tensor **raised = dppo_arena_alloc(dppo_context_arena(cx), (size_t)count * sizeof *raised);
    if (!raised) return dppo_context_fail(cx, DPPO_NO_MEMORY, "stack: no memory");
    if (!tensors[0] || !dppo_wrap_dim(cx, "stack", tensors[0]->ndim + 1, &dim)) return NULL;
    for (int i = 0; i < count; i++) {
        if (!tensors[i]) return NULL;
        if (!dppo_same_shape(tensors[i], tensors[0]))
            return dppo_context_fail(cx, DPPO_INVALID, "stack: tensor %d has another shape than tensor 0", i);
        raised[i] = dppo_unsqueeze(cx, tensors[i], dim);
    }
    return dppo_cat(cx, count, raised, dim);
}

dppo_tensor *dppo_hstack(dppo_cx *cx, int count, dppo_tensor *const *tensors) {
    if (count < 1 || !tensors[0])
        return count < 1 ? dppo_context_fail(cx, DPPO_INVALID, "hstack: no tensors") : NULL;
    dppo_tensor **raised = dppo_arena_alloc(dppo_context_arena(cx), (size_t)count * sizeof *raised);
    if (!raised) return dppo_context_fail(cx, DPPO_NO_MEMORY, "hstack: no memory");
    for (int i = 0; i < count; i++)
        raised[i] = tensors[i] && tensors[i]->ndim == 0 ? dppo_unsqueeze(cx, tensors[i], 0) : tensors[i];
    return dppo_cat(cx, count, raised, raised[0] && raised[0]->ndim == 1 ? 0 : 1);
}

/* -- indexed access
 * ---------------------------------------------------------------------------------------------------- */

static bool check_index(dppo_cx *cx, const char *name, const dppo_tensor *index, int64_t size) {
    int64_t count = dppo_numel(index);
    if (index->dtype != DPPO_I64) {
        (void)dppo_context_fail(cx, DPPO_INVALID, "%s: the index is %s, not int64", name,
                                dppo_dtype_name(index->dtype));
        return false;
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = dppo_i64(index)[i];
        if (at >= 0 && at < size) continue;
        (void)dppo_context_fail(cx, DPPO_INVALID, "%s: index %lld at %lld is out of range for size %lld",
                                name, (long long)at, (long long)i, (long long)size);
        return false;
    }
    return true;
}

typedef struct saved_index {
    int dim;
    dppo_tensor *index;
} saved_index;

static void save_index(dppo_cx *cx, dppo_node *node, int dim, dppo_tensor *index) {
    if (!node) return;
    saved_index *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) {
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", node->name);
        return;
    }
    *saved = (saved_index){dim, index};
    node->saved = saved;
}

/* Taking rows and adding them back are each other's backward. */
static void index_add_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                               dppo_tensor **gradients) {
    const saved_index *saved = node->saved;
    gradients[0] = dppo_index_select(cx, gradient, saved->dim, saved->index);
}

/* Scatters rows back: out[.., index[i], ..] += gradient[.., i, ..], in the order of i. */
static dppo_tensor *index_add(dppo_cx *cx, const dppo_tensor *like, int dim, dppo_tensor *index,
                              dppo_tensor *gradient) {
    int64_t outer, inner, count = dppo_numel(index);
    dppo_tensor *out = dppo_zeros(cx, like->dtype, like->ndim, like->shape),
                *packed = dppo_contiguous(cx, gradient);
    if (!out || !packed) return NULL;
    blocks(out, dim, &outer, &inner);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < count; i++) {
            float *to = dppo_f32(out) + (o * out->shape[dim] + dppo_i64(index)[i]) * inner;
            const float *from = dppo_f32(packed) + (o * count + i) * inner;
            for (int64_t k = 0; k < inner; k++)
                to[k] += from[k];
        }
    save_index(cx, dppo_record(cx, "index_add", out, 1, &packed, index_add_backward), dim, index);
    return out;
}

static void index_select_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                                  dppo_tensor **gradients) {
    const saved_index *saved = node->saved;
    gradients[0] = index_add(cx, node->inputs[0], saved->dim, saved->index, gradient);
}

dppo_tensor *dppo_index_select(dppo_cx *cx, dppo_tensor *input, int dim, dppo_tensor *index) {
    int64_t shape[DPPO_MAX_DIMS], outer, inner;
    if (!input || !index || !dppo_wrap_dim(cx, "index_select", input->ndim, &dim)) return NULL;
    if (input->ndim == 0 || index->ndim > 1)
        return dppo_context_fail(cx, DPPO_INVALID, "index_select: %d-d input, %d-d index", input->ndim,
                                 index->ndim);
    dppo_tensor *packed = dppo_contiguous(cx, input), *at = dppo_contiguous(cx, index);
    if (!packed || !at || !check_index(cx, "index_select", at, input->shape[dim])) return NULL;
    memcpy(shape, input->shape, sizeof shape);
    shape[dim] = dppo_numel(at);
    dppo_tensor *out = dppo_result(cx, input->dtype, input->ndim, shape);
    if (!out) return NULL;
    blocks(out, dim, &outer, &inner);
    size_t run = (size_t)inner * dppo_dtype_size(input->dtype);
    for (int64_t o = 0; o < outer; o++)
        dppo_kernel_copy_runs(
            shape[dim], run, (unsigned char *)out->data + (size_t)(o * shape[dim]) * run, run,
            (const unsigned char *)packed->data + (size_t)(o * input->shape[dim]) * run, run, dppo_i64(at));
    save_index(cx, dppo_record(cx, "index_select", out, 1, &packed, index_select_backward), dim, at);
    return out;
}

static void index_put_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                               dppo_tensor **gradients) {
    const saved_index *saved = node->saved;
    if (dppo_needs_grad(node, 0)) {
        dppo_tensor *zeros = dppo_zeros_like(cx, node->inputs[1]);
        gradients[0] = dppo_index_put_rows(cx, gradient, saved->index, zeros);
    }
    if (dppo_needs_grad(node, 1)) gradients[1] = dppo_index_select(cx, gradient, 0, saved->index);
}

dppo_tensor *dppo_index_put_rows(dppo_cx *cx, dppo_tensor *input, dppo_tensor *index, dppo_tensor *rows) {
    if (!input || !index || !rows) return NULL;
    bool fits = input->ndim > 0 && rows->ndim == input->ndim && rows->dtype == input->dtype &&
                rows->shape[0] == dppo_numel(index);
    for (int d = 1; fits && d < input->ndim; d++)
        fits = rows->shape[d] == input->shape[d];
    if (!fits) return dppo_context_fail(cx, DPPO_INVALID, "index_put: the rows do not fit the input");
    dppo_tensor *at = dppo_contiguous(cx, index), *packed = dppo_contiguous(cx, rows);
    dppo_tensor *out = dppo_result(cx, input->dtype, input->ndim, input->shape);
    if (!out || !at || !packed || !check_index(cx, "index_put", at, input->shape[0])) return NULL;
    dppo_tensor_pack(input, out->data);
    size_t run =
        (size_t)(input->shape[0] ? dppo_numel(input) / input->shape[0] : 0) * dppo_dtype_size(input->dtype);
    for (int64_t i = 0; i < dppo_numel(at); i++)
        memcpy((unsigned char *)out->data + (size_t)dppo_i64(at)[i] * run,
               (const unsigned char *)packed->data + (size_t)i * run, run);
    dppo_tensor *inputs[2] = {input, packed};
    save_index(cx, dppo_record(cx, "index_put", out, 2, inputs, index_put_backward), 0, at);
    return out;
}

/* Position in a contiguous `input` of the element that gather reads for position `i` of a contiguous `index`.
 */
static int64_t gathered(const dppo_tensor *input, int dim, const dppo_tensor *index, int64_t i) {
    int64_t offset = 0, rest = i;
    for (int d = index->ndim - 1; d >= 0; d--) {
        int64_t at = rest % index->shape[d];
        rest /= index->shape[d];
        offset += (d == dim ? dppo_i64(index)[i] : at) * input->stride[d];
    }
    return offset;
}

static void scatter_add_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                                 dppo_tensor **gradients) {
    const saved_index *saved = node->saved;
    gradients[0] = dppo_gather(cx, gradient, saved->dim, saved->index);
}

static void gather_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                            dppo_tensor **gradients) {
    const saved_index *saved = node->saved;
    dppo_tensor *out = dppo_zeros_like(cx, node->inputs[0]), *packed = dppo_contiguous(cx, gradient);
    if (!out || !packed) return;
    int64_t count = dppo_numel(saved->index);
    for (int64_t i = 0; i < count; i++)
        dppo_f32(out)[gathered(out, saved->dim, saved->index, i)] += dppo_f32(packed)[i];
    save_index(cx, dppo_record(cx, "scatter_add", out, 1, &packed, scatter_add_backward), saved->dim,
               saved->index);
    gradients[0] = out;
}

dppo_tensor *dppo_gather(dppo_cx *cx, dppo_tensor *input, int dim, dppo_tensor *index) {
    if (!input || !index || !dppo_wrap_dim(cx, "gather", input->ndim, &dim)) return NULL;
    bool fits = input->ndim == index->ndim;
    for (int d = 0; fits && d < input->ndim; d++)
        fits = d == dim || index->shape[d] <= input->shape[d];
    if (!fits) return dppo_context_fail(cx, DPPO_INVALID, "gather: the index does not fit the input");
    dppo_tensor *packed = dppo_contiguous(cx, input), *at = dppo_contiguous(cx, index);
    if (!packed || !at || !check_index(cx, "gather", at, input->ndim ? input->shape[dim] : 1)) return NULL;
    dppo_tensor *out = dppo_result(cx, input->dtype, index->ndim, index->shape);
    if (!out) return NULL;
    size_t size = dppo_dtype_size(input->dtype);
    int64_t count = dppo_numel(at);
    if (at->ndim == 1) dppo_kernel_copy_runs(count, size, out->data, size, packed->data, size, dppo_i64(at));
    for (int64_t i = 0; i < count && at->ndim != 1; i++)
        memcpy((unsigned char *)out->data + (size_t)i * size,
               (const unsigned char *)packed->data + (size_t)gathered(packed, dim, at, i) * size, size);
    save_index(cx, dppo_record(cx, "gather", out, 1, &packed, gather_backward), dim, at);
    return out;
}

/* -- choice of elements
 * ---------------------------------------------------------------------------------------------------- */

typedef struct saved_flip {
    int ndim, dims[DPPO_MAX_DIMS];
} saved_flip;

static void flip_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                          dppo_tensor **gradients) {
    const saved_flip *saved = node->saved;
    gradients[0] = dppo_flip(cx, gradient, saved->ndim, saved->dims);
}

dppo_tensor *dppo_flip(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims) {
    if (!input) return NULL;
    dppo_tensor backwards = *input; /* the same elements read with negative strides */
    saved_flip all = {.ndim = ndim};
    unsigned char *first = input->data;
    for (int d = 0; d < ndim; d++) {
        all.dims[d] = dims[d];
        if (!dppo_wrap_dim(cx, "flip", input->ndim, &all.dims[d])) return NULL;
        int at = all.dims[d];
        if (input->ndim == 0 || input->shape[at] == 0) continue;
        first += (input->shape[at] - 1) * input->stride[at] * (int64_t)dppo_dtype_size(input->dtype);
        backwards.stride[at] = -input->stride[at];
    }
    backwards.data = first;
    dppo_tensor *out = dppo_result(cx, input->dtype, input->ndim, input->shape);
    if (!out) return NULL;
    dppo_tensor_pack(&backwards, out->data);
    dppo_node *node = dppo_record(cx, "flip", out, 1, &input, flip_backward);
    if (!node) return out;
    node->saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof all);
    if (!node->saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "flip: no memory for the tape");
    memcpy(node->saved, &all, sizeof all);
    return out;
}

static void where_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                           dppo_tensor **gradients) {
    dppo_tensor *condition = node->saved, *zero = dppo_zeros_like(cx, gradient);
    if (dppo_needs_grad(node, 0)) gradients[0] = dppo_where(cx, condition, gradient, zero);
    if (dppo_needs_grad(node, 1)) gradients[1] = dppo_where(cx, condition, zero, gradient);
}

dppo_tensor *dppo_where(dppo_cx *cx, dppo_tensor *condition, dppo_tensor *input, dppo_tensor *other) {
    int64_t shape[DPPO_MAX_DIMS];
    int ndim;
    if (!condition || !input || !other || !dppo_broadcast_shape(cx, "where", input, other, &ndim, shape))
        return NULL;
    if (condition->dtype != DPPO_BOOL)
        return dppo_context_fail(cx, DPPO_INVALID, "where: the condition is %s",
                                 dppo_dtype_name(condition->dtype));
    dppo_dtype dtype = dppo_promoted(input->dtype, other->dtype);
    if (dtype == DPPO_F32) { /* of integers, which have no gradient that the conversion could lose */
        input = dppo_to_dtype(cx, input, dtype);
        other = dppo_to_dtype(cx, other, dtype);
        if (!input || !other) return NULL;
    }
    if (input->dtype != other->dtype)
        return dppo_context_fail(cx, DPPO_INVALID, "where: input %s, other %s", dppo_dtype_name(input->dtype),
                                 dppo_dtype_name(other->dtype));
    dppo_tensor both = {.ndim = ndim};
    memcpy(both.shape, shape, sizeof both.shape);
    if (!dppo_broadcast_shape(cx, "where", condition, &both, &ndim, shape)) return NULL;
    dppo_tensor *c = dppo_contiguous(cx, dppo_expand(cx, condition, ndim, shape));
    dppo_tensor *inputs[2] = {dppo_contiguous(cx, dppo_expand(cx, input, ndim, shape)),
                              dppo_contiguous(cx, dppo_expand(cx, other, ndim, shape))};
    dppo_tensor *out = dppo_result(cx, input->dtype, ndim, shape);
    if (!c || !inputs[0] || !inputs[1] || !out) return NULL;
    size_t size = dppo_dtype_size(input->dtype);
    int64_t count = dppo_numel(out);
    for (int64_t i = 0; i < count; i++)
        memcpy((unsigned char *)out->data + (size_t)i * size,
               (const unsigned char *)inputs[dppo_bool(c)[i] ? 0 : 1]->data + (size_t)i * size, size);
    dppo_node *node = dppo_record(cx, "where", out, 2, inputs, where_backward);
    if (node) node->saved = c;
    return out;
}

dppo_tensor *dppo_masked_fill(dppo_cx *cx, dppo_tensor *input, dppo_tensor *mask, double value) {
    if (!input || !mask) return NULL;
    dppo_tensor *filling = dppo_full(cx, input->dtype, 0, NULL, value);
    return dppo_where(cx, mask, filling, input);
}

static void triu_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                          dppo_tensor **gradients) {
    gradients[0] = dppo_triu(cx, gradient, *(const int64_t *)node->saved);
}

dppo_tensor *dppo_triu(dppo_cx *cx, dppo_tensor *input, int64_t diagonal) {
    if (!input) return NULL;
    if (input->ndim < 2)
        return dppo_context_fail(cx, DPPO_INVALID, "triu: %d dims, at least 2 wanted", input->ndim);
    dppo_tensor *out = dppo_result(cx, input->dtype, input->ndim, input->shape);
    if (!out) return NULL;
    dppo_tensor_pack(input, out->data);
    int64_t rows = input->shape[input->ndim - 2], columns = input->shape[input->ndim - 1];
    int64_t count = dppo_numel(out);
    size_t size = dppo_dtype_size(input->dtype);
    for (int64_t i = 0; i < count; i++)
        if (i % columns - i / columns % rows < diagonal)
            memset((unsigned char *)out->data + (size_t)i * size, 0, size);
    dppo_node *node = dppo_record(cx, "triu", out, 1, &input, triu_backward);
    if (!node) return out;
    int64_t *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "triu: no memory for the tape");
    *saved = diagonal;
    node->saved = saved;
    return out;
}
