/* Builders: names, shapes and order of parameters, initial weights, errors, pre-trained checkpoints. */
#include "models/build.h"
#include "models/gaussian.h"
#include "models/networks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The model node of the original's Hopper fine-tuning config, resolved. */
#define HOPPER_ACTOR                                                                                         \
    "{\"_target_\":\"model.diffusion.mlp_diffusion.DiffusionMLP\",\"time_dim\":16,\"mlp_dims\":[512,512,"    \
    "512],"                                                                                                  \
    "\"activation_type\":\"ReLU\",\"residual_style\":true,\"cond_dim\":11,\"horizon_steps\":4,\"action_"     \
    "dim\":3}"
#define CRITIC                                                                                               \
    "{\"_target_\":\"model.common.critic.CriticObs\",\"cond_dim\":11,\"mlp_dims\":[256,256,256],"            \
    "\"activation_type\":\"Mish\",\"residual_style\":true}"
#define HOPPER                                                                                               \
    "{\"_target_\":\"model.diffusion.diffusion_ppo.PPODiffusion\",\"gamma_denoising\":0.99,"                 \
    "\"clip_ploss_coef\":0.01,\"clip_ploss_coef_base\":0.01,\"clip_ploss_coef_rate\":3,\"randn_clip_"        \
    "value\":3,"                                                                                             \
    "\"min_sampling_denoising_std\":0.1,\"min_logprob_denoising_std\":0.1,\"network_path\":null,"            \
    "\"actor\":" HOPPER_ACTOR ",\"critic\":" CRITIC                                                          \
    ",\"ft_denoising_steps\":10,\"horizon_steps\":4,\"obs_dim\":11,"                                         \
    "\"action_dim\":3,\"denoising_steps\":20,\"device\":\"cuda:0\"}"
#define GAUSSIAN_ACTOR                                                                                       \
    "{\"_target_\":\"Gaussian_MLP\",\"mlp_dims\":[8,8],\"cond_dim\":11,\"horizon_steps\":1,\"action_dim\":"  \
    "3,"                                                                                                     \
    "\"fixed_std\":0.1,\"learn_fixed_std\":true}"
#define GAUSSIAN                                                                                             \
    "{\"_target_\":\"PPO_Gaussian\",\"clip_ploss_coef\":0.1,\"horizon_steps\":1,\"actor\":" GAUSSIAN_ACTOR   \
    ",\"critic\":" CRITIC "}"

#define TRANSFORMER_KEYS                                                                                     \
    "\"action_dim\":3,\"horizon_steps\":4,\"cond_dim\":11,\"transformer_embed_dim\":32,"                     \
    "\"transformer_num_heads\":4,\"transformer_num_layers\":2"
#define GMM_TRANSFORMER(more) "{\"_target_\":\"GMM_Transformer\",\"num_modes\":5," TRANSFORMER_KEYS more "}"
#define GMM_MLP(more)                                                                                        \
    "{\"_target_\":\"GMM_MLP\",\"action_dim\":3,\"horizon_steps\":4,\"cond_dim\":11,\"mlp_dims\":[8]" more "}"
#define GMM(more)                                                                                            \
    "{\"_target_\":\"PPO_GMM\",\"clip_ploss_coef\":0.1,\"horizon_steps\":4,\"actor\":" GMM_MLP(              \
        "") ",\"critic\":" CRITIC more "}"

static dppo_status try_build(const char *json, dppo_generator *generator, dppo_module **module) {
    dppo_config *config = NULL;
    *module = NULL;
    assert_int_equal(dppo_config_parse_json(json, "test", &config), DPPO_OK);
    dppo_status status = dppo_build_module(config, generator, module);
    dppo_config_free(config);
    return status;
}

static dppo_module *build(const char *json, dppo_generator *generator) {
    dppo_module *module = NULL;
    if (try_build(json, generator, &module) != DPPO_OK) fail_msg("%s", dppo_message());
    return module;
}

static void assert_same_values(const dppo_module *a, const dppo_module *b) {
    dppo_named left = {0}, right = {0};
    assert_int_equal(dppo_module_state_dict(a, "", &left), DPPO_OK);
    assert_int_equal(dppo_module_state_dict(b, "", &right), DPPO_OK);
    assert_int_equal(left.count, right.count);
    for (size_t i = 0; i < left.count; i++) {
        assert_string_equal(left.entries[i].name, right.entries[i].name);
        size_t size = (size_t)dppo_numel(left.entries[i].tensor) * sizeof(float);
        assert_memory_equal(left.entries[i].tensor->data, right.entries[i].tensor->data, size);
    }
    dppo_named_free(&left);
    dppo_named_free(&right);
}

