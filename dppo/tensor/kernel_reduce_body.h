/* Cascaded sums; no include guard: part of the body of kernel_plain.c and kernel_avx2.c.
 *
 * A long sum is cut into steps of 2^power >= 16 additions; the sums of steps are summed in steps again, over
 * four levels, so that numbers of similar size are added. Four independent columns go side by side: of a row,
 * every fourth element; of a matrix, four neighbouring (vectors of) columns. */

enum { LEVELS = 4, COLUMNS = 4 };

static inline int ceil_log2(int64_t n) {
    int bits = 0;
    while (bits < 62 && ((int64_t)1 << bits) < n)
        bits++;
    return bits;
}

static inline int level_power_of(int64_t size) {
    int power = ceil_log2(size) / LEVELS;
    return power > 4 ? power : 4;
}

/* How many levels are carried up after `done` additions: one, and one more for each level that is full too.
 */
static inline int levels_to_carry(int64_t done, int power) {
    int64_t mask = ((int64_t)1 << power) - 1;
    int level = 1;
    while (level < LEVELS - 1 && (done & (mask << (level * power))) == 0)
        level++;
    return level;
}

LANE_FN v8 load_term(const float *p, bool skip_nan) {
    v8 x = v_load(p);
    return skip_nan ? v_select(v_unordered(x, x), v_set(0.0f), x) : x;
}
LANE_FN float load_term_scalar(const float *p, bool skip_nan) {
    return skip_nan && isnan(*p) ? 0.0f : *p;
}

/* Rows [done, end) of a cascade whose first `done` rows are in `level`; `in` is row `done`, or row i is
 * number index[i - done] of `in`. */
LANE_FN void cascade(v8 level[LEVELS][COLUMNS], const float *in, const int64_t *index, int64_t row_stride,
                     int64_t column_stride, int power, int64_t done, int64_t end, bool skip_nan) {
    int64_t step = (int64_t)1 << power, i = done;
    while (i < end) {
        int64_t next = (i / step + 1) * step, stop = next <= end ? next : end;
        bool whole = next <= end;
        v8 s0 = level[0][0], s1 = level[0][1], s2 = level[0][2], s3 = level[0][3];
        for (; i < stop; i++) {
            const float *row = in + (index ? index[i - done] : i - done) * row_stride;
            s0 = v_add(s0, load_term(row, skip_nan));
            s1 = v_add(s1, load_term(row + column_stride, skip_nan));
            s2 = v_add(s2, load_term(row + 2 * column_stride, skip_nan));
            s3 = v_add(s3, load_term(row + 3 * column_stride, skip_nan));
        }
        level[0][0] = s0, level[0][1] = s1, level[0][2] = s2, level[0][3] = s3;
        for (int l = 1, carry = whole ? levels_to_carry(i, power) : 0; l <= carry; l++)
            for (int k = 0; k < COLUMNS; k++) {
                level[l][k] = v_add(level[l][k], level[l - 1][k]);
                level[l - 1][k] = v_set(0.0f);
            }
    }
}

/* sums[k] = sum over i < size of the vector at in + i row_stride + k column_stride. */
LANE_FN void column_sums(v8 sums[COLUMNS], const float *in, int64_t row_stride, int64_t column_stride,
                         int64_t size, bool skip_nan) {
    v8 level[LEVELS][COLUMNS];
    for (int l = 0; l < LEVELS; l++)
        for (int k = 0; k < COLUMNS; k++)
            level[l][k] = v_set(0.0f);
    cascade(level, in, NULL, row_stride, column_stride, level_power_of(size), 0, size, skip_nan);
    for (int k = 0; k < COLUMNS; k++) {
        sums[k] = level[0][k];
        for (int l = 1; l < LEVELS; l++)
            sums[k] = v_add(sums[k], level[l][k]);
    }
}

/* One block of 32 columns in `state` (LEVELS, COLUMNS, LANES), of a sum over `total` rows. */
FN void continue_column_sums(float *state, const float *in, const int64_t *index, int64_t row_stride,
                             int64_t total, int64_t done, int64_t count) {
    v8 level[LEVELS][COLUMNS];
    for (int l = 0; l < LEVELS; l++)
        for (int k = 0; k < COLUMNS; k++)
            level[l][k] = v_load(state + (l * COLUMNS + k) * LANES);
    if (index)
        cascade(level, in, index, row_stride, LANES, level_power_of(total), done, done + count, false);
    else
        cascade(level, in, NULL, row_stride, LANES, level_power_of(total), done, done + count, false);
    for (int l = 0; l < LEVELS; l++)
        for (int k = 0; k < COLUMNS; k++)
            v_store(state + (l * COLUMNS + k) * LANES, level[l][k]);
}

