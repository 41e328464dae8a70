/* Families of networks, conditions: what lets a policy be built on any network of a kind. */
#include "models/networks.h"

#include <string.h>

#define NAME(type, function) #type,
const char *const dppo_noise_networks[] = {DPPO_NOISE_NETWORKS(NAME) NULL};
const char *const dppo_gaussian_networks[] = {DPPO_GAUSSIAN_NETWORKS(NAME) NULL};
const char *const dppo_gmm_networks[] = {DPPO_GMM_NETWORKS(NAME) NULL};
const char *const dppo_critics[] = {DPPO_CRITICS(NAME) NULL};
#undef NAME

static dppo_tensor *wrong_family(dppo_cx *cx, const dppo_module *module, const char *family) {
    return dppo_context_fail(cx, DPPO_INVALID, "a %s is no %s", module->type, family);
}

dppo_tensor *dppo_noise_network_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                        dppo_tensor *time, dppo_cond cond) {
#define FORWARD(type_, name)                                                                                 \
    if (strcmp(module->type, #type_) == 0) return dppo_##name##_forward(cx, module, x, time, cond);
    DPPO_NOISE_NETWORKS(FORWARD)
#undef FORWARD
    return wrong_family(cx, module, "network that predicts noise");
}

dppo_tensor *dppo_gaussian_network_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                           dppo_tensor **mean, dppo_tensor **scale) {
#define FORWARD(type_, name)                                                                                 \
    if (strcmp(module->type, #type_) == 0) return dppo_##name##_forward(cx, module, cond, mean, scale);
    DPPO_GAUSSIAN_NETWORKS(FORWARD)
#undef FORWARD
    *mean = *scale = NULL;
    return wrong_family(cx, module, "network of a Gaussian policy");
}

dppo_tensor *dppo_gmm_network_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                      dppo_tensor **means, dppo_tensor **scales, dppo_tensor **logits) {
#define FORWARD(type_, name)                                                                                 \
    if (strcmp(module->type, #type_) == 0)                                                                   \
        return dppo_##name##_forward(cx, module, cond, means, scales, logits);
    DPPO_GMM_NETWORKS(FORWARD)
#undef FORWARD
    *means = *scales = *logits = NULL;
    return wrong_family(cx, module, "network of a mixture policy");
}

dppo_tensor *dppo_critic_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
#define FORWARD(type_, name)                                                                                 \
    if (strcmp(module->type, #type_) == 0) return dppo_##name##_forward(cx, module, cond);
    DPPO_CRITICS(FORWARD)
#undef FORWARD
    return wrong_family(cx, module, "critic of states");
}

dppo_cond dppo_cond_index_select(dppo_cx *cx, dppo_cond cond, dppo_tensor *rows) {
    cond.state = dppo_index_select(cx, cond.state, 0, rows);
    if (cond.rgb) cond.rgb = dppo_index_select(cx, cond.rgb, 0, rows);
    return cond;
}

/* A row is one long vector meanwhile, for repeat takes twice as many dims as it is given. */
static dppo_tensor *repeat_rows(dppo_cx *cx, dppo_tensor *input, int64_t n) {
    if (!input) return NULL;
    int64_t shape[DPPO_MAX_DIMS], repeats[] = {1, n, 1};
    memcpy(shape, input->shape, sizeof shape);
    shape[0] *= n;
    dppo_tensor *rows = dppo_unsqueeze(cx, dppo_flatten_rows(cx, input), 1);
    return dppo_reshape(cx, dppo_repeat(cx, rows, 3, repeats), input->ndim, shape);
}

dppo_cond dppo_cond_repeat_rows(dppo_cx *cx, dppo_cond cond, int64_t n) {
    cond.state = repeat_rows(cx, cond.state, n);
    if (cond.rgb) cond.rgb = repeat_rows(cx, cond.rgb, n);
    return cond;
}
