/* The vector: DPPO's wrappers step by step, and that nothing depends on threads or on a stop in between. */
#include "envs/vector.h"

#include "base/pool.h"
#include "data/dataset.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 6, TA = 4, WIDEST = 64 };

static const double minima[2][17] = {
    {0.7, -0.2, -2.6, -2.6, -0.8, -5, -5, -8, -10, -10, -10, -1, -2, -3, -4, -5, -6},
    {-0.95, -0.9, -1, -1, -1, -1}};
static const double maxima[2][17] = {{1.7, 0.2, 0, 0, 0.8, 5, 5, 8, 10, 10, 10, 1, 2, 3, 4, 5, 6},
                                     {0.99, 1, 0.9, 1, 1, 1}};

static double *rounded(const double *values, int64_t count) {
    double *copy = malloc((size_t)count * sizeof *copy);
    for (int64_t i = 0; i < count; i++)
        copy[i] = (double)(float)values[i];
    return copy;
}

static dppo_scaling make_scaling(const dppo_task *task) {
    int64_t obs_dim = dppo_task_obs_dim(task), action_dim = dppo_task_action_dim(task);
    return (dppo_scaling){.obs_dim = obs_dim,
                          .action_dim = action_dim,
                          .obs_min = rounded(minima[0], obs_dim),
                          .obs_max = rounded(maxima[0], obs_dim),
                          .action_min = rounded(minima[1], action_dim),
                          .action_max = rounded(maxima[1], action_dim),
                          .obs_float32 = true,
                          .action_float32 = true};
}

static const dppo_vector_options hopper_options = {.count = N,
                                                   .obs_steps = 1,
                                                   .action_steps = TA,
                                                   .max_episode_steps = 1000,
                                                   .reset_within_step = true,
                                                   .timeout_is_terminal = true,
                                                   .seed = 42};

static dppo_vector_env *make(const char *name, const dppo_vector_options *options) {
    dppo_task *task = NULL;
    dppo_vector_env *vector = NULL;
    assert_int_equal(dppo_task_new(name, &task), DPPO_OK);
    dppo_scaling scaling = make_scaling(task);
    if (dppo_vector_env_make(options, task, &scaling, &vector) != DPPO_OK) fail_msg("%s", dppo_message());
    return vector;
}

/* Results of one step with room for the widest case here. */
typedef struct step {
    float obs[N * 3 * 17], final_obs[N * 3 * 17];
    double reward[N];
    bool terminated[N], truncated[N];
} step;

static void take_step(dppo_vector_env *vector, const float *actions, step *s) {
    dppo_step_result result = {s->obs, s->reward, s->terminated, s->truncated, s->final_obs};
    if (dppo_vector_env_step(vector, actions, &result) != DPPO_OK) fail_msg("%s", dppo_message());
}

/* Reproducible actions in about [-1.2, 1.2]. */
static void fill_actions(float *actions, size_t count, uint64_t *state) {
    for (size_t i = 0; i < count; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        actions[i] = (float)(*state >> 40) / 16777216.0f * 2.4f - 1.2f;
    }
}

/* -- reproducibility
 * --------------------------------------------------------------------------------------------- */

enum { STEPS = 150 };

static step *roll(dppo_vector_env *vector, int64_t action_dim, int steps, uint64_t *actions_state) {
    step *all = calloc((size_t)steps, sizeof *all);
    float actions[N * TA * 6];
    for (int t = 0; t < steps; t++) {
        fill_actions(actions, (size_t)(N * TA * action_dim), actions_state);
        take_step(vector, actions, &all[t]);
    }
    return all;
}