LANE_FN void column_sums_scalar(float sums[COLUMNS], const float *in, int64_t row_stride,
                                int64_t column_stride, int64_t size, bool skip_nan) {
    int power = level_power_of(size);
    int64_t step = (int64_t)1 << power;
    float level[LEVELS][COLUMNS] = {{0}};
    for (int64_t i = 0; i < size;) {
        int64_t stop = i + step <= size ? i + step : size;
        bool whole = i + step <= size;
        for (; i < stop; i++)
            for (int k = 0; k < COLUMNS; k++)
                level[0][k] += load_term_scalar(in + i * row_stride + k * column_stride, skip_nan);
        for (int l = 1, carry = whole ? levels_to_carry(i, power) : 0; l <= carry; l++)
            for (int k = 0; k < COLUMNS; k++) {
                level[l][k] += level[l - 1][k];
                level[l - 1][k] = 0.0f;
            }
    }
    for (int k = 0; k < COLUMNS; k++) {
        sums[k] = level[0][k];
        for (int l = 1; l < LEVELS; l++)
            sums[k] += level[l][k];
    }
}

/* One sum of `size` vectors, as four interleaved ones. */
LANE_FN v8 row_sum(const float *in, int64_t stride, int64_t size, bool skip_nan) {
    v8 sums[COLUMNS];
    column_sums(sums, in, stride * COLUMNS, stride, size / COLUMNS, skip_nan);
    for (int64_t i = size - size % COLUMNS; i < size; i++)
        sums[0] = v_add(sums[0], load_term(in + i * stride, skip_nan));
    for (int k = 1; k < COLUMNS; k++)
        sums[0] = v_add(sums[0], sums[k]);
    return sums[0];
}
LANE_FN float row_sum_scalar(const float *in, int64_t stride, int64_t size, bool skip_nan) {
    float sums[COLUMNS];
    column_sums_scalar(sums, in, stride * COLUMNS, stride, size / COLUMNS, skip_nan);
    for (int64_t i = size - size % COLUMNS; i < size; i++)
        sums[0] += load_term_scalar(in + i * stride, skip_nan);
    for (int k = 1; k < COLUMNS; k++)
        sums[0] += sums[k];
    return sums[0];
}

/* A contiguous row: lanes first, then the last elements, then the lanes one by one. */
LANE_FN float contiguous_sum(const float *in, int64_t size, bool skip_nan) {
    float lanes[LANES], total = 0.0f;
    v_store(lanes, row_sum(in, LANES, size / LANES, skip_nan));
    for (int64_t i = size - size % LANES; i < size; i++)
        total += load_term_scalar(in + i, skip_nan);
    for (int k = 0; k < LANES; k++)
        total += lanes[k];
    return total;
}

LANE_FN void add_lanes(float *out, int64_t stride, v8 sums) {
    float lanes[LANES];
    v_store(lanes, sums);
    for (int k = 0; k < LANES; k++)
        out[k * stride] += lanes[k];
}

/* Columns next to each other in memory: blocks of 32, then of 8, then one by one. */
LANE_FN void outer_sum(const dppo_sum_shape *s, float *out, const float *in, bool skip_nan) {
    int64_t j = 0, rows = s->size[0], columns = s->size[1], step = s->out_stride[1];
    for (; j + COLUMNS * LANES <= columns; j += COLUMNS * LANES) {
        v8 sums[COLUMNS];
        column_sums(sums, in + j, s->in_stride[0], LANES, rows, skip_nan);
        for (int k = 0; k < COLUMNS; k++)
            add_lanes(out + (j + k * LANES) * step, step, sums[k]);
    }
    for (; j + LANES <= columns; j += LANES)
        add_lanes(out + j * step, step, row_sum(in + j, s->in_stride[0], rows, skip_nan));
    for (; j < columns; j++)
        out[j * step] += row_sum_scalar(in + j, s->in_stride[0], rows, skip_nan);
}

LANE_FN void strided_outer_sum(const dppo_sum_shape *s, float *out, const float *in, bool skip_nan) {
    int64_t j = 0, columns = s->size[1];
    for (; j + COLUMNS <= columns; j += COLUMNS) {
        float sums[COLUMNS];
        column_sums_scalar(sums, in + j * s->in_stride[1], s->in_stride[0], s->in_stride[1], s->size[0],
                           skip_nan);
        for (int k = 0; k < COLUMNS; k++)
            out[(j + k) * s->out_stride[1]] += sums[k];
    }
    for (; j < columns; j++)
        out[j * s->out_stride[1]] +=
            row_sum_scalar(in + j * s->in_stride[1], s->in_stride[0], s->size[0], skip_nan);
}

/* The caller has put the reduced dimension first. */
FN void sum_two_dims(const dppo_sum_shape *s, float *out, const float *in, bool skip_nan) {
    if (s->in_stride[0] == 1 && s->size[0] >= LANES) {
        for (int64_t j = 0; j < s->size[1]; j++)
            out[j * s->out_stride[1]] += contiguous_sum(in + j * s->in_stride[1], s->size[0], skip_nan);
    } else if (s->in_stride[1] == 1 && s->size[1] >= LANES) {
        outer_sum(s, out, in, skip_nan);
    } else if (s->in_stride[0] < s->in_stride[1]) {
        for (int64_t j = 0; j < s->size[1]; j++)
            out[j * s->out_stride[1]] +=
                row_sum_scalar(in + j * s->in_stride[1], s->in_stride[0], s->size[0], skip_nan);
    } else {
        strided_outer_sum(s, out, in, skip_nan);
    }
}
