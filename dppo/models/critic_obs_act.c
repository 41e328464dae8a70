/* CriticObsAct: the value of an action in a state, estimated once or (double_q) twice.
 *
 * The original spells its keyword for residual networks `residual_tyle`; `residual_style` falls into its
 * **kwargs and changes nothing. Checkpoints and results depend on that, so it is the same here. */
#include "models/build.h"
#include "models/networks.h"

typedef struct critic_obs_act {
    dppo_module module;
    dppo_module *Q1, *Q2; /* MLP or ResidualMLP; Q2 NULL with double_q: false */
} critic_obs_act;

static dppo_status read_options(const dppo_config *config, dppo_mlp_options *o, bool *residual,
                                bool *double_q) {
    int64_t cond_dim = 0, action_dim = 0, action_steps = 0;
    DPPO_TRY(dppo_config_int(config, "cond_dim", &cond_dim));
    DPPO_TRY(dppo_config_int(config, "action_dim", &action_dim));
    DPPO_TRY(dppo_config_int_or(config, "action_steps", 1, &action_steps));
    DPPO_TRY(dppo_mlp_options_add(o, cond_dim + action_dim * action_steps));
    DPPO_TRY(dppo_mlp_options_add_hidden(o, config, NULL, 0));
    DPPO_TRY(dppo_mlp_options_add(o, 1));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &o->activation_type));
    o->out_activation_type = "Identity";
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &o->use_layernorm));
    DPPO_TRY(dppo_config_bool_or(config, "residual_style", false, residual)); /* read, and of no effect */
    DPPO_TRY(dppo_config_bool_or(config, "residual_tyle", false, residual));
    return dppo_config_bool_or(config, "double_q", true, double_q);
}

static dppo_status add_q(critic_obs_act *self, const char *name, bool residual,
                         const dppo_mlp_options *options, dppo_generator *generator, dppo_module **q) {
    DPPO_TRY(dppo_any_mlp_new(residual, options, generator, q));
    return dppo_module_child(&self->module, name, *q);
}

dppo_status dppo_build_critic_obs_act(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    dppo_mlp_options options = {0};
    bool residual = false, double_q = true;
    DPPO_TRY(read_options(config, &options, &residual, &double_q));
    critic_obs_act *self = dppo_module_new(sizeof *self, "CriticObsAct");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = add_q(self, "Q1", residual, &options, generator, &self->Q1);
    if (status == DPPO_OK && double_q) status = add_q(self, "Q2", residual, &options, generator, &self->Q2);
    return dppo_build_finish(status, &self->module, module);
}

/* State and action of each row side by side: (B, To Do + Ta Da). */
static dppo_tensor *joined(dppo_cx *cx, dppo_cond cond, dppo_tensor *action) {
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    action = dppo_flatten_rows(cx, action);
    return state && action ? dppo_cat(cx, 2, (dppo_tensor *[]){state, action}, -1) : NULL;
}

dppo_tensor *dppo_critic_obs_act_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                         dppo_tensor *action, dppo_tensor **q2) {
    const critic_obs_act *self = (const critic_obs_act *)module;
    if (q2) *q2 = NULL;
    dppo_tensor *x = joined(cx, cond, action);
    dppo_tensor *q1 = dppo_squeeze_dim(cx, dppo_any_mlp_forward(cx, self->Q1, x), 1);
    if (self->Q2 && q2) *q2 = dppo_squeeze_dim(cx, dppo_any_mlp_forward(cx, self->Q2, x), 1);
    return q1;
}

dppo_tensor *dppo_critic_ensemble_forward(dppo_cx *cx, const dppo_module *module, int64_t members,
                                          dppo_cond cond, dppo_tensor *action) {
    dppo_tensor *x = joined(cx, cond, action);
    if (!x) return NULL;
    x = dppo_expand(cx, x, 3, (const int64_t[]){members, x->shape[0], x->shape[1]});
    return dppo_squeeze_dim(cx, dppo_any_mlp_forward(cx, ((const critic_obs_act *)module)->Q1, x), -1);
}
