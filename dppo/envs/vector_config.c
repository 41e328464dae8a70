#include "envs/vector.h"

#include <string.h>

/* Wrappers of the original that this side has; another one is refused rather than left out silently. */
static const char *const wrappers[] = {"mujoco_locomotion_lowdim", "multi_step", NULL};
static const char *const lowdim_keys[] = {"normalization_path", NULL};
static const char *const multi_step_keys[] = {
    "n_obs_steps", "n_action_steps", "max_episode_steps", "reset_within_step",
    "prev_action", "verbose",        "reward_agg_method", NULL};

static dppo_status read_options(const dppo_config *config, dppo_vector_options *options) {
    const dppo_config *multi_step = dppo_config_get(config, "env.wrappers.multi_step");
    int64_t seed = 0, cond_steps = 1, act_steps = 1;
    DPPO_TRY(dppo_config_int(config, "env.n_envs", &options->count));
    DPPO_TRY(dppo_config_int_or(config, "seed", 42, &seed));
    options->seed = (uint64_t)seed;
    DPPO_TRY(dppo_config_int_or(config, "cond_steps", 1, &cond_steps));
    DPPO_TRY(dppo_config_int_or(config, "act_steps", 1, &act_steps));
    if (multi_step == NULL) return dppo_fail(DPPO_INVALID, "env.wrappers.multi_step is missing");
    DPPO_TRY(dppo_config_allow(multi_step, "env.wrappers.multi_step", multi_step_keys));
    DPPO_TRY(dppo_config_int_or(multi_step, "n_obs_steps", 1, &options->obs_steps));
    DPPO_TRY(dppo_config_int_or(multi_step, "n_action_steps", 1, &options->action_steps));
    DPPO_TRY(dppo_config_int_or(multi_step, "max_episode_steps", 0, &options->max_episode_steps));
    DPPO_TRY(dppo_config_bool_or(multi_step, "reset_within_step", false, &options->reset_within_step));
    DPPO_TRY(dppo_config_bool_or(config, "env.timeout_is_terminal", true, &options->timeout_is_terminal));
    if (options->obs_steps != cond_steps || options->action_steps != act_steps)
        return dppo_fail(
            DPPO_INVALID,
            "env.wrappers.multi_step has n_obs_steps %lld and n_action_steps %lld, but cond_steps is "
            "%lld and act_steps %lld",
            (long long)options->obs_steps, (long long)options->action_steps, (long long)cond_steps,
            (long long)act_steps);
    const char *method = NULL;
    DPPO_TRY(dppo_config_string_or(multi_step, "reward_agg_method", "sum", &method));
    if (strcmp(method, "sum") != 0)
        return dppo_fail(DPPO_INVALID, "env.wrappers.multi_step.reward_agg_method is \"%s\", not \"sum\"",
                         method);
    return DPPO_OK;
}

/* obs_dim and action_dim of the file, where given, must be the task's. */
static dppo_status check_dims(const dppo_config *config, const dppo_task *task) {
    int64_t obs_dim = 0, action_dim = 0;
    DPPO_TRY(dppo_config_int_or(config, "obs_dim", dppo_task_obs_dim(task), &obs_dim));
    DPPO_TRY(dppo_config_int_or(config, "action_dim", dppo_task_action_dim(task), &action_dim));
    if (obs_dim != dppo_task_obs_dim(task) || action_dim != dppo_task_action_dim(task))
        return dppo_fail(DPPO_INVALID,
                         "obs_dim %lld and action_dim %lld do not fit %s, which has %lld and %lld",
                         (long long)obs_dim, (long long)action_dim, dppo_task_name(task),
                         (long long)dppo_task_obs_dim(task), (long long)dppo_task_action_dim(task));
    return DPPO_OK;
}

static dppo_status read_scaling(const dppo_config *config, const dppo_task *task, dppo_scaling *scaling) {
    const dppo_config *lowdim = dppo_config_get(config, "env.wrappers.mujoco_locomotion_lowdim");
    const char *path = NULL;
    if (lowdim == NULL) return DPPO_OK; /* raw observations and actions */
    DPPO_TRY(dppo_config_allow(lowdim, "env.wrappers.mujoco_locomotion_lowdim", lowdim_keys));
    DPPO_TRY(dppo_config_string(lowdim, "normalization_path", &path));
    return dppo_scaling_read(path, dppo_task_obs_dim(task), dppo_task_action_dim(task), scaling);
}

dppo_status dppo_vector_env_new(const dppo_config *config, dppo_vector_env **vector) {
    *vector = NULL;
    dppo_vector_options options = {0};
    dppo_scaling scaling = {0};
    dppo_task *task = NULL;
    const char *name = NULL;
    const dppo_config *map = dppo_config_get(config, "env.wrappers");
    if (map == NULL) return dppo_fail(DPPO_INVALID, "env.wrappers is missing");
    DPPO_TRY(dppo_config_allow(map, "env.wrappers", wrappers));
    DPPO_TRY(read_options(config, &options));
    DPPO_TRY(dppo_config_string(config, "env.name", &name));
    DPPO_TRY(dppo_task_new(name, &task));
    dppo_status status = check_dims(config, task);
    if (status == DPPO_OK) status = read_scaling(config, task, &scaling);
    if (status == DPPO_OK) return dppo_vector_env_make(&options, task, &scaling, vector);
    dppo_task_free(task);
    return status;
}
