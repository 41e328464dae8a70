/* Products of matrices. Which operand is handed to BLAS transposed is decided as libtorch decides it, from
 * the strides: for small and thin shapes the bits depend on it. */
#include "autograd/dims.h"
#include "autograd/map.h"
#include "autograd/rows_internal.h"

#include <string.h>

/* A 2-D tensor with one stride 1 and the other at least as long as what it steps over, or NULL after a
 * failure. */
typedef struct operand {
    const float *data;
    bool transpose;
    int64_t ld;
} operand;

/* `rows_first`: whether BLAS (column-major) sees the matrix through its dims in reverse order. The stored
 * size along the dense dim is `across` when not transposed, `along` when it is. */
static operand blas_operand(dppo_cx *cx, const dppo_tensor *x, bool rows_first, int64_t across,
                            int64_t along) {
    int dense = rows_first ? 1 : 0, other = 1 - dense;
    int64_t least = across > 1 ? across : 1, least_transposed = along > 1 ? along : 1;
    if (x->stride[dense] == 1 && x->stride[other] >= least)
        return (operand){dppo_f32(x), false, x->stride[other]};
    if (x->stride[other] == 1 && x->stride[dense] >= least_transposed)
        return (operand){dppo_f32(x), true, x->stride[dense]};
    int64_t columns = x->shape[1] > 1 ? x->shape[1] : 1;
    return (operand){dppo_packed(cx, "matmul", x), !rows_first, columns};
}

/* out (M, N), contiguous, = a (M, K) b (K, N) added to `start` (N) in every row, or where that is NULL to
 * beta out. */
typedef struct product {
    float *out;
    const dppo_tensor *a, *b;
    float beta;
    const float *start;
} product;

static bool multiply(dppo_cx *cx, const product *p);

/* The same with rows of zeros below `a`, so many that the product is not a small one. */
static bool multiply_padded(dppo_cx *cx, const product *p) {
    int64_t M = p->a->shape[0], K = p->a->shape[1], N = p->b->shape[1], rows = M;
    while (dppo_kernel_gemm_is_small(rows, N, K))
        rows += DPPO_ROWS_TILE;
    float *wide = dppo_arena_alloc(dppo_context_arena(cx), (size_t)(rows * (K + N)) * sizeof(float));
    if (!wide) return dppo_context_fail(cx, DPPO_NO_MEMORY, "matmul: out of memory"), false;
    float *result = wide + rows * K;
    dppo_tensor padded = {.dtype = DPPO_F32, .ndim = 2, .shape = {rows, K}, .stride = {K, 1}, .data = wide};
    dppo_tensor_pack(p->a, wide);
    memset(wide + M * K, 0, (size_t)((rows - M) * K) * sizeof(float));
    if (!p->start) {
        memcpy(result, p->out, (size_t)(M * N) * sizeof(float));
        memset(result + M * N, 0, (size_t)((rows - M) * N) * sizeof(float));
    }
    if (!multiply(cx, &(product){result, &padded, p->b, p->beta, p->start})) return false;
    memcpy(p->out, result, (size_t)(M * N) * sizeof(float));
    return true;
}

/* A single column is column-major as it stands; everything else is computed as its transpose:
 * column-major (m, n) = x y is row-major (n, m) = y' x'. */
static bool multiply(dppo_cx *cx, const product *p) {
    int64_t M = p->a->shape[0], K = p->a->shape[1], N = p->b->shape[1];
    if (p->a->stride[1] == 1 && dppo_rows_pads(dppo_context_rows(cx), M, N, K)) return multiply_padded(cx, p);
    bool rows_first = N != 1;
    const dppo_tensor *first = rows_first ? p->b : p->a, *second = rows_first ? p->a : p->b;
    int64_t m = rows_first ? N : M, n = rows_first ? M : N;
    operand x = blas_operand(cx, first, rows_first, m, K), y = blas_operand(cx, second, rows_first, K, n);
    if (!x.data || !y.data) return false;
    if (n == 1) y.ld = y.transpose ? y.ld : (K > 1 ? K : 1);
    if (K == 1) x.ld = x.transpose ? x.ld : m, y.ld = y.transpose ? n : y.ld;
    if (m == 1 && x.transpose) x.ld = K > 1 ? K : 1;
    for (int64_t i = 0; p->start && !rows_first && i < M; i++)
        p->out[i] = *p->start;
    if (p->start && rows_first)
        dppo_kernel_gemm_from(y.transpose, x.transpose, n, m, K, y.data, y.ld, x.data, x.ld, p->start, p->out,
                              m);
    else
        dppo_kernel_gemm(y.transpose, x.transpose, n, m, K, y.data, y.ld, x.data, x.ld,
                         p->start ? 1.0f : p->beta, p->out, m);
    return true;
}

