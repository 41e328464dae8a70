/* Networks that see images, and the U-net: initial weights as libtorch draws them, cameras and steps, shifts,
 * sampling, and gradients by finite differences. */
#include "diffusion/diffusion.h"
#include "models/build.h"
#include "models/gaussian.h"
#include "models/vision.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { B = 3, SIDE = 24, DO = 5, DA = 2, HORIZON = 4 };

#define BACKBONE(channels)                                                                                   \
    "\"backbone\":{\"_target_\":\"model.common.vit.VitEncoder\",\"obs_shape\":[3,24,24],\"num_channel\":"    \
    "" #channels ",\"img_h\":24,\"img_w\":24,\"cfg\":{\"patch_size\":8,\"depth\":2,\"embed_dim\":8,"         \
    "\"num_heads\":2,\"embed_style\":\"embed2\",\"embed_norm\":0}}"
#define HEAD "\"mlp_dims\":[16,16,16],\"residual_style\":true,\"cond_dim\":5,\"spatial_emb\":6"
#define ACTOR(target, more) "{\"_target_\":\"" target "\"," BACKBONE(3) ",\"action_dim\":2," more "}"
#define VISION_MLP ACTOR("VisionDiffusionMLP", HEAD ",\"horizon_steps\":4")
#define VISION_UNET                                                                                          \
    ACTOR("VisionUnet1D", "\"cond_dim\":5,\"spatial_emb\":6,\"dim\":4,\"dim_mults\":[1,2],\"n_groups\":2,"   \
                          "\"diffusion_step_embed_dim\":8,\"kernel_size\":3")
#define CRITIC "{\"_target_\":\"ViTCritic\"," BACKBONE(3) "," HEAD "}"
#define POLICY(actor)                                                                                        \
    "{\"_target_\":\"PPODiffusion\",\"actor\":" actor ",\"critic\":" CRITIC                                  \
    ",\"horizon_steps\":4,\"obs_dim\":5,\"action_dim\":2,\"denoising_steps\":5,\"ft_denoising_steps\":3,"    \
    "\"gamma_denoising\":0.9,\"clip_ploss_coef\":0.5,\"denoised_clip_value\":null}"

static dppo_status try_build(const char *json, dppo_generator *generator, dppo_module **module,
                             dppo_module **copy) {
    dppo_config *config = NULL;
    *module = NULL;
    assert_int_equal(dppo_config_parse_json(json, "test", &config), DPPO_OK);
    dppo_status status = dppo_build_module(config, generator, module);
    if (status == DPPO_OK && copy) status = dppo_build_copy(config, *module, copy);
    dppo_config_free(config);
    return status;
}

static dppo_module *build(const char *json, dppo_generator *generator) {
    dppo_module *module = NULL;
    if (try_build(json, generator, &module, NULL) != DPPO_OK) fail_msg("%s", dppo_message());
    return module;
}

/* What every test here needs: a generator, and a context that draws from it. */
typedef struct fixture {
    dppo_generator *generator;
    dppo_context *cx;
} fixture;

static fixture open_fixture(void) {
    fixture f = {.generator = dppo_generator_new(7)};
    f.cx = dppo_context_new(f.generator);
    assert_non_null(f.cx);
    return f;
}

static void close_fixture(fixture *f) {
    dppo_context_free(f->cx);
    dppo_generator_free(f->generator);
}

static dppo_tensor *checked(dppo_tensor *tensor) {
    if (!tensor) fail_msg("%s", dppo_message());
    return tensor;
}

/* Pixels of 0 ... 255. */
static dppo_tensor *images(dppo_cx *cx, int ndim, const int64_t *shape) {
    return checked(dppo_mul_scalar(cx, dppo_rand(cx, ndim, shape), 255));
}

static dppo_cond observe(dppo_cx *cx) {
    return (dppo_cond){.state = checked(dppo_randn(cx, 3, (const int64_t[]){B, 1, DO})),
                       .rgb = images(cx, 5, (const int64_t[]){B, 1, 3, SIDE, SIDE})};
}

static double difference(const dppo_tensor *a, const dppo_tensor *b) {
    double worst = 0;
    assert_true(dppo_same_shape(a, b));
    for (int64_t i = 0; i < dppo_numel(a); i++) {
        double gap = fabs(dppo_tensor_at(a, i) - dppo_tensor_at(b, i));
        if (!(gap <= worst)) worst = gap;
    }
    return worst;
}

