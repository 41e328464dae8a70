/* GMM_Transformer: a mixture of M Gaussians over action chunks, each step a token; the modes' weights are
 * read off all tokens together.
 *
 * A learned std is refused: the original cuts M columns too few from its output for the log-variances and
 * then fails to reshape them, so there is nothing to be equal to. */
#include "models/build.h"
#include "models/parts.h"
#include "models/transformer.h"

#include <math.h>

typedef struct gmm_transformer {
    dppo_module module;
    dppo_gaussian_std std;
    dppo_module *transformer;      /* its output: the means, (M, Da) a step */
    dppo_linear_layer *modes_head; /* (Ta E) -> (M) */
} gmm_transformer;

static dppo_status fill(gmm_transformer *self, const dppo_config *config, dppo_generator *generator) {
    dppo_transformer_options options = {0};
    dppo_gaussian_std *std = &self->std;
    DPPO_TRY(dppo_config_int_or(config, "num_modes", 5, &std->num_modes));
    if (std->num_modes < 1) return dppo_fail(DPPO_INVALID, "num_modes: %lld", (long long)std->num_modes);
    DPPO_TRY(dppo_add_gaussian_std(&self->module, config, std));
    if (isnan(std->fixed_std))
        return dppo_fail(DPPO_INVALID, "fixed_std: is needed, the original cannot run with a learned std");
    DPPO_TRY(dppo_transformer_options_read(config, &options));
    options.output_dim = std->action_dim * std->num_modes;
    DPPO_TRY(dppo_transformer_new(&options, generator, &self->transformer));
    DPPO_TRY(dppo_module_child(&self->module, "transformer", self->transformer));
    return dppo_add_linear(&self->module, "modes_head", generator, options.horizon * options.embed_dim,
                           std->num_modes, &self->modes_head);
}

dppo_status dppo_build_gmm_transformer(const dppo_config *config, dppo_generator *generator,
                                       dppo_module **module) {
    static const char *const keys[] = {"num_modes", DPPO_TRANSFORMER_KEYS, DPPO_GAUSSIAN_STD_KEYS, NULL};
    DPPO_TRY(dppo_config_allow(config, "GMM_Transformer", keys));
    gmm_transformer *self = dppo_module_new(sizeof *self, "GMM_Transformer");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, config, generator), &self->module, module);
}

/* (B, Ta, M Da) -> (B, M, Ta Da) */
static dppo_tensor *by_mode(dppo_cx *cx, const dppo_gaussian_std *std, dppo_tensor *out) {
    if (!out) return NULL;
    int64_t B = out->shape[0], M = std->num_modes;
    out = dppo_reshape(cx, out, 4, (const int64_t[]){B, std->horizon_steps, M, std->action_dim});
    out = dppo_permute(cx, out, 4, (const int[]){0, 2, 1, 3});
    return dppo_reshape(cx, out, 3, (const int64_t[]){B, M, std->horizon_steps * std->action_dim});
}

dppo_tensor *dppo_gmm_transformer_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                          dppo_tensor **means, dppo_tensor **scales, dppo_tensor **logits) {
    const gmm_transformer *self = (const gmm_transformer *)module;
    dppo_tensor *features, *state = dppo_flatten_rows(cx, cond.state);
    dppo_tensor *out = dppo_transformer_forward(cx, self->transformer, state, &features);
    *means = by_mode(cx, &self->std, dppo_tanh(cx, out));
    *scales = dppo_gaussian_std_constant(cx, &self->std, *means);
    *logits = dppo_linear_layer_forward(cx, self->modes_head, dppo_flatten_rows(cx, features));
    if (!*means || !*scales || !*logits) *means = *scales = *logits = NULL;
    return *means;
}
