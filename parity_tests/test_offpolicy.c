/* Off-policy policies: what their constructors make, copy, freeze and refuse, checkpoints, ensembles, and the
 * agents' pieces that act on them. Numbers are the parity cases' business. */
#include "algorithms/action_gradient.h"
#include "algorithms/temperature.h"
#include "diffusion/offpolicy.h"
#include "models/build.h"
#include "models/offpolicy_gaussian.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DENOISER "{_target_: DiffusionMLP, action_dim: 2, horizon_steps: 3, cond_dim: 4, mlp_dims: [8, 8, 8]}"
#define GAUSSIAN "{_target_: Gaussian_MLP, action_dim: 2, horizon_steps: 3, cond_dim: 4, mlp_dims: [8, 8]}"
#define V "{_target_: CriticObs, cond_dim: 4, mlp_dims: [8]}"
#define Q(more)                                                                                              \
    "{_target_: CriticObsAct, cond_dim: 4, mlp_dims: [8], action_dim: 2, action_steps: 3, use_layernorm: "   \
    "true" more "}"
#define DIFFUSION(target, more)                                                                              \
    "{_target_: " target ", horizon_steps: 3, obs_dim: 4, action_dim: 2, denoising_steps: 5, " more "}"
#define POLICY(target, more)                                                                                 \
    "{_target_: " target ", actor: " GAUSSIAN ", horizon_steps: 3, tanh_output: true, " more "}"
#define DIPO DIFFUSION("DIPODiffusion", "actor: " DENOISER ", critic: " Q(""))
#define SAC POLICY("SAC_Gaussian", "critic: " Q(""))
#define CALQL POLICY("CalQL_Gaussian", "critic: " Q(""))
#define RLPD POLICY("RLPD_Gaussian", "n_critics: 3, critic: " Q(", double_q: false"))
#define IBRL POLICY("IBRL_Gaussian", "n_critics: 3, critic: " Q(", double_q: false"))

enum { B = 6 };

static dppo_status try_build(const char *yaml, dppo_generator *generator, dppo_module **module) {
    dppo_config *config = NULL;
    assert_int_equal(dppo_config_parse_yaml(yaml, "test", &config), DPPO_OK);
    dppo_status status = dppo_build_module(config, generator, module);
    dppo_config_free(config);
    return status;
}

static dppo_module *build(const char *yaml, uint64_t seed) {
    dppo_generator *generator = dppo_generator_new(seed);
    dppo_module *module;
    if (try_build(yaml, generator, &module) != DPPO_OK) fail_msg("%s: %s", yaml, dppo_message());
    dppo_generator_free(generator);
    return module;
}

static dppo_named state_of(const dppo_module *module) {
    dppo_named state = {0};
    assert_int_equal(dppo_module_state_dict(module, "", &state), DPPO_OK);
    return state;
}

/* Two sub-trees of one state_dict hold the same names and values. */
static bool alike(const dppo_named *state, const char *a, const char *b) {
    dppo_named left = {0}, right = {0};
    assert_int_equal(dppo_named_extract(&left, a, state), DPPO_OK);
    assert_int_equal(dppo_named_extract(&right, b, state), DPPO_OK);
    bool same = left.count > 0 && left.count == right.count;
    for (size_t i = 0; same && i < left.count; i++) {
        const dppo_tensor *x = left.entries[i].tensor, *y = right.entries[i].tensor;
        same = strcmp(left.entries[i].name, right.entries[i].name) == 0 && dppo_same_shape(x, y) &&
               memcmp(x->data, y->data, (size_t)dppo_numel(x) * sizeof(float)) == 0;
    }
    dppo_named_free(&left);
    dppo_named_free(&right);
    return same;
}

/* -- construction
 * --------------------------------------------------------------------------------------------------- */

/* The modules of a state_dict in its order, each once: "network critic actor". */
static void assert_modules(const char *yaml, const char *expected) {
    dppo_module *module = build(yaml, 1);
    dppo_named state = state_of(module);
    char found[256] = "", last[64] = "";
    for (size_t i = 0; i < state.count; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(state.entries[i].name, "."),
                       state.entries[i].name);
        if (strcmp(name, last) == 0) continue;
        (void)snprintf(found + strlen(found), sizeof found - strlen(found), "%s%s", *found ? " " : "", name);
        strcpy(last, name);
    }
    assert_string_equal(found, expected);
    dppo_named_free(&state);
    dppo_module_free(module);
}

