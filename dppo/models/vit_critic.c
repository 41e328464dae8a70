/* ViTCritic: a CriticObs that sees images, too. */
#include "models/build.h"
#include "models/vision.h"

typedef struct vit_critic {
    dppo_module module;
    dppo_module *Q1; /* MLP or ResidualMLP */
    dppo_vision vision;
} vit_critic;

enum { SPATIAL_EMB = 128 }; /* unless the config says otherwise */

static dppo_status read_arguments(const dppo_config *config, dppo_mlp_options *o, bool *residual_style) {
    int64_t cond_dim = 0, spatial_emb = 0, num_img = 0;
    DPPO_TRY(dppo_config_int(config, "cond_dim", &cond_dim));
    DPPO_TRY(dppo_config_int_or(config, "spatial_emb", SPATIAL_EMB, &spatial_emb));
    DPPO_TRY(dppo_config_int_or(config, "num_img", 1, &num_img));
    if (spatial_emb < 1) return dppo_fail(DPPO_INVALID, "spatial_emb: a ViTCritic needs it");
    DPPO_TRY(dppo_mlp_options_add(o, spatial_emb * num_img + cond_dim));
    DPPO_TRY(dppo_critic_obs_options_read(config, o, residual_style));
    return DPPO_OK;
}

/* The backbone is built, and its weights drawn, before the constructor; the head is the base class's and
 * registered first. */
static dppo_status fill(vit_critic *self, const dppo_config *config, dppo_generator *generator,
                        dppo_module **backbone) {
    dppo_mlp_options options = {0};
    bool residual_style = false;
    DPPO_TRY(read_arguments(config, &options, &residual_style));
    DPPO_TRY(dppo_build_backbone(config, generator, backbone));
    DPPO_TRY(dppo_any_mlp_new(residual_style, &options, generator, &self->Q1));
    DPPO_TRY(dppo_module_child(&self->module, "Q1", self->Q1));
    return dppo_add_vision(&self->module, config, generator, SPATIAL_EMB, backbone, &self->vision);
}

/* Keys that it does not know fall into the original's **kwargs. */
dppo_status dppo_build_vit_critic(const dppo_config *config, dppo_generator *generator,
                                  dppo_module **module) {
    dppo_module *backbone = NULL;
    vit_critic *self = dppo_module_new(sizeof *self, "ViTCritic");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = fill(self, config, generator, &backbone);
    dppo_module_free(backbone);
    return dppo_build_finish(status, &self->module, module);
}

dppo_tensor *dppo_vit_critic_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond) {
    const vit_critic *self = (const vit_critic *)module;
    dppo_tensor *state = dppo_flatten_rows(cx, cond.state);
    if (!state) return NULL;
    dppo_tensor *features = dppo_vision_forward(cx, &self->vision, cond.rgb, state, !cond.no_augment);
    if (!features) return NULL;
    return dppo_any_mlp_forward(cx, self->Q1, dppo_cat(cx, 2, (dppo_tensor *[]){features, state}, -1));
}
