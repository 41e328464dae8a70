/* From images to features: what VisionDiffusionMLP, VisionUnet1D, Gaussian_VisionMLP and ViTCritic share. */
#include "models/vision.h"
#include "models/build.h"

enum { PAD = 4 }; /* of the random shifts */

dppo_status dppo_build_backbone(const dppo_config *config, dppo_generator *generator,
                                dppo_module **backbone) {
    const dppo_nested nested[] = {{"backbone", (const char *const[]){"VitEncoder", NULL}, backbone, false}};
    return dppo_build_nested(config, generator, 1, nested);
}

/* One camera: compress; two: compress1, and compress2, which starts as a copy of it. */
static dppo_status add_spatial_embs(dppo_module *owner, dppo_generator *generator,
                                    const dppo_spatial_emb_options *o, dppo_vision *v) {
    static const char *const names[] = {"compress1", "compress2"};
    for (int i = 0; i < v->num_img; i++) {
        DPPO_TRY(dppo_spatial_emb_new(i == 0 ? generator : NULL, o, &v->spatial_emb[i]));
        DPPO_TRY(dppo_module_child(owner, v->num_img > 1 ? names[i] : "compress", v->spatial_emb[i]));
        if (i > 0) DPPO_TRY(dppo_module_copy(v->spatial_emb[i], v->spatial_emb[0]));
    }
    v->feature_dim = o->proj_dim * v->num_img;
    return DPPO_OK;
}

/* compress is a Sequential: linear from all patches, LayerNorm, dropout, ReLU. */
static dppo_status add_linear_compress(dppo_module *owner, const dppo_config *config,
                                       dppo_generator *generator, const dppo_spatial_emb_options *o,
                                       dppo_vision *v) {
    dppo_module *compress = NULL;
    if (v->num_img > 1)
        return dppo_fail(DPPO_INVALID, "num_img: %lld images need spatial_emb", (long long)v->num_img);
    DPPO_TRY(dppo_config_int_or(config, "visual_feature_dim", 128, &v->feature_dim));
    DPPO_TRY(dppo_add_container(owner, "compress", "Sequential", &compress));
    DPPO_TRY(
        dppo_add_linear(compress, "0", generator, o->num_patch * o->patch_dim, v->feature_dim, &v->linear));
    return dppo_add_layer_norm(compress, "1", v->feature_dim, 1e-5, &v->norm);
}

dppo_status dppo_add_vision(dppo_module *owner, const dppo_config *config, dppo_generator *generator,
                            int64_t spatial_emb, dppo_module **backbone, dppo_vision *v) {
    dppo_spatial_emb_options o = {0};
    DPPO_TRY(dppo_config_int(config, "cond_dim", &o.prop_dim));
    DPPO_TRY(dppo_config_int_or(config, "spatial_emb", spatial_emb, &o.proj_dim));
    DPPO_TRY(dppo_config_float_or(config, "dropout", 0, &o.dropout));
    DPPO_TRY(dppo_config_int_or(config, "num_img", 1, &v->num_img));
    DPPO_TRY(dppo_config_int_or(config, "img_cond_steps", 1, &v->img_cond_steps));
    DPPO_TRY(dppo_config_bool_or(config, "augment", false, &v->augment));
    if (v->num_img < 1 || v->num_img > DPPO_MAX_CAMERAS) /* the original looks at two, whatever it is told */
        return dppo_fail(DPPO_INVALID, "num_img: %lld is neither 1 nor 2", (long long)v->num_img);
    if (v->img_cond_steps < 1)
        return dppo_fail(DPPO_INVALID, "img_cond_steps: %lld is not positive", (long long)v->img_cond_steps);
    v->dropout = o.dropout;
    owner->draws = v->augment || v->dropout > 0;
    DPPO_TRY(dppo_build_adopt(owner, "backbone", backbone, &v->backbone));
    o.num_patch = dppo_vit_encoder_num_patch(v->backbone);
    o.patch_dim = dppo_vit_encoder_patch_repr_dim(v->backbone);
    if (o.proj_dim <= 0) return add_linear_compress(owner, config, generator, &o, v);
    if (o.proj_dim < 2)
        return dppo_fail(DPPO_INVALID, "spatial_emb: %lld is a dimension, from 2 on, or 0 for none",
                         (long long)o.proj_dim);
    return add_spatial_embs(owner, generator, &o, v);
}

/* The images of one camera, steps joined as channels: (B, T, C, H, W) -> (B, T C, H, W). A step's channels
 * are those of the first camera, then those of the second. */
static dppo_tensor *camera(dppo_cx *cx, const dppo_vision *v, dppo_tensor *rgb, int64_t index) {
    int64_t steps = rgb->shape[1], channels = rgb->shape[2] / v->num_img;
    rgb = dppo_narrow(cx, rgb, 2, index * channels, channels);
    int64_t taken = steps < v->img_cond_steps ? steps : v->img_cond_steps;
    rgb = dppo_narrow(cx, rgb, 1, steps - taken, taken);
    return dppo_to_dtype(cx, dppo_flatten(cx, rgb, 1, 2), DPPO_F32);
}

static bool images_fit(dppo_cx *cx, const dppo_vision *v, const dppo_tensor *rgb) {
    char text[128];
    /* Several images are told apart by their 3 channels; with them the original cannot leave steps out. */
    bool fit = rgb->ndim == 5 &&
               (v->num_img == 1 || (rgb->shape[2] == 3 * v->num_img && rgb->shape[1] <= v->img_cond_steps));
    if (!fit)
        (void)dppo_context_fail(cx, DPPO_INVALID, "rgb %s: not %lld images a step, %lld steps",
                                dppo_shape_text(rgb->ndim, rgb->shape, text, sizeof text),
                                (long long)v->num_img, (long long)v->img_cond_steps);
    return fit;
}

static dppo_tensor *linear_compress(dppo_cx *cx, const dppo_vision *v, dppo_tensor *patches) {
    dppo_tensor *x = dppo_linear_layer_forward(cx, v->linear, dppo_flatten(cx, patches, 1, -1));
    x = dppo_layer_norm_layer_forward(cx, v->norm, x);
    return dppo_relu(cx, dppo_dropout(cx, x, v->dropout, v->norm->module.training));
}

dppo_tensor *dppo_vision_forward(dppo_cx *cx, const dppo_vision *v, dppo_tensor *rgb, dppo_tensor *state,
                                 bool augment) {
    dppo_tensor *x[DPPO_MAX_CAMERAS] = {NULL};
    int count = (int)v->num_img;
    if (!rgb) return dppo_context_fail(cx, DPPO_INVALID, "rgb: a network with a backbone needs images");
    if (!images_fit(cx, v, rgb)) return NULL;
    for (int i = 0; i < count; i++) {
        x[i] = camera(cx, v, rgb, i);
        if (v->augment && augment) x[i] = dppo_random_shifts(cx, x[i], PAD);
    }
    for (int i = 0; i < count; i++)
        x[i] = dppo_vit_encoder_forward(cx, v->backbone, x[i], false);
    for (int i = 0; i < count; i++) {
        x[i] = v->linear ? linear_compress(cx, v, x[i])
                         : dppo_spatial_emb_forward(cx, v->spatial_emb[i], x[i], state);
        if (!x[i]) return NULL;
    }
    return count == 1 ? x[0] : dppo_cat(cx, count, x, -1);
}