/* -- names
 * ------------------------------------------------------------------------------------------------------ */

static const char *const network_names[] = {
    "time_embedding.1.weight (32, 16)",       "time_embedding.1.bias (32)",
    "time_embedding.3.weight (16, 32)",       "time_embedding.3.bias (16)",
    "mlp_mean.layers.0.weight (512, 39)",     "mlp_mean.layers.0.bias (512)",
    "mlp_mean.layers.1.l1.weight (512, 512)", "mlp_mean.layers.1.l1.bias (512)",
    "mlp_mean.layers.1.l2.weight (512, 512)", "mlp_mean.layers.1.l2.bias (512)",
    "mlp_mean.layers.2.weight (12, 512)",     "mlp_mean.layers.2.bias (12)"};
static const char *const critic_names[] = {"Q1.layers.0.weight (256, 11)",     "Q1.layers.0.bias (256)",
                                           "Q1.layers.1.l1.weight (256, 256)", "Q1.layers.1.l1.bias (256)",
                                           "Q1.layers.1.l2.weight (256, 256)", "Q1.layers.1.l2.bias (256)",
                                           "Q1.layers.2.weight (1, 256)",      "Q1.layers.2.bias (1)"};

static size_t expect_names(const dppo_named *state, size_t at, const char *prefix, const char *const *names,
                           size_t count) {
    for (size_t i = 0; i < count; i++) {
        char expected[200], found[200], shape[64];
        const dppo_tensor *tensor = state->entries[at + i].tensor;
        (void)snprintf(expected, sizeof expected, "%s.%s", prefix, names[i]);
        (void)snprintf(found, sizeof found, "%s %s", state->entries[at + i].name,
                       dppo_shape_text(tensor->ndim, tensor->shape, shape, sizeof shape));
        char *comma = strstr(found, ",)"); /* "(3,)" and "(3)" are both ways to write one dimension */
        if (comma) memmove(comma, comma + 1, strlen(comma));
        assert_string_equal(found, expected);
    }
    return at + count;
}

static void state_dict_of_hopper(void **unused) {
    (void)unused;
    dppo_named state = {0};
    dppo_module *model = build(HOPPER, NULL);
    assert_int_equal(dppo_module_state_dict(model, "", &state), DPPO_OK);
    assert_int_equal(state.count, 3 * 12 + 8);
    size_t at = expect_names(&state, 0, "network", network_names, 12);
    at = expect_names(&state, at, "actor", network_names, 12);
    at = expect_names(&state, at, "actor_ft", network_names, 12);
    assert_int_equal(expect_names(&state, at, "critic", critic_names, 8), state.count);
    dppo_named_free(&state);

    /* network and actor are one: named_parameters() has it once, and only actor_ft and the critic are trained
     */
    dppo_tensor *parameters[64];
    assert_int_equal(dppo_module_parameters(model, parameters, NULL, 64), 2 * 12 + 8);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(parameters[i]->requires_grad, i >= 12);
    dppo_module_free(model);
}

static void state_dict_of_gaussian(void **unused) {
    (void)unused;
    static const char *const first[] = {"network.logvar", "network.logvar_min", "network.logvar_max",
                                        "network.mlp_mean.moduleList.0.linear_1.weight"};
    dppo_named state = {0};
    dppo_module *model = build(GAUSSIAN, NULL);
    assert_int_equal(dppo_module_state_dict(model, "", &state), DPPO_OK);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(state.entries[i].name, first[i]);
    assert_string_equal(state.entries[9].name, "critic.Q1.layers.0.weight");
    assert_string_equal(state.entries[17].name, "actor_ft.logvar");
    assert_string_equal(state.entries[26].name, "actor.logvar");
    /* log(0.1^2), log(0.01^2), log(1) */
    assert_true(fabsf(dppo_f32(state.entries[0].tensor)[2] + 4.6051702f) < 1e-6f);
    assert_true(fabsf(dppo_f32(state.entries[1].tensor)[0] + 9.2103404f) < 1e-6f);
    assert_true(dppo_f32(state.entries[2].tensor)[0] == 0);
    dppo_named_free(&state);
    dppo_module_free(model);
}

