/* The one comparator: torch.testing.assert_close's semantics, plus the numbers a reader wants.
 *
 * An element is within tolerance when |actual - expected| <= atol + rtol * |expected|, in float64, written so
 * that whatever is not a number fails. NaN equals NaN at the same place, an infinity only one of its own
 * sign; shape, element type and presence must agree; integers and booleans agree exactly. */
#ifndef DPPO_PARITY_COMPARE_H
#define DPPO_PARITY_COMPARE_H

#include "tensor/tensor.h"

typedef struct dppo_tolerance {
    double rtol, atol;
} dppo_tolerance;

/* assert_close's: float32 (1.3e-6, 1e-5), float64 (1e-7, 1e-7), integers and booleans (0, 0). */
dppo_tolerance dppo_default_tolerance(dppo_dtype dtype);

typedef struct dppo_comparison {
    bool passed;
    int64_t count, outside;  /* elements, and how many of them are out of tolerance */
    double max_abs, max_rel; /* INFINITY where a NaN or an infinity stands on one side only */
    double max_ulp, p99_ulp; /* distance in representable numbers; of integers the difference */
    double bitwise_share;    /* elements that are equal in every bit (two NaN count as equal), in [0, 1] */
    int64_t worst;           /* row-major index of the largest absolute error; -1 without elements */
    double worst_actual, worst_expected;
    int64_t first_outside, first_unequal; /* row-major, -1 for none: where to start looking */
    char worst_index[96];                 /* "(i, j)" */
    char message[320];                    /* what is wrong, "" when passed */
} dppo_comparison;

typedef struct dppo_compare_options {
    dppo_tolerance tolerance;
    bool float32_units; /* float64 answers that were computed in float32: count in units of float32 */
    bool gradient;      /* all zero on one side only is a failure, however small the other */
} dppo_compare_options;

/* Either tensor may be NULL (a missing answer: a failure unless both are). Any strides. */
void dppo_compare(const dppo_tensor *actual, const dppo_tensor *expected, const dppo_compare_options *options,
                  dppo_comparison *result);

/* "(i, j)" of a row-major index into the tensor's shape; returns buffer. */
char *dppo_index_text(const dppo_tensor *tensor, int64_t flat, char *buffer, size_t size);

/* One unit in the last place of float32 at |scale|. */
double dppo_float32_unit(double scale);

/* The criterion of truth: max |C - truth| <= 2 max |torch - truth| + one unit of float32 at max |truth|. */
typedef struct dppo_truth {
    bool known; /* false: no truth of that shape, or an integer answer; then the criterion says nothing */
    bool held;
    double c_error, torch_error, unit;
    double ratio; /* c_error / max(torch_error, unit) */
} dppo_truth;
void dppo_judge_truth(const dppo_tensor *c, const dppo_tensor *torch, const dppo_tensor *truth,
                      dppo_truth *result);

#endif