static void assert_finite(const dppo_tensor *tensor, int ndim, const int64_t *shape) {
    assert_int_equal(tensor->ndim, ndim);
    for (int i = 0; i < ndim; i++)
        assert_int_equal(tensor->shape[i], shape[i]);
    for (int64_t i = 0; i < dppo_numel(tensor); i++)
        assert_true(isfinite(dppo_tensor_at(tensor, i)));
}

/* -- initial weights
 * ---------------------------------------------------------------------------------------------------------
 */

typedef struct expected_value {
    const char *name;
    int64_t index;
    float value;
} expected_value;

static void assert_values(const dppo_module *module, size_t count, const expected_value *expected) {
    dppo_named state = {0};
    assert_int_equal(dppo_module_state_dict(module, "", &state), DPPO_OK);
    for (size_t i = 0; i < count; i++) {
        const dppo_tensor *tensor = dppo_named_get(&state, expected[i].name);
        if (!tensor) fail_msg("%s is missing", expected[i].name);
        if (fabsf(dppo_f32(tensor)[expected[i].index] - expected[i].value) > 1e-6f)
            fail_msg("%s[%d]: %.9g, not %.9g", expected[i].name, (int)expected[i].index,
                     (double)dppo_f32(tensor)[expected[i].index], (double)expected[i].value);
    }
    dppo_named_free(&state);
}

/* The values that libtorch draws after torch.manual_seed(7) for the same layers in the same order, with
 * trunc_normal_ written out as uniform_, erfinv_, mul_ and clamp_. */
static void weights_are_drawn_in_torch_s_order(void **unused) {
    (void)unused;
    static const expected_value spatial[] = {{"input_proj.0.weight", 0, 0.0186668821f},
                                             {"input_proj.0.bias", 11, -0.120145515f},
                                             {"weight", 191, -0.811132729f}};
    static const expected_value vit[] = {{"vit.patch_embed.conv.bias", 7, 0.0341611579f},
                                         {"vit.pos_embed", 15, 0.0313104987f},
                                         {"vit.net.0.mha.qkv_proj.weight", 0, 0.00940001942f},
                                         {"vit.net.0.mha.qkv_proj.bias", 23, 0},
                                         {"vit.net.0.linear1.weight", 5, 0.0146309547f},
                                         {"vit.net.0.linear2.weight", 255, -0.00245770207f}};
    fixture f = open_fixture();
    dppo_module *module =
        build("{\"_target_\":\"SpatialEmb\",\"num_patch\":9,\"patch_dim\":16,\"prop_dim\":5,"
              "\"proj_dim\":12,\"dropout\":0}",
              f.generator);
    assert_values(module, sizeof spatial / sizeof *spatial, spatial);
    dppo_module_free(module);
    dppo_manual_seed(f.generator, 7);
    module = build("{\"_target_\":\"VitEncoder\",\"obs_shape\":[2,16,8],\"num_channel\":2,\"img_h\":16,"
                   "\"img_w\":8,\"cfg\":{\"_target_\":\"VitEncoderConfig\",\"embed_dim\":8,\"num_heads\":2,"
                   "\"embed_style\":\"embed1\"}}",
                   f.generator);
    assert_values(module, sizeof vit / sizeof *vit, vit);
    dppo_module_free(module);
    close_fixture(&f);
}

/* torch's order: what the base class registers, then backbone and compress; a module's own parameters before
 * its children's. */
static void names_come_in_torch_s_order(void **unused) {
    (void)unused;
    static const char *const names[] = {"Q1.layers.0.weight",
                                        "backbone.vit.pos_embed",
                                        "backbone.vit.patch_embed.embed.0.weight",
                                        "backbone.vit.net.0.layer_norm1.weight",
                                        "backbone.vit.net.1.linear2.bias",
                                        "backbone.vit.norm.weight",
                                        "compress.weight",
                                        "compress.input_proj.0.weight"};
    dppo_module *module = build(CRITIC, NULL);
    dppo_named state = {0};
    size_t next = 0, count = sizeof names / sizeof *names;
    assert_int_equal(dppo_module_state_dict(module, "", &state), DPPO_OK);
    for (size_t i = 0; i < state.count && next < count; i++)
        if (strcmp(state.entries[i].name, names[next]) == 0) next++;
    if (next < count) fail_msg("%s is missing or out of order", names[next]);
    dppo_named_free(&state);
    dppo_module_free(module);
}

