#include "algorithms/numpy.h"

#include <math.h>
#include <stdlib.h>

/* numpy adds up to 128 numbers with eight running sums and joins longer runs pairwise, halves cut at
 * multiples of 8. term(values, i, center) is the i-th number: the value itself, or its squared distance from
 * `center`. */
#define PAIRWISE(name, type)                                                                                 \
    static type name##_term(const type *values, int64_t i, const type *center) {                             \
        type x = center ? values[i] - *center : values[i];                                                   \
        return center ? x * x : x;                                                                           \
    }                                                                                                        \
    static type name(const type *values, int64_t count, const type *center) {                                \
        if (count < 8) {                                                                                     \
            type sum = 0;                                                                                    \
            for (int64_t i = 0; i < count; i++)                                                              \
                sum += name##_term(values, i, center);                                                       \
            return sum;                                                                                      \
        }                                                                                                    \
        if (count <= 128) {                                                                                  \
            type r[8];                                                                                       \
            int64_t i = 8;                                                                                   \
            for (int64_t k = 0; k < 8; k++)                                                                  \
                r[k] = name##_term(values, k, center);                                                       \
            for (; i < count - count % 8; i += 8)                                                            \
                for (int64_t k = 0; k < 8; k++)                                                              \
                    r[k] += name##_term(values, i + k, center);                                              \
            type sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));                    \
            for (; i < count; i++)                                                                           \
                sum += name##_term(values, i, center);                                                       \
            return sum;                                                                                      \
        }                                                                                                    \
        int64_t half = count / 2;                                                                            \
        half -= half % 8;                                                                                    \
        return name(values, half, center) + name(values + half, count - half, center);                       \
    }

PAIRWISE(pairwise, double)
PAIRWISE(pairwise_f32, float)

double dppo_np_sum(const double *values, int64_t count) {
    return pairwise(values, count, NULL);
}

double dppo_np_mean(const double *values, int64_t count) {
    return pairwise(values, count, NULL) / (double)count;
}

double dppo_np_var(const double *values, int64_t count) {
    double mean = dppo_np_mean(values, count);
    return pairwise(values, count, &mean) / (double)count;
}

float dppo_np_mean_f32(const float *values, int64_t count) {
    return pairwise_f32(values, count, NULL) / (float)count;
}

float dppo_np_var_f32(const float *values, int64_t count) {
    float mean = dppo_np_mean_f32(values, count);
    return pairwise_f32(values, count, &mean) / (float)count;
}
