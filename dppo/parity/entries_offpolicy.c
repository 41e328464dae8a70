/* Entries of the policies trained off-policy or by weighted regression: diffusion and Gaussian ones. */
#include "diffusion/offpolicy.h"
#include "models/offpolicy_gaussian.h"
#include "parity/entries_models.h"

/* -- what the calls share
 * -------------------------------------------------------------------------------------------------- */

static const dppo_config *args_of(dppo_call *call) {
    return dppo_call_case(call)->args;
}

/* The module of the case and its observations, in/cond or in/obs. */
static dppo_status start(dppo_call *call, const char *cond_name, dppo_module **module, dppo_cond *cond) {
    DPPO_TRY(dppo_call_build(call, module));
    return dppo_call_cond(call, cond_name, cond);
}

/* A critic's loss: in/obs, next_obs, actions, rewards, terminated, and the discount. */
static dppo_status start_critic(dppo_call *call, dppo_module **module, dppo_transitions *batch,
                                double *gamma) {
    DPPO_TRY(start(call, "obs", module, &batch->obs));
    DPPO_TRY(dppo_call_cond(call, "next_obs", &batch->next_obs));
    DPPO_TRY(dppo_call_input(call, "actions", &batch->actions));
    DPPO_TRY(dppo_call_input(call, "rewards", &batch->rewards));
    DPPO_TRY(dppo_call_input(call, "terminated", &batch->terminated));
    return dppo_config_float(args_of(call), "gamma", gamma);
}

static dppo_status result(dppo_call *call, dppo_tensor *tensor) {
    return dppo_call_output(call, "result", tensor);
}

typedef dppo_tensor *critic_loss(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                 double gamma);
static dppo_status call_critic_loss(dppo_call *call, critic_loss *loss) {
    dppo_module *module;
    dppo_transitions batch;
    double gamma = 0;
    DPPO_TRY(start_critic(call, &module, &batch, &gamma));
    return result(call, loss(dppo_call_context(call), module, &batch, gamma));
}

typedef dppo_tensor *soft_critic_loss(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                      double gamma, double alpha);
static dppo_status call_soft_critic_loss(dppo_call *call, soft_critic_loss *loss) {
    dppo_module *module;
    dppo_transitions batch;
    double gamma = 0, alpha = 0;
    DPPO_TRY(start_critic(call, &module, &batch, &gamma));
    DPPO_TRY(dppo_config_float(args_of(call), "alpha", &alpha));
    return result(call, loss(dppo_call_context(call), module, &batch, gamma, alpha));
}

typedef dppo_tensor *sampler(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic);
static dppo_status call_sampler(dppo_call *call, sampler *forward) {
    dppo_module *module;
    dppo_cond cond;
    bool deterministic = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "deterministic", false, &deterministic));
    return result(call, forward(dppo_call_context(call), module, cond, deterministic));
}

typedef dppo_tensor *value_loss(dppo_cx *cx, dppo_module *module, dppo_cond obs, dppo_tensor *advantages);
static dppo_status call_value_loss(dppo_call *call, const char *target, value_loss *loss) {
    dppo_module *module;
    dppo_cond obs;
    dppo_tensor *input;
    DPPO_TRY(start(call, "obs", &module, &obs));
    DPPO_TRY(dppo_call_input(call, target, &input));
    return result(call, loss(dppo_call_context(call), module, obs, input));
}

typedef dppo_status update(dppo_module *module, double tau);
static dppo_status call_update(dppo_call *call, update *update_target) {
    dppo_module *module;
    double tau = 0;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_config_float(args_of(call), "tau", &tau));
    DPPO_TRY(update_target(module, tau));
    return dppo_call_report_state(call);
}

static dppo_status call_diffusion_update(dppo_call *call) {
    return call_update(call, dppo_diffusion_update_target_critic);
}

static dppo_status call_gaussian_update(dppo_call *call) {
    return call_update(call, dppo_gaussian_update_target_critic);
}