static void expect_some_names(const char *json, size_t count, const char *const *names,
                              const size_t *positions, size_t total) {
    dppo_named state = {0};
    dppo_module *model = build(json, NULL);
    assert_int_equal(dppo_module_state_dict(model, "", &state), DPPO_OK);
    assert_int_equal(state.count, total);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(state.entries[positions[i]].name, names[i]);
    dppo_named_free(&state);
    dppo_module_free(model);
}

/* A module's own parameters come first, then its children in the order of registration. */
static void state_dicts_of_mixtures(void **unused) {
    (void)unused;
    static const char *const transformer[] = {"logvar_min",
                                              "transformer.cond_pos_emb",
                                              "transformer.pos_emb",
                                              "transformer.cond_obs_emb.weight",
                                              "transformer.encoder.0.weight",
                                              "transformer.decoder.layers.0.self_attn.in_proj_weight",
                                              "transformer.decoder.layers.0.multihead_attn.in_proj_weight",
                                              "transformer.decoder.layers.0.linear1.weight",
                                              "transformer.decoder.layers.0.norm1.weight",
                                              "transformer.decoder.layers.1.self_attn.in_proj_weight",
                                              "transformer.ln_f.weight",
                                              "transformer.head.weight",
                                              "modes_head.weight"};
    const size_t at[] = {0, 2, 3, 4, 6, 10, 14, 18, 22, 28, 46, 48, 50};
    expect_some_names(GMM_TRANSFORMER(",\"fixed_std\":0.1"), 13, transformer, at, 52);
    static const char *const gmm[] = {"network.logvar_min",
                                      "network.mlp_mean.moduleList.0.linear_1.weight",
                                      "network.mlp_logvar.moduleList.0.linear_1.weight",
                                      "network.mlp_weights.moduleList.0.linear_1.weight",
                                      "actor_ft.logvar_min",
                                      "critic.Q1.layers.0.weight"};
    const size_t places[] = {0, 2, 6, 10, 14, 28};
    expect_some_names(GMM(""), 6, gmm, places, 36);
}

/* -- initial weights
 * ---------------------------------------------------------------------------------------------- */

/* hydra builds what is nested in key order, and deepcopy draws nothing. */
static void weights_are_drawn_in_key_order(void **unused) {
    (void)unused;
    dppo_generator *together = dppo_generator_new(3), *apart = dppo_generator_new(3);
    dppo_module *model = build(HOPPER, together);
    dppo_module *actor = build(HOPPER_ACTOR, apart), *critic = build(CRITIC, apart);
    assert_int_equal(dppo_random32(together), dppo_random32(apart));
    for (size_t i = 0; i < model->count; i++)
        assert_same_values(model->entries[i].child,
                           strcmp(model->entries[i].name, "critic") == 0 ? critic : actor);
    dppo_module_free(model);
    dppo_module_free(actor);
    dppo_module_free(critic);
    dppo_generator_free(together);
    dppo_generator_free(apart);
}

static double mean_square(const dppo_tensor *tensor) {
    double sum = 0;
    for (int64_t i = 0; i < dppo_numel(tensor); i++)
        sum += dppo_tensor_at(tensor, i) * dppo_tensor_at(tensor, i);
    return sum / (double)dppo_numel(tensor);
}

/* What the original draws a second time is N(0, 0.02^2) with zero biases; the head of the modes, outside the
 * transformer, keeps torch's own uniform in +-1/sqrt(Ta E). */