static void a_copy_computes_the_same(void **unused) {
    (void)unused;
    static const char *const actors[] = {VISION_MLP, VISION_UNET};
    for (int i = 0; i < 2; i++) {
        fixture f = open_fixture();
        dppo_module *module = NULL, *copy = NULL;
        if (try_build(actors[i], f.generator, &module, &copy) != DPPO_OK) fail_msg("%s", dppo_message());
        dppo_cond cond = observe(f.cx);
        dppo_tensor *x = dppo_randn(f.cx, 3, (const int64_t[]){B, HORIZON, DA});
        dppo_tensor *time = dppo_randint(f.cx, 0, 20, 1, (const int64_t[]){B});
        dppo_tensor *a = checked(dppo_noise_network_forward(f.cx, module, x, time, cond));
        dppo_tensor *b = checked(dppo_noise_network_forward(f.cx, copy, x, time, cond));
        assert_finite(a, 3, x->shape);
        assert_true(difference(a, b) == 0);
        dppo_module_free(module);
        dppo_module_free(copy);
        close_fixture(&f);
    }
}

/* -- cameras and steps
 * ---------------------------------------------------------------------------------------------------------
 */

/* A module with nothing but eyes. */
static dppo_module *build_eyes(const char *json, dppo_generator *generator, dppo_vision *vision) {
    dppo_config *config = NULL;
    dppo_module *backbone = NULL, *module = dppo_module_new(sizeof *module, "Eyes");
    assert_int_equal(dppo_config_parse_json(json, "test", &config), DPPO_OK);
    dppo_status status = dppo_build_backbone(config, generator, &backbone);
    if (status == DPPO_OK) status = dppo_add_vision(module, config, generator, 0, &backbone, vision);
    if (status != DPPO_OK) fail_msg("%s", dppo_message());
    dppo_config_free(config);
    return module;
}

/* Two cameras start with equal encoders: exchanging their images exchanges their features. Steps are joined
 * as channels, earlier ones first. */
static void cameras_have_encoders_of_their_own(void **unused) {
    (void)unused;
    fixture f = open_fixture();
    dppo_vision v = {0};
    dppo_module *module =
        build_eyes("{" BACKBONE(6) ",\"cond_dim\":5,\"spatial_emb\":6,\"num_img\":2,\"img_cond_steps\":2}",
                   f.generator, &v);
    const int64_t one[] = {B, 2, 3, SIDE, SIDE};
    dppo_tensor *left = images(f.cx, 5, one), *right = images(f.cx, 5, one);
    dppo_tensor *state = dppo_randn(f.cx, 2, (const int64_t[]){B, DO});
    dppo_tensor *there = dppo_cat(f.cx, 2, (dppo_tensor *[]){left, right}, 2);
    dppo_tensor *back = dppo_cat(f.cx, 2, (dppo_tensor *[]){right, left}, 2);
    there = checked(dppo_vision_forward(f.cx, &v, there, state, true));
    back = checked(dppo_vision_forward(f.cx, &v, back, state, true));
    assert_finite(there, 2, (const int64_t[]){B, 12});
    assert_true(difference(there, back) > 1e-3);
    dppo_tensor *halves[] = {dppo_narrow(f.cx, back, 1, 6, 6), dppo_narrow(f.cx, back, 1, 0, 6)};
    assert_true(difference(there, dppo_cat(f.cx, 2, halves, 1)) == 0);

    dppo_tensor *steps[] = {dppo_select(f.cx, left, 1, 0), dppo_select(f.cx, left, 1, 1)};
    dppo_tensor *alone = dppo_vit_encoder_forward(f.cx, v.backbone, dppo_cat(f.cx, 2, steps, 1), false);
    alone = checked(dppo_spatial_emb_forward(f.cx, v.spatial_emb[0], alone, state));
    assert_true(difference(dppo_narrow(f.cx, there, 1, 0, 6), alone) == 0);
    dppo_module_free(module);
    close_fixture(&f);
}

