/* SinusoidalPosEmb, and the embedding of the denoising step that is built on it. */
#include "models/build.h"
#include "models/networks.h"
#include "models/parts.h"

#include <math.h>

typedef struct sinusoidal_pos_emb {
    dppo_module module;
    int64_t dim;
} sinusoidal_pos_emb;

static dppo_status sinusoidal_pos_emb_new(int64_t dim, dppo_module **module) {
    *module = NULL;
    if (dim < 4 || dim % 2 != 0) /* the frequencies are spaced by dim / 2 - 1 */
        return dppo_fail(DPPO_INVALID, "SinusoidalPosEmb: dim %lld is not an even number from 4 on",
                         (long long)dim);
    sinusoidal_pos_emb *self = dppo_module_new(sizeof *self, "SinusoidalPosEmb");
    if (!self) return DPPO_NO_MEMORY;
    self->dim = dim;
    *module = &self->module;
    return DPPO_OK;
}

dppo_status dppo_build_sinusoidal_pos_emb(const dppo_config *config, dppo_generator *generator,
                                          dppo_module **module) {
    (void)generator;
    int64_t dim = 0;
    DPPO_TRY(dppo_config_allow(config, "SinusoidalPosEmb", (const char *const[]){"dim", NULL}));
    DPPO_TRY(dppo_config_int(config, "dim", &dim));
    return sinusoidal_pos_emb_new(dim, module);
}

/* [sin(t f_j), cos(t f_j)], f_j = exp(-j log(10000) / (dim / 2 - 1)), j = 0 ... dim / 2 - 1 */
dppo_tensor *dppo_sinusoidal_pos_emb_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    int64_t half_dim = ((const sinusoidal_pos_emb *)module)->dim / 2;
    double spacing = log(10000) / (double)(half_dim - 1);
    dppo_tensor *steps = dppo_arange(cx, DPPO_F32, 0, (double)half_dim, 1);
    dppo_tensor *frequencies = dppo_unsqueeze(cx, dppo_exp(cx, dppo_mul_scalar(cx, steps, -spacing)), 0);
    dppo_tensor *times = dppo_unsqueeze(cx, dppo_to_dtype(cx, x, DPPO_F32), 1);
    dppo_tensor *angles = dppo_mul(cx, times, frequencies);
    return dppo_cat(cx, 2, (dppo_tensor *[]){dppo_sin(cx, angles), dppo_cos(cx, angles)}, -1);
}

dppo_status dppo_add_time_embedding(dppo_module *parent, const char *name, dppo_generator *generator,
                                    int64_t dim, int64_t widening, dppo_time_embedding *embedding) {
    dppo_module *sequential = NULL;
    embedding->dim = dim;
    DPPO_TRY(dppo_add_container(parent, name, "Sequential", &sequential));
    DPPO_TRY(sinusoidal_pos_emb_new(dim, &embedding->position));
    DPPO_TRY(dppo_module_child(sequential, "0", embedding->position));
    DPPO_TRY(dppo_add_linear(sequential, "1", generator, dim, widening * dim, &embedding->widen));
    return dppo_add_linear(sequential, "3", generator, widening * dim, dim, &embedding->narrow);
}

dppo_tensor *dppo_time_embedding_forward(dppo_cx *cx, const dppo_time_embedding *embedding,
                                         dppo_tensor *time) {
    if (!time) return NULL;
    const int64_t column[] = {time->shape[0], 1}, rows[] = {time->shape[0], embedding->dim};
    dppo_tensor *h =
        dppo_sinusoidal_pos_emb_forward(cx, embedding->position, dppo_reshape(cx, time, 2, column));
    h = dppo_mish(cx, dppo_linear_layer_forward(cx, embedding->widen, h));
    return dppo_reshape(cx, dppo_linear_layer_forward(cx, embedding->narrow, h), 2, rows);
}
