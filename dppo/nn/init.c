#include "nn/init.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

dppo_status dppo_init_normal(dppo_generator *generator, dppo_tensor *tensor, double mean, double std) {
    return dppo_draw_normal(generator, tensor, mean, std);
}

dppo_status dppo_init_uniform(dppo_generator *generator, dppo_tensor *tensor, double from, double to) {
    return dppo_draw_uniform(generator, tensor, from, to);
}

dppo_status dppo_init_constant(dppo_tensor *tensor, double value) {
    if (tensor->dtype != DPPO_F32 || !dppo_is_contiguous(tensor))
        return dppo_fail(DPPO_INVALID, "init: the tensor must be contiguous float32");
    int64_t count = dppo_numel(tensor);
    for (int64_t i = 0; i < count; i++)
        dppo_f32(tensor)[i] = (float)value;
    return DPPO_OK;
}

dppo_status dppo_init_zeros(dppo_tensor *tensor) {
    return dppo_init_constant(tensor, 0);
}

dppo_status dppo_init_ones(dppo_tensor *tensor) {
    return dppo_init_constant(tensor, 1);
}

static dppo_status fans(const dppo_tensor *tensor, double *fan_in, double *fan_out) {
    if (tensor->ndim < 2)
        return dppo_fail(DPPO_INVALID, "init: fan in and fan out of a tensor with %d dimensions",
                         tensor->ndim);
    double filter = 1;
    for (int i = 2; i < tensor->ndim; i++)
        filter *= (double)tensor->shape[i];
    *fan_in = (double)tensor->shape[1] * filter;
    *fan_out = (double)tensor->shape[0] * filter;
    return DPPO_OK;
}

/* Glorot and Bengio (2010): std = gain sqrt(2 / (fan_in + fan_out)); a uniform of that std ends at sqrt(3)
 * std. */
dppo_status dppo_init_xavier_normal(dppo_generator *generator, dppo_tensor *tensor, double gain) {
    double in, out;
    DPPO_TRY(fans(tensor, &in, &out));
    return dppo_draw_normal(generator, tensor, 0, gain * sqrt(2.0 / (in + out)));
}

dppo_status dppo_init_xavier_uniform(dppo_generator *generator, dppo_tensor *tensor, double gain) {
    double in, out;
    DPPO_TRY(fans(tensor, &in, &out));
    double bound = sqrt(3.0) * (gain * sqrt(2.0 / (in + out)));
    return dppo_draw_uniform(generator, tensor, -bound, bound);
}

/* He et al. (2015): std = sqrt(2 / (1 + a^2)) / sqrt(fan_in). */
dppo_status dppo_init_kaiming_uniform(dppo_generator *generator, dppo_tensor *tensor, double a) {
    double in, out;
    DPPO_TRY(fans(tensor, &in, &out));
    double bound = sqrt(3.0) * (sqrt(2.0 / (1 + a * a)) / sqrt(in));
    return dppo_draw_uniform(generator, tensor, -bound, bound);
}

dppo_status dppo_init_bias(dppo_generator *generator, dppo_tensor *bias, const dppo_tensor *weight) {
    double in, out;
    DPPO_TRY(fans(weight, &in, &out));
    double bound = in > 0 ? 1 / sqrt(in) : 0;
    return dppo_draw_uniform(generator, bias, -bound, bound);
}

/* -- truncated normal
 * --------------------------------------------------------------------------------------------------- */

/* c[0] + c[1] z + ... + c[n - 1] z^(n - 1), from the highest power down. */
static float polynomial(const float *c, int n, float z) {
    float sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--)
        sum = fmaf(sum, z, c[i]);
    return sum;
}

/* The inverse of erf as torch takes it: MATLAB's rational approximation, central for |y| <= 0.7, then two
 * steps of Newton's method on erf(x) - y, whose slope is 2 / sqrt(pi) exp(-x^2). */
static float erfinv(float y) {
    static const float a[] = {0.886226899f, -1.645349621f, 0.914624893f, -0.140543331f};
    static const float b[] = {1, -2.118377725f, 1.442710462f, -0.329097515f, 0.012229801f};
    static const float c[] = {-1.970840454f, -1.624906493f, 3.429567803f, 1.641345311f};
    static const float d[] = {1, 3.543889200f, 1.637067800f};
    const float slope = 2.0f / (float)sqrt(acos(-1.0));
    float size = fabsf(y), x;
    if (size >= 1) return size == 1 ? copysignf(INFINITY, y) : NAN;
    if (size <= 0.7f) {
        float z = y * y;
        x = y * polynomial(a, 4, z) / polynomial(b, 5, z);
    } else {
        float z = sqrtf(-logf((1 - size) / 2));
        x = copysignf(polynomial(c, 4, z), y) / polynomial(d, 3, z);
    }
    for (int step = 0; step < 2; step++)
        x -= (erff(x) - y) / (slope * expf(-x * x));
    return x;
}

