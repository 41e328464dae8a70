/* Conv1dBlock, Downsample1d and Upsample1d. */
#include "models/build.h"
#include "models/unet1d.h"

#include <string.h>

/* -- Conv1dBlock: convolution that keeps the length, GroupNorm when asked for, activation
 * ---------------------------------------------------------------------------------------------------------
 */

typedef struct conv1d_block {
    dppo_module module;
    dppo_conv_layer *conv;
    dppo_group_norm_layer *norm; /* or NULL */
    dppo_activation_kind activation;
} conv1d_block;

/* `block` is a Sequential: 0 convolution, 2 norm; 1 and 3 only reshape in the original. */
static dppo_status fill(conv1d_block *self, dppo_generator *generator, int64_t in_channels,
                        int64_t out_channels, const dppo_conv_block_options *o) {
    dppo_module *block = NULL;
    const dppo_conv_options conv = {.in_channels = in_channels,
                                    .out_channels = out_channels,
                                    .kernel_size = {o->kernel_size},
                                    .stride = {1},
                                    .padding = {o->kernel_size / 2},
                                    .bias = true};
    if (strcmp(o->activation_type, "Mish") != 0 && strcmp(o->activation_type, "ReLU") != 0)
        return dppo_fail(DPPO_INVALID, "activation_type: %s is neither Mish nor ReLU", o->activation_type);
    DPPO_TRY(dppo_activation_from_name(o->activation_type, &self->activation));
    DPPO_TRY(dppo_add_container(&self->module, "block", "Sequential", &block));
    DPPO_TRY(dppo_add_conv(block, "0", generator, DPPO_CONV1D, &conv, &self->conv));
    if (o->n_groups == 0) return DPPO_OK;
    return dppo_add_group_norm(block, "2", o->n_groups, out_channels, o->eps, &self->norm);
}

dppo_status dppo_conv1d_block_new(dppo_generator *generator, int64_t in_channels, int64_t out_channels,
                                  const dppo_conv_block_options *options, dppo_module **module) {
    conv1d_block *self = dppo_module_new(sizeof *self, "Conv1dBlock");
    *module = NULL;
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = fill(self, generator, in_channels, out_channels, options);
    return dppo_build_finish(status, &self->module, module);
}

dppo_tensor *dppo_conv1d_block_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    const conv1d_block *self = (const conv1d_block *)module;
    x = dppo_conv_layer_forward(cx, self->conv, x);
    if (self->norm) x = dppo_group_norm_layer_forward(cx, self->norm, x);
    return dppo_activation(cx, self->activation, x);
}

dppo_status dppo_conv_block_options_read(const dppo_config *config, int64_t fallback, const char *eps_key,
                                         dppo_conv_block_options *options) {
    if (fallback == 0) DPPO_TRY(dppo_config_int(config, "kernel_size", &options->kernel_size));
    DPPO_TRY(dppo_config_int_or(config, "kernel_size", fallback, &options->kernel_size));
    DPPO_TRY(dppo_config_int_or(config, "n_groups", 0, &options->n_groups)); /* null: None, not normalised */
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &options->activation_type));
    return dppo_config_float_or(config, eps_key, 1e-5, &options->eps);
}

dppo_status dppo_build_conv1d_block(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {"inp_channels",    "out_channels", "kernel_size", "n_groups",
                                       "activation_type", "eps",          NULL};
    int64_t in_channels = 0, out_channels = 0;
    dppo_conv_block_options options = {0};
    DPPO_TRY(dppo_config_allow(config, "Conv1dBlock", keys));
    DPPO_TRY(dppo_config_int(config, "inp_channels", &in_channels));
    DPPO_TRY(dppo_config_int(config, "out_channels", &out_channels));
    DPPO_TRY(dppo_conv_block_options_read(config, 0, "eps", &options));
    return dppo_conv1d_block_new(generator, in_channels, out_channels, &options, module);
}

/* -- half and twice the length
 * ---------------------------------------------------------------------------------------------------------
 */

typedef struct resample1d {
    dppo_module module;
    dppo_conv_layer *conv;
} resample1d;

static dppo_status resample1d_new(const char *type, dppo_conv_kind kind, int64_t dim, int64_t kernel_size,
                                  dppo_generator *generator, dppo_module **module) {
    const dppo_conv_options options = {.in_channels = dim,
                                       .out_channels = dim,
                                       .kernel_size = {kernel_size},
                                       .stride = {2},
                                       .padding = {1},
                                       .bias = true};
    resample1d *self = dppo_module_new(sizeof *self, type);
    *module = NULL;
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = dppo_add_conv(&self->module, "conv", generator, kind, &options, &self->conv);
    return dppo_build_finish(status, &self->module, module);
}

dppo_status dppo_downsample1d_new(dppo_generator *generator, int64_t dim, dppo_module **module) {
    return resample1d_new("Downsample1d", DPPO_CONV1D, dim, 3, generator, module);
}

dppo_status dppo_upsample1d_new(dppo_generator *generator, int64_t dim, dppo_module **module) {
    return resample1d_new("Upsample1d", DPPO_CONV_TRANSPOSE1D, dim, 4, generator, module);
}

dppo_tensor *dppo_downsample1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    return dppo_conv_layer_forward(cx, ((const resample1d *)module)->conv, x);
}

dppo_tensor *dppo_upsample1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    return dppo_conv_layer_forward(cx, ((const resample1d *)module)->conv, x);
}

dppo_status dppo_build_downsample1d(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    int64_t dim = 0;
    DPPO_TRY(dppo_config_allow(config, "Downsample1d", (const char *const[]){"dim", NULL}));
    DPPO_TRY(dppo_config_int(config, "dim", &dim));
    return dppo_downsample1d_new(generator, dim, module);
}

dppo_status dppo_build_upsample1d(const dppo_config *config, dppo_generator *generator,
                                  dppo_module **module) {
    int64_t dim = 0;
    DPPO_TRY(dppo_config_allow(config, "Upsample1d", (const char *const[]){"dim", NULL}));
    DPPO_TRY(dppo_config_int(config, "dim", &dim));
    return dppo_upsample1d_new(generator, dim, module);
}
