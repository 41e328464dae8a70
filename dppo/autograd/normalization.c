/* Normalisation over groups of channels. */
#include "autograd/dims.h"
#include "autograd/map.h"

#include <math.h>

enum { SUM_LANES = 8 };

/* x (B, C, S) in G groups of D = C / G channels; a row is one group of one sample. */
typedef struct groups {
    int64_t B, C, S, G, D;
    float *mean, *rstd; /* (B G) */
    double eps;
} groups;

static float add_lanes(const float lanes[SUM_LANES]) {
    float sum = 0.0f;
    for (int k = 0; k < SUM_LANES; k++)
        sum += lanes[k];
    return sum;
}

/* Products of pixels are fused with the addition that follows it, as in libtorch's build for AVX2. Loops over
 * pixels exist twice: for processors with the instruction, found at run time, and through the C library's
 * fmaf. */
#define LOOPS(FN, suffix)                                                                                    \
    /* sum a b, or sum a where b is NULL: eight partial sums, then those, then the rest, of which the        \
     * compiler took four products at a time. */                                                             \
    FN static float dot_##suffix(int64_t n, const float *a, const float *b) {                                \
        float lanes[SUM_LANES] = {0};                                                                        \
        int64_t whole = n / SUM_LANES * SUM_LANES;                                                           \
        for (int64_t i = 0; i < whole; i += SUM_LANES)                                                       \
            for (int k = 0; k < SUM_LANES; k++)                                                              \
                lanes[k] = b ? fmaf(a[i + k], b[i + k], lanes[k]) : lanes[k] + a[i + k];                     \
        float sum = add_lanes(lanes);                                                                        \
        for (int64_t i = whole; i < n; i++) {                                                                \
            bool four = i < whole + (n - whole) / 4 * 4;                                                     \
            float term = b ? a[i] * b[i] : a[i];                                                             \
            sum = b && !four ? fmaf(a[i], b[i], sum) : sum + term;                                           \
        }                                                                                                    \
        return sum;                                                                                          \
    }                                                                                                        \
    /* out = x a + b */                                                                                      \
    FN static void scale_##suffix(int64_t n, float *out, const float *x, float a, float b) {                 \
        for (int64_t i = 0; i < n; i++)                                                                      \
            out[i] = fmaf(x[i], a, b);                                                                       \
    }                                                                                                        \
    /* dx = c1 dy + c2 x + c3 */                                                                             \
    FN static void combine_##suffix(int64_t n, float *dx, const float *dy, const float *x, const float *c) { \
        for (int64_t i = 0; i < n; i++)                                                                      \
            dx[i] = fmaf(c[0], dy[i], c[1] * x[i]) + c[2];                                                   \
    }
