/* How policies and critics see images (model/common/vit.py and modules.py).
 *
 * B batch, T steps, C channels, H height, W width; P patches of an image, E what a patch is encoded to. */
#ifndef DPPO_MODELS_VISION_H
#define DPPO_MODELS_VISION_H

#include "models/networks.h"
#include "models/parts.h"

enum { DPPO_MAX_CAMERAS = 2 };

/* -- VitEncoder
 * ---------------------------------------------------------------------------------------------------------
 */
/* obs (B, C, H, W) of 0 ... 255 -> (B, P, E), or (B, P E) when `flatten`. */
dppo_tensor *dppo_vit_encoder_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *obs, bool flatten);
int64_t dppo_vit_encoder_num_patch(const dppo_module *module);
int64_t dppo_vit_encoder_patch_repr_dim(const dppo_module *module);

/* -- SpatialEmb
 * ---------------------------------------------------------------------------------------------------------
 */
typedef struct dppo_spatial_emb_options {
    int64_t num_patch, patch_dim, prop_dim, proj_dim;
    double dropout;
} dppo_spatial_emb_options;
/* Owned by the caller. A NULL generator draws nothing. */
dppo_status dppo_spatial_emb_new(dppo_generator *generator, const dppo_spatial_emb_options *options,
                                 dppo_module **module);
/* feat (B, P, E), prop (B, prop_dim), which is not looked at when prop_dim is 0 -> (B, proj_dim). */
dppo_tensor *dppo_spatial_emb_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *feat,
                                      dppo_tensor *prop);

/* -- RandomShiftsAug
 * ---------------------------------------------------------------------------------------------------------
 */
/* x (B, C, H, H): each image moved by up to `pad` pixels, its edge repeated; draws randint (B, 1, 1, 2). */
dppo_tensor *dppo_random_shifts(dppo_cx *cx, dppo_tensor *x, int64_t pad);
dppo_tensor *dppo_random_shifts_aug_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);

/* -- from images to features
 * ---------------------------------------------------------------------------------------------------------
 */
/* Everything about images that a network with a backbone has; borrowed from its registry. */
typedef struct dppo_vision {
    dppo_module *backbone;                      /* VitEncoder */
    dppo_module *spatial_emb[DPPO_MAX_CAMERAS]; /* one for each camera; or NULL and these: */
    dppo_linear_layer *linear;
    dppo_layer_norm_layer *norm;
    double dropout;
    int64_t num_img, img_cond_steps, feature_dim; /* features of all cameras together */
    bool augment;
} dppo_vision;

/* The keys of the config that dppo_add_vision reads beside those of the networks, for dppo_config_allow(). */
#define DPPO_VISION_KEYS                                                                                     \
    "backbone", "cond_dim", "img_cond_steps", "spatial_emb", "visual_feature_dim", "dropout", "num_img",     \
        "augment"

/* Builds the config's backbone, as hydra does before the constructor runs; owned by the caller. */
dppo_status dppo_build_backbone(const dppo_config *config, dppo_generator *generator, dppo_module **backbone);
/* Registers *backbone (then set to NULL) and what compresses its output in `owner`. With spatial_emb 0 (its
 * default is `spatial_emb`) the patches are compressed by one linear layer. */
dppo_status dppo_add_vision(dppo_module *owner, const dppo_config *config, dppo_generator *generator,
                            int64_t spatial_emb, dppo_module **backbone, dppo_vision *vision);
/* rgb (B, T, C, H, W), of which the last img_cond_steps steps are taken; state (B, n) -> (B, feature_dim).
 * `augment`: shift the images, if the config says so. */
dppo_tensor *dppo_vision_forward(dppo_cx *cx, const dppo_vision *vision, dppo_tensor *rgb, dppo_tensor *state,
                                 bool augment);

#endif
