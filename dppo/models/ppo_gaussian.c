/* PPO_Gaussian: PPO's loss (arXiv 1707.06347) for a Gaussian policy over action chunks. */
#include "models/build.h"
#include "models/gaussian_internal.h"

dppo_status dppo_build_ppo_gaussian(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {
        "actor", "critic", "clip_ploss_coef", "clip_vloss_coef", "norm_adv", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_vpg_gaussian_new("PPO_Gaussian", keys, config, generator, &model);
    if (status == DPPO_OK) status = dppo_read_ppo_clipping(config, &model->clipping);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* Probability, under the trained policy, of what the frozen one would do (arXiv 2403.03949, eq. 2). */
static dppo_tensor *behaviour_cloning_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond) {
    dppo_tensor *logprobs, *entropy, *std;
    dppo_tensor *samples = dppo_vpg_gaussian_forward(cx, module, cond, false, true);
    if (dppo_vpg_gaussian_get_logprobs(cx, module, cond, samples, false, &logprobs, &entropy, &std) !=
        DPPO_OK)
        return NULL;
    return dppo_neg(cx, dppo_mean(cx, dppo_clip_logprobs(cx, logprobs), 0, NULL, false));
}

dppo_status dppo_ppo_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_cond cond, dppo_tensor *actions,
                                   dppo_ppo_batch batch, bool use_bc_loss, dppo_ppo_loss *loss) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    dppo_tensor *newlogprobs, *entropy, *std;
    *loss = (dppo_ppo_loss){0};
    DPPO_TRY(dppo_vpg_gaussian_get_logprobs(cx, module, cond, actions, false, &newlogprobs, &entropy, &std));
    newlogprobs = dppo_clip_logprobs(cx, newlogprobs);
    batch.oldlogprobs = dppo_clip_logprobs(cx, batch.oldlogprobs);
    loss->entropy_loss = dppo_neg(cx, entropy);
    loss->eta_or_std = dppo_item(cx, std);
    if (use_bc_loss) loss->bc_loss = behaviour_cloning_loss(cx, module, cond);
    dppo_ppo_chunk_loss(cx, &model->clipping, newlogprobs, &batch, model->critic, cond, loss);
    return dppo_context_status(cx);
}
