/* RWRDiffusion: reward-weighted regression (Peters and Schaal, 2007; for diffusion policies DRWR in arXiv
 * 2409.00588, appendix): the policy imitates its own actions, better ones more.
 *
 *   L = mean_B( w_b  mean_{Ta, Da} (eps - eps_theta(x_t, t, s))^2 ),   x_t = sqrt(abar_t) a + sqrt(1 -
 * abar_t) eps
 *
 * The weights w_b = min(exp(beta R_b), max) of normalised returns come from the agent
 * (algorithms/regression_weights.h). Exploration is a lower bound on the noise of each denoising step. */
#include "diffusion/explorer.h"
#include "models/build.h"

dppo_status dppo_build_rwr_diffusion(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    dppo_module *network = NULL;
    const dppo_nested nested[] = {{"network", dppo_noise_networks, &network, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 1, nested));
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_explorer_new("RWRDiffusion", config, &model);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "network", &network, &model->network);
    dppo_module_free(network);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_rwr_diffusion_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                        bool deterministic) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    return dppo_explorer_act(cx, model, model->network, cond, deterministic);
}

dppo_tensor *dppo_rwr_diffusion_p_losses(dppo_cx *cx, dppo_module *module, dppo_tensor *x_start,
                                         dppo_cond cond, dppo_tensor *rewards, dppo_tensor *t) {
    const int chunk[] = {1, 2};
    const dppo_diffusion *model = dppo_diffusion_of(module);
    dppo_tensor *noise = dppo_randn_like(cx, x_start);
    dppo_tensor *x_noisy = noise ? dppo_diffusion_q_sample(cx, module, x_start, t, noise) : NULL;
    dppo_tensor *predicted = dppo_noise_network_forward(cx, model->network, x_noisy, t, cond);
    dppo_tensor *error = dppo_sub(cx, predicted, model->predict_epsilon ? noise : x_start);
    dppo_tensor *loss = dppo_mean(cx, dppo_square(cx, error), 2, chunk, false);
    return dppo_mean(cx, dppo_mul(cx, loss, rewards), 0, NULL, false);
}

dppo_tensor *dppo_rwr_diffusion_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *x, dppo_cond cond,
                                     dppo_tensor *rewards) {
    if (!x) return NULL;
    dppo_tensor *t = dppo_randint(cx, 0, dppo_diffusion_of(module)->denoising_steps, 1, x->shape);
    return dppo_rwr_diffusion_p_losses(cx, module, x, cond, rewards, t);
}
