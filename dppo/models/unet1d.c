/* Unet1D: predicts the noise in an action chunk by convolutions along time: down to shorter lengths with more
 * channels, and up again, each level seeing what the same length was on the way down. Denoising step and
 * state modulate every residual block. */
#include "models/unet1d.h"
#include "models/build.h"

#include <stdio.h>

/* -- the U-net
 * ---------------------------------------------------------------------------------------------------------
 */

/* The constructor's arguments. */
typedef struct unet_arguments {
    int64_t channels[DPPO_MAX_LEVELS + 1]; /* action_dim, then dim dim_mults[i] */
    size_t levels;
    int64_t time_dim, dim, cond_dim;
    dppo_residual_block_options block;
    dppo_mlp_options cond_mlp; /* dims: cond_dim, then cond_mlp_dims */
    bool smaller_encoder;
} unet_arguments;

static dppo_status read_channels(const dppo_config *config, unet_arguments *a) {
    static const int64_t usual[] = {1, 2, 4, 8};
    DPPO_TRY(dppo_config_int(config, "action_dim", &a->channels[0]));
    DPPO_TRY(dppo_config_int_or(config, "dim", 32, &a->dim));
    DPPO_TRY(dppo_config_ints(config, "dim_mults", a->channels + 1, DPPO_MAX_LEVELS, &a->levels));
    for (size_t i = 0; a->levels == 0 && i < 4; i++)
        a->channels[i + 1] = usual[i];
    if (a->levels == 0) a->levels = 4;
    for (size_t i = 1; i <= a->levels; i++)
        a->channels[i] *= a->dim;
    return DPPO_OK;
}

static dppo_status read_arguments(const dppo_config *config, int64_t visual_dim, unet_arguments *a) {
    DPPO_TRY(read_channels(config, a));
    DPPO_TRY(dppo_config_int(config, "cond_dim", &a->cond_dim));
    DPPO_TRY(dppo_config_int_or(config, "diffusion_step_embed_dim", 32, &a->time_dim));
    DPPO_TRY(dppo_config_bool_or(config, "smaller_encoder", false, &a->smaller_encoder));
    DPPO_TRY(dppo_config_bool_or(config, "cond_predict_scale", false, &a->block.cond_predict_scale));
    DPPO_TRY(dppo_conv_block_options_read(config, 5, "groupnorm_eps", &a->block.conv));
    a->cond_mlp.activation_type = a->block.conv.activation_type;
    a->cond_mlp.out_activation_type = "Identity";
    DPPO_TRY(dppo_mlp_options_add(&a->cond_mlp, a->cond_dim));
    DPPO_TRY(dppo_mlp_options_add_list(&a->cond_mlp, config, "cond_mlp_dims"));
    a->block.larger_encoder = a->cond_mlp.dim_count == 1 && !a->smaller_encoder;
    a->block.cond_dim = a->time_dim + a->cond_mlp.dims[a->cond_mlp.dim_count - 1] + visual_dim;
    return DPPO_OK;
}

static dppo_status add_block(dppo_module *list, const char *name, dppo_generator *generator, int64_t in,
                             int64_t out, const unet_arguments *a, dppo_module **block) {
    DPPO_TRY(dppo_residual_block1d_new(generator, in, out, &a->block, block));
    return dppo_module_child(list, name, *block);
}

typedef dppo_status new_resample(dppo_generator *generator, int64_t dim, dppo_module **module);

/* A ModuleList: block in -> out, block out -> out, resampling unless `resample` is NULL (Identity there). */
static dppo_status add_level(dppo_module *levels, size_t index, dppo_generator *generator, int64_t in,
                             int64_t out, new_resample *resample, const unet_arguments *a,
                             dppo_unet_level *level) {
    char name[24];
    dppo_module *list = NULL;
    (void)snprintf(name, sizeof name, "%zu", index);
    DPPO_TRY(dppo_add_container(levels, name, "ModuleList", &list));
    DPPO_TRY(add_block(list, "0", generator, in, out, a, &level->first));
    DPPO_TRY(add_block(list, "1", generator, out, out, a, &level->second));
    if (!resample) return DPPO_OK;
    DPPO_TRY(resample(generator, out, &level->resample));
    return dppo_module_child(list, "2", level->resample);
}

static dppo_status add_final_conv(dppo_module *owner, dppo_generator *generator, const unet_arguments *a,
                                  dppo_unet *unet) {
    dppo_module *final = NULL;
    const dppo_conv_options to_actions = {.in_channels = a->dim,
                                          .out_channels = a->channels[0],
                                          .kernel_size = {1},
                                          .stride = {1},
                                          .bias = true};
    DPPO_TRY(dppo_add_container(owner, "final_conv", "Sequential", &final));
    DPPO_TRY(dppo_conv1d_block_new(generator, a->dim, a->dim, &a->block.conv, &unet->final_block));
    DPPO_TRY(dppo_module_child(final, "0", unet->final_block));
    return dppo_add_conv(final, "1", generator, DPPO_CONV1D, &to_actions, &unet->final_conv);
}

/* The middle is made before the way down. Going up, every level doubles the length, also the last: there are
 * as many ups as there are halvings. Its first block sees its input and the level's own way down. */
