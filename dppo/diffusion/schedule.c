/* Noise schedules of DDPM and DDIM. Everything after the betas is float32, step by step as the original
 * computes it: the rounding of each step is part of the result. */
#include "diffusion/diffusion.h"

#include <math.h>
#include <stdlib.h>

static const double pi = 3.14159265358979323846;

/* abar(x) before normalisation: cos(((x / steps + s) / (1 + s)) pi / 2)^2. */
static double squared_cosine(double x, double steps, double s) {
    double value = cos((x / steps + s) / (1 + s) * pi * 0.5);
    return value * value;
}

/* beta_t = 1 - abar(t + 1) / abar(t), clipped to [0, 0.999]. The grid is steps = timesteps + 1 points from 0
 * to `steps` inclusive, as the original has it (and not 0 to timesteps). */
dppo_tensor *dppo_cosine_beta_schedule(dppo_cx *cx, int64_t timesteps, double s) {
    if (timesteps < 1)
        return dppo_context_fail(cx, DPPO_INVALID, "denoising_steps must be positive, not %lld",
                                 (long long)timesteps);
    dppo_tensor *betas = dppo_result(cx, DPPO_F32, 1, &timesteps);
    if (!betas) return NULL;
    double steps = (double)(timesteps + 1), spacing = steps / (steps - 1);
    double first = squared_cosine(0, steps, s), previous = 1;
    for (int64_t i = 0; i < timesteps; i++) {
        double x = i + 1 == timesteps ? steps : (double)(i + 1) * spacing;
        double current = squared_cosine(x, steps, s) / first;
        double beta = 1 - current / previous;
        dppo_f32(betas)[i] = (float)fmin(fmax(beta, 0), 0.999);
        previous = current;
    }
    return betas;
}

dppo_tensor *dppo_extract(dppo_cx *cx, dppo_tensor *a, dppo_tensor *t, int ndim) {
    if (!a || !t) return NULL;
    int64_t shape[DPPO_MAX_DIMS] = {t->shape[0], 1, 1, 1, 1, 1, 1, 1};
    return dppo_reshape(cx, dppo_gather(cx, a, -1, t), ndim, shape);
}

static dppo_tensor *one(dppo_cx *cx) {
    const int64_t shape[] = {1};
    return dppo_ones(cx, DPPO_F32, 1, shape);
}

/* 1 in front, and all but the last behind it: abar_{t-1} from abar_t. */
static dppo_tensor *shifted(dppo_cx *cx, dppo_tensor *abar) {
    if (!abar) return NULL;
    dppo_tensor *parts[] = {one(cx), dppo_narrow(cx, abar, 0, 0, abar->shape[0] - 1)};
    return dppo_cat(cx, 2, parts, 0);
}

static void ddpm(dppo_cx *cx, int64_t denoising_steps, dppo_schedule *s) {
    s->betas = dppo_cosine_beta_schedule(cx, denoising_steps, 0.008);
    s->alphas = dppo_rsub_scalar(cx, s->betas, 1);
    s->alphas_cumprod = dppo_cumprod(cx, s->alphas, 0);
    s->alphas_cumprod_prev = shifted(cx, s->alphas_cumprod);
    s->sqrt_alphas_cumprod = dppo_sqrt(cx, s->alphas_cumprod);
    s->sqrt_one_minus_alphas_cumprod = dppo_sqrt(cx, dppo_rsub_scalar(cx, s->alphas_cumprod, 1));
    s->sqrt_recip_alphas_cumprod = dppo_sqrt(cx, dppo_rdiv_scalar(cx, s->alphas_cumprod, 1));
    s->sqrt_recipm1_alphas_cumprod =
        dppo_sqrt(cx, dppo_sub_scalar(cx, dppo_rdiv_scalar(cx, s->alphas_cumprod, 1), 1));
    /* variance of the posterior: beta_t (1 - abar_{t-1}) / (1 - abar_t) */
    dppo_tensor *one_minus_prev = dppo_rsub_scalar(cx, s->alphas_cumprod_prev, 1);
    dppo_tensor *one_minus = dppo_rsub_scalar(cx, s->alphas_cumprod, 1);
    s->ddpm_var = dppo_div(cx, dppo_mul(cx, s->betas, one_minus_prev), one_minus);
    s->ddpm_logvar_clipped = dppo_log(cx, dppo_clamp(cx, s->ddpm_var, 1e-20, INFINITY));
    /* mean of the posterior: beta_t sqrt(abar_{t-1}) / (1 - abar_t) x_0 + (1 - abar_{t-1}) sqrt(alpha_t) / (1
     * - abar_t) x_t */
    s->ddpm_mu_coef1 = dppo_div(cx, dppo_mul(cx, s->betas, dppo_sqrt(cx, s->alphas_cumprod_prev)), one_minus);
    s->ddpm_mu_coef2 = dppo_div(cx, dppo_mul(cx, one_minus_prev, dppo_sqrt(cx, s->alphas)), one_minus);
}

