/* Box-Muller in blocks of 16, in the arithmetic of torch's AVX2 kernel: Cephes' single-precision log and
 * sincos, a multiplication feeding an addition rounded once. Lane loops over plain C are vectorised by the
 * compiler for AVX2 and FMA; without these, fmaf() gives the same bits. */
#include "random/internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define LANES 8
#define INLINE static inline __attribute__((always_inline))

INLINE uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* log(x) for x in (0, 1]: x = m 2^e with m in [sqrt(1/2), sqrt(2)), log(m) by a polynomial in m - 1, and
 * e log(2) added in two parts (Cephes logf). */
INLINE float log_lane(float x) {
    x = x < FLT_MIN ? FLT_MIN : x;
    float e = (float)((int32_t)(bits_of(x) >> 23) - 126);
    float m = float_of((bits_of(x) & 0x007fffffu) | 0x3f000000u);
    float small = m < 0.707106781186547524f ? 1.0f : 0.0f;
    e -= small;
    m = (m - 1.0f) + (small != 0.0f ? m : 0.0f);
    float square = m * m;
    float y = 7.0376836292e-2f;
    y = fmaf(y, m, -1.1514610310e-1f);
    y = fmaf(y, m, 1.1676998740e-1f);
    y = fmaf(y, m, -1.2420140846e-1f);
    y = fmaf(y, m, 1.4249322787e-1f);
    y = fmaf(y, m, -1.6668057665e-1f);
    y = fmaf(y, m, 2.0000714765e-1f);
    y = fmaf(y, m, -2.4999993993e-1f);
    y = fmaf(y, m, 3.3333331174e-1f);
    y = fmaf(y * m, square, e * -2.12194440e-4f);
    y = fmaf(-0.5f, square, y);
    return fmaf(e, 0.693359375f, m + y);
}

/* sin and cos of x >= 0: octant j = even(4 x / pi), remainder in [-pi/4, pi/4] by Cody and Waite's three-part
 * pi/4, a polynomial each; j's bits swap them and set the signs (Cephes sincosf). */
INLINE void sincos_lane(float x, float *sine, float *cosine) {
    int32_t octant = ((int32_t)(x * 1.27323954473516f) + 1) & ~1;
    float j = (float)octant;
    float r = fmaf(j, -0.78515625f, x);
    r = fmaf(j, -2.4187564849853515625e-4f, r);
    r = fmaf(j, -3.77489497744594108e-8f, r);
    float z = r * r;
    float c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f);
    c = fmaf(z, c * z, -(z * 0.5f)) + 1.0f;
    float s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f);
    s = fmaf(s * z, r, r);
    uint32_t sine_sign = ((uint32_t)octant & 4u) << 29;
    uint32_t cosine_sign = (~(uint32_t)(octant - 2) & 4u) << 29;
    bool swap = (octant & 2) != 0;
    *sine = float_of(bits_of(swap ? c : s) ^ sine_sign);
    *cosine = float_of(bits_of(swap ? s : c) ^ cosine_sign);
}

/* sqrt(-2 log(1 - u1)) (cos, sin)(2 pi u2) std + mean; a loop a step, so that each is vectorised. */
INLINE void block(float *data, float mean, float std) {
    float radius[LANES], sine[LANES], cosine[LANES];
    for (int i = 0; i < LANES; i++)
        radius[i] = -2.0f * log_lane(1.0f - data[i]);
    for (int i = 0; i < LANES; i++)
        radius[i] = sqrtf(radius[i]);
    for (int i = 0; i < LANES; i++)
        sincos_lane(6.28318530717958647692f * data[i + LANES], &sine[i], &cosine[i]);
    for (int i = 0; i < LANES; i++) {
        data[i] = fmaf(radius[i] * cosine[i], std, mean);
        data[i + LANES] = fmaf(radius[i] * sine[i], std, mean);
    }
}

INLINE void blocks(float *data, int64_t count, float mean, float std) {
    for (int64_t i = 0; i + DPPO_NORMAL_BLOCK <= count; i += DPPO_NORMAL_BLOCK)
        block(data + i, mean, std);
}

void dppo_normal_blocks_plain(float *data, int64_t count, float mean, float std) {
    blocks(data, count, mean, std);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static void blocks_avx2(float *data, int64_t count, float mean,
                                                            float std) {
    blocks(data, count, mean, std);
}

void dppo_normal_blocks(float *data, int64_t count, float mean, float std) {
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        blocks_avx2(data, count, mean, std);
    else
        dppo_normal_blocks_plain(data, count, mean, std);
}
#else
void dppo_normal_blocks(float *data, int64_t count, float mean, float std) {
    dppo_normal_blocks_plain(data, count, mean, std);
}
#endif
