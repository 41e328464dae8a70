/* Diffusion policies: chains, which network speaks at which step, annealing, gradients by finite differences.
 */
#include "diffusion/diffusion.h"
#include "models/build.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Smooth where the tests go: Mish, no clipping of x0, noise so wide that float32 differences mean something.
 */
#define ACTOR                                                                                                \
    "{\"_target_\":\"DiffusionMLP\",\"action_dim\":2,\"horizon_steps\":3,\"cond_dim\":4,\"mlp_dims\":[8,8,"  \
    "8],"                                                                                                    \
    "\"residual_style\":true}"
#define MODEL(target, more)                                                                                  \
    "{\"_target_\":\"" target "\",\"actor\":" ACTOR                                                          \
    ",\"critic\":{\"_target_\":\"CriticObs\",\"cond_dim\":4,"                                                \
    "\"mlp_dims\":[8]},\"horizon_steps\":3,\"obs_dim\":4,\"action_dim\":2,\"denoising_steps\":6,"            \
    "\"denoised_clip_value\":null,\"randn_clip_value\":2,\"gamma_denoising\":0.9,"                           \
    "\"clip_ploss_coef\":0.5,\"clip_ploss_coef_base\":0.5," more "}"
#define EVAL(target, more)                                                                                   \
    "{\"_target_\":\"" target "\",\"network\":" ACTOR ",\"horizon_steps\":3,\"obs_dim\":4,\"action_dim\":2," \
    "\"denoising_steps\":6" more "}"

enum { B = 5, K = 6, HORIZON = 3, DA = 2, DO = 4, CHUNK = HORIZON * DA };

typedef struct fixture {
    dppo_generator *generator;
    dppo_context *cx;
    dppo_module *module;
    dppo_diffusion *model;
    dppo_tensor *state; /* (B, 1, DO), on the heap */
} fixture;

static fixture open_model(const char *json) {
    fixture f = {.generator = dppo_generator_new(11)};
    dppo_config *config = NULL;
    assert_int_equal(dppo_config_parse_json(json, "test", &config), DPPO_OK);
    if (dppo_build_module(config, f.generator, &f.module) != DPPO_OK) fail_msg("%s", dppo_message());
    dppo_config_free(config);
    f.model = dppo_diffusion_of(f.module);
    f.cx = dppo_context_new(f.generator);
    f.state = dppo_tensor_heap(DPPO_F32, 3, (const int64_t[]){B, 1, DO});
    assert_non_null(f.state);
    assert_int_equal(dppo_draw_randn(f.generator, f.state), DPPO_OK);
    return f;
}

static void close_model(fixture *f) {
    dppo_context_free(f->cx);
    dppo_module_free(f->module);
    dppo_tensor_free(f->state);
    dppo_generator_free(f->generator);
}

/* Makes the fine-tuned actor differ from the frozen one. */
static void disturb(dppo_module *module) {
    dppo_tensor *parameters[64];
    size_t count = dppo_module_parameters(module, parameters, NULL, 64);
    for (size_t i = 0; i < count; i++)
        for (int64_t j = 0; j < dppo_numel(parameters[i]); j++)
            dppo_f32(parameters[i])[j] += 0.1f * (float)((i + (size_t)j) % 3) - 0.1f;
}

static bool same_rows(const dppo_tensor *a, const dppo_tensor *b, int64_t row, double tolerance) {
    for (int64_t i = row * CHUNK; i < (row + 1) * CHUNK; i++)
        if (!(fabs(dppo_tensor_at(a, i) - dppo_tensor_at(b, i)) <= tolerance)) return false;
    return true;
}

/* -- chains
 * --------------------------------------------------------------------------------------------------- */

