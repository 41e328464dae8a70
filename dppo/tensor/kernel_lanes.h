/* Eight float lanes: AVX2 when DPPO_LANES_AVX2 is defined, loops over arrays otherwise. Included once by each
 * of kernel_avx2.c and kernel_plain.c, before the bodies written in its terms. */
#ifndef DPPO_TENSOR_KERNEL_LANES_H
#define DPPO_TENSOR_KERNEL_LANES_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 8 };

#ifdef DPPO_LANES_AVX2

#include <immintrin.h>

#define FN static __attribute__((target("avx2,fma")))
#define LANE_FN static inline __attribute__((target("avx2,fma"), unused))
typedef __m256 v8;

LANE_FN v8 v_set(float x) {
    return _mm256_set1_ps(x);
}
LANE_FN v8 v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
LANE_FN void v_store(float *p, v8 a) {
    _mm256_storeu_ps(p, a);
}
#define V_BINARY(name, intrinsic)                                                                            \
    LANE_FN v8 name(v8 a, v8 b) {                                                                            \
        return intrinsic(a, b);                                                                              \
    }
V_BINARY(v_add, _mm256_add_ps)
V_BINARY(v_sub, _mm256_sub_ps)
V_BINARY(v_mul, _mm256_mul_ps)
V_BINARY(v_div, _mm256_div_ps)
V_BINARY(v_max, _mm256_max_ps) /* the second where either is NaN */
V_BINARY(v_min, _mm256_min_ps)
#define V_COMPARE(name, predicate)                                                                           \
    LANE_FN v8 name(v8 a, v8 b) {                                                                            \
        return _mm256_cmp_ps(a, b, predicate);                                                               \
    }
V_COMPARE(v_lt, _CMP_LT_OQ)
V_COMPARE(v_le, _CMP_LE_OQ)
V_COMPARE(v_eq, _CMP_EQ_OQ)
V_COMPARE(v_unordered, _CMP_UNORD_Q)
/* a where the mask is set, else b */
LANE_FN v8 v_select(v8 mask, v8 a, v8 b) {
    return _mm256_blendv_ps(b, a, mask);
}
LANE_FN v8 v_fma(v8 a, v8 b, v8 c) {
    return _mm256_fmadd_ps(a, b, c);
}
LANE_FN v8 v_neg(v8 a) {
    return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a);
}
LANE_FN v8 v_abs(v8 a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
LANE_FN v8 v_sqrt(v8 a) {
    return _mm256_sqrt_ps(a);
}
LANE_FN v8 v_round(v8 a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* sleef.h declares these only to files that are compiled for AVX2 altogether. */
#define V_SLEEF(name, function)                                                                              \
    extern __m256 Sleef_##function##f8_u10avx2(__m256);                                                      \
    LANE_FN v8 name(v8 a) {                                                                                  \
        return Sleef_##function##f8_u10avx2(a);                                                              \
    }
extern __m256 Sleef_powf8_u10avx2(__m256, __m256);
LANE_FN v8 v_pow(v8 a, v8 b) {
    return Sleef_powf8_u10avx2(a, b);
}

#else

#define FN static
#define LANE_FN static inline __attribute__((unused))
typedef struct v8 {
    float lane[LANES];
} v8;

LANE_FN v8 v_load(const float *p) {
    v8 r;
    memcpy(r.lane, p, sizeof r.lane);
    return r;
}
LANE_FN void v_store(float *p, v8 a) {
    memcpy(p, a.lane, sizeof a.lane);
}
#define V_EACH(signature, expression)                                                                        \
    LANE_FN v8 signature {                                                                                   \
        v8 r;                                                                                                \
        for (int i = 0; i < LANES; i++)                                                                      \
            r.lane[i] = expression;                                                                          \
        return r;                                                                                            \
    }
V_EACH(v_set(float x), x)
V_EACH(v_add(v8 a, v8 b), a.lane[i] + b.lane[i])
V_EACH(v_sub(v8 a, v8 b), a.lane[i] - b.lane[i])
V_EACH(v_mul(v8 a, v8 b), a.lane[i] * b.lane[i])
V_EACH(v_div(v8 a, v8 b), a.lane[i] / b.lane[i])
V_EACH(v_max(v8 a, v8 b), a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i])
V_EACH(v_min(v8 a, v8 b), a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i])
/* Masks are 1 or 0 here; only v_select looks at them. */
V_EACH(v_lt(v8 a, v8 b), a.lane[i] < b.lane[i] ? 1.0f : 0.0f)
V_EACH(v_le(v8 a, v8 b), a.lane[i] <= b.lane[i] ? 1.0f : 0.0f)
V_EACH(v_eq(v8 a, v8 b), a.lane[i] == b.lane[i] ? 1.0f : 0.0f)
V_EACH(v_unordered(v8 a, v8 b), isnan(a.lane[i]) || isnan(b.lane[i]) ? 1.0f : 0.0f)
V_EACH(v_select(v8 mask, v8 a, v8 b), mask.lane[i] != 0.0f ? a.lane[i] : b.lane[i])
V_EACH(v_fma(v8 a, v8 b, v8 c), fmaf(a.lane[i], b.lane[i], c.lane[i]))
V_EACH(v_neg(v8 a), -a.lane[i])
V_EACH(v_abs(v8 a), fabsf(a.lane[i]))
V_EACH(v_sqrt(v8 a), sqrtf(a.lane[i]))
V_EACH(v_round(v8 a), nearbyintf(a.lane[i]))
/* SLEEF's C build of the same algorithms, with fused multiply-adds: equal bits on every processor that has
 * them. sleef.h declares them only to compilers told to use FMA. */
#ifdef __x86_64__
#define HAS_FMA __builtin_cpu_supports("fma")
#else
#define HAS_FMA true
#endif
#define V_SLEEF(name, function)                                                                              \
    extern float Sleef_##function##f1_u10purecfma(float), Sleef_##function##f1_u10purec(float);              \
    V_EACH(name(v8 a),                                                                                       \
           HAS_FMA ? Sleef_##function##f1_u10purecfma(a.lane[i]) : Sleef_##function##f1_u10purec(a.lane[i]))
extern float Sleef_powf1_u10purecfma(float, float), Sleef_powf1_u10purec(float, float);
V_EACH(v_pow(v8 a, v8 b),
       HAS_FMA ? Sleef_powf1_u10purecfma(a.lane[i], b.lane[i]) : Sleef_powf1_u10purec(a.lane[i], b.lane[i]))

#endif

V_SLEEF(v_exp, exp)
V_SLEEF(v_log, log)
V_SLEEF(v_log1p, log1p)
V_SLEEF(v_sin, sin)
V_SLEEF(v_cos, cos)
V_SLEEF(v_tanh, tanh)
V_SLEEF(v_erf, erf)

/* c - a b, rounded once. */
LANE_FN v8 v_fnma(v8 a, v8 b, v8 c) {
    return v_fma(v_neg(a), b, c);
}
/* The first n < 8 lanes from memory, zeros after; and back. */
LANE_FN v8 v_load_part(const float *p, int64_t n) {
    float lanes[LANES] = {0};
    memcpy(lanes, p, (size_t)n * sizeof(float));
    return v_load(lanes);
}
LANE_FN void v_store_part(float *p, v8 a, int64_t n) {
    float lanes[LANES];
    v_store(lanes, a);
    memcpy(p, lanes, (size_t)n * sizeof(float));
}

#endif
