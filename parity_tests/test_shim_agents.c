/* The learners of the torch side beside those of C: equal from the start, able to continue from their own
 * state and from each other's, and one update from one state gives the same numbers. */
#include "data/dataset.h"
#include "shim.h"
#include "timing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 4, T = 6, OBS = 5, TA = 2, DA = 3, KFT = 3 };

#define SCHEDULE "{\"first_cycle_steps\": 20, \"warmup_steps\": 2, \"min_lr\": 1e-4}"
#define CRITIC                                                                                               \
    "\"critic\": {\"_target_\": \"CriticObs\", \"cond_dim\": 5, \"mlp_dims\": [16, 16, 16], "                \
    "\"activation_type\": \"Mish\", \"residual_style\": true}"
#define DIFFUSION_MLP                                                                                        \
    "{\"_target_\": \"DiffusionMLP\", \"action_dim\": 3, \"horizon_steps\": 2, \"cond_dim\": 5, "            \
    "\"mlp_dims\": [32, 32, 32], \"activation_type\": \"ReLU\", \"residual_style\": true}"
#define SIZES                                                                                                \
    "\"seed\": 7, \"obs_dim\": 5, \"action_dim\": 3, \"horizon_steps\": 2, \"act_steps\": 2, "               \
    "\"cond_steps\": 1, \"env\": {\"n_envs\": 4}, "
#define TRAIN TRAIN_AND("")
#define TRAIN_AND(MORE)                                                                                      \
    "\"train\": {" MORE                                                                                      \
    "\"n_critic_warmup_itr\": 1, \"gamma\": 0.99, \"actor_lr\": 1e-3, \"actor_weight_decay\": "              \
    "0.01, \"actor_lr_scheduler\": " SCHEDULE ", \"critic_lr\": 1e-3, \"critic_weight_decay\": 0, "          \
    "\"critic_lr_scheduler\": " SCHEDULE ", \"reward_scale_running\": true, \"batch_size\": 8, "             \
    "\"logprob_batch_size\": 8, \"update_epochs\": 2, \"vf_coef\": 0.5, \"ent_coef\": 0.01, "                \
    "\"target_kl\": 1, \"max_grad_norm\": 0.5, \"use_bc_loss\": true, \"bc_loss_coeff\": 0.1}, "

#define DIFFUSION_MODEL(MORE)                                                                                \
    "{\"_target_\": \"PPODiffusion\", \"gamma_denoising\": 0.99, \"clip_ploss_coef\": 0.01, "                \
    "\"randn_clip_value\": 3, \"actor\": " DIFFUSION_MLP ", " CRITIC ", \"ft_denoising_steps\": 3, " MORE    \
    "\"denoising_steps\": 6, \"horizon_steps\": 2, \"obs_dim\": 5, \"action_dim\": 3, \"device\": \"cpu\"}"
#define DIFFUSION_CONFIG(MORE)                                                                               \
    "{\"_target_\": \"agent.TrainPPODiffusionAgent\", " SIZES TRAIN "\"model\": " DIFFUSION_MODEL(MORE) "}"

static const char diffusion_config[] = DIFFUSION_CONFIG("");
/* K' = 3 for two iterations, then 2 */
static const char annealed_config[] =
    DIFFUSION_CONFIG("\"ft_denoising_steps_d\": 1, \"ft_denoising_steps_t\": 2, ");

static const char gaussian_config[] =
    "{\"_target_\": \"agent.TrainPPOGaussianAgent\", " SIZES TRAIN
    "\"model\": {\"_target_\": \"PPO_Gaussian\", \"clip_ploss_coef\": 0.1, \"randn_clip_value\": 3, "
    "\"actor\": {\"_target_\": \"Gaussian_MLP\", \"mlp_dims\": [32, 32], \"activation_type\": \"ReLU\", "
    "\"cond_dim\": 5, \"horizon_steps\": 2, \"action_dim\": 3}, " CRITIC
    ", \"horizon_steps\": 2, \"device\": \"cpu\"}}";

static const char pretrain_config[] =
    "{\"_target_\": \"agent.TrainDiffusionAgent\", " SIZES
    "\"train\": {\"learning_rate\": 1e-3, \"weight_decay\": 1e-6, \"lr_scheduler\": " SCHEDULE "}, "
    "\"ema\": {\"decay\": 0.9}, \"model\": {\"_target_\": \"DiffusionModel\", \"network\": " DIFFUSION_MLP
    ", \"denoising_steps\": 6, \"horizon_steps\": 2, \"obs_dim\": 5, \"action_dim\": 3}}";