bool dppo_multiply_into(dppo_cx *cx, float *out, const dppo_tensor *a, const dppo_tensor *b, float beta) {
    return multiply(cx, &(product){out, a, b, beta, NULL});
}

static bool check_matrices(dppo_cx *cx, const char *name, const dppo_tensor *a, const dppo_tensor *b) {
    char ta[128], tb[128];
    if (a->dtype != DPPO_F32 || b->dtype != DPPO_F32) {
        (void)dppo_context_fail(cx, DPPO_INVALID, "%s: float32 expected, got %s and %s", name,
                                dppo_dtype_name(a->dtype), dppo_dtype_name(b->dtype));
        return false;
    }
    int64_t inner = b->ndim > 1 ? b->shape[b->ndim - 2] : b->ndim == 1 ? b->shape[0] : -1;
    if (a->ndim > 0 && a->shape[a->ndim - 1] == inner) return true;
    (void)dppo_context_fail(cx, DPPO_INVALID, "%s: shapes %s and %s cannot be multiplied", name,
                            dppo_shape_text(a->ndim, a->shape, ta, sizeof ta),
                            dppo_shape_text(b->ndim, b->shape, tb, sizeof tb));
    return false;
}

static bool column_major(const dppo_tensor *x) {
    return x->stride[0] == 1 && x->stride[1] == x->shape[0];
}

static dppo_tensor *mm(dppo_cx *cx, dppo_tensor *a, dppo_tensor *b);

static dppo_tensor *turned(dppo_cx *cx, dppo_tensor *x) {
    return dppo_transpose(cx, x, 0, 1);
}

/* Of c = a b: of a, g b'; of b, a' g; computed transposed where the operand lies transposed. */
static dppo_tensor *gradient_of_first(dppo_cx *cx, dppo_tensor *g, dppo_tensor *a, dppo_tensor *b) {
    if (column_major(a)) return turned(cx, mm(cx, b, turned(cx, g)));
    dppo_tensor *gradient = mm(cx, g, turned(cx, b));
    if (gradient) gradient->spare = true;
    return gradient;
}

static dppo_tensor *gradient_of_second(dppo_cx *cx, dppo_tensor *g, dppo_tensor *a, dppo_tensor *b) {
    return column_major(b) ? turned(cx, mm(cx, turned(cx, g), a)) : mm(cx, turned(cx, a), g);
}

static void mm_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *a = node->inputs[0], *b = node->inputs[1];
    if (dppo_needs_grad(node, 0)) gradients[0] = gradient_of_first(cx, g, a, b);
    if (dppo_needs_grad(node, 1)) gradients[1] = gradient_of_second(cx, g, a, b);
}

static dppo_tensor *mm(dppo_cx *cx, dppo_tensor *a, dppo_tensor *b) {
    if (!a || !b) return NULL;
    dppo_tensor *out = dppo_result(cx, DPPO_F32, 2, (int64_t[]){a->shape[0], b->shape[1]});
    if (!out || !dppo_multiply_into(cx, dppo_f32(out), a, b, 0.0f)) return NULL;
    (void)dppo_record(cx, "mm", out, 2, (dppo_tensor *[]){a, b}, mm_backward);
    return out;
}

/* -- linear
 * --------------------------------------------------------------------------------------------------- */

