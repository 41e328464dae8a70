#include "parity/compare.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dppo_tolerance dppo_default_tolerance(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return (dppo_tolerance){1.3e-6, 1e-5};
    case DPPO_F64:
        return (dppo_tolerance){1e-7, 1e-7};
    case DPPO_I64:
    case DPPO_BOOL:
        break;
    }
    return (dppo_tolerance){0, 0};
}

/* Representable numbers counted from zero, so that a difference of two counts is their distance:
 * the bits of a positive float already grow with it, those of a negative one are mirrored. */
static int64_t count32(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >= 0 ? bits : (int64_t)INT32_MIN - bits;
}

static int64_t count64(double value) {
    int64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits >= 0 ? bits : INT64_MIN - bits;
}

/* Distance in representable numbers of the precision the answer was computed in; -0 and 0 are none apart. */
static double ulp_distance(double a, double b, bool in_float32) {
    if (isnan(a) || isnan(b)) return isnan(a) && isnan(b) ? 0 : INFINITY;
    if (in_float32) return fabs((double)(count32((float)a) - count32((float)b)));
    int64_t x = count64(a), y = count64(b);
    return x > y ? (double)((uint64_t)x - (uint64_t)y) : (double)((uint64_t)y - (uint64_t)x);
}

/* The payload and sign of a NaN carry no meaning here; the sign of a zero does. */
static bool same_bits(double a, double b) {
    if (isnan(a) && isnan(b)) return true;
    return memcmp(&a, &b, sizeof a) == 0;
}

/* INFINITY when exactly one is NaN, or when infinities differ: no tolerance covers that. */
static double absolute_error(double a, double b) {
    if (a == b || (isnan(a) && isnan(b))) return 0;
    double error = fabs(a - b);
    return isfinite(error) ? error : INFINITY;
}

/* What one element contributes. */
typedef struct element {
    double actual, expected, error, ulp;
    bool equal;
} element;

/* In 64-bit integers: doubles would call neighbours beyond 2^53 equal. */
static element compare_integers(const dppo_tensor *actual, const dppo_tensor *expected, int64_t i) {
    int64_t a = actual->dtype == DPPO_I64 ? dppo_i64(actual)[i] : dppo_bool(actual)[i];
    int64_t b = actual->dtype == DPPO_I64 ? dppo_i64(expected)[i] : dppo_bool(expected)[i];
    double apart = a > b ? (double)((uint64_t)a - (uint64_t)b) : (double)((uint64_t)b - (uint64_t)a);
    return (element){(double)a, (double)b, apart, apart, a == b};
}

