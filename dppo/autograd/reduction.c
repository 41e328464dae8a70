/* Reductions. Sums follow libtorch's walk over the tensor (which dims come first and which are merged decides
 * the order of additions); gradients follow torch's formulas. */
#include "autograd/dims.h"
#include "autograd/integers.h"
#include "autograd/map.h"

#include <math.h>
#include <string.h>

/* Which dims are reduced, and the shape with and without them. */
typedef struct reduced {
    bool mask[DPPO_MAX_DIMS];
    int kept_ndim;
    int64_t kept[DPPO_MAX_DIMS], full[DPPO_MAX_DIMS]; /* full: reduced dims are 1 */
    int64_t count;                                    /* elements per result */
} reduced;

static bool plan_reduction(dppo_cx *cx, const char *name, const dppo_tensor *input, int ndim, const int *dims,
                           reduced *r) {
    *r = (reduced){.count = 1};
    for (int i = 0; i < ndim; i++) {
        int dim = dims[i];
        if (!dppo_wrap_dim(cx, name, input->ndim, &dim)) return false;
        if (r->mask[dim]) {
            (void)dppo_context_fail(cx, DPPO_INVALID, "%s: dim %d appears twice", name, dim);
            return false;
        }
        r->mask[dim] = true;
    }
    for (int d = 0; d < input->ndim; d++) {
        r->mask[d] = r->mask[d] || ndim == 0;
        r->full[d] = r->mask[d] ? 1 : input->shape[d];
        if (r->mask[d])
            r->count *= input->shape[d];
        else
            r->kept[r->kept_ndim++] = input->shape[d];
    }
    return true;
}

static dppo_tensor *reduced_result(dppo_cx *cx, dppo_dtype dtype, const dppo_tensor *input, const reduced *r,
                                   bool keepdim) {
    return keepdim ? dppo_result(cx, dtype, input->ndim, r->full)
                   : dppo_result(cx, dtype, r->kept_ndim, r->kept);
}

/* A gradient (or value) of the result's shape, expanded to the input's. */
static dppo_tensor *spread(dppo_cx *cx, dppo_tensor *small, const dppo_tensor *input, const reduced *r) {
    dppo_tensor *full = dppo_reshape(cx, small, input->ndim, r->full);
    return dppo_expand(cx, full, input->ndim, input->shape);
}

/* Copies what a backward needs into the arena. */
static void *saved_copy(dppo_cx *cx, const char *name, const void *data, size_t size) {
    void *copy = dppo_arena_alloc(dppo_context_arena(cx), size);
    if (copy)
        memcpy(copy, data, size);
    else
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", name);
    return copy;
}

/* Records a reduction whose backward wants its plan. */
static dppo_tensor *record_reduced(dppo_cx *cx, const char *name, dppo_tensor *out, dppo_tensor *input,
                                   const reduced *r, dppo_backward_function *backward) {
    dppo_node *node = out ? dppo_record(cx, name, out, 1, &input, backward) : NULL;
    if (!node) return out;
    node->saved = saved_copy(cx, name, r, sizeof *r);
    return node->saved ? out : NULL;
}

/* -- sum: the walk
 * ------------------------------------------------------------------------------------------- */

/* Dims innermost first, with the strides of input and output (0 where reduced). */
typedef struct sum_walk {
    int ndim;
    int64_t shape[DPPO_MAX_DIMS], in[DPPO_MAX_DIMS], out[DPPO_MAX_DIMS];
} sum_walk;

/* > 0 when b should come before a: reduced dims first, then smaller strides of the output, then of the input;
 * of equal strides the smaller size. */
static int order_of(const sum_walk *w, int a, int b) {
    if ((w->out[a] == 0) != (w->out[b] == 0)) return w->out[b] == 0 ? 1 : -1;
    const int64_t *strides[] = {w->out, w->in};
    for (int k = 0; k < 2; k++) {
        int64_t sa = strides[k][a], sb = strides[k][b];
        if (sa == 0 || sb == 0) continue;
        if (sa != sb) return sa < sb ? -1 : 1;
        if (w->shape[a] > w->shape[b]) return 1;
    }
    return 0;
}

static void permute_walk(sum_walk *w) {
    int order[DPPO_MAX_DIMS];
    for (int i = 0; i < w->ndim; i++)
        order[i] = i;
    /* insertion sort that passes over dims that do not compare */
    for (int i = 1; i < w->ndim; i++)
        for (int at = i, j = i - 1; j >= 0; j--) {
            int comparison = order_of(w, order[j], order[at]);
            if (comparison < 0) break;
            if (comparison == 0) continue;
            int moved = order[at];
            order[at] = order[j];
            order[j] = moved;
            at = j;
        }
    sum_walk old = *w;
    for (int i = 0; i < w->ndim; i++) {
        w->shape[i] = old.shape[order[i]];
        w->in[i] = old.in[order[i]];
        w->out[i] = old.out[order[i]];
    }
}

static void merge_walk(sum_walk *w) {
    int last = 0;
    for (int d = 1; d < w->ndim; d++) {
        bool single = w->shape[last] == 1 || w->shape[d] == 1;
        if (single ||
            (w->shape[last] * w->in[last] == w->in[d] && w->shape[last] * w->out[last] == w->out[d])) {
            if (w->shape[last] == 1) w->in[last] = w->in[d], w->out[last] = w->out[d];
            w->shape[last] *= w->shape[d];
        } else {
            last++;
            w->shape[last] = w->shape[d], w->in[last] = w->in[d], w->out[last] = w->out[d];
        }
    }
    if (w->ndim > 0) w->ndim = last + 1;
}