static void addmm_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *x = node->inputs[0], *weight = node->inputs[1], *bias = node->inputs[2];
    if (dppo_needs_grad(node, 0)) gradients[0] = gradient_of_first(cx, g, x, turned(cx, weight));
    if (dppo_rows_add(cx, weight, bias, x, g)) return;
    if (dppo_needs_grad(node, 2)) gradients[2] = dppo_sum_to_size(cx, g, bias->ndim, bias->shape);
    if (dppo_needs_grad(node, 1)) gradients[1] = turned(cx, gradient_of_second(cx, g, x, turned(cx, weight)));
}

/* x (M, K), weight (N, K), bias (N): the bias is in the sum from the start. */
static dppo_tensor *addmm(dppo_cx *cx, dppo_tensor *x, dppo_tensor *weight, dppo_tensor *bias) {
    if (!x) return NULL;
    const float *start = dppo_packed(cx, "linear", bias);
    int64_t M = x->shape[0], N = weight->shape[0];
    dppo_tensor *out = start ? dppo_result(cx, DPPO_F32, 2, (int64_t[]){M, N}) : NULL;
    if (!out) return NULL;
    dppo_tensor across = *weight;
    across.shape[0] = weight->shape[1], across.shape[1] = weight->shape[0];
    across.stride[0] = weight->stride[1], across.stride[1] = weight->stride[0];
    if (!multiply(cx, &(product){dppo_f32(out), x, &across, 1.0f, start})) return NULL;
    (void)dppo_record(cx, "linear", out, 3, (dppo_tensor *[]){x, weight, bias}, addmm_backward);
    return out;
}

dppo_tensor *dppo_linear(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias) {
    if (!input || !weight) return NULL;
    int last = input->ndim - 1;
    if (weight->ndim != 2 || (bias && (bias->ndim != 1 || bias->shape[0] != weight->shape[0])))
        return dppo_context_fail(cx, DPPO_INVALID, "linear: weight and bias do not go together");
    dppo_tensor across = {.dtype = weight->dtype, .ndim = 2, .shape = {weight->shape[1], weight->shape[0]}};
    if (!check_matrices(cx, "linear", input, &across)) return NULL;
    int64_t shape[DPPO_MAX_DIMS], flat[2] = {1, input->shape[last]};
    memcpy(shape, input->shape, sizeof shape);
    shape[last] = weight->shape[0];
    for (int d = 0; d < last; d++)
        flat[0] *= input->shape[d];
    bool fused = bias && (input->ndim == 2 || (input->ndim == 3 && dppo_is_contiguous(input)));
    dppo_tensor *x = input->ndim == 2 ? input : dppo_reshape(cx, input, 2, flat);
    dppo_tensor *y = fused ? addmm(cx, x, weight, bias) : mm(cx, x, dppo_transpose(cx, weight, 0, 1));
    if (input->ndim != 2) y = dppo_reshape(cx, y, input->ndim, shape);
    return bias && !fused ? dppo_add(cx, y, bias) : y;
}

static bool add_layer(dppo_cx *cx, dppo_kernel_layer *to, int64_t M, int64_t in, const dppo_tensor *weight,
                      const dppo_tensor *bias) {
    if (!bias || weight->dtype != DPPO_F32 || weight->ndim != 2 || weight->shape[1] != in ||
        !dppo_is_contiguous(weight) || !dppo_is_contiguous(bias))
        return false;
    *to = (dppo_kernel_layer){dppo_f32(weight), dppo_f32(bias), in, weight->shape[0]};
    return !dppo_rows_pads(dppo_context_rows(cx), M, to->out, in);
}

dppo_tensor *dppo_residual_layers(dppo_cx *cx, const dppo_tensor *input, size_t count,
                                  const dppo_tensor *const *weights, const dppo_tensor *const *biases) {
    dppo_kernel_layer layers[DPPO_KERNEL_LAYERS];
    if (dppo_grad_enabled(cx) || count > DPPO_KERNEL_LAYERS || input->ndim != 2 || input->dtype != DPPO_F32 ||
        !dppo_is_contiguous(input))
        return NULL;
    int64_t M = input->shape[0];
    for (size_t i = 0; i < count; i++)
        if (!add_layer(cx, &layers[i], M, i == 0 ? input->shape[1] : layers[0].out, weights[i], biases[i]))
            return NULL;
    int64_t floats = dppo_kernel_residual_memory(M, count, layers);
    if (floats == 0) return NULL;
    float *memory = dppo_arena_alloc(dppo_context_arena(cx), (size_t)floats * sizeof(float));
    dppo_tensor *out = memory ? dppo_result(cx, DPPO_F32, 2, (int64_t[]){M, layers[0].out}) : NULL;
    if (!out) return NULL;
    dppo_kernel_residual_layers(M, count, layers, dppo_f32(input), dppo_f32(out), memory);
    return out;
}