static void only_the_last_steps_are_looked_at(void **unused) {
    (void)unused;
    fixture f = open_fixture();
    dppo_vision v = {0};
    dppo_module *module =
        build_eyes("{" BACKBONE(3) ",\"cond_dim\":5,\"visual_feature_dim\":7}", f.generator, &v);
    dppo_tensor *first = images(f.cx, 5, (const int64_t[]){B, 1, 3, SIDE, SIDE});
    dppo_tensor *last = images(f.cx, 5, (const int64_t[]){B, 1, 3, SIDE, SIDE});
    dppo_tensor *state = dppo_randn(f.cx, 2, (const int64_t[]){B, DO});
    dppo_tensor *both = dppo_cat(f.cx, 2, (dppo_tensor *[]){first, last}, 1);
    dppo_tensor *a = checked(dppo_vision_forward(f.cx, &v, both, state, true));
    dppo_tensor *b = checked(dppo_vision_forward(f.cx, &v, last, state, true));
    assert_finite(a, 2, (const int64_t[]){B, 7});
    assert_true(difference(a, b) == 0);
    assert_true(difference(a, dppo_vision_forward(f.cx, &v, first, state, true)) > 1e-3);
    dppo_module_free(module);
    close_fixture(&f);
}

/* -- shifts
 * ---------------------------------------------------------------------------------------------------------
 */

/* A shift by `pad` along both dims takes out the image itself; by 0 the padded image's corner, so that pixel
 * (y, x) is image (y - pad, x - pad), held at its edge. */
static void shifts_move_whole_pixels(void **unused) {
    (void)unused;
    enum { PAD = 3 };
    const int64_t shape[] = {2, 2, SIDE, SIDE};
    const float drawn[] = {PAD, PAD, 0, 2 * PAD}; /* along x, along y, of either image */
    fixture f = open_fixture();
    dppo_tensor *x = images(f.cx, 4, shape);
    dppo_named draws = {0};
    dppo_tensor *shift = dppo_from_f32(f.cx, 4, (const int64_t[]){2, 1, 1, 2}, drawn);
    assert_int_equal(dppo_named_put(&draws, "0", shift), DPPO_OK);
    draws.entries[0].kind = strdup("randint");
    assert_int_equal(dppo_generator_replay(f.generator, &draws), DPPO_OK);
    dppo_tensor *y = checked(dppo_random_shifts(f.cx, x, PAD));
    assert_int_equal(dppo_generator_end_replay(f.generator), DPPO_OK);
    for (int64_t i = 0; i < dppo_numel(x); i++) {
        int64_t column = i % SIDE, row = i / SIDE % SIDE, image = i / (2 * SIDE * SIDE);
        int64_t from_column = image == 0 || column < PAD ? (image == 0 ? column : 0) : column - PAD;
        int64_t from_row = image == 0 ? row : row + PAD < SIDE ? row + PAD : SIDE - 1;
        int64_t from = i - column + from_column + (from_row - row) * SIDE;
        assert_true(fabs(dppo_tensor_at(y, i) - dppo_tensor_at(x, from)) < 1e-2);
    }
    dppo_named_free(&draws);
    close_fixture(&f);
}

static double sampled(dppo_cx *cx, dppo_tensor *image, dppo_tensor *grid, dppo_tensor *cotangent) {
    dppo_tensor *out = checked(dppo_grid_sample(cx, image, grid));
    double sum = 0;
    for (int64_t i = 0; i < dppo_numel(out); i++)
        sum += dppo_tensor_at(out, i) * dppo_tensor_at(cotangent, i);
    return sum;
}

/* By central differences; places lie inside and outside of the image, none on a pixel's centre, where the
 * function has a kink. */
