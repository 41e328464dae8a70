/* Tasks against the record from Gym's own model files, and their rules. */
#include "envs/task.h"

#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static dppo_task *open_task(const char *name) {
    dppo_task *task = NULL;
    if (dppo_task_new(name, &task) != DPPO_OK) fail_msg("%s", dppo_message());
    return task;
}

static dppo_env *open_env(const dppo_task *task, uint64_t seed) {
    dppo_env *env = NULL;
    if (dppo_env_new(task, seed, &env) != DPPO_OK) fail_msg("%s", dppo_message());
    return env;
}

/* -- the record
 * ----------------------------------------------------------------------------------------------- */

/* A recorded array as doubles (free()); its first dimension in *rows. */
static double *recorded(hid_t file, const char *function, int index, const char *name, int64_t *rows) {
    char path[128];
    snprintf(path, sizeof path, "%s/r%d/%s", function, index, name);
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT);
    assert_true(set >= 0);
    hid_t space = H5Dget_space(set);
    hsize_t shape[2] = {0, 1};
    assert_true(H5Sget_simple_extent_dims(space, shape, NULL) > 0);
    double *values = malloc(shape[0] * shape[1] * sizeof *values);
    assert_true(H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    *rows = (int64_t)shape[0];
    return values;
}

/* The record adds the alive bonus after subtracting the control cost, Gym before: the reward may differ in
 * its last bits (it stays below 8, whose unit is 2^-50). Everything else must be equal in every bit. */
static const double reward_rounding = 0x1p-50;

static void replay(hid_t file, const char *task_name, const char *function, int index) {
    int64_t steps, unused;
    double *start_qpos = recorded(file, function, index, "in/qpos", &unused);
    double *start_qvel = recorded(file, function, index, "in/qvel", &unused);
    double *actions = recorded(file, function, index, "in/actions", &steps);
    const char *const names[] = {"out/observation", "out/reward", "out/terminated", "out/qpos", "out/qvel"};
    double *expected[5];
    for (int i = 0; i < 5; i++)
        expected[i] = recorded(file, function, index, names[i], &unused);
    dppo_task *task = open_task(task_name);
    dppo_env *env = open_env(task, 1);
    size_t obs_dim = (size_t)dppo_task_obs_dim(task), nq = (size_t)dppo_task_nq(task);
    size_t nv = (size_t)dppo_task_nv(task), action_dim = (size_t)dppo_task_action_dim(task);
    assert_int_equal(dppo_env_set_state(env, start_qpos, start_qvel), DPPO_OK);
    for (size_t t = 0; t < (size_t)steps; t++) {
        double observation[32], reward, qpos[16], qvel[16];
        bool terminated;
        assert_int_equal(dppo_env_step(env, actions + t * action_dim, observation, &reward, &terminated),
                         DPPO_OK);
        dppo_env_get_state(env, qpos, qvel);
        assert_memory_equal(observation, expected[0] + t * obs_dim, obs_dim * sizeof(double));
        if (!(fabs(reward - expected[1][t]) <= reward_rounding)) fail_msg("reward of step %zu", t);
        assert_true((double)terminated == expected[2][t]);
        assert_memory_equal(qpos, expected[3] + t * nq, nq * sizeof(double));
        assert_memory_equal(qvel, expected[4] + t * nv, nv * sizeof(double));
    }
    dppo_env_free(env);
    dppo_task_free(task);
    for (int i = 0; i < 5; i++)
        free(expected[i]);
    free(start_qpos), free(start_qvel), free(actions);
}

