/* GMMModel: a mixture policy, sampled and trained by maximum likelihood. */
#include "models/gmm.h"
#include "distributions/mixture_same_family.h"
#include "models/build.h"
#include "models/gmm_internal.h"

/* -- construction -------------------------------------------------------------------------------------------
 */

/* Marks our modules for dppo_gmm_of(); there is nothing to free beyond the registry. */
static void destroy(dppo_module *self) {
    (void)self;
}

dppo_gmm *dppo_gmm_of(dppo_module *module) {
    return module && module->destroy == destroy ? (dppo_gmm *)module : NULL;
}

dppo_status dppo_gmm_new(const char *type, const dppo_config *config, dppo_gmm **model) {
    *model = dppo_module_new(sizeof **model, type);
    if (!*model) return DPPO_NO_MEMORY;
    (*model)->module.destroy = destroy;
    dppo_status status = dppo_config_int(config, "horizon_steps", &(*model)->horizon_steps);
    if (status == DPPO_OK) return DPPO_OK;
    dppo_module_free(&(*model)->module);
    *model = NULL;
    return status;
}

dppo_status dppo_build_gmm_model(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    dppo_module *network = NULL;
    const dppo_nested nested[] = {{"network", dppo_gmm_networks, &network, false}};
    DPPO_TRY(dppo_build_nested(config, generator, 1, nested));
    dppo_gmm *model = NULL;
    dppo_status status = dppo_gmm_new("GMMModel", config, &model);
    if (status == DPPO_OK) status = dppo_build_adopt(&model->module, "network", &network, &model->network);
    dppo_module_free(network);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* -- the distribution
 * ------------------------------------------------------------------------------------------ */

/* mean over rows of sum_m p(m) value_m; value (B, M) */
static dppo_tensor *mode_average(dppo_cx *cx, dppo_tensor *logits, dppo_tensor *value) {
    dppo_tensor *weighted = dppo_mul(cx, dppo_softmax(cx, logits, -1), value);
    return dppo_mean(cx, dppo_sum(cx, weighted, 1, (const int[]){-1}, false), 0, NULL, false);
}

bool dppo_gmm_forward_train(dppo_cx *cx, const dppo_gmm *model, dppo_cond cond, bool deterministic,
                            dppo_gmm_distribution *dist) {
    const int last[] = {-1};
    if (!dppo_gmm_network_forward(cx, model->network, cond, &dist->means, &dist->scales, &dist->logits))
        return false;
    if (deterministic) dist->scales = dppo_mul_scalar(cx, dppo_ones_like(cx, dist->means), 1e-4);
    dppo_tensor *entropy = dppo_normal_entropy(cx, dist->means, dist->scales);
    dist->entropy = mode_average(cx, dist->logits, dppo_independent_sum(cx, entropy, 1));
    dist->std = mode_average(cx, dist->logits, dppo_mean(cx, dist->scales, 1, last, false));
    return dist->std != NULL;
}

dppo_tensor *dppo_gmm_log_prob(dppo_cx *cx, const dppo_gmm_distribution *dist, dppo_tensor *actions) {
    return dppo_mixture_log_prob(cx, dist->logits, dist->means, dist->scales, 1,
                                 dppo_flatten_rows(cx, actions));
}

dppo_tensor *dppo_gmm_forward(dppo_cx *cx, dppo_module *module, dppo_cond cond, bool deterministic) {
    const dppo_gmm *model = dppo_gmm_of(module);
    dppo_gmm_distribution dist;
    if (!dppo_gmm_forward_train(cx, model, cond, deterministic, &dist)) return NULL;
    dppo_tensor *sample = dppo_mixture_sample(cx, dist.logits, dist.means, dist.scales, 1, 0, NULL);
    return dppo_reshape(cx, sample, 3, (const int64_t[]){cond.state->shape[0], model->horizon_steps, -1});
}

dppo_tensor *dppo_gmm_loss(dppo_cx *cx, dppo_module *module, dppo_tensor *true_action, dppo_cond cond,
                           dppo_tensor **entropy) {
    dppo_gmm_distribution dist;
    *entropy = NULL;
    if (!dppo_gmm_forward_train(cx, dppo_gmm_of(module), cond, false, &dist)) return NULL;
    *entropy = dist.entropy;
    return dppo_mean(cx, dppo_neg(cx, dppo_gmm_log_prob(cx, &dist, true_action)), 0, NULL, false);
}
