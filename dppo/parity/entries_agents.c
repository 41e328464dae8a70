/* Entries of what only the agents of the original contain, cut out of their training loops. */
#include "algorithms/action_gradient.h"
#include "algorithms/episode_returns.h"
#include "algorithms/regression_weights.h"
#include "algorithms/td_values.h"
#include "algorithms/temperature.h"
#include "diffusion/diffusion.h"
#include "parity/entries_models.h"

static const dppo_config *args_of(dppo_call *call) {
    return dppo_call_case(call)->args;
}

/* in/<name>, which must have that type and as many dims. */
static dppo_status typed_input(dppo_call *call, const char *name, dppo_dtype dtype, int ndim,
                               dppo_tensor **tensor) {
    DPPO_TRY(dppo_named_require(dppo_call_inputs(call, name), name, dtype, tensor));
    if ((*tensor)->ndim == ndim) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "in/%s: %d dims, not %d", name, (*tensor)->ndim, ndim);
}

/* -- weighted regression
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_td_values(dppo_call *call) {
    const dppo_td_options defaults = dppo_td_defaults();
    dppo_td_options options;
    dppo_tensor *rewards, *terminateds, *values;
    DPPO_TRY(typed_input(call, "rewards", DPPO_F64, 2, &rewards));
    DPPO_TRY(typed_input(call, "terminateds", DPPO_BOOL, 2, &terminateds));
    DPPO_TRY(typed_input(call, "state_values", DPPO_F32, 2, &values));
    DPPO_TRY(dppo_config_float_or(args_of(call), "gamma", defaults.gamma, &options.gamma));
    DPPO_TRY(dppo_config_float_or(args_of(call), "alpha", defaults.alpha, &options.alpha));
    DPPO_TRY(dppo_config_float_or(args_of(call), "lam", defaults.lam, &options.lam));
    if (!dppo_same_shape(rewards, terminateds) || !dppo_same_shape(rewards, values))
        return dppo_fail(DPPO_INVALID, "in: rewards, terminateds and state_values differ in shape");
    dppo_tensor *result = dppo_result(dppo_call_context(call), DPPO_F32, 2, rewards->shape);
    if (!result) return dppo_context_status(dppo_call_context(call));
    dppo_td_values(options, rewards->shape[0], rewards->shape[1], dppo_f64(rewards), dppo_bool(terminateds),
                   dppo_f32(values), dppo_f32(result));
    return dppo_call_output_copy(call, "result", result);
}

static dppo_status call_advantage_weights(dppo_call *call) {
    double beta = 0, max_weight = 0;
    dppo_tensor *advantages;
    DPPO_TRY(dppo_call_input(call, "advantages", &advantages));
    DPPO_TRY(dppo_config_float(args_of(call), "beta", &beta));
    DPPO_TRY(dppo_config_float(args_of(call), "max_adv_weight", &max_weight));
    return dppo_call_output(call, "result",
                            dppo_advantage_weights(dppo_call_context(call), advantages, beta, max_weight));
}

static dppo_status call_episode_returns(dppo_call *call) {
    dppo_cx *cx = dppo_call_context(call);
    double gamma = 0;
    dppo_tensor *rewards, *firsts;
    DPPO_TRY(typed_input(call, "rewards", DPPO_F64, 2, &rewards));
    DPPO_TRY(typed_input(call, "firsts", DPPO_F64, 2, &firsts));
    DPPO_TRY(dppo_config_float(args_of(call), "gamma", &gamma));
    int64_t steps = rewards->shape[0], envs = rewards->shape[1], most = steps * envs;
    if (firsts->shape[0] != steps + 1 || firsts->shape[1] != envs)
        return dppo_fail(DPPO_INVALID, "in/firsts: must be (S + 1, N) for rewards (S, N)");
    dppo_tensor *returns = dppo_result(cx, DPPO_F64, 1, &most);
    if (!returns) return dppo_context_status(cx);
    int64_t count =
        dppo_episode_returns(steps, envs, dppo_f64(rewards), dppo_f64(firsts), gamma, dppo_f64(returns));
    return dppo_call_output_copy(call, "result", dppo_narrow(cx, returns, 0, 0, count));
}

static dppo_status call_reward_weights(dppo_call *call) {
    double beta = 0, max_weight = 0;
    dppo_tensor *returns;
    DPPO_TRY(typed_input(call, "returns", DPPO_F64, 1, &returns));
    DPPO_TRY(dppo_config_float(args_of(call), "beta", &beta));
    DPPO_TRY(dppo_config_float(args_of(call), "max_reward_weight", &max_weight));
    dppo_cx *cx = dppo_call_context(call);
    return dppo_call_output(call, "result",
                            dppo_reward_weights(cx, returns->shape[0], dppo_f64(returns), beta, max_weight));
}

/* -- DIPO
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_action_gradient(dppo_call *call) {
    dppo_action_gradient_options o;
    dppo_module *module;
    dppo_cond obs;
    dppo_tensor *actions, *guided;
    DPPO_TRY(dppo_call_build_as(call, "DIPODiffusion", &module));
    DPPO_TRY(dppo_call_cond(call, "obs", &obs));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    if (actions->ndim != 3 || actions->dtype != DPPO_F32)
        return dppo_fail(DPPO_INVALID, "in/actions: must be (B, Ta, Da), float32");
    double norm = (double)(actions->shape[1] * actions->shape[2]) * 0.1;
    DPPO_TRY(dppo_config_float(args_of(call), "action_lr", &o.action_lr));
    DPPO_TRY(dppo_config_int(args_of(call), "action_gradient_steps", &o.action_gradient_steps));
    DPPO_TRY(dppo_config_float_or(args_of(call), "action_grad_norm", norm, &o.action_grad_norm));
    DPPO_TRY(dppo_action_gradient(dppo_call_context(call), dppo_diffusion_critic(module), obs, actions, o,
                                  &guided));
    return dppo_call_output(call, "result", guided);
}

/* -- the temperature of SAC, RLPD, Cal-QL
 * -------------------------------------------------------------------------------------------------- */