static void a_transformer_is_drawn_twice(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(4);
    dppo_module *model = build(GMM_TRANSFORMER(",\"fixed_std\":0.1"), generator);
    dppo_named state = {0};
    int matrices = 0;
    assert_int_equal(dppo_module_state_dict(model, "", &state), DPPO_OK);
    for (size_t i = 2; i < state.count; i++) {
        const char *name = state.entries[i].name;
        double square = mean_square(state.entries[i].tensor);
        bool head = strncmp(name, "modes_head", 10) == 0, drawn = state.entries[i].tensor->ndim > 1;
        if (head)
            assert_true(square > 0.8 / (3 * 128.0) * (drawn ? 1 : 0) && square < 1 / 128.0);
        else if (drawn)
            assert_true(square > 0.016 * 0.016 && square < 0.024 * 0.024);
        else
            assert_true(square == (strstr(name, "norm") || strstr(name, "ln_f") ? !strstr(name, "bias") : 0));
        matrices += !head && drawn;
    }
    assert_int_equal(matrices, 2 + 1 + 2 + 2 * 6 + 1);
    const dppo_tensor *first = dppo_named_get(&state, "transformer.decoder.layers.0.linear1.weight"),
                      *second = dppo_named_get(&state, "transformer.decoder.layers.1.linear1.weight");
    assert_true(dppo_tensor_at(first, 0) != dppo_tensor_at(second, 0));
    dppo_named_free(&state);
    dppo_module_free(model);
    dppo_generator_free(generator);
}

/* -- errors
 * ------------------------------------------------------------------------------------------------------- */

static void refuses(const char *json, dppo_status expected, const char *named) {
    dppo_module *module = NULL;
    dppo_status status = try_build(json, NULL, &module);
    assert_null(module);
    if (status != expected || !strstr(dppo_message(), named))
        fail_msg("%s\ngives status %d (%s), not %d naming \"%s\"", json, (int)status, dppo_message(),
                 (int)expected, named);
}

static void errors_name_what_is_wrong(void **unused) {
    (void)unused;
    refuses("{\"_target_\":\"a.b.Perceptron\"}", DPPO_MISSING, "Perceptron");
    refuses("{\"dim_list\":[1,2]}", DPPO_INVALID, "_target_");
    refuses("{\"_target_\":\"MLP\",\"dim_list\":[1,2],\"dropuot\":0.1}", DPPO_INVALID, "dropuot");
    refuses("{\"_target_\":\"MLP\",\"dim_list\":[1]}", DPPO_INVALID, "MLP");
    refuses("{\"_target_\":\"MLP\",\"dim_list\":[1,2],\"activation_type\":\"Swish\"}", DPPO_INVALID, "Swish");
    refuses("{\"_target_\":\"ResidualMLP\",\"dim_list\":[1,2,2,1]}", DPPO_INVALID, "ResidualMLP");
    refuses("{\"_target_\":\"DiffusionMLP\",\"action_dim\":1,\"horizon_steps\":1}", DPPO_INVALID, "cond_dim");
    refuses("{\"_target_\":\"GaussianModel\",\"horizon_steps\":1}", DPPO_INVALID, "network");
    refuses("{\"_target_\":\"GaussianModel\",\"horizon_steps\":1,\"network\":" CRITIC "}", DPPO_INVALID,
            "CriticObs");
    refuses("{\"_target_\":\"GaussianModel\",\"horizon_steps\":1,\"critic\":" CRITIC
            ",\"network\":" GAUSSIAN_ACTOR "}",
            DPPO_INVALID, "critic");
    refuses("{\"_target_\":\"DiffusionModel\",\"horizon_steps\":4,\"obs_dim\":11,\"network\":" HOPPER_ACTOR
            "}",
            DPPO_INVALID, "action_dim");
    refuses("{\"_target_\":\"DiffusionEval\",\"horizon_steps\":4,\"obs_dim\":11,\"action_dim\":3,\"denoising_"
            "steps\":20,"
            "\"ft_denoising_steps\":21,\"network\":" HOPPER_ACTOR "}",
            DPPO_INVALID, "ft_denoising_steps");
}

static void errors_of_mixtures_name_what_is_wrong(void **unused) {
    (void)unused;
    refuses(GMM_TRANSFORMER(""), DPPO_INVALID, "GMM_Transformer: fixed_std");
    refuses(GMM_TRANSFORMER(",\"fixed_std\":0.1,\"transformer_activation\":\"Mish\""), DPPO_INVALID,
            "transformer_activation");
    refuses(GMM_TRANSFORMER(",\"fixed_std\":0.1,\"mlp_dims\":[8]"), DPPO_INVALID, "mlp_dims");
    refuses("{\"_target_\":\"Gaussian_Transformer\",\"transformer_num_heads\":5,\"cond_dim\":1,"
            "\"action_dim\":1,\"horizon_steps\":1}",
            DPPO_INVALID, "5 heads");
    refuses(GMM_MLP(",\"tanh_output\":true"), DPPO_INVALID, "tanh_output");
    refuses(GMM_MLP(",\"learn_fixed_std\":true"), DPPO_INVALID, "fixed_std");
    refuses(GMM_MLP(",\"num_modes\":0"), DPPO_INVALID, "num_modes");
    refuses("{\"_target_\":\"GMMModel\",\"horizon_steps\":1,\"network\":" GAUSSIAN_ACTOR "}", DPPO_INVALID,
            "Gaussian_MLP");
    refuses("{\"_target_\":\"EtaState\",\"input_dim\":1}", DPPO_INVALID, "mlp_dims");
    refuses("{\"_target_\":\"EtaAction\"}", DPPO_INVALID, "action_dim");
}

