/* dppo doctor CONFIG: whether a configuration builds here, and by name what it needs that is not here. Every
 * thing is looked at by itself, so that nothing hides behind the first. */
#include "algorithms/agent.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/run_config.h"
#include "data/dataset.h"
#include "envs/env.h"
#include "models/build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

/* The two lists of the line; NULL bytes while there is nothing. */
typedef struct findings {
    dppo_text wrong, missing;
} findings;

static void add(dppo_text *list, const char *what, const char *why) {
    dppo_text_format(list, "%s%s", list->length > 0 ? "; " : "", what);
    if (why) dppo_text_format(list, ": %s", why);
}

/* A failure: missing where something is not here, wrong where it makes no sense. */
static void note(findings *found, dppo_status status, const char *what) {
    bool absent = status == DPPO_MISSING || status == DPPO_IO;
    add(absent ? &found->missing : &found->wrong, what, dppo_message());
}

/* True if the file that `key` names is here, or none is named. */
static bool check_file(findings *found, const dppo_config *config, const char *key, const char *what) {
    const char *path = NULL;
    char text[4200];
    if (dppo_config_string_or(config, key, NULL, &path) != DPPO_OK) {
        note(found, DPPO_INVALID, what);
        return false;
    }
    if (!path || access(path, R_OK) == 0) return true;
    (void)snprintf(text, sizeof text, "%s %s", what, path);
    add(&found->missing, text, strerror(errno));
    return false;
}

/* -- the model */

static bool can_build(const char *target) {
#define DPPO_TARGET_NAME(name, builder) #name,
    static const char *const known[] = {DPPO_TARGETS(DPPO_TARGET_NAME)};
#undef DPPO_TARGET_NAME
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], target) == 0) return true;
    return false;
}

/* Names every class below `node` that cannot be built, not only the first. */
static int check_targets(findings *found, const dppo_config *node, const char *where) {
    char path[512];
    int unknown = 0;
    const char *target = dppo_config_target(node);
    if (target && !can_build(target)) {
        (void)snprintf(path, sizeof path, "class %s", target);
        add(&found->missing, path, where);
        unknown++;
    }
    bool map = dppo_config_type_of(node) == DPPO_CONFIG_MAP;
    for (size_t i = 0; map && i < dppo_config_count(node); i++) {
        (void)snprintf(path, sizeof path, "%s.%s", where, dppo_config_key(node, i));
        unknown += check_targets(found, dppo_config_item(node, i), path);
    }
    return unknown;
}

static int64_t count_parameters(const dppo_module *module) {
    size_t count = dppo_module_parameters(module, NULL, NULL, 0);
    dppo_tensor **parameters = malloc((count + 1) * sizeof *parameters);
    int64_t total = 0;
    if (!parameters) return 0;
    (void)dppo_module_parameters(module, parameters, NULL, count);
    for (size_t i = 0; i < count; i++)
        total += dppo_numel(parameters[i]);
    free(parameters);
    return total;
}

/* " (actor DiffusionMLP 245772, critic CriticObs 69377)": what the model is built from. */
static void describe_parts(const dppo_config *model, dppo_text *line) {
    const char *between = " (";
    for (size_t i = 0; i < dppo_config_count(model); i++) {
        const dppo_config *node = dppo_config_item(model, i);
        dppo_module *part = NULL;
        if (dppo_config_type_of(node) != DPPO_CONFIG_MAP || !dppo_config_target(node)) continue;
        dppo_text_format(line, "%s%s %s", between, dppo_config_key(model, i), dppo_config_target(node));
        if (dppo_build_module(node, NULL, &part) == DPPO_OK)
            dppo_text_format(line, " %lld", (long long)count_parameters(part));
        dppo_module_free(part);
        between = ", ";
    }
    if (between[0] == ',') dppo_text_add(line, ")");
}

/* In C, without a checkpoint. */
static bool check_model(findings *found, const dppo_config *config, dppo_text *line) {
    const dppo_config *model = dppo_config_get(config, "model");
    dppo_module *module = NULL;
    bool built = false;
    if (check_targets(found, model, "model") == 0) {
        dppo_status status = dppo_build_module(model, NULL, &module);
        built = status == DPPO_OK;
        if (!built) note(found, status, "model");
    }
    if (!built) {
        dppo_text_add(line, "does not build");
        return false;
    }
    dppo_text_format(line, "builds %s, %lld parameters", module->type, (long long)count_parameters(module));
    describe_parts(model, line);
    dppo_module_free(module);
    return true;
}

/* -- the checkpoint and the agents */

/* DiffusionEval has its networks from its checkpoint only. */
static bool needs_checkpoint(const dppo_config *config) {
    const char *target = dppo_config_target(dppo_config_get(config, "model"));
    return target && strcmp(target, "DiffusionEval") == 0;
}

/* True if the model's checkpoint is there to be loaded. */
static bool check_checkpoint(findings *found, const dppo_config *config) {
    const char *path = NULL;
    dppo_named state = {0};
    if (!check_file(found, config, "model.network_path", "checkpoint")) return false;
    (void)dppo_config_string_or(config, "model.network_path", NULL, &path);
    if (!path && needs_checkpoint(config))
        add(&found->missing, "checkpoint", "model.network_path names none");
    if (!path) return false;
    dppo_status status = dppo_checkpoint_read(path, &state);
    if (status != DPPO_OK) note(found, status, "checkpoint");
    dppo_named_free(&state);
    return status == DPPO_OK;
}