static void threads_do_not_change(const char *name, int64_t action_dim) {
    const int counts[] = {1, 2, 4};
    step *first = NULL;
    float first_obs[N * 17], obs[N * 17];
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        dppo_set_threads(counts[c]);
        dppo_vector_env *vector = make(name, &hopper_options);
        uint64_t actions_state = 1;
        memset(obs, 0, sizeof obs);
        dppo_vector_env_reset(vector, obs);
        step *all = roll(vector, action_dim, STEPS, &actions_state);
        if (first == NULL) {
            first = all;
            memcpy(first_obs, obs, sizeof obs);
            int ended = 0;
            for (int t = 0; t < STEPS; t++)
                ended += all[t].terminated[0];
            assert_true(ended > 5 || strcmp(name, "halfcheetah") == 0); /* resets are compared too */
        } else {
            assert_memory_equal(obs, first_obs, sizeof obs);
            assert_memory_equal(all, first, STEPS * sizeof *all);
            free(all);
        }
        dppo_vector_env_free(vector);
    }
    free(first);
    dppo_set_threads(1);
}

static void threads_change_nothing(void **state) {
    (void)state;
    threads_do_not_change("hopper", 3);
    threads_do_not_change("walker2d", 6);
    threads_do_not_change("halfcheetah", 6);
}

/* Threads may be set after the vector was made. */
static void threads_may_come_later(void **state) {
    (void)state;
    float obs[N * 11];
    uint64_t actions_state[2] = {5, 5};
    dppo_vector_env *vector = make("hopper", &hopper_options), *twin = make("hopper", &hopper_options);
    dppo_vector_env_reset(vector, obs), dppo_vector_env_reset(twin, obs);
    step *alone = roll(vector, 3, STEPS, &actions_state[0]);
    dppo_set_threads(4);
    step *together = roll(twin, 3, STEPS, &actions_state[1]);
    dppo_set_threads(1);
    assert_memory_equal(alone, together, STEPS * sizeof *alone);
    free(alone), free(together);
    dppo_vector_env_free(vector), dppo_vector_env_free(twin);
}

static void continues_from(const char *name, int64_t action_dim, const dppo_vector_options *options) {
    float obs[N * 3 * 17];
    uint64_t actions_state = 3;
    dppo_vector_env *vector = make(name, options);
    dppo_vector_env_reset(vector, obs);
    free(roll(vector, action_dim, 37, &actions_state));
    dppo_named saved = {0};
    assert_int_equal(dppo_vector_env_save(vector, "env/", &saved), DPPO_OK);
    uint64_t resumed_state = actions_state;
    step *straight = roll(vector, action_dim, STEPS, &actions_state);
    dppo_vector_options other = *options;
    other.seed = 4711;
    dppo_vector_env *twin = make(name, &other);
    if (dppo_vector_env_load(twin, "env/", &saved) != DPPO_OK) fail_msg("%s", dppo_message());
    step *resumed = roll(twin, action_dim, STEPS, &resumed_state);
    assert_memory_equal(straight, resumed, STEPS * sizeof *resumed);
    free(straight), free(resumed);
    dppo_named_free(&saved);
    dppo_vector_env_free(vector), dppo_vector_env_free(twin);
}

static void a_saved_run_continues_bit_exactly(void **state) {
    (void)state;
    continues_from("hopper", 3, &hopper_options);
    dppo_vector_options history = hopper_options;
    history.obs_steps = 3;
    continues_from("hopper", 3, &history);
    continues_from("halfcheetah", 6, &history);
}