LOOPS(, plain)
#ifdef __x86_64__
LOOPS(__attribute__((target("avx2,fma"))), fused)
static bool fused(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define dot_fused dot_plain
#define scale_fused scale_plain
#define combine_fused combine_plain
static bool fused(void) {
    return false;
}
#endif

static float dot_in_lanes(int64_t n, const float *a, const float *b) {
    return fused() ? dot_fused(n, a, b) : dot_plain(n, a, b);
}

/* y = x scale_c + shift_c, scale = rstd weight, shift = bias - mean scale. */
static void normalize(const groups *s, float *out, const float *x, const float *weight, const float *bias) {
    for (int64_t row = 0; row < s->B * s->C; row++, x += s->S, out += s->S) {
        int64_t group = row / s->D, c = row % s->C;
        if (!weight && !bias) { /* (x - mean) rstd */
            for (int64_t i = 0; i < s->S; i++)
                out[i] = (x[i] - s->mean[group]) * s->rstd[group];
            continue;
        }
        float scale = s->rstd[group] * (weight ? weight[c] : 1.0f);
        float shift = -scale * s->mean[group] + (bias ? bias[c] : 0.0f); /* in two steps */
        (fused() ? scale_fused : scale_plain)(s->S, out, x, scale, shift);
    }
}

/* dx = rstd w dy + c2 x + c3 with ds = sum w (dy . x), db = sum w sum dy over the group,
 * c2 = (db mean - ds) rstd^3 / (D S), c3 = -c2 mean - db rstd / (D S). ds, db (B, C) are per channel. */
static void input_gradient(const groups *s, float *dx, const float *dy, const float *x, const float *ds,
                           const float *db, const float *weight) {
    float share = 1.0f / (float)(s->D * s->S);
    for (int64_t row = 0; row < s->B * s->G; row++) {
        const float *w = weight ? weight + row % s->G * s->D : NULL;
        float sum_ds = dot_in_lanes(s->D, ds + row * s->D, w),
              sum_db = dot_in_lanes(s->D, db + row * s->D, w);
        float mean = s->mean[row], rstd = s->rstd[row];
        float c2 = fmaf(sum_db, mean, -sum_ds) * rstd * rstd * rstd * share;
        float c3 = fmaf(-c2, mean, -(sum_db * rstd * share));
        for (int64_t d = 0; d < s->D; d++, dx += s->S, dy += s->S, x += s->S) {
            float c[3] = {rstd * (w ? w[d] : 1.0f), c2, c3};
            (fused() ? combine_fused : combine_plain)(s->S, dx, dy, x, c);
        }
    }
}

/* dweight_c = sum over samples of (ds - db mean) rstd, dbias_c = sum of db. */
static void parameter_gradients(const groups *s, float *dweight, float *dbias, const float *ds,
                                const float *db) {
    for (int64_t c = 0; c < s->C; c++) {
        float weight_sum = 0.0f, bias_sum = 0.0f;
        for (int64_t b = 0; b < s->B; b++) {
            int64_t at = b * s->C + c, group = at / s->D;
            weight_sum = fmaf(fmaf(-db[at], s->mean[group], ds[at]), s->rstd[group], weight_sum);
            bias_sum += db[at];
        }
        if (dweight) dweight[c] = weight_sum;
        if (dbias) dbias[c] = bias_sum;
    }
}

static dppo_tensor *group_mean(dppo_cx *cx, dppo_tensor *x) {
    return dppo_mean(cx, x, 2, (int[]){2, 3}, true);
}

/* The gradients as steps of the tape, to be differentiated again. In (B, G, D, S), h = (x - mean) rstd and
 * u = g weight, with means over D and S:
 *     dx = rstd (u - mean(u) - h mean(u h)), dweight = sum over B and S of g h, dbias the same of g. */
static void group_norm_steps(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const groups *s = node->saved;
    const int64_t shape[] = {s->B, s->G, s->D, s->S}, each[] = {s->G, s->D, 1};
    int samples[] = {0, 3};
    dppo_tensor *input = node->inputs[0], *x = dppo_reshape(cx, input, 4, shape), *u;
    dppo_tensor *centred = dppo_sub(cx, x, group_mean(cx, x));
    dppo_tensor *variance = group_mean(cx, dppo_square(cx, centred));
    dppo_tensor *rstd = dppo_pow_scalar(cx, dppo_add_scalar(cx, variance, s->eps), -0.5);
    dppo_tensor *h = dppo_mul(cx, centred, rstd);
    u = g = dppo_reshape(cx, g, 4, shape);
    if (node->inputs[1]) u = dppo_mul(cx, g, dppo_reshape(cx, node->inputs[1], 3, each));
    if (dppo_needs_grad(node, 0)) {
        dppo_tensor *along = dppo_mul(cx, h, group_mean(cx, dppo_mul(cx, u, h)));
        dppo_tensor *dx = dppo_mul(cx, rstd, dppo_sub(cx, dppo_sub(cx, u, group_mean(cx, u)), along));
        gradients[0] = dppo_reshape(cx, dx, input->ndim, input->shape);
    }
    for (int i = 1; i < 3; i++)
        if (dppo_needs_grad(node, i)) {
            dppo_tensor *sum = dppo_sum(cx, i == 1 ? dppo_mul(cx, g, h) : g, 2, samples, false);
            gradients[i] = dppo_reshape(cx, sum, 1, &s->C);
        }
}

/* Inputs: x, weight, bias, any of the last two absent. */
static void group_norm_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const groups *s = node->saved;
    const char *name = "group_norm_backward";
    dppo_tensor *x = node->inputs[0], *weight = node->inputs[1];
    float *to[3] = {NULL, NULL, NULL};
    if (dppo_grad_enabled(cx)) {
        group_norm_steps(cx, node, g, gradients);
        return;
    }
    if (!dppo_gradient_buffers(cx, node, 3, gradients, to)) return;
    const float *dy = dppo_packed(cx, name, g), *data = dppo_packed(cx, name, x);
    const float *scale = weight ? dppo_packed(cx, name, weight) : NULL;
    int64_t rows = s->B * s->C;
    float *ds = dppo_arena_alloc(dppo_context_arena(cx), (size_t)(2 * rows + 1) * sizeof *ds),
          *db = ds + rows;
    if (!ds)
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for %lld rows", name, (long long)rows);
    if (!ds || !dy || !data || (weight && !scale)) return;
    for (int64_t row = 0; row < rows; row++) {
        ds[row] = dot_in_lanes(s->S, dy + row * s->S, data + row * s->S);
        db[row] = dot_in_lanes(s->S, dy + row * s->S, NULL);
    }
    if (to[0]) input_gradient(s, to[0], dy, data, ds, db, scale);
    parameter_gradients(s, to[1], to[2], ds, db);
}