static sum_walk walk_of(const dppo_tensor *input, const reduced *r) {
    sum_walk w = {.ndim = input->ndim};
    int64_t step = 1;
    for (int i = 0; i < input->ndim; i++) {
        int d = input->ndim - 1 - i;
        w.shape[i] = input->shape[d];
        w.in[i] = input->stride[d];
        w.out[i] = r->mask[d] ? 0 : step;
        step *= r->full[d];
    }
    permute_walk(&w);
    merge_walk(&w);
    for (; w.ndim < 2; w.ndim++)
        w.shape[w.ndim] = 1, w.in[w.ndim] = 0, w.out[w.ndim] = 0;
    return w;
}

/* What is left when only dims of size one are reduced: every sum has one term. */
static void add_single_terms(const dppo_sum_shape *slice, float *out, const float *in, bool skip_nan) {
    for (int64_t j = 0; j < slice->size[1]; j++)
        for (int64_t i = 0; i < slice->size[0]; i++) {
            float term = in[i * slice->in_stride[0] + j * slice->in_stride[1]];
            if (!(skip_nan && isnan(term))) out[i * slice->out_stride[0] + j * slice->out_stride[1]] += term;
        }
}

/* Two dims at a time; the outer ones add up in `out` in order. */
static void run_sum(const sum_walk *w, float *out, const float *in, bool skip_nan) {
    dppo_sum_shape slice = {{w->shape[0], w->shape[1]}, {w->in[0], w->in[1]}, {w->out[0], w->out[1]}};
    int64_t outer = 1;
    for (int d = 2; d < w->ndim; d++)
        outer *= w->shape[d];
    for (int64_t i = 0; i < outer; i++) {
        int64_t rest = i, in_at = 0, out_at = 0;
        for (int d = 2; d < w->ndim; d++) {
            in_at += rest % w->shape[d] * w->in[d];
            out_at += rest % w->shape[d] * w->out[d];
            rest /= w->shape[d];
        }
        if (slice.out_stride[0] == 0)
            dppo_kernel_sum(&slice, out + out_at, in + in_at, skip_nan);
        else
            add_single_terms(&slice, out + out_at, in + in_at, skip_nan);
    }
}

static dppo_tensor *integer_sum(dppo_cx *cx, dppo_tensor *input, const reduced *r, bool keepdim) {
    dppo_tensor *out = reduced_result(cx, DPPO_I64, input, r, keepdim);
    const dppo_tensor *whole = dppo_contiguous(cx, dppo_to_dtype(cx, input, DPPO_I64));
    if (!out || !whole) return NULL;
    memset(out->data, 0, (size_t)dppo_numel(out) * sizeof(int64_t));
    for (int64_t i = 0, n = dppo_numel(input); i < n; i++) {
        int64_t rest = i, to = 0, step = 1;
        for (int d = input->ndim - 1; d >= 0; d--) {
            if (!r->mask[d]) to += rest % input->shape[d] * step;
            step *= r->full[d];
            rest /= input->shape[d];
        }
        dppo_i64(out)[to] += dppo_i64(whole)[i];
    }
    return out;
}

static dppo_tensor *plain_sum(dppo_cx *cx, const char *name, dppo_tensor *input, const reduced *r,
                              bool keepdim, bool skip_nan) {
    if (input->dtype == DPPO_I64 || input->dtype == DPPO_BOOL) return integer_sum(cx, input, r, keepdim);
    if (input->dtype != DPPO_F32)
        return dppo_context_fail(cx, DPPO_INVALID, "%s: of %s", name, dppo_dtype_name(input->dtype));
    dppo_tensor *out = reduced_result(cx, DPPO_F32, input, r, keepdim);
    if (!out) return NULL;
    memset(out->data, 0, (size_t)dppo_numel(out) * sizeof(float));
    sum_walk w = walk_of(input, r);
    if (dppo_numel(input) > 0) run_sum(&w, dppo_f32(out), dppo_f32(input), skip_nan);
    return out;
}

static void sum_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    gradients[0] = spread(cx, g, node->inputs[0], node->saved);
}

dppo_tensor *dppo_sum(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim) {
    reduced r;
    if (!input || !plan_reduction(cx, "sum", input, ndim, dims, &r)) return NULL;
    return record_reduced(cx, "sum", plain_sum(cx, "sum", input, &r, keepdim, false), input, &r,
                          sum_backward);
}

/* The gradient is divided after it was expanded, as torch does: the result is dense. */
static void mean_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const reduced *r = node->saved;
    gradients[0] = dppo_div_scalar(cx, spread(cx, g, node->inputs[0], r), (double)r->count);
}

dppo_tensor *dppo_mean(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim) {
    reduced r;
    if (!input || !plan_reduction(cx, "mean", input, ndim, dims, &r)) return NULL;
    if (input->dtype != DPPO_F32)
        return dppo_context_fail(cx, DPPO_INVALID, "mean: of %s", dppo_dtype_name(input->dtype));
    dppo_tensor *out = dppo_div_scalar(cx, plain_sum(cx, "mean", input, &r, keepdim, false), (double)r.count);
    return record_reduced(cx, "mean", out, input, &r, mean_backward);
}

