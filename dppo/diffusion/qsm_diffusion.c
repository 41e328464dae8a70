/* QSMDiffusion: Q-score matching (arXiv 2312.11752). The predicted noise is aligned with the slope of Q at
 * noisy actions (the paper writes final ones; its code, and the original's, do this):
 *
 *   L_pi = mean (-eps_theta(x_t, t, s) - c sg((dQ1/da + dQ2/da)(s, x_t) / 2))^2,
 *   x_t = sqrt(abar_t) a + sqrt(1 - abar_t) eps
 *   y = r + gamma (1 - d) min(Q1', Q2')(s', a'),  L_Q = mean (Q1(s, a) - y)^2 + mean (Q2(s, a) - y)^2
 *
 * The noise points away from the score, hence the minus sign. sg stops gradients. */
#include "diffusion/explorer.h"
#include "models/build.h"

dppo_status dppo_build_qsm_diffusion(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    dppo_diffusion *model;
    dppo_status status =
        dppo_explorer_with_critic_new("QSMDiffusion", "critic_q", "target_q", config, generator, &model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* (dQ1/da + dQ2/da) / 2 at `actions`, a constant: (B, Ta, Da). Rows do not mix, so that the slope of the sum
 * over the batch is each row's own. */
static dppo_tensor *mean_slope(dppo_cx *cx, const dppo_module *critic, dppo_cond obs, dppo_tensor *actions) {
    dppo_tensor *at = dppo_detach(cx, actions), *q[2], *slopes[2];
    if (!at) return NULL;
    bool grad_enabled = dppo_set_grad_enabled(cx, true);
    at->requires_grad = true;
    q[0] = dppo_critic_obs_act_forward(cx, critic, obs, at, &q[1]);
    for (int i = 0; i < 2; i++) {
        dppo_tensor *sum = dppo_sum(cx, q[i], 0, NULL, false);
        slopes[i] = NULL;
        if (sum && dppo_grad(cx, 1, &sum, (dppo_tensor *[]){NULL}, 1, &at, false, &slopes[i]) != DPPO_OK)
            slopes[i] = NULL;
    }
    dppo_set_grad_enabled(cx, false);
    dppo_tensor *mean = slopes[0] && slopes[1]
                            ? dppo_mean(cx, dppo_stack(cx, 2, slopes, 0), 1, (const int[]){0}, false)
                            : NULL;
    dppo_set_grad_enabled(cx, grad_enabled);
    return mean;
}

dppo_tensor *dppo_qsm_diffusion_loss_actor(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                           dppo_tensor *actions, double q_grad_coeff) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    if (!actions) return NULL;
    dppo_tensor *noise = dppo_randn_like(cx, actions);
    dppo_tensor *t = dppo_randint(cx, 0, model->denoising_steps, 1, actions->shape);
    dppo_tensor *x_noisy = noise ? dppo_diffusion_q_sample(cx, module, actions, t, noise) : NULL;
    dppo_tensor *slope = mean_slope(cx, model->critic, obs, x_noisy);
    dppo_tensor *predicted = dppo_noise_network_forward(cx, model->network, x_noisy, t, obs);
    return dppo_mse_loss(cx, dppo_neg(cx, predicted), dppo_mul_scalar(cx, slope, q_grad_coeff));
}

dppo_tensor *dppo_qsm_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                            double gamma) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    dppo_tensor *next_q = dppo_explorer_next_q(cx, model, model->network, batch->next_obs);
    return dppo_twin_q_loss(cx, model->critic, batch, dppo_td_target(cx, batch, next_q, gamma));
}