static dppo_status update_temperature(dppo_call *call, const char *target) {
    dppo_cx *cx = dppo_call_context(call);
    dppo_module *module;
    dppo_cond obs;
    dppo_tensor *log_alpha;
    int64_t steps = 0;
    dppo_temperature temperature = {0};
    DPPO_TRY(dppo_call_build_as(call, target, &module));
    DPPO_TRY(dppo_call_cond(call, "obs", &obs));
    DPPO_TRY(typed_input(call, "log_alpha", DPPO_F64, 0, &log_alpha));
    DPPO_TRY(dppo_config_float(args_of(call), "target_entropy", &temperature.target_entropy));
    DPPO_TRY(dppo_config_float(args_of(call), "lr", &temperature.lr));
    DPPO_TRY(dppo_config_int(args_of(call), "steps", &steps));
    if (steps < 1) return dppo_fail(DPPO_INVALID, "steps: %lld is not positive", (long long)steps);
    temperature.log_alpha = *dppo_f64(log_alpha);
    dppo_tensor *losses = dppo_result(cx, DPPO_F32, 1, &steps);
    if (!losses) return dppo_context_status(cx);
    for (int64_t i = 0; i < steps; i++)
        DPPO_TRY(dppo_temperature_update(cx, &temperature, module, obs, dppo_f32(losses) + i));
    DPPO_TRY(dppo_call_output_f64(call, "log_alpha", temperature.log_alpha));
    return dppo_call_output_copy(call, "losses", losses);
}

static dppo_status call_sac_temperature(dppo_call *call) {
    return update_temperature(call, "SAC_Gaussian");
}

static dppo_status call_rlpd_temperature(dppo_call *call) {
    return update_temperature(call, "RLPD_Gaussian");
}

static dppo_status call_calql_temperature(dppo_call *call) {
    return update_temperature(call, "CalQL_Gaussian");
}

const dppo_entry dppo_entries_agents[] = {
    {"TrainAWRDiffusionAgent.advantage_weights", call_advantage_weights},
    {"TrainCalQLAgent.returns", call_episode_returns},
    {"TrainCalQLAgent.update_temperature", call_calql_temperature},
    {"TrainDIPODiffusionAgent.action_gradient", call_action_gradient},
    {"TrainRLPDAgent.update_temperature", call_rlpd_temperature},
    {"TrainRWRDiffusionAgent.returns", call_episode_returns},
    {"TrainRWRDiffusionAgent.reward_weights", call_reward_weights},
    {"TrainSACAgent.update_temperature", call_sac_temperature},
    {"td_values", call_td_values},
    {NULL, NULL},
};