static void modules_are_registered_in_the_original_s_order(void **unused) {
    (void)unused;
    assert_modules(DIFFUSION("RWRDiffusion", "network: " DENOISER), "network");
    assert_modules(DIFFUSION("AWRDiffusion", "actor: " DENOISER ", critic: " V), "network critic actor");
    assert_modules(DIPO, "network critic critic_target actor actor_target");
    assert_modules(DIFFUSION("DQLDiffusion", "actor: " DENOISER ", critic: " Q("")),
                   "network critic critic_target actor");
    assert_modules(DIFFUSION("IDQLDiffusion", "actor: " DENOISER ", critic_q: " Q("") ", critic_v: " V),
                   "network critic_q target_q critic_v actor");
    assert_modules(DIFFUSION("QSMDiffusion", "actor: " DENOISER ", critic: " Q("")),
                   "network critic_q target_q actor");
    assert_modules(POLICY("RWR_Gaussian", ""), "network actor");
    assert_modules(POLICY("AWR_Gaussian", "critic: " V), "network actor critic");
    assert_modules(SAC, "network critic target_critic");
    assert_modules(CALQL, "network critic target_critic");
    assert_modules(RLPD, "network critic_networks target_networks ensemble_params");
    assert_modules(IBRL, "network target_actor bc_policy critic_networks target_networks ensemble_params");
}

static void targets_begin_as_copies_and_only_imitation_is_frozen(void **unused) {
    (void)unused;
    dppo_module *dipo = build(DIPO, 2), *ibrl = build(IBRL, 3);
    dppo_named state = state_of(dipo);
    assert_true(alike(&state, "critic.", "critic_target."));
    assert_true(alike(&state, "network.", "actor_target."));
    dppo_named_free(&state);
    state = state_of(ibrl);
    assert_true(alike(&state, "network.", "bc_policy."));
    assert_true(alike(&state, "network.", "target_actor."));
    assert_true(alike(&state, "critic_networks.0.", "critic_networks.2."));
    assert_true(alike(&state, "critic_networks.0.", "target_networks.1."));
    const dppo_tensor *stacked = dppo_named_get(&state, "ensemble_params.Q1.moduleList.0.linear_1.weight");
    const dppo_tensor *member = dppo_named_get(&state, "critic_networks.2.Q1.moduleList.0.linear_1.weight");
    assert_int_equal(stacked->shape[0], 3);
    assert_memory_equal(dppo_f32(stacked) + 2 * dppo_numel(member), member->data,
                        (size_t)dppo_numel(member) * sizeof(float));
    dppo_named_free(&state);

    dppo_tensor *parameters[64];
    dppo_gaussian *model = dppo_gaussian_of(ibrl);
    size_t count = dppo_module_parameters(model->bc_policy, parameters, NULL, 64);
    for (size_t i = 0; i < count; i++)
        assert_false(parameters[i]->requires_grad);
    count = dppo_module_parameters(model->ensemble_params, parameters, NULL, 64);
    for (size_t i = 0; i < count; i++)
        assert_true(parameters[i]->requires_grad);
    dppo_module_free(dipo);
    dppo_module_free(ibrl);
}

