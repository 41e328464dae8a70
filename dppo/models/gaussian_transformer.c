/* Gaussian_Transformer: mean and standard deviation of an action chunk, each step a token. */
#include "models/build.h"
#include "models/parts.h"
#include "models/transformer.h"

#include <math.h>

typedef struct gaussian_transformer {
    dppo_module module;
    dppo_gaussian_std std;
    dppo_module *transformer; /* its output: Da means and, unless the std is fixed, Da log-variances */
} gaussian_transformer;

static dppo_status fill(gaussian_transformer *self, const dppo_config *config, dppo_generator *generator) {
    dppo_transformer_options options = {0};
    DPPO_TRY(dppo_add_gaussian_std(&self->module, config, &self->std));
    DPPO_TRY(dppo_transformer_options_read(config, &options));
    options.output_dim = self->std.action_dim * (isnan(self->std.fixed_std) ? 2 : 1);
    DPPO_TRY(dppo_transformer_new(&options, generator, &self->transformer));
    return dppo_module_child(&self->module, "transformer", self->transformer);
}

dppo_status dppo_build_gaussian_transformer(const dppo_config *config, dppo_generator *generator,
                                            dppo_module **module) {
    static const char *const keys[] = {DPPO_TRANSFORMER_KEYS, DPPO_GAUSSIAN_STD_KEYS, NULL};
    DPPO_TRY(dppo_config_allow(config, "Gaussian_Transformer", keys));
    gaussian_transformer *self = dppo_module_new(sizeof *self, "Gaussian_Transformer");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, config, generator), &self->module, module);
}

dppo_tensor *dppo_gaussian_transformer_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                               dppo_tensor **mean, dppo_tensor **scale) {
    const gaussian_transformer *self = (const gaussian_transformer *)module;
    int64_t Da = self->std.action_dim;
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    dppo_tensor *out = dppo_transformer_forward(cx, self->transformer, state, NULL);
    *mean = dppo_flatten_rows(cx, dppo_tanh(cx, dppo_narrow(cx, out, 2, 0, Da)));
    if (isnan(self->std.fixed_std)) {
        dppo_tensor *logvar = dppo_flatten_rows(cx, dppo_narrow(cx, out, 2, Da, Da));
        *scale = dppo_gaussian_std_clamped(cx, &self->std, logvar);
    } else {
        *scale = dppo_gaussian_std_constant(cx, &self->std, *mean);
    }
    return *scale ? *mean : NULL;
}
