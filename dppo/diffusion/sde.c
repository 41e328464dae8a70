/* VPSDE: the variance preserving SDE that a DDPM schedule discretises (Song et al., arXiv 2011.13456), on the
 * schedule's own steps.
 *
 *     forward   dx = -1/2 beta_t x dt + sqrt(beta_t) dw
 *     backward  dx = (-1/2 beta_t x - beta_t s(x, t)) dt + sqrt(beta_t) dw
 *     flow      dx = (-1/2 beta_t x - 1/2 beta_t s(x, t)) dt, the ODE with the same marginals
 *
 * s is the score, the gradient of the log density, which the network's noise or x_0 stands for. */
#include "diffusion/sde.h"

#include "models/build.h"

#include <math.h>

typedef struct vpsde {
    dppo_module module;
    /* each (K), on the heap, NULL until set_betas: beta_t, sqrt(1 - beta_t), sqrt(1 - abar_t) */
    dppo_tensor *discrete_betas, *sqrt_alphas, *sqrt_1m_alpha_bar;
} vpsde;

static void destroy(dppo_module *self) {
    vpsde *sde = (vpsde *)self;
    dppo_tensor_free(sde->discrete_betas);
    dppo_tensor_free(sde->sqrt_alphas);
    dppo_tensor_free(sde->sqrt_1m_alpha_bar);
}

/* N, the number of steps of a sampler that the original does not use, is read and not acted upon. */
dppo_status dppo_build_vpsde(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    static const char *const keys[] = {"N", NULL};
    int64_t N;
    (void)generator;
    *module = NULL;
    DPPO_TRY(dppo_config_allow(config, "VPSDE", keys));
    DPPO_TRY(dppo_config_int_or(config, "N", 1000, &N));
    vpsde *sde = dppo_module_new(sizeof *sde, "VPSDE");
    if (!sde) return DPPO_NO_MEMORY;
    sde->module.destroy = destroy;
    *module = &sde->module;
    return DPPO_OK;
}

/* A copy that outlives the context; NULL after a failure. */
static dppo_tensor *kept(const dppo_tensor *tensor) {
    dppo_tensor *copy = tensor ? dppo_tensor_heap(tensor->dtype, tensor->ndim, tensor->shape) : NULL;
    if (copy) dppo_tensor_pack(tensor, copy->data);
    return copy;
}

dppo_status dppo_vpsde_set_betas(dppo_module *module, dppo_tensor *betas, double min_beta) {
    vpsde *sde = (vpsde *)module;
    dppo_cx *cx = dppo_context_new(NULL);
    if (!cx) return dppo_fail(DPPO_NO_MEMORY, "no memory for a VPSDE");
    dppo_tensor *clamped = dppo_clamp(cx, betas, min_beta, INFINITY);
    dppo_tensor *alphas = dppo_rsub_scalar(cx, clamped, 1);
    dppo_tensor *alphas_bar = dppo_cumprod(cx, alphas, 0);
    destroy(module);
    sde->discrete_betas = kept(clamped);
    sde->sqrt_alphas = kept(dppo_sqrt(cx, alphas));
    sde->sqrt_1m_alpha_bar = kept(dppo_sqrt(cx, dppo_rsub_scalar(cx, alphas_bar, 1)));
    dppo_context_free(cx);
    if (sde->discrete_betas && sde->sqrt_alphas && sde->sqrt_1m_alpha_bar) return DPPO_OK;
    return dppo_fail(DPPO_NO_MEMORY, "no memory for a VPSDE");
}

/* From the noise: s = -noise / sqrt(1 - abar_t); from the mean of the step before: s = -(x - mean sqrt(1 -
 * beta_t)) / beta_t. */
static dppo_tensor *score(dppo_cx *cx, const vpsde *sde, dppo_tensor *x, dppo_tensor *t, dppo_tensor *output,
                          bool predict_epsilon) {
    if (predict_epsilon)
        return dppo_div(cx, dppo_neg(cx, output), dppo_extract(cx, sde->sqrt_1m_alpha_bar, t, 3));
    dppo_tensor *mean = dppo_mul(cx, output, dppo_extract(cx, sde->sqrt_alphas, t, 3));
    return dppo_div(cx, dppo_neg(cx, dppo_sub(cx, x, mean)), dppo_extract(cx, sde->discrete_betas, t, 3));
}

dppo_tensor *dppo_vpsde_reverse_drift(dppo_cx *cx, const dppo_module *module, dppo_tensor *x, dppo_tensor *t,
                                      dppo_tensor *output, bool predict_epsilon, bool probability_flow) {
    const vpsde *sde = (const vpsde *)module;
    dppo_tensor *beta = dppo_extract(cx, sde->discrete_betas, t, 3);
    dppo_tensor *drift = dppo_mul(cx, dppo_mul_scalar(cx, beta, -0.5), x);
    /* beta_t as the square of its root, as the diffusion coefficient gives it: it rounds */
    dppo_tensor *squared = dppo_square(cx, dppo_sqrt(cx, beta));
    dppo_tensor *pull = dppo_mul(cx, squared, score(cx, sde, x, t, output, predict_epsilon));
    return dppo_sub(cx, drift, dppo_mul_scalar(cx, pull, probability_flow ? 0.5 : 1));
}

dppo_tensor *dppo_vpsde_prior_logp(dppo_cx *cx, dppo_tensor *z) {
    const double pi = 3.14159265358979323846;
    const int dims[] = {1, 2};
    if (!z) return NULL;
    double N = (double)(z->shape[1] * z->shape[2]);
    dppo_tensor *squares = dppo_sum(cx, dppo_square(cx, z), 2, dims, false);
    return dppo_rsub_scalar(cx, dppo_div_scalar(cx, squares, 2), -N / 2 * log(2 * pi));
}