static const char transformer_config[] =
    "{\"_target_\": \"agent.TrainPPOGaussianAgent\", " SIZES TRAIN
    "\"model\": {\"_target_\": \"PPO_Gaussian\", \"clip_ploss_coef\": 0.1, \"randn_clip_value\": 3, "
    "\"actor\": {\"_target_\": \"Gaussian_Transformer\", \"transformer_embed_dim\": 16, \"cond_dim\": 5, "
    "\"transformer_num_heads\": 2, \"transformer_num_layers\": 2, \"fixed_std\": 0.3, \"learn_fixed_std\": "
    "true, "
    "\"horizon_steps\": 2, \"action_dim\": 3}, " CRITIC ", \"horizon_steps\": 2, \"device\": \"cpu\"}}";

/* DDIM, whose noise depends on the state. */
#define ETA                                                                                                  \
    "\"use_ddim\": true, \"ddim_steps\": 6, \"eta\": {\"_target_\": \"EtaStateAction\", "                    \
    "\"input_dim\": 5, \"mlp_dims\": [8], \"action_dim\": 3}, "
static const char eta_config[] = DIFFUSION_CONFIG(ETA);

/* The same, learned, at every second minibatch. */
static const char learned_eta_config[] = "{\"_target_\": \"agent.TrainPPODiffusionAgent\", " SIZES TRAIN_AND(
    "\"eta_lr\": 1e-2, \"eta_weight_decay\": 0.01, \"eta_update_interval\": 2, "
    "\"eta_lr_scheduler\": " SCHEDULE ", ") "\"model\": " DIFFUSION_MODEL(ETA "\"learn_eta\": true, ") "}";

static void ok(dppo_status status) {
    if (status != DPPO_OK) fail_msg("%s", dppo_message());
}

static dppo_agent *make(const dppo_agent_class *side, const char *json) {
    dppo_config *config;
    dppo_agent *agent;
    ok(dppo_config_parse_json(json, "config", &config));
    ok(side->create(config, &agent));
    dppo_config_free(config);
    return agent;
}

/* Observations, rewards and ends of episodes from a seed; actions from the agent. */
typedef struct rollout {
    float obs[T + 1][N][OBS], chains[T * N * (KFT + 1) * TA * DA], actions[N * TA * DA];
    double reward[T][N], terminated[T][N], firsts[T + 1][N];
} rollout;

static void fill(rollout *made, uint64_t seed) {
    dppo_generator *generator = dppo_generator_new(seed);
    dppo_tensor view = {
        .dtype = DPPO_F32, .ndim = 1, .shape = {(T + 1) * N * OBS}, .stride = {1}, .data = made->obs};
    assert_non_null(generator);
    ok(dppo_draw_randn(generator, &view));
    for (int t = 0; t < T; t++)
        for (int n = 0; n < N; n++) {
            made->reward[t][n] = dppo_random_double(generator) * 3 - 1;
            made->terminated[t][n] = dppo_random_double(generator) < 0.2;
            made->firsts[t][n] = t == 0 || made->terminated[t - 1][n] != 0;
        }
    dppo_generator_free(generator);
}

static dppo_rollout collect(const dppo_agent_class *side, dppo_agent *agent, int chain_length,
                            rollout *made) {
    for (int t = 0; t < T; t++)
        ok(side->act(agent, N, made->obs[t][0], false, made->actions,
                     made->chains + (size_t)t * N * (size_t)chain_length * TA * DA));
    return (dppo_rollout){.n_steps = T,
                          .n_envs = N,
                          .chain_length = chain_length,
                          .cond_steps = 1,
                          .obs_dim = OBS,
                          .horizon_steps = TA,
                          .action_dim = DA,
                          .obs = made->obs[0][0],
                          .chains = made->chains,
                          .reward = made->reward[0],
                          .terminated = made->terminated[0],
                          .firsts = made->firsts[0],
                          .last_obs = made->obs[T][0]};
}