static void a_state_that_does_not_fit_is_refused(void **state) {
    (void)state;
    float obs[N * 11], actions[N * TA * 3] = {0};
    step s;
    dppo_step_result result = {s.obs, s.reward, s.terminated, s.truncated, NULL};
    dppo_named saved = {0}, nothing = {0};
    dppo_vector_env *vector = make("hopper", &hopper_options);
    assert_int_equal(dppo_vector_env_step(vector, actions, &result), DPPO_INVALID); /* no reset yet */
    dppo_vector_env_reset(vector, obs);
    assert_int_equal(dppo_vector_env_save(vector, "env/", &saved), DPPO_OK);
    dppo_vector_options fewer = hopper_options;
    fewer.count = N - 1;
    dppo_vector_env *twin = make("hopper", &fewer);
    assert_int_equal(dppo_vector_env_load(twin, "env/", &saved), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "env/time"));
    assert_int_equal(dppo_vector_env_load(twin, "env/", &nothing), DPPO_INVALID);
    dppo_i64(dppo_named_get(&saved, "env/counters"))[0] = 2; /* more frames than the history has */
    assert_int_equal(dppo_vector_env_load(vector, "env/", &saved), DPPO_INVALID);
    dppo_named_free(&saved);
    dppo_vector_env_free(vector), dppo_vector_env_free(twin);
    dppo_task *task = NULL;
    fewer.count = 0;
    dppo_task_new("hopper", &task);
    assert_int_equal(dppo_vector_env_make(&fewer, task, &(dppo_scaling){0}, &vector), DPPO_INVALID);
    assert_null(vector);
}

/* -- the wrappers, against one environment driven by hand
 * ------------------------------------------------------------ */

static void scaled(const dppo_scaling *scaling, const double *raw, float *out) {
    double buffer[WIDEST];
    dppo_scale_observation(scaling, raw, buffer);
    for (int64_t i = 0; i < scaling->obs_dim; i++)
        out[i] = (float)buffer[i];
}

/* Environment 2 of the vector is a lone environment seeded with seed + 2, stepped until its episode ends. */
static void a_chunk_is_its_steps_and_stops_at_the_end(void **state) {
    (void)state;
    enum { WHICH = 2, CHUNKS = 300 };
    dppo_vector_env *vector = make("hopper", &hopper_options);
    const dppo_task *task = dppo_vector_env_task(vector);
    dppo_scaling scaling = make_scaling(task);
    dppo_env *env = NULL;
    assert_int_equal(dppo_env_new(task, hopper_options.seed + WHICH, &env), DPPO_OK);
    float obs[N * 11], actions[N * TA * 3], expected[11];
    double raw[11];
    uint64_t actions_state = 9;
    int cut_short = 0;
    step s;
    dppo_vector_env_reset(vector, obs);
    dppo_env_reset(env, raw);
    scaled(&scaling, raw, expected);
    assert_memory_equal(obs + WHICH * 11, expected, sizeof expected);
    for (int chunk = 0; chunk < CHUNKS; chunk++) {
        fill_actions(actions, N * TA * 3, &actions_state);
        take_step(vector, actions, &s);
        double total = 0;
        bool ended = false;
        for (int t = 0; t < TA && !ended; t++) {
            float raw_action[3];
            double unused[3], reward;
            dppo_unscale_action(&scaling, actions + (WHICH * TA + t) * 3, raw_action, unused);
            dppo_env_step_f32(env, raw_action, raw, &reward, &ended);
            total += reward;
            cut_short += ended && t < TA - 1;
        }
        if (ended) dppo_env_reset(env, raw); /* what is returned belongs to the new episode */
        scaled(&scaling, raw, expected);
        assert_memory_equal(&s.reward[WHICH], &total, sizeof total);
        assert_memory_equal(s.obs + WHICH * 11, expected, sizeof expected);
        assert_int_equal(s.terminated[WHICH], ended);
        assert_false(s.truncated[WHICH]);
    }
    assert_true(cut_short > 10);
    dppo_env_free(env);
    dppo_scaling_free(&scaling);
    dppo_vector_env_free(vector);
}

