#include "models/q_learning.h"

#include <stdlib.h>

const char *const dppo_q_functions[] = {"CriticObsAct", NULL};

dppo_status dppo_require_double_q(const dppo_config *config, const char *key, bool wanted) {
    bool double_q = true;
    DPPO_TRY(dppo_config_bool_or(dppo_config_get(config, key), "double_q", true, &double_q));
    if (double_q == wanted) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "%s.double_q: must be %s here", key, wanted ? "true" : "false");
}

dppo_tensor *dppo_min_q(dppo_cx *cx, const dppo_module *critic, dppo_cond cond, dppo_tensor *action) {
    dppo_tensor *q2, *q1 = dppo_critic_obs_act_forward(cx, critic, cond, action, &q2);
    return dppo_minimum(cx, q1, q2);
}

static dppo_tensor *flat(dppo_cx *cx, dppo_tensor *x) {
    return dppo_reshape(cx, x, 1, (const int64_t[]){-1});
}

dppo_tensor *dppo_td_target(dppo_cx *cx, const dppo_transitions *batch, dppo_tensor *next_q, double gamma) {
    dppo_tensor *mask = dppo_rsub_scalar(cx, batch->terminated, 1);
    dppo_tensor *rewards = flat(cx, batch->rewards);
    dppo_tensor *discounted = dppo_mul_scalar(cx, flat(cx, next_q), gamma);
    return dppo_add(cx, rewards, dppo_mul(cx, discounted, flat(cx, mask)));
}

dppo_tensor *dppo_squared_error(dppo_cx *cx, dppo_tensor *x, dppo_tensor *target) {
    return dppo_mean(cx, dppo_pow_scalar(cx, dppo_sub(cx, x, target), 2), 0, NULL, false);
}

dppo_tensor *dppo_twin_q_loss(dppo_cx *cx, const dppo_module *critic, const dppo_transitions *batch,
                              dppo_tensor *target) {
    dppo_tensor *q2, *q1 = dppo_critic_obs_act_forward(cx, critic, batch->obs, batch->actions, &q2);
    dppo_tensor *loss1 = dppo_squared_error(cx, q1, target);
    dppo_tensor *loss2 = dppo_squared_error(cx, q2, target);
    return dppo_add(cx, loss1, loss2);
}

/* Rounds after each product, as torch's three operations do. */
static void blend(dppo_tensor *target, const float *source, double tau) {
    float *x = dppo_f32(target), keep = (float)(1.0 - tau), take = (float)tau;
    for (int64_t i = 0; i < dppo_numel(target); i++)
        x[i] = x[i] * keep + source[i] * take;
}

dppo_status dppo_update_target(dppo_module *target, const dppo_module *source, int64_t member, double tau) {
    size_t count = dppo_module_parameters(target, NULL, NULL, 0);
    dppo_tensor **to = calloc(2 * count + 1, sizeof(dppo_tensor *)), **from = to + count;
    if (!to) return dppo_fail(DPPO_NO_MEMORY, "no memory to update a target network");
    (void)dppo_module_parameters(target, to, NULL, count);
    (void)dppo_module_parameters(source, from, NULL, count);
    for (size_t i = 0; i < count; i++)
        blend(to[i], dppo_f32(from[i]) + member * dppo_numel(to[i]), tau);
    free(to);
    return DPPO_OK;
}
