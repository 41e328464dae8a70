/* Tensors: typed, strided arrays with PyTorch's meaning of shape and stride.
 *
 * A tensor owns nothing: its struct and its data live in an arena (results of operations) or in a
 * dppo_named map or module (inputs, parameters, state). Views share the data of what they view. */
#ifndef DPPO_TENSOR_TENSOR_H
#define DPPO_TENSOR_TENSOR_H

#include "base/arena.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DPPO_MAX_DIMS = 8 };

typedef enum dppo_dtype { DPPO_F32, DPPO_F64, DPPO_I64, DPPO_BOOL /* one byte, 0 or 1 */ } dppo_dtype;

struct dppo_node; /* autograd/autograd.h */

typedef struct dppo_tensor {
    dppo_dtype dtype;
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    int64_t stride[DPPO_MAX_DIMS]; /* in elements; 0 where expanded */
    void *data;                    /* first element; borrowed */
    bool spare;                    /* a gradient nobody else looks at: its reader may overwrite it */
    bool requires_grad;            /* a leaf the user wants a gradient of, or a recorded result */
    struct dppo_node *node;        /* what computed it, NULL for leaves; autograd's */
    struct dppo_tensor *grad;      /* of a leaf: same shape, contiguous, accumulated by backward; or NULL */
} dppo_tensor;

size_t dppo_dtype_size(dppo_dtype dtype);
const char *dppo_dtype_name(dppo_dtype dtype); /* "float32", "float64", "int64", "bool" */

int64_t dppo_numel(const dppo_tensor *tensor);
bool dppo_is_contiguous(const dppo_tensor *tensor);
bool dppo_same_shape(const dppo_tensor *a, const dppo_tensor *b);

/* "(2, 3)" into `buffer`; returns buffer. */
char *dppo_shape_text(int ndim, const int64_t *shape, char *buffer, size_t size);

/* Typed access to the first element of a tensor of that dtype. */
static inline float *dppo_f32(const dppo_tensor *tensor) {
    return (float *)tensor->data;
}
static inline double *dppo_f64(const dppo_tensor *tensor) {
    return (double *)tensor->data;
}
static inline int64_t *dppo_i64(const dppo_tensor *tensor) {
    return (int64_t *)tensor->data;
}
static inline uint8_t *dppo_bool(const dppo_tensor *tensor) {
    return (uint8_t *)tensor->data;
}

/* A contiguous tensor in `arena`, uninitialised; NULL on memory, ndim or a negative or overflowing shape. */
dppo_tensor *dppo_tensor_new(dppo_arena *arena, dppo_dtype dtype, int ndim, const int64_t *shape);

/* The same on the heap (zeroed), freed by dppo_tensor_free() together with its grad. */
dppo_tensor *dppo_tensor_heap(dppo_dtype dtype, int ndim, const int64_t *shape);
void dppo_tensor_free(dppo_tensor *tensor);

/* Copies any strided tensor's elements to `out`, row-major (numel elements of its dtype). */
void dppo_tensor_pack(const dppo_tensor *tensor, void *out);

/* Copies the elements of `from` into `to` (equal shapes; dtypes are converted as torch's copy_ does). */
dppo_status dppo_tensor_copy(dppo_tensor *to, const dppo_tensor *from);

/* Element `index` in row-major order, as a double (bool as 0/1; int64 rounds beyond 2^53). */
double dppo_tensor_at(const dppo_tensor *tensor, int64_t index);

#endif
