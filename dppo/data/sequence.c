/* StitchedSequenceDataset: chunks of trajectories that lie one after the other in one array. */
#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>

typedef struct sample {
    int64_t start, before; /* row, and how many rows of its trajectory lie before it */
} sample;

struct dppo_sequence_dataset {
    int64_t horizon_steps, cond_steps, obs_dim, action_dim, rows, count;
    float *states, *actions; /* (rows, Do), (rows, Da) */
    sample *samples;         /* (count) */
};

void dppo_sequence_dataset_free(dppo_sequence_dataset *dataset) {
    if (!dataset) return;
    free(dataset->states);
    free(dataset->actions);
    free(dataset->samples);
    free(dataset);
}

/* The first `rows` rows of a matrix as float32. */
static dppo_status matrix(const char *path, const dppo_named *arrays, const char *name, int64_t rows,
                          int64_t *columns, float **out) {
    const dppo_tensor *tensor = dppo_named_get(arrays, name);
    char shape[128];
    if (!tensor) return dppo_fail(DPPO_FORMAT, "%s: %s: missing", path, name);
    if (tensor->ndim != 2 || tensor->shape[0] < rows || tensor->shape[1] < 1)
        return dppo_fail(DPPO_FORMAT, "%s: %s: shape %s, but traj_lengths add up to %lld rows", path, name,
                         dppo_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape), (long long)rows);
    DPPO_TRY(dppo_check_finite(path, name, tensor));
    *columns = tensor->shape[1];
    *out = malloc((size_t)(rows * *columns) * sizeof **out + 1);
    if (!*out) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    dppo_tensor from = *tensor, to = {.dtype = DPPO_F32, .ndim = 2, .data = *out};
    from.shape[0] = to.shape[0] = rows;
    to.shape[1] = to.stride[0] = *columns;
    to.stride[1] = 1;
    return dppo_tensor_copy(&to, &from);
}

static dppo_status sum_rows(const char *path, const dppo_tensor *lengths, int64_t episodes, int64_t *rows) {
    *rows = 0;
    for (int64_t e = 0; e < episodes; e++) {
        int64_t length = dppo_i64(lengths)[e];
        if (length < 0 || length > INT32_MAX)
            return dppo_fail(DPPO_FORMAT, "%s: traj_lengths[%lld] is %lld", path, (long long)e,
                             (long long)length);
        *rows += length;
    }
    return DPPO_OK;
}

/* Starts 0..L-H of each of the first `episodes` trajectories; shorter ones give none. */
static dppo_status make_samples(const char *path, const dppo_tensor *lengths, int64_t episodes,
                                dppo_sequence_dataset *dataset) {
    int64_t first = 0, horizon = dataset->horizon_steps;
    dataset->samples = malloc((size_t)dataset->rows * sizeof *dataset->samples + 1);
    if (!dataset->samples) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    for (int64_t e = 0; e < episodes; e++) {
        int64_t length = dppo_i64(lengths)[e];
        for (int64_t i = 0; i <= length - horizon; i++)
            dataset->samples[dataset->count++] = (sample){first + i, i};
        first += length;
    }
    if (dataset->count > 0) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "%s: no trajectory has horizon_steps = %lld rows", path,
                     (long long)horizon);
}

static dppo_status fill(const char *path, const dppo_named *arrays, int64_t max_episodes,
                        dppo_sequence_dataset *dataset) {
    const dppo_tensor *lengths = dppo_named_get(arrays, "traj_lengths");
    if (!lengths || lengths->dtype != DPPO_I64 || lengths->ndim != 1)
        return dppo_fail(DPPO_FORMAT, "%s: traj_lengths: not a vector of integers", path);
    int64_t episodes = lengths->shape[0] < max_episodes ? lengths->shape[0] : max_episodes;
    DPPO_TRY(sum_rows(path, lengths, episodes, &dataset->rows));
    DPPO_TRY(matrix(path, arrays, "states", dataset->rows, &dataset->obs_dim, &dataset->states));
    DPPO_TRY(matrix(path, arrays, "actions", dataset->rows, &dataset->action_dim, &dataset->actions));
    return make_samples(path, lengths, episodes, dataset);
}

static dppo_status load(const char *path, int64_t max_episodes, dppo_sequence_dataset *dataset) {
    dppo_named arrays = {0};
    dppo_status status = dppo_npz_read(path, &arrays);
    if (status == DPPO_OK) status = fill(path, &arrays, max_episodes, dataset);
    dppo_named_free(&arrays);
    return status;
}

dppo_status dppo_sequence_dataset_new(const dppo_config *config, dppo_sequence_dataset **dataset) {
    static const char *const keys[] = {"dataset_path",   "horizon_steps", "cond_steps", "img_cond_steps",
                                       "max_n_episodes", "use_img",       "device",     NULL};
    const char *path;
    bool use_img;
    int64_t horizon, cond, episodes;
    *dataset = NULL;
    DPPO_TRY(dppo_config_allow(config, "StitchedSequenceDataset", keys));
    DPPO_TRY(dppo_config_string(config, "dataset_path", &path));
    DPPO_TRY(dppo_config_int_or(config, "horizon_steps", 64, &horizon));
    DPPO_TRY(dppo_config_int_or(config, "cond_steps", 1, &cond));
    DPPO_TRY(dppo_config_int_or(config, "max_n_episodes", 10000, &episodes));
    DPPO_TRY(dppo_config_bool_or(config, "use_img", false, &use_img));
    if (use_img) return dppo_fail(DPPO_MISSING, "train_dataset.use_img: image data sets are not supported");
    if (horizon < 1 || cond < 1 || episodes < 1)
        return dppo_fail(DPPO_INVALID,
                         "train_dataset: horizon_steps %lld, cond_steps %lld, max_n_episodes %lld: "
                         "each must be at least 1",
                         (long long)horizon, (long long)cond, (long long)episodes);
    dppo_sequence_dataset *made = calloc(1, sizeof *made);
    if (!made) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    made->horizon_steps = horizon;
    made->cond_steps = cond;
    dppo_status status = load(path, episodes, made);
    if (status == DPPO_OK)
        *dataset = made;
    else
        dppo_sequence_dataset_free(made);
    return status;
}

int64_t dppo_sequence_dataset_count(const dppo_sequence_dataset *dataset) {
    return dataset->count;
}

int64_t dppo_sequence_dataset_obs_dim(const dppo_sequence_dataset *dataset) {
    return dataset->obs_dim;
}

int64_t dppo_sequence_dataset_action_dim(const dppo_sequence_dataset *dataset) {
    return dataset->action_dim;
}

/* actions: rows start..start+H-1. states: the cond_steps rows up to start, oldest first; before the
 * trajectory begins its first row is repeated. */
void dppo_sequence_dataset_get(const dppo_sequence_dataset *dataset, int64_t index, float *actions,
                               float *states) {
    sample s = dataset->samples[index];
    size_t obs_bytes = (size_t)dataset->obs_dim * sizeof *states;
    memcpy(actions, dataset->actions + s.start * dataset->action_dim,
           (size_t)(dataset->horizon_steps * dataset->action_dim) * sizeof *actions);
    for (int64_t t = 0; t < dataset->cond_steps; t++) {
        int64_t back = dataset->cond_steps - 1 - t;
        if (back > s.before) back = s.before;
        memcpy(states + t * dataset->obs_dim, dataset->states + (s.start - back) * dataset->obs_dim,
               obs_bytes);
    }
}