/* sigma = eta sqrt((1 - abar_prev) / (1 - abar) (1 - abar / abar_prev)) with eta = 0. */
static dppo_tensor *ddim_sigmas(dppo_cx *cx, dppo_tensor *alphas, dppo_tensor *alphas_prev) {
    dppo_tensor *ratio = dppo_div(cx, dppo_rsub_scalar(cx, alphas_prev, 1), dppo_rsub_scalar(cx, alphas, 1));
    dppo_tensor *rest = dppo_rsub_scalar(cx, dppo_div(cx, alphas, alphas_prev), 1);
    return dppo_mul_scalar(cx, dppo_pow_scalar(cx, dppo_mul(cx, ratio, rest), 0.5), 0);
}

/* Every (denoising_steps / ddim_steps)-th step, from 0 on ("leading"), then flipped: noisiest first. */
static void ddim(dppo_cx *cx, int64_t denoising_steps, int64_t ddim_steps, dppo_schedule *s) {
    const int first[] = {0};
    int64_t ratio = denoising_steps / ddim_steps;
    dppo_tensor *t = dppo_arange(cx, DPPO_I64, 0, (double)(ratio * ddim_steps), (double)ratio);
    dppo_tensor *alphas = dppo_index_select(cx, s->alphas_cumprod, 0, t);
    dppo_tensor *alphas_prev = shifted(cx, alphas);
    s->ddim_t = dppo_flip(cx, t, 1, first);
    s->ddim_alphas = dppo_flip(cx, alphas, 1, first);
    s->ddim_alphas_sqrt = dppo_flip(cx, dppo_sqrt(cx, alphas), 1, first);
    s->ddim_alphas_prev = dppo_flip(cx, alphas_prev, 1, first);
    s->ddim_sqrt_one_minus_alphas =
        dppo_flip(cx, dppo_pow_scalar(cx, dppo_rsub_scalar(cx, alphas, 1), 0.5), 1, first);
    s->ddim_sigmas = dppo_flip(cx, ddim_sigmas(cx, alphas, alphas_prev), 1, first);
}

/* From the context's arena to the heap, in place, for the schedule outlives the context; NULL stays NULL. */
static bool keep(dppo_tensor **tensor) {
    if (!*tensor) return true;
    dppo_tensor *kept = dppo_tensor_heap((*tensor)->dtype, (*tensor)->ndim, (*tensor)->shape);
    if (kept) dppo_tensor_pack(*tensor, kept->data);
    *tensor = kept;
    return kept != NULL;
}

static dppo_status keep_all(dppo_schedule *schedule) {
    bool kept = true;
#define KEEP(name) kept = keep(&schedule->name) && kept;
    DPPO_DDPM_SCHEDULE(KEEP)
    DPPO_DDIM_SCHEDULE(KEEP)
#undef KEEP
    if (kept) return DPPO_OK;
    dppo_schedule_free(schedule);
    return dppo_fail(DPPO_NO_MEMORY, "no memory for the noise schedule");
}

dppo_status dppo_schedule_init(dppo_schedule *schedule, int64_t denoising_steps, int64_t ddim_steps) {
    *schedule = (dppo_schedule){0};
    if (ddim_steps < 0 || ddim_steps > denoising_steps)
        return dppo_fail(DPPO_INVALID, "ddim_steps %lld is not in 1..denoising_steps (%lld)",
                         (long long)ddim_steps, (long long)denoising_steps);
    dppo_context *cx = dppo_context_new(NULL);
    if (!cx) return dppo_fail(DPPO_NO_MEMORY, "no memory for the noise schedule");
    dppo_schedule computed = {0};
    ddpm(cx, denoising_steps, &computed);
    if (ddim_steps) ddim(cx, denoising_steps, ddim_steps, &computed);
    dppo_status status = dppo_context_status(cx);
    if (status == DPPO_OK) status = keep_all(&computed);
    if (status == DPPO_OK) *schedule = computed;
    dppo_context_free(cx);
    return status;
}

void dppo_schedule_free(dppo_schedule *schedule) {
#define FREE(name) dppo_tensor_free(schedule->name);
    DPPO_DDPM_SCHEDULE(FREE)
    DPPO_DDIM_SCHEDULE(FREE)
#undef FREE
    *schedule = (dppo_schedule){0};
}