static void nansum_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *x = node->inputs[0], *wide = spread(cx, g, x, node->saved);
    dppo_tensor *present = dppo_rsub_scalar(cx, dppo_to_dtype(cx, dppo_isnan(cx, x), DPPO_F32), 1.0);
    gradients[0] = dppo_mul(cx, wide, present);
}

dppo_tensor *dppo_nanmean(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim) {
    reduced r;
    if (!input || !plan_reduction(cx, "nanmean", input, ndim, dims, &r)) return NULL;
    dppo_tensor *sum = record_reduced(cx, "nansum", plain_sum(cx, "nanmean", input, &r, keepdim, true), input,
                                      &r, nansum_backward);
    dppo_tensor *nan = dppo_isnan(cx, input), *missing = nan ? integer_sum(cx, nan, &r, keepdim) : NULL;
    dppo_tensor *present = dppo_rsub_scalar(cx, dppo_to_dtype(cx, missing, DPPO_F32), (double)r.count);
    return dppo_div(cx, sum, present);
}

/* -- reductions over rows
 * ------------------------------------------------------------------------------------- */

/* The elements as (results, count): reduced dims moved to the end, in their order. */
static dppo_tensor row_view(const dppo_tensor *input, const reduced *r) {
    dppo_tensor view = *input;
    int to = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int d = 0; d < input->ndim; d++)
            if (r->mask[d] == (pass == 1)) {
                view.shape[to] = input->shape[d];
                view.stride[to++] = input->stride[d];
            }
    return view;
}

static const float *rows_of(dppo_cx *cx, const char *name, const dppo_tensor *input, const reduced *r) {
    dppo_tensor view = row_view(input, r);
    return dppo_packed(cx, name, &view);
}

/* The same of integers and booleans, in int64. */
static const int64_t *integer_rows_of(dppo_cx *cx, const dppo_tensor *input, const reduced *r) {
    dppo_tensor view = row_view(input, r), *whole = dppo_to_dtype(cx, &view, DPPO_I64);
    view.requires_grad = false;
    whole = dppo_contiguous(cx, whole);
    return whole ? dppo_i64(whole) : NULL;
}

static double variance_of_all(const float *x, int64_t n, int correction, double mean) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double dx = (double)x[i] - mean;
        sum += dx * dx;
    }
    return sum / (double)(n > correction ? n - correction : 0);
}

/* Welford's update, in double as libtorch's. */
static double variance_of_row(const float *x, int64_t n, int correction) {
    double mean = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double delta = (double)x[i] - mean;
        mean += delta / (double)(i + 1);
        squares += delta * ((double)x[i] - mean);
    }
    return squares / (double)(n > correction ? n - correction : 0);
}

typedef struct spread_saved {
    reduced r;
    int correction;
} spread_saved;

/* (2 / (n - correction)) g (x - mean) */
static dppo_tensor *variance_gradient(dppo_cx *cx, const dppo_node *node, dppo_tensor *g) {
    const spread_saved *saved = node->saved;
    dppo_tensor *x = node->inputs[0];
    int dims[DPPO_MAX_DIMS], count = 0;
    for (int d = 0; d < x->ndim; d++)
        if (saved->r.mask[d]) dims[count++] = d;
    double factor = 2.0 / (double)(saved->r.count - saved->correction);
    dppo_tensor *scaled = dppo_mul_scalar(cx, dppo_reshape(cx, g, x->ndim, saved->r.full), factor);
    return dppo_mul(cx, scaled, dppo_sub(cx, x, dppo_mean(cx, x, count, dims, true)));
}

static void var_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    gradients[0] = variance_gradient(cx, node, g);
}

/* d std = d var / (2 std), nothing where std is 0. */
static void std_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *y = node->output, *zero = dppo_full(cx, DPPO_F32, 0, NULL, 0.0);
    dppo_tensor *of_var = dppo_div(cx, g, dppo_mul_scalar(cx, y, 2.0));
    gradients[0] = variance_gradient(cx, node, dppo_masked_fill(cx, of_var, dppo_eq(cx, y, zero), 0.0));
}

static dppo_tensor *variance(dppo_cx *cx, const char *name, dppo_tensor *input, int ndim, const int *dims,
                             int correction, bool keepdim, bool root, dppo_backward_function *backward) {
    spread_saved saved = {.correction = correction};
    if (!input || !plan_reduction(cx, name, input, ndim, dims, &saved.r)) return NULL;
    const float *x = rows_of(cx, name, input, &saved.r);
    dppo_tensor *out = x ? reduced_result(cx, DPPO_F32, input, &saved.r, keepdim) : NULL;
    if (!out) return NULL;
    int64_t results = dppo_numel(out), n = saved.r.count;
    float mean = NAN;
    if (results == 1 && n > 0) {
        dppo_tensor *sum = plain_sum(cx, name, input, &saved.r, true, false);
        if (!sum) return NULL;
        mean = dppo_f32(sum)[0] / (float)n;
    }
    for (int64_t i = 0; i < results; i++) {
        double value = n == 0         ? NAN
                       : results == 1 ? variance_of_all(x, n, correction, (double)mean)
                                      : variance_of_row(x + i * n, n, correction);
        dppo_f32(out)[i] = (float)(root ? sqrt(value) : value);
    }
    dppo_node *node = dppo_record(cx, name, out, 1, &input, backward);
    if (node) node->saved = saved_copy(cx, name, &saved, sizeof saved);
    return out;
}

dppo_tensor *dppo_var(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, int correction,
                      bool keepdim) {
    return variance(cx, "var", input, ndim, dims, correction, keepdim, false, var_backward);
}

