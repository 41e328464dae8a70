/* Entries of noise schedules and diffusion policies. */
#include "diffusion/diffusion.h"
#include "parity/entries_models.h"

static dppo_status flag(dppo_call *call, const char *name, bool *value) {
    return dppo_config_bool_or(dppo_call_case(call)->args, name, false, value);
}

/* The module of the case and its observations. */
static dppo_status start(dppo_call *call, const char *cond_name, dppo_module **module, dppo_cond *cond) {
    DPPO_TRY(dppo_call_build(call, module));
    return dppo_call_cond(call, cond_name, cond);
}

/* -- schedule
 * --------------------------------------------------------------------------------------------------- */

static dppo_status call_cosine_beta_schedule(dppo_call *call) {
    const dppo_config *args = dppo_call_case(call)->args;
    int64_t timesteps = 0;
    double s = 0;
    DPPO_TRY(dppo_config_int(args, "timesteps", &timesteps));
    DPPO_TRY(dppo_config_float_or(args, "s", 0.008, &s));
    return dppo_call_output(call, "result", dppo_cosine_beta_schedule(dppo_call_context(call), timesteps, s));
}

static dppo_status call_extract(dppo_call *call) {
    dppo_tensor *a, *t;
    size_t ndim = dppo_config_count(dppo_config_get(dppo_call_case(call)->args, "x_shape"));
    if (ndim < 1 || ndim > DPPO_MAX_DIMS)
        return dppo_fail(DPPO_INVALID, "x_shape: must be a list of 1 to 8 sizes");
    DPPO_TRY(dppo_call_input(call, "a", &a));
    DPPO_TRY(dppo_call_input(call, "t", &t));
    return dppo_call_output(call, "result", dppo_extract(dppo_call_context(call), a, t, (int)ndim));
}

/* A case with ddim_steps is about the DDIM schedule alone. */
static dppo_status output_schedule(dppo_call *call, const dppo_schedule *schedule) {
#define OUTPUT(name) DPPO_TRY(dppo_call_output_copy(call, #name, schedule->name));
    if (schedule->ddim_t) {
        DPPO_DDIM_SCHEDULE(OUTPUT)
        return DPPO_OK;
    }
    DPPO_DDPM_SCHEDULE(OUTPUT)
#undef OUTPUT
    return DPPO_OK;
}

static dppo_status call_schedule(dppo_call *call) {
    const dppo_config *args = dppo_call_case(call)->args;
    dppo_schedule schedule;
    int64_t denoising_steps = 0, ddim_steps = 0;
    DPPO_TRY(dppo_config_int(args, "denoising_steps", &denoising_steps));
    DPPO_TRY(dppo_config_int_or(args, "ddim_steps", 0, &ddim_steps));
    DPPO_TRY(dppo_schedule_init(&schedule, denoising_steps, ddim_steps));
    dppo_status status = output_schedule(call, &schedule);
    dppo_schedule_free(&schedule);
    return status;
}

static dppo_status call_eta(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    DPPO_TRY(start(call, "cond", &module, &cond));
    return dppo_call_output(call, "result", dppo_eta_forward(dppo_call_context(call), module, cond));
}

/* -- DiffusionModel
 * --------------------------------------------------------------------------------------------- */

static dppo_status call_diffusion_forward(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *trajectories;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_diffusion_forward(dppo_call_context(call), module, cond, true, &trajectories));
    return dppo_call_output(call, "trajectories", trajectories);
}

/* x, t and, with DDIM, index of a p_mean_var. */
static dppo_status step_inputs(dppo_call *call, dppo_module *module, dppo_tensor **x, dppo_tensor **t,
                               dppo_tensor **index) {
    DPPO_TRY(dppo_call_input(call, "x", x));
    DPPO_TRY(dppo_call_input(call, "t", t));
    if (dppo_diffusion_of(module)->use_ddim) return dppo_call_input(call, "index", index);
    *index = dppo_call_input_or_null(call, "index");
    return DPPO_OK;
}

static dppo_status call_diffusion_p_mean_var(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *x, *t, *index, *logvar = NULL;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(step_inputs(call, module, &x, &t, &index));
    dppo_tensor *mu = dppo_diffusion_p_mean_var(dppo_call_context(call), module, x, t, cond, index, &logvar);
    DPPO_TRY(dppo_call_output(call, "mu", mu));
    if (dppo_diffusion_of(module)->use_ddim) return DPPO_OK; /* log 0 in this class: not an answer */
    return dppo_call_output(call, "logvar", logvar);
}

