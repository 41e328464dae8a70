/* CriticObs: the value of a state. */
#include "models/build.h"
#include "models/networks.h"

typedef struct critic_obs {
    dppo_module module;
    dppo_module *Q1; /* MLP or ResidualMLP */
} critic_obs;

dppo_status dppo_critic_obs_options_read(const dppo_config *config, dppo_mlp_options *o,
                                         bool *residual_style) {
    DPPO_TRY(dppo_mlp_options_add_hidden(o, config, NULL, 0));
    DPPO_TRY(dppo_mlp_options_add(o, 1));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &o->activation_type));
    o->out_activation_type = "Identity";
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &o->use_layernorm));
    return dppo_config_bool_or(config, "residual_style", false, residual_style);
}

dppo_status dppo_build_critic_obs(const dppo_config *config, dppo_generator *generator,
                                  dppo_module **module) {
    dppo_mlp_options options = {0};
    bool residual_style = false;
    int64_t cond_dim = 0;
    DPPO_TRY(dppo_config_int(config, "cond_dim", &cond_dim));
    DPPO_TRY(dppo_mlp_options_add(&options, cond_dim));
    DPPO_TRY(dppo_critic_obs_options_read(config, &options, &residual_style));
    critic_obs *self = dppo_module_new(sizeof *self, "CriticObs");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = dppo_any_mlp_new(residual_style, &options, generator, &self->Q1);
    if (status == DPPO_OK) status = dppo_module_child(&self->module, "Q1", self->Q1);
    return dppo_build_finish(status, &self->module, module);
}

dppo_tensor *dppo_critic_obs_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    return dppo_any_mlp_forward(cx, ((const critic_obs *)module)->Q1, dppo_flatten_rows(cx, cond.state));
}

dppo_tensor *dppo_flatten_rows(dppo_cx *cx, dppo_tensor *input) {
    if (!input) return NULL;
    return dppo_reshape(cx, input, 2, (const int64_t[]){input->shape[0], -1});
}