static void iterate(const dppo_agent_class *side, dppo_agent *agent, int chain_length, int itr,
                    dppo_trace *trace, dppo_update_metrics *metrics) {
    static rollout made;
    fill(&made, (uint64_t)(100 + itr));
    dppo_rollout data = collect(side, agent, chain_length, &made);
    ok(side->update(agent, itr, &data, metrics, trace));
    ok(side->end_iteration(agent, itr));
}

static dppo_named state_of(const dppo_agent_class *side, const dppo_agent *agent) {
    dppo_named state = {0};
    ok(side->save(agent, &state));
    return state;
}

/* Names of `a` that `b` lacks, or that differ by more than `tolerance` (absolute and relative). */
static size_t differences(const dppo_named *a, const dppo_named *b, double tolerance) {
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        const dppo_tensor *x = a->entries[i].tensor, *y = dppo_named_get(b, a->entries[i].name);
        bool same = y && x->dtype == y->dtype && dppo_same_shape(x, y);
        for (int64_t e = 0; same && e < dppo_numel(x); e++) {
            double p = dppo_tensor_at(x, e), q = dppo_tensor_at(y, e);
            same = fabs(p - q) <= tolerance * (1 + fabs(q));
        }
        if (!same) print_message("%s differs%s\n", a->entries[i].name, y ? "" : ": absent");
        count += !same;
    }
    return count;
}

static void assert_same(const dppo_agent_class *one, const dppo_agent *a, const dppo_agent_class *other,
                        const dppo_agent *b, double tolerance) {
    dppo_named first = state_of(one, a), second = state_of(other, b);
    assert_int_equal(differences(&first, &second, tolerance), 0);
    assert_int_equal(differences(&second, &first, tolerance), 0);
    dppo_named_free(&first);
    dppo_named_free(&second);
}

static void move_state(const dppo_agent_class *from, const dppo_agent *a, const dppo_agent_class *to,
                       dppo_agent *b) {
    dppo_named state = state_of(from, a);
    ok(to->load(b, &state));
    dppo_named_free(&state);
}

/* -- the torch side alone
 * ------------------------------------------------------------------------------------ */

/* chain_length: of the first two iterations, and of the third, which a resumed learner does too. */
static void check_resume_on(const dppo_agent_class *side, const char *config, int chain_length, int last) {
    dppo_agent *straight = make(side, config), *resumed = make(side, config);
    dppo_update_metrics metrics;
    iterate(side, straight, chain_length, 0, NULL, &metrics);
    iterate(side, straight, chain_length, 1, NULL, &metrics);
    move_state(side, straight, side, resumed);
    iterate(side, straight, last, 2, NULL, &metrics);
    iterate(side, resumed, last, 2, NULL, &metrics);
    assert_same(side, straight, side, resumed, 0);
    side->destroy(straight);
    side->destroy(resumed);
}

static void check_resume(const char *config, int chain_length) {
    check_resume_on(&shim_agent_class, config, chain_length, chain_length);
}

/* Annealing has made the fine-tuned actor the base before the state is saved: both sides go on from there. */
static void resumes_annealing(void **state) {
    (void)state;
    check_resume_on(&dppo_c_agent_class, annealed_config, KFT + 1, KFT);
    check_resume_on(&shim_agent_class, annealed_config, KFT + 1, KFT);
}

static void resumes_diffusion(void **state) {
    (void)state;
    check_resume(diffusion_config, KFT + 1);
}

static void resumes_gaussian(void **state) {
    (void)state;
    check_resume(gaussian_config, 1);
}

/* During the critic's warm-up the actor stands still; afterwards it moves. */
static void warms_the_critic_up(void **state) {
    (void)state;
    const dppo_agent_class *side = &shim_agent_class;
    dppo_agent *agent = make(side, diffusion_config);
    dppo_update_metrics metrics;
    const char *name = "model/actor_ft.mlp_mean.layers.0.weight";
    double before, warm, after;
    dppo_named saved[3];
    saved[0] = state_of(side, agent);
    iterate(side, agent, KFT + 1, 0, NULL, &metrics);
    saved[1] = state_of(side, agent);
    iterate(side, agent, KFT + 1, 1, NULL, &metrics);
    saved[2] = state_of(side, agent);
    before = dppo_tensor_at(dppo_named_get(&saved[0], name), 0);
    warm = dppo_tensor_at(dppo_named_get(&saved[1], name), 0);
    after = dppo_tensor_at(dppo_named_get(&saved[2], name), 0);
    assert_true(before == warm);
    assert_true(warm != after);
    for (int i = 0; i < 3; i++)
        dppo_named_free(&saved[i]);
    side->destroy(agent);
}

