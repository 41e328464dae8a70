#include "optim/optim.h"

#include <math.h>

enum { LANES = 8 };

/* The fewer than eight numbers that are left over, as libtorch's compiler arranged them: of four or more, the
 * first four are squared and rounded before they are added; the rest is added without rounding in between. */
__attribute__((always_inline)) static inline float add_rest(float sum, const float *x, int64_t count) {
    int64_t i = 0;
    for (; count >= 4 && i < 4; i++) {
        float square = x[i] * x[i];
        sum += square;
    }
    for (; i < count; i++)
        sum = fmaf(x[i], x[i], sum);
    return sum;
}

/* torch's order for a contiguous vector: eight running sums, each product added without rounding in between;
 * the sums are added from the first lane to the last; what is left over follows. */
__attribute__((always_inline)) static inline float sum_of_squares(const float *x, int64_t count) {
    float lanes[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = fmaf(x[i + j], x[i + j], lanes[j]);
    float sum = lanes[0];
    for (int j = 1; j < LANES; j++)
        sum += lanes[j];
    return add_rest(sum, x + i, count - i);
}

static float norm_plain(const float *x, int64_t count) {
    return sqrtf(sum_of_squares(x, count));
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) static float norm_avx2(const float *x, int64_t count) {
    return sqrtf(sum_of_squares(x, count));
}

static float norm(const float *x, int64_t count) {
    bool fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return fast ? norm_avx2(x, count) : norm_plain(x, count);
}
#else
static float norm(const float *x, int64_t count) {
    return norm_plain(x, count);
}
#endif

/* The norm of the norms, which are gathered 8 at a time so that nothing is allocated: the lanes of the second
 * norm take them in turn. */
double dppo_clip_grad_norm(size_t count, dppo_tensor *const *parameters, double max_norm) {
    float lanes[LANES] = {0}, group[LANES];
    int filled = 0;
    float only = 0;
    size_t norms = 0;
    for (size_t i = 0; i < count; i++) {
        const dppo_tensor *grad = parameters[i]->grad;
        if (!grad) continue;
        only = group[filled++] = norm(dppo_f32(grad), dppo_numel(grad));
        norms++;
        if (filled < LANES) continue;
        for (int j = 0; j < LANES; j++)
            lanes[j] = fmaf(group[j], group[j], lanes[j]);
        filled = 0;
    }
    float sum = lanes[0];
    for (int j = 1; j < LANES; j++)
        sum += lanes[j];
    sum = add_rest(sum, group, filled);
    float total = norms == 1 ? only : sqrtf(sum);
    float coefficient = (float)max_norm / (total + 1e-6f);
    if (coefficient > 1) coefficient = 1;
    for (size_t i = 0; i < count; i++) {
        if (!parameters[i]->grad) continue;
        float *grad = dppo_f32(parameters[i]->grad);
        int64_t numel = dppo_numel(parameters[i]->grad);
        for (int64_t j = 0; j < numel; j++)
            grad[j] *= coefficient;
    }
    return (double)total;
}
