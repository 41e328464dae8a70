/* VitEncoder: a small vision transformer (Dosovitskiy et al. 2021, with IBRL's embedding by two
 * convolutions): patches of the image plus their positions, through pre-norm attention layers. */
#include "models/build.h"
#include "models/vision.h"
#include "nn/init.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct transformer_layer {
    dppo_layer_norm_layer *layer_norm1, *layer_norm2;
    dppo_linear_layer *qkv_proj, *out_proj, *linear1, *linear2;
} transformer_layer;

typedef struct vit_encoder {
    dppo_module module;
    int64_t num_patch, embed_dim, num_heads;
    dppo_conv_layer *embed, *embed_again; /* embed1: the first only */
    dppo_group_norm_layer *embed_norm;    /* between the two, or NULL */
    dppo_tensor *pos_embed;               /* (1, P, E) */
    size_t depth;
    transformer_layer layers[DPPO_MAX_LAYERS];
    dppo_layer_norm_layer *norm;
} vit_encoder;

/* The constructor's arguments; the second half is VitEncoderConfig, of which patch_size and stride are there
 * and never looked at. */
typedef struct vit_arguments {
    int64_t num_channel, img_h, img_w;
    int64_t depth, embed_dim, num_heads, embed_norm;
    bool embed1;
} vit_arguments;

/* -- building
 * ---------------------------------------------------------------------------------------------------------
 */

/* ceil((size - kernel) / stride) + 1: more than the convolution gives where it does not come out even; then
 * the positions will not fit, as in the original. */
static int64_t patches_along(int64_t size, int64_t kernel, int64_t stride) {
    return (int64_t)ceil((double)(size - kernel) / (double)stride) + 1;
}

/* embed1: every patch of 8 x 8. embed2: overlapping ones, 8 x 8 at every fourth pixel, then 3 x 3 of those.
 */
static dppo_status add_patch_embed(vit_encoder *self, dppo_module *vit, const vit_arguments *a,
                                   dppo_generator *generator) {
    dppo_conv_options first = {.in_channels = a->num_channel,
                               .out_channels = a->embed_dim,
                               .kernel_size = {8, 8},
                               .stride = {8, 8},
                               .bias = true};
    dppo_module *patch_embed = NULL, *embed = NULL;
    DPPO_TRY(dppo_add_container(vit, "patch_embed", a->embed1 ? "PatchEmbed1" : "PatchEmbed2", &patch_embed));
    if (a->embed1) {
        self->num_patch = patches_along(a->img_h, 8, 8) * patches_along(a->img_w, 8, 8);
        return dppo_add_conv(patch_embed, "conv", generator, DPPO_CONV2D, &first, &self->embed);
    }
    first.stride[0] = first.stride[1] = 4;
    const dppo_conv_options again = {.in_channels = a->embed_dim,
                                     .out_channels = a->embed_dim,
                                     .kernel_size = {3, 3},
                                     .stride = {2, 2},
                                     .bias = true};
    self->num_patch = patches_along(patches_along(a->img_h, 8, 4), 3, 2) *
                      patches_along(patches_along(a->img_w, 8, 4), 3, 2);
    DPPO_TRY(dppo_add_container(patch_embed, "embed", "Sequential", &embed));
    DPPO_TRY(dppo_add_conv(embed, "0", generator, DPPO_CONV2D, &first, &self->embed));
    if (a->embed_norm) /* as many groups as channels */
        DPPO_TRY(dppo_add_group_norm(embed, "1", a->embed_dim, a->embed_dim, 1e-5, &self->embed_norm));
    return dppo_add_conv(embed, "3", generator, DPPO_CONV2D, &again, &self->embed_again);
}

static dppo_status add_layer(dppo_module *net, size_t index, int64_t E, dppo_generator *generator,
                             transformer_layer *l) {
    char name[24];
    dppo_module *layer = NULL, *mha = NULL;
    (void)snprintf(name, sizeof name, "%zu", index);
    DPPO_TRY(dppo_add_container(net, name, "TransformerLayer", &layer));
    DPPO_TRY(dppo_add_layer_norm(layer, "layer_norm1", E, 1e-5, &l->layer_norm1));
    DPPO_TRY(dppo_add_container(layer, "mha", "MultiHeadAttention", &mha));
    DPPO_TRY(dppo_add_linear(mha, "qkv_proj", generator, E, 3 * E, &l->qkv_proj));
    DPPO_TRY(dppo_add_linear(mha, "out_proj", generator, E, E, &l->out_proj));
    DPPO_TRY(dppo_add_layer_norm(layer, "layer_norm2", E, 1e-5, &l->layer_norm2));
    DPPO_TRY(dppo_add_linear(layer, "linear1", generator, E, 4 * E, &l->linear1));
    return dppo_add_linear(layer, "linear2", generator, 4 * E, E, &l->linear2);
}

