/* Indexing, slicing, joining: views share data, the rest copies. */
#include "autograd/dims.h"
#include "autograd/functions.h"

#include <string.h>

bool dppo_wrap_dim(dppo_cx *cx, const char *function, int ndim, int *dim) {
    int range = ndim > 0 ? ndim : 1;
    if (*dim >= -range && *dim < range) {
        if (*dim < 0) *dim += range;
        return true;
    }
    (void)dppo_context_fail(cx, DPPO_INVALID, "%s: dim %d of a tensor with %d dims", function, *dim, ndim);
    return false;
}

bool dppo_broadcast_shape(dppo_cx *cx, const char *function, const dppo_tensor *a, const dppo_tensor *b,
                          int *ndim, int64_t *shape) {
    char ta[128], tb[128];
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int d = 0; d < *ndim; d++) {
        int da = d - (*ndim - a->ndim), db = d - (*ndim - b->ndim);
        int64_t sa = da < 0 ? 1 : a->shape[da], sb = db < 0 ? 1 : b->shape[db];
        if (sa != sb && sa != 1 && sb != 1) {
            (void)dppo_context_fail(cx, DPPO_INVALID, "%s: shapes %s and %s do not broadcast", function,
                                    dppo_shape_text(a->ndim, a->shape, ta, sizeof ta),
                                    dppo_shape_text(b->ndim, b->shape, tb, sizeof tb));
            return false;
        }
        shape[d] = sa == 1 ? sb : sa;
    }
    return true;
}

/* Sums a gradient over the dims along which `input` was expanded. */
dppo_tensor *dppo_sum_to_size(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape) {
    int dims[DPPO_MAX_DIMS], count = 0;
    if (!input) return NULL;
    int lead = input->ndim - ndim;
    for (int d = 0; d < input->ndim; d++)
        if (d < lead || (shape[d - lead] == 1 && input->shape[d] != 1)) dims[count++] = d;
    if (count > 0) input = dppo_sum(cx, input, count, dims, true);
    return lead > 0 ? dppo_reshape(cx, input, ndim, shape) : input;
}

/* -- views
 * ------------------------------------------------------------------------------------------------------- */

static void restore_shape(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                          dppo_tensor **gradients) {
    gradients[0] = dppo_reshape(cx, gradient, node->inputs[0]->ndim, node->inputs[0]->shape);
}

static void record_one(dppo_cx *cx, const char *name, dppo_tensor *out, dppo_tensor *input,
                       dppo_backward_function *backward) {
    if (out) (void)dppo_record(cx, name, out, 1, &input, backward);
}

/* Strides with which `shape` walks over the elements of `input` in order, if there are any: each run of dims
 * that lies evenly in memory can be cut anew. */
static bool view_strides(const dppo_tensor *input, int ndim, const int64_t *shape, int64_t *stride) {
    if (dppo_is_contiguous(input)) {
        int64_t step = 1;
        for (int d = ndim - 1; d >= 0; d--) {
            stride[d] = step;
            step *= shape[d] > 0 ? shape[d] : 1;
        }
        return true;
    }
    int to = ndim - 1;
    int64_t chunk = 1, taken = 1, base = input->stride[input->ndim - 1];
    for (int d = input->ndim - 1; d >= 0; d--) {
        chunk *= input->shape[d];
        bool ends = d == 0 || (input->shape[d - 1] != 1 && input->stride[d - 1] != chunk * base);
        if (!ends) continue;
        while (to >= 0 && (taken < chunk || shape[to] == 1)) {
            stride[to] = taken * base;
            taken *= shape[to--];
        }
        if (taken != chunk) return false;
        if (d > 0) base = input->stride[d - 1];
        chunk = taken = 1;
    }
    return to == -1;
}

/* Fills in the one -1; false when the numbers of elements differ. */
static bool complete_shape(dppo_cx *cx, const char *name, const dppo_tensor *input, int ndim,
                           const int64_t *shape, int64_t *full) {
    int64_t known = 1, count = dppo_numel(input);
    int open = -1;
    char a[128], b[128];
    bool good = ndim >= 0 && ndim <= DPPO_MAX_DIMS;
    for (int d = 0; good && d < ndim; d++) {
        full[d] = shape[d];
        if (shape[d] == -1 && open < 0)
            open = d;
        else if (shape[d] < 0)
            good = false;
        else
            known *= shape[d];
    }
    if (good && open >= 0) {
        good = known > 0 && count % known == 0;
        if (good) full[open] = count / known;
    } else if (good) {
        good = known == count;
    }
    if (good) return true;
    (void)dppo_context_fail(cx, DPPO_INVALID, "%s: shape %s does not fit %s", name,
                            dppo_shape_text(ndim < DPPO_MAX_DIMS ? ndim : DPPO_MAX_DIMS, shape, a, sizeof a),
                            dppo_shape_text(input->ndim, input->shape, b, sizeof b));
    return false;
}

