/* DiffusionMLP: predicts the noise in an action chunk from the chunk, the denoising step and the state. */
#include "models/build.h"
#include "models/networks.h"
#include "models/parts.h"

typedef struct diffusion_mlp {
    dppo_module module;
    dppo_time_embedding time;
    dppo_module *cond_mlp, *mlp_mean; /* encoder of the state, or NULL; MLP or ResidualMLP */
} diffusion_mlp;

/* The constructor's arguments. */
typedef struct diffusion_mlp_arguments {
    int64_t action_dim, horizon_steps, cond_dim, time_dim;
    dppo_mlp_options cond, mean; /* their dims are completed by fill() */
    bool residual_style;
} diffusion_mlp_arguments;

/* The head's input is [chunk, time embedding, state]; with cond_mlp_dims the state is encoded first, by an
 * MLP even where the head is residual. */
static dppo_status fill(diffusion_mlp *self, const dppo_config *config, diffusion_mlp_arguments *a,
                        dppo_generator *generator) {
    int64_t encoded = a->cond_dim, chunk = a->action_dim * a->horizon_steps;
    DPPO_TRY(
        dppo_add_time_embedding(&self->module, "time_embedding", generator, a->time_dim, 2, &self->time));
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

dppo_tensor *dppo_diffusion_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                        dppo_tensor *time, dppo_cond cond) {
    const diffusion_mlp *self = (const diffusion_mlp *)module;
    if (!x || !time || !cond.state) return NULL;
    dppo_tensor *chunk = dppo_flatten_rows(cx, x);
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    if (self->cond_mlp) state = dppo_mlp_forward(cx, self->cond_mlp, state, NULL);
    dppo_tensor *parts[] = {chunk, dppo_time_embedding_forward(cx, &self->time, time), state};
    dppo_tensor *out = dppo_any_mlp_forward(cx, self->mlp_mean, dppo_cat(cx, 3, parts, -1));
    return dppo_reshape(cx, out, 3, x->shape);
}
