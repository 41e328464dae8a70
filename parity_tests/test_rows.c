/* Minibatches in chunks of rows: whatever the chunks and the threads, a learner's state after an update is
 * the same in every bit as with whole minibatches. */
#include "algorithms/ppo.h"
#include "base/pool.h"
#include "random/generator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { N = 40, T = 40, OBS = 11, TA = 4, DA = 3, KFT = 10, ROWS = N * T, PAIRS = ROWS * KFT };

/* The original's Hopper networks. 15 000 of 16 000 pairs a minibatch: six chunks, and
 * a longer last one; more than twice as many as the gradients of small layers wait for. */
static const char json[] =
    "{\"_target_\": \"agent.TrainPPODiffusionAgent\", \"seed\": 7, \"obs_dim\": 11, \"action_dim\": 3, "
    "\"horizon_steps\": 4, \"act_steps\": 4, \"cond_steps\": 1, \"env\": {\"n_envs\": 40}, "
    "\"train\": {\"n_critic_warmup_itr\": 0, \"gamma\": 0.99, \"actor_lr\": 1e-3, \"actor_weight_decay\": 0, "
    "\"actor_lr_scheduler\": {\"first_cycle_steps\": 20, \"warmup_steps\": 2, \"min_lr\": 1e-4}, "
    "\"critic_lr\": 1e-3, \"critic_weight_decay\": 0, "
    "\"critic_lr_scheduler\": {\"first_cycle_steps\": 20, \"warmup_steps\": 2, \"min_lr\": 1e-4}, "
    "\"reward_scale_running\": true, \"batch_size\": 15000, \"logprob_batch_size\": 640, \"update_epochs\": "
    "2, "
    "\"vf_coef\": 0.5, \"target_kl\": null}, "
    "\"model\": {\"_target_\": \"PPODiffusion\", \"gamma_denoising\": 0.99, \"clip_ploss_coef\": 0.01, "
    "\"clip_vloss_coef\": 0.2, \"randn_clip_value\": 3, \"actor\": {\"_target_\": \"DiffusionMLP\", "
    "\"action_dim\": 3, \"horizon_steps\": 4, \"cond_dim\": 11, \"mlp_dims\": [512, 512, 512], "
    "\"activation_type\": \"ReLU\", \"residual_style\": true}, \"critic\": {\"_target_\": \"CriticObs\", "
    "\"cond_dim\": 11, \"mlp_dims\": [256, 256, 256], \"activation_type\": \"Mish\", \"residual_style\": "
    "true}, "
    "\"ft_denoising_steps\": 10, \"denoising_steps\": 20, \"horizon_steps\": 4, \"obs_dim\": 11, "
    "\"action_dim\": 3, \"device\": \"cpu\"}}";

typedef struct experience {
    float obs[(ROWS + N) * OBS], actions[ROWS * TA * DA], chains[ROWS * (KFT + 1) * TA * DA];
    double reward[ROWS], terminated[ROWS], firsts[ROWS + N];
} experience;

static void ok(dppo_status status) {
    if (status != DPPO_OK) fail_msg("%s", dppo_message());
}

static dppo_agent *make(void) {
    dppo_config *config;
    dppo_agent *agent;
    ok(dppo_config_parse_json(json, "test", &config));
    ok(dppo_c_agent_class.create(config, &agent));
    dppo_config_free(config);
    return agent;
}

static experience *collect(dppo_agent *agent) {
    experience *e = calloc(1, sizeof *e);
    dppo_generator *generator = dppo_generator_new(3);
    assert_true(e && generator);
    for (int i = 0; i < (ROWS + N) * OBS; i++)
        e->obs[i] = (float)(2 * dppo_random_double(generator) - 1);
    for (int i = 0; i < ROWS; i++)
        e->reward[i] = dppo_random_double(generator);
    dppo_generator_free(generator);
    ok(dppo_c_agent_class.act(agent, ROWS, e->obs, false, e->actions, e->chains));
    return e;
}

/* A learner's state after one update; `chunks`: how minibatches are to be evaluated. */
static dppo_named updated(int threads, bool chunks) {
    dppo_update_metrics metrics;
    dppo_trace trace = {0};
    dppo_named state = {0};
    dppo_set_threads(threads);
    dppo_agent *agent = make();
    experience *e = collect(agent);
    dppo_rollout rollout = {.n_steps = T,
                            .n_envs = N,
                            .chain_length = KFT + 1,
                            .cond_steps = 1,
                            .obs_dim = OBS,
                            .horizon_steps = TA,
                            .action_dim = DA,
                            .obs = e->obs,
                            .chains = e->chains,
                            .reward = e->reward,
                            .terminated = e->terminated,
                            .firsts = e->firsts,
                            .last_obs = e->obs + ROWS * OBS};
    dppo_ppo *ppo = (dppo_ppo *)agent;
    if (!chunks) ppo->minibatches = ppo->logprobs = ppo->values = DPPO_WHOLE;
    ok(dppo_c_agent_class.update(agent, 0, &rollout, &metrics, &trace));
    assert_int_equal(trace.count, 2);
    assert_int_equal(ppo->minibatches, chunks ? DPPO_IN_CHUNKS : DPPO_WHOLE);
    assert_int_equal(ppo->logprobs, chunks ? DPPO_IN_CHUNKS : DPPO_WHOLE);
    ok(dppo_c_agent_class.save(agent, &state));
    ok(dppo_named_put_f64(&state, "loss", trace.rows[0].loss));
    ok(dppo_named_put_f64(&state, "approx_kl", trace.rows[1].approx_kl));
    free(trace.rows);
    free(e);
    dppo_c_agent_class.destroy(agent);
    return state;
}

static void assert_same(const dppo_named *a, const dppo_named *b) {
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const dppo_tensor *x = a->entries[i].tensor, *y = dppo_named_get(b, a->entries[i].name);
        assert_non_null(y);
        if (memcmp(x->data, y->data, (size_t)dppo_numel(x) * dppo_dtype_size(x->dtype)) != 0)
            fail_msg("%s differs", a->entries[i].name);
    }
}

static void test_chunks_and_threads_change_nothing(void **unused) {
    (void)unused;
    dppo_named whole = updated(1, false);
    for (int threads = 1; threads <= 4; threads *= 2) {
        dppo_named chunked = updated(threads, true);
        assert_same(&whole, &chunked);
        dppo_named_free(&chunked);
    }
    dppo_named_free(&whole);
    dppo_set_threads(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chunks_and_threads_change_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
