/* dppo doctor: what is here, and what a configuration needs that is not. */
#include "algorithms/agent.h"
#include "base/pool.h"
#include "base/sha256.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/run_config.h"
#include "data/dataset.h"
#include "envs/env.h"
#include "models/build.h"
#include "tensor/kernel_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>
#include <zip.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

/* What was found wrong so far. The exit status is that of the worst: unreadable, mismatch, missing. */
typedef struct findings {
    int unreadable, mismatched, missing;
} findings;

static void note(findings *found, dppo_status status, const char *what) {
    bool absent = status == DPPO_MISSING || status == DPPO_IO;
    (void)printf("  %-8s %s: %s\n", absent ? "missing" : "wrong", what, dppo_message());
    found->missing += absent;
    found->unreadable += !absent;
}

/* -- this machine, this build */

static void print_build(void) {
    char *yaml = dppo_versions_yaml();
    (void)fputs(yaml ? yaml : "", stdout);
    free(yaml);
    (void)printf("yaml: '%s'\nzip: '%s'\n", yaml_get_version_string(), zip_libzip_version());
    (void)printf("cores: %ld\nkernels: '%s'\n", sysconf(_SC_NPROCESSORS_ONLN),
                 dppo_kernels_avx2() ? "AVX2 and FMA" : "plain C");
    if (!dppo_torch_side())
        (void)puts("libtorch: absent (built with DPPO_SHIM=OFF): nothing to compare C with but the record");
}

/* -- fixtures */

/* The digest that the text of a manifest gives for `name`, or NULL. */
static const char *promised_digest(const char *manifest, const char *name) {
    size_t length = strlen(name);
    for (const char *line = manifest; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == ',') return line + length + 1;
    }
    return NULL;
}

static void check_file(findings *found, const char *path, const char *manifest) {
    char digest[DPPO_SHA256_TEXT];
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *promised = promised_digest(manifest, name);
    dppo_status status = dppo_sha256_file(path, digest, NULL);
    if (status != DPPO_OK) {
        note(found, status, name);
    } else if (!promised) {
        (void)printf("  unlisted %s: not in manifest.csv\n", name);
    } else if (strncmp(promised, digest, DPPO_SHA256_TEXT - 1) != 0) {
        (void)printf("  wrong    %s: not the file of manifest.csv\n", name);
        found->mismatched++;
    } else {
        (void)printf("  ok       %s\n", name);
    }
}

/* Files that the manifest promises and the folder lacks. */
static void check_absent(findings *found, const char *folder, const char *manifest) {
    char path[4096];
    const char *line = strchr(manifest, '\n'); /* after the head */
    for (; line && line[1]; line = strchr(line + 1, '\n')) {
        int length = (int)strcspn(line + 1, ",\n");
        (void)snprintf(path, sizeof path, "%s/%.*s", folder, length, line + 1);
        if (access(path, R_OK) == 0) continue;
        (void)printf("  missing  %.*s: in manifest.csv, not in the folder\n", length, line + 1);
        found->missing++;
    }
}

static void check_fixtures(findings *found) {
    char buffer[4096], path[4200], *manifest = NULL;
    const char *folder = dppo_fixture_folder(buffer, sizeof buffer);
    dppo_file_list list = {0};
    (void)printf("\nfixtures: %s\n", folder);
    (void)snprintf(path, sizeof path, "%s/manifest.csv", folder);
    dppo_status status = dppo_read_file(path, &manifest, NULL);
    if (status != DPPO_OK) note(found, status, "manifest.csv");
    status = dppo_fixture_files(0, NULL, &list);
    if (status != DPPO_OK) note(found, status, "case files");
    for (size_t i = 0; i < list.count; i++)
        check_file(found, list.paths[i], manifest ? manifest : "");
    if (manifest) check_absent(found, folder, manifest);
    dppo_file_list_free(&list);
    free(manifest);
}

/* -- configurations */

static bool can_build(const char *target) {
#define DPPO_TARGET_NAME(name, builder) #name,
    static const char *const known[] = {DPPO_TARGETS(DPPO_TARGET_NAME)};
#undef DPPO_TARGET_NAME
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i], target) == 0) return true;
    return false;
}

/* Names every class below `node` that cannot be built, not only the first. */
static int check_targets(const dppo_config *node, const char *where) {
    char path[512];
    int unknown = 0;
    const char *target = dppo_config_target(node);
    if (target && !can_build(target)) {
        (void)printf("  missing  %s: no %s here\n", where, target);
        unknown++;
    }
    bool map = dppo_config_type_of(node) == DPPO_CONFIG_MAP;
    for (size_t i = 0; map && i < dppo_config_count(node); i++) {
        (void)snprintf(path, sizeof path, "%s.%s", where, dppo_config_key(node, i));
        unknown += check_targets(dppo_config_item(node, i), path);
    }
    return unknown;
}