/* HalfCheetah never ends by itself: 1000 steps are 250 chunks. */
static void time_limit(bool timeout_is_terminal) {
    dppo_vector_options options = hopper_options;
    options.timeout_is_terminal = timeout_is_terminal;
    options.count = 1;
    dppo_vector_env *vector = make("halfcheetah", &options);
    float obs[17], actions[TA * 6], before_reset[17] = {0};
    uint64_t actions_state = 5;
    step s;
    dppo_vector_env_reset(vector, obs);
    for (int chunk = 1; chunk <= 500; chunk++) {
        memset(s.final_obs, 0, sizeof s.final_obs);
        fill_actions(actions, TA * 6, &actions_state);
        take_step(vector, actions, &s);
        bool last = chunk % 250 == 0;
        assert_int_equal(s.truncated[0], last);
        assert_int_equal(s.terminated[0], last && timeout_is_terminal);
        assert_int_equal(memcmp(s.final_obs, before_reset, sizeof before_reset) != 0, last);
        if (last) assert_true(memcmp(s.final_obs, s.obs, sizeof before_reset) != 0);
    }
    dppo_vector_env_free(vector);
}

static void the_time_limit_sets_both_flags(void **state) {
    (void)state;
    time_limit(true);
    time_limit(false);
}

/* A fall at exactly the last step: the time limit then does not call it truncated. */
static void a_fall_at_the_last_step_is_not_a_timeout(void **state) {
    (void)state;
    dppo_vector_options options = hopper_options;
    options.action_steps = 1;
    dppo_vector_env *vector = make("hopper", &options);
    float obs[N * 11], actions[N * 3] = {0};
    dppo_named saved = {0};
    dppo_vector_env_reset(vector, obs);
    assert_int_equal(dppo_vector_env_save(vector, "env/", &saved), DPPO_OK);
    for (int i = 0; i < N; i++)
        dppo_i64(dppo_named_get(&saved, "env/counters"))[3 * i + 1] = 999;
    dppo_f64(dppo_named_get(&saved, "env/qpos"))[6 * 1 + 2] = 0.3; /* environment 1 leans beyond 0.2 */
    assert_int_equal(dppo_vector_env_load(vector, "env/", &saved), DPPO_OK);
    step s;
    take_step(vector, actions, &s);
    for (int i = 0; i < N; i++) {
        assert_true(s.terminated[i]);
        assert_int_equal(s.truncated[i], i != 1);
    }
    dppo_named_free(&saved);
    dppo_vector_env_free(vector);
}

/* MultiStep's own limit of 10: two whole chunks, then two steps of a third; truncated only. */
static void multi_step_counts_its_own_limit(void **state) {
    (void)state;
    dppo_vector_options options = hopper_options;
    options.max_episode_steps = 10;
    options.count = 1;
    dppo_vector_env *vector = make("halfcheetah", &options);
    float obs[17], actions[TA * 6], tail[TA * 6];
    uint64_t actions_state = 6;
    step s, t;
    dppo_named saved = {0};
    dppo_vector_env_reset(vector, obs);
    for (int chunk = 1; chunk <= 9; chunk++) {
        fill_actions(actions, TA * 6, &actions_state);
        if (chunk == 3) assert_int_equal(dppo_vector_env_save(vector, "env/", &saved), DPPO_OK);
        take_step(vector, actions, &s);
        assert_int_equal(s.truncated[0], chunk % 3 == 0);
        assert_false(s.terminated[0]);
        if (chunk != 3) continue;
        /* the chunk's last two actions are not executed: others in their place change nothing */
        assert_int_equal(dppo_vector_env_load(vector, "env/", &saved), DPPO_OK);
        memcpy(tail, actions, sizeof tail);
        for (int i = 2 * 6; i < TA * 6; i++)
            tail[i] = -tail[i];
        take_step(vector, tail, &t);
        assert_memory_equal(&s.reward[0], &t.reward[0], sizeof(double));
        assert_memory_equal(s.obs, t.obs, 17 * sizeof(float));
        assert_memory_equal(s.final_obs, t.final_obs, 17 * sizeof(float));
    }
    dppo_named_free(&saved);
    dppo_vector_env_free(vector);
}

