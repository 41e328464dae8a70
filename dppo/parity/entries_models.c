/* Entries of the networks and of the Gaussian policies. */
#include "parity/entries_models.h"
#include "models/build.h"
#include "models/gaussian.h"
#include "models/networks.h"

#include <stdio.h>
#include <string.h>

static dppo_status build(dppo_call *call, const char *wanted, size_t length, dppo_module **module) {
    const dppo_case *c = dppo_call_case(call);
    const char *target = dppo_config_target(c->init);
    if (!target || strlen(target) != length || strncmp(target, wanted, length) != 0)
        return dppo_fail(DPPO_INVALID, "init: _target_ is %s, not %.*s; the function is %s",
                         target ? target : "missing", (int)length, wanted, c->function);
    dppo_generator *generator = c->state.count ? NULL : dppo_context_generator(dppo_call_context(call));
    DPPO_TRY(dppo_build_module(c->init, generator, module));
    return dppo_call_module(call, *module, false);
}

dppo_status dppo_call_build(dppo_call *call, dppo_module **module) {
    const char *function = dppo_call_case(call)->function;
    return build(call, function, strcspn(function, "."), module);
}

dppo_status dppo_call_build_as(dppo_call *call, const char *target, dppo_module **module) {
    return build(call, target, strlen(target), module);
}

dppo_status dppo_call_cond(dppo_call *call, const char *name, dppo_cond *cond) {
    char path[64];
    snprintf(path, sizeof path, "%s/rgb", name);
    cond->rgb = dppo_call_input_or_null(call, path);
    DPPO_TRY(dppo_config_bool_or(dppo_call_case(call)->args, "no_augment", false, &cond->no_augment));
    snprintf(path, sizeof path, "%s/state", name);
    return dppo_call_input(call, path, &cond->state);
}

/* -- networks
 * ------------------------------------------------------------------------------------------------- */

static dppo_status call_mlp(dppo_call *call) {
    dppo_module *module;
    dppo_tensor *x;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, "x", &x));
    dppo_tensor *append = dppo_call_input_or_null(call, "append");
    return dppo_call_output(call, "result", dppo_mlp_forward(dppo_call_context(call), module, x, append));
}

typedef dppo_tensor *forward_function(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);

static dppo_status call_forward(dppo_call *call, const char *input, forward_function *forward) {
    dppo_module *module;
    dppo_tensor *x;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, input, &x));
    return dppo_call_output(call, "result", forward(dppo_call_context(call), module, x));
}

static dppo_status call_residual_mlp(dppo_call *call) {
    return call_forward(call, "x", dppo_residual_mlp_forward);
}

static dppo_status call_sinusoidal_pos_emb(dppo_call *call) {
    return call_forward(call, "x", dppo_sinusoidal_pos_emb_forward);
}

dppo_status dppo_call_critic(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    return dppo_call_output(call, "result", dppo_critic_forward(dppo_call_context(call), module, cond));
}

/* One estimate is `result`, two are `q1` and `q2`. */
static dppo_status call_critic_obs_act(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *action, *q2;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    DPPO_TRY(dppo_call_input(call, "action", &action));
    dppo_tensor *q1 = dppo_critic_obs_act_forward(dppo_call_context(call), module, cond, action, &q2);
    if (!q2) return dppo_call_output(call, "result", q1);
    DPPO_TRY(dppo_call_output(call, "q1", q1));
    return dppo_call_output(call, "q2", q2);
}

dppo_status dppo_call_noise_network(dppo_call *call) {
    dppo_module *module;
    dppo_tensor *x, *time;
    dppo_cond cond;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, "x", &x));
    DPPO_TRY(dppo_call_input(call, "time", &time));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    dppo_tensor *result = dppo_noise_network_forward(dppo_call_context(call), module, x, time, cond);
    return dppo_call_output(call, "result", result);
}

dppo_status dppo_call_gaussian_network(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *mean, *scale;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    (void)dppo_gaussian_network_forward(dppo_call_context(call), module, cond, &mean, &scale);
    DPPO_TRY(dppo_call_output(call, "mean", mean));
    return dppo_call_output(call, "scale", scale);
}

/* -- Gaussian policies
 * ------------------------------------------------------------------------------------------ */