static dppo_status call_diffusion_q_sample(dppo_call *call) {
    dppo_module *module;
    dppo_tensor *x_start, *t;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, "x_start", &x_start));
    DPPO_TRY(dppo_call_input(call, "t", &t));
    dppo_tensor *noise = dppo_call_input_or_null(call, "noise");
    return dppo_call_output(call, "result",
                            dppo_diffusion_q_sample(dppo_call_context(call), module, x_start, t, noise));
}

static dppo_status call_diffusion_p_losses(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *x_start, *t;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "x_start", &x_start));
    DPPO_TRY(dppo_call_input(call, "t", &t));
    return dppo_call_output(call, "result",
                            dppo_diffusion_p_losses(dppo_call_context(call), module, x_start, cond, t));
}

/* -- VPGDiffusion
 * ------------------------------------------------------------------------------------------------ */

static dppo_status call_vpg_diffusion_p_mean_var(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *x, *t, *index, *logvar, *eta;
    bool use_base_policy = false, deterministic = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(step_inputs(call, module, &x, &t, &index));
    DPPO_TRY(flag(call, "use_base_policy", &use_base_policy));
    DPPO_TRY(flag(call, "deterministic", &deterministic));
    dppo_tensor *mu = dppo_vpg_diffusion_p_mean_var(dppo_call_context(call), module, x, t, cond, index,
                                                    use_base_policy, deterministic, &logvar, &eta);
    DPPO_TRY(dppo_call_output(call, "mu", mu));
    DPPO_TRY(dppo_call_output(call, "logvar", logvar));
    return dppo_call_output(call, "eta", eta);
}

static dppo_status call_vpg_diffusion_forward(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *trajectories, *chains = NULL;
    bool deterministic = false, return_chain = true, use_base_policy = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(flag(call, "deterministic", &deterministic));
    DPPO_TRY(flag(call, "use_base_policy", &use_base_policy));
    DPPO_TRY(dppo_config_bool_or(dppo_call_case(call)->args, "return_chain", true, &return_chain));
    DPPO_TRY(dppo_vpg_diffusion_forward(dppo_call_context(call), module, cond, deterministic, return_chain,
                                        use_base_policy, &trajectories, &chains));
    DPPO_TRY(dppo_call_output(call, "trajectories", trajectories));
    return return_chain ? dppo_call_output(call, "chains", chains) : DPPO_OK;
}

/* With get_ent the original returns two tensors, else one. */
static dppo_status output_logprobs(dppo_call *call, dppo_tensor *logprobs, dppo_tensor *eta) {
    bool get_ent = false;
    DPPO_TRY(flag(call, "get_ent", &get_ent));
    if (!get_ent) return dppo_call_output(call, "result", logprobs);
    DPPO_TRY(dppo_call_output(call, "log_prob", logprobs));
    return dppo_call_output(call, "eta", eta);
}

static dppo_status call_vpg_diffusion_get_logprobs(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *chains, *eta;
    bool use_base_policy = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "chains", &chains));
    DPPO_TRY(flag(call, "use_base_policy", &use_base_policy));
    dppo_cx *cx = dppo_call_context(call);
    dppo_tensor *logprobs = dppo_vpg_diffusion_get_logprobs(cx, module, cond, chains, use_base_policy, &eta);
    return output_logprobs(call, logprobs, eta);
}

static dppo_status call_vpg_diffusion_get_logprobs_subsample(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *chains_prev, *chains_next, *denoising_inds, *eta;
    bool use_base_policy = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "chains_prev", &chains_prev));
    DPPO_TRY(dppo_call_input(call, "chains_next", &chains_next));
    DPPO_TRY(dppo_call_input(call, "denoising_inds", &denoising_inds));
    DPPO_TRY(flag(call, "use_base_policy", &use_base_policy));
    dppo_tensor *logprobs =
        dppo_vpg_diffusion_get_logprobs_subsample(dppo_call_context(call), module, cond, chains_prev,
                                                  chains_next, denoising_inds, use_base_policy, &eta);
    return output_logprobs(call, logprobs, eta);
}

static dppo_status call_vpg_diffusion_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *chains, *reward, *loss_actor, *loss_critic, *eta;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "chains", &chains));
    DPPO_TRY(dppo_call_input(call, "reward", &reward));
    DPPO_TRY(dppo_vpg_diffusion_loss(dppo_call_context(call), module, cond, chains, reward, &loss_actor,
                                     &loss_critic, &eta));
    DPPO_TRY(dppo_call_output(call, "loss_actor", loss_actor));
    DPPO_TRY(dppo_call_output(call, "loss_critic", loss_critic));
    return dppo_call_output(call, "eta", eta);
}