dppo_tensor *dppo_std(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, int correction,
                      bool keepdim) {
    return variance(cx, "std", input, ndim, dims, correction, keepdim, true, std_backward);
}

/* -- extremes
 * ------------------------------------------------------------------------------------------------ */

/* The first largest (or smallest); NaN beats everything. */
static int64_t extreme_index(const float *x, int64_t n, bool largest) {
    int64_t best = 0;
    for (int64_t i = 1; i < n && !isnan(x[best]); i++)
        if (isnan(x[i]) || (largest ? x[i] > x[best] : x[i] < x[best])) best = i;
    return best;
}

static dppo_tensor *extreme_dim(dppo_cx *cx, const char *name, dppo_tensor *input, int dim, bool keepdim,
                                bool largest, dppo_tensor **indices);

/* Equal elements share the gradient: g / count where x equals the extreme. */
static void extreme_all_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                 dppo_tensor **gradients) {
    dppo_tensor *x = node->inputs[0], *y = node->output;
    dppo_tensor *same = isnan(*dppo_f32(y)) ? dppo_isnan(cx, x) : dppo_eq(cx, x, y);
    dppo_tensor *count = dppo_to_dtype(cx, dppo_sum(cx, same, 0, NULL, false), DPPO_F32);
    gradients[0] = dppo_where(cx, same, dppo_div(cx, g, count), dppo_full(cx, DPPO_F32, 0, NULL, 0.0));
}

static dppo_tensor *extreme_all(dppo_cx *cx, const char *name, dppo_tensor *input, bool largest) {
    if (input && input->dtype == DPPO_I64) { /* nothing to differentiate: the value at its position */
        dppo_tensor *flat = dppo_flatten(cx, input, 0, -1), *value = NULL;
        return flat && (value = extreme_dim(cx, name, flat, 0, false, largest, NULL)) ? value : NULL;
    }
    const float *x = dppo_packed(cx, name, input);
    if (!x) return NULL;
    int64_t n = dppo_numel(input);
    if (n == 0) return dppo_context_fail(cx, DPPO_INVALID, "%s: of an empty tensor", name);
    dppo_tensor *out = dppo_full(cx, DPPO_F32, 0, NULL, (double)x[extreme_index(x, n, largest)]);
    if (out) (void)dppo_record(cx, name, out, 1, &input, extreme_all_backward);
    return out;
}

dppo_tensor *dppo_max_all(dppo_cx *cx, dppo_tensor *input) {
    return extreme_all(cx, "max", input, true);
}

dppo_tensor *dppo_min_all(dppo_cx *cx, dppo_tensor *input) {
    return extreme_all(cx, "min", input, false);
}

/* Positions along one dim: where each result of a selection came from. */
typedef struct selection {
    int dim;
    dppo_tensor *index; /* int64, the input's shape with dim 1 */
    int ndim;
    int64_t shape[DPPO_MAX_DIMS]; /* the input's */
} selection;

static void scatter_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *gg, dppo_tensor **gradients) {
    const selection *s = node->saved;
    dppo_tensor *taken = dppo_gather(cx, gg, s->dim, s->index);
    gradients[0] = dppo_reshape(cx, taken, node->inputs[0]->ndim, node->inputs[0]->shape);
}

/* Zeros of the input's shape with the gradient at the selected positions. */
static dppo_tensor *scatter(dppo_cx *cx, dppo_tensor *g, selection *s) {
    const float *from = dppo_packed(cx, "scatter", g);
    dppo_tensor *out = from ? dppo_zeros(cx, DPPO_F32, s->ndim, s->shape) : NULL;
    if (!out) return NULL;
    int64_t inner = 1;
    for (int d = s->dim + 1; d < s->ndim; d++)
        inner *= s->shape[d];
    for (int64_t i = 0, n = dppo_numel(s->index), size = s->ndim ? s->shape[s->dim] : 1; i < n; i++)
        dppo_f32(out)[(i / inner * size + dppo_i64(s->index)[i]) * inner + i % inner] = from[i];
    dppo_node *node = dppo_record(cx, "scatter", out, 1, &g, scatter_backward);
    if (node) node->saved = s;
    return out;
}

static void extreme_dim_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                 dppo_tensor **gradients) {
    gradients[0] = scatter(cx, g, node->saved);
}

static dppo_tensor *extreme_positions(dppo_cx *cx, const char *name, dppo_tensor *input, const reduced *r,
                                      bool largest, dppo_tensor *values) {
    bool whole = input->dtype == DPPO_I64;
    const int64_t *integers = whole ? integer_rows_of(cx, input, r) : NULL;
    const float *x = whole ? NULL : rows_of(cx, name, input, r);
    dppo_tensor *index = x || integers ? dppo_result(cx, DPPO_I64, input->ndim, r->full) : NULL;
    if (!index) return NULL;
    if (r->count == 0 && dppo_numel(index) > 0)
        return dppo_context_fail(cx, DPPO_INVALID, "%s: of an empty dim", name);
    for (int64_t i = 0, n = dppo_numel(index); i < n; i++) {
        int64_t at = i * r->count;
        int64_t best = whole ? dppo_integer_extreme(integers + at, r->count, largest)
                             : extreme_index(x + at, r->count, largest);
        dppo_i64(index)[i] = best;
        if (values && whole)
            dppo_i64(values)[i] = integers[at + best];
        else if (values)
            dppo_f32(values)[i] = x[at + best];
    }
    return index;
}

