/* Rows: layer_norm and softmax; no include guard: part of the body of kernel_plain.c and kernel_avx2.c. */

enum { MOMENT_CHUNK = 16, MOMENT_LEVELS = 64 };

/* Count, mean and sum of squared deviations of one lane set. */
typedef struct moments {
    int64_t count;
    v8 mean, squares;
} moments;

/* libtorch's moments are compiled without fused multiply-adds, whatever the processor. Chan's merge: c = n_b
 * / (n_a + n_b), mean += c delta, squares += squares_b + delta^2 c n_a. */
LANE_FN void merge_moments(moments *into, const moments *from) {
    int64_t n = into->count + from->count;
    v8 c = v_set(n == 0 ? 0.0f : (float)from->count / (float)n);
    v8 delta = v_sub(from->mean, into->mean);
    into->mean = v_add(into->mean, v_mul(c, delta));
    v8 added = v_add(from->squares, v_mul(v_mul(v_mul(delta, delta), c), v_set((float)into->count)));
    into->squares = v_add(into->squares, added);
    into->count = n;
}

/* Welford's update over up to 16 vectors. */
LANE_FN moments chunk_moments(const float *x, int64_t vectors) {
    moments m = {vectors, v_set(0.0f), v_set(0.0f)};
    for (int64_t j = 0; j < vectors; j++) {
        v8 value = v_load(x + j * LANES), delta = v_sub(value, m.mean);
        m.mean = v_add(m.mean, v_mul(delta, v_set(1.0f / (float)(j + 1))));
        m.squares = v_add(m.squares, v_mul(delta, v_sub(value, m.mean)));
    }
    return m;
}

/* Mean and variance (divided by N) of a row: chunks merged pairwise, then the last elements, then lane by
 * lane. */
LANE_FN void row_moments(const float *x, int64_t N, float *mean, float *variance) {
    int64_t vectors = N / LANES, chunks = (vectors + MOMENT_CHUNK - 1) / MOMENT_CHUNK;
    int depth = ceil_log2(chunks);
    moments stack[MOMENT_LEVELS];
    for (int l = 0; l <= depth; l++)
        stack[l] = (moments){0, v_set(0.0f), v_set(0.0f)};
    for (int64_t i = 0; i < chunks; i++) {
        int64_t left = vectors - i * MOMENT_CHUNK;
        moments chunk =
            chunk_moments(x + i * MOMENT_CHUNK * LANES, left < MOMENT_CHUNK ? left : MOMENT_CHUNK);
        merge_moments(&stack[0], &chunk);
        for (int l = 1; l < depth && ((i + 1) >> (l - 1) & 1) == 0; l++) {
            merge_moments(&stack[l], &stack[l - 1]);
            stack[l - 1] = (moments){0, v_set(0.0f), v_set(0.0f)};
        }
    }
    for (int l = 1; l < depth; l++)
        merge_moments(&stack[0], &stack[l]);

    float lane_mean[LANES], lane_squares[LANES], m1 = 0.0f, m2 = 0.0f;
    v_store(lane_mean, stack[0].mean);
    v_store(lane_squares, stack[0].squares);
    int64_t count = 0;
    for (int64_t i = vectors * LANES; i < N; i++) {
        float delta = x[i] - m1;
        m1 += delta / (float)++count;
        m2 += delta * (x[i] - m1);
    }
    for (int k = 0; k < LANES; k++) {
        int64_t n = count + vectors;
        float c = n == 0 ? 0.0f : (float)vectors / (float)n, delta = lane_mean[k] - m1;
        m1 += c * delta;
        m2 += lane_squares[k] + delta * delta * c * (float)count;
        count = n;
    }
    *mean = m1;
    *variance = m2 / (float)N;
}

FN void moments_of_rows(int64_t M, int64_t N, float *mean, float *variance, const float *x) {
    for (int64_t i = 0; i < M; i++)
        row_moments(x + i * N, N, &mean[i], &variance[i]);
}

/* y = (x rstd - mean rstd) weight + bias */
FN void layer_norm_rows(int64_t M, int64_t N, float *out, float *mean, float *rstd, const float *x,
                        const float *weight, const float *bias, float eps) {
    for (int64_t i = 0; i < M; i++, x += N, out += N) {
        float variance;
        row_moments(x, N, &mean[i], &variance);
        rstd[i] = 1.0f / sqrtf(variance + eps);
        float shift = -rstd[i] * mean[i];
        if (weight == NULL || bias == NULL) {
            for (int64_t j = 0; j < N; j++)
                out[j] = fmaf(fmaf(x[j], rstd[i], shift), weight ? weight[j] : 1.0f, bias ? bias[j] : 0.0f);
            continue;
        }
        v8 scale8 = v_set(rstd[i]), shift8 = v_set(shift);
        int64_t j = 0;
        for (; j + LANES <= N; j += LANES)
            v_store(out + j,
                    v_fma(v_fma(v_load(x + j), scale8, shift8), v_load(weight + j), v_load(bias + j)));
        for (; j < N; j++)
            out[j] = fmaf(fmaf(x[j], rstd[i], shift), weight[j], bias[j]);
    }
}

