/* What our products are made of, for processors with AVX-512: sums of a tile of C in registers, over a panel
 * of k. Included by the files that compute with them. */
#ifndef DPPO_TENSOR_KERNEL_TILE_H
#define DPPO_TENSOR_KERNEL_TILE_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define TARGET target("avx512f,avx512dq,avx512vl,avx2,fma")
#define FN static __attribute__((TARGET))
#define INLINE_FN static inline __attribute__((TARGET, always_inline))

enum {
    TILE_ROWS = 12,  /* 12 rows of 32 lanes are 24 sums: they and their operands fill the 32 registers */
    TURNED_ROWS = 8, /* 8 of 48 as well; and 8 floats of a row are one store */
    STRIP = 32,
    TURNED_STRIP = 48
};

/* Element (i, k) of an operand is data[i step + k k_step]. */
typedef struct operand {
    const float *data;
    int64_t step, k_step;
} operand;

/* Of what is left of K, OpenBLAS' next panel. */
static inline int64_t panel(int64_t left, int64_t depth) {
    enum { UNROLL = 16 };
    if (left >= 2 * depth) return depth;
    return left > depth ? (left / 2 + UNROLL - 1) / UNROLL * UNROLL : left;
}

/* sums[r][v] = sum over k of rows[r step + k k_step] lanes[k][16 v ...], `half` being 8 lanes after those.
 * Three pointers reach 12 rows with the offsets an x86 address can hold. */
INLINE_FN void sum_tile(int R, int V, bool H, int64_t K, const float *lanes, const operand *rows,
                        __m512 sums[TILE_ROWS][3], __m256 half[TILE_ROWS]) {
    int64_t step = rows->step, k_step = rows->k_step, step3 = 3 * step;
    const float *p[3] = {rows->data, rows->data + (R > 5 ? 5 : 0) * step,
                         rows->data + (R > 10 ? 10 : 0) * step};
    const int64_t offset[5] = {0, step, 2 * step, step3, 4 * step};
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            sums[r][v] = _mm512_setzero_ps();
        if (H) half[r] = _mm256_setzero_ps();
    }
    for (int64_t k = 0; k < K; k++) {
        __m512 l[3];
        __m256 h = H ? _mm256_loadu_ps(lanes + 16 * V) : _mm256_setzero_ps();
#pragma GCC unroll 3
        for (int v = 0; v < V; v++)
            l[v] = _mm512_loadu_ps(lanes + 16 * v);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            float x = p[r / 5][offset[r % 5]];
            if (V > 0) {
                __m512 a = _mm512_set1_ps(x);
#pragma GCC unroll 3
                for (int v = 0; v < V; v++)
                    sums[r][v] = _mm512_fmadd_ps(a, l[v], sums[r][v]);
                if (H) half[r] = _mm256_fmadd_ps(_mm512_castps512_ps256(a), h, half[r]);
            } else {
                half[r] = _mm256_fmadd_ps(_mm256_set1_ps(x), h, half[r]);
            }
        }
        lanes += 16 * V + (H ? 8 : 0);
        p[0] += k_step, p[1] += k_step, p[2] += k_step;
    }
}

INLINE_FN __mmask16 first_lanes(int64_t count) {
    return (__mmask16)(count >= 16 ? 0xffff : count <= 0 ? 0 : (1 << count) - 1);
}

/* x[i][j] becomes x[j][i]. */
INLINE_FN void transpose8(__m256 x[8]) {
    __m256 t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            u[4 * i + 2 * j] = _mm256_shuffle_ps(t[4 * i + j], t[4 * i + 2 + j], 0x44);
            u[4 * i + 2 * j + 1] = _mm256_shuffle_ps(t[4 * i + j], t[4 * i + 2 + j], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x20);
        x[4 + i] = _mm256_permute2f128_ps(u[i], u[4 + i], 0x31);
    }
}

/* (length, width) of element (lane, k) at data[lane step + k], zeros behind the first `size` lanes; through
 * blocks of 8 x 8. */
static inline __attribute__((TARGET)) void pack_across(float *out, int64_t length, int width, int size,
                                                       const float *data, int64_t step) {
    for (int i = 0; i < width; i += 8)
        for (int64_t k = 0; k < length; k += 8) {
            __m256 x[8];
            int64_t left = length - k < 8 ? length - k : 8;
            __mmask8 mask = (__mmask8)first_lanes(left);
            for (int j = 0; j < 8; j++)
                x[j] = i + j < size ? _mm256_maskz_loadu_ps(mask, data + (i + j) * step + k)
                                    : _mm256_setzero_ps();
            transpose8(x);
            for (int j = 0; j < left; j++)
                _mm256_storeu_ps(out + (k + j) * width + i, x[j]);
        }
}

static inline bool tiles_supported(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

#endif
