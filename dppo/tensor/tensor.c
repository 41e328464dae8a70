#include "tensor/tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t dppo_dtype_size(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return sizeof(float);
    case DPPO_F64:
        return sizeof(double);
    case DPPO_I64:
        return sizeof(int64_t);
    case DPPO_BOOL:
        return sizeof(uint8_t);
    }
    return 0;
}

const char *dppo_dtype_name(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return "float32";
    case DPPO_F64:
        return "float64";
    case DPPO_I64:
        return "int64";
    case DPPO_BOOL:
        return "bool";
    }
    return "unknown";
}

int64_t dppo_numel(const dppo_tensor *tensor) {
    int64_t count = 1;
    for (int d = 0; d < tensor->ndim; d++)
        count *= tensor->shape[d];
    return count;
}

bool dppo_is_contiguous(const dppo_tensor *tensor) {
    int64_t expected = 1;
    for (int d = tensor->ndim - 1; d >= 0; d--) {
        if (tensor->shape[d] == 0) return true;
        if (tensor->shape[d] != 1 && tensor->stride[d] != expected) return false;
        expected *= tensor->shape[d];
    }
    return true;
}

bool dppo_same_shape(const dppo_tensor *a, const dppo_tensor *b) {
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++)
        if (a->shape[d] != b->shape[d]) return false;
    return true;
}

char *dppo_shape_text(int ndim, const int64_t *shape, char *buffer, size_t size) {
    size_t used = 0;
    if (size == 0) return buffer;
    buffer[0] = '\0';
    for (int d = 0; d < ndim && used < size; d++) {
        int length = snprintf(buffer + used, size - used, "%s%lld", d ? ", " : "(", (long long)shape[d]);
        if (length < 0) return buffer;
        used += (size_t)length;
    }
    if (used < size) (void)snprintf(buffer + used, size - used, ndim == 0 ? "()" : ndim == 1 ? ",)" : ")");
    return buffer;
}

/* Elements of a shape, or -1 when it is not one: too many dims, a negative size, more than 2^40 elements. */
static int64_t checked_numel(int ndim, const int64_t *shape) {
    int64_t count = 1;
    if (ndim < 0 || ndim > DPPO_MAX_DIMS) return -1;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] < 0 || shape[d] > ((int64_t)1 << 40)) return -1;
        if (shape[d] != 0 && count > ((int64_t)1 << 40) / shape[d]) return -1;
        count *= shape[d];
    }
    return count;
}

static void describe(dppo_tensor *tensor, dppo_dtype dtype, int ndim, const int64_t *shape, void *data) {
    *tensor = (dppo_tensor){.dtype = dtype, .ndim = ndim, .data = data};
    int64_t stride = 1;
    for (int d = ndim - 1; d >= 0; d--) {
        tensor->shape[d] = shape[d];
        tensor->stride[d] = stride;
        stride *= shape[d] > 0 ? shape[d] : 1;
    }
}

dppo_tensor *dppo_tensor_new(dppo_arena *arena, dppo_dtype dtype, int ndim, const int64_t *shape) {
    int64_t count = checked_numel(ndim, shape);
    if (count < 0) return NULL;
    dppo_tensor *tensor = dppo_arena_alloc(arena, sizeof *tensor);
    void *data = dppo_arena_alloc(arena, (size_t)count * dppo_dtype_size(dtype));
    if (!tensor || !data) return NULL;
    describe(tensor, dtype, ndim, shape, data);
    return tensor;
}

dppo_tensor *dppo_tensor_heap(dppo_dtype dtype, int ndim, const int64_t *shape) {
    int64_t count = checked_numel(ndim, shape);
    if (count < 0) return NULL;
    size_t bytes = ((size_t)count * dppo_dtype_size(dtype) + 63) / 64 * 64;
    dppo_tensor *tensor = calloc(1, sizeof *tensor);
    void *data = aligned_alloc(64, bytes ? bytes : 64);
    if (!tensor || !data) {
        free(tensor);
        free(data);
        return NULL;
    }
    memset(data, 0, bytes);
    describe(tensor, dtype, ndim, shape, data);
    return tensor;
}

void dppo_tensor_free(dppo_tensor *tensor) {
    if (!tensor) return;
    dppo_tensor_free(tensor->grad);
    free(tensor->data);
    free(tensor);
}

