/* EtaState, EtaStateAction: how much noise DDIM adds, a function of the state: one number a state, or one for
 * each action dimension. Both are an MLP's offset from base_eta and differ in its width and in defaults. */
#include "diffusion/diffusion.h"
#include "models/build.h"
#include "nn/init.h"

#include <string.h>

typedef struct eta_state {
    dppo_module module;
    double base, min, max;
    dppo_module *mlp_res;
} eta_state;

static dppo_status read_mlp(const dppo_config *config, int64_t out, dppo_mlp_options *o) {
    int64_t input_dim = 0;
    DPPO_TRY(dppo_config_int(config, "input_dim", &input_dim));
    DPPO_TRY(dppo_mlp_options_add(o, input_dim));
    DPPO_TRY(dppo_mlp_options_add_hidden(o, config, NULL, 0));
    DPPO_TRY(dppo_mlp_options_add(o, out));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "ReLU", &o->activation_type));
    return dppo_config_string_or(config, "out_activation_type", "Identity", &o->out_activation_type);
}

/* Draws each layer's weight again, small, and clears the biases, so that eta begins near base_eta. The names
 * are those of linear layers: there are no others in this MLP. */
static dppo_status shrink(dppo_module *module, dppo_generator *generator, double gain) {
    for (size_t i = 0; i < module->count; i++) {
        dppo_module_entry *entry = &module->entries[i];
        if (entry->child) DPPO_TRY(shrink(entry->child, generator, gain));
        if (!entry->parameter) continue;
        if (strcmp(entry->name, "weight") == 0)
            DPPO_TRY(dppo_init_xavier_normal(generator, entry->parameter, gain));
        else
            DPPO_TRY(dppo_init_zeros(entry->parameter));
    }
    return DPPO_OK;
}

/* Bounds as the original computes them: relative to the base, and added to it again. */
static dppo_status fill(eta_state *eta, const dppo_config *config, int64_t out, const double defaults[3],
                        dppo_generator *generator) {
    dppo_mlp_options options = {0};
    double gain = 0, min = 0, max = 0;
    DPPO_TRY(read_mlp(config, out, &options));
    DPPO_TRY(dppo_config_float_or(config, "base_eta", defaults[0], &eta->base));
    DPPO_TRY(dppo_config_float_or(config, "min_eta", defaults[1], &min));
    DPPO_TRY(dppo_config_float_or(config, "max_eta", defaults[2], &max));
    DPPO_TRY(dppo_config_float_or(config, "gain", 1e-2, &gain));
    eta->min = min - eta->base + eta->base;
    eta->max = max - eta->base + eta->base;
    DPPO_TRY(dppo_mlp_new(&options, generator, &eta->mlp_res));
    DPPO_TRY(dppo_module_child(&eta->module, "mlp_res", eta->mlp_res));
    return generator ? shrink(eta->mlp_res, generator, gain) : DPPO_OK;
}

dppo_status dppo_build_eta_state(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    static const double defaults[] = {0.5, 0.1, 1};
    eta_state *eta = dppo_module_new(sizeof *eta, "EtaState");
    if (!eta) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(eta, config, 1, defaults, generator), &eta->module, module);
}

dppo_status dppo_build_eta_state_action(const dppo_config *config, dppo_generator *generator,
                                        dppo_module **module) {
    static const double defaults[] = {1, 1e-3, 2};
    int64_t action_dim = 0;
    DPPO_TRY(dppo_config_int(config, "action_dim", &action_dim));
    eta_state *eta = dppo_module_new(sizeof *eta, "EtaStateAction");
    if (!eta) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(eta, config, action_dim, defaults, generator), &eta->module, module);
}

/* eta = clamp(tanh(mlp(s)) + base, min, max) */
dppo_tensor *dppo_eta_state_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    const eta_state *eta = (const eta_state *)module;
    if (cond.rgb) return dppo_context_fail(cx, DPPO_INVALID, "%s: there is none of images", module->type);
    dppo_tensor *offset =
        dppo_tanh(cx, dppo_mlp_forward(cx, eta->mlp_res, dppo_flatten_rows(cx, cond.state), NULL));
    return dppo_clamp(cx, dppo_add_scalar(cx, offset, eta->base), eta->min, eta->max);
}

dppo_tensor *dppo_eta_state_action_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    return dppo_eta_state_forward(cx, module, cond);
}
