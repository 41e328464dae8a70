/* Entries of the networks that see images, of the U-net, and of what both are made of. */
#include "models/unet1d.h"
#include "models/vision.h"
#include "parity/entries_models.h"

typedef dppo_tensor *forward_function(dppo_cx *cx, const dppo_module *module, dppo_tensor *x);

static dppo_status call_forward(dppo_call *call, forward_function *forward) {
    dppo_module *module;
    dppo_tensor *x;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, "x", &x));
    return dppo_call_output(call, "result", forward(dppo_call_context(call), module, x));
}

static dppo_status call_conv1d_block(dppo_call *call) {
    return call_forward(call, dppo_conv1d_block_forward);
}

static dppo_status call_downsample1d(dppo_call *call) {
    return call_forward(call, dppo_downsample1d_forward);
}

static dppo_status call_upsample1d(dppo_call *call) {
    return call_forward(call, dppo_upsample1d_forward);
}

static dppo_status call_random_shifts_aug(dppo_call *call) {
    return call_forward(call, dppo_random_shifts_aug_forward);
}

/* Two plain inputs, by name. */
static dppo_status call_two(dppo_call *call, const char *first, const char *second,
                            dppo_tensor *(*forward)(dppo_cx *cx, const dppo_module *module, dppo_tensor *a,
                                                    dppo_tensor *b)) {
    dppo_module *module;
    dppo_tensor *a, *b;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, first, &a));
    DPPO_TRY(dppo_call_input(call, second, &b));
    return dppo_call_output(call, "result", forward(dppo_call_context(call), module, a, b));
}

static dppo_status call_residual_block1d(dppo_call *call) {
    return call_two(call, "x", "cond", dppo_residual_block1d_forward);
}

static dppo_status call_spatial_emb(dppo_call *call) {
    return call_two(call, "feat", "prop", dppo_spatial_emb_forward);
}

static dppo_status call_vit_encoder(dppo_call *call) {
    dppo_module *module;
    dppo_tensor *obs;
    bool flatten = false;
    DPPO_TRY(dppo_call_build(call, &module));
    DPPO_TRY(dppo_call_input(call, "obs", &obs));
    DPPO_TRY(dppo_config_bool_or(dppo_call_case(call)->args, "flatten", false, &flatten));
    dppo_tensor *result = dppo_vit_encoder_forward(dppo_call_context(call), module, obs, flatten);
    return dppo_call_output(call, "result", result);
}

const dppo_entry dppo_entries_vision[] = {
    {"Conv1dBlock", call_conv1d_block},
    {"Downsample1d", call_downsample1d},
    {"Gaussian_VisionMLP", dppo_call_gaussian_network},
    {"RandomShiftsAug", call_random_shifts_aug},
    {"ResidualBlock1D", call_residual_block1d},
    {"SpatialEmb", call_spatial_emb},
    {"Unet1D", dppo_call_noise_network},
    {"Upsample1d", call_upsample1d},
    {"ViTCritic", dppo_call_critic},
    {"VisionDiffusionMLP", dppo_call_noise_network},
    {"VisionUnet1D", dppo_call_noise_network},
    {"VitEncoder", call_vit_encoder},
    {NULL, NULL},
};