/* Copies one row of `count` elements that lie `stride` apart. */
static void pack_row(const unsigned char *from, int64_t stride, int64_t count, size_t size,
                     unsigned char *out) {
    if (stride == 1) {
        memcpy(out, from, (size_t)count * size);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        memcpy(out + (size_t)i * size, from + i * stride * (int64_t)size, size);
}

void dppo_tensor_pack(const dppo_tensor *tensor, void *out) {
    size_t size = dppo_dtype_size(tensor->dtype);
    int64_t count = dppo_numel(tensor);
    if (count == 0) return;
    if (dppo_is_contiguous(tensor)) {
        memcpy(out, tensor->data, (size_t)count * size);
        return;
    }
    int last = tensor->ndim - 1;
    int64_t row = tensor->shape[last], index[DPPO_MAX_DIMS] = {0};
    unsigned char *to = out;
    for (int64_t done = 0; done < count; done += row, to += (size_t)row * size) {
        int64_t offset = 0;
        for (int d = 0; d < last; d++)
            offset += index[d] * tensor->stride[d];
        pack_row((const unsigned char *)tensor->data + offset * (int64_t)size, tensor->stride[last], row,
                 size, to);
        for (int d = last - 1; d >= 0 && ++index[d] == tensor->shape[d]; d--)
            index[d] = 0;
    }
}

static int64_t element_offset(const dppo_tensor *tensor, int64_t index) {
    int64_t offset = 0;
    for (int d = tensor->ndim - 1; d >= 0; d--) {
        offset += index % tensor->shape[d] * tensor->stride[d];
        index /= tensor->shape[d];
    }
    return offset;
}

static double number_at(const dppo_tensor *tensor, int64_t at) {
    switch (tensor->dtype) {
    case DPPO_F32:
        return (double)dppo_f32(tensor)[at];
    case DPPO_F64:
        return dppo_f64(tensor)[at];
    case DPPO_I64:
        return (double)dppo_i64(tensor)[at];
    case DPPO_BOOL:
        return (double)dppo_bool(tensor)[at];
    }
    return NAN;
}

double dppo_tensor_at(const dppo_tensor *tensor, int64_t index) {
    return number_at(tensor, element_offset(tensor, index));
}

static int64_t integer_at(const dppo_tensor *tensor, int64_t at) {
    if (tensor->dtype == DPPO_I64) return dppo_i64(tensor)[at];
    if (tensor->dtype == DPPO_BOOL) return dppo_bool(tensor)[at];
    double value = tensor->dtype == DPPO_F32 ? (double)dppo_f32(tensor)[at] : dppo_f64(tensor)[at];
    /* Out of range is undefined in C and INT64_MIN on x86, which is what torch shows. */
    return value >= -0x1p63 && value < 0x1p63 ? (int64_t)value : INT64_MIN;
}

static void set_element(dppo_tensor *to, int64_t at, const dppo_tensor *from, int64_t source) {
    switch (to->dtype) {
    case DPPO_F32:
        dppo_f32(to)[at] =
            from->dtype == DPPO_I64 ? (float)dppo_i64(from)[source] : (float)number_at(from, source);
        break;
    case DPPO_F64:
        dppo_f64(to)[at] = number_at(from, source);
        break;
    case DPPO_I64:
        dppo_i64(to)[at] = integer_at(from, source);
        break;
    case DPPO_BOOL:
        dppo_bool(to)[at] = number_at(from, source) != 0;
        break;
    }
}

dppo_status dppo_tensor_copy(dppo_tensor *to, const dppo_tensor *from) {
    char a[128], b[128];
    if (!dppo_same_shape(to, from))
        return dppo_fail(DPPO_INVALID, "copy: shape %s does not fit %s",
                         dppo_shape_text(from->ndim, from->shape, a, sizeof a),
                         dppo_shape_text(to->ndim, to->shape, b, sizeof b));
    if (to->dtype == from->dtype && dppo_is_contiguous(to)) {
        dppo_tensor_pack(from, to->data);
        return DPPO_OK;
    }
    int64_t count = dppo_numel(to);
    bool plain_to = dppo_is_contiguous(to), plain_from = dppo_is_contiguous(from);
    for (int64_t i = 0; i < count; i++)
        set_element(to, plain_to ? i : element_offset(to, i), from, plain_from ? i : element_offset(from, i));
    return DPPO_OK;
}