/* -- matmul
 * ---------------------------------------------------------------------------------------------------- */

static void dot_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    for (int i = 0; i < 2; i++)
        if (dppo_needs_grad(node, i)) gradients[i] = dppo_mul(cx, g, node->inputs[1 - i]);
}

dppo_tensor *dppo_dot(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    if (!input || !other) return NULL;
    if (input->ndim != 1 || other->ndim != 1)
        return dppo_context_fail(cx, DPPO_INVALID, "dot: vectors expected, got %d and %d dims", input->ndim,
                                 other->ndim);
    if (!check_matrices(cx, "dot", input, other)) return NULL;
    const float *a = dppo_packed(cx, "dot", input), *b = dppo_packed(cx, "dot", other);
    dppo_tensor *out = a && b ? dppo_result(cx, DPPO_F32, 0, NULL) : NULL;
    if (!out) return NULL;
    *dppo_f32(out) = dppo_kernel_dot(input->shape[0], a, b);
    (void)dppo_record(cx, "dot", out, 2, (dppo_tensor *[]){input, other}, dot_backward);
    return out;
}

static void mv_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *a = node->inputs[0], *x = node->inputs[1];
    if (dppo_needs_grad(node, 0))
        gradients[0] = dppo_mul(cx, dppo_unsqueeze(cx, g, 1), dppo_unsqueeze(cx, x, 0));
    if (dppo_needs_grad(node, 1)) gradients[1] = dppo_matmul(cx, dppo_transpose(cx, a, 0, 1), g);
}

/* (M, K) times (K) */
static dppo_tensor *mv(dppo_cx *cx, dppo_tensor *a, dppo_tensor *x) {
    const float *vector = dppo_packed(cx, "matmul", x);
    dppo_tensor *out = vector ? dppo_result(cx, DPPO_F32, 1, a->shape) : NULL;
    if (!out) return NULL;
    operand matrix = blas_operand(cx, a, false, a->shape[0], a->shape[1]);
    if (!matrix.data) return NULL;
    dppo_kernel_gemv(!matrix.transpose, a->shape[0], a->shape[1], matrix.data, matrix.ld, vector,
                     dppo_f32(out));
    (void)dppo_record(cx, "mv", out, 2, (dppo_tensor *[]){a, x}, mv_backward);
    return out;
}

static void bmm_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    dppo_tensor *a = node->inputs[0], *b = node->inputs[1];
    if (dppo_needs_grad(node, 0)) gradients[0] = dppo_matmul(cx, g, dppo_transpose(cx, b, 1, 2));
    if (dppo_needs_grad(node, 1)) gradients[1] = dppo_matmul(cx, dppo_transpose(cx, a, 1, 2), g);
}

static dppo_tensor matrix_of_batch(const dppo_tensor *x, int64_t i) {
    dppo_tensor m = *x;
    m.ndim = 2;
    m.data = dppo_f32(x) + i * x->stride[0];
    for (int d = 0; d < 2; d++)
        m.shape[d] = x->shape[d + 1], m.stride[d] = x->stride[d + 1];
    return m;
}

enum { SMALL_BATCHED_PRODUCT = 400 };

/* libtorch multiplies small matrices of a batch with plain loops. */
static void multiply_small(float *out, const dppo_tensor *a, const dppo_tensor *b) {
    for (int64_t i = 0; i < a->shape[0]; i++)
        for (int64_t j = 0; j < b->shape[1]; j++) {
            float sum = 0.0f;
            for (int64_t k = 0; k < a->shape[1]; k++)
                sum += dppo_f32(a)[i * a->stride[0] + k * a->stride[1]] *
                       dppo_f32(b)[k * b->stride[0] + j * b->stride[1]];
            out[i * b->shape[1] + j] = sum;
        }
}

