/* PPO_GMM: PPO's loss (arXiv 1707.06347) for a mixture policy over action chunks. It differs from
 * PPO_Gaussian's in that log-probabilities are those of whole chunks, not means over their elements, and that
 * nothing holds the policy to where it started. */
#include "models/build.h"
#include "models/gmm_internal.h"

dppo_status dppo_build_ppo_gmm(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    dppo_gmm *model = NULL;
    dppo_status status = dppo_vpg_gmm_new("PPO_GMM", config, generator, &model);
    if (status == DPPO_OK) status = dppo_read_ppo_clipping(config, &model->clipping);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_status dppo_ppo_gmm_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                              dppo_ppo_batch batch, dppo_ppo_loss *loss) {
    const dppo_gmm *model = dppo_gmm_of(module);
    dppo_tensor *newlogprobs, *entropy, *std;
    *loss = (dppo_ppo_loss){0};
    DPPO_TRY(dppo_vpg_gmm_get_logprobs(cx, module, cond, actions, &newlogprobs, &entropy, &std));
    newlogprobs = dppo_clip_logprobs(cx, newlogprobs);
    batch.oldlogprobs = dppo_clip_logprobs(cx, batch.oldlogprobs);
    loss->entropy_loss = dppo_neg(cx, entropy);
    loss->eta_or_std = dppo_item(cx, std);
    dppo_ppo_chunk_loss(cx, &model->clipping, newlogprobs, &batch, model->critic, cond, loss);
    return dppo_context_status(cx);
}