/* The classes that take **kwargs there pass over plain values they do not know; nested modules they do not.
 */
static void kwargs_are_ignored_where_the_original_does(void **unused) {
    (void)unused;
    dppo_module *module =
        build("{\"_target_\":\"DiffusionModel\",\"horizon_steps\":4,\"obs_dim\":11,\"action_dim\":3,"
              "\"something_else\":1,\"network\":" HOPPER_ACTOR "}",
              NULL);
    dppo_module_free(module);
    refuses("{\"_target_\":\"DiffusionModel\",\"horizon_steps\":4,\"obs_dim\":11,\"action_dim\":3,"
            "\"something_else\":" CRITIC ",\"network\":" HOPPER_ACTOR "}",
            DPPO_INVALID, "something_else");
    dppo_module_free(build(GMM(",\"randn_clip_value\":3"), NULL));
}

/* -- pre-trained checkpoints
 * ---------------------------------------------------------------------------------------- */

static dppo_module *child(dppo_module *module, const char *name) {
    for (size_t i = 0; i < module->count; i++)
        if (strcmp(module->entries[i].name, name) == 0) return module->entries[i].child;
    return NULL;
}

static void a_pretrained_network_goes_to_both_actors(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(5);
    dppo_module *model = build(HOPPER, generator), *ema = build(HOPPER_ACTOR, generator);
    dppo_module *last = build(HOPPER_ACTOR, generator);
    dppo_named checkpoint = {0};
    assert_int_equal(dppo_module_state_dict(ema, "ema/network.", &checkpoint), DPPO_OK);
    assert_int_equal(dppo_module_state_dict(last, "model/network.", &checkpoint), DPPO_OK);
    assert_int_equal(dppo_model_load_pretrained(model, &checkpoint), DPPO_OK);
    assert_same_values(child(model, "actor"), ema);
    assert_same_values(child(model, "actor_ft"), ema);
    dppo_named_free(&checkpoint);

    assert_int_equal(dppo_module_state_dict(last, "model/policy.", &checkpoint), DPPO_OK);
    assert_int_equal(dppo_model_load_pretrained(model, &checkpoint), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "model/network."));
    dppo_named_free(&checkpoint);
    dppo_module_free(model);
    dppo_module_free(ema);
    dppo_module_free(last);
    dppo_generator_free(generator);
}

static void a_finetuned_model_is_loaded_whole(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(6);
    dppo_module *from = build(HOPPER, generator), *to = build(HOPPER, generator),
                *ft = build(HOPPER_ACTOR, generator);
    assert_int_equal(dppo_module_copy(child(from, "actor_ft"), ft), DPPO_OK);
    dppo_named checkpoint = {0};
    assert_int_equal(dppo_module_state_dict(from, "model/", &checkpoint), DPPO_OK);
    assert_int_equal(dppo_model_load_pretrained(to, &checkpoint), DPPO_OK);
    assert_same_values(to, from);
    dppo_named_free(&checkpoint);
    dppo_module_free(from);
    dppo_module_free(to);
    dppo_module_free(ft);
    dppo_generator_free(generator);
}

/* The critic does not exist yet when the original loads a Gaussian policy, so it keeps its initial weights.
 */
