/* GMM_MLP: a mixture of M Gaussians over action chunks. Three MLPs of their own give the modes' means, their
 * log-variances (unless the std is fixed) and their weights. */
#include "models/build.h"
#include "models/networks.h"
#include "models/parts.h"

#include <math.h>

typedef struct gmm_mlp {
    dppo_module module;
    dppo_gaussian_std std;
    dppo_module *mlp_mean, *mlp_logvar, *mlp_weights; /* mlp_logvar NULL with a fixed std */
} gmm_mlp;

typedef struct gmm_mlp_arguments {
    dppo_mlp_options trunk; /* dims: input and hidden */
    bool residual_style;
} gmm_mlp_arguments;

static dppo_status add_mlp(gmm_mlp *self, const char *name, const gmm_mlp_arguments *a, int64_t out,
                           dppo_generator *generator, dppo_module **mlp) {
    dppo_mlp_options options = a->trunk;
    options.out_activation_type = "Identity";
    DPPO_TRY(dppo_mlp_options_add(&options, out));
    DPPO_TRY(dppo_any_mlp_new(a->residual_style, &options, generator, mlp));
    return dppo_module_child(&self->module, name, *mlp);
}

static dppo_status read_arguments(const dppo_config *config, gmm_mlp *self, gmm_mlp_arguments *a) {
    int64_t cond_dim = 0;
    DPPO_TRY(dppo_config_int(config, "cond_dim", &cond_dim));
    DPPO_TRY(dppo_mlp_options_add(&a->trunk, cond_dim));
    DPPO_TRY(dppo_mlp_options_add_hidden(&a->trunk, config, (const int64_t[]){256, 256, 256}, 3));
    DPPO_TRY(dppo_config_int_or(config, "num_modes", 5, &self->std.num_modes));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &a->trunk.activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "residual_style", false, &a->residual_style));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &a->trunk.use_layernorm));
    if (self->std.num_modes < 1)
        return dppo_fail(DPPO_INVALID, "num_modes: %lld", (long long)self->std.num_modes);
    return dppo_add_gaussian_std(&self->module, config, &self->std);
}

static dppo_status fill(gmm_mlp *self, const dppo_config *config, dppo_generator *generator) {
    gmm_mlp_arguments a = {0};
    DPPO_TRY(read_arguments(config, self, &a));
    int64_t modes = self->std.num_modes, out = self->std.action_dim * self->std.horizon_steps * modes;
    DPPO_TRY(add_mlp(self, "mlp_mean", &a, out, generator, &self->mlp_mean));
    if (isnan(self->std.fixed_std))
        DPPO_TRY(add_mlp(self, "mlp_logvar", &a, out, generator, &self->mlp_logvar));
    return add_mlp(self, "mlp_weights", &a, modes, generator, &self->mlp_weights);
}

dppo_status dppo_build_gmm_mlp(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    static const char *const keys[] = {"cond_dim",
                                       "mlp_dims",
                                       "num_modes",
                                       "activation_type",
                                       "residual_style",
                                       "use_layernorm",
                                       DPPO_GAUSSIAN_STD_KEYS,
                                       NULL};
    DPPO_TRY(dppo_config_allow(config, "GMM_MLP", keys));
    gmm_mlp *self = dppo_module_new(sizeof *self, "GMM_MLP");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, config, generator), &self->module, module);
}

/* (B, M Ta Da) -> (B, M, Ta Da) */
static dppo_tensor *by_mode(dppo_cx *cx, const gmm_mlp *self, dppo_tensor *out) {
    if (!out) return NULL;
    return dppo_reshape(cx, out, 3, (const int64_t[]){out->shape[0], self->std.num_modes, -1});
}

dppo_tensor *dppo_gmm_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond, dppo_tensor **means,
                                  dppo_tensor **scales, dppo_tensor **logits) {
    const gmm_mlp *self = (const gmm_mlp *)module;
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    *means = by_mode(cx, self, dppo_tanh(cx, dppo_any_mlp_forward(cx, self->mlp_mean, state)));
    if (self->mlp_logvar) {
        dppo_tensor *logvar = by_mode(cx, self, dppo_any_mlp_forward(cx, self->mlp_logvar, state));
        *scales = dppo_gaussian_std_clamped(cx, &self->std, logvar);
    } else {
        *scales = dppo_gaussian_std_constant(cx, &self->std, *means);
    }
    *logits = dppo_any_mlp_forward(cx, self->mlp_weights, state);
    if (!*means || !*scales || !*logits) *means = *scales = *logits = NULL;
    return *means;
}