static dppo_tensor *extreme_dim(dppo_cx *cx, const char *name, dppo_tensor *input, int dim, bool keepdim,
                                bool largest, dppo_tensor **indices) {
    reduced r;
    if (!input || !dppo_wrap_dim(cx, name, input->ndim, &dim)) return NULL;
    if (!plan_reduction(cx, name, input, input->ndim > 0, &dim, &r)) return NULL;
    dppo_dtype dtype = input->dtype == DPPO_I64 ? DPPO_I64 : DPPO_F32;
    dppo_tensor *out = reduced_result(cx, dtype, input, &r, keepdim);
    dppo_tensor *index = out ? extreme_positions(cx, name, input, &r, largest, out) : NULL;
    if (!index) return NULL;
    if (indices) *indices = keepdim ? index : dppo_reshape(cx, index, r.kept_ndim, r.kept);
    dppo_node *node = dppo_record(cx, name, out, 1, &input, extreme_dim_backward);
    if (!node) return out;
    selection s = {.dim = dim, .index = index, .ndim = input->ndim};
    memcpy(s.shape, input->shape, sizeof s.shape);
    node->saved = saved_copy(cx, name, &s, sizeof s);
    return node->saved ? out : NULL;
}

dppo_tensor *dppo_max_dim(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim, dppo_tensor **indices) {
    return extreme_dim(cx, "max", input, dim, keepdim, true, indices);
}

dppo_tensor *dppo_min_dim(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim, dppo_tensor **indices) {
    return extreme_dim(cx, "min", input, dim, keepdim, false, indices);
}

dppo_tensor *dppo_argmax(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim) {
    reduced r;
    if (!input) return NULL;
    if (!plan_reduction(cx, "argmax", input, dim == DPPO_ALL ? 0 : 1, &dim, &r)) return NULL;
    dppo_tensor *index = extreme_positions(cx, "argmax", input, &r, true, NULL);
    return keepdim ? index : dppo_reshape(cx, index, r.kept_ndim, r.kept);
}

/* g exp(x - y) */
static void logsumexp_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *x = node->inputs[0];
    const reduced *r = node->saved;
    dppo_tensor *y = dppo_reshape(cx, node->output, x->ndim, r->full);
    gradients[0] = dppo_mul(cx, dppo_reshape(cx, g, x->ndim, r->full), dppo_exp(cx, dppo_sub(cx, x, y)));
}

/* log sum exp(x - m) + m with m the maximum, 0 where that is infinite. */
dppo_tensor *dppo_logsumexp(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim) {
    const char *name = "logsumexp";
    reduced r;
    if (!input || !plan_reduction(cx, name, input, ndim, dims, &r)) return NULL;
    const float *x = rows_of(cx, name, input, &r);
    dppo_tensor *shift = x ? dppo_result(cx, DPPO_F32, input->ndim, r.full) : NULL;
    if (!shift) return NULL;
    for (int64_t i = 0, n = dppo_numel(shift); i < n; i++) {
        float most = r.count > 0 ? x[i * r.count + extreme_index(x + i * r.count, r.count, true)] : 0.0f;
        dppo_f32(shift)[i] = isinf(most) ? 0.0f : most;
    }
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *terms = dppo_exp(cx, dppo_sub(cx, input, shift));
    dppo_tensor *sum = terms ? plain_sum(cx, name, terms, &r, true, false) : NULL;
    dppo_tensor *full = dppo_add(cx, dppo_log(cx, sum), shift);
    dppo_tensor *out = keepdim ? full : dppo_reshape(cx, full, r.kept_ndim, r.kept);
    (void)dppo_set_grad_enabled(cx, enabled);
    return record_reduced(cx, name, out, input, &r, logsumexp_backward);
}

/* -- products, quantile
 * ------------------------------------------------------------------------------------------ */

/* libtorch multiplies a dense row in 32 columns, then the columns together; anything else in order. */
static float product(const float *x, int64_t n, bool dense) {
    enum { COLUMNS = 32, LANES = 8 };
    float columns[COLUMNS], total = 1.0f;
    int64_t whole = dense ? n - n % COLUMNS : 0;
    for (int64_t i = 0; i < whole; i++)
        columns[i % COLUMNS] = i < COLUMNS ? x[i] : columns[i % COLUMNS] * x[i];
    for (int k = 0; whole > 0 && k < LANES; k++) {
        float lane = (columns[k] * columns[k + 8]) * (columns[k + 16] * columns[k + 24]);
        total = k == 0 ? lane : total * lane;
    }
    for (int64_t i = whole; i < n; i++)
        total *= x[i];
    return total;
}

/* The product of all elements of a row but one, for each: from the left times from the right. */
static void products_of_others(const float *x, int64_t n, float *out) {
    double left = 1.0, right = 1.0; /* as torch's cumprod */
    for (int64_t i = 0; i < n; left *= (double)x[i++])
        out[i] = (float)left;
    for (int64_t i = n - 1; i >= 0; right *= (double)x[i--])
        out[i] *= (float)right;
}

/* Undoes rows_of: a contiguous (results, count) array as a tensor of the input's shape. */
static dppo_tensor *from_rows(dppo_cx *cx, const dppo_tensor *input, const reduced *r, dppo_tensor *rows) {
    int order[DPPO_MAX_DIMS], back[DPPO_MAX_DIMS], to = 0;
    int64_t shape[DPPO_MAX_DIMS];
    for (int pass = 0; pass < 2; pass++)
        for (int d = 0; d < input->ndim; d++)
            if (r->mask[d] == (pass == 1)) order[to++] = d;
    for (int i = 0; i < input->ndim; i++) {
        shape[i] = input->shape[order[i]];
        back[order[i]] = i;
    }
    return dppo_contiguous(cx,
                           dppo_permute(cx, dppo_reshape(cx, rows, input->ndim, shape), input->ndim, back));
}

