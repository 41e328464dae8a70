#include "models/critic_ensemble.h"

#include "models/build.h"
#include "nn/sequential.h"

#include <stdio.h>

/* A ModuleList of n copies of `critic`. */
static dppo_status add_list(dppo_gaussian *model, const char *name, const dppo_config *config,
                            const dppo_module *critic, dppo_module **list) {
    char index[24];
    dppo_module *added = dppo_module_new(sizeof *added, "ModuleList"), *member;
    if (!added) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_build_adopt(&model->module, name, &added, list));
    for (int64_t n = 0; n < model->n_critics; n++) {
        (void)snprintf(index, sizeof index, "%lld", (long long)n);
        DPPO_TRY(dppo_build_target(*list, index, config, "critic", critic, &member));
    }
    return DPPO_OK;
}

dppo_status dppo_ensemble_adopt(dppo_gaussian *model, const dppo_config *config, const dppo_module *critic) {
    DPPO_TRY(dppo_require_double_q(config, "critic", false));
    DPPO_TRY(dppo_config_int(config, "n_critics", &model->n_critics));
    if (model->n_critics < 2)
        return dppo_fail(DPPO_INVALID, "n_critics: %lld, two at least are needed",
                         (long long)model->n_critics);
    DPPO_TRY(add_list(model, "critic_networks", config, critic, &model->critic_networks));
    DPPO_TRY(add_list(model, "target_networks", config, critic, &model->target_networks));
    DPPO_TRY(dppo_build_target(&model->module, "ensemble_params", config, "critic", critic,
                               &model->ensemble_params));
    return dppo_module_stack(model->ensemble_params, model->n_critics);
}

bool dppo_ensemble_pick(dppo_cx *cx, const dppo_gaussian *model, int64_t picked[2]) {
    dppo_tensor *permutation = dppo_randperm(cx, model->n_critics);
    for (int i = 0; permutation && i < 2; i++)
        picked[i] = dppo_i64(permutation)[i];
    return permutation != NULL;
}

dppo_tensor *dppo_ensemble_min_q(dppo_cx *cx, const dppo_module *networks, const int64_t picked[2],
                                 dppo_cond cond, dppo_tensor *action) {
    const dppo_module *first = networks->entries[picked[0]].child,
                      *second = networks->entries[picked[1]].child;
    dppo_tensor *q1 = dppo_critic_obs_act_forward(cx, first, cond, action, NULL);
    dppo_tensor *q2 = dppo_critic_obs_act_forward(cx, second, cond, action, NULL);
    return dppo_minimum(cx, q1, q2);
}

dppo_tensor *dppo_ensemble_q(dppo_cx *cx, const dppo_gaussian *model, dppo_cond cond, dppo_tensor *action) {
    return dppo_critic_ensemble_forward(cx, model->ensemble_params, model->n_critics, cond, action);
}

dppo_tensor *dppo_ensemble_loss(dppo_cx *cx, const dppo_gaussian *model, const dppo_transitions *batch,
                                dppo_tensor *target) {
    dppo_tensor *q = dppo_ensemble_q(cx, model, batch->obs, batch->actions);
    return dppo_squared_error(cx, q, dppo_unsqueeze(cx, target, 0));
}