static void expect_chain(const char *json, int64_t fine_tuned, bool deterministic) {
    fixture f = open_model(json);
    dppo_tensor *trajectories, *chains;
    if (dppo_vpg_diffusion_forward(f.cx, f.module, dppo_cond_of(f.state), deterministic, true, false,
                                   &trajectories, &chains) != DPPO_OK)
        fail_msg("%s", dppo_message());
    const int64_t expected[] = {B, fine_tuned + 1, HORIZON, DA}, actions[] = {B, HORIZON, DA};
    assert_int_equal(chains->ndim, 4);
    assert_memory_equal(chains->shape, expected, sizeof expected);
    assert_int_equal(trajectories->ndim, 3);
    assert_memory_equal(trajectories->shape, actions, sizeof actions);
    dppo_tensor *last = dppo_select(f.cx, chains, 1, fine_tuned);
    for (int64_t i = 0; i < B * CHUNK; i++)
        assert_true(dppo_tensor_at(last, i) == dppo_tensor_at(trajectories, i));
    assert_false(trajectories->requires_grad);
    close_model(&f);
}

static void chains_hold_the_last_samples(void **unused) {
    (void)unused;
    expect_chain(MODEL("VPGDiffusion", "\"ft_denoising_steps\":2"), 2, false);
    expect_chain(MODEL("VPGDiffusion", "\"ft_denoising_steps\":6"), 6, false);
    expect_chain(MODEL("VPGDiffusion", "\"ft_denoising_steps\":0"), 0, true);
    expect_chain(MODEL("VPGDiffusion", "\"ft_denoising_steps\":3,\"use_ddim\":true,\"ddim_steps\":3,"
                                       "\"eta\":{\"_target_\":\"EtaFixed\"}"),
                 3, false);
}

/* With K' = K the chain begins with the noise that the sampler drew first. */
static void a_whole_chain_begins_with_the_noise(void **unused) {
    (void)unused;
    fixture f = open_model(MODEL("VPGDiffusion", "\"ft_denoising_steps\":6"));
    dppo_tensor *trajectories, *chains;
    dppo_manual_seed(f.generator, 4);
    assert_int_equal(dppo_vpg_diffusion_forward(f.cx, f.module, dppo_cond_of(f.state), false, true, false,
                                                &trajectories, &chains),
                     DPPO_OK);
    dppo_manual_seed(f.generator, 4);
    dppo_tensor *noise = dppo_randn(f.cx, 3, (const int64_t[]){B, HORIZON, DA});
    dppo_tensor *first = dppo_select(f.cx, chains, 1, 0);
    for (int64_t i = 0; i < B * CHUNK; i++)
        assert_true(dppo_tensor_at(first, i) == dppo_tensor_at(noise, i));
    close_model(&f);
}

static void ddim_needs_eta_to_explore(void **unused) {
    (void)unused;
    fixture f =
        open_model(MODEL("VPGDiffusion", "\"ft_denoising_steps\":2,\"use_ddim\":true,\"ddim_steps\":3"));
    dppo_tensor *trajectories, *chains;
    assert_int_equal(dppo_vpg_diffusion_forward(f.cx, f.module, dppo_cond_of(f.state), false, true, false,
                                                &trajectories, &chains),
                     DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "eta"));
    close_model(&f);
}

/* -- which network
 * -------------------------------------------------------------------------------------------- */

static dppo_tensor *mean_at(fixture *f, dppo_tensor *x, const int64_t *times, bool use_base_policy) {
    const int64_t shape[] = {B};
    dppo_tensor *logvar, *eta, *t = dppo_from_i64(f->cx, 1, shape, times);
    dppo_tensor *mu = dppo_vpg_diffusion_p_mean_var(f->cx, f->module, x, t, dppo_cond_of(f->state), NULL,
                                                    use_base_policy, false, &logvar, &eta);
    if (!mu) fail_msg("%s", dppo_message());
    return mu;
}