static void grid_sample_s_gradients(void **unused) {
    (void)unused;
    const int64_t shape[] = {2, 3, 4, 5}, places[] = {2, 2, 3, 2}, out[] = {2, 3, 2, 3};
    fixture f = open_fixture();
    dppo_tensor *image = checked(dppo_randn(f.cx, 4, shape)), *cotangent = dppo_randn(f.cx, 4, out);
    dppo_tensor *grid = dppo_zeros(f.cx, DPPO_F32, 4, places);
    for (int64_t i = 0; i < dppo_numel(grid); i++) {
        double size = i % 2 ? 4 : 5, pixel = -0.7 + 0.37 * (double)(i * 5 % 16);
        dppo_f32(grid)[i] = (float)((2 * pixel + 1) / size - 1);
    }
    image->requires_grad = grid->requires_grad = true;
    dppo_tensor *y = checked(dppo_grid_sample(f.cx, image, grid)), *gradients[2];
    assert_int_equal(dppo_grad(f.cx, 1, &y, &cotangent, 2, (dppo_tensor *[]){image, grid}, false, gradients),
                     DPPO_OK);
    (void)dppo_set_grad_enabled(f.cx, false);
    dppo_tensor *inputs[] = {image, grid};
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < dppo_numel(inputs[k]); i++) {
            float *at = &dppo_f32(inputs[k])[i], kept = *at, step = 0.0078125f;
            *at = kept + step;
            double above = sampled(f.cx, image, grid, cotangent);
            *at = kept - step;
            double below = sampled(f.cx, image, grid, cotangent);
            *at = kept;
            double slope = (above - below) / (2 * (double)step);
            if (!(fabs(slope - dppo_tensor_at(gradients[k], i)) <= 2e-3 * (1 + fabs(slope))))
                fail_msg("input %d at %d: %g, not %g", k, (int)i, dppo_tensor_at(gradients[k], i), slope);
        }
    close_fixture(&f);
}

/* Without no_augment a critic that augments draws a shift for every image. */
static void a_critic_augments_unless_told_not_to(void **unused) {
    (void)unused;
    fixture f = open_fixture();
    dppo_module *module =
        build("{\"_target_\":\"ViTCritic\"," BACKBONE(3) "," HEAD ",\"augment\":true}", f.generator);
    dppo_cond cond = observe(f.cx);
    dppo_named draws = {0};
    dppo_generator_record(f.generator, &draws);
    cond.no_augment = true;
    dppo_tensor *plain = checked(dppo_critic_forward(f.cx, module, cond));
    assert_int_equal(draws.count, 0);
    cond.no_augment = false;
    dppo_tensor *shifted = checked(dppo_critic_forward(f.cx, module, cond));
    dppo_generator_record(f.generator, NULL);
    assert_int_equal(draws.count, 1);
    assert_int_equal(draws.entries[0].tensor->shape[0], B);
    assert_finite(plain, 2, (const int64_t[]){B, 1});
    assert_true(difference(plain, shifted) > 0);
    dppo_named_free(&draws);
    dppo_module_free(module);
    close_fixture(&f);
}

/* -- policies
 * ---------------------------------------------------------------------------------------------------------
 */

static double gradient_size(dppo_module *module) {
    dppo_tensor *parameters[256];
    size_t count = dppo_module_parameters(module, parameters, NULL, 256);
    double largest = 0;
    assert_true(count > 0 && count <= 256);
    for (size_t i = 0; i < count; i++)
        for (int64_t j = 0; parameters[i]->grad && j < dppo_numel(parameters[i]); j++) {
            double g = fabs(dppo_tensor_at(parameters[i]->grad, j));
            assert_true(isfinite(g));
            if (g > largest) largest = g;
        }
    return largest;
}

static dppo_module *child(const dppo_module *module, const char *name) {
    for (size_t i = 0; i < module->count; i++)
        if (strcmp(module->entries[i].name, name) == 0) return module->entries[i].child;
    fail_msg("no %s", name);
    return NULL;
}

/* Samples a chunk for every row, takes the log-probabilities of its chain and one PPO loss of it; the
 * gradients reach the vision transformers of actor and critic, not that of the frozen actor. */