static void a_gaussian_policy_takes_the_network_only(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(7);
    dppo_module *from = build(GAUSSIAN, generator), *to = build(GAUSSIAN, generator);
    dppo_named checkpoint = {0}, critic = {0};
    assert_int_equal(dppo_module_state_dict(child(to, "critic"), "", &critic), DPPO_OK);
    assert_int_equal(dppo_module_state_dict(from, "model/", &checkpoint), DPPO_OK);
    assert_int_equal(dppo_model_load_pretrained(to, &checkpoint), DPPO_OK);
    assert_same_values(child(to, "network"), child(from, "network"));
    assert_same_values(child(to, "actor"), child(from, "network"));
    const float *kept = dppo_f32(critic.entries[0].tensor);
    assert_memory_equal(
        dppo_f32(child(child(child(child(to, "critic"), "Q1"), "layers"), "0")->entries[0].parameter), kept,
        256 * 11 * sizeof *kept);
    dppo_named_free(&checkpoint);
    dppo_named_free(&critic);
    dppo_module_free(from);
    dppo_module_free(to);
    dppo_generator_free(generator);
}

/* Nor is there a frozen copy to fill in a mixture policy. */
static void a_mixture_policy_takes_the_network_only(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(9);
    dppo_module *from = build(GMM(""), generator), *to = build(GMM(""), generator);
    dppo_named checkpoint = {0};
    assert_int_equal(dppo_module_state_dict(from, "model/", &checkpoint), DPPO_OK);
    const float mine =
        dppo_f32(child(child(child(child(to, "critic"), "Q1"), "layers"), "0")->entries[0].parameter)[0];
    assert_int_equal(dppo_model_load_pretrained(to, &checkpoint), DPPO_OK);
    assert_same_values(child(to, "network"), child(from, "network"));
    assert_true(
        dppo_f32(child(child(child(child(to, "critic"), "Q1"), "layers"), "0")->entries[0].parameter)[0] ==
        mine);
    dppo_named_free(&checkpoint);
    dppo_module_free(from);
    dppo_module_free(to);
    dppo_generator_free(generator);
}

#define EVAL(steps)                                                                                          \
    "{\"_target_\":\"model.diffusion.diffusion_eval.DiffusionEval\",\"horizon_steps\":4,\"obs_dim\":11,"     \
    "\"action_dim\":3,\"denoising_steps\":20,\"network\":" HOPPER_ACTOR ",\"ft_denoising_steps\":" steps "}"

/* A deployed policy takes both actors of a fine-tuned model; of pre-training it can only take the network. */
static void deployment_takes_both_actors(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(8);
    dppo_module *trained = build(HOPPER, generator), *other = build(HOPPER_ACTOR, generator);
    dppo_module *some = build(EVAL("10"), generator), *none = build(EVAL("0"), generator);
    dppo_named tuned = {0}, pretrained = {0};
    assert_int_equal(dppo_module_copy(child(trained, "actor_ft"), other), DPPO_OK);
    assert_int_equal(dppo_module_state_dict(trained, "model/", &tuned), DPPO_OK);
    assert_int_equal(dppo_model_load_pretrained(some, &tuned), DPPO_OK);
    assert_same_values(child(some, "actor"), child(trained, "actor"));
    assert_same_values(child(some, "actor_ft"), other);

    assert_int_equal(dppo_module_state_dict(other, "model/network.", &pretrained), DPPO_OK);
    assert_int_equal(dppo_model_load_pretrained(some, &pretrained), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "ft_denoising_steps"));
    assert_int_equal(dppo_model_load_pretrained(none, &pretrained), DPPO_OK);
    assert_same_values(child(none, "actor"), other);
    dppo_named_free(&tuned);
    dppo_named_free(&pretrained);
    dppo_module *const all[] = {trained, other, some, none};
    for (size_t i = 0; i < 4; i++)
        dppo_module_free(all[i]);
    dppo_generator_free(generator);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_dict_of_hopper),
        cmocka_unit_test(state_dict_of_gaussian),
        cmocka_unit_test(state_dicts_of_mixtures),
        cmocka_unit_test(weights_are_drawn_in_key_order),
        cmocka_unit_test(a_transformer_is_drawn_twice),
        cmocka_unit_test(errors_name_what_is_wrong),
        cmocka_unit_test(errors_of_mixtures_name_what_is_wrong),
        cmocka_unit_test(kwargs_are_ignored_where_the_original_does),
        cmocka_unit_test(a_pretrained_network_goes_to_both_actors),
        cmocka_unit_test(a_finetuned_model_is_loaded_whole),
        cmocka_unit_test(a_gaussian_policy_takes_the_network_only),
        cmocka_unit_test(a_mixture_policy_takes_the_network_only),
        cmocka_unit_test(deployment_takes_both_actors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
