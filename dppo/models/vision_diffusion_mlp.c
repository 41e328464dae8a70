/* VisionDiffusionMLP: predicts the noise in an action chunk from the chunk, the denoising step, images and
 * the state. */
#include "models/build.h"
#include "models/vision.h"

typedef struct vision_diffusion_mlp {
    dppo_module module;
    dppo_vision vision;
    dppo_time_embedding time;
    dppo_module *mlp_mean; /* MLP or ResidualMLP */
} vision_diffusion_mlp;

/* The constructor's arguments beside those of the images. */
typedef struct arguments {
    int64_t chunk, cond_dim, time_dim; /* chunk: action_dim horizon_steps */
    dppo_mlp_options mean;             /* its dims are completed by fill() */
    bool residual_style;
} arguments;

static dppo_status read_arguments(const dppo_config *config, arguments *a) {
    int64_t action_dim = 0, horizon_steps = 0;
    DPPO_TRY(dppo_config_int(config, "action_dim", &action_dim));
    DPPO_TRY(dppo_config_int(config, "horizon_steps", &horizon_steps));
    a->chunk = action_dim * horizon_steps;
    DPPO_TRY(dppo_config_int(config, "cond_dim", &a->cond_dim));
    DPPO_TRY(dppo_config_int_or(config, "time_dim", 16, &a->time_dim));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &a->mean.activation_type));
    DPPO_TRY(dppo_config_string_or(config, "out_activation_type", "Identity", &a->mean.out_activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &a->mean.use_layernorm));
    return dppo_config_bool_or(config, "residual_style", false, &a->residual_style);
}

/* The head's input is [chunk, time embedding, features of the images, state]. */
static dppo_status fill(vision_diffusion_mlp *self, const dppo_config *config, arguments *a,
                        dppo_generator *generator, dppo_module **backbone) {
    DPPO_TRY(dppo_build_backbone(config, generator, backbone));
    DPPO_TRY(dppo_add_vision(&self->module, config, generator, 0, backbone, &self->vision));
    DPPO_TRY(
        dppo_add_time_embedding(&self->module, "time_embedding", generator, a->time_dim, 2, &self->time));
    DPPO_TRY(dppo_mlp_options_add(&a->mean, a->time_dim + a->chunk + self->vision.feature_dim + a->cond_dim));
    DPPO_TRY(dppo_mlp_options_add_hidden(&a->mean, config, (const int64_t[]){256, 256}, 2));
    DPPO_TRY(dppo_mlp_options_add(&a->mean, a->chunk));
    DPPO_TRY(dppo_any_mlp_new(a->residual_style, &a->mean, generator, &self->mlp_mean));
    return dppo_module_child(&self->module, "mlp_mean", self->mlp_mean);
}

dppo_status dppo_build_vision_diffusion_mlp(const dppo_config *config, dppo_generator *generator,
                                            dppo_module **module) {
    static const char *const keys[] = {
        DPPO_VISION_KEYS,  "action_dim",          "horizon_steps", "time_dim",       "mlp_dims",
        "activation_type", "out_activation_type", "use_layernorm", "residual_style", NULL};
    arguments a = {0};
    dppo_module *backbone = NULL;
    DPPO_TRY(dppo_config_allow(config, "VisionDiffusionMLP", keys));
    DPPO_TRY(read_arguments(config, &a));
    vision_diffusion_mlp *self = dppo_module_new(sizeof *self, "VisionDiffusionMLP");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = fill(self, config, &a, generator, &backbone);
    dppo_module_free(backbone);
    return dppo_build_finish(status, &self->module, module);
}

dppo_tensor *dppo_vision_diffusion_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                               dppo_tensor *time, dppo_cond cond) {
    const vision_diffusion_mlp *self = (const vision_diffusion_mlp *)module;
    if (!x || !time || !cond.state) return NULL;
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    dppo_tensor *features = dppo_vision_forward(cx, &self->vision, cond.rgb, state, true);
    dppo_tensor *parts[] = {dppo_flatten_rows(cx, x), dppo_time_embedding_forward(cx, &self->time, time),
                            features, state};
    dppo_tensor *out = dppo_any_mlp_forward(cx, self->mlp_mean, dppo_cat(cx, 4, parts, -1));
    return dppo_reshape(cx, out, 3, x->shape);
}
