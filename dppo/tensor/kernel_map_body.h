/* Elementwise functions in terms of kernel_lanes.h; no include guard: the body of kernel_plain.c and
 * kernel_avx2.c.
 *
 * MAP computes all elements with lanes. MIXED follows libtorch's loop, which handles pairs of vectors and
 * leaves up to 15 last elements to the C library's functions, whose last bits differ from SLEEF's. */

#define MAP_LOAD(arity, i)                                                                                   \
    v8 a = v_load(in[0] + (i)), b = (arity) > 1 ? v_load(in[1] + (i)) : a,                                   \
       c = (arity) > 2 ? v_load(in[2] + (i)) : a
#define MAP_LOAD_PART(arity, i, n)                                                                           \
    v8 a = v_load_part(in[0] + (i), n), b = (arity) > 1 ? v_load_part(in[1] + (i), n) : a,                   \
       c = (arity) > 2 ? v_load_part(in[2] + (i), n) : a

#define MAP(NAME, arity, expression)                                                                         \
    LANE_FN v8 lanes_##NAME(v8 a, v8 b, v8 c, v8 p, v8 q) {                                                  \
        (void)a, (void)b, (void)c, (void)p, (void)q;                                                         \
        return expression;                                                                                   \
    }                                                                                                        \
    FN void map_##NAME(int64_t n, float *out, const float *const in[3], const float params[2]) {             \
        v8 p = v_set(params[0]), q = v_set(params[1]);                                                       \
        int64_t i = 0;                                                                                       \
        for (; i + LANES <= n; i += LANES) {                                                                 \
            MAP_LOAD(arity, i);                                                                              \
            v_store(out + i, lanes_##NAME(a, b, c, p, q));                                                   \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            MAP_LOAD_PART(arity, i, n - i);                                                                  \
            v_store_part(out + i, lanes_##NAME(a, b, c, p, q), n - i);                                       \
        }                                                                                                    \
    }

#define MIXED(NAME, arity, expression, scalar)                                                               \
    LANE_FN v8 lanes_##NAME(v8 a, v8 b, v8 c, v8 p, v8 q) {                                                  \
        (void)a, (void)b, (void)c, (void)p, (void)q;                                                         \
        return expression;                                                                                   \
    }                                                                                                        \
    LANE_FN float scalar_##NAME(float a, float b, float c, float p, float q) {                               \
        (void)a, (void)b, (void)c, (void)p, (void)q;                                                         \
        return scalar;                                                                                       \
    }                                                                                                        \
    FN void map_##NAME(int64_t n, float *out, const float *const in[3], const float params[2]) {             \
        v8 p = v_set(params[0]), q = v_set(params[1]);                                                       \
        int64_t i = 0;                                                                                       \
        for (; i < n - n % (2 * LANES); i += LANES) {                                                        \
            MAP_LOAD(arity, i);                                                                              \
            v_store(out + i, lanes_##NAME(a, b, c, p, q));                                                   \
        }                                                                                                    \
        for (; i < n; i++)                                                                                   \
            out[i] = scalar_##NAME(in[0][i], (arity) > 1 ? in[1][i] : 0.0f, (arity) > 2 ? in[2][i] : 0.0f,   \
                                   params[0], params[1]);                                                    \
    }

#define ONE v_set(1.0f)
#define ZERO v_set(0.0f)
#define HALF v_set(0.5f)

MAP(NEG, 1, v_neg(a))
MAP(ABS, 1, v_abs(a))
MAP(SIGN, 1, v_sub(v_select(v_lt(ZERO, a), ONE, ZERO), v_select(v_lt(a, ZERO), ONE, ZERO)))
MAP(EXP, 1, v_exp(a))
MAP(LOG, 1, v_log(a))
MAP(LOG1P, 1, v_log1p(a))
MAP(SQRT, 1, v_sqrt(a))
MAP(RSQRT, 1, v_div(ONE, v_sqrt(a)))
MAP(SIN, 1, v_sin(a))
MAP(COS, 1, v_cos(a))
MAP(TANH, 1, v_tanh(a))
MAP(ERF, 1, v_erf(a))
MAP(ROUND, 1, v_round(a))
MAP(RECIPROCAL, 1, v_div(ONE, a))
MAP(CLAMP, 1, v_min(q, v_max(p, a)))
MAP(RELU, 1, v_max(ZERO, a))
MAP(ADD, 2, v_add(a, b))
MAP(SUB, 2, v_sub(a, b))
MAP(MUL, 2, v_mul(a, b))
MAP(DIV, 2, v_div(a, b))
MAP(SQUARED_DIFFERENCE, 2, v_mul(v_sub(a, b), v_sub(a, b)))
MAP(SQUARED_DIFFERENCE_GRAD, 3, v_mul(v_mul(p, v_sub(b, c)), a))

