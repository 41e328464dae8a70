/* RWR_Gaussian: reward-weighted regression (Peters and Schaal, 2007) with a Gaussian policy:
 *
 *   L = -mean_B( w_b  mean_{Ta Da} log N(a; mu(s), sigma(s)^2) )
 *
 * The weights w_b = min(exp(beta R_b), max) of normalised returns come from the agent
 * (algorithms/regression_weights.h). */
#include "distributions/normal.h"
#include "models/build.h"
#include "models/gaussian_internal.h"
#include "models/offpolicy_gaussian.h"

dppo_status dppo_build_rwr_gaussian(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {"actor", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_module *actor = NULL;
    const dppo_nested nested[] = {{"actor", dppo_gaussian_networks, &actor, false}};
    DPPO_TRY(dppo_config_allow(config, "RWR_Gaussian", keys));
    DPPO_TRY(dppo_build_nested(config, generator, 1, nested));
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_gaussian_new("RWR_Gaussian", config, &model);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "network", &actor, &model->network);
    if (status == DPPO_OK) status = dppo_module_alias(&model->module, "actor", model->network);
    dppo_module_free(actor);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

dppo_tensor *dppo_rwr_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic) {
    return dppo_vpg_gaussian_forward(cx, module, cond, deterministic, false);
}

dppo_tensor *dppo_rwr_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *actions, dppo_cond obs,
                                    dppo_tensor *reward_weights) {
    const int last[] = {-1};
    dppo_tensor *mean, *scale;
    if (!dppo_gaussian_distribution(cx, dppo_gaussian_of(module), obs, false, false, &mean, &scale))
        return NULL;
    dppo_tensor *density = dppo_normal_log_prob(cx, mean, scale, dppo_flatten_rows(cx, actions));
    dppo_tensor *log_prob = dppo_mul(cx, dppo_mean(cx, density, 1, last, false), reward_weights);
    return dppo_neg(cx, dppo_mean(cx, log_prob, 0, NULL, false));
}