/* To = 3, single steps: o0 o0 o0, o0 o0 o1, o0 o1 o2, o1 o2 o3. */
static void history_repeats_the_oldest(void **state) {
    (void)state;
    dppo_vector_options options = hopper_options;
    options.obs_steps = 3;
    options.action_steps = 1;
    options.count = 1;
    dppo_vector_env *vector = make("halfcheetah", &options);
    float obs[3 * 17], actions[6], seen[5][17];
    uint64_t actions_state = 8;
    step s;
    dppo_vector_env_reset(vector, obs);
    memcpy(s.obs, obs, sizeof obs);
    for (int t = 0; t < 5; t++) {
        memcpy(seen[t], s.obs + 2 * 17, sizeof seen[t]);
        for (int back = 0; back < 3; back++)
            assert_memory_equal(s.obs + (2 - back) * 17, seen[t > back ? t - back : 0], sizeof seen[0]);
        fill_actions(actions, 6, &actions_state);
        take_step(vector, actions, &s);
    }
    assert_true(memcmp(seen[0], seen[1], sizeof seen[0]) != 0);
    dppo_vector_env_free(vector);
}

/* -- recording
 * ------------------------------------------------------------------------------------------------------ */

typedef struct tape {
    int64_t rows[N];
    double next[N][11], reward[N];
    bool ended[N];
    bool chained; /* every observation is the one before it, unless an episode ended there */
} tape;

static void onto_tape(void *context, int64_t index, const dppo_transition *t) {
    tape *tape_ = context;
    bool follows = memcmp(tape_->next[index], t->observation, sizeof tape_->next[index]) == 0;
    if (tape_->rows[index] > 0 && follows == tape_->ended[index]) tape_->chained = false;
    if (memcmp(t->observation, t->qpos + 1, 5 * sizeof(double)) != 0) tape_->chained = false;
    memcpy(tape_->next[index], t->next_observation, sizeof tape_->next[index]);
    tape_->ended[index] = t->terminated || t->timeout;
    tape_->reward[index] += t->reward;
    tape_->rows[index]++;
}

static void a_recorder_sees_every_env_step(void **state) {
    (void)state;
    dppo_set_threads(2);
    dppo_vector_env *vector = make("hopper", &hopper_options);
    tape seen = {.chained = true};
    float obs[N * 11];
    uint64_t actions_state = 1;
    dppo_vector_env_record(vector, onto_tape, &seen);
    dppo_vector_env_reset(vector, obs);
    step *all = roll(vector, 3, STEPS, &actions_state);
    assert_true(seen.chained);
    for (int i = 0; i < N; i++) {
        double total = 0;
        for (int t = 0; t < STEPS; t++)
            total += all[t].reward[i];
        assert_true(fabs(total - seen.reward[i]) <= 1e-9 * fabs(total)); /* added in another order */
        assert_in_range(seen.rows[i], STEPS, STEPS * TA - 1);
    }
    free(all);
    dppo_vector_env_free(vector);
    dppo_set_threads(1);
}

/* -- from a configuration
 * --------------------------------------------------------------------------------------------- */

static void put_floats(dppo_named *map, const char *name, const double *values, int64_t count) {
    dppo_tensor *tensor = dppo_named_add(map, name, DPPO_F32, 1, &count);
    for (int64_t i = 0; i < count; i++)
        dppo_f32(tensor)[i] = (float)values[i];
}

/* Builds from `text` with the overrides; the message is checked by the caller. */
static dppo_status build(const char *text, const char *path, const char *change, dppo_vector_env **vector) {
    dppo_config *config = NULL;
    assert_int_equal(dppo_config_parse_yaml(text, "test", &config), DPPO_OK);
    assert_int_equal(
        dppo_config_set_string(config, "env.wrappers.mujoco_locomotion_lowdim.normalization_path", path),
        DPPO_OK);
    if (change != NULL) assert_int_equal(dppo_config_override(config, change), DPPO_OK);
    assert_int_equal(dppo_config_resolve(config), DPPO_OK);
    dppo_status status = dppo_vector_env_new(config, vector);
    dppo_config_free(config);
    return status;
}