MAP(RELU_GRAD, 2, v_select(v_le(b, ZERO), ZERO, a))
MAP(TANH_GRAD, 2, v_mul(a, v_fnma(b, b, ONE)))
MAP(SIGMOID_GRAD, 2, v_mul(v_mul(a, v_sub(ONE, b)), b))
MAP(CLAMP_GRAD, 2, v_select(v_le(p, b), v_select(v_le(b, q), a, ZERO), ZERO))
/* The bounds are applied as min(max(x, low), high); NaN in any of them comes through. */
MAP(CLAMP_TENSOR, 3,
    v_select(v_unordered(a, a), a, v_select(v_unordered(b, c), v_add(b, c), v_min(v_max(a, b), c))))
MAP(MAXIMUM_GRAD, 3, v_select(v_lt(b, c), ZERO, v_select(v_eq(b, c), v_div(a, v_set(2.0f)), a)))
MAP(MINIMUM_GRAD, 3, v_select(v_lt(c, b), ZERO, v_select(v_eq(b, c), v_div(a, v_set(2.0f)), a)))
MAP(WITHIN_GRAD, 3, v_select(v_le(c, b), a, ZERO))
MAP(OUTSIDE_GRAD, 3, v_select(v_lt(b, c), a, ZERO))

/* libtorch computes atanh with the C library throughout. */
FN void map_ATANH(int64_t n, float *out, const float *const in[3], const float params[2]) {
    (void)params;
    for (int64_t i = 0; i < n; i++)
        out[i] = atanhf(in[0][i]);
}

/* Of zeros of different sign, lanes give the second and the scalar code the first. */
MIXED(MAXIMUM, 2, v_select(v_unordered(a, b), v_add(a, b), v_max(a, b)),
      isnan(a) || isnan(b) ? a + b
      : a < b              ? b
                           : a)
MIXED(MINIMUM, 2, v_select(v_unordered(a, b), v_add(a, b), v_min(a, b)),
      isnan(a) || isnan(b) ? a + b
      : b < a              ? b
                           : a)
MIXED(POW, 1, v_pow(a, p), powf(a, p))
MIXED(SIGMOID, 1, v_div(ONE, v_add(ONE, v_exp(v_sub(ZERO, a)))), 1.0f / (1.0f + expf(-a)))
MIXED(ELU, 1, v_select(v_le(a, ZERO), v_mul(v_sub(v_exp(a), ONE), p), a),
      a <= 0.0f ? (expf(a) - 1.0f) * p : a)
MIXED(ELU_GRAD, 2, v_select(v_le(b, ZERO), v_mul(v_mul(a, p), v_exp(b)), a), b <= 0.0f ? a * p * expf(b) : a)
LANE_FN v8 mish_gate(v8 x) {
    return v_tanh(v_log1p(v_exp(x)));
}
LANE_FN float mish_gate_scalar(float x) {
    return tanhf(log1pf(expf(x)));
}

/* One step of it after the other over a block: of one step, the chains of different elements overlap in the
 * processor; those of three are too long to. */