dppo_tensor *dppo_view(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape) {
    int64_t full[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
    if (!input || !complete_shape(cx, "view", input, ndim, shape, full)) return NULL;
    if (!view_strides(input, ndim, full, stride))
        return dppo_context_fail(cx, DPPO_INVALID, "view: the strides do not allow this shape; use reshape");
    dppo_tensor *out = dppo_view_of(cx, input, ndim, full, stride, 0);
    record_one(cx, "view", out, input, restore_shape);
    return out;
}

dppo_tensor *dppo_reshape(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape) {
    int64_t full[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
    if (!input || !complete_shape(cx, "reshape", input, ndim, shape, full)) return NULL;
    if (!view_strides(input, ndim, full, stride)) input = dppo_contiguous(cx, input);
    return dppo_view(cx, input, ndim, full);
}

dppo_tensor *dppo_flatten(dppo_cx *cx, dppo_tensor *input, int start_dim, int end_dim) {
    int64_t shape[DPPO_MAX_DIMS];
    int ndim = 0;
    if (!input || !dppo_wrap_dim(cx, "flatten", input->ndim, &start_dim) ||
        !dppo_wrap_dim(cx, "flatten", input->ndim, &end_dim))
        return NULL;
    if (input->ndim == 0) return dppo_reshape(cx, input, 1, (int64_t[]){1});
    if (start_dim > end_dim)
        return dppo_context_fail(cx, DPPO_INVALID, "flatten: start_dim %d after end_dim %d", start_dim,
                                 end_dim);
    for (int d = 0; d < input->ndim; d++) {
        if (d > start_dim && d <= end_dim)
            shape[ndim - 1] *= input->shape[d];
        else
            shape[ndim++] = input->shape[d];
    }
    return dppo_reshape(cx, input, ndim, shape);
}

dppo_tensor *dppo_unsqueeze(dppo_cx *cx, dppo_tensor *input, int dim) {
    int64_t shape[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
    if (!input || !dppo_wrap_dim(cx, "unsqueeze", input->ndim + 1, &dim)) return NULL;
    if (input->ndim == DPPO_MAX_DIMS) return dppo_context_fail(cx, DPPO_INVALID, "unsqueeze: too many dims");
    for (int d = 0; d <= input->ndim; d++) {
        int from = d < dim ? d : d - 1;
        shape[d] = d == dim ? 1 : input->shape[from];
        stride[d] =
            d == dim ? (dim < input->ndim ? input->shape[dim] * input->stride[dim] : 1) : input->stride[from];
    }
    dppo_tensor *out = dppo_view_of(cx, input, input->ndim + 1, shape, stride, 0);
    record_one(cx, "unsqueeze", out, input, restore_shape);
    return out;
}

/* Drops the dims of size 1 for which keep[d] is false. */
static dppo_tensor *drop_dims(dppo_cx *cx, dppo_tensor *input, const bool *keep) {
    int64_t shape[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
    int ndim = 0;
    for (int d = 0; d < input->ndim; d++) {
        if (input->shape[d] == 1 && !keep[d]) continue;
        shape[ndim] = input->shape[d];
        stride[ndim++] = input->stride[d];
    }
    dppo_tensor *out = dppo_view_of(cx, input, ndim, shape, stride, 0);
    record_one(cx, "squeeze", out, input, restore_shape);
    return out;
}

dppo_tensor *dppo_squeeze(dppo_cx *cx, dppo_tensor *input) {
    bool keep[DPPO_MAX_DIMS] = {false};
    return input ? drop_dims(cx, input, keep) : NULL;
}

dppo_tensor *dppo_squeeze_dim(dppo_cx *cx, dppo_tensor *input, int dim) {
    bool keep[DPPO_MAX_DIMS];
    if (!input || !dppo_wrap_dim(cx, "squeeze", input->ndim, &dim)) return NULL;
    for (int d = 0; d < DPPO_MAX_DIMS; d++)
        keep[d] = d != dim;
    return drop_dims(cx, input, keep);
}

typedef struct saved_dims {
    int ndim, dims[DPPO_MAX_DIMS];
} saved_dims;

static void permute_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                             dppo_tensor **gradients) {
    const saved_dims *saved = node->saved;
    int inverse[DPPO_MAX_DIMS];
    for (int d = 0; d < saved->ndim; d++)
        inverse[saved->dims[d]] = d;
    gradients[0] = dppo_permute(cx, gradient, saved->ndim, inverse);
}

/* A copy of dims in the arena for a node that was recorded; NULL node: nothing to do. */
static void save_dims(dppo_cx *cx, dppo_node *node, int ndim, const int *dims) {
    if (!node) return;
    saved_dims *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) {
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", node->name);
        return;
    }
    saved->ndim = ndim;
    for (int d = 0; d < ndim; d++)
        saved->dims[d] = dims[d];
    node->saved = saved;
}

dppo_tensor *dppo_permute(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims) {
    int64_t shape[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
    int wrapped[DPPO_MAX_DIMS];
    bool seen[DPPO_MAX_DIMS] = {false};
    if (!input) return NULL;
    if (ndim != input->ndim)
        return dppo_context_fail(cx, DPPO_INVALID, "permute: %d dims for a tensor with %d", ndim,
                                 input->ndim);
    for (int d = 0; d < ndim; d++) {
        wrapped[d] = dims[d];
        if (!dppo_wrap_dim(cx, "permute", ndim, &wrapped[d])) return NULL;
        if (seen[wrapped[d]]) return dppo_context_fail(cx, DPPO_INVALID, "permute: dim %d twice", wrapped[d]);
        seen[wrapped[d]] = true;
        shape[d] = input->shape[wrapped[d]];
        stride[d] = input->stride[wrapped[d]];
    }
    dppo_tensor *out = dppo_view_of(cx, input, ndim, shape, stride, 0);
    if (out) save_dims(cx, dppo_record(cx, "permute", out, 1, &input, permute_backward), ndim, wrapped);
    return out;
}

dppo_tensor *dppo_transpose(dppo_cx *cx, dppo_tensor *input, int dim0, int dim1) {
    int dims[DPPO_MAX_DIMS];
    if (!input || !dppo_wrap_dim(cx, "transpose", input->ndim, &dim0) ||
        !dppo_wrap_dim(cx, "transpose", input->ndim, &dim1))
        return NULL;
    if (input->ndim == 0) return input;
    for (int d = 0; d < input->ndim; d++)
        dims[d] = d == dim0 ? dim1 : d == dim1 ? dim0 : d;
    return dppo_permute(cx, input, input->ndim, dims);
}

static void expand_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                            dppo_tensor **gradients) {
    gradients[0] = dppo_sum_to_size(cx, gradient, node->inputs[0]->ndim, node->inputs[0]->shape);
}

dppo_tensor *dppo_expand(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape) {
    int64_t full[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
    char a[128], b[128];
    if (!input) return NULL;
    int lead = ndim - input->ndim;
    bool good = lead >= 0 && ndim <= DPPO_MAX_DIMS;
    for (int d = 0; good && d < ndim; d++) {
        int64_t own = d < lead ? 1 : input->shape[d - lead];
        full[d] = shape[d] == -1 && d >= lead ? own : shape[d];
        stride[d] = d < lead || (own == 1 && full[d] != 1) ? 0 : input->stride[d - lead];
        good = full[d] >= 0 && (own == full[d] || own == 1);
    }
    if (!good)
        return dppo_context_fail(
            cx, DPPO_INVALID, "expand: %s does not expand to %s",
            dppo_shape_text(input->ndim, input->shape, a, sizeof a),
            dppo_shape_text(ndim < DPPO_MAX_DIMS ? ndim : DPPO_MAX_DIMS, shape, b, sizeof b));
    dppo_tensor *out = dppo_view_of(cx, input, ndim, full, stride, 0);
    record_one(cx, "expand", out, input, expand_backward);
    return out;
}

dppo_tensor *dppo_expand_as(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    return other ? dppo_expand(cx, input, other->ndim, other->shape) : NULL;
}

dppo_tensor *dppo_detach(dppo_cx *cx, dppo_tensor *input) {
    return input ? dppo_view_of(cx, input, input->ndim, input->shape, input->stride, 0) : NULL;
}

typedef struct saved_range {
    int dim;
    int64_t start;
} saved_range;

/* Zeros of the input's shape with the gradient in the place of the slice. */
static void narrow_backward(dppo_context *cx, const dppo_node *node, dppo_tensor *gradient,
                            dppo_tensor **gradients) {
    const saved_range *saved = node->saved;
    dppo_tensor *input = node->inputs[0], *pieces[3];
    int64_t shape[DPPO_MAX_DIMS];
    int64_t length = node->output->shape[saved->dim],
            after = input->shape[saved->dim] - saved->start - length;
    memcpy(shape, input->shape, sizeof shape);
    shape[saved->dim] = saved->start;
    pieces[0] = dppo_zeros(cx, input->dtype, input->ndim, shape);
    pieces[1] = gradient;
    shape[saved->dim] = after;
    pieces[2] = dppo_zeros(cx, input->dtype, input->ndim, shape);
    gradients[0] = dppo_cat(cx, 3, pieces, saved->dim);
}

dppo_tensor *dppo_narrow(dppo_cx *cx, dppo_tensor *input, int dim, int64_t start, int64_t length) {
    int64_t shape[DPPO_MAX_DIMS];
    if (!input || !dppo_wrap_dim(cx, "narrow", input->ndim, &dim)) return NULL;
    int64_t size = input->ndim > 0 ? input->shape[dim] : 0;
    if (start < 0) start += size;
    if (input->ndim == 0 || start < 0 || length < 0 || length > size || start > size - length)
        return dppo_context_fail(cx, DPPO_INVALID, "narrow: %lld elements from %lld of a dim of size %lld",
                                 (long long)length, (long long)start, (long long)size);
    memcpy(shape, input->shape, sizeof shape);
    shape[dim] = length;
    dppo_tensor *out = dppo_view_of(cx, input, input->ndim, shape, input->stride, start * input->stride[dim]);
    dppo_node *node = out ? dppo_record(cx, "narrow", out, 1, &input, narrow_backward) : NULL;
    if (!node) return out;
    saved_range *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "narrow: no memory for the tape");
    *saved = (saved_range){dim, start};
    node->saved = saved;
    return out;
}

dppo_tensor *dppo_select(dppo_cx *cx, dppo_tensor *input, int dim, int64_t index) {
    if (!input || !dppo_wrap_dim(cx, "select", input->ndim, &dim)) return NULL;
    if (input->ndim == 0 || index < -input->shape[dim] || index >= input->shape[dim])
        return dppo_context_fail(cx, DPPO_INVALID, "select: index %lld of a dim of size %lld",
                                 (long long)index, input->ndim ? (long long)input->shape[dim] : 0LL);
    if (index < 0) index += input->shape[dim];
    return dppo_squeeze_dim(cx, dppo_narrow(cx, input, dim, index, 1), dim);
}

int dppo_split(dppo_cx *cx, dppo_tensor *input, int64_t size, int dim, dppo_tensor **pieces, int capacity) {
    if (!input || !dppo_wrap_dim(cx, "split", input->ndim, &dim)) return 0;
    int64_t total = input->ndim > 0 ? input->shape[dim] : 0;
    if (size <= 0 || input->ndim == 0 || (total + size - 1) / size > capacity) {
        (void)dppo_context_fail(cx, DPPO_INVALID, "split: pieces of %lld of a dim of size %lld",
                                (long long)size, (long long)total);
        return 0;
    }
    int count = 0;
    for (int64_t start = 0; start < total || count == 0; start += size)
        pieces[count++] = dppo_narrow(cx, input, dim, start, size < total - start ? size : total - start);
    return count;
}

bool dppo_unravel_index(dppo_cx *cx, dppo_tensor *index, int ndim, const int64_t *shape, dppo_tensor **out) {
    if (!index) return false;
    dppo_tensor *packed = dppo_contiguous(cx, index);
    for (int d = 0; d < ndim; d++)
        out[d] = dppo_result(cx, DPPO_I64, index->ndim, index->shape);
    if (!packed || dppo_context_status(cx) != DPPO_OK) return false;
    int64_t count = dppo_numel(index), total = 1;
    for (int d = 0; d < ndim; d++)
        total *= shape[d];
    for (int64_t i = 0; i < count; i++) {
        int64_t rest = dppo_i64(packed)[i];
        if (rest < 0 || rest >= total) {
            (void)dppo_context_fail(cx, DPPO_INVALID, "unravel_index: index %lld of %lld", (long long)rest,
                                    (long long)total);
            return false;
        }
        for (int d = ndim - 1; d >= 0; d--) {
            dppo_i64(out[d])[i] = rest % shape[d];
            rest /= shape[d];
        }
    }
    return true;
}
