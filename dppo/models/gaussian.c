/* GaussianModel: a Gaussian policy, sampled and trained by maximum likelihood. */
#include "models/gaussian.h"
#include "distributions/normal.h"
#include "models/build.h"
#include "models/gaussian_internal.h"

#include <math.h>

/* -- construction -------------------------------------------------------------------------------------------
 */

/* Marks our modules for dppo_gaussian_of(); there is nothing to free beyond the registry. */
static void destroy(dppo_module *self) {
    (void)self;
}

dppo_gaussian *dppo_gaussian_of(dppo_module *module) {
    return module && module->destroy == destroy ? (dppo_gaussian *)module : NULL;
}

dppo_status dppo_gaussian_new(const char *type, const dppo_config *config, dppo_gaussian **model) {
    *model = dppo_module_new(sizeof **model, type);
    if (!*model) return DPPO_NO_MEMORY;
    (*model)->module.destroy = destroy;
    dppo_status status = dppo_config_int(config, "horizon_steps", &(*model)->horizon_steps);
    if (status == DPPO_OK)
        status = dppo_config_float_or(config, "randn_clip_value", 10, &(*model)->randn_clip_value);
    if (status == DPPO_OK) status = dppo_config_bool_or(config, "tanh_output", false, &(*model)->tanh_output);
    if (status == DPPO_OK) return DPPO_OK;
    dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_status dppo_build_gaussian_model(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    static const char *const keys[] = {"network", DPPO_GAUSSIAN_KEYS, NULL};
    dppo_module *network = NULL;
    const dppo_nested nested[] = {{"network", dppo_gaussian_networks, &network, false}};
    DPPO_TRY(dppo_config_allow(config, "GaussianModel", keys));
    DPPO_TRY(dppo_build_nested(config, generator, 1, nested));
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_gaussian_new("GaussianModel", config, &model);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "network", &network, &model->network);
    dppo_module_free(network);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* -- the distribution
 * ------------------------------------------------------------------------------------------ */

static bool distribution_of(dppo_cx *cx, const dppo_module *network, dppo_cond cond, bool deterministic,
                            dppo_tensor **mean, dppo_tensor **scale) {
    if (!dppo_gaussian_network_forward(cx, network, cond, mean, scale)) return false;
    if (deterministic) *scale = dppo_mul_scalar(cx, dppo_ones_like(cx, *mean), 1e-4);
    return *scale != NULL;
}

/* A GaussianModel has no frozen actor: use_base_policy changes nothing there. */
static const dppo_module *policy_of(const dppo_gaussian *model, bool use_base_policy) {
    return use_base_policy && model->actor ? model->actor : model->network;
}

bool dppo_gaussian_distribution(dppo_cx *cx, const dppo_gaussian *model, dppo_cond cond, bool deterministic,
                                bool use_base_policy, dppo_tensor **mean, dppo_tensor **scale) {
    return distribution_of(cx, policy_of(model, use_base_policy), cond, deterministic, mean, scale);
}

/* -- sampling
 * ------------------------------------------------------------------------------------------------ */

/* sample(): mean + scale noise without gradient; rsample(): with it. */
static dppo_tensor *draw(dppo_cx *cx, dppo_tensor *mean, dppo_tensor *scale, bool reparameterize) {
    bool grad_enabled = dppo_grad_enabled(cx);
    dppo_set_grad_enabled(cx, grad_enabled && reparameterize);
    dppo_tensor *noise = dppo_randn_like(cx, mean);
    dppo_tensor *sample = dppo_add(cx, mean, dppo_mul(cx, noise, scale));
    dppo_set_grad_enabled(cx, grad_enabled);
    return sample;
}

/* Within randn_clip_value standard deviations of the mean; where the bound holds, gradients go to the bound.
 */
static dppo_tensor *clip_sample(dppo_cx *cx, const dppo_gaussian *model, dppo_tensor *sample,
                                dppo_tensor *mean, dppo_tensor *scale) {
    double bound = model->randn_clip_value;
    dppo_tensor *low = dppo_sub(cx, mean, dppo_mul_scalar(cx, scale, bound));
    dppo_tensor *high = dppo_add(cx, mean, dppo_mul_scalar(cx, scale, bound));
    return low && high ? dppo_clamp_tensor(cx, sample, low, high) : NULL;
}

/* log p(tanh(a)) = log p(a) - log(1 - tanh(a)^2 + 1e-6), the change of variables (SAC) */
static dppo_tensor *squashed_log_prob(dppo_cx *cx, dppo_tensor *log_prob, dppo_tensor *squashed) {
    dppo_tensor *slope = dppo_rsub_scalar(cx, dppo_pow_scalar(cx, squashed, 2), 1);
    return dppo_sub(cx, log_prob, dppo_log(cx, dppo_add_scalar(cx, slope, 1e-6)));
}

dppo_tensor *dppo_gaussian_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                   dppo_gaussian_options options, dppo_tensor **log_prob) {
    const int actions[] = {1};
    const dppo_gaussian *model = dppo_gaussian_of(module);
    dppo_tensor *mean, *scale;
    if (log_prob) *log_prob = NULL;
    const dppo_module *network = options.network_override;
    if (!network) network = policy_of(model, options.use_base_policy);
    if (!distribution_of(cx, network, cond, options.deterministic, &mean, &scale)) return NULL;
    dppo_tensor *action = draw(cx, mean, scale, options.reparameterize);
    action = clip_sample(cx, model, action, mean, scale);
    dppo_tensor *density = options.get_logprob ? dppo_normal_log_prob(cx, mean, scale, action) : NULL;
    if (model->tanh_output) {
        action = dppo_tanh(cx, action);
        if (density) density = squashed_log_prob(cx, density, action);
    }
    if (density) *log_prob = dppo_sum(cx, density, 1, actions, false);
    return dppo_reshape(cx, action, 3, (const int64_t[]){cond.state->shape[0], model->horizon_steps, -1});
}

/* -- supervised training
 * -------------------------------------------------------------------------------------- */

dppo_tensor *dppo_gaussian_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *true_action, dppo_cond cond,
                                double ent_coef, dppo_tensor **entropy) {
    dppo_tensor *mean, *scale;
    *entropy = NULL;
    if (!dppo_gaussian_distribution(cx, dppo_gaussian_of(module), cond, false, false, &mean, &scale))
        return NULL;
    dppo_tensor *loss =
        dppo_neg(cx, dppo_normal_log_prob(cx, mean, scale, dppo_flatten_rows(cx, true_action)));
    *entropy = dppo_mean(cx, dppo_normal_entropy(cx, mean, scale), 0, NULL, false);
    loss = dppo_mean(cx, loss, 0, NULL, false);
    return dppo_sub(cx, loss, dppo_mul_scalar(cx, *entropy, ent_coef));
}

dppo_module *dppo_gaussian_actor_ft(dppo_module *module) {
    dppo_gaussian *model = dppo_gaussian_of(module);
    return model ? model->network : NULL;
}

dppo_module *dppo_gaussian_critic(dppo_module *module) {
    dppo_gaussian *model = dppo_gaussian_of(module);
    return model ? model->critic : NULL;
}