enum { GATE_BLOCK = 256 };
FN void mish_gates(int64_t n, float *gate, const float *x) {
    const float *const from[3] = {x, NULL, NULL}, *const there[3] = {gate, NULL, NULL};
    const float unused[2] = {0.0f, 0.0f};
    int64_t whole = n - n % (2 * LANES);
    map_EXP(whole, gate, from, unused);
    map_LOG1P(whole, gate, there, unused);
    map_TANH(whole, gate, there, unused);
    for (int64_t i = whole; i < n; i++)
        gate[i] = mish_gate_scalar(x[i]);
}
FN void map_MISH_GATE(int64_t n, float *out, const float *const in[3], const float params[2]) {
    (void)params;
    for (int64_t i = 0; i < n; i += GATE_BLOCK)
        mish_gates(n - i < GATE_BLOCK ? n - i : GATE_BLOCK, out + i, in[0] + i);
}
FN void map_MISH(int64_t n, float *out, const float *const in[3], const float params[2]) {
    float gate[GATE_BLOCK];
    for (int64_t i = 0; i < n; i += GATE_BLOCK) {
        const float *const factors[3] = {in[0] + i, gate, NULL};
        int64_t count = n - i < GATE_BLOCK ? n - i : GATE_BLOCK;
        mish_gates(count, gate, in[0] + i);
        map_MUL(count, out + i, factors, params);
    }
}
MIXED(SOFTPLUS, 1, v_select(v_lt(q, v_mul(a, p)), a, v_div(v_log1p(v_exp(v_mul(a, p))), p)),
      a *p > q ? a : log1pf(expf(a * p)) / p)

/* dy z / (z + 1), z = exp(beta x) */
LANE_FN v8 softplus_slope(v8 dy, v8 x, v8 beta, v8 threshold) {
    v8 z = v_exp(v_mul(x, beta));
    return v_select(v_lt(threshold, v_mul(x, beta)), dy, v_div(v_mul(dy, z), v_add(z, ONE)));
}
LANE_FN float softplus_slope_scalar(float dy, float x, float beta, float threshold) {
    float z = expf(x * beta);
    return x * beta > threshold ? dy : dy * z / (z + 1.0f);
}
MIXED(SOFTPLUS_GRAD, 2, softplus_slope(a, b, p, q), softplus_slope_scalar(a, b, p, q))

/* d/dx x tanh(softplus(x)) = t + x sigmoid(x) (1 - t^2), t = tanh(softplus(x)); libtorch's compiler fuses the
 * sums of products. */
LANE_FN v8 mish_slope(v8 dy, v8 x, v8 t) {
    v8 sigmoid = v_div(ONE, v_add(ONE, v_exp(v_neg(x))));
    return v_mul(dy, v_fma(v_mul(x, sigmoid), v_fnma(t, t, ONE), t));
}
LANE_FN float mish_slope_scalar(float dy, float x, float t) {
    float sigmoid = 1.0f / (1.0f + expf(-x));
    return dy * fmaf(x * sigmoid, fmaf(-t, t, 1.0f), t);
}
MIXED(MISH_GRAD, 2, mish_slope(a, b, mish_gate(b)), mish_slope_scalar(a, b, mish_gate_scalar(b)))
MIXED(GATED_MISH_GRAD, 3, mish_slope(a, b, c), mish_slope_scalar(a, b, c))

#define SQRT_HALF 0.70710678118654752440f
#define GAUSSIAN_PEAK 0.39894228040143267794f /* 1 / sqrt(2 pi) */
MIXED(GELU, 1, v_mul(v_mul(a, HALF), v_add(ONE, v_erf(v_mul(a, v_set(SQRT_HALF))))),
      a * 0.5f * (1.0f + erff(a * SQRT_HALF)))
/* dy (cdf(x) + x pdf(x)). Halving is exact: where the compiler fused that product, the other is rounded. */
LANE_FN v8 gelu_slope(v8 dy, v8 x) {
    v8 cdf = v_mul(HALF, v_add(ONE, v_erf(v_mul(x, v_set(SQRT_HALF)))));
    v8 pdf = v_mul(v_set(GAUSSIAN_PEAK), v_exp(v_mul(v_mul(x, x), v_set(-0.5f))));
    return v_mul(dy, v_fma(x, pdf, cdf));
}
LANE_FN float gelu_slope_scalar(float dy, float x) {
    float cdf = 0.5f * (1.0f + erff(x * SQRT_HALF));
    float pdf = GAUSSIAN_PEAK * expf(x * x * -0.5f);
    return dy * (cdf + x * pdf);
}
MIXED(GELU_GRAD, 2, gelu_slope(a, b), gelu_slope_scalar(a, b))