static void refuses(void **state) {
    (void)state;
    dppo_config *config;
    dppo_agent *agent;
    ok(dppo_config_parse_json("{\"_target_\": \"a.NoSuchAgent\"}", "config", &config));
    assert_int_equal(shim_agent_class.create(config, &agent), DPPO_MISSING);
    assert_non_null(strstr(dppo_message(), "NoSuchAgent"));
    dppo_config_free(config);
    agent = make(&shim_agent_class, pretrain_config);
    dppo_named empty = {0};
    assert_int_equal(shim_agent_class.load(agent, &empty), DPPO_INVALID);
    assert_int_equal(shim_agent_class.update(agent, 0, NULL, NULL, NULL), DPPO_MISSING);
    shim_agent_class.destroy(agent);
}

/* -- both sides
 * ------------------------------------------------------------------------------------------------ */

static double row_gap(const dppo_trace_row *a, const dppo_trace_row *b) {
    double worst = 0;
#define GAP(field) worst = fmax(worst, fabs(a->field - b->field) / (1 + fabs(b->field)));
    DPPO_TRACE_COLUMNS(GAP)
#undef GAP
    return worst;
}

/* Each iteration from one state: first rows of the trace to rounding, later ones as rounding grows. */
static void check_both(const char *config, int chain_length) {
    const dppo_agent_class *c = &dppo_c_agent_class, *torch = &shim_agent_class;
    dppo_agent *a = make(c, config), *b = make(torch, config);
    assert_same(c, a, torch, b, 0);
    for (int itr = 0; itr < 3; itr++) {
        dppo_update_metrics metrics_c, metrics_torch;
        dppo_trace trace_c = {0}, trace_torch = {0};
        iterate(c, a, chain_length, itr, &trace_c, &metrics_c);
        iterate(torch, b, chain_length, itr, &trace_torch, &metrics_torch);
        assert_true(trace_c.count > 0);
        assert_int_equal(trace_c.count, trace_torch.count);
        for (size_t i = 0; i < trace_c.count; i++) {
            double gap = row_gap(&trace_c.rows[i], &trace_torch.rows[i]);
            if (!(gap <= 1e-4)) fail_msg("iteration %d, minibatch %zu: gap %g", itr, i, gap);
        }
        assert_true(fabs(metrics_c.explained_variance - metrics_torch.explained_variance) <= 1e-4);
        assert_same(c, a, torch, b, 1e-4);
        move_state(itr % 2 ? torch : c, itr % 2 ? b : a, itr % 2 ? c : torch, itr % 2 ? a : b);
        assert_same(c, a, torch, b, 0);
        free(trace_c.rows);
        free(trace_torch.rows);
    }
    c->destroy(a);
    torch->destroy(b);
}

static void agrees_diffusion(void **state) {
    (void)state;
    check_both(diffusion_config, KFT + 1);
}

static void agrees_gaussian(void **state) {
    (void)state;
    check_both(gaussian_config, 1);
}

/* The weights of a transformer, and of an eta, are drawn twice: the sides begin with the same ones. */
static void agrees_transformer(void **state) {
    (void)state;
    check_both(transformer_config, 1);
}

static void agrees_diffusion_with_an_eta_of_the_state(void **state) {
    (void)state;
    check_both(eta_config, KFT + 1);
}

static void agrees_and_resumes_with_a_learned_eta(void **state) {
    (void)state;
    check_both(learned_eta_config, KFT + 1);
    check_resume(learned_eta_config, KFT + 1);
}