static void rollouts_equal_the_record(void **state) {
    (void)state;
    hid_t file = H5Fopen(FIXTURES "/gym_mujoco.h5", H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    for (int index = 0; index < 3; index++) {
        replay(file, "hopper", "Hopper.rollout", index);
        replay(file, "walker2d", "Walker2d.rollout", index);
        replay(file, "halfcheetah", "HalfCheetah.rollout", index);
    }
    H5Fclose(file);
}

/* -- the tasks
 * ------------------------------------------------------------------------------------------------- */

static void names_and_sizes(void **state) {
    (void)state;
    const struct {
        const char *name;
        int64_t obs, action, nq, nv;
        double mass;
    } rows[] = {{"hopper", 11, 3, 6, 6, 15.820013},
                {"Hopper-v2", 11, 3, 6, 6, 15.820013},
                {"hopper-medium-v2", 11, 3, 6, 6, 15.820013},
                {"walker2d-medium-replay-v2", 17, 6, 9, 9, 23.677137},
                {"HalfCheetah-v4", 17, 6, 9, 9, 14.0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        dppo_task *task = open_task(rows[i].name);
        assert_int_equal(dppo_task_obs_dim(task), rows[i].obs);
        assert_int_equal(dppo_task_action_dim(task), rows[i].action);
        assert_int_equal(dppo_task_nq(task), rows[i].nq);
        assert_int_equal(dppo_task_nv(task), rows[i].nv);
        assert_int_equal(dppo_task_time_limit(task), 1000);
        if (!(fabs(dppo_task_mass(task) - rows[i].mass) <= 5e-7)) fail_msg("%s: mass", rows[i].name);
        dppo_task_free(task);
    }
    const char *const unknown[] = {"hop", "hopperx", "Hopper-v5", "hopper-medium", "kitchen-complete-v0", ""};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        dppo_task *task = NULL;
        assert_int_equal(dppo_task_new(unknown[i], &task), DPPO_MISSING);
        assert_null(task);
        assert_non_null(strstr(dppo_message(), unknown[i]));
    }
}

static void resets_follow_the_seed(void **state) {
    (void)state;
    dppo_task *task = open_task("hopper");
    dppo_env *env = open_env(task, 7), *twin = open_env(task, 7), *other = open_env(task, 8);
    for (int episode = 0; episode < 20; episode++) {
        double a[11], b[11], c[11], qpos[6], qvel[6], first[6] = {0};
        dppo_env_reset(env, a);
        dppo_env_reset(twin, b);
        dppo_env_reset(other, c);
        assert_memory_equal(a, b, sizeof a);
        assert_true(memcmp(a, c, sizeof a) != 0);
        dppo_env_get_state(env, qpos, qvel);
        assert_memory_equal(a, qpos + 1, 5 * sizeof(double));
        assert_memory_equal(a + 5, qvel, 6 * sizeof(double));
        for (int i = 0; i < 6; i++) {
            assert_true(fabs(qpos[i] - (i == 1 ? 1.25 : 0)) <= 0.005);
            assert_true(fabs(qvel[i]) <= 0.005);
        }
        assert_true(memcmp(first, qpos, sizeof first) != 0);
        memcpy(first, qpos, sizeof first);
    }
    dppo_env_free(env), dppo_env_free(twin), dppo_env_free(other);
    dppo_task_free(task);
}

/* One step from rest; `fold` bends thigh and leg, so that the torso can be low without pressing into the
 * floor. */
static bool ends_from(const dppo_task *task, double z, double angle, double fold, double speed,
                      double *observation) {
    dppo_env *env = open_env(task, 0);
    double qpos[6] = {0, z, angle, fold, fold}, qvel[6] = {0, 0, 0, 0, 0, speed}, reward, action[3] = {0};
    bool terminated = false;
    dppo_env_set_state(env, qpos, qvel);
    dppo_env_step(env, action, observation, &reward, &terminated);
    dppo_env_free(env);
    return terminated;
}

static void hopper_ends_when_it_falls(void **state) {
    (void)state;
    dppo_task *task = open_task("hopper");
    double o[11];
    assert_false(ends_from(task, 1.25, 0, 0, 0, o));
    assert_false(ends_from(task, 0.75, 0, -2.6, 0, o));
    assert_true(ends_from(task, 0.69, 0, -2.6, 0, o));
    assert_true(ends_from(task, 1.25, 0.21, 0, 0, o));
    assert_true(ends_from(task, 1.25, -0.21, 0, 0, o));
    assert_false(ends_from(task, 1.25, 0.19, 0, 0, o));
    assert_true(ends_from(task, 1.6, 0, 0, 250, o)); /* a joint velocity beyond 100 */
    assert_true(o[10] == 10);                        /* and observed clipped */
    dppo_task_free(task);
}

/* float32 actions: the control cost's squares are summed in float32, as numpy does. */
static void control_cost_has_the_type_of_the_action(void **state) {
    (void)state;
    dppo_task *task = open_task("hopper");
    dppo_env *env = open_env(task, 0);
    const float narrow[3] = {0.1f, 0.2f, 0.3f};
    const double wide[3] = {(double)0.1f, (double)0.2f, (double)0.3f};
    double qpos[6] = {0, 1.25}, qvel[6] = {0}, o[11], reward_narrow, reward_wide;
    bool terminated;
    dppo_env_set_state(env, qpos, qvel);
    dppo_env_step_f32(env, narrow, o, &reward_narrow, &terminated);
    dppo_env_set_state(env, qpos, qvel);
    dppo_env_step(env, wide, o, &reward_wide, &terminated);
    /* float(np.square(np.float32([.1, .2, .3])).sum()) and the same in float64 */
    double expected = 1e-3 * (0x1.1eb854p-3 - 0x1.1eb853147ae1ap-3);
    assert_true(reward_narrow != reward_wide);
    if (!(fabs((reward_wide - reward_narrow) - expected) <= 0x1p-51))
        fail_msg("%g", reward_wide - reward_narrow);
    dppo_env_free(env);
    dppo_task_free(task);
}

/* -- the simulator's memory
 * --------------------------------------------------------------------------------------------------- */

static const char *const task_names[] = {"hopper", "walker2d", "halfcheetah"};
enum { TASKS = sizeof task_names / sizeof *task_names, SHARING = 3, WIDEST = 32 };

/* Gym's way: an mjData of its own, reset by the simulator, never put away in between. */
static void reset_own(const mjModel *model, mjData *own, const dppo_env_state *state) {
    mj_resetData(model, own);
    memcpy(own->qpos, state->qpos, (size_t)model->nq * sizeof(double));
    memcpy(own->qvel, state->qvel, (size_t)model->nv * sizeof(double));
    mj_forward(model, own);
}

static void assert_same_state(const mjModel *model, const mjData *own, const dppo_env_state *state) {
    assert_memory_equal(state->time, &own->time, sizeof(double));
    assert_memory_equal(state->qpos, own->qpos, (size_t)model->nq * sizeof(double));
    assert_memory_equal(state->qvel, own->qvel, (size_t)model->nv * sizeof(double));
    assert_memory_equal(state->qacc_warmstart, own->qacc_warmstart, (size_t)model->nv * sizeof(double));
}

static void share_one(const dppo_task *task) {
    const mjModel *model = task->model;
    dppo_env *envs[SHARING];
    dppo_env_state states[SHARING];
    mjData *own[SHARING], *shared = mj_makeData(model);
    double observation[WIDEST], reward, action[WIDEST];
    uint64_t random = 1;
    for (int i = 0; i < SHARING; i++) {
        own[i] = mj_makeData(model);
        assert_int_equal(dppo_env_new_sharing(task, (uint64_t)i, &envs[i]), DPPO_OK);
        dppo_env_share(envs[i], shared);
        states[i] = dppo_env_raw_state(envs[i]);
        dppo_env_reset(envs[i], observation);
        reset_own(model, own[i], &states[i]);
    }
    for (int k = 0; k < 400 * SHARING; k++) { /* one after another, so that each finds another's remains */
        int i = k % SHARING;
        bool terminated = false;
        for (int j = 0; j < model->nu; j++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            own[i]->ctrl[j] = action[j] = (double)(random >> 11) * 0x1p-52 - 1;
        }
        dppo_env_step(envs[i], action, observation, &reward, &terminated);
        for (int j = 0; j < task->spec->frame_skip; j++)
            mj_step(model, own[i]);
        assert_same_state(model, own[i], &states[i]);
        if (!terminated) continue;
        dppo_env_reset(envs[i], observation);
        reset_own(model, own[i], &states[i]);
        assert_same_state(model, own[i], &states[i]);
    }
    for (int i = 0; i < SHARING; i++)
        dppo_env_free(envs[i]), mj_deleteData(own[i]);
    mj_deleteData(shared);
}

static void sharing_a_simulator_changes_nothing(void **state) {
    (void)state;
    for (int k = 0; k < TASKS; k++) {
        dppo_task *task = open_task(task_names[k]);
        share_one(task);
        dppo_task_free(task);
    }
}

/* Whether MuJoCo looks for contacts of two geoms: not within a body or of a child with its parent, unless
 * that is the world. */
static bool may_meet(const mjModel *m, int a, int b) {
    int p = m->geom_bodyid[a], q = m->geom_bodyid[b];
    if (p == q || (p != 0 && q != 0 && (m->body_parentid[p] == q || m->body_parentid[q] == p))) return false;
    return (m->geom_contype[a] & m->geom_conaffinity[b]) || (m->geom_contype[b] & m->geom_conaffinity[a]);
}

/* The sizes in the models against the worst case: all geoms are capsules but for the floor, a pair touches in
 * two points at most; a contact of d dimensions is 2 (d - 1) rows, one of 1 is one. */
static void models_have_room_for_all_contacts(void **state) {
    (void)state;
    for (int k = 0; k < TASKS; k++) {
        dppo_task *task = open_task(task_names[k]);
        const mjModel *m = task->model;
        int contacts = 0, rows = 0;
        for (int a = 0; a < m->ngeom; a++) {
            assert_int_equal(m->geom_type[a], a == 0 ? mjGEOM_PLANE : mjGEOM_CAPSULE);
            for (int b = 0; b < a; b++) {
                if (!may_meet(m, a, b)) continue;
                int d = m->geom_condim[a] > m->geom_condim[b] ? m->geom_condim[a] : m->geom_condim[b];
                contacts += 2;
                rows += 2 * (d == 1 ? 1 : 2 * (d - 1));
            }
        }
        for (int j = 0; j < m->njnt; j++)
            rows += m->jnt_limited[j];
        assert_int_equal(m->neq + m->ntendon + m->npair, 0);
        assert_true(contacts > 0 && contacts <= m->nconmax);
        assert_true(rows <= m->njmax);
        dppo_task_free(task);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollouts_equal_the_record),
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(resets_follow_the_seed),
        cmocka_unit_test(hopper_ends_when_it_falls),
        cmocka_unit_test(control_cost_has_the_type_of_the_action),
        cmocka_unit_test(sharing_a_simulator_changes_nothing),
        cmocka_unit_test(models_have_room_for_all_contacts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