/* Adds the eight lanes in pairs: halves, quarters, neighbours. */
LANE_FN float add_across(v8 sums) {
    float a[LANES];
    v_store(a, sums);
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}
LANE_FN float max_across(v8 values) {
    float a[LANES];
    v_store(a, values);
    float best = a[0];
    for (int k = 1; k < LANES; k++)
        best = isnan(best) || best > a[k] ? best : a[k];
    return best;
}

/* Sum over N of one product per vector position; rows shorter than a vector are added in order. */
#define ROW_REDUCE(name, expression, scalar)                                                                 \
    LANE_FN float name(const float *x, const float *y, const float *z, int64_t N) {                          \
        (void)y, (void)z;                                                                                    \
        if (N < LANES) {                                                                                     \
            float total = 0.0f;                                                                              \
            for (int64_t j = 0; j < N; j++)                                                                  \
                total = j == 0 ? (scalar) : total + (scalar);                                                \
            return total;                                                                                    \
        }                                                                                                    \
        int64_t j = 0;                                                                                       \
        v8 sums = (expression);                                                                              \
        for (j = LANES; j + LANES <= N; j += LANES)                                                          \
            sums = ROW_STEP(sums);                                                                           \
        if (j < N) {                                                                                         \
            float lanes[LANES];                                                                              \
            v_store(lanes, sums);                                                                            \
            for (int k = 0; j < N; j++, k++)                                                                 \
                lanes[k] = ROW_STEP_SCALAR(lanes[k]);                                                        \
            sums = v_load(lanes);                                                                            \
        }                                                                                                    \
        return add_across(sums);                                                                             \
    }

/* libtorch's compiler fuses the last product into the sum. */
#define ROW_STEP(sums) v_fma(v_load(x + j), v_load(y + j), sums)
#define ROW_STEP_SCALAR(sum) fmaf(x[j], y[j], sum)
ROW_REDUCE(sum_xy, v_mul(v_load(x + j), v_load(y + j)), x[j] * y[j])
#undef ROW_STEP
#undef ROW_STEP_SCALAR
#define ROW_STEP(sums) v_fma(v_mul(v_load(x + j), v_load(y + j)), v_load(z + j), sums)
#define ROW_STEP_SCALAR(sum) fmaf(x[j] * y[j], z[j], sum)
ROW_REDUCE(sum_xyz, v_mul(v_mul(v_load(x + j), v_load(y + j)), v_load(z + j)), x[j] * y[j] * z[j])
#undef ROW_STEP
#undef ROW_STEP_SCALAR
#define ROW_STEP(sums) v_add(sums, v_load(x + j))
#define ROW_STEP_SCALAR(sum) ((sum) + x[j])
ROW_REDUCE(sum_x, v_load(x + j), x[j])

/* With s = sum dy x weight, d = sum dy weight, a = rstd:
 * dx = a dy weight + b x + c, b = (d mean - s) a^3 / N, c = -b mean - d a / N. */
FN void layer_norm_dx_rows(int64_t M, int64_t N, float *dx, const float *dy, const float *x,
                           const float *mean, const float *rstd, const float *weight) {
    float scale = 1.0f / (float)N;
    for (int64_t i = 0; i < M; i++, dx += N, dy += N, x += N) {
        float s = weight ? sum_xyz(dy, x, weight, N) : sum_xy(dy, x, NULL, N);
        float d = weight ? sum_xy(dy, weight, NULL, N) : sum_x(dy, NULL, NULL, N);
        float a = rstd[i], b = fmaf(d, mean[i], -s) * a * a * a * scale;
        float c = fmaf(-b, mean[i], -(d * a * scale));
        v8 a8 = v_set(a), b8 = v_set(b), c8 = v_set(c);
        int64_t j = 0;
        for (; j + LANES <= N; j += LANES) {
            v8 g = v_mul(a8, v_load(dy + j));
            v8 sum = v_fma(b8, v_load(x + j), weight ? v_mul(g, v_load(weight + j)) : g);
            v_store(dx + j, v_add(sum, c8));
        }
        for (; j < N; j++)
            dx[j] = fmaf(b, x[j], weight ? a * dy[j] * weight[j] : a * dy[j]) + c;
    }
}

