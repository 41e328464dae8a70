#include "data/dataset.h"

#include <stdlib.h>

/* A vector of numbers as float64; all of one kind (obs, action) must be of one length. */
static dppo_status vector(const char *path, const dppo_named *arrays, const char *name, int64_t *count,
                          double **out) {
    const dppo_tensor *tensor = dppo_named_get(arrays, name);
    char shape[128];
    if (!tensor) return dppo_fail(DPPO_FORMAT, "%s: %s: missing", path, name);
    if (tensor->ndim != 1 || tensor->shape[0] < 1 || (*count && tensor->shape[0] != *count))
        return dppo_fail(DPPO_FORMAT, "%s: %s: shape %s is not a vector of its dimension", path, name,
                         dppo_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape));
    DPPO_TRY(dppo_check_finite(path, name, tensor));
    *count = tensor->shape[0];
    *out = malloc((size_t)*count * sizeof **out);
    if (!*out) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    for (int64_t i = 0; i < *count; i++)
        (*out)[i] = dppo_tensor_at(tensor, i);
    return DPPO_OK;
}

dppo_status dppo_normalization_read(const char *path, dppo_normalization *normalization) {
    dppo_normalization *n = normalization;
    *n = (dppo_normalization){0};
    dppo_named arrays = {0};
    dppo_status status = dppo_npz_read(path, &arrays);
    if (status == DPPO_OK) status = vector(path, &arrays, "obs_min", &n->obs_dim, &n->obs_min);
    if (status == DPPO_OK) status = vector(path, &arrays, "obs_max", &n->obs_dim, &n->obs_max);
    if (status == DPPO_OK) status = vector(path, &arrays, "action_min", &n->action_dim, &n->action_min);
    if (status == DPPO_OK) status = vector(path, &arrays, "action_max", &n->action_dim, &n->action_max);
    dppo_named_free(&arrays);
    if (status != DPPO_OK) dppo_normalization_free(n);
    return status;
}

void dppo_normalization_free(dppo_normalization *normalization) {
    free(normalization->obs_min);
    free(normalization->obs_max);
    free(normalization->action_min);
    free(normalization->action_max);
    *normalization = (dppo_normalization){0};
}