static void agrees_pretraining(void **state) {
    (void)state;
    const dppo_agent_class *c = &dppo_c_agent_class, *torch = &shim_agent_class;
    dppo_agent *a = make(c, pretrain_config), *b = make(torch, pretrain_config);
    static rollout made;
    fill(&made, 3);
    for (int step = 0; step < 6; step++) {
        double loss_c, loss_torch, norm_c, norm_torch;
        const float *actions = &made.obs[0][0][0] + step, *obs = made.obs[1][0];
        ok(c->pretrain_step(a, N, actions, obs, step % 3, &loss_c, &norm_c));
        ok(torch->pretrain_step(b, N, actions, obs, step % 3, &loss_torch, &norm_torch));
        assert_true(fabs(loss_c - loss_torch) <= 1e-5 && fabs(norm_c - norm_torch) <= 1e-4);
        ok(c->pretrain_end_epoch(a));
        ok(torch->pretrain_end_epoch(b));
        assert_same(c, a, torch, b, 1e-4);
    }
    c->destroy(a);
    torch->destroy(b);
}

/* A configuration with %s replaced by a path. */
static dppo_agent *make_from(const dppo_agent_class *side, const char *format, const char *path) {
    char json[4096];
    (void)snprintf(json, sizeof json, format, path);
    return make(side, json);
}

static void assert_same_actions(const char *format, const char *path, bool deterministic) {
    const dppo_agent_class *sides[] = {&dppo_c_agent_class, &shim_agent_class};
    static rollout made;
    float actions[2][N * TA * DA];
    fill(&made, 11);
    for (int i = 0; i < 2; i++) {
        dppo_agent *agent = make_from(sides[i], format, path);
        ok(sides[i]->act(agent, N, made.obs[0][0], deterministic, actions[i], NULL));
        sides[i]->destroy(agent);
    }
    for (int i = 0; i < N * TA * DA; i++)
        assert_true(fabsf(actions[0][i] - actions[1][i]) <= 1e-5f * (1 + fabsf(actions[1][i])));
}

#define FINETUNE_FORMAT                                                                                      \
    "{\"_target_\": \"TrainPPODiffusionAgent\", " SIZES TRAIN                                                \
    "\"model\": {\"_target_\": \"PPODiffusion\", \"gamma_denoising\": 0.99, "                                \
    "\"clip_ploss_coef\": 0.01, \"network_path\": \"%s\", \"actor\": " DIFFUSION_MLP ", " CRITIC             \
    ", \"ft_denoising_steps\": 3, \"denoising_steps\": 6, "                                                  \
    "\"horizon_steps\": 2, \"obs_dim\": 5, \"action_dim\": 3}}"

#define EVAL_FORMAT(STEPS)                                                                                   \
    "{\"_target_\": \"EvalDiffusionAgent\", " SIZES                                                          \
    "\"model\": {\"_target_\": \"DiffusionEval\", \"network_path\": \"%s\", \"ft_denoising_steps\": " STEPS  \
    ", \"network\": " DIFFUSION_MLP                                                                          \
    ", \"denoising_steps\": 6, \"horizon_steps\": 2, \"obs_dim\": 5, \"action_dim\": 3}}"

/* A trained learner and a pre-trained one, from their checkpoints, on either side. */
static void act_from_checkpoints(void **state) {
    (void)state;
    const dppo_agent_class *torch = &shim_agent_class;
    char folder[] = "/tmp/test_shim_agents_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/state.h5", folder);
    dppo_update_metrics metrics;
    dppo_agent *agent = make(torch, diffusion_config);
    iterate(torch, agent, KFT + 1, 1, NULL, &metrics);
    dppo_named saved = state_of(torch, agent);
    ok(dppo_checkpoint_write(path, &saved, "{}"));
    assert_same_actions(EVAL_FORMAT("3"), path, true);
    dppo_named_free(&saved);
    torch->destroy(agent);

    agent = make(torch, pretrain_config);
    saved = state_of(torch, agent);
    ok(dppo_checkpoint_write(path, &saved, "{}"));
    assert_same_actions(EVAL_FORMAT("0"), path, true);
    assert_same_actions(FINETUNE_FORMAT, path, false);
    dppo_named_free(&saved);
    torch->destroy(agent);
    (void)remove(path);
    (void)remove(folder);
}

