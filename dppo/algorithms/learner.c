#include "algorithms/learner.h"
#include "data/dataset.h"
#include "models/build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dppo_status load_pretrained(dppo_agent *agent, const char *path) {
    dppo_named checkpoint = {0};
    dppo_status status = dppo_checkpoint_read(path, &checkpoint);
    if (status == DPPO_OK) {
        status = dppo_model_load_pretrained(agent->model, &checkpoint);
        if (status != DPPO_OK) status = dppo_fail_in(status, "%s", path);
    }
    dppo_named_free(&checkpoint);
    return status;
}

static dppo_status read_sizes(dppo_agent *agent, const dppo_config *config) {
    DPPO_TRY(dppo_config_int_from(config, "obs_dim", 1, &agent->obs_dim));
    DPPO_TRY(dppo_config_int_from(config, "action_dim", 1, &agent->action_dim));
    DPPO_TRY(dppo_config_int_from(config, "horizon_steps", 1, &agent->horizon_steps));
    DPPO_TRY(dppo_config_int_from_or(config, "cond_steps", 1, 1, &agent->cond_steps));
    DPPO_TRY(dppo_config_int_from_or(config, "act_steps", 1, agent->horizon_steps, &agent->act_steps));
    if (agent->act_steps > agent->horizon_steps)
        return dppo_fail(DPPO_INVALID, "act_steps: %lld is more than horizon_steps %lld",
                         (long long)agent->act_steps, (long long)agent->horizon_steps);
    return DPPO_OK;
}

dppo_status dppo_agent_base_init(dppo_agent *agent, const dppo_config *config) {
    int64_t seed;
    const char *network_path;
    DPPO_TRY(read_sizes(agent, config));
    DPPO_TRY(dppo_config_int_or(config, "seed", 42, &seed));
    DPPO_TRY(dppo_config_string_or(config, "model.network_path", NULL, &network_path));
    agent->generator = dppo_generator_new((uint64_t)seed);
    if (agent->generator) agent->acting = dppo_context_new(agent->generator);
    if (agent->acting) agent->learning = dppo_context_new(agent->generator);
    if (!agent->learning) return dppo_fail(DPPO_NO_MEMORY, "agent: out of memory");
    const dppo_config *model = dppo_config_get(config, "model");
    if (!model) return dppo_fail(DPPO_INVALID, "model: missing");
    DPPO_TRY(dppo_build_module(model, agent->generator, &agent->model));
    return network_path ? load_pretrained(agent, network_path) : DPPO_OK;
}

void dppo_agent_base_release(dppo_agent *agent) {
    dppo_context_free(agent->acting);
    dppo_context_free(agent->learning);
    dppo_generator_free(agent->generator);
    if (agent->model) dppo_module_free(agent->model);
}

dppo_status dppo_agent_base_save(const dppo_agent *agent, dppo_named *state) {
    DPPO_TRY(dppo_module_state_dict(agent->model, "model/", state));
    return dppo_generator_save(agent->generator, "generator/", state);
}

dppo_status dppo_agent_base_load(dppo_agent *agent, const dppo_named *state) {
    DPPO_TRY(dppo_module_load_state_dict(agent->model, "model/", state, true));
    return dppo_generator_load(agent->generator, "generator/", state);
}

dppo_tensor *dppo_agent_state(const dppo_agent *agent, dppo_context *context, int64_t batch,
                              const float *obs) {
    int64_t shape[3] = {batch, agent->cond_steps, agent->obs_dim};
    return dppo_from_f32(context, 3, shape, obs);
}

/* -- trained parameters
 * ---------------------------------------------------------------------------------------- */

dppo_status dppo_trained_init(dppo_trained *trained, dppo_module *module, double lr, double weight_decay,
                              const dppo_config *schedule) {
    int64_t first_cycle_steps, warmup_steps;
    double min_lr, first_lr;
    if (!(lr >= 0) || !(weight_decay >= 0))
        return dppo_fail(DPPO_INVALID, "learning rate %g, weight decay %g: must not be negative", lr,
                         weight_decay);
    DPPO_TRY(dppo_config_int(schedule, "first_cycle_steps", &first_cycle_steps));
    DPPO_TRY(dppo_config_int(schedule, "warmup_steps", &warmup_steps));
    DPPO_TRY(dppo_config_float(schedule, "min_lr", &min_lr));
    trained->count = dppo_module_parameters(module, NULL, NULL, 0);
    trained->parameters = calloc(trained->count + 1, sizeof *trained->parameters);
    if (!trained->parameters) return dppo_fail(DPPO_NO_MEMORY, "optimizer: out of memory");
    (void)dppo_module_parameters(module, trained->parameters, NULL, trained->count);
    DPPO_TRY(dppo_lr_schedule_init(&trained->schedule, first_cycle_steps, 1.0, lr, min_lr, warmup_steps, 1.0,
                                   &first_lr));
    dppo_optimizer_options options = dppo_optimizer_defaults(DPPO_ADAMW);
    options.lr = first_lr;
    options.weight_decay = weight_decay;
    trained->optimizer = dppo_optimizer_new(DPPO_ADAMW, options, trained->count, trained->parameters);
    return trained->optimizer ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "optimizer: out of memory");
}

void dppo_trained_free(dppo_trained *trained) {
    dppo_optimizer_free(trained->optimizer);
    free(trained->parameters);
}

void dppo_trained_step_schedule(dppo_trained *trained) {
    dppo_optimizer_set_lr(trained->optimizer, dppo_lr_schedule_step(&trained->schedule));
}

double dppo_trained_grad_norm(const dppo_trained *trained) {
    double sum = 0;
    for (size_t p = 0; p < trained->count; p++) {
        const dppo_tensor *grad = trained->parameters[p]->grad;
        int64_t count = grad ? dppo_numel(grad) : 0;
        for (int64_t i = 0; i < count; i++)
            sum += (double)dppo_f32(grad)[i] * (double)dppo_f32(grad)[i];
    }
    return sqrt(sum);
}

static void part_name(char *buffer, size_t size, const char *name, const char *part) {
    (void)snprintf(buffer, size, "%s%s%s/", name, *name ? "_" : "", part);
}

dppo_status dppo_trained_save(const dppo_trained *trained, const char *name, dppo_named *state) {
    char prefix[128];
    part_name(prefix, sizeof prefix, name, "optimizer");
    DPPO_TRY(dppo_optimizer_save(trained->optimizer, prefix, state));
    part_name(prefix, sizeof prefix, name, "lr_scheduler");
    return dppo_lr_schedule_save(&trained->schedule, prefix, state);
}

dppo_status dppo_trained_load(dppo_trained *trained, const char *name, const dppo_named *state) {
    char prefix[128];
    part_name(prefix, sizeof prefix, name, "optimizer");
    DPPO_TRY(dppo_optimizer_load(trained->optimizer, prefix, state));
    part_name(prefix, sizeof prefix, name, "lr_scheduler");
    return dppo_lr_schedule_load(&trained->schedule, prefix, state);
}
