#include "envs/scaling.h"

#include "data/dataset.h"

#include <stdlib.h>

/* One (size) array of the file as doubles. */
static dppo_status take(const char *path, const dppo_named *file, const char *key, int64_t size,
                        double **values, bool *float32) {
    const dppo_tensor *tensor = dppo_named_get(file, key);
    if (tensor == NULL) return dppo_fail(DPPO_INVALID, "%s: there is no \"%s\"", path, key);
    if (tensor->dtype != DPPO_F32 && tensor->dtype != DPPO_F64)
        return dppo_fail(DPPO_INVALID, "%s: \"%s\" is %s, not float32 or float64", path, key,
                         dppo_dtype_name(tensor->dtype));
    if (tensor->ndim != 1 || tensor->shape[0] != size) {
        char shape[64];
        return dppo_fail(DPPO_INVALID, "%s: \"%s\" has shape %s, the environment needs (%lld)", path, key,
                         dppo_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape), (long long)size);
    }
    DPPO_TRY(dppo_check_finite(path, key, tensor));
    *values = malloc((size_t)size * sizeof **values);
    if (*values == NULL) return dppo_fail(DPPO_NO_MEMORY, "%s: no memory", path);
    for (int64_t i = 0; i < size; i++)
        (*values)[i] = dppo_tensor_at(tensor, i);
    *float32 = tensor->dtype == DPPO_F32;
    return DPPO_OK;
}

static dppo_status take_all(const char *path, const dppo_named *file, dppo_scaling *scaling) {
    bool low, high; /* float64 on one side makes the result float64 */
    DPPO_TRY(take(path, file, "obs_min", scaling->obs_dim, &scaling->obs_min, &low));
    DPPO_TRY(take(path, file, "obs_max", scaling->obs_dim, &scaling->obs_max, &high));
    scaling->obs_float32 = low && high;
    DPPO_TRY(take(path, file, "action_min", scaling->action_dim, &scaling->action_min, &low));
    DPPO_TRY(take(path, file, "action_max", scaling->action_dim, &scaling->action_max, &high));
    scaling->action_float32 = low && high;
    return DPPO_OK;
}

dppo_status dppo_scaling_read(const char *path, int64_t obs_dim, int64_t action_dim, dppo_scaling *scaling) {
    *scaling = (dppo_scaling){.obs_dim = obs_dim, .action_dim = action_dim};
    dppo_named file = {0};
    dppo_status status = dppo_npz_read(path, &file);
    if (status == DPPO_OK) status = take_all(path, &file, scaling);
    dppo_named_free(&file);
    if (status != DPPO_OK) dppo_scaling_free(scaling);
    return status;
}