static void a_configuration_gives_the_same_vector(void **state) {
    (void)state;
    static const char text[] =
        "seed: 42\nobs_dim: 11\naction_dim: 3\ncond_steps: 1\nact_steps: 4\n"
        "env:\n  n_envs: 6\n  name: hopper-medium-v2\n  max_episode_steps: 1000\n"
        "  reset_at_iteration: False\n  wrappers:\n"
        "    mujoco_locomotion_lowdim:\n      normalization_path: x\n"
        "    multi_step:\n      n_obs_steps: ${cond_steps}\n      n_action_steps: ${act_steps}\n"
        "      max_episode_steps: ${env.max_episode_steps}\n      reset_within_step: True\n";
    char path[] = "/tmp/dppo_test_XXXXXX";
    close(mkstemp(path));
    dppo_named map = {0};
    put_floats(&map, "obs_min", minima[0], 11), put_floats(&map, "obs_max", maxima[0], 11);
    put_floats(&map, "action_min", minima[1], 3), put_floats(&map, "action_max", maxima[1], 3);
    assert_int_equal(dppo_npz_write(path, &map, true), DPPO_OK);
    dppo_named_free(&map);
    dppo_vector_env *vector = NULL, *twin = make("hopper", &hopper_options);
    if (build(text, path, NULL, &vector) != DPPO_OK) fail_msg("%s", dppo_message());
    float obs[N * 11], twin_obs[N * 11];
    uint64_t a = 1, b = 1;
    dppo_vector_env_reset(vector, obs), dppo_vector_env_reset(twin, twin_obs);
    assert_memory_equal(obs, twin_obs, sizeof obs);
    step *all = roll(vector, 3, 40, &a), *twins = roll(twin, 3, 40, &b);
    assert_memory_equal(all, twins, 40 * sizeof *all);
    free(all), free(twins);
    dppo_vector_env_free(vector), dppo_vector_env_free(twin);

    static const char *const wrong[][2] = {
        {"env.name=kitchen-complete-v0", "kitchen-complete-v0"},
        {"env.n_envs=0", "n_envs"},
        {"obs_dim=12", "obs_dim"},
        {"env.name=walker2d-v2", "obs_dim"},
        {"act_steps=4.5", "act_steps"},
        {"cond_steps=0", "n_obs_steps"},
        {"+env.wrappers.robomimic_lowdim.x=1", "robomimic_lowdim"},
        {"+env.wrappers.multi_step.pass_full_observations=true", "pass_full"},
        {"env.wrappers.multi_step.n_action_steps=2", "n_action_steps"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_not_equal(build(text, path, wrong[i][0], &vector), DPPO_OK);
        assert_null(vector);
        if (strstr(dppo_message(), wrong[i][1]) == NULL) fail_msg("%s: %s", wrong[i][0], dppo_message());
    }
    unlink(path);
    assert_int_not_equal(build(text, path, NULL, &vector), DPPO_OK); /* no normalization.npz there */
    assert_non_null(strstr(dppo_message(), path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(threads_may_come_later),
        cmocka_unit_test(a_saved_run_continues_bit_exactly),
        cmocka_unit_test(a_state_that_does_not_fit_is_refused),
        cmocka_unit_test(a_chunk_is_its_steps_and_stops_at_the_end),
        cmocka_unit_test(the_time_limit_sets_both_flags),
        cmocka_unit_test(a_fall_at_the_last_step_is_not_a_timeout),
        cmocka_unit_test(multi_step_counts_its_own_limit),
        cmocka_unit_test(history_repeats_the_oldest),
        cmocka_unit_test(a_recorder_sees_every_env_step),
        cmocka_unit_test(a_configuration_gives_the_same_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
