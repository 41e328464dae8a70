/* AWR_Gaussian: advantage-weighted regression (arXiv 1910.00177) with a Gaussian policy. The policy's loss
 * and sampling are RWR_Gaussian's, with weights min(exp(beta A_b), max) of normalised advantages A =
 * TD(lambda) - V (algorithms/td_values.h). The critic regresses on the TD(lambda) values:
 *
 *   L_V = mean (V(s) - y)^2
 */
#include "models/build.h"
#include "models/gaussian_internal.h"
#include "models/offpolicy_gaussian.h"

/* Registration in the original's order: network, actor (the network again), critic. */
static dppo_status adopt_all(dppo_gaussian *model, dppo_module **actor, dppo_module **critic) {
    DPPO_TRY(dppo_build_adopt(&model->module, "network", actor, &model->network));
    DPPO_TRY(dppo_module_alias(&model->module, "actor", model->network));
    return dppo_build_adopt(&model->module, "critic", critic, &model->critic);
}

dppo_status dppo_build_awr_gaussian(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {"actor", "critic", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_module *actor = NULL, *critic = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gaussian_networks, &actor, false},
                                  {"critic", dppo_critics, &critic, false}};
    DPPO_TRY(dppo_config_allow(config, "AWR_Gaussian", keys));
    DPPO_TRY(dppo_build_nested(config, generator, 2, nested));
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_gaussian_new("AWR_Gaussian", config, &model);
    if (status == DPPO_OK) status = adopt_all(model, &actor, &critic);
    dppo_module_free(actor);
    dppo_module_free(critic);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_awr_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, dppo_cond obs,
                                           dppo_tensor *advantages) {
    dppo_tensor *value = dppo_critic_forward(cx, dppo_gaussian_of(module)->critic, obs);
    return dppo_squared_error(cx, value, advantages);
}
