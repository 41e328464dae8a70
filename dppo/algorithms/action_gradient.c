#include "algorithms/action_gradient.h"

#include "optim/optim.h"

/* d(-sum min(Q1, Q2))/da into a->grad. */
static dppo_status slope(dppo_cx *cx, const dppo_module *critic, dppo_cond obs, dppo_tensor *a) {
    dppo_tensor *gradient;
    dppo_tensor *loss = dppo_neg(cx, dppo_sum(cx, dppo_min_q(cx, critic, obs, a), 0, NULL, false));
    if (!loss) return dppo_context_status(cx);
    DPPO_TRY(dppo_grad(cx, 1, &loss, (dppo_tensor *[]){NULL}, 1, &a, false, &gradient));
    return dppo_tensor_copy(a->grad, gradient);
}

static void keep_in_range(dppo_tensor *a) {
    float *x = dppo_f32(a);
    for (int64_t i = 0; i < dppo_numel(a); i++)
        x[i] = x[i] < -1 ? -1 : x[i] > 1 ? 1 : x[i];
}

static dppo_status climb(dppo_cx *cx, const dppo_module *critic, dppo_cond obs,
                         dppo_action_gradient_options options, dppo_optimizer *adam, dppo_tensor *a) {
    for (int64_t i = 0; i < options.action_gradient_steps; i++) {
        DPPO_TRY(slope(cx, critic, obs, a));
        (void)dppo_clip_grad_norm(1, &a, options.action_grad_norm);
        dppo_optimizer_step(adam);
        keep_in_range(a);
    }
    return DPPO_OK;
}

dppo_status dppo_action_gradient(dppo_cx *cx, const dppo_module *critic, dppo_cond obs, dppo_tensor *actions,
                                 dppo_action_gradient_options options, dppo_tensor **guided) {
    dppo_optimizer_options adam_options = dppo_optimizer_defaults(DPPO_ADAM);
    adam_options.lr = options.action_lr;
    adam_options.eps = 1e-5;
    *guided = NULL;
    dppo_tensor *a = dppo_tensor_heap(DPPO_F32, actions->ndim, actions->shape);
    if (a) a->grad = dppo_tensor_heap(DPPO_F32, actions->ndim, actions->shape);
    dppo_optimizer *adam = a ? dppo_optimizer_new(DPPO_ADAM, adam_options, 1, &a) : NULL;
    dppo_status status = DPPO_OK;
    if (!adam || !a->grad) status = dppo_fail(DPPO_NO_MEMORY, "no memory to improve actions");
    if (status == DPPO_OK) status = dppo_tensor_copy(a, actions);
    bool grad_enabled = dppo_set_grad_enabled(cx, true);
    if (status == DPPO_OK) {
        a->requires_grad = true;
        status = climb(cx, critic, obs, options, adam, a);
    }
    dppo_set_grad_enabled(cx, grad_enabled);
    if (status == DPPO_OK) *guided = dppo_from_f32(cx, actions->ndim, actions->shape, dppo_f32(a));
    dppo_optimizer_free(adam);
    dppo_tensor_free(a);
    return status == DPPO_OK ? dppo_context_status(cx) : status;
}