/* After torch's own initialisation: positions and linear weights normal with std 0.02, biases zero. The
 * convolutions keep torch's. */
static dppo_status initialise(vit_encoder *self, dppo_generator *generator) {
    if (!generator) return DPPO_OK;
    DPPO_TRY(dppo_init_trunc_normal(generator, self->pos_embed, 0, 0.02, -2, 2));
    for (size_t i = 0; i < self->depth; i++) {
        transformer_layer *l = &self->layers[i];
        dppo_linear_layer *linears[] = {l->qkv_proj, l->out_proj, l->linear1, l->linear2};
        for (size_t j = 0; j < sizeof linears / sizeof *linears; j++) {
            DPPO_TRY(dppo_init_trunc_normal(generator, linears[j]->weight, 0, 0.02, -2, 2));
            DPPO_TRY(dppo_init_zeros(linears[j]->bias));
        }
    }
    return DPPO_OK;
}

static dppo_status fill(vit_encoder *self, const vit_arguments *a, dppo_generator *generator) {
    dppo_module *vit = NULL, *net = NULL;
    if (a->embed_dim < 1 || a->num_heads < 1 || a->embed_dim % a->num_heads != 0)
        return dppo_fail(DPPO_INVALID, "cfg.embed_dim: %lld cannot be cut into %lld heads",
                         (long long)a->embed_dim, (long long)a->num_heads);
    if (a->depth < 0 || a->depth > DPPO_MAX_LAYERS)
        return dppo_fail(DPPO_INVALID, "cfg.depth: %lld is not from 0 to %d", (long long)a->depth,
                         DPPO_MAX_LAYERS);
    self->embed_dim = a->embed_dim;
    self->num_heads = a->num_heads;
    self->depth = (size_t)a->depth;
    DPPO_TRY(dppo_add_container(&self->module, "vit", "MinVit", &vit));
    DPPO_TRY(add_patch_embed(self, vit, a, generator));
    if (self->num_patch < 1) return dppo_fail(DPPO_INVALID, "img_h and img_w: smaller than a patch");
    const int64_t positions[] = {1, self->num_patch, a->embed_dim};
    self->pos_embed = dppo_module_parameter(vit, "pos_embed", 3, positions);
    if (!self->pos_embed) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_add_container(vit, "net", "Sequential", &net));
    for (size_t i = 0; i < self->depth; i++)
        DPPO_TRY(add_layer(net, i, a->embed_dim, generator, &self->layers[i]));
    DPPO_TRY(dppo_add_layer_norm(vit, "norm", a->embed_dim, 1e-5, &self->norm));
    return initialise(self, generator);
}

/* A dataclass: hydra builds it from its _target_, or passes the plain node, whose keys are then attributes.
 */
static dppo_status read_cfg(const dppo_config *cfg, vit_arguments *a) {
    static const char *const keys[] = {"patch_size", "depth",       "embed_dim",  "num_heads",
                                       "stride",     "embed_style", "embed_norm", NULL};
    const char *style = NULL, *target = dppo_config_target(cfg);
    if (target && strcmp(target, "VitEncoderConfig") != 0)
        return dppo_fail(DPPO_INVALID, "cfg must be a VitEncoderConfig, not %s", target);
    DPPO_TRY(dppo_config_allow(cfg, "VitEncoderConfig", keys));
    DPPO_TRY(dppo_config_int_or(cfg, "depth", 1, &a->depth));
    DPPO_TRY(dppo_config_int_or(cfg, "embed_dim", 128, &a->embed_dim));
    DPPO_TRY(dppo_config_int_or(cfg, "num_heads", 4, &a->num_heads));
    DPPO_TRY(dppo_config_int_or(cfg, "embed_norm", 0, &a->embed_norm));
    DPPO_TRY(dppo_config_string_or(cfg, "embed_style", "embed2", &style));
    a->embed1 = strcmp(style, "embed1") == 0;
    if (a->embed1 || strcmp(style, "embed2") == 0) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "cfg.embed_style: %s is neither embed1 nor embed2", style);
}

