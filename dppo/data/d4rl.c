/* D4RL's flat HDF5 layout, and its conversion to the npz files that pre-training reads. */
#include "data/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dppo_d4rl_free(dppo_d4rl *data) {
    free(data->observations);
    free(data->next_observations);
    free(data->actions);
    free(data->rewards);
    free(data->terminals);
    free(data->timeouts);
    free(data->qpos);
    free(data->qvel);
    *data = (dppo_d4rl){0};
}

/* -- reading -- */
typedef struct column_set {
    const char *path;
    const dppo_named *file;
    int64_t rows;
} column_set;

/* Data set `name` as `dtype`, owned by the caller: (rows, *width), or (rows) when width is NULL; *width 0
 * takes whatever is there. NULL when it is absent and optional. */
static dppo_status column(const column_set *set, const char *name, bool optional, dppo_dtype dtype,
                          int64_t *width, void **out) {
    const dppo_tensor *from = dppo_named_get(set->file, name);
    char shape[128];
    *out = NULL;
    if (!from && optional) return DPPO_OK;
    if (!from) return dppo_fail(DPPO_FORMAT, "%s: %s: missing", set->path, name);
    bool fits = from->ndim == (width ? 2 : 1) && from->shape[0] == set->rows;
    if (fits && width) fits = from->shape[1] > 0 && (*width == 0 || from->shape[1] == *width);
    if (!fits)
        return dppo_fail(DPPO_FORMAT, "%s: %s: shape %s does not go with %lld rows", set->path, name,
                         dppo_shape_text(from->ndim, from->shape, shape, sizeof shape), (long long)set->rows);
    DPPO_TRY(dppo_check_finite(set->path, name, from));
    if (width) *width = from->shape[1];
    *out = malloc((size_t)dppo_numel(from) * dppo_dtype_size(dtype) + 1);
    if (!*out) return dppo_fail(DPPO_NO_MEMORY, "%s: %s: out of memory", set->path, name);
    dppo_tensor to = *from;
    to.dtype = dtype;
    to.data = *out;
    return dppo_tensor_copy(&to, from);
}

static dppo_status floats(const column_set *set, const char *name, bool optional, int64_t *width,
                          float **out) {
    void *values;
    dppo_status status = column(set, name, optional, DPPO_F32, width, &values);
    *out = values;
    return status;
}

static dppo_status doubles(const column_set *set, const char *name, int64_t *width, double **out) {
    void *values;
    dppo_status status = column(set, name, true, DPPO_F64, width, &values);
    *out = values;
    return status;
}

static dppo_status flags(const column_set *set, const char *name, uint8_t **out) {
    void *values;
    dppo_status status = column(set, name, false, DPPO_BOOL, NULL, &values);
    *out = values;
    return status;
}

static dppo_status read_columns(const column_set *set, dppo_d4rl *data) {
    DPPO_TRY(floats(set, "observations", false, &data->obs_dim, &data->observations));
    DPPO_TRY(floats(set, "next_observations", true, &data->obs_dim, &data->next_observations));
    DPPO_TRY(floats(set, "actions", false, &data->action_dim, &data->actions));
    DPPO_TRY(floats(set, "rewards", false, NULL, &data->rewards));
    DPPO_TRY(flags(set, "terminals", &data->terminals));
    DPPO_TRY(flags(set, "timeouts", &data->timeouts));
    DPPO_TRY(doubles(set, "infos/qpos", &data->nq, &data->qpos));
    return doubles(set, "infos/qvel", &data->nv, &data->qvel);
}

dppo_status dppo_d4rl_read(const char *path, dppo_d4rl *data) {
    dppo_named file = {0};
    *data = (dppo_d4rl){0};
    dppo_status status = dppo_hdf5_read(path, NULL, &file);
    const dppo_tensor *observations = dppo_named_get(&file, "observations");
    if (status == DPPO_OK && (!observations || observations->ndim != 2))
        status = dppo_fail(DPPO_FORMAT, "%s: observations: not a matrix", path);
    if (status == DPPO_OK) {
        column_set set = {path, &file, observations->shape[0]};
        data->rows = set.rows;
        status = read_columns(&set, data);
    }
    dppo_named_free(&file);
    if (status != DPPO_OK) dppo_d4rl_free(data);
    return status;
}

