/* AWRDiffusion: advantage-weighted regression (arXiv 1910.00177; DAWR in 2409.00588). The policy's loss and
 * sampling are RWRDiffusion's, with weights min(exp(beta A_b), max) of normalised advantages
 * A = TD(lambda) - V (algorithms/td_values.h). The critic regresses on the TD(lambda) values:
 *
 *   L_V = mean (V(s) - y)^2
 */
#include "diffusion/explorer.h"
#include "models/build.h"

/* Registration in the original's order: network, critic, actor (the network again). */
static dppo_status adopt_all(dppo_diffusion *model, dppo_module **actor, dppo_module **critic) {
    DPPO_TRY(dppo_build_adopt(&model->module, "network", actor, &model->network));
    DPPO_TRY(dppo_build_adopt(&model->module, "critic", critic, &model->critic));
    return dppo_module_alias(&model->module, "actor", model->network);
}

dppo_status dppo_build_awr_diffusion(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_noise_networks, &actor, false},
                                  {"critic", dppo_critics, &critic, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_diffusion *model = NULL;
    dppo_status status = dppo_explorer_new("AWRDiffusion", config, &model);
    if (status == DPPO_OK) status = adopt_all(model, &actor, &critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_awr_diffusion_loss_critic(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                            dppo_tensor *advantages) {
    dppo_tensor *value = dppo_critic_forward(cx, dppo_diffusion_of(module)->critic, obs);
    return dppo_squared_error(cx, value, advantages);
}