/* A mixed batch: rows below K' = 2 are the fine-tuned network's, the others the frozen one's. */
static void rows_are_shared_between_the_networks(void **unused) {
    (void)unused;
    fixture f = open_model(MODEL("VPGDiffusion", "\"ft_denoising_steps\":2"));
    disturb(f.model->actor_ft);
    const int64_t mixed[] = {0, 5, 1, 2, 3};
    dppo_tensor *x = dppo_randn(f.cx, 3, (const int64_t[]){B, HORIZON, DA});
    dppo_tensor *mu = mean_at(&f, x, mixed, false), *base = mean_at(&f, x, mixed, true);
    for (int64_t row = 0; row < B; row++) {
        int64_t times[B];
        for (int i = 0; i < B; i++)
            times[i] = mixed[row];
        bool fine_tuned = mixed[row] < 2;
        assert_true(same_rows(mu, mean_at(&f, x, times, false), row, 1e-6));
        assert_true(same_rows(base, mean_at(&f, x, times, true), row, 1e-6));
        assert_true(same_rows(mu, base, row, 1e-3) == !fine_tuned);
    }
    close_model(&f);
}

/* Without fine-tuned steps a deployed model is the pre-trained one, to the last bit. */
static void evaluation_without_fine_tuning_is_the_model_itself(void **unused) {
    (void)unused;
    fixture plain = open_model(EVAL("DiffusionModel", "")),
            eval = open_model(EVAL("DiffusionEval", ",\"ft_denoising_steps\":0"));
    disturb(eval.model->actor_ft);
    dppo_tensor *a, *b;
    assert_int_equal(dppo_diffusion_forward(plain.cx, plain.module, dppo_cond_of(plain.state), true, &a),
                     DPPO_OK);
    assert_int_equal(dppo_diffusion_forward(eval.cx, eval.module, dppo_cond_of(eval.state), true, &b),
                     DPPO_OK);
    assert_memory_equal(a->data, b->data, B * CHUNK * sizeof(float));
    close_model(&plain);
    close_model(&eval);
}

/* -- annealing
 * ---------------------------------------------------------------------------------------------------- */

static void annealing_freezes_what_was_trained(void **unused) {
    (void)unused;
    fixture f = open_model(MODEL(
        "PPODiffusion", "\"ft_denoising_steps\":5,\"ft_denoising_steps_d\":2,\"ft_denoising_steps_t\":2"));
    disturb(f.model->actor_ft);
    dppo_module *trained = f.model->actor_ft;
    for (int64_t calls = 1; calls <= 6; calls++) {
        assert_int_equal(dppo_vpg_diffusion_step(f.module), DPPO_OK);
        int64_t left = 5 - 2 * (calls / 2);
        assert_int_equal(dppo_diffusion_ft_denoising_steps(f.module), left > 0 ? left : 0);
        if (calls == 2) assert_ptr_equal(f.model->actor, trained);
    }
    dppo_tensor *frozen[32], *tuned[32];
    size_t count = dppo_module_parameters(f.model->actor, frozen, NULL, 32);
    assert_int_equal(dppo_module_parameters(f.model->actor_ft, tuned, NULL, 32), count);
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(frozen[i]->data, tuned[i]->data, (size_t)dppo_numel(frozen[i]) * sizeof(float));
        assert_false(frozen[i]->requires_grad);
        assert_true(tuned[i]->requires_grad);
    }
    close_model(&f);
}

/* -- DPPO's loss
 * ---------------------------------------------------------------------------------------------------- */

typedef struct batch {
    dppo_tensor *prev, *next, *inds, *returns, *oldvalues, *advantages, *oldlogprobs;
} batch;

static dppo_tensor *keep(dppo_tensor *tensor) {
    assert_non_null(tensor);
    dppo_tensor *kept = dppo_tensor_heap(tensor->dtype, tensor->ndim, tensor->shape);
    assert_non_null(kept);
    dppo_tensor_pack(tensor, kept->data);
    return kept;
}

