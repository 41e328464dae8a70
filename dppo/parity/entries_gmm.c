/* Entries of the mixture policies and their networks. */
#include "models/gmm.h"
#include "parity/entries_models.h"

static dppo_status start(dppo_call *call, const char *cond_name, dppo_module **module, dppo_cond *cond) {
    DPPO_TRY(dppo_call_build(call, module));
    return dppo_call_cond(call, cond_name, cond);
}

static dppo_status call_gmm_network(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *means, *scales, *logits;
    DPPO_TRY(start(call, "cond", &module, &cond));
    (void)dppo_gmm_network_forward(dppo_call_context(call), module, cond, &means, &scales, &logits);
    DPPO_TRY(dppo_call_output(call, "mean", means));
    DPPO_TRY(dppo_call_output(call, "scale", scales));
    return dppo_call_output(call, "logits", logits);
}

static dppo_status call_gmm_forward(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    bool deterministic = false;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_config_bool_or(dppo_call_case(call)->args, "deterministic", false, &deterministic));
    return dppo_call_output(call, "result",
                            dppo_gmm_forward(dppo_call_context(call), module, cond, deterministic));
}

static dppo_status call_gmm_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *true_action, *entropy;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "true_action", &true_action));
    dppo_tensor *loss = dppo_gmm_loss(dppo_call_context(call), module, true_action, cond, &entropy);
    DPPO_TRY(dppo_call_output(call, "loss", loss));
    return dppo_call_output(call, "entropy", entropy);
}

static dppo_status call_vpg_gmm_get_logprobs(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *actions, *log_prob, *entropy, *std;
    DPPO_TRY(start(call, "cond", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(
        dppo_vpg_gmm_get_logprobs(dppo_call_context(call), module, cond, actions, &log_prob, &entropy, &std));
    DPPO_TRY(dppo_call_output(call, "log_prob", log_prob));
    DPPO_TRY(dppo_call_output(call, "entropy", entropy));
    return dppo_call_output(call, "std", std);
}

static dppo_status call_ppo_gmm_loss(dppo_call *call) {
    dppo_module *module;
    dppo_cond cond;
    dppo_tensor *actions;
    dppo_ppo_batch batch;
    dppo_ppo_loss loss;
    DPPO_TRY(start(call, "obs", &module, &cond));
    DPPO_TRY(dppo_call_input(call, "actions", &actions));
    DPPO_TRY(dppo_call_ppo_batch(call, &batch));
    DPPO_TRY(dppo_ppo_gmm_loss(dppo_call_context(call), module, cond, actions, batch, &loss));
    DPPO_TRY(dppo_call_output_f64(call, "std", loss.eta_or_std));
    DPPO_TRY(dppo_call_output_i64(call, "bc_loss", 0)); /* 0 there, an int */
    return dppo_call_output_ppo_loss(call, &loss);
}

const dppo_entry dppo_entries_gmm[] = {
    {"GMMModel.forward", call_gmm_forward},
    {"GMMModel.loss", call_gmm_loss},
    {"GMM_MLP", call_gmm_network},
    {"GMM_Transformer", call_gmm_network},
    {"PPO_GMM.loss", call_ppo_gmm_loss},
    {"VPG_GMM.forward", call_gmm_forward},
    {"VPG_GMM.get_logprobs", call_vpg_gmm_get_logprobs},
    {NULL, NULL},
};