/* -- diffusion: RWR and AWR
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_rwr_forward(dppo_call *call) {
    return call_sampler(call, dppo_rwr_diffusion_forward);
}

static dppo_status call_rwr_p_losses(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *x_start, *rewards, *t;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "x_start", &x_start));
    DPPO_TRY(dppo_call_input(call, "rewards", &rewards));
    DPPO_TRY(dppo_call_input(call, "t", &t));
    dppo_cx *cx = dppo_call_context(call);
    return result(call, dppo_rwr_diffusion_p_losses(cx, module, x_start, cond, rewards, t));
}

static dppo_status call_rwr_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *x, *rewards;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "x", &x));
    DPPO_TRY(dppo_call_input(call, "rewards", &rewards));
    return result(call, dppo_rwr_diffusion_loss(dppo_call_context(call), module, x, cond, rewards));
}

static dppo_status call_awr_loss_critic(dppo_call *call) {
    return call_value_loss(call, "advantages", dppo_awr_diffusion_loss_critic);
}

/* -- diffusion: DIPO and DQL
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_dipo_forward(dppo_call *call) {
    return call_sampler(call, dppo_dipo_diffusion_forward);
}

static dppo_status call_dipo_loss_critic(dppo_call *call) {
    return call_critic_loss(call, dppo_dipo_diffusion_loss_critic);
}

static dppo_status call_dipo_update_target_actor(dppo_call *call) {
    return call_update(call, dppo_dipo_diffusion_update_target_actor);
}

static dppo_status call_dql_forward_train(dppo_call *call) {
    return call_sampler(call, dppo_dql_diffusion_forward_train);
}

static dppo_status call_dql_loss_actor(dppo_call *call) {
    dppo_module *module;
    dppo_cond obs;
    double eta = 0;
    int64_t act_steps = 0;
    DPPO_TRY(start(call, "obs", &module, &obs));
    DPPO_TRY(dppo_config_float(args_of(call), "eta", &eta));
    DPPO_TRY(dppo_config_int(args_of(call), "act_steps", &act_steps));
    return result(call, dppo_dql_diffusion_loss_actor(dppo_call_context(call), module, obs, eta, act_steps));
}

static dppo_status call_dql_loss_critic(dppo_call *call) {
    return call_critic_loss(call, dppo_dql_diffusion_loss_critic);
}

/* -- diffusion: IDQL and QSM
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_expectile_loss(dppo_call *call) {
    double expectile = 0;
    dppo_tensor *diff;
    DPPO_TRY(dppo_call_input(call, "diff", &diff));
    DPPO_TRY(dppo_config_float_or(args_of(call), "expectile", 0.8, &expectile));
    return result(call, dppo_expectile_loss(dppo_call_context(call), diff, expectile));
}

static dppo_status call_idql_forward(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    const dppo_idql_options defaults = dppo_idql_defaults();
    dppo_idql_options o;
    const dppo_config *args = args_of(call);
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_config_bool_or(args, "deterministic", defaults.deterministic, &o.deterministic));
    DPPO_TRY(dppo_config_int_or(args, "num_sample", defaults.num_sample, &o.num_sample));
    DPPO_TRY(
        dppo_config_float_or(args, "critic_hyperparam", defaults.critic_hyperparam, &o.critic_hyperparam));
    DPPO_TRY(dppo_config_bool_or(args, "use_expectile_exploration", defaults.use_expectile_exploration,
                                 &o.use_expectile_exploration));
    return result(call, dppo_idql_diffusion_forward(dppo_call_context(call), module, cond, o));
}

static dppo_status call_idql_compute_advantages(dppo_call *call) {
    return call_value_loss(call, "actions", dppo_idql_diffusion_compute_advantages);
}

static dppo_status call_idql_loss_critic_v(dppo_call *call) {
    return call_value_loss(call, "actions", dppo_idql_diffusion_loss_critic_v);
}

static dppo_status call_idql_loss_critic_q(dppo_call *call) {
    return call_critic_loss(call, dppo_idql_diffusion_loss_critic_q);
}

/* DiffusionModel's own, which IDQLDiffusion restores. */
static dppo_status call_plain_p_losses(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *x_start, *t;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "x_start", &x_start));
    DPPO_TRY(dppo_call_input(call, "t", &t));
    return result(call, dppo_diffusion_p_losses(dppo_call_context(call), module, x_start, cond, t));
}