/* Transitions of the model's own chains, old log-probabilities near the new ones: inside every clip. */
static batch sample_batch(fixture *f) {
    const int64_t inds[] = {0, 1, 2, 3, 1}, shape[] = {B};
    batch b = {0};
    dppo_tensor *trajectories, *chains, *t = dppo_from_i64(f->cx, 1, shape, inds), *prev[B], *next[B];
    assert_int_equal(dppo_vpg_diffusion_forward(f->cx, f->module, dppo_cond_of(f->state), false, true, false,
                                                &trajectories, &chains),
                     DPPO_OK);
    for (int i = 0; i < B; i++) {
        dppo_tensor *row = dppo_select(f->cx, chains, 0, i);
        prev[i] = dppo_select(f->cx, row, 0, inds[i]);
        next[i] = dppo_select(f->cx, row, 0, inds[i] + 1);
    }
    b.prev = keep(dppo_stack(f->cx, B, prev, 0));
    b.next = keep(dppo_stack(f->cx, B, next, 0));
    b.inds = keep(t);
    b.returns = keep(dppo_randn(f->cx, 1, shape));
    b.oldvalues = keep(dppo_randn(f->cx, 1, shape));
    b.advantages = keep(dppo_randn(f->cx, 1, shape));
    dppo_tensor *logprobs = dppo_vpg_diffusion_get_logprobs_subsample(
        f->cx, f->module, dppo_cond_of(f->state), b.prev, b.next, b.inds, false, NULL);
    b.oldlogprobs = keep(dppo_add_scalar(f->cx, logprobs, 0.001));
    return b;
}