static element compare_floats(const dppo_tensor *actual, const dppo_tensor *expected, int64_t i,
                              bool float32) {
    bool single = actual->dtype == DPPO_F32;
    double a = single ? (double)dppo_f32(actual)[i] : dppo_f64(actual)[i];
    double b = single ? (double)dppo_f32(expected)[i] : dppo_f64(expected)[i];
    return (element){a, b, absolute_error(a, b), ulp_distance(a, b, float32 || single), same_bits(a, b)};
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The 99th percentile of `total` distances of which `count` in `distances` are not zero (sorted in place). */
static double percentile99(double *distances, int64_t count, int64_t total) {
    if (count == 0) return 0;
    qsort(distances, (size_t)count, sizeof *distances, ascending);
    int64_t rank = (int64_t)ceil(0.99 * (double)total) - 1, zeros = total - count;
    return rank < zeros ? 0 : distances[rank - zeros];
}

char *dppo_index_text(const dppo_tensor *tensor, int64_t flat, char *buffer, size_t size) {
    int64_t index[DPPO_MAX_DIMS];
    for (int d = tensor->ndim - 1; d >= 0; d--) {
        index[d] = flat % tensor->shape[d];
        flat /= tensor->shape[d];
    }
    return dppo_shape_text(tensor->ndim, index, buffer, size);
}

static bool all_zero(const dppo_tensor *tensor) {
    for (int64_t i = 0, count = dppo_numel(tensor); i < count; i++)
        if (dppo_tensor_at(tensor, i) != 0) return false;
    return true;
}

/* Both tensors contiguous, of one shape and type. `distances` has room for every element. */
static void compare_elements(const dppo_tensor *actual, const dppo_tensor *expected,
                             const dppo_compare_options *options, double *distances,
                             dppo_comparison *result) {
    bool floating = actual->dtype == DPPO_F32 || actual->dtype == DPPO_F64;
    int64_t apart = 0, equal = 0;
    for (int64_t i = 0; i < result->count; i++) {
        element e = floating ? compare_floats(actual, expected, i, options->float32_units)
                             : compare_integers(actual, expected, i);
        double allowed = options->tolerance.atol + options->tolerance.rtol * fabs(e.expected);
        bool within = floating ? isfinite(e.error) && e.error <= allowed : e.equal;
        /* Equal NaN or infinities make `allowed` NaN or infinite; their error is exactly 0. */
        if (floating && e.error == 0) within = true;
        if (!within && result->outside++ == 0) result->first_outside = i;
        if (e.equal)
            equal++;
        else if (result->first_unequal < 0)
            result->first_unequal = i;
        if (result->worst < 0 || e.error > result->max_abs) {
            result->worst = i;
            result->max_abs = e.error;
            result->worst_actual = e.actual;
            result->worst_expected = e.expected;
        }
        if (e.error > 0) {
            double relative = isfinite(e.error) ? e.error / fabs(e.expected) : INFINITY;
            result->max_rel = fmax(result->max_rel, relative);
        }
        if (e.ulp > 0) distances[apart++] = e.ulp;
        result->max_ulp = fmax(result->max_ulp, e.ulp);
    }
    result->p99_ulp = percentile99(distances, apart, result->count);
    result->bitwise_share = result->count ? (double)equal / (double)result->count : 1;
}

/* The verdict, and the one line that goes with a bad one. */
static void explain(const dppo_tensor *actual, const dppo_tensor *expected,
                    const dppo_compare_options *options, dppo_comparison *result) {
    char *message = result->message;
    size_t size = sizeof result->message;
    if (result->worst >= 0)
        (void)dppo_index_text(expected, result->worst, result->worst_index, sizeof result->worst_index);
    if (result->outside > 0) {
        (void)snprintf(
            message, size, "%lld of %lld elements outside rtol %g, atol %g; worst at %s: %.9g against %.9g",
            (long long)result->outside, (long long)result->count, options->tolerance.rtol,
            options->tolerance.atol, result->worst_index, result->worst_actual, result->worst_expected);
        return;
    }
    if (!options->gradient || result->max_abs == 0) {
        result->passed = true;
    } else if (all_zero(actual)) {
        (void)snprintf(message, size, "the gradient is all zero and should not be: %.9g expected at %s",
                       result->worst_expected, result->worst_index);
    } else if (all_zero(expected)) {
        (void)snprintf(message, size, "the gradient is not zero where the other is all zero: %.9g at %s",
                       result->worst_actual, result->worst_index);
    } else {
        result->passed = true;
    }
}

/* What makes a comparison of elements pointless: presence, element type, shape. */
static bool comparable(const dppo_tensor *actual, const dppo_tensor *expected, dppo_comparison *result) {
    char a[128], b[128];
    char *message = result->message;
    size_t size = sizeof result->message;
    if (!actual || !expected)
        (void)snprintf(message, size, "%s", actual ? "extra answer: the other has none" : "missing answer");
    else if (actual->dtype != expected->dtype)
        (void)snprintf(message, size, "dtype %s against %s", dppo_dtype_name(actual->dtype),
                       dppo_dtype_name(expected->dtype));
    else if (!dppo_same_shape(actual, expected))
        (void)snprintf(message, size, "shape %s against %s",
                       dppo_shape_text(actual->ndim, actual->shape, a, sizeof a),
                       dppo_shape_text(expected->ndim, expected->shape, b, sizeof b));
    else
        return true;
    return false;
}

/* A tensor with the same elements in row-major order: itself, or a copy the caller frees. */
static const dppo_tensor *packed(const dppo_tensor *tensor, dppo_tensor **copy) {
    *copy = NULL;
    if (dppo_is_contiguous(tensor)) return tensor;
    *copy = dppo_tensor_heap(tensor->dtype, tensor->ndim, tensor->shape);
    if (*copy) dppo_tensor_pack(tensor, (*copy)->data);
    return *copy;
}

void dppo_compare(const dppo_tensor *actual, const dppo_tensor *expected, const dppo_compare_options *options,
                  dppo_comparison *result) {
    *result = (dppo_comparison){.worst = -1, .first_outside = -1, .first_unequal = -1};
    if (!actual && !expected) {
        result->passed = true;
        result->bitwise_share = 1;
        return;
    }
    if (!comparable(actual, expected, result)) {
        result->max_abs = result->max_rel = result->max_ulp = result->p99_ulp = INFINITY;
        return;
    }
    result->count = dppo_numel(actual);
    dppo_tensor *copy_a, *copy_b;
    const dppo_tensor *a = packed(actual, &copy_a), *b = packed(expected, &copy_b);
    double *distances = malloc((size_t)result->count * sizeof *distances + 1);
    if (a && b && distances) {
        compare_elements(a, b, options, distances, result);
        explain(a, b, options, result);
    } else {
        (void)snprintf(result->message, sizeof result->message, "out of memory");
    }
    free(distances);
    dppo_tensor_free(copy_a);
    dppo_tensor_free(copy_b);
}

double dppo_float32_unit(double scale) {
    float at = fminf((float)fabs(scale), nextafterf(FLT_MAX, 0));
    return (double)nextafterf(at, FLT_MAX) - (double)at;
}

/* max |answer - truth|; the largest finite |truth| goes to *scale. Where float32 overflows and float64 does
 * not there is nothing to measure: such elements, known by libtorch's own answer, are left to the tolerance.
 */
static double error_against(const dppo_tensor *answer, const dppo_tensor *torch, const dppo_tensor *truth,
                            double *scale) {
    double worst = 0;
    *scale = 0;
    for (int64_t i = 0, count = dppo_numel(truth); i < count; i++) {
        double value = dppo_tensor_at(truth, i);
        if (isfinite(value) && isinf(dppo_tensor_at(torch, i))) continue;
        worst = fmax(worst, absolute_error(dppo_tensor_at(answer, i), value));
        if (isfinite(value)) *scale = fmax(*scale, fabs(value));
    }
    return worst;
}

static bool floating_like(const dppo_tensor *tensor, const dppo_tensor *truth) {
    return tensor && (tensor->dtype == DPPO_F32 || tensor->dtype == DPPO_F64) &&
           dppo_same_shape(tensor, truth);
}

void dppo_judge_truth(const dppo_tensor *c, const dppo_tensor *torch, const dppo_tensor *truth,
                      dppo_truth *result) {
    *result = (dppo_truth){.held = true};
    if (!truth || truth->dtype != DPPO_F64 || !floating_like(c, truth) || !floating_like(torch, truth))
        return;
    double scale;
    result->known = true;
    result->c_error = error_against(c, torch, truth, &scale);
    result->torch_error = error_against(torch, torch, truth, &scale);
    result->unit = dppo_float32_unit(scale);
    result->held = result->c_error <= 2 * result->torch_error + result->unit;
    result->ratio = result->c_error / fmax(result->torch_error, result->unit);
}