static dppo_status call_qsm_loss_actor(dppo_call *call) {
    dppo_module *module;
    dppo_cond obs;
    dppo_tensor *actions;
    double coefficient = 0;
    DPPO_TRY(start(call, "obs", &module, &obs));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(dppo_config_float(args_of(call), "q_grad_coeff", &coefficient));
    return result(call,
                  dppo_qsm_diffusion_loss_actor(dppo_call_context(call), module, obs, actions, coefficient));
}

static dppo_status call_qsm_loss_critic(dppo_call *call) {
    return call_critic_loss(call, dppo_qsm_diffusion_loss_critic);
}

/* -- Gaussian: RWR and AWR
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_rwr_gaussian_forward(dppo_call *call) {
    return call_sampler(call, dppo_rwr_gaussian_forward);
}

static dppo_status call_rwr_gaussian_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond obs;
    dppo_tensor *actions, *weights;
    DPPO_TRY(start(call, "obs", &module, &obs));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(dppo_call_input(call, "reward_weights", &weights));
    return result(call, dppo_rwr_gaussian_loss(dppo_call_context(call), module, actions, obs, weights));
}

static dppo_status call_awr_gaussian_loss_critic(dppo_call *call) {
    return call_value_loss(call, "advantages", dppo_awr_gaussian_loss_critic);
}

/* -- Gaussian: SAC, RLPD, CalQL
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_sac_loss_critic(dppo_call *call) {
    return call_soft_critic_loss(call, dppo_sac_gaussian_loss_critic);
}

static dppo_status call_rlpd_loss_critic(dppo_call *call) {
    return call_soft_critic_loss(call, dppo_rlpd_gaussian_loss_critic);
}

typedef dppo_tensor *actor_loss(dppo_cx *cx, dppo_module *module, dppo_cond obs, double alpha);
static dppo_status call_actor_loss(dppo_call *call, actor_loss *loss) {
    dppo_module *module;
    dppo_cond obs;
    double alpha = 0;
    DPPO_TRY(start(call, "obs", &module, &obs));
    DPPO_TRY(dppo_config_float(args_of(call), "alpha", &alpha));
    return result(call, loss(dppo_call_context(call), module, obs, alpha));
}

static dppo_status call_sac_loss_actor(dppo_call *call) {
    return call_actor_loss(call, dppo_sac_gaussian_loss_actor);
}

static dppo_status call_rlpd_loss_actor(dppo_call *call) {
    return call_actor_loss(call, dppo_rlpd_gaussian_loss_actor);
}

static dppo_status call_loss_temperature(dppo_call *call) {
    dppo_module *module;
    dppo_cond obs;
    dppo_tensor *alpha;
    double entropy = 0;
    DPPO_TRY(start(call, "obs", &module, &obs));
    DPPO_TRY(dppo_call_input(call, "alpha", &alpha));
    DPPO_TRY(dppo_config_float(args_of(call), "target_entropy", &entropy));
    return result(call,
                  dppo_sac_gaussian_loss_temperature(dppo_call_context(call), module, obs, alpha, entropy));
}

static dppo_status call_calql_loss_critic(dppo_call *call) {
    dppo_module *module;
    dppo_transitions batch;
    dppo_tensor *random_actions, *returns;
    double gamma = 0;
    DPPO_TRY(start_critic(call, &module, &batch, &gamma));
    DPPO_TRY(dppo_call_input(call, "random_actions", &random_actions));
    DPPO_TRY(dppo_call_input(call, "returns", &returns));
    dppo_cx *cx = dppo_call_context(call);
    return result(call, dppo_calql_gaussian_loss_critic(cx, module, &batch, random_actions, returns, gamma));
}

/* -- Gaussian: IBRL
 * -------------------------------------------------------------------------------------------------- */

static dppo_status call_ibrl_forward(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    bool deterministic = false, reparameterize = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "deterministic", false, &deterministic));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "reparameterize", false, &reparameterize));
    dppo_cx *cx = dppo_call_context(call);
    return result(call, dppo_ibrl_gaussian_forward(cx, module, cond, deterministic, reparameterize));
}

static dppo_status call_ibrl_loss_critic(dppo_call *call) {
    return call_critic_loss(call, dppo_ibrl_gaussian_loss_critic);
}