/* With initial weights: the checkpoint is looked at by itself, so that a missing one hides nothing. */
static void check_agent(findings *found, const dppo_config *config, const dppo_agent_class *side) {
    dppo_config *copy = dppo_config_copy(config);
    dppo_agent *agent = NULL;
    char what[64];
    (void)snprintf(what, sizeof what, "agent (%s)", side->side);
    dppo_status status = copy ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "no memory");
    if (status == DPPO_OK && dppo_config_get(copy, "model.network_path"))
        status = dppo_config_override(copy, "model.network_path=null");
    if (status == DPPO_OK) status = side->create(copy, &agent);
    if (status == DPPO_OK)
        (void)printf("  ok       %s: %s\n", what, dppo_config_target(config));
    else
        note(found, status, what);
    if (agent) side->destroy(agent);
    dppo_config_free(copy);
}

static void check_checkpoint(findings *found, const dppo_config *config) {
    const char *path = NULL;
    dppo_named state = {0};
    dppo_status status = dppo_config_string_or(config, "model.network_path", NULL, &path);
    if (status == DPPO_OK && !path) return;
    if (status == DPPO_OK) status = dppo_checkpoint_read(path, &state);
    if (status == DPPO_OK)
        (void)printf("  ok       model.network_path: %zu tensors in %s\n", state.count, path);
    else
        note(found, status, "model.network_path");
    dppo_named_free(&state);
}

static void check_dataset(findings *found, const dppo_config *config) {
    const dppo_config *node = dppo_config_get(config, "train_dataset");
    dppo_sequence_dataset *dataset = NULL;
    if (!node) return;
    dppo_status status = dppo_sequence_dataset_new(node, &dataset);
    if (status == DPPO_OK)
        (void)printf("  ok       train_dataset: %lld sequences\n",
                     (long long)dppo_sequence_dataset_count(dataset));
    else
        note(found, status, "train_dataset");
    dppo_sequence_dataset_free(dataset);
}

static void check_environment(findings *found, const dppo_config *config) {
    dppo_vector_env *vector = NULL;
    if (dppo_config_type_of(dppo_config_get(config, "env")) != DPPO_CONFIG_MAP) return;
    dppo_status status = dppo_vector_env_new(config, &vector);
    if (status == DPPO_OK)
        (void)printf("  ok       env: %lld environments\n", (long long)dppo_vector_env_count(vector));
    else
        note(found, status, "env");
    dppo_vector_env_free(vector);
}

static void check_config(findings *found, const char *path, int override_count, char **overrides) {
    dppo_config *config = NULL;
    (void)printf("\nconfiguration: %s\n", path);
    if (dppo_run_config(path, override_count, overrides, &config) != DPPO_OK) {
        (void)printf("  wrong    %s\n", dppo_message());
        found->unreadable++;
        return;
    }
    int unknown = check_targets(dppo_config_get(config, "model"), "model");
    found->missing += unknown;
    if (unknown == 0) {
        check_agent(found, config, &dppo_c_agent_class);
#ifdef DPPO_WITH_SHIM
        check_agent(found, config, &shim_agent_class);
#endif
    }
    check_checkpoint(found, config);
    check_dataset(found, config);
    check_environment(found, config);
    dppo_config_free(config);
}

static int run(int argc, char **argv) {
    findings found = {0};
    int configs = 1, overrides;
    while (configs < argc && argv[configs][0] != '-' && !dppo_is_override(argv[configs]))
        configs++;
    for (overrides = configs; overrides < argc && dppo_is_override(argv[overrides]);)
        overrides++;
    if (overrides < argc) {
        (void)fputs(dppo_verb_doctor.usage, stderr);
        return DPPO_EXIT_USAGE;
    }
    dppo_set_threads(0);
    print_build();
    check_fixtures(&found);
    for (int i = 1; i < configs; i++)
        check_config(&found, argv[i], overrides - configs, argv + configs);
    int wrong = found.unreadable + found.mismatched;
    (void)printf("\n%d wrong, %d missing\n", wrong, found.missing);
    return found.unreadable   ? DPPO_EXIT_USAGE
           : found.mismatched ? DPPO_EXIT_MISMATCH
           : found.missing    ? DPPO_EXIT_MISSING
                              : DPPO_EXIT_OK;
}

const dppo_verb dppo_verb_doctor = {
    .name = "doctor",
    .summary = "what is here, and what a configuration needs that is not",
    .usage = "usage: dppo doctor [CONFIG..] [KEY=VALUE..]\n\n"
             "Prints versions, the processor's capability and the threads, and checks the fixture files "
             "against their\n"
             "manifest. For each CONFIG (the overrides apply to all) it builds the agent on each side, opens "
             "the\n"
             "environments, and reads the checkpoint and the data set: what is missing is named, and nothing "
             "hides\n"
             "behind the first.\n\n"
             "Exit status: 0 all is here; 1 a fixture file is not the one of the manifest; 2 a configuration "
             "or a\n"
             "file cannot be read or makes no sense; 3 a class, an environment or a file is missing.\n",
    .run = run,
};
