/* The likelihood of actions under a diffusion policy, by its probability flow (Song et al., arXiv 2011.13456,
 * section 4.3): x is carried along dx/dt = f(x, t) from the actions at t = eps to a Gaussian z at t = 1, and
 *
 *     log p(x) = log N(z) + integral of div f(x(t), t) dt.
 *
 * The divergence is estimated without bias by e' (df/dx) e with fixed random e, E[e e'] = 1 (Hutchinson,
 * Skilling), averaged over num_epsilon of them. It is itself a gradient, <d<f, e>/dx, e>, and the solver goes
 * on from it, so that the likelihood's gradient is a gradient of a gradient. */
#include "diffusion/sde.h"

#include <math.h>
#include <string.h>

typedef struct flow {
    const dppo_diffusion *model;
    int64_t shape[3];     /* B, Ta, Da */
    dppo_cond cond, wide; /* of B rows, and each of them num_epsilon times */
    dppo_tensor *epsilon; /* (B num_epsilon, Ta, Da) */
} flow;

/* f(x, t) with the given network; rows B or B num_epsilon */
static dppo_tensor *drift(dppo_cx *cx, const flow *f, const dppo_module *network, dppo_tensor *x,
                          int64_t time, dppo_cond cond) {
    if (!x) return NULL;
    dppo_tensor *t = dppo_full(cx, DPPO_I64, 1, x->shape, (double)time);
    dppo_tensor *output = dppo_noise_network_forward(cx, network, x, t, cond);
    return dppo_vpsde_reverse_drift(cx, f->model->sde, x, t, output, f->model->predict_epsilon,
                                    f->model->exact.probability_flow);
}

/* Estimates of div f, one a row of x (B num_epsilon, Ta, Da), whose own gradient is recorded. The rows are a
 * copy that nobody else sees: they require a gradient for as long as this takes. */
static dppo_tensor *divergence(dppo_cx *cx, const flow *f, dppo_tensor *x, int64_t time) {
    const int dims[] = {1, 2};
    dppo_tensor *gradient = NULL;
    if (!x) return NULL;
    bool enabled = dppo_set_grad_enabled(cx, true), leaf = !x->requires_grad;
    x->requires_grad = true;
    dppo_tensor *field = drift(cx, f, f->model->actor, x, time, f->wide);
    dppo_tensor *along = dppo_sum(cx, dppo_mul(cx, field, f->epsilon), 0, NULL, false);
    (void)dppo_grad(cx, 1, &along, NULL, 1, &x, true, &gradient);
    if (leaf) x->requires_grad = false;
    (void)dppo_set_grad_enabled(cx, enabled);
    return dppo_sum(cx, dppo_mul(cx, gradient, f->epsilon), 2, dims, false);
}

/* d/dt of (x, log p) (B, Ta Da + 1) */
static dppo_tensor *derivative(dppo_cx *cx, const flow *f, int64_t time, dppo_tensor *y) {
    const dppo_diffusion *model = f->model;
    int64_t B = f->shape[0], flat = f->shape[1] * f->shape[2], n = model->exact.num_epsilon;
    const int mean_dim[] = {1};
    dppo_tensor *x = dppo_reshape(cx, dppo_narrow(cx, y, 1, 0, flat), 3, f->shape);
    const dppo_module *network = time <= model->ft_denoising_steps ? model->actor_ft : model->actor;
    dppo_tensor *parts[2] = {drift(cx, f, network, x, time, f->cond)};
    parts[0] = dppo_reshape(cx, parts[0], 2, (int64_t[]){B, flat});
    dppo_tensor *rates = divergence(cx, f, dppo_repeat_interleave(cx, x, n, 0), time);
    rates = dppo_reshape(cx, rates, 3, (int64_t[]){B, n, 1});
    parts[1] = dppo_mean(cx, rates, 1, mean_dim, false);
    return dppo_cat(cx, 2, parts, 1);
}