/* g (y / x), or with zeros about, g times the product of the others. */
static void prod_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *x = node->inputs[0], *wide = spread(cx, g, x, node->saved);
    const reduced *r = node->saved;
    const float *rows = rows_of(cx, "prod", x, r);
    int64_t n = dppo_numel(x), zeros = 0;
    if (!rows || !wide) return;
    for (int64_t i = 0; i < n; i++)
        zeros += rows[i] == 0.0f;
    if (zeros == 0) {
        gradients[0] = dppo_mul(cx, wide, dppo_div(cx, spread(cx, node->output, x, r), x));
        return;
    }
    if (zeros > 1 && r->kept_ndim == 0) {
        gradients[0] = dppo_zeros_like(cx, x);
        return;
    }
    dppo_tensor *others = dppo_result(cx, DPPO_F32, 1, &n);
    for (int64_t i = 0; others && i + r->count <= n; i += r->count)
        products_of_others(rows + i, r->count, dppo_f32(others) + i);
    dppo_tensor *rest = from_rows(cx, x, r, others), *out = dppo_mul(cx, wide, rest);
    if (out) (void)dppo_record(cx, "prod_backward", out, 1, &x, dppo_no_second_derivative);
    gradients[0] = out;
}

static dppo_tensor *integer_prod(dppo_cx *cx, const dppo_tensor *input, const reduced *r, bool keepdim) {
    const int64_t *x = integer_rows_of(cx, input, r);
    dppo_tensor *out = x ? reduced_result(cx, DPPO_I64, input, r, keepdim) : NULL;
    for (int64_t i = 0, n = out ? dppo_numel(out) : 0; i < n; i++)
        dppo_i64(out)[i] = dppo_integer_product(x + i * r->count, r->count);
    return out;
}

dppo_tensor *dppo_prod(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim) {
    reduced r;
    if (!input || !plan_reduction(cx, "prod", input, dim == DPPO_ALL ? 0 : input->ndim > 0, &dim, &r))
        return NULL;
    if (input->dtype == DPPO_I64 || input->dtype == DPPO_BOOL) return integer_prod(cx, input, &r, keepdim);
    const float *x = rows_of(cx, "prod", input, &r);
    dppo_tensor *out = x ? reduced_result(cx, DPPO_F32, input, &r, keepdim) : NULL;
    if (!out) return NULL;
    bool dense = input->ndim > 0 && r.mask[input->ndim - 1] && input->stride[input->ndim - 1] == 1;
    for (int64_t i = 0, n = dppo_numel(out); i < n; i++)
        dppo_f32(out)[i] = product(x + i * r.count, r.count, dense);
    return record_reduced(cx, "prod", out, input, &r, prod_backward);
}

/* dx[k] = sum over i >= k of g[i] y[i] / x[k], up to the first zero of x; at that zero, of g[i] times the
 * product of the other factors; nothing after it. Sums in double, rounded once, as torch's cumsum. */
static void cumprod_gradient(const float *x, const float *y, const float *g, int64_t n, float *dx) {
    int64_t zero = 0;
    while (zero < n && x[zero] != 0.0f)
        zero++;
    memset(dx, 0, (size_t)n * sizeof(float));
    double sum = 0.0;
    for (int64_t k = zero - 1; k >= 0; k--) {
        sum += (double)(g[k] * y[k]);
        dx[k] = (float)sum / x[k];
    }
    if (zero == n) return;
    double others = zero > 0 ? (double)y[zero - 1] : 1.0;
    sum = others * (double)g[zero];
    for (int64_t i = zero + 1; i < n; i++) {
        others *= (double)x[i];
        sum += (double)g[i] * others;
    }
    dx[zero] = (float)sum;
}

static dppo_tensor *cumulative_sum(dppo_cx *cx, dppo_tensor *input, const reduced *r, bool backwards);

/* Without zeros the gradient's steps can be taken on the tape; with one it is not differentiated again. */
static void cumprod_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const reduced *r = node->saved;
    dppo_tensor *x = node->inputs[0];
    bool zeros = false;
    for (int64_t i = 0, size = dppo_numel(x); dppo_grad_enabled(cx) && i < size; i++)
        zeros = zeros || dppo_tensor_at(x, i) == 0.0;
    if (dppo_grad_enabled(cx) && !zeros) {
        gradients[0] = dppo_div(cx, cumulative_sum(cx, dppo_mul(cx, g, node->output), r, true), x);
        return;
    }
    const float *in = rows_of(cx, "cumprod", x, r), *up = rows_of(cx, "cumprod", g, r);
    const float *y = rows_of(cx, "cumprod", node->output, r);
    int64_t n = dppo_numel(x);
    dppo_tensor *rows = in && up && y ? dppo_result(cx, DPPO_F32, 1, &n) : NULL;
    if (!rows) return;
    for (int64_t i = 0; i + r->count <= n && r->count > 0; i += r->count)
        cumprod_gradient(in + i, y + i, up + i, r->count, dppo_f32(rows) + i);
    dppo_tensor *out = from_rows(cx, x, r, rows);
    if (out)
        (void)dppo_record(cx, "cumprod_backward", out, 2, (dppo_tensor *[]){g, x}, dppo_no_second_derivative);
    gradients[0] = out;
}

