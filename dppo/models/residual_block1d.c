/* ResidualBlock1D: two convolutions with FiLM (Perez et al. 2018) in between: a condition shifts each
 * channel, or scales and shifts it. */
#include "models/build.h"
#include "models/unet1d.h"

enum { ENCODER_LAYERS = 3 };

typedef struct residual_block1d {
    dppo_module module;
    int64_t out_channels;
    bool cond_predict_scale;
    dppo_activation_kind activation;
    dppo_module *blocks[2];                     /* Conv1dBlock */
    dppo_linear_layer *encoder[ENCODER_LAYERS]; /* one, or all three */
    size_t encoder_layers;
    dppo_conv_layer *residual_conv; /* NULL where the channels stay the same */
} residual_block1d;

/* cond_encoder is a Sequential. Larger: linear, activation, linear, activation, linear. Else: activation,
 * linear. */
static dppo_status add_encoder(residual_block1d *self, dppo_generator *generator,
                               const dppo_residual_block_options *o) {
    static const char *const names[] = {"0", "2", "4"};
    int64_t width = self->out_channels * (o->cond_predict_scale ? 2 : 1), in = o->cond_dim;
    dppo_module *encoder = NULL;
    DPPO_TRY(dppo_add_container(&self->module, "cond_encoder", "Sequential", &encoder));
    self->encoder_layers = o->larger_encoder ? ENCODER_LAYERS : 1;
    for (size_t i = 0; i < self->encoder_layers; i++, in = width) {
        const char *name = o->larger_encoder ? names[i] : "1";
        DPPO_TRY(dppo_add_linear(encoder, name, generator, in, width, &self->encoder[i]));
    }
    return DPPO_OK;
}

static dppo_status fill(residual_block1d *self, dppo_generator *generator, int64_t in_channels,
                        const dppo_residual_block_options *o) {
    dppo_module *blocks = NULL;
    int64_t out_channels = self->out_channels;
    DPPO_TRY(dppo_add_container(&self->module, "blocks", "ModuleList", &blocks));
    DPPO_TRY(dppo_conv1d_block_new(generator, in_channels, out_channels, &o->conv, &self->blocks[0]));
    DPPO_TRY(dppo_module_child(blocks, "0", self->blocks[0]));
    DPPO_TRY(dppo_conv1d_block_new(generator, out_channels, out_channels, &o->conv, &self->blocks[1]));
    DPPO_TRY(dppo_module_child(blocks, "1", self->blocks[1]));
    DPPO_TRY(dppo_activation_from_name(o->conv.activation_type, &self->activation));
    self->cond_predict_scale = o->cond_predict_scale;
    DPPO_TRY(add_encoder(self, generator, o));
    if (in_channels == out_channels) return DPPO_OK;
    const dppo_conv_options one = {.in_channels = in_channels,
                                   .out_channels = out_channels,
                                   .kernel_size = {1},
                                   .stride = {1},
                                   .bias = true};
    return dppo_add_conv(&self->module, "residual_conv", generator, DPPO_CONV1D, &one, &self->residual_conv);
}

dppo_status dppo_residual_block1d_new(dppo_generator *generator, int64_t in_channels, int64_t out_channels,
                                      const dppo_residual_block_options *options, dppo_module **module) {
    residual_block1d *self = dppo_module_new(sizeof *self, "ResidualBlock1D");
    *module = NULL;
    if (!self) return DPPO_NO_MEMORY;
    self->out_channels = out_channels;
    return dppo_build_finish(fill(self, generator, in_channels, options), &self->module, module);
}

dppo_status dppo_build_residual_block1d(const dppo_config *config, dppo_generator *generator,
                                        dppo_module **module) {
    static const char *const keys[] = {
        "in_channels",        "out_channels",   "cond_dim",        "kernel_size",   "n_groups",
        "cond_predict_scale", "larger_encoder", "activation_type", "groupnorm_eps", NULL};
    int64_t in_channels = 0, out_channels = 0;
    dppo_residual_block_options o = {0};
    DPPO_TRY(dppo_config_allow(config, "ResidualBlock1D", keys));
    DPPO_TRY(dppo_config_int(config, "in_channels", &in_channels));
    DPPO_TRY(dppo_config_int(config, "out_channels", &out_channels));
    DPPO_TRY(dppo_config_int(config, "cond_dim", &o.cond_dim));
    DPPO_TRY(dppo_conv_block_options_read(config, 5, "groupnorm_eps", &o.conv));
    DPPO_TRY(dppo_config_bool_or(config, "cond_predict_scale", false, &o.cond_predict_scale));
    DPPO_TRY(dppo_config_bool_or(config, "larger_encoder", false, &o.larger_encoder));
    return dppo_residual_block1d_new(generator, in_channels, out_channels, &o, module);
}

/* (B, cond_dim) -> (B, C, 1), or (B, 2 C, 1) where the scale is predicted */
static dppo_tensor *encode(dppo_cx *cx, const residual_block1d *self, dppo_tensor *cond) {
    if (self->encoder_layers == 1) cond = dppo_activation(cx, self->activation, cond);
    for (size_t i = 0; i < self->encoder_layers; i++) {
        if (i > 0) cond = dppo_activation(cx, self->activation, cond);
        cond = dppo_linear_layer_forward(cx, self->encoder[i], cond);
    }
    return dppo_unsqueeze(cx, cond, 2);
}

/* block1(film(block0(x))) + residual(x), film(h) = h + shift or scale h + shift */
dppo_tensor *dppo_residual_block1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                           dppo_tensor *cond) {
    const residual_block1d *self = (const residual_block1d *)module;
    int64_t C = self->out_channels;
    dppo_tensor *h = dppo_conv1d_block_forward(cx, self->blocks[0], x);
    dppo_tensor *embedding = encode(cx, self, cond);
    if (self->cond_predict_scale) {
        dppo_tensor *scale = dppo_narrow(cx, embedding, 1, 0, C),
                    *shift = dppo_narrow(cx, embedding, 1, C, C);
        h = dppo_add(cx, dppo_mul(cx, scale, h), shift);
    } else {
        h = dppo_add(cx, h, embedding);
    }
    h = dppo_conv1d_block_forward(cx, self->blocks[1], h);
    return dppo_add(cx, h, self->residual_conv ? dppo_conv_layer_forward(cx, self->residual_conv, x) : x);
}