static void sample_and_differentiate(const char *json) {
    enum { K = 3 };
    fixture f = open_fixture();
    dppo_module *module = build(json, f.generator);
    dppo_cond cond = observe(f.cx);
    dppo_tensor *actions, *chains, *eta;
    if (dppo_vpg_diffusion_forward(f.cx, module, cond, false, true, false, &actions, &chains) != DPPO_OK)
        fail_msg("%s", dppo_message());
    assert_finite(actions, 3, (const int64_t[]){B, HORIZON, DA});
    assert_finite(chains, 4, (const int64_t[]){B, K + 1, HORIZON, DA});
    dppo_tensor *logprobs = checked(dppo_vpg_diffusion_get_logprobs(f.cx, module, cond, chains, false, &eta));
    assert_finite(logprobs, 3, (const int64_t[]){B * K, HORIZON, DA});

    dppo_tensor *steps = dppo_from_i64(f.cx, 1, (const int64_t[]){B}, (const int64_t[]){0, 1, 2});
    dppo_tensor *prev[B], *next[B]; /* row i takes part with its step i */
    for (int i = 0; i < B; i++) {
        dppo_tensor *row = dppo_narrow(f.cx, chains, 0, i, 1);
        prev[i] = dppo_select(f.cx, row, 1, i);
        next[i] = dppo_select(f.cx, row, 1, i + 1);
    }
    dppo_tensor *from = dppo_cat(f.cx, B, prev, 0), *to = dppo_cat(f.cx, B, next, 0);
    dppo_tensor *old =
        checked(dppo_vpg_diffusion_get_logprobs_subsample(f.cx, module, cond, from, to, steps, false, NULL));
    dppo_tensor *per_row = dppo_randn(f.cx, 1, (const int64_t[]){B});
    dppo_ppo_loss loss;
    dppo_ppo_diffusion_batch batch = {.cond = cond,
                                      .chains_prev = from,
                                      .chains_next = to,
                                      .oldlogprobs = dppo_detach(f.cx, old),
                                      .denoising_inds = steps,
                                      .returns = per_row,
                                      .oldvalues = per_row,
                                      .advantages = per_row};
    if (dppo_ppo_diffusion_loss(f.cx, module, &batch, false, HORIZON, &loss) != DPPO_OK)
        fail_msg("%s", dppo_message());
    dppo_tensor *outputs[] = {loss.pg_loss, loss.v_loss}, *cotangents[] = {NULL, NULL};
    assert_int_equal(dppo_backward(f.cx, 2, outputs, cotangents), DPPO_OK);
    assert_true(gradient_size(child(dppo_diffusion_actor_ft(module), "backbone")) > 0);
    assert_true(gradient_size(child(dppo_diffusion_critic(module), "backbone")) > 0);
    assert_true(gradient_size(child(dppo_diffusion_network(module), "backbone")) == 0);
    close_fixture(&f);
    dppo_module_free(module);
}

static void a_policy_on_images_samples(void **unused) {
    (void)unused;
    sample_and_differentiate(POLICY(VISION_MLP));
    sample_and_differentiate(POLICY(VISION_UNET));
}

/* The same for a Gaussian policy, whose std is a network of its own. */
static void a_gaussian_policy_on_images_samples(void **unused) {
    (void)unused;
    fixture f = open_fixture();
    dppo_module *module =
        build("{\"_target_\":\"PPO_Gaussian\",\"clip_ploss_coef\":0.2,\"horizon_steps\":4,\"actor\":" ACTOR(
                  "Gaussian_VisionMLP", HEAD ",\"horizon_steps\":4") ",\"critic\":" CRITIC "}",
              f.generator);
    dppo_cond cond = observe(f.cx);
    dppo_tensor *actions = checked(dppo_vpg_gaussian_forward(f.cx, module, cond, false, false));
    assert_finite(actions, 3, (const int64_t[]){B, HORIZON, DA});
    dppo_tensor *old, *entropy, *std;
    if (dppo_vpg_gaussian_get_logprobs(f.cx, module, cond, actions, false, &old, &entropy, &std) != DPPO_OK)
        fail_msg("%s", dppo_message());
    assert_finite(old, 1, (const int64_t[]){B});
    dppo_tensor *per_row = dppo_randn(f.cx, 1, (const int64_t[]){B});
    dppo_ppo_batch batch = {.returns = per_row,
                            .oldvalues = per_row,
                            .advantages = per_row,
                            .oldlogprobs = dppo_detach(f.cx, old)};
    dppo_ppo_loss loss;
    if (dppo_ppo_gaussian_loss(f.cx, module, cond, actions, batch, false, &loss) != DPPO_OK)
        fail_msg("%s", dppo_message());
    dppo_tensor *outputs[] = {loss.pg_loss, loss.v_loss}, *cotangents[] = {NULL, NULL};
    assert_int_equal(dppo_backward(f.cx, 2, outputs, cotangents), DPPO_OK);
    dppo_module *actor = dppo_gaussian_actor_ft(module);
    assert_true(gradient_size(child(actor, "backbone")) > 0);
    assert_true(gradient_size(child(actor, "mlp_logvar")) > 0);
    assert_true(gradient_size(child(dppo_gaussian_critic(module), "backbone")) > 0);
    close_fixture(&f);
    dppo_module_free(module);
}