static dppo_status call_gaussian_forward(dppo_call *call) {
    const dppo_config *args = dppo_call_case(call)->args;
    dppo_gaussian_options options = {0};
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *log_prob;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    DPPO_TRY(dppo_config_bool_or(args, "deterministic", false, &options.deterministic));
    DPPO_TRY(dppo_config_bool_or(args, "reparameterize", false, &options.reparameterize));
    DPPO_TRY(dppo_config_bool_or(args, "get_logprob", false, &options.get_logprob));
    dppo_tensor *action = dppo_gaussian_forward(dppo_call_context(call), module, cond, options, &log_prob);
    if (!options.get_logprob) return dppo_call_output(call, "result", action);
    DPPO_TRY(dppo_call_output(call, "action", action));
    return dppo_call_output(call, "log_prob", log_prob);
}

static dppo_status call_gaussian_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *true_action, *entropy;
    double ent_coef = 0;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, "true_action", &true_action));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    DPPO_TRY(dppo_config_float(dppo_call_case(call)->args, "ent_coef", &ent_coef));
    dppo_cx *cx = dppo_call_context(call);
    DPPO_TRY(dppo_call_output(call, "loss",
                              dppo_gaussian_loss(cx, module, true_action, cond, ent_coef, &entropy)));
    return dppo_call_output(call, "entropy", entropy);
}

static dppo_status call_vpg_gaussian_get_logprobs(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *actions, *log_prob, *entropy, *std;
    bool use_base_policy = false;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_cond(call, "cond", &cond));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(dppo_config_bool_or(dppo_call_case(call)->args, "use_base_policy", false, &use_base_policy));
    DPPO_TRY(dppo_vpg_gaussian_get_logprobs(dppo_call_context(call), module, cond, actions, use_base_policy,
                                            &log_prob, &entropy, &std));
    DPPO_TRY(dppo_call_output(call, "log_prob", log_prob));
    DPPO_TRY(dppo_call_output(call, "entropy", entropy));
    return dppo_call_output(call, "std", std);
}

dppo_status dppo_call_ppo_batch(dppo_call *call, dppo_ppo_batch *batch) {
    DPPO_TRY(dppo_call_input(call, "returns", &batch->returns));
    DPPO_TRY(dppo_call_input(call, "oldvalues", &batch->oldvalues));
    DPPO_TRY(dppo_call_input(call, "advantages", &batch->advantages));
    return dppo_call_input(call, "oldlogprobs", &batch->oldlogprobs);
}

static dppo_status call_ppo_gaussian_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *actions;
    dppo_ppo_batch batch;
    bool use_bc_loss = false;
    dppo_ppo_loss loss;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_cond(call, "obs", &cond));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(dppo_call_ppo_batch(call, &batch));
    DPPO_TRY(dppo_config_bool_or(dppo_call_case(call)->args, "use_bc_loss", false, &use_bc_loss));
    DPPO_TRY(
        dppo_ppo_gaussian_loss(dppo_call_context(call), module, cond, actions, batch, use_bc_loss, &loss));
    DPPO_TRY(dppo_call_output_f64(call, "std", loss.eta_or_std));
    if (!loss.bc_loss) DPPO_TRY(dppo_call_output_f64(call, "bc_loss", 0)); /* 0.0 there, a float */
    return dppo_call_output_ppo_loss(call, &loss);
}

dppo_status dppo_call_output_ppo_loss(dppo_call *call, const dppo_ppo_loss *loss) {
    DPPO_TRY(dppo_call_output(call, "pg_loss", loss->pg_loss));
    if (loss->entropy_loss) DPPO_TRY(dppo_call_output(call, "entropy_loss", loss->entropy_loss));
    DPPO_TRY(dppo_call_output(call, "v_loss", loss->v_loss));
    if (loss->bc_loss) DPPO_TRY(dppo_call_output(call, "bc_loss", loss->bc_loss));
    DPPO_TRY(dppo_call_output_f64(call, "clipfrac", loss->clipfrac));
    DPPO_TRY(dppo_call_output_f64(call, "approx_kl", loss->approx_kl));
    return dppo_call_output_f64(call, "ratio", loss->ratio);
}

const dppo_entry dppo_entries_models[] = {
    {"CriticObs", dppo_call_critic},
    {"CriticObsAct", call_critic_obs_act},
    {"DiffusionMLP", dppo_call_noise_network},
    {"GaussianModel.forward", call_gaussian_forward},
    {"GaussianModel.loss", call_gaussian_loss},
    {"Gaussian_MLP", dppo_call_gaussian_network},
    {"Gaussian_Transformer", dppo_call_gaussian_network},
    {"MLP", call_mlp},
    {"PPO_Gaussian.loss", call_ppo_gaussian_loss},
    {"ResidualMLP", call_residual_mlp},
    {"SinusoidalPosEmb", call_sinusoidal_pos_emb},
    {"VPG_Gaussian.get_logprobs", call_vpg_gaussian_get_logprobs},
    {NULL, NULL},
};