static void what_makes_no_sense_is_refused_by_name(void **unused) {
    (void)unused;
    static const struct {
        const char *yaml, *named;
    } cases[] = {
        {DIFFUSION("RWRDiffusion", "use_ddim: true, ddim_steps: 2, network: " DENOISER), "use_ddim"},
        {DIFFUSION("DIPODiffusion", "actor: " DENOISER ", critic: " V), "critic must be a CriticObsAct"},
        {DIFFUSION("DQLDiffusion", "actor: " DENOISER ", critic: " Q(", double_q: false")), "double_q"},
        {DIFFUSION("IDQLDiffusion", "actor: " DENOISER ", critic_q: " Q("")), "critic_v is missing"},
        {DIFFUSION("QSMDiffusion", "actor: " GAUSSIAN ", critic: " Q("")), "actor must be"},
        {POLICY("SAC_Gaussian", "critic: " Q("") ", n_critics: 2"), "n_critics"},
        {POLICY("RLPD_Gaussian", "n_critics: 3, critic: " Q("")), "double_q"},
        {POLICY("RLPD_Gaussian", "n_critics: 1, critic: " Q(", double_q: false")), "n_critics"},
        {POLICY("IBRL_Gaussian", "critic: " Q(", double_q: false")), "n_critics"},
        {POLICY("CalQL_Gaussian", "cql_n_actions: 0, critic: " Q("")), "cql_n_actions"},
        {POLICY("RWR_Gaussian", "critic: " V), "critic"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_module *module = NULL;
        assert_int_equal(try_build(cases[i].yaml, NULL, &module), DPPO_INVALID);
        assert_null(module);
        if (!strstr(dppo_message(), cases[i].named)) fail_msg("%s: %s", cases[i].named, dppo_message());
    }
}

/* -- checkpoints
 * ---------------------------------------------------------------------------------------------------- */

static dppo_status load_network(dppo_module *to, const dppo_module *from, const char *prefix) {
    dppo_named checkpoint = {0};
    assert_int_equal(dppo_module_state_dict(from, prefix, &checkpoint), DPPO_OK);
    dppo_status status = dppo_model_load_pretrained(to, &checkpoint);
    dppo_named_free(&checkpoint);
    return status;
}

static void copies_of_the_network_follow_its_checkpoint(void **unused) {
    (void)unused;
    dppo_module *dipo = build(DIPO, 4), *ibrl = build(IBRL, 5), *other_dipo = build(DIPO, 6),
                *other_ibrl = build(IBRL, 7);
    dppo_named before = state_of(dipo);
    assert_int_equal(load_network(dipo, dppo_diffusion_of(other_dipo)->network, "ema/network."), DPPO_OK);
    assert_int_equal(load_network(ibrl, dppo_gaussian_of(other_ibrl)->network, "model/network."), DPPO_OK);
    dppo_named after = state_of(dipo), other = state_of(other_dipo);
    assert_true(alike(&after, "network.", "actor_target."));
    assert_memory_equal(after.entries[0].tensor->data, other.entries[0].tensor->data, sizeof(float) * 8);
    assert_memory_not_equal(after.entries[0].tensor->data, before.entries[0].tensor->data, sizeof(float) * 8);
    dppo_named ibrl_after = state_of(ibrl);
    assert_true(alike(&ibrl_after, "network.", "bc_policy."));
    assert_true(alike(&ibrl_after, "network.", "target_actor."));
    dppo_named_free(&before);
    dppo_named_free(&after);
    dppo_named_free(&other);
    dppo_named_free(&ibrl_after);
    dppo_module_free(dipo);
    dppo_module_free(ibrl);
    dppo_module_free(other_dipo);
    dppo_module_free(other_ibrl);
}

static void calql_takes_a_whole_checkpoint_or_none(void **unused) {
    (void)unused;
    dppo_module *to = build(CALQL, 8), *from = build(CALQL, 9);
    assert_int_equal(load_network(to, dppo_gaussian_of(from)->network, "model/network."), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "critic"));
    assert_int_equal(load_network(to, from, "model/"), DPPO_OK);
    dppo_named loaded = state_of(to), expected = state_of(from);
    for (size_t i = 0; i < expected.count; i++)
        assert_memory_equal(loaded.entries[i].tensor->data, expected.entries[i].tensor->data,
                            (size_t)dppo_numel(expected.entries[i].tensor) * sizeof(float));
    dppo_named_free(&loaded);
    dppo_named_free(&expected);
    dppo_module_free(to);
    dppo_module_free(from);
}

/* -- ensembles
 * ------------------------------------------------------------------------------------------------------ */

typedef struct batch {
    dppo_generator *generator;
    dppo_context *cx;
    dppo_cond obs;
    dppo_tensor *actions;
} batch;

static batch open_batch(void) {
    batch b = {.generator = dppo_generator_new(12)};
    b.cx = dppo_context_new(b.generator);
    b.obs = dppo_cond_of(dppo_randn(b.cx, 3, (const int64_t[]){B, 1, 4}));
    b.actions = dppo_clamp(b.cx, dppo_randn(b.cx, 3, (const int64_t[]){B, 3, 2}), -1, 1);
    return b;
}

static void close_batch(batch *b) {
    dppo_context_free(b->cx);
    dppo_generator_free(b->generator);
}