/* (B, M, K) times (B, K, N) */
static dppo_tensor *bmm(dppo_cx *cx, dppo_tensor *a, dppo_tensor *b) {
    if (!a || !b) return NULL;
    int64_t shape[3] = {a->shape[0], a->shape[1], b->shape[2]};
    dppo_tensor *out = dppo_result(cx, DPPO_F32, 3, shape);
    if (!out) return NULL;
    for (int64_t i = 0; i < shape[0]; i++) {
        dppo_tensor x = matrix_of_batch(a, i), y = matrix_of_batch(b, i);
        float *to = dppo_f32(out) + i * shape[1] * shape[2];
        if (shape[1] * shape[2] * a->shape[2] < SMALL_BATCHED_PRODUCT)
            multiply_small(to, &x, &y);
        else if (!dppo_multiply_into(cx, to, &x, &y, 0.0f))
            return NULL;
    }
    (void)dppo_record(cx, "bmm", out, 2, (dppo_tensor *[]){a, b}, bmm_backward);
    return out;
}

/* The batch dims of x expanded to `batch` and folded into one. */
static dppo_tensor *folded(dppo_cx *cx, dppo_tensor *x, int batch_ndim, const int64_t *batch) {
    int64_t shape[DPPO_MAX_DIMS], fold[3] = {1, x->shape[x->ndim - 2], x->shape[x->ndim - 1]};
    memcpy(shape, batch, (size_t)batch_ndim * sizeof *shape);
    memcpy(shape + batch_ndim, fold + 1, 2 * sizeof *shape);
    for (int d = 0; d < batch_ndim; d++)
        fold[0] *= batch[d];
    return dppo_reshape(cx, dppo_expand(cx, x, batch_ndim + 2, shape), 3, fold);
}

static dppo_tensor *batched(dppo_cx *cx, dppo_tensor *a, dppo_tensor *b) {
    dppo_tensor x = *a, y = *b;
    int batch_ndim;
    int64_t shape[DPPO_MAX_DIMS];
    x.ndim -= 2, y.ndim -= 2;
    if (!dppo_broadcast_shape(cx, "matmul", &x, &y, &batch_ndim, shape)) return NULL;
    if (batch_ndim + 2 > DPPO_MAX_DIMS) return dppo_context_fail(cx, DPPO_INVALID, "matmul: too many dims");
    dppo_tensor *out = bmm(cx, folded(cx, a, batch_ndim, shape), folded(cx, b, batch_ndim, shape));
    shape[batch_ndim] = a->shape[a->ndim - 2];
    shape[batch_ndim + 1] = b->shape[b->ndim - 1];
    return dppo_reshape(cx, out, batch_ndim + 2, shape);
}

dppo_tensor *dppo_matmul(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other) {
    if (!input || !other || !check_matrices(cx, "matmul", input, other)) return NULL;
    int last = input->ndim - 1;
    if (last == 0 && other->ndim == 1) return dppo_dot(cx, input, other);
    if (last == 0 && other->ndim == 2)
        return dppo_squeeze_dim(cx, dppo_matmul(cx, dppo_unsqueeze(cx, input, 0), other), 0);
    if (last == 0) return dppo_matmul(cx, dppo_transpose(cx, other, -2, -1), input);
    if (last == 1 && other->ndim == 1) return mv(cx, input, other);
    if (last == 1 && other->ndim == 2) return mm(cx, input, other);
    if (other->ndim > 2) return batched(cx, input, other);
    /* leading dims are rows */
    int64_t shape[DPPO_MAX_DIMS], flat[2] = {1, input->shape[last]};
    memcpy(shape, input->shape, sizeof shape);
    for (int d = 0; d < last; d++)
        flat[0] *= shape[d];
    dppo_tensor *rows = dppo_matmul(cx, dppo_reshape(cx, input, 2, flat), other);
    shape[last] = other->shape[other->ndim - 1];
    return dppo_reshape(cx, rows, other->ndim == 1 ? last : last + 1, shape);
}