/* dweight += dy (x rstd - mean rstd), dbias += dy, row after row. */
FN void layer_norm_dweight_columns(int64_t M, int64_t N, int64_t n, float *dweight, float *dbias,
                                   const float *dy, const float *x, const float *mean, const float *rstd) {
    for (int64_t i = 0; i < M; i++, dy += N, x += N) {
        float a = rstd[i], b = -a * mean[i];
        v8 a8 = v_set(a), b8 = v_set(b);
        int64_t j = 0;
        for (; j + LANES <= n; j += LANES) {
            v8 g = v_load(dy + j);
            if (dweight) v_store(dweight + j, v_fma(g, v_fma(a8, v_load(x + j), b8), v_load(dweight + j)));
            if (dbias) v_store(dbias + j, v_add(v_load(dbias + j), g));
        }
        for (; j < n; j++) {
            if (dweight) dweight[j] = fmaf(dy[j], fmaf(a, x[j], b), dweight[j]);
            if (dbias) dbias[j] += dy[j];
        }
    }
}

LANE_FN float row_max(const float *x, int64_t N) {
    if (N < LANES) {
        float best = x[0];
        for (int64_t j = 1; j < N; j++)
            best = isnan(best) || best > x[j] ? best : x[j];
        return best;
    }
    v8 best = v_load(x);
    for (int64_t j = LANES; j < N; j += LANES) {
        v8 value =
            v_load(j + LANES <= N ? x + j : x + N - LANES); /* overlapping the last vector does no harm */
        best = v_select(v_unordered(best, value), v_add(best, value), v_max(best, value));
    }
    return max_across(best);
}

/* exp(x - shift) into out. */
LANE_FN void exp_row(float *out, const float *x, float shift, int64_t N) {
    int64_t j = 0;
    for (; j + LANES <= N; j += LANES)
        v_store(out + j, v_exp(v_sub(v_load(x + j), v_set(shift))));
    if (j < N) v_store_part(out + j, v_exp(v_sub(v_load_part(x + j, N - j), v_set(shift))), N - j);
}

FN void softmax_rows(int64_t M, int64_t N, float *out, const float *x, bool logarithm) {
    for (int64_t i = 0; i < M; i++, out += N, x += N) {
        float shift = row_max(x, N), lanes[LANES];
        exp_row(out, x, shift, N);
        float total = sum_x(out, NULL, NULL, N);
        v_store(lanes, v_log(v_set(total)));
        for (int64_t j = 0; j < N; j++)
            out[j] = logarithm ? x[j] - shift - lanes[0] : out[j] * (1.0f / total);
    }
}

/* (N, columns) down the columns: eight side by side, sums in order; the last columns with the C library. */
LANE_FN void softmax_lanes(int64_t N, int64_t stride, float *out, const float *x, bool logarithm) {
    v8 most = v_load(x), total = v_set(0.0f);
    for (int64_t i = 1; i < N; i++) {
        v8 value = v_load(x + i * stride);
        most = v_select(v_unordered(most, value), v_add(most, value), v_max(most, value));
    }
    for (int64_t i = 0; i < N; i++) {
        v8 e = v_exp(v_sub(v_load(x + i * stride), most));
        v_store(out + i * stride, e);
        total = v_add(total, e);
    }
    v8 log_total = v_log(total);
    for (int64_t i = 0; i < N; i++) {
        v8 shifted = v_sub(v_load(x + i * stride), most);
        v_store(out + i * stride,
                logarithm ? v_sub(shifted, log_total) : v_div(v_load(out + i * stride), total));
    }
}

LANE_FN void softmax_column(int64_t N, int64_t stride, float *out, const float *x, bool logarithm) {
    float most = x[0], total = 0.0f, logs[LANES];
    for (int64_t i = 1; i < N; i++)
        most = isnan(most) || most > x[i * stride] ? most : x[i * stride];
    for (int64_t i = 0; i < N; i++)
        total += out[i * stride] = expf(x[i * stride] - most);
    v_store(logs, v_log(v_set(total)));
    for (int64_t i = 0; i < N; i++)
        out[i * stride] = logarithm ? x[i * stride] - most - logs[0] : out[i * stride] / total;
}

FN void softmax_columns(int64_t N, int64_t columns, float *out, const float *x, bool logarithm) {
    int64_t j = 0;
    for (; j + LANES <= columns; j += LANES)
        softmax_lanes(N, columns, out + j, x + j, logarithm);
    for (; j < columns; j++)
        softmax_column(N, columns, out + j, x + j, logarithm);
}

/* softmax: dx = (dy - sum dy y) y; log_softmax: dx = dy - exp(y) sum dy */
FN void softmax_grad_rows(int64_t M, int64_t N, float *dx, const float *dy, const float *y, bool logarithm) {
    for (int64_t i = 0; i < M; i++, dx += N, dy += N, y += N) {
        float total = logarithm ? sum_x(dy, NULL, NULL, N) : sum_xy(dy, y, NULL, N);
        if (logarithm) exp_row(dx, y, 0.0f, N);
        for (int64_t j = 0; j < N; j++)
            dx[j] = logarithm ? fmaf(-dx[j], total, dy[j]) : (dy[j] - total) * y[j];
    }
}
