#include "algorithms/agent.h"
#include "algorithms/learner.h"

#include <stdlib.h>
#include <string.h>

dppo_status dppo_trace_add(dppo_trace *trace, const dppo_trace_row *row) {
    if (trace->count == trace->capacity) {
        size_t capacity = trace->capacity ? 2 * trace->capacity : 64;
        dppo_trace_row *rows = realloc(trace->rows, capacity * sizeof *rows);
        if (!rows) return dppo_fail(DPPO_NO_MEMORY, "trace: out of memory");
        trace->rows = rows;
        trace->capacity = capacity;
    }
    trace->rows[trace->count++] = *row;
    return DPPO_OK;
}

static const dppo_algorithm *const algorithms[] = {&dppo_ppo_diffusion,      &dppo_ppo_gaussian,
                                                   &dppo_pretrain_diffusion, &dppo_pretrain_gaussian,
                                                   &dppo_eval_diffusion,     &dppo_eval_gaussian};

static void destroy(dppo_agent *agent) {
    if (!agent) return;
    agent->algorithm->release(agent);
    free(agent);
}

static const dppo_algorithm *find(const char *target) {
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (strcmp(algorithms[i]->target, target) == 0) return algorithms[i];
    return NULL;
}

static dppo_status create(const dppo_config *config, dppo_agent **agent) {
    const char *target = dppo_config_target(config);
    *agent = NULL;
    if (!target) return dppo_fail(DPPO_INVALID, "_target_: missing, it names the agent class");
    const dppo_algorithm *algorithm = find(target);
    if (!algorithm) return dppo_fail(DPPO_MISSING, "_target_: the C side has no agent %s", target);
    *agent = calloc(1, algorithm->size);
    if (!*agent) return dppo_fail(DPPO_NO_MEMORY, "agent: out of memory");
    (*agent)->algorithm = algorithm;
    dppo_status status = algorithm->init(*agent, config);
    if (status == DPPO_OK) return DPPO_OK;
    destroy(*agent);
    *agent = NULL;
    return status;
}

static dppo_status act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic, float *actions,
                       float *chains) {
    return agent->algorithm->act(agent, batch, obs, deterministic, actions, chains);
}

static dppo_status lacks(const dppo_agent *agent, const char *what) {
    return dppo_fail(DPPO_MISSING, "%s: has no %s", agent->algorithm->target, what);
}

static dppo_status update(dppo_agent *agent, int64_t itr, const dppo_rollout *rollout,
                          dppo_update_metrics *metrics, dppo_trace *trace) {
    if (!agent->algorithm->update) return lacks(agent, "update");
    return agent->algorithm->update(agent, itr, rollout, metrics, trace);
}

static dppo_status end_iteration(dppo_agent *agent, int64_t itr) {
    return agent->algorithm->end_iteration ? agent->algorithm->end_iteration(agent, itr) : DPPO_OK;
}

static dppo_status pretrain_step(dppo_agent *agent, int64_t batch, const float *actions, const float *obs,
                                 int ema_mode, double *loss, double *grad_norm) {
    if (!agent->algorithm->pretrain_step) return lacks(agent, "pre-training step");
    return agent->algorithm->pretrain_step(agent, batch, actions, obs, ema_mode, loss, grad_norm);
}

static dppo_status pretrain_end_epoch(dppo_agent *agent) {
    if (!agent->algorithm->pretrain_end_epoch) return lacks(agent, "pre-training epoch");
    return agent->algorithm->pretrain_end_epoch(agent);
}

static dppo_status save(const dppo_agent *agent, dppo_named *state) {
    return agent->algorithm->save(agent, state);
}

static dppo_status load(dppo_agent *agent, const dppo_named *state) {
    return agent->algorithm->load(agent, state);
}

const dppo_agent_class dppo_c_agent_class = {
    .side = "c",
    .create = create,
    .destroy = destroy,
    .act = act,
    .update = update,
    .end_iteration = end_iteration,
    .pretrain_step = pretrain_step,
    .pretrain_end_epoch = pretrain_end_epoch,
    .save = save,
    .load = load,
};