/* -- PPODiffusion
 * ------------------------------------------------------------------------------------------------- */

static dppo_status call_ppo_diffusion_loss(dppo_call *call) {
    dppo_module *module;
    dppo_ppo_diffusion_batch b = {0};
    bool use_bc_loss = false;
    int64_t reward_horizon = 0;
    dppo_ppo_loss loss;
    DPPO_TRY(start(call, "obs", &module, &b.cond));
    DPPO_TRY(dppo_call_input(call, "chains_prev", &b.chains_prev));
    DPPO_TRY(dppo_call_input(call, "chains_next", &b.chains_next));
    DPPO_TRY(dppo_call_input(call, "denoising_inds", &b.denoising_inds));
    DPPO_TRY(dppo_call_input(call, "returns", &b.returns));
    DPPO_TRY(dppo_call_input(call, "oldvalues", &b.oldvalues));
    DPPO_TRY(dppo_call_input(call, "advantages", &b.advantages));
    DPPO_TRY(dppo_call_input(call, "oldlogprobs", &b.oldlogprobs));
    DPPO_TRY(flag(call, "use_bc_loss", &use_bc_loss));
    DPPO_TRY(dppo_config_int_or(dppo_call_case(call)->args, "reward_horizon", 4, &reward_horizon));
    DPPO_TRY(
        dppo_ppo_diffusion_loss(dppo_call_context(call), module, &b, use_bc_loss, reward_horizon, &loss));
    DPPO_TRY(dppo_call_output_f64(call, "eta", loss.eta_or_std));
    if (!loss.bc_loss) DPPO_TRY(dppo_call_output_i64(call, "bc_loss", 0)); /* 0 there, an int */
    return dppo_call_output_ppo_loss(call, &loss);
}

/* -- PPOExactDiffusion
 * -------------------------------------------------------------------------------------------- */

static dppo_status call_get_exact_logprobs(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *samples;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "samples", &samples));
    return dppo_call_output(
        call, "result",
        dppo_ppo_exact_diffusion_get_exact_logprobs(dppo_call_context(call), module, cond, samples));
}

static dppo_status call_ppo_exact_diffusion_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *samples;
    dppo_ppo_batch batch;
    dppo_ppo_loss loss;
    DPPO_TRY(dppo_call_refuse(dppo_call_case(call)->args, (const char *const[]){"use_bc_loss", NULL}));
    DPPO_TRY(start(call, "obs", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "samples", &samples));
    DPPO_TRY(dppo_call_ppo_batch(call, &batch));
    DPPO_TRY(dppo_ppo_exact_diffusion_loss(dppo_call_context(call), module, cond, samples, batch, &loss));
    DPPO_TRY(dppo_call_output_i64(call, "bc_loss", 0));
    return dppo_call_output_ppo_loss(call, &loss);
}

const dppo_entry dppo_entries_diffusion[] = {
    {"DiffusionModel.forward", call_diffusion_forward},
    {"DiffusionModel.p_losses", call_diffusion_p_losses},
    {"DiffusionModel.p_mean_var", call_diffusion_p_mean_var},
    {"DiffusionModel.q_sample", call_diffusion_q_sample},
    {"DiffusionModel.schedule", call_schedule},
    {"EtaAction", call_eta},
    {"EtaFixed", call_eta},
    {"EtaState", call_eta},
    {"EtaStateAction", call_eta},
    {"PPODiffusion.loss", call_ppo_diffusion_loss},
    {"PPOExactDiffusion.get_exact_logprobs", call_get_exact_logprobs},
    {"PPOExactDiffusion.loss", call_ppo_exact_diffusion_loss},
    {"VPGDiffusion.forward", call_vpg_diffusion_forward},
    {"VPGDiffusion.get_logprobs", call_vpg_diffusion_get_logprobs},
    {"VPGDiffusion.get_logprobs_subsample", call_vpg_diffusion_get_logprobs_subsample},
    {"VPGDiffusion.loss", call_vpg_diffusion_loss},
    {"VPGDiffusion.p_mean_var", call_vpg_diffusion_p_mean_var},
    {"cosine_beta_schedule", call_cosine_beta_schedule},
    {"extract", call_extract},
    {NULL, NULL},
};
