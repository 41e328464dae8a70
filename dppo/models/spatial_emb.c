/* SpatialEmb: compresses the patches of an image, each together with the state, to one vector. */
#include "models/build.h"
#include "models/vision.h"
#include "nn/init.h"

typedef struct spatial_emb {
    dppo_module module;
    int64_t prop_dim;
    double dropout;
    dppo_linear_layer *input_proj;
    dppo_layer_norm_layer *norm;
    dppo_tensor *weight; /* (1, E, proj_dim) */
} spatial_emb;

/* input_proj is a Sequential: linear, LayerNorm, ReLU. */
static dppo_status fill(spatial_emb *self, dppo_generator *generator, const dppo_spatial_emb_options *o) {
    const int64_t shape[] = {1, o->patch_dim, o->proj_dim};
    dppo_module *input_proj = NULL;
    self->prop_dim = o->prop_dim;
    self->dropout = o->dropout;
    DPPO_TRY(dppo_add_container(&self->module, "input_proj", "Sequential", &input_proj));
    DPPO_TRY(dppo_add_linear(input_proj, "0", generator, o->num_patch + o->prop_dim, o->proj_dim,
                             &self->input_proj));
    DPPO_TRY(dppo_add_layer_norm(input_proj, "1", o->proj_dim, 1e-5, &self->norm));
    self->weight = dppo_module_parameter(&self->module, "weight", 3, shape);
    if (!self->weight) return DPPO_NO_MEMORY;
    return generator ? dppo_init_normal(generator, self->weight, 0, 1) : DPPO_OK;
}

dppo_status dppo_spatial_emb_new(dppo_generator *generator, const dppo_spatial_emb_options *options,
                                 dppo_module **module) {
    spatial_emb *self = dppo_module_new(sizeof *self, "SpatialEmb");
    *module = NULL;
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, generator, options), &self->module, module);
}

dppo_status dppo_build_spatial_emb(const dppo_config *config, dppo_generator *generator,
                                   dppo_module **module) {
    static const char *const keys[] = {"num_patch", "patch_dim", "prop_dim", "proj_dim", "dropout", NULL};
    dppo_spatial_emb_options o = {0};
    DPPO_TRY(dppo_config_allow(config, "SpatialEmb", keys));
    DPPO_TRY(dppo_config_int(config, "num_patch", &o.num_patch));
    DPPO_TRY(dppo_config_int(config, "patch_dim", &o.patch_dim));
    DPPO_TRY(dppo_config_int(config, "prop_dim", &o.prop_dim));
    DPPO_TRY(dppo_config_int(config, "proj_dim", &o.proj_dim));
    DPPO_TRY(dppo_config_float(config, "dropout", &o.dropout));
    return dppo_spatial_emb_new(generator, &o, module);
}

/* sum over e of weight[e] * relu(norm(linear([feat'[e], prop]))): the patches are the features of each of the
 * E dimensions */
dppo_tensor *dppo_spatial_emb_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *feat,
                                      dppo_tensor *prop) {
    const spatial_emb *self = (const spatial_emb *)module;
    feat = dppo_transpose(cx, feat, 1, 2);
    if (self->prop_dim > 0 && feat) {
        const int64_t repeats[] = {1, feat->shape[1], 1};
        prop = dppo_repeat(cx, dppo_unsqueeze(cx, prop, 1), 3, repeats);
        feat = prop ? dppo_cat(cx, 2, (dppo_tensor *[]){feat, prop}, -1) : NULL;
    }
    dppo_tensor *y = dppo_linear_layer_forward(cx, self->input_proj, feat);
    y = dppo_relu(cx, dppo_layer_norm_layer_forward(cx, self->norm, y));
    dppo_tensor *z = dppo_sum(cx, dppo_mul(cx, self->weight, y), 1, (const int[]){1}, false);
    return dppo_dropout(cx, z, self->dropout, self->module.training);
}