static void free_batch(batch *b) {
    dppo_tensor *const all[] = {b->prev,      b->next,       b->inds,       b->returns,
                                b->oldvalues, b->advantages, b->oldlogprobs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        dppo_tensor_free(all[i]);
}

static dppo_ppo_loss loss_of(fixture *f, const batch *b) {
    dppo_ppo_loss loss;
    dppo_context_reset(f->cx);
    dppo_ppo_diffusion_batch rows = {.cond = dppo_cond_of(f->state),
                                     .chains_prev = b->prev,
                                     .chains_next = b->next,
                                     .oldlogprobs = b->oldlogprobs,
                                     .denoising_inds = b->inds,
                                     .returns = b->returns,
                                     .oldvalues = b->oldvalues,
                                     .advantages = b->advantages};
    if (dppo_ppo_diffusion_loss(f->cx, f->module, &rows, false, HORIZON, &loss) != DPPO_OK)
        fail_msg("%s", dppo_message());
    return loss;
}

/* pg_loss + v_loss + entropy_loss, added in float64. */
static double objective(fixture *f, const batch *b) {
    dppo_ppo_loss loss = loss_of(f, b);
    return dppo_item(f->cx, loss.pg_loss) + dppo_item(f->cx, loss.v_loss) +
           dppo_item(f->cx, loss.entropy_loss);
}

/* d objective / d parameter[index], from differences at two distances combined so that the cubic term is
 * gone. */
static double slope(fixture *f, const batch *b, dppo_tensor *parameter, int64_t index, float distance) {
    double at[2];
    float value = dppo_f32(parameter)[index];
    for (int i = 0; i < 2; i++) {
        float step = i == 0 ? distance : distance / 2, high = value + step, low = value - step;
        dppo_f32(parameter)[index] = high;
        double above = objective(f, b);
        dppo_f32(parameter)[index] = low;
        at[i] = (above - objective(f, b)) / ((double)high - (double)low);
    }
    dppo_f32(parameter)[index] = value;
    return (4 * at[1] - at[0]) / 3;
}

/* Of the parameters whose names begin with `prefix`, but of no frozen one. Returns how many numbers it
 * checked. */
static int expect_gradients(const char *json, const char *prefix, float distance, double tolerance) {
    fixture f = open_model(json);
    dppo_tensor *parameters[64];
    char *names[64];
    batch b = sample_batch(&f);
    dppo_ppo_loss loss = loss_of(&f, &b);
    dppo_tensor *objectives[] = {loss.pg_loss, loss.v_loss, loss.entropy_loss}, *ones[3] = {NULL};
    assert_int_equal(dppo_backward(f.cx, 3, objectives, ones), DPPO_OK);
    int checked = 0;
    size_t count = dppo_module_parameters(f.module, parameters, names, 64);
    for (size_t i = 0; i < count; i++) {
        bool trained = strncmp(names[i], "network.", 8) != 0;
        bool wanted = trained && strncmp(names[i], prefix, strlen(prefix)) == 0;
        if (wanted || !trained) assert_int_equal(parameters[i]->grad != NULL, trained);
        for (int64_t j = 0; wanted && j < dppo_numel(parameters[i]);
             j += 1 + dppo_numel(parameters[i]) / 3, checked++) {
            double expected = slope(&f, &b, parameters[i], j, distance),
                   found = dppo_tensor_at(parameters[i]->grad, j);
            if (!(fabs(found - expected) <= tolerance + 5e-3 * fabs(expected)))
                fail_msg("%s[%lld]: gradient %.7g, differences give %.7g", names[i], (long long)j, found,
                         expected);
        }
        free(names[i]);
    }
    free_batch(&b);
    close_model(&f);
    return checked;
}

static void gradients_match_finite_differences(void **unused) {
    (void)unused;
    const char *json = MODEL("PPODiffusion", "\"ft_denoising_steps\":4,\"min_sampling_denoising_std\":1,"
                                             "\"min_logprob_denoising_std\":1");
    assert_true(expect_gradients(json, "", 0.04f, 1e-4) > 40);
}

#define LEARN_ETA(eta)                                                                                       \
    MODEL("PPODiffusion",                                                                                    \
          "\"ft_denoising_steps\":4,\"use_ddim\":true,\"ddim_steps\":6,\"learn_eta\":true,"                  \
          "\"min_sampling_denoising_std\":0.3,\"min_logprob_denoising_std\":0.3,\"eta\":{" eta "}")
#define ETA_MLP "\"input_dim\":4,\"mlp_dims\":[8],\"activation_type\":\"Mish\",\"gain\":0.3"

/* Eta shapes the mean and the std of a DDIM step, and is the entropy term. The distance is small because the
 * bounds of the std and of eta are kinks nearby, and then float32 does not resolve more. */
static void gradients_reach_a_learned_eta(void **unused) {
    (void)unused;
    const char *const etas[] = {LEARN_ETA("\"_target_\":\"EtaAction\",\"action_dim\":2"),
                                LEARN_ETA("\"_target_\":\"EtaState\"," ETA_MLP),
                                LEARN_ETA("\"_target_\":\"EtaStateAction\",\"action_dim\":2," ETA_MLP)};
    const int numbers[] = {2, 10, 11};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(expect_gradients(etas[i], "eta.", 0.005f, 1e-3), numbers[i]);
}

/* However it is parametrised, eta begins at, or near, base_eta, within its bounds. */
static void etas_begin_at_their_base(void **unused) {
    (void)unused;
    const char *const etas[] = {LEARN_ETA("\"_target_\":\"EtaFixed\",\"base_eta\":0.7"),
                                LEARN_ETA("\"_target_\":\"EtaAction\",\"base_eta\":0.7,\"action_dim\":2"),
                                LEARN_ETA("\"_target_\":\"EtaState\",\"base_eta\":0.7,\"input_dim\":4,"
                                          "\"mlp_dims\":[8]"),
                                LEARN_ETA("\"_target_\":\"EtaStateAction\",\"base_eta\":0.7,\"input_dim\":4,"
                                          "\"mlp_dims\":[8],\"action_dim\":2")};
    const int64_t widths[] = {1, 2, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        fixture f = open_model(etas[i]);
        dppo_cond cond = dppo_cond_of(f.state);
        dppo_tensor *eta = dppo_eta_forward(f.cx, f.model->eta, cond);
        assert_true(eta && eta->ndim == 2 && eta->shape[0] == B && eta->shape[1] == widths[i]);
        for (int64_t j = 0; j < dppo_numel(eta); j++)
            assert_true(fabs(dppo_tensor_at(eta, j) - 0.7) < (i < 2 ? 1e-6 : 1e-2));
        cond.rgb = f.state;
        assert_int_equal(dppo_eta_forward(f.cx, f.model->eta, cond) != NULL, i < 2);
        close_model(&f);
    }
}

/* To an EtaFixed nothing flows, and the loss is whatever it was. */
static void an_eta_fixed_does_not_learn(void **unused) {
    (void)unused;
    fixture f = open_model(LEARN_ETA("\"_target_\":\"EtaFixed\""));
    dppo_tensor *eta_logit;
    batch b = sample_batch(&f);
    dppo_ppo_loss loss = loss_of(&f, &b);
    assert_int_equal(dppo_backward(f.cx, 1, &loss.pg_loss, (dppo_tensor *[]){NULL}), DPPO_OK);
    assert_int_equal(dppo_module_parameters(f.model->eta, &eta_logit, NULL, 1), 1);
    assert_true(eta_logit->requires_grad);
    assert_null(eta_logit->grad);
    assert_false(loss.entropy_loss->requires_grad);
    free_batch(&b);
    close_model(&f);
}

static void one_fine_tuned_step_is_refused(void **unused) {
    (void)unused;
    fixture f = open_model(MODEL("PPODiffusion", "\"ft_denoising_steps\":1"));
    dppo_ppo_loss loss;
    dppo_ppo_diffusion_batch rows = {.cond = dppo_cond_of(f.state)};
    assert_int_equal(dppo_ppo_diffusion_loss(f.cx, f.module, &rows, false, 1, &loss), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "ft_denoising_steps"));
    close_model(&f);
}