/* -- writing -- */
/* Adds (rows, width), or (rows) when width is 0; nothing for NULL. */
static dppo_status put(dppo_named *map, const char *name, dppo_dtype dtype, int64_t rows, int64_t width,
                       void *values) {
    if (!values) return DPPO_OK;
    dppo_tensor tensor = {.dtype = dtype, .ndim = width ? 2 : 1, .shape = {rows, width}, .data = values};
    tensor.stride[0] = width ? width : 1;
    tensor.stride[1] = 1;
    return dppo_named_put(map, name, &tensor);
}

dppo_status dppo_d4rl_write(const char *path, const dppo_d4rl *data, const char *const *attributes) {
    dppo_named map = {0};
    const dppo_d4rl *d = data;
    dppo_status status = put(&map, "observations", DPPO_F32, d->rows, d->obs_dim, d->observations);
    if (status == DPPO_OK)
        status = put(&map, "next_observations", DPPO_F32, d->rows, d->obs_dim, d->next_observations);
    if (status == DPPO_OK) status = put(&map, "actions", DPPO_F32, d->rows, d->action_dim, d->actions);
    if (status == DPPO_OK) status = put(&map, "rewards", DPPO_F32, d->rows, 0, d->rewards);
    if (status == DPPO_OK) status = put(&map, "terminals", DPPO_BOOL, d->rows, 0, d->terminals);
    if (status == DPPO_OK) status = put(&map, "timeouts", DPPO_BOOL, d->rows, 0, d->timeouts);
    if (status == DPPO_OK) status = put(&map, "infos/qpos", DPPO_F64, d->rows, d->nq, d->qpos);
    if (status == DPPO_OK) status = put(&map, "infos/qvel", DPPO_F64, d->rows, d->nv, d->qvel);
    if (status == DPPO_OK) status = dppo_hdf5_write_as(path, &map, attributes, true);
    dppo_named_free(&map);
    return status;
}

/* -- conversion -- */
/* Over all rows, kept or not. low, high: (width). */
static void range(const float *values, int64_t rows, int64_t width, float *low, float *high) {
    memcpy(low, values, (size_t)width * sizeof *low);
    memcpy(high, values, (size_t)width * sizeof *high);
    for (int64_t i = width; i < rows * width; i++) {
        if (values[i] < low[i % width]) low[i % width] = values[i];
        if (values[i] > high[i % width]) high[i % width] = values[i];
    }
}

/* 2 (x - min) / (max - min + 1e-6) - 1 in float32, each operation rounded, as numpy does it. In place. */
static void scale(float *values, int64_t rows, int64_t width, const float *low, const float *high) {
    for (int64_t i = 0; i < rows * width; i++) {
        int64_t c = i % width;
        values[i] = 2.0F * (values[i] - low[c]) / (high[c] - low[c] + 1e-6F) - 1.0F;
    }
}

/* Moves the rows of the kept episodes to the front and notes their lengths; returns how many rows are kept.
 * 1. The tail after the last end is dropped. 2. A row that is terminal and timeout at once ends a second,
 * empty episode in the original; it has no reward and is skipped, but counts towards max_episodes. */
static int64_t keep_episodes(dppo_d4rl *d, int64_t max_episodes, int64_t *lengths, int64_t *episodes) {
    int64_t kept = 0, first = 0, seen = 0;
    *episodes = 0;
    for (int64_t row = 0; row < d->rows && (max_episodes == 0 || seen < max_episodes); row++) {
        if (!d->terminals[row] && !d->timeouts[row]) continue;
        int64_t length = row + 1 - first;
        double sum = 0;
        for (int64_t i = first; i <= row; i++)
            sum += (double)d->rewards[i];
        if (sum > 0) {
            size_t n = (size_t)length;
            memmove(d->observations + kept * d->obs_dim, d->observations + first * d->obs_dim,
                    n * (size_t)d->obs_dim * sizeof(float));
            memmove(d->actions + kept * d->action_dim, d->actions + first * d->action_dim,
                    n * (size_t)d->action_dim * sizeof(float));
            memmove(d->rewards + kept, d->rewards + first, n * sizeof(float));
            memmove(d->terminals + kept, d->terminals + first, n);
            lengths[(*episodes)++] = length;
            kept += length;
        }
        first = row + 1;
        seen += d->terminals[row] && d->timeouts[row] ? 2 : 1;
    }
    return kept;
}