/* Where nothing is recorded nothing of an evaluation is wanted later, although its divergence needs a tape:
 * it has a context of its own, and memory does not grow with the number of steps. */
static dppo_tensor *derivative_apart(dppo_cx *cx, const flow *f, int64_t time, dppo_tensor *y) {
    dppo_cx *apart = dppo_context_new(dppo_context_generator(cx));
    if (!apart) return dppo_context_fail(cx, DPPO_NO_MEMORY, "no memory to integrate a flow");
    (void)dppo_set_grad_enabled(apart, false);
    const dppo_tensor *there = derivative(apart, f, time, y);
    dppo_tensor *here = there ? dppo_result(cx, DPPO_F32, there->ndim, there->shape) : NULL;
    if (here) dppo_tensor_pack(there, here->data);
    if (!there) (void)dppo_context_fail(cx, dppo_context_status(apart), "%s", dppo_message());
    dppo_context_free(apart);
    return here;
}

/* The schedule's step at t in [0, 1) is the nearest to t K. */
static dppo_tensor *evaluate(dppo_cx *cx, void *of, float t, dppo_tensor *y) {
    const flow *f = of;
    int64_t K = f->model->denoising_steps, time = (int64_t)rintf(t * (float)K);
    if (!y) return NULL;
    if (time >= K)
        return dppo_context_fail(cx, DPPO_INVALID,
                                 "sde_step_size: %g is evaluated at t = %g, step %lld of %lld; a larger "
                                 "step_size ends before",
                                 f->model->exact.step_size, (double)t, (long long)time, (long long)K);
    return dppo_grad_enabled(cx) ? derivative(cx, f, time, y) : derivative_apart(cx, f, time, y);
}

/* Signs of fair coins (Rademacher), or standard normal numbers. */
static dppo_tensor *draw_epsilon(dppo_cx *cx, const dppo_diffusion *model, const int64_t *shape) {
    if (model->exact.gaussian) return dppo_randn(cx, 3, shape);
    dppo_tensor *coins = dppo_to_dtype(cx, dppo_randint(cx, 0, 2, 3, shape), DPPO_F32);
    return dppo_sub_scalar(cx, dppo_mul_scalar(cx, coins, 2), 1);
}

dppo_tensor *dppo_ppo_exact_diffusion_get_exact_logprobs(dppo_cx *cx, dppo_module *module, dppo_cond cond,
                                                         dppo_tensor *samples) {
    const dppo_diffusion *model = dppo_diffusion_of(module);
    const dppo_exact_options *o = &model->exact;
    if (!samples || !cond.state) return NULL;
    if (samples->ndim != 3)
        return dppo_context_fail(cx, DPPO_INVALID, "samples: %d dims, (B, Ta, Da) expected", samples->ndim);
    flow f = {.model = model, .cond = cond, .wide = dppo_cond_repeat_rows(cx, cond, o->num_epsilon)};
    memcpy(f.shape, samples->shape, sizeof f.shape);
    int64_t B = f.shape[0], flat = f.shape[1] * f.shape[2];
    f.epsilon = draw_epsilon(cx, model, (int64_t[]){B * o->num_epsilon, f.shape[1], f.shape[2]});
    if (!f.epsilon) return NULL;

    dppo_tensor *start[] = {dppo_reshape(cx, samples, 2, (int64_t[]){B, flat}),
                            dppo_zeros(cx, DPPO_F32, 2, (int64_t[]){B, 1})};
    dppo_tensor *y = dppo_odeint(cx, o->method, evaluate, &f, dppo_hstack(cx, 2, start), (float)o->eps, 1.0F,
                                 o->step_size);
    dppo_tensor *z = dppo_reshape(cx, dppo_narrow(cx, y, 1, 0, flat), 3, f.shape);
    dppo_tensor *logp = dppo_add(cx, dppo_vpsde_prior_logp(cx, z), dppo_select(cx, y, 1, -1));
    /* bits per dimension */
    return dppo_div(cx, logp, dppo_scalar(cx, (double)((float)flat * (float)log(2))));
}