static bool is_per_channel(const dppo_tensor *parameter, int64_t channels) {
    return !parameter || (parameter->ndim == 1 && parameter->shape[0] == channels);
}

dppo_tensor *dppo_group_norm(dppo_cx *cx, dppo_tensor *input, int64_t num_groups, dppo_tensor *weight,
                             dppo_tensor *bias, double eps) {
    const char *name = "group_norm";
    const float *x = dppo_packed(cx, name, input);
    if (!x) return NULL;
    int64_t C = input->ndim >= 2 ? input->shape[1] : 0;
    if (num_groups < 1 || C < 1 || C % num_groups != 0 || !is_per_channel(weight, C) ||
        !is_per_channel(bias, C))
        return dppo_context_fail(cx, DPPO_INVALID, "%s: %lld channels in %lld groups, or not as many weights",
                                 name, (long long)C, (long long)num_groups);
    int64_t B = input->shape[0], total = dppo_numel(input), rows = B * num_groups;
    groups *s = dppo_arena_alloc(dppo_context_arena(cx), sizeof *s);
    float *moments = dppo_arena_alloc(dppo_context_arena(cx), (size_t)(2 * rows + 1) * sizeof *moments);
    if (!s || !moments)
        return dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for %lld rows", name, (long long)rows);
    *s =
        (groups){B, C, B > 0 ? total / (B * C) : 0, num_groups, C / num_groups, moments, moments + rows, eps};
    const float *scale = weight ? dppo_packed(cx, name, weight) : NULL;
    const float *shift = bias ? dppo_packed(cx, name, bias) : NULL;
    dppo_tensor *out = dppo_result(cx, DPPO_F32, input->ndim, input->shape);
    if (!out || (weight && !scale) || (bias && !shift)) return NULL;
    if (total > 0) dppo_kernel_moments(rows, s->D * s->S, s->mean, s->rstd, x);
    for (int64_t row = 0; total > 0 && row < rows; row++)
        s->rstd[row] = 1.0f / sqrtf(s->rstd[row] + (float)eps);
    normalize(s, dppo_f32(out), x, scale, shift);
    dppo_node *node =
        dppo_record(cx, name, out, 3, (dppo_tensor *[]){input, weight, bias}, group_norm_backward);
    if (node) node->saved = s;
    return out;
}