/* Log-probabilities of whole chains are those of their transitions. */
static void chains_and_transitions_agree(void **unused) {
    (void)unused;
    fixture f = open_model(MODEL("VPGDiffusion", "\"ft_denoising_steps\":4"));
    dppo_tensor *trajectories, *chains;
    assert_int_equal(dppo_vpg_diffusion_forward(f.cx, f.module, dppo_cond_of(f.state), false, true, false,
                                                &trajectories, &chains),
                     DPPO_OK);
    dppo_tensor *whole =
        dppo_vpg_diffusion_get_logprobs(f.cx, f.module, dppo_cond_of(f.state), chains, false, NULL);
    for (int64_t k = 0; k < 4; k++) {
        dppo_tensor *inds = dppo_full(f.cx, DPPO_I64, 1, (const int64_t[]){B}, (double)k);
        dppo_tensor *single = dppo_vpg_diffusion_get_logprobs_subsample(
            f.cx, f.module, dppo_cond_of(f.state), dppo_select(f.cx, chains, 1, k),
            dppo_select(f.cx, chains, 1, k + 1), inds, false, NULL);
        if (!whole || !single) fail_msg("%s", dppo_message());
        for (int64_t i = 0; i < B * CHUNK; i++) {
            double expected = dppo_tensor_at(whole, (i / CHUNK * 4 + k) * CHUNK + i % CHUNK);
            assert_true(fabs(dppo_tensor_at(single, i) - expected) <= 1e-4);
        }
    }
    close_model(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_hold_the_last_samples),
        cmocka_unit_test(a_whole_chain_begins_with_the_noise),
        cmocka_unit_test(ddim_needs_eta_to_explore),
        cmocka_unit_test(rows_are_shared_between_the_networks),
        cmocka_unit_test(evaluation_without_fine_tuning_is_the_model_itself),
        cmocka_unit_test(annealing_freezes_what_was_trained),
        cmocka_unit_test(gradients_match_finite_differences),
        cmocka_unit_test(gradients_reach_a_learned_eta),
        cmocka_unit_test(etas_begin_at_their_base),
        cmocka_unit_test(an_eta_fixed_does_not_learn),
        cmocka_unit_test(one_fine_tuned_step_is_refused),
        cmocka_unit_test(chains_and_transitions_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