static dppo_status save(const char *folder, const char *name, const dppo_named *map, bool compressed) {
    char path[DPPO_PATH_TEXT];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return dppo_fail(DPPO_INVALID, "%s: path too long", folder);
    return dppo_npz_write(path, map, compressed);
}

static dppo_status save_train(const char *folder, dppo_d4rl *d, int64_t rows, int64_t *lengths,
                              int64_t episodes) {
    dppo_named map = {0};
    dppo_status status = put(&map, "states", DPPO_F32, rows, d->obs_dim, d->observations);
    if (status == DPPO_OK) status = put(&map, "actions", DPPO_F32, rows, d->action_dim, d->actions);
    if (status == DPPO_OK) status = put(&map, "rewards", DPPO_F32, rows, 0, d->rewards);
    if (status == DPPO_OK) status = put(&map, "terminals", DPPO_BOOL, rows, 0, d->terminals);
    if (status == DPPO_OK) status = put(&map, "traj_lengths", DPPO_I64, episodes, 0, lengths);
    if (status == DPPO_OK) status = save(folder, "train.npz", &map, true);
    dppo_named_free(&map);
    return status;
}

static dppo_status save_normalization(const char *folder, const dppo_d4rl *d, float *bounds) {
    dppo_named map = {0};
    float *obs = bounds, *action = bounds + 2 * d->obs_dim;
    dppo_status status = put(&map, "obs_min", DPPO_F32, d->obs_dim, 0, obs);
    if (status == DPPO_OK) status = put(&map, "obs_max", DPPO_F32, d->obs_dim, 0, obs + d->obs_dim);
    if (status == DPPO_OK) status = put(&map, "action_min", DPPO_F32, d->action_dim, 0, action);
    if (status == DPPO_OK)
        status = put(&map, "action_max", DPPO_F32, d->action_dim, 0, action + d->action_dim);
    if (status == DPPO_OK) status = save(folder, "normalization.npz", &map, false);
    dppo_named_free(&map);
    return status;
}

/* bounds: obs min, obs max, action min, action max, one after the other. */
static dppo_status convert(const char *path, const char *folder, dppo_d4rl *d, int64_t max_episodes,
                           float *bounds, int64_t *lengths) {
    float *obs = bounds, *action = bounds + 2 * d->obs_dim;
    int64_t episodes;
    range(d->observations, d->rows, d->obs_dim, obs, obs + d->obs_dim);
    range(d->actions, d->rows, d->action_dim, action, action + d->action_dim);
    int64_t kept = keep_episodes(d, max_episodes, lengths, &episodes);
    if (episodes == 0) return dppo_fail(DPPO_INVALID, "%s: no finished episode with a positive reward", path);
    scale(d->observations, kept, d->obs_dim, obs, obs + d->obs_dim);
    scale(d->actions, kept, d->action_dim, action, action + d->action_dim);
    DPPO_TRY(dppo_make_folder(folder));
    DPPO_TRY(save_train(folder, d, kept, lengths, episodes));
    return save_normalization(folder, d, bounds);
}

dppo_status dppo_d4rl_convert(const char *path, const char *folder, int64_t max_episodes) {
    dppo_d4rl d;
    DPPO_TRY(dppo_d4rl_read(path, &d));
    float *bounds = malloc((size_t)(2 * (d.obs_dim + d.action_dim) + 1) * sizeof *bounds);
    int64_t *lengths = malloc((size_t)(d.rows + 1) * sizeof *lengths);
    dppo_status status;
    if (!bounds || !lengths)
        status = dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    else if (d.rows < 1)
        status = dppo_fail(DPPO_FORMAT, "%s: empty", path);
    else
        status = convert(path, folder, &d, max_episodes, bounds, lengths);
    free(bounds);
    free(lengths);
    dppo_d4rl_free(&d);
    return status;
}