/* Running products or sums along `dim`, kept in double and rounded one by one. */
static dppo_tensor *running(dppo_cx *cx, const char *name, dppo_tensor *input, const reduced *r, bool product,
                            bool backwards) {
    const float *x = rows_of(cx, name, input, r);
    int64_t n = dppo_numel(input);
    dppo_tensor *rows = x ? dppo_result(cx, DPPO_F32, 1, &n) : NULL;
    if (!rows) return NULL;
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = backwards ? n - 1 - i : i;
        if (i % r->count == 0) total = product ? 1.0 : 0.0;
        total = product ? total * (double)x[at] : total + (double)x[at];
        dppo_f32(rows)[at] = (float)total;
    }
    return from_rows(cx, input, r, rows);
}

dppo_tensor *dppo_cumprod(dppo_cx *cx, dppo_tensor *input, int dim) {
    reduced r;
    if (!input || !plan_reduction(cx, "cumprod", input, input->ndim > 0, &dim, &r)) return NULL;
    return record_reduced(cx, "cumprod", running(cx, "cumprod", input, &r, true, false), input, &r,
                          cumprod_backward);
}

static dppo_backward_function cumsum_backward, reverse_cumsum_backward;

/* Sums of all up to each element, or of all from it on: one is the other's gradient. */
static dppo_tensor *cumulative_sum(dppo_cx *cx, dppo_tensor *input, const reduced *r, bool backwards) {
    return record_reduced(cx, "cumsum", running(cx, "cumsum", input, r, false, backwards), input, r,
                          backwards ? reverse_cumsum_backward : cumsum_backward);
}

static void cumsum_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    gradients[0] = cumulative_sum(cx, g, node->saved, true);
}

static void reverse_cumsum_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                    dppo_tensor **gradients) {
    gradients[0] = cumulative_sum(cx, g, node->saved, false);
}

dppo_tensor *dppo_cumsum(dppo_cx *cx, dppo_tensor *input, int dim) {
    reduced r;
    if (!input || !plan_reduction(cx, "cumsum", input, input->ndim > 0, &dim, &r)) return NULL;
    return cumulative_sum(cx, input, &r, false);
}

/* -- quantile
 * ------------------------------------------------------------------------------------------------ */

/* Floats as numbers of the same order: NaN last, both zeros equal. */
static uint64_t sort_number(float x) {
    uint32_t bits;
    if (isnan(x)) return UINT32_MAX;
    if (x == 0.0f) x = 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? (uint32_t)~bits : bits | 0x80000000u;
}

/* Where the element of a rank is, equal ones ranked by their places. Its number is found byte by byte, by
 * counting how many share the bytes above; nothing is sorted, and no memory is needed. */
static int64_t place_of_rank(const float *x, int64_t n, int64_t rank) {
    uint64_t found = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        int64_t counts[256] = {0};
        for (int64_t i = 0; i < n; i++) {
            uint64_t order = sort_number(x[i]);
            if (order >> (shift + 8) == found) counts[order >> shift & 255]++;
        }
        uint64_t byte = 0;
        for (; rank >= counts[byte]; byte++)
            rank -= counts[byte];
        found = found << 8 | byte;
    }
    int64_t at = 0;
    while (sort_number(x[at]) != found || rank-- > 0)
        at++;
    return at;
}

/* The neighbours of one result's rank, as positions in its row, and the weight of the upper one; `slope` is
 * the result's derivative after q. */
typedef struct neighbours {
    int64_t below, above;
    float weight, value, slope;
} neighbours;

typedef struct quantile_saved {
    reduced r;
    neighbours *found; /* one a result */
} quantile_saved;

/* From the nearer end, as torch.lerp; the rank is float32 arithmetic as there. NaN when the row has one. Only
 * linear and midpoint look at both neighbours. */
static neighbours interpolate(const float *x, int64_t n, float q, dppo_interpolation how) {
    bool nan = false;
    for (int64_t i = 0; i < n; i++)
        nan = nan || isnan(x[i]);
    float rank = nan ? (float)(n - 1) : q * (float)(n - 1);
    if (how == DPPO_QUANTILE_LOWER) rank = floorf(rank);
    if (how == DPPO_QUANTILE_HIGHER) rank = ceilf(rank);
    if (how == DPPO_QUANTILE_NEAREST) rank = rintf(rank);
    int64_t low = place_of_rank(x, n, (int64_t)floorf(rank)), high = low;
    if (how != DPPO_QUANTILE_LINEAR && how != DPPO_QUANTILE_MIDPOINT)
        return (neighbours){low, low, 0.0f, x[low], 0.0f};
    if (ceilf(rank) > floorf(rank)) high = place_of_rank(x, n, (int64_t)ceilf(rank));
    float a = x[low], b = x[high], w = how == DPPO_QUANTILE_MIDPOINT ? 0.5f : rank - floorf(rank);
    float value = w < 0.5f ? fmaf(w, b - a, a) : fmaf(-(b - a), 1.0f - w, b);
    return (neighbours){low, high, w, value, nan ? 0.0f : (b - a) * (float)(n - 1)};
}

