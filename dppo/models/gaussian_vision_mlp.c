/* Gaussian_VisionMLP: mean and standard deviation of an action chunk, from images and the state. The std is
 * fixed, learned but the same in every state, or a network of its own. */
#include "models/build.h"
#include "models/vision.h"

#include <math.h>

typedef struct gaussian_vision_mlp {
    dppo_module module;
    dppo_vision vision;
    dppo_gaussian_std std;
    dppo_module *mlp_mean, *mlp_logvar; /* MLP or ResidualMLP; MLP, or NULL with a fixed std */
} gaussian_vision_mlp;

typedef struct arguments {
    int64_t cond_dim;
    dppo_mlp_options trunk; /* dims: input and hidden, completed by fill() */
    bool residual_style;
} arguments;

static dppo_status read_arguments(const dppo_config *config, arguments *a) {
    DPPO_TRY(dppo_config_int(config, "cond_dim", &a->cond_dim));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &a->trunk.activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "residual_style", false, &a->residual_style));
    a->trunk.out_activation_type = "Identity";
    return dppo_config_bool_or(config, "use_layernorm", false, &a->trunk.use_layernorm);
}

/* The log-variance has one hidden layer, as wide as the mean's last. */
static dppo_status add_logvar(gaussian_vision_mlp *self, const dppo_mlp_options *trunk, int64_t chunk,
                              dppo_generator *generator) {
    dppo_mlp_options logvar = *trunk;
    logvar.dim_count = 1;
    DPPO_TRY(dppo_mlp_options_add(&logvar, trunk->dims[trunk->dim_count - 1]));
    DPPO_TRY(dppo_mlp_options_add(&logvar, chunk));
    DPPO_TRY(dppo_mlp_new(&logvar, generator, &self->mlp_logvar));
    return dppo_module_child(&self->module, "mlp_logvar", self->mlp_logvar);
}

static dppo_status fill(gaussian_vision_mlp *self, const dppo_config *config, arguments *a,
                        dppo_generator *generator, dppo_module **backbone) {
    DPPO_TRY(dppo_add_gaussian_std(&self->module, config, &self->std));
    DPPO_TRY(dppo_build_backbone(config, generator, backbone));
    DPPO_TRY(dppo_add_vision(&self->module, config, generator, 0, backbone, &self->vision));
    int64_t chunk = self->std.action_dim * self->std.horizon_steps;
    DPPO_TRY(dppo_mlp_options_add(&a->trunk, self->vision.feature_dim + a->cond_dim));
    DPPO_TRY(dppo_mlp_options_add_hidden(&a->trunk, config, (const int64_t[]){256, 256, 256}, 3));
    dppo_mlp_options mean = a->trunk;
    DPPO_TRY(dppo_mlp_options_add(&mean, chunk));
    DPPO_TRY(dppo_any_mlp_new(a->residual_style, &mean, generator, &self->mlp_mean));
    DPPO_TRY(dppo_module_child(&self->module, "mlp_mean", self->mlp_mean));
    return isnan(self->std.fixed_std) ? add_logvar(self, &a->trunk, chunk, generator) : DPPO_OK;
}

dppo_status dppo_build_gaussian_vision_mlp(const dppo_config *config, dppo_generator *generator,
                                           dppo_module **module) {
    static const char *const keys[] = {DPPO_VISION_KEYS,  "action_dim",     "horizon_steps", "mlp_dims",
                                       "activation_type", "residual_style", "use_layernorm", "fixed_std",
                                       "learn_fixed_std", "std_min",        "std_max",       NULL};
    arguments a = {0};
    dppo_module *backbone = NULL;
    DPPO_TRY(dppo_config_allow(config, "Gaussian_VisionMLP", keys));
    DPPO_TRY(read_arguments(config, &a));
    gaussian_vision_mlp *self = dppo_module_new(sizeof *self, "Gaussian_VisionMLP");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = fill(self, config, &a, generator, &backbone);
    dppo_module_free(backbone);
    return dppo_build_finish(status, &self->module, module);
}

dppo_tensor *dppo_gaussian_vision_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                              dppo_tensor **mean, dppo_tensor **scale) {
    const gaussian_vision_mlp *self = (const gaussian_vision_mlp *)module;
    const dppo_gaussian_std *std = &self->std;
    *mean = *scale = NULL;
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    dppo_tensor *features = state ? dppo_vision_forward(cx, &self->vision, cond.rgb, state, true) : NULL;
    if (!features) return NULL;
    dppo_tensor *x = dppo_cat(cx, 2, (dppo_tensor *[]){features, state}, -1);
    *mean = dppo_tanh(cx, dppo_any_mlp_forward(cx, self->mlp_mean, x));
    if (self->mlp_logvar) {
        dppo_tensor *logvar = dppo_mlp_forward(cx, self->mlp_logvar, x, NULL);
        *scale = dppo_gaussian_std_of(cx, dppo_clamp_tensor(cx, logvar, std->logvar_min, std->logvar_max));
    } else {
        *scale = dppo_gaussian_std_constant(cx, std, *mean);
    }
    return *scale ? *mean : NULL;
}