/* As it would run; where the checkpoint is not there, which is said already, with initial weights. */
static void check_agent(findings *found, const dppo_config *config, bool checkpoint,
                        const dppo_agent_class *side) {
    dppo_config *copy = dppo_config_copy(config);
    dppo_agent *agent = NULL;
    char what[64];
    (void)snprintf(what, sizeof what, "agent (%s)", side->side);
    dppo_status status = copy ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "no memory");
    if (status == DPPO_OK && !checkpoint && dppo_config_get(copy, "model.network_path"))
        status = dppo_config_override(copy, "model.network_path=null");
    if (status == DPPO_OK) status = side->create(copy, &agent);
    if (status != DPPO_OK) note(found, status, what);
    if (agent) side->destroy(agent);
    dppo_config_free(copy);
}

static void check_agents(findings *found, const dppo_config *config, bool checkpoint) {
    check_agent(found, config, checkpoint, &dppo_c_agent_class);
#ifdef DPPO_WITH_SHIM
    if (checkpoint || !needs_checkpoint(config)) check_agent(found, config, checkpoint, &shim_agent_class);
#endif
}

/* -- data and environment */

static void check_dataset(findings *found, const dppo_config *config, const char *key) {
    const dppo_config *node = dppo_config_get(config, key);
    const char *target = dppo_config_target(node);
    dppo_sequence_dataset *dataset = NULL;
    char what[256];
    if (!node) return;
    if (target && strcmp(target, "StitchedSequenceDataset") != 0) {
        (void)snprintf(what, sizeof what, "class %s", target);
        add(&found->missing, what, key);
    }
    bool here = check_file(found, node, "dataset_path", "data set");
    if (!here || (target && strcmp(target, "StitchedSequenceDataset") != 0)) return;
    dppo_status status = dppo_sequence_dataset_new(node, &dataset);
    if (status != DPPO_OK) note(found, status, key);
    dppo_sequence_dataset_free(dataset);
}

/* Whose environments these are, by the wrapper beside multi_step ("robomimic_lowdim": robomimic) or env_type.
 */
static void name_suite(const dppo_config *config, char *text, size_t size) {
    const dppo_config *wrappers = dppo_config_get(config, "env.wrappers");
    const char *name = NULL;
    (void)dppo_config_string_or(config, "env.env_type", NULL, &name);
    for (size_t i = 0; i < dppo_config_count(wrappers) && !name; i++)
        if (strcmp(dppo_config_key(wrappers, i), "multi_step") != 0) name = dppo_config_key(wrappers, i);
    if (!name || strncmp(name, "mujoco", 6) == 0) name = "gym";
    (void)snprintf(text, size, "%.*s", (int)strcspn(name, "_"), name);
}

static void check_environment(findings *found, const dppo_config *config) {
    dppo_vector_env *vector = NULL;
    dppo_task *task = NULL;
    const char *name = NULL;
    char suite[64], what[256];
    if (dppo_config_type_of(dppo_config_get(config, "env")) != DPPO_CONFIG_MAP) return;
    bool scaled = check_file(found, config, "normalization_path", "normalization");
    dppo_status status = dppo_config_string(config, "env.name", &name);
    if (status == DPPO_OK) status = dppo_task_new(name, &task);
    dppo_task_free(task);
    if (status == DPPO_MISSING) {
        name_suite(config, suite, sizeof suite);
        (void)snprintf(what, sizeof what, "environment %s %s", suite, name);
        add(&found->missing, what, "not available here");
        return;
    }
    if (status == DPPO_OK && !scaled) return;
    if (status == DPPO_OK) status = dppo_vector_env_new(config, &vector);
    if (status != DPPO_OK) note(found, status, "env");
    dppo_vector_env_free(vector);
}

/* -- one line a configuration */

int dppo_doctor_config(const char *path, int override_count, char **overrides) {
    findings found = {0};
    dppo_text line = {0};
    dppo_config *config = NULL;
    if (dppo_run_config(path, override_count, overrides, &config) != DPPO_OK) {
        (void)printf("%s: invalid: %s\n", path, dppo_message());
        return DPPO_EXIT_USAGE;
    }
    bool built = check_model(&found, config, &line);
    bool checkpoint = check_checkpoint(&found, config);
    if (built) check_agents(&found, config, checkpoint);
    check_dataset(&found, config, "train_dataset");
    check_dataset(&found, config, "offline_dataset");
    check_environment(&found, config);
    (void)printf("%s: %s", path, line.bytes ? line.bytes : "");
    if (found.wrong.bytes) (void)printf("; invalid: %s", found.wrong.bytes);
    if (found.missing.bytes) (void)printf("; missing: %s", found.missing.bytes);
    (void)printf("\n");
    int result = found.wrong.bytes ? DPPO_EXIT_USAGE : found.missing.bytes ? DPPO_EXIT_MISSING : DPPO_EXIT_OK;
    dppo_config_free(config);
    dppo_text_free(&line), dppo_text_free(&found.wrong), dppo_text_free(&found.missing);
    return result;
}
