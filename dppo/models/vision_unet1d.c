/* VisionUnet1D: a Unet1D that sees images, too. */
#include "models/build.h"
#include "models/unet1d.h"
#include "models/vision.h"

typedef struct vision_unet1d {
    dppo_module module;
    dppo_vision vision;
    dppo_unet unet;
} vision_unet1d;

static dppo_status fill(vision_unet1d *self, const dppo_config *config, dppo_generator *generator,
                        dppo_module **backbone) {
    DPPO_TRY(dppo_build_backbone(config, generator, backbone));
    DPPO_TRY(dppo_add_vision(&self->module, config, generator, 0, backbone, &self->vision));
    return dppo_add_unet(&self->module, config, generator, self->vision.feature_dim, &self->unet);
}

dppo_status dppo_build_vision_unet1d(const dppo_config *config, dppo_generator *generator,
                                     dppo_module **module) {
    static const char *const keys[] = {DPPO_VISION_KEYS, DPPO_UNET_KEYS, NULL};
    dppo_module *backbone = NULL;
    DPPO_TRY(dppo_config_allow(config, "VisionUnet1D", keys));
    vision_unet1d *self = dppo_module_new(sizeof *self, "VisionUnet1D");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = fill(self, config, generator, &backbone);
    dppo_module_free(backbone);
    return dppo_build_finish(status, &self->module, module);
}

/* With cond_mlp_dims the images are compressed together with the encoded state: as in the original, that
 * works with spatial_emb only if the last of them is cond_dim. */
dppo_tensor *dppo_vision_unet1d_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x,
                                        dppo_tensor *time, dppo_cond cond) {
    const vision_unet1d *self = (const vision_unet1d *)module;
    dppo_tensor *state = dppo_unet_state(cx, &self->unet, cond.state);
    dppo_tensor *features = state ? dppo_vision_forward(cx, &self->vision, cond.rgb, state, true) : NULL;
    if (!features) return NULL;
    dppo_tensor *encoded = dppo_cat(cx, 2, (dppo_tensor *[]){features, state}, -1);
    return dppo_unet_forward(cx, &self->unet, x, time, encoded);
}