static dppo_status call_ibrl_loss_actor(dppo_call *call) {
    dppo_module *module;
    dppo_cond obs;
    DPPO_TRY(start(call, "obs", &module, &obs));
    return result(call, dppo_ibrl_gaussian_loss_actor(dppo_call_context(call), module, obs));
}

static dppo_status call_ibrl_update_target_actor(dppo_call *call) {
    return call_update(call, dppo_ibrl_gaussian_update_target_actor);
}

/* Classes that inherit a method have it under their own name, too: the class is part of what is tested. */
const dppo_entry dppo_entries_offpolicy[] = {
    {"AWRDiffusion.forward", call_rwr_forward},
    {"AWRDiffusion.loss", call_rwr_loss},
    {"AWRDiffusion.loss_critic", call_awr_loss_critic},
    {"AWRDiffusion.p_losses", call_rwr_p_losses},
    {"AWR_Gaussian.forward", call_rwr_gaussian_forward},
    {"AWR_Gaussian.loss", call_rwr_gaussian_loss},
    {"AWR_Gaussian.loss_critic", call_awr_gaussian_loss_critic},
    {"CalQL_Gaussian.loss_actor", call_sac_loss_actor},
    {"CalQL_Gaussian.loss_critic", call_calql_loss_critic},
    {"CalQL_Gaussian.loss_temperature", call_loss_temperature},
    {"CalQL_Gaussian.update_target_critic", call_gaussian_update},
    {"DIPODiffusion.forward", call_dipo_forward},
    {"DIPODiffusion.loss_critic", call_dipo_loss_critic},
    {"DIPODiffusion.update_target_actor", call_dipo_update_target_actor},
    {"DIPODiffusion.update_target_critic", call_diffusion_update},
    {"DQLDiffusion.forward", call_rwr_forward},
    {"DQLDiffusion.forward_train", call_dql_forward_train},
    {"DQLDiffusion.loss_actor", call_dql_loss_actor},
    {"DQLDiffusion.loss_critic", call_dql_loss_critic},
    {"DQLDiffusion.update_target_critic", call_diffusion_update},
    {"IBRL_Gaussian.forward", call_ibrl_forward},
    {"IBRL_Gaussian.loss_actor", call_ibrl_loss_actor},
    {"IBRL_Gaussian.loss_critic", call_ibrl_loss_critic},
    {"IBRL_Gaussian.update_target_actor", call_ibrl_update_target_actor},
    {"IBRL_Gaussian.update_target_critic", call_gaussian_update},
    {"IDQLDiffusion.compute_advantages", call_idql_compute_advantages},
    {"IDQLDiffusion.forward", call_idql_forward},
    {"IDQLDiffusion.loss_critic_q", call_idql_loss_critic_q},
    {"IDQLDiffusion.loss_critic_v", call_idql_loss_critic_v},
    {"IDQLDiffusion.p_losses", call_plain_p_losses},
    {"IDQLDiffusion.update_target_critic", call_diffusion_update},
    {"QSMDiffusion.forward", call_rwr_forward},
    {"QSMDiffusion.loss_actor", call_qsm_loss_actor},
    {"QSMDiffusion.loss_critic", call_qsm_loss_critic},
    {"QSMDiffusion.update_target_critic", call_diffusion_update},
    {"RLPD_Gaussian.loss_actor", call_rlpd_loss_actor},
    {"RLPD_Gaussian.loss_critic", call_rlpd_loss_critic},
    {"RLPD_Gaussian.loss_temperature", call_loss_temperature},
    {"RLPD_Gaussian.update_target_critic", call_gaussian_update},
    {"RWRDiffusion.forward", call_rwr_forward},
    {"RWRDiffusion.loss", call_rwr_loss},
    {"RWRDiffusion.p_losses", call_rwr_p_losses},
    {"RWR_Gaussian.forward", call_rwr_gaussian_forward},
    {"RWR_Gaussian.loss", call_rwr_gaussian_loss},
    {"SAC_Gaussian.loss_actor", call_sac_loss_actor},
    {"SAC_Gaussian.loss_critic", call_sac_loss_critic},
    {"SAC_Gaussian.loss_temperature", call_loss_temperature},
    {"SAC_Gaussian.update_target_critic", call_gaussian_update},
    {"expectile_loss", call_expectile_loss},
    {NULL, NULL},
};