static void a_stacked_critic_is_its_members_and_leads_their_targets(void **unused) {
    (void)unused;
    dppo_module *rlpd = build(RLPD, 13);
    dppo_gaussian *model = dppo_gaussian_of(rlpd);
    batch b = open_batch();
    dppo_tensor *parameters[64];
    size_t count = dppo_module_parameters(model->ensemble_params, parameters, NULL, 64);
    for (size_t i = 0; i < count; i++) /* members must differ */
        for (int64_t j = 0; j < dppo_numel(parameters[i]); j++)
            dppo_f32(parameters[i])[j] += 0.01f * (float)(j % 17);
    assert_int_equal(dppo_gaussian_update_target_critic(rlpd, 1), DPPO_OK); /* targets = members */
    dppo_tensor *together = dppo_critic_ensemble_forward(b.cx, model->ensemble_params, 3, b.obs, b.actions);
    assert_non_null(together);
    for (int64_t n = 0; n < 3; n++) {
        const dppo_module *member = model->target_networks->entries[n].child;
        dppo_tensor *alone = dppo_critic_obs_act_forward(b.cx, member, b.obs, b.actions, NULL);
        for (int64_t i = 0; i < B; i++)
            assert_true(dppo_tensor_at(together, n * B + i) == dppo_tensor_at(alone, i));
    }
    assert_true(dppo_tensor_at(together, 0) != dppo_tensor_at(together, B));
    close_batch(&b);
    dppo_module_free(rlpd);
}

/* -- what agents do with them
 * --------------------------------------------------------------------------------------------------- */

static double total_q(batch *b, const dppo_module *critic, dppo_tensor *actions) {
    return dppo_item(b->cx, dppo_sum(b->cx, dppo_min_q(b->cx, critic, b->obs, actions), 0, NULL, false));
}

static void moved_actions_are_worth_more_and_the_critic_is_untouched(void **unused) {
    (void)unused;
    dppo_module *dipo = build(DIPO, 14), *critic = dppo_diffusion_critic(dipo);
    batch b = open_batch();
    dppo_tensor *guided, *parameters[64];
    const dppo_action_gradient_options options = {
        .action_lr = 0.05, .action_gradient_steps = 20, .action_grad_norm = 0.6};
    assert_int_equal(dppo_action_gradient(b.cx, critic, b.obs, b.actions, options, &guided), DPPO_OK);
    assert_true(total_q(&b, critic, guided) > total_q(&b, critic, b.actions));
    for (int64_t i = 0; i < dppo_numel(guided); i++)
        assert_true(fabs(dppo_tensor_at(guided, i)) <= 1);
    size_t count = dppo_module_parameters(critic, parameters, NULL, 64);
    for (size_t i = 0; i < count; i++)
        assert_null(parameters[i]->grad);
    close_batch(&b);
    dppo_module_free(dipo);
}

static void the_temperature_falls_with_too_much_entropy_and_resumes(void **unused) {
    (void)unused;
    dppo_module *sac = build(SAC, 15);
    batch b = open_batch();
    float loss = 0, again = 0;
    dppo_temperature low = dppo_temperature_new(0.5, -100, 1e-2), high = dppo_temperature_new(0.5, 100, 1e-2);
    assert_int_equal(dppo_temperature_update(b.cx, &low, sac, b.obs, &loss), DPPO_OK);
    assert_int_equal(dppo_temperature_update(b.cx, &high, sac, b.obs, &loss), DPPO_OK);
    assert_true(dppo_temperature_alpha(&low) < 0.5 && dppo_temperature_alpha(&high) > 0.5);

    dppo_named saved = {0};
    dppo_temperature resumed = dppo_temperature_new(1, -100, 1e-2);
    assert_int_equal(dppo_temperature_save(&low, "t/", &saved), DPPO_OK);
    assert_int_equal(dppo_temperature_load(&resumed, "t/", &saved), DPPO_OK);
    dppo_manual_seed(b.generator, 16);
    assert_int_equal(dppo_temperature_update(b.cx, &low, sac, b.obs, &loss), DPPO_OK);
    dppo_manual_seed(b.generator, 16);
    assert_int_equal(dppo_temperature_update(b.cx, &resumed, sac, b.obs, &again), DPPO_OK);
    assert_true(resumed.log_alpha == low.log_alpha && loss == again);
    dppo_named_free(&saved);
    close_batch(&b);
    dppo_module_free(sac);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_are_registered_in_the_original_s_order),
        cmocka_unit_test(targets_begin_as_copies_and_only_imitation_is_frozen),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_name),
        cmocka_unit_test(copies_of_the_network_follow_its_checkpoint),
        cmocka_unit_test(calql_takes_a_whole_checkpoint_or_none),
        cmocka_unit_test(a_stacked_critic_is_its_members_and_leads_their_targets),
        cmocka_unit_test(moved_actions_are_worth_more_and_the_critic_is_untouched),
        cmocka_unit_test(the_temperature_falls_with_too_much_entropy_and_resumes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