/* The neighbours share the gradient: 1 - weight and weight. */
static dppo_tensor *quantile_input_gradient(dppo_cx *cx, const quantile_saved *s, dppo_tensor *x,
                                            const float *up) {
    int64_t n = dppo_numel(x), results = n / s->r.count;
    dppo_tensor *rows = dppo_zeros(cx, DPPO_F32, 1, &n);
    for (int64_t i = 0; rows && i < results; i++) {
        float *row = dppo_f32(rows) + i * s->r.count;
        row[s->found[i].below] += up[i] * (1.0f - s->found[i].weight);
        row[s->found[i].above] += up[i] * s->found[i].weight;
    }
    return rows ? from_rows(cx, x, &s->r, rows) : NULL;
}

/* Inputs: x, and q where it is a tensor. */
static void quantile_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const quantile_saved *s = node->saved;
    const float *up = dppo_packed(cx, "quantile", g);
    if (!up) return;
    if (dppo_needs_grad(node, 0)) gradients[0] = quantile_input_gradient(cx, s, node->inputs[0], up);
    if (node->inputs[1] && dppo_needs_grad(node, 1)) {
        float sum = 0.0f;
        for (int64_t i = 0, results = dppo_numel(g); i < results; i++)
            sum += up[i] * s->found[i].slope;
        gradients[1] = dppo_from_f32(cx, 0, NULL, &sum);
    }
    for (int i = 0; i < 2; i++)
        if (gradients[i])
            (void)dppo_record(cx, "quantile_backward", gradients[i], 1, &g, dppo_no_second_derivative);
}

/* One quantile; q_tensor (rank 0) gets a gradient where it decides a weight. */
static dppo_tensor *one_quantile(dppo_cx *cx, dppo_tensor *input, float q, dppo_tensor *q_tensor, int dim,
                                 bool keepdim, dppo_interpolation how) {
    const char *name = "quantile";
    quantile_saved saved;
    if (!input || !plan_reduction(cx, name, input, dim == DPPO_ALL ? 0 : input->ndim > 0, &dim, &saved.r))
        return NULL;
    int64_t n = saved.r.count;
    const float *x = rows_of(cx, name, input, &saved.r);
    dppo_tensor *out = x ? reduced_result(cx, DPPO_F32, input, &saved.r, keepdim) : NULL;
    if (!out) return NULL;
    const int64_t most = (int64_t)1 << 24; /* torch refuses more: float32 ranks would be inexact */
    if (n == 0 || n > most || !(q >= 0.0f && q <= 1.0f))
        return dppo_context_fail(cx, DPPO_INVALID, "quantile: q = %g of %lld elements", (double)q,
                                 (long long)n);
    size_t results = (size_t)dppo_numel(out);
    saved.found = dppo_arena_alloc(dppo_context_arena(cx), (results + 1) * sizeof *saved.found);
    for (size_t i = 0; saved.found && i < results; i++) {
        saved.found[i] = interpolate(x + (int64_t)i * n, n, q, how);
        dppo_f32(out)[i] = saved.found[i].value;
    }
    if (!saved.found)
        out = dppo_context_fail(cx, DPPO_NO_MEMORY, "quantile: no memory for %lld elements", (long long)n);
    dppo_tensor *inputs[2] = {input, how == DPPO_QUANTILE_LINEAR ? q_tensor : NULL};
    dppo_node *node = out ? dppo_record(cx, name, out, 2, inputs, quantile_backward) : NULL;
    if (node) node->saved = saved_copy(cx, name, &saved, sizeof saved);
    return out;
}

dppo_tensor *dppo_quantile_dim(dppo_cx *cx, dppo_tensor *input, double q, int dim, bool keepdim) {
    return one_quantile(cx, input, (float)q, NULL, dim, keepdim, DPPO_QUANTILE_LINEAR);
}

dppo_tensor *dppo_quantiles(dppo_cx *cx, dppo_tensor *input, dppo_tensor *q, int dim, bool keepdim,
                            dppo_interpolation how) {
    if (!input || !q) return NULL;
    if (q->dtype != DPPO_F32 || q->ndim > 1 || dppo_numel(q) == 0)
        return dppo_context_fail(cx, DPPO_INVALID, "quantile: q is no float32 of one dim");
    if (q->ndim == 0) return one_quantile(cx, input, (float)dppo_tensor_at(q, 0), q, dim, keepdim, how);
    int64_t count = q->shape[0];
    dppo_tensor **each = dppo_arena_alloc(dppo_context_arena(cx), (size_t)count * sizeof(dppo_tensor *));
    if (!each) return dppo_context_fail(cx, DPPO_NO_MEMORY, "quantile: out of memory");
    for (int64_t i = 0; i < count; i++) {
        dppo_tensor *one = dppo_select(cx, q, 0, i);
        each[i] = one ? one_quantile(cx, input, (float)dppo_tensor_at(one, 0), one, dim, keepdim, how) : NULL;
        if (!each[i]) return NULL;
    }
    return dppo_stack(cx, (int)count, each, 0);
}

dppo_tensor *dppo_quantile(dppo_cx *cx, dppo_tensor *input, double q) {
    return dppo_quantile_dim(cx, input, q, DPPO_ALL, false);
}

double dppo_item(dppo_cx *cx, dppo_tensor *input) {
    if (!input) return NAN;
    if (dppo_numel(input) == 1) return dppo_tensor_at(input, 0);
    char text[128];
    (void)dppo_context_fail(cx, DPPO_INVALID, "item: of a tensor of shape %s",
                            dppo_shape_text(input->ndim, input->shape, text, sizeof text));
    return NAN;
}
