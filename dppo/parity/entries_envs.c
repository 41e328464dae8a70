#include "autograd/autograd.h"
#include "envs/env.h"
#include "parity/door.h"

#include <string.h>

/* A float64 input of shape (rows, width), or (width) when rows is 0. */
static dppo_status take(dppo_call *call, const char *name, int64_t rows, int64_t width,
                        const double **values) {
    dppo_tensor *tensor = NULL;
    DPPO_TRY(dppo_call_input(call, name, &tensor));
    bool fits = rows > 0 ? tensor->ndim == 2 && tensor->shape[0] == rows && tensor->shape[1] == width
                         : tensor->ndim == 1 && tensor->shape[0] == width;
    if (tensor->dtype != DPPO_F64 || !fits || !dppo_is_contiguous(tensor))
        return dppo_fail(DPPO_INVALID, "in/%s must be float64 with rows of %lld", name, (long long)width);
    *values = dppo_f64(tensor);
    return DPPO_OK;
}

/* The answers of T steps, in the call's arena. */
typedef struct answers {
    dppo_tensor *observation, *reward, *terminated, *qpos, *qvel;
} answers;

static dppo_status make_answers(dppo_arena *arena, const dppo_task *task, int64_t steps, answers *a) {
    a->observation = dppo_tensor_new(arena, DPPO_F64, 2, (int64_t[]){steps, dppo_task_obs_dim(task)});
    a->reward = dppo_tensor_new(arena, DPPO_F64, 1, &steps);
    a->terminated = dppo_tensor_new(arena, DPPO_BOOL, 1, &steps);
    a->qpos = dppo_tensor_new(arena, DPPO_F64, 2, (int64_t[]){steps, dppo_task_nq(task)});
    a->qvel = dppo_tensor_new(arena, DPPO_F64, 2, (int64_t[]){steps, dppo_task_nv(task)});
    if (!a->observation || !a->reward || !a->terminated || !a->qpos || !a->qvel)
        return dppo_fail(DPPO_NO_MEMORY, "no memory for a rollout of %lld steps", (long long)steps);
    return DPPO_OK;
}

static dppo_status roll(dppo_env *env, const dppo_task *task, const double *actions, int64_t steps,
                        answers *a) {
    for (int64_t t = 0; t < steps; t++) {
        bool terminated = false;
        DPPO_TRY(dppo_env_step(env, actions + t * dppo_task_action_dim(task),
                               dppo_f64(a->observation) + t * dppo_task_obs_dim(task),
                               dppo_f64(a->reward) + t, &terminated));
        dppo_bool(a->terminated)[t] = terminated;
        dppo_env_get_state(env, dppo_f64(a->qpos) + t * dppo_task_nq(task),
                           dppo_f64(a->qvel) + t * dppo_task_nv(task));
    }
    return DPPO_OK;
}

static dppo_status give(dppo_call *call, const answers *a) {
    DPPO_TRY(dppo_call_output_copy(call, "observation", a->observation));
    DPPO_TRY(dppo_call_output_copy(call, "reward", a->reward));
    DPPO_TRY(dppo_call_output_copy(call, "terminated", a->terminated));
    DPPO_TRY(dppo_call_output_copy(call, "qpos", a->qpos));
    return dppo_call_output_copy(call, "qvel", a->qvel);
}

static dppo_status rollout_in(dppo_call *call, const dppo_task *task, dppo_env *env) {
    const double *qpos = NULL, *qvel = NULL, *actions = NULL;
    dppo_tensor *action_rows = NULL;
    answers a;
    DPPO_TRY(take(call, "qpos", 0, dppo_task_nq(task), &qpos));
    DPPO_TRY(take(call, "qvel", 0, dppo_task_nv(task), &qvel));
    DPPO_TRY(dppo_call_input(call, "actions", &action_rows));
    int64_t steps = action_rows->ndim == 2 ? action_rows->shape[0] : 0;
    if (steps < 1) return dppo_fail(DPPO_INVALID, "in/actions must be (T, Da)");
    DPPO_TRY(take(call, "actions", steps, dppo_task_action_dim(task), &actions));
    DPPO_TRY(make_answers(dppo_context_arena(dppo_call_context(call)), task, steps, &a));
    DPPO_TRY(dppo_env_set_state(env, qpos, qvel));
    DPPO_TRY(roll(env, task, actions, steps, &a));
    return give(call, &a);
}

/* "Hopper.rollout": in/qpos (nq), in/qvel (nv), in/actions (T, Da), raw and unclipped; no reset after a
 * termination. */
static dppo_status rollout(dppo_call *call) {
    char name[64] = "";
    const char *function = dppo_call_case(call)->function;
    memcpy(name, function, strcspn(function, ".") % sizeof name);
    dppo_task *task = NULL;
    dppo_env *env = NULL;
    DPPO_TRY(dppo_task_new(name, &task));
    dppo_status status = dppo_env_new(task, 0, &env);
    if (status == DPPO_OK) status = rollout_in(call, task, env);
    dppo_env_free(env);
    dppo_task_free(task);
    return status;
}

const dppo_entry dppo_entries_envs[] = {{"HalfCheetah.rollout", rollout},
                                        {"Hopper.rollout", rollout},
                                        {"Walker2d.rollout", rollout},
                                        {NULL, NULL}};