static dppo_status add_levels(dppo_module *owner, dppo_generator *generator, const unet_arguments *a,
                              dppo_unet *unet) {
    const int64_t *c = a->channels;
    size_t n = a->levels;
    dppo_module *mid = NULL, *down = NULL, *up = NULL;
    DPPO_TRY(dppo_add_container(owner, "mid_modules", "ModuleList", &mid));
    DPPO_TRY(add_block(mid, "0", generator, c[n], c[n], a, &unet->mid[0]));
    DPPO_TRY(add_block(mid, "1", generator, c[n], c[n], a, &unet->mid[1]));
    DPPO_TRY(dppo_add_container(owner, "down_modules", "ModuleList", &down));
    for (size_t i = 0; i < n; i++)
        DPPO_TRY(add_level(down, i, generator, c[i], c[i + 1], i + 1 < n ? dppo_downsample1d_new : NULL, a,
                           &unet->down[i]));
    unet->down_count = n;
    DPPO_TRY(dppo_add_container(owner, "up_modules", "ModuleList", &up));
    for (size_t i = 0; i + 1 < n; i++)
        DPPO_TRY(
            add_level(up, i, generator, 2 * c[n - i], c[n - i - 1], dppo_upsample1d_new, a, &unet->up[i]));
    unet->up_count = n - 1;
    return DPPO_OK;
}

dppo_status dppo_add_unet(dppo_module *owner, const dppo_config *config, dppo_generator *generator,
                          int64_t visual_dim, dppo_unet *unet) {
    unet_arguments a = {0};
    DPPO_TRY(read_arguments(config, visual_dim, &a));
    DPPO_TRY(dppo_add_time_embedding(owner, "time_mlp", generator, a.time_dim, 4, &unet->time));
    if (a.cond_mlp.dim_count > 1) {
        DPPO_TRY(dppo_residual_mlp_new(&a.cond_mlp, generator, &unet->cond_mlp));
        DPPO_TRY(dppo_module_child(owner, "cond_mlp", unet->cond_mlp));
    }
    DPPO_TRY(add_levels(owner, generator, &a, unet));
    return add_final_conv(owner, generator, &a, unet);
}

dppo_tensor *dppo_unet_state(dppo_cx *cx, const dppo_unet *unet, dppo_tensor *state) {
    state = dppo_flatten_rows(cx, state);
    return unet->cond_mlp ? dppo_residual_mlp_forward(cx, unet->cond_mlp, state) : state;
}

static dppo_tensor *level_forward(dppo_cx *cx, const dppo_unet_level *level, dppo_tensor *x,
                                  dppo_tensor *feature) {
    x = dppo_residual_block1d_forward(cx, level->first, x, feature);
    return dppo_residual_block1d_forward(cx, level->second, x, feature);
}

dppo_tensor *dppo_unet_forward(dppo_cx *cx, const dppo_unet *unet, dppo_tensor *x, dppo_tensor *time,
                               dppo_tensor *cond) {
    dppo_tensor *skipped[DPPO_MAX_LEVELS];
    dppo_tensor *parts[] = {dppo_time_embedding_forward(cx, &unet->time, time), cond};
    dppo_tensor *feature = parts[0] && cond ? dppo_cat(cx, 2, parts, -1) : NULL;
    x = dppo_transpose(cx, x, 1, 2);
    for (size_t i = 0; i < unet->down_count; i++) {
        skipped[i] = x = level_forward(cx, &unet->down[i], x, feature);
        if (unet->down[i].resample) x = dppo_downsample1d_forward(cx, unet->down[i].resample, x);
    }
    for (int i = 0; i < 2; i++)
        x = dppo_residual_block1d_forward(cx, unet->mid[i], x, feature);
    for (size_t i = 0; i < unet->up_count; i++) {
        dppo_tensor *both[] = {x, skipped[unet->down_count - 1 - i]};
        x = level_forward(cx, &unet->up[i], x && both[1] ? dppo_cat(cx, 2, both, 1) : NULL, feature);
        x = dppo_upsample1d_forward(cx, unet->up[i].resample, x);
    }
    x = dppo_conv_layer_forward(cx, unet->final_conv, dppo_conv1d_block_forward(cx, unet->final_block, x));
    return dppo_transpose(cx, x, 1, 2);
}

/* -- Unet1D
 * ------------------------------------------------------------------------------------------------------------
 */

typedef struct unet1d {
    dppo_module module;
    dppo_unet unet;
} unet1d;

dppo_status dppo_build_unet1d(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    static const char *const keys[] = {DPPO_UNET_KEYS, NULL};
    DPPO_TRY(dppo_config_allow(config, "Unet1D", keys));
    unet1d *self = dppo_module_new(sizeof *self, "Unet1D");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = dppo_add_unet(&self->module, config, generator, 0, &self->unet);
    return dppo_build_finish(status, &self->module, module);
}

dppo_tensor *dppo_unet1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x, dppo_tensor *time,
                                 dppo_cond cond) {
    const dppo_unet *unet = &((const unet1d *)module)->unet;
    return dppo_unet_forward(cx, unet, x, time, dppo_unet_state(cx, unet, cond.state));
}