/* The frozen network draws its shifts first, also where its prediction is then replaced. */
static void a_policy_that_augments_draws_as_the_original(void **unused) {
    (void)unused;
    fixture f = open_fixture();
    dppo_module *module =
        build(POLICY(ACTOR("VisionDiffusionMLP", HEAD ",\"horizon_steps\":4,\"augment\":true")), f.generator);
    dppo_tensor *actions, *chains;
    dppo_cond cond = observe(f.cx);
    dppo_named draws = {0};
    dppo_generator_record(f.generator, &draws);
    assert_int_equal(dppo_vpg_diffusion_forward(f.cx, module, cond, false, false, false, &actions, &chains),
                     DPPO_OK);
    dppo_generator_record(f.generator, NULL);
    assert_int_equal(draws.count, 1 + 5 + 5 + 3); /* the start, noise of five steps, shifts of 5 and of 3 */
    dppo_named_free(&draws);
    dppo_module_free(module);
    close_fixture(&f);
}

/* -- mistakes
 * ---------------------------------------------------------------------------------------------------------
 */

static void mistakes_are_named(void **unused) {
    (void)unused;
    static const struct {
        const char *json, *message;
    } mistakes[] = {
        {"{\"_target_\":\"ViTCritic\"," BACKBONE(3) "," HEAD ",\"num_img\":3}", "num_img"},
        {"{\"_target_\":\"ViTCritic\",\"backbone\":{\"_target_\":\"MLP\"}," HEAD "}", "backbone"},
        {"{\"_target_\":\"ViTCritic\"," HEAD "}", "backbone is missing"},
        {ACTOR("VisionUnet1D", "\"cond_dim\":5,\"spatial_emb\":1"), "spatial_emb"},
        {ACTOR("VisionUnet1D", "\"cond_dim\":5,\"num_img\":2"), "num_img"},
        {ACTOR("VisionUnet1D", "\"cond_dim\":5,\"activation_type\":\"Tanh\""), "activation_type"},
        {"{\"_target_\":\"VitEncoder\",\"obs_shape\":[3,96,96]}", "cfg"},
        {"{\"_target_\":\"VitEncoder\",\"cfg\":{\"embed_style\":\"embed3\"}}", "embed3"},
        {"{\"_target_\":\"VitEncoder\",\"cfg\":{\"embed_dim\":9}}", "embed_dim"},
        {"{\"_target_\":\"VitEncoder\",\"cfg\":{\"heads\":4}}", "heads"},
        {"{\"_target_\":\"Unet1D\",\"action_dim\":2,\"cond_dim\":5,\"n_groups\":5}", "GroupNorm"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        dppo_module *module = NULL;
        assert_int_not_equal(try_build(mistakes[i].json, NULL, &module, NULL), DPPO_OK);
        assert_null(module);
        if (!strstr(dppo_message(), mistakes[i].message))
            fail_msg("%s: nothing about %s", dppo_message(), mistakes[i].message);
    }
}

static void images_are_needed_and_must_fit(void **unused) {
    (void)unused;
    fixture f = open_fixture();
    dppo_module *module = build(CRITIC, f.generator);
    dppo_cond cond = observe(f.cx);
    cond.rgb = NULL;
    assert_null(dppo_critic_forward(f.cx, module, cond));
    assert_int_equal(dppo_context_status(f.cx), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "rgb"));
    dppo_context_reset(f.cx);
    cond = observe(f.cx);
    cond.rgb = images(f.cx, 5, (const int64_t[]){B, 1, 3, SIDE, SIDE + 16});
    assert_null(dppo_critic_forward(f.cx, module, cond)); /* more patches than positions */
    assert_int_equal(dppo_context_status(f.cx), DPPO_INVALID);
    dppo_module_free(module);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_drawn_in_torch_s_order),
        cmocka_unit_test(names_come_in_torch_s_order),
        cmocka_unit_test(a_copy_computes_the_same),
        cmocka_unit_test(cameras_have_encoders_of_their_own),
        cmocka_unit_test(only_the_last_steps_are_looked_at),
        cmocka_unit_test(shifts_move_whole_pixels),
        cmocka_unit_test(grid_sample_s_gradients),
        cmocka_unit_test(a_critic_augments_unless_told_not_to),
        cmocka_unit_test(a_policy_on_images_samples),
        cmocka_unit_test(a_gaussian_policy_on_images_samples),
        cmocka_unit_test(a_policy_that_augments_draws_as_the_original),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(images_are_needed_and_must_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