/* A checkpoint of which nothing fits is a wrong file, not a policy from scratch. */
static void foreign_checkpoints_are_refused(void **state) {
    (void)state;
    const dppo_agent_class *sides[] = {&dppo_c_agent_class, &shim_agent_class};
    char path[] = "/tmp/test_shim_agents_XXXXXX", json[4096];
    dppo_named other = {0};
    assert_true(mkstemp(path) >= 0);
    ok(dppo_named_put_f64(&other, "ema/policy.weight", 1));
    ok(dppo_named_put_f64(&other, "model/policy.weight", 1));
    ok(dppo_checkpoint_write(path, &other, "{}"));
    (void)snprintf(json, sizeof json, FINETUNE_FORMAT, path);
    for (int i = 0; i < 2; i++) {
        dppo_config *config;
        dppo_agent *agent = NULL;
        ok(dppo_config_parse_json(json, "config", &config));
        assert_int_equal(sides[i]->create(config, &agent), DPPO_INVALID);
        assert_non_null(strstr(dppo_message(), "nothing to load"));
        dppo_config_free(config);
    }
    dppo_named_free(&other);
    (void)remove(path);
}

/* -- what measurements leave out */

/* What a learner does that could differ: actions and chains, drawn and deterministic, and an update with all
 * it logs. */
typedef struct seen {
    float actions[2][N * TA * DA], chains[2][N * (KFT + 1) * TA * DA];
    dppo_trace trace;
    dppo_update_metrics metrics;
} seen;

static void see(dppo_agent *agent, int itr, int chain_length, bool skip, seen *out) {
    static rollout made;
    const dppo_agent_class *torch = &shim_agent_class;
    *out = (seen){0};
    fill(&made, (uint64_t)(200 + itr));
    shim_skip_frozen(skip);
    for (int k = 0; k < 2; k++)
        ok(torch->act(agent, N, made.obs[k][0], k, out->actions[k], out->chains[k]));
    iterate(torch, agent, chain_length, itr, &out->trace, &out->metrics);
    shim_skip_frozen(false);
}

static void assert_seen_same(const seen *a, const seen *b) {
    const dppo_update_metrics *x = &a->metrics, *y = &b->metrics;
    assert_memory_equal(a->actions, b->actions, sizeof a->actions);
    assert_memory_equal(a->chains, b->chains, sizeof a->chains);
    assert_true(a->trace.count > 0);
    assert_int_equal(a->trace.count, b->trace.count);
    assert_memory_equal(a->trace.rows, b->trace.rows, a->trace.count * sizeof *a->trace.rows);
#define SAME(field, label) assert_memory_equal(&x->field, &y->field, sizeof x->field);
    DPPO_UPDATE_METRICS(SAME)
#undef SAME
}

/* After the critic's warm-up, an iteration, the fine-tuned network is another than the frozen one: an
 * evaluation that is left out where it counts, or done by the wrong one of them, is seen. lengths: K'+1 of
 * each iteration. */
static void check_skipping(const char *config, const int lengths[4]) {
    const dppo_agent_class *torch = &shim_agent_class;
    dppo_agent *whole = make(torch, config), *skipping = make(torch, config);
    for (int itr = 0; itr < 4; itr++) {
        seen a, b;
        see(whole, itr, lengths[itr], false, &a);
        see(skipping, itr, lengths[itr], true, &b);
        assert_seen_same(&a, &b);
        assert_same(torch, whole, torch, skipping, 0);
        free(a.trace.rows);
        free(b.trace.rows);
    }
    torch->destroy(whole);
    torch->destroy(skipping);
}

static void skips_the_frozen_network_in_every_bit(void **state) {
    (void)state;
    const int always[] = {KFT + 1, KFT + 1, KFT + 1, KFT + 1}, annealed[] = {KFT + 1, KFT + 1, KFT, KFT};
    check_skipping(diffusion_config, always);
    check_skipping(eta_config, always);
    check_skipping(annealed_config, annealed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumes_diffusion),
        cmocka_unit_test(resumes_gaussian),
        cmocka_unit_test(warms_the_critic_up),
        cmocka_unit_test(refuses),
        cmocka_unit_test(agrees_gaussian),
        cmocka_unit_test(agrees_diffusion),
        cmocka_unit_test(agrees_transformer),
        cmocka_unit_test(agrees_diffusion_with_an_eta_of_the_state),
        cmocka_unit_test(agrees_and_resumes_with_a_learned_eta),
        cmocka_unit_test(agrees_pretraining),
        cmocka_unit_test(act_from_checkpoints),
        cmocka_unit_test(foreign_checkpoints_are_refused),
        cmocka_unit_test(resumes_annealing),
        cmocka_unit_test(skips_the_frozen_network_in_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