dppo_status dppo_build_vit_encoder(const dppo_config *config, dppo_generator *generator,
                                   dppo_module **module) {
    static const char *const keys[] = {"obs_shape", "cfg", "num_channel", "img_h", "img_w", NULL};
    vit_arguments a = {0};
    DPPO_TRY(dppo_config_allow(config, "VitEncoder", keys)); /* obs_shape is only remembered there */
    const dppo_config *cfg = dppo_config_get(config, "cfg");
    if (dppo_config_type_of(cfg) != DPPO_CONFIG_MAP) return dppo_fail(DPPO_INVALID, "cfg is missing");
    DPPO_TRY(dppo_config_int_or(config, "num_channel", 3, &a.num_channel));
    DPPO_TRY(dppo_config_int_or(config, "img_h", 96, &a.img_h));
    DPPO_TRY(dppo_config_int_or(config, "img_w", 96, &a.img_w));
    DPPO_TRY(read_cfg(cfg, &a));
    vit_encoder *self = dppo_module_new(sizeof *self, "VitEncoder");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, &a, generator), &self->module, module);
}

int64_t dppo_vit_encoder_num_patch(const dppo_module *module) {
    return ((const vit_encoder *)module)->num_patch;
}

int64_t dppo_vit_encoder_patch_repr_dim(const dppo_module *module) {
    return ((const vit_encoder *)module)->embed_dim;
}

/* -- forward
 * ---------------------------------------------------------------------------------------------------------
 */

/* (B, C, H, W) -> (B, P, E) */
static dppo_tensor *patch_embed(dppo_cx *cx, const vit_encoder *self, dppo_tensor *x) {
    x = dppo_conv_layer_forward(cx, self->embed, x);
    if (self->embed_norm) x = dppo_group_norm_layer_forward(cx, self->embed_norm, x);
    if (self->embed_again) x = dppo_conv_layer_forward(cx, self->embed_again, dppo_relu(cx, x));
    return x ? dppo_transpose(cx, dppo_flatten(cx, x, 2, 3), 1, 2) : NULL;
}

/* softmax(q k' / sqrt(D)) v for each of H heads of size D, x (B, P, E) */
static dppo_tensor *attention(dppo_cx *cx, const vit_encoder *self, const transformer_layer *l,
                              dppo_tensor *x) {
    if (!x) return NULL;
    int64_t B = x->shape[0], P = x->shape[1], E = self->embed_dim, H = self->num_heads, D = E / H;
    dppo_tensor *qkv = dppo_linear_layer_forward(cx, l->qkv_proj, x), *p[3];
    qkv = dppo_reshape(cx, qkv, 5, (const int64_t[]){B, P, 3, H, D});
    qkv = dppo_permute(cx, qkv, 5, (const int[]){2, 0, 3, 1, 4});
    for (int i = 0; i < 3; i++)
        p[i] = dppo_select(cx, qkv, 0, i); /* (B, H, P, D) */
    p[0] = dppo_div_scalar(cx, p[0], sqrt((double)D));
    dppo_tensor *weights = dppo_softmax(cx, dppo_matmul(cx, p[0], dppo_transpose(cx, p[1], 2, 3)), -1);
    x = dppo_transpose(cx, dppo_matmul(cx, weights, p[2]), 1, 2);
    x = dppo_reshape(cx, x, 3, (const int64_t[]){B, P, E});
    return dppo_linear_layer_forward(cx, l->out_proj, x);
}

static dppo_tensor *feed_forward(dppo_cx *cx, const transformer_layer *l, dppo_tensor *x) {
    return dppo_linear_layer_forward(cx, l->linear2,
                                     dppo_gelu(cx, dppo_linear_layer_forward(cx, l->linear1, x)));
}

dppo_tensor *dppo_vit_encoder_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *obs,
                                      bool flatten) {
    const vit_encoder *self = (const vit_encoder *)module;
    dppo_tensor *x = dppo_sub_scalar(cx, dppo_div_scalar(cx, obs, 255), 0.5);
    x = dppo_add(cx, patch_embed(cx, self, x), self->pos_embed);
    for (size_t i = 0; i < self->depth; i++) {
        const transformer_layer *l = &self->layers[i];
        x = dppo_add(cx, x, attention(cx, self, l, dppo_layer_norm_layer_forward(cx, l->layer_norm1, x)));
        x = dppo_add(cx, x, feed_forward(cx, l, dppo_layer_norm_layer_forward(cx, l->layer_norm2, x)));
    }
    x = dppo_layer_norm_layer_forward(cx, self->norm, x);
    return flatten ? dppo_flatten(cx, x, 1, 2) : x;
}
