/* DiffusionMLP: predicts the noise in an action chunk from the chunk, the denoising step and the state. */
#include "models/build.h"
#include "models/networks.h"
#include "nn/layers.h"

#include <math.h>

/* -- SinusoidalPosEmb ---------------------------------------------------------------------------------------
 */

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

/* -- DiffusionMLP
 * --------------------------------------------------------------------------------------------- */

typedef struct diffusion_mlp {
    dppo_module module;
    int64_t time_dim;
    dppo_module *position;             /* time_embedding.0, a SinusoidalPosEmb; .2 is Mish */
    dppo_linear_layer *widen, *narrow; /* time_embedding.1 and .3 */
    dppo_module *cond_mlp, *mlp_mean;  /* encoder of the state, or NULL; MLP or ResidualMLP */
} diffusion_mlp;

/* The constructor's arguments. */
typedef struct diffusion_mlp_arguments {
    int64_t action_dim, horizon_steps, cond_dim, time_dim;
    dppo_mlp_options cond, mean; /* their dims are completed by fill() */
    bool residual_style;
} diffusion_mlp_arguments;

/* time_embedding is a Sequential: position, linear (2 x wider), Mish, linear. */
static dppo_status add_time_embedding(diffusion_mlp *self, dppo_generator *generator) {
    dppo_module *sequential = dppo_module_new(sizeof *sequential, "Sequential");
    if (!sequential) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_module_child(&self->module, "time_embedding", sequential));
    DPPO_TRY(sinusoidal_pos_emb_new(self->time_dim, &self->position));
    DPPO_TRY(dppo_module_child(sequential, "0", self->position));
    self->widen = dppo_linear_layer_new(generator, self->time_dim, 2 * self->time_dim, true);
    if (!self->widen) return DPPO_INVALID;
    DPPO_TRY(dppo_module_child(sequential, "1", &self->widen->module));
    self->narrow = dppo_linear_layer_new(generator, 2 * self->time_dim, self->time_dim, true);
    if (!self->narrow) return DPPO_INVALID;
    return dppo_module_child(sequential, "3", &self->narrow->module);
}

/* The head's input is [chunk, time embedding, state]; with cond_mlp_dims the state is encoded first, by an
 * MLP even where the head is residual. */
static dppo_status fill(diffusion_mlp *self, const dppo_config *config, diffusion_mlp_arguments *a,
                        dppo_generator *generator) {
    int64_t encoded = a->cond_dim, chunk = a->action_dim * a->horizon_steps;
    self->time_dim = a->time_dim;
    DPPO_TRY(add_time_embedding(self, generator));
    if (a->cond.dim_count > 1) {
        encoded = a->cond.dims[a->cond.dim_count - 1];
        DPPO_TRY(dppo_mlp_new(&a->cond, generator, &self->cond_mlp));
        DPPO_TRY(dppo_module_child(&self->module, "cond_mlp", self->cond_mlp));
    }
    DPPO_TRY(dppo_mlp_options_add(&a->mean, a->time_dim + chunk + encoded));
    DPPO_TRY(dppo_mlp_options_add_hidden(&a->mean, config, (const int64_t[]){256, 256}, 2));
    DPPO_TRY(dppo_mlp_options_add(&a->mean, chunk));
    DPPO_TRY(dppo_any_mlp_new(a->residual_style, &a->mean, generator, &self->mlp_mean));
    return dppo_module_child(&self->module, "mlp_mean", self->mlp_mean);
}

static dppo_status read_arguments(const dppo_config *config, diffusion_mlp_arguments *a) {
    DPPO_TRY(dppo_config_int(config, "action_dim", &a->action_dim));
    DPPO_TRY(dppo_config_int(config, "horizon_steps", &a->horizon_steps));
    DPPO_TRY(dppo_config_int(config, "cond_dim", &a->cond_dim));
    DPPO_TRY(dppo_config_int_or(config, "time_dim", 16, &a->time_dim));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &a->mean.activation_type));
    DPPO_TRY(dppo_config_string_or(config, "out_activation_type", "Identity", &a->mean.out_activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &a->mean.use_layernorm));
    DPPO_TRY(dppo_config_bool_or(config, "residual_style", false, &a->residual_style));
    a->cond.activation_type = a->mean.activation_type;
    a->cond.out_activation_type = "Identity";
    DPPO_TRY(dppo_mlp_options_add(&a->cond, a->cond_dim));
    return dppo_mlp_options_add_list(&a->cond, config, "cond_mlp_dims");
}

dppo_status dppo_build_diffusion_mlp(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    static const char *const keys[] = {"action_dim",
                                       "horizon_steps",
                                       "cond_dim",
                                       "time_dim",
                                       "mlp_dims",
                                       "cond_mlp_dims",
                                       "activation_type",
                                       "out_activation_type",
                                       "use_layernorm",
                                       "residual_style",
                                       NULL};
    diffusion_mlp_arguments arguments = {0};
    DPPO_TRY(dppo_config_allow(config, "DiffusionMLP", keys));
    DPPO_TRY(read_arguments(config, &arguments));
    diffusion_mlp *self = dppo_module_new(sizeof *self, "DiffusionMLP");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, config, &arguments, generator), &self->module, module);
}

/* (B) -> (B, time_dim) */
static dppo_tensor *time_embedding(dppo_cx *cx, const diffusion_mlp *self, dppo_tensor *time) {
    const int64_t column[] = {time->shape[0], 1}, rows[] = {time->shape[0], self->time_dim};
    dppo_tensor *h = dppo_sinusoidal_pos_emb_forward(cx, self->position, dppo_reshape(cx, time, 2, column));
    h = dppo_mish(cx, dppo_linear_layer_forward(cx, self->widen, h));
    return dppo_reshape(cx, dppo_linear_layer_forward(cx, self->narrow, h), 2, rows);
}

dppo_tensor *dppo_diffusion_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                        dppo_tensor *time, dppo_cond cond) {
    const diffusion_mlp *self = (const diffusion_mlp *)module;
    if (!x || !time || !cond.state) return NULL;
    dppo_tensor *chunk = dppo_flatten_rows(cx, x);
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    if (self->cond_mlp) state = dppo_mlp_forward(cx, self->cond_mlp, state, NULL);
    dppo_tensor *parts[] = {chunk, time_embedding(cx, self, time), state};
    dppo_tensor *out = dppo_any_mlp_forward(cx, self->mlp_mean, dppo_cat(cx, 3, parts, -1));
    return dppo_reshape(cx, out, 3, x->shape);
}