/* Phi((x - mean) / std) is (1 + erf(..)) / 2: erfinv of a uniform between 2 Phi(from) - 1 and 2 Phi(to) - 1,
 * times sqrt(2) std. */
dppo_status dppo_init_trunc_normal(dppo_generator *generator, dppo_tensor *tensor, double mean, double std,
                                   double from, double to) {
    double low = erf((from - mean) / std / sqrt(2.0)), high = erf((to - mean) / std / sqrt(2.0));
    DPPO_TRY(dppo_draw_uniform(generator, tensor, low, high));
    float *x = dppo_f32(tensor), scale = (float)(std * sqrt(2.0));
    for (int64_t i = 0, count = dppo_numel(tensor); i < count; i++)
        x[i] = fminf(fmaxf(erfinv(x[i]) * scale + (float)mean, (float)from), (float)to);
    return DPPO_OK;
}

/* -- orthogonal
 * --------------------------------------------------------------------------------------------------- */

extern void sgeqrf_(const int *m, const int *n, float *a, const int *lda, float *tau, float *work,
                    const int *lwork, int *info);
extern void sorgqr_(const int *m, const int *n, const int *k, float *a, const int *lda, const float *tau,
                    float *work, const int *lwork, int *info);

/* a (tall, narrow), column-major, becomes Q with its columns' signs made those of a positive diagonal of R.
 * `work` holds 64 * narrow values, tau and sign narrow each. */
static int orthonormal_columns(int tall, int narrow, float *a, float *tau, float *sign, float *work) {
    int size = 64 * narrow, info = 0;
    sgeqrf_(&tall, &narrow, a, &tall, tau, work, &size, &info);
    if (info != 0) return info;
    for (int j = 0; j < narrow; j++) {
        float diagonal = a[(size_t)j * (size_t)tall + (size_t)j];
        sign[j] = (float)((diagonal > 0) - (diagonal < 0));
    }
    sorgqr_(&tall, &narrow, &narrow, a, &tall, tau, work, &size, &info);
    for (int j = 0; j < narrow; j++)
        for (int i = 0; i < tall; i++)
            a[(size_t)j * (size_t)tall + (size_t)i] *= sign[j];
    return info;
}

/* Row-major (rows, cols) with rows < cols is column-major (cols, rows): the transpose that is to be
 * factorised. */
dppo_status dppo_init_orthogonal(dppo_generator *generator, dppo_tensor *tensor, double gain) {
    int64_t count = dppo_numel(tensor);
    if (tensor->ndim < 2 || count == 0 || count > INT32_MAX)
        return dppo_fail(DPPO_INVALID, "orthogonal_: %d dimensions, %" PRId64 " values", tensor->ndim, count);
    DPPO_TRY(dppo_draw_normal(generator, tensor, 0, 1));
    size_t rows = (size_t)tensor->shape[0], cols = (size_t)count / rows;
    bool wide = rows < cols;
    size_t tall = wide ? cols : rows, narrow = wide ? rows : cols;
    float *memory = malloc(sizeof *memory * (tall * narrow + 66 * narrow));
    if (!memory) return dppo_fail(DPPO_NO_MEMORY, "orthogonal_: out of memory");
    float *a = memory, *tau = a + tall * narrow, *values = dppo_f32(tensor);
    for (size_t j = 0; j < narrow; j++)
        for (size_t i = 0; i < tall; i++)
            a[j * tall + i] = wide ? values[j * cols + i] : values[i * cols + j];
    int info = orthonormal_columns((int)tall, (int)narrow, a, tau, tau + narrow, tau + 2 * narrow);
    for (size_t j = 0; j < narrow; j++)
        for (size_t i = 0; i < tall; i++)
            values[wide ? j * cols + i : i * cols + j] = a[j * tall + i] * (float)gain;
    free(memory);
    return info == 0 ? DPPO_OK : dppo_fail(DPPO_INVALID, "orthogonal_: LAPACK's QR failed with %d", info);
}
