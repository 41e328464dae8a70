#include "algorithms/driver.h"
#include "data/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What a run writes beside its checkpoints. */
static const char *const run_files[] = {"metrics.csv", "teacher_forced.csv", "run.yaml", "config.yaml", NULL};

dppo_status dppo_run_folder_path(const dppo_run_options *options, const char *name, char *path, size_t size) {
    int length = snprintf(path, size, "%s/%s", options->folder, name);
    if (length < 0 || (size_t)length >= size)
        return dppo_fail(DPPO_INVALID, "%s: path too long", options->folder);
    return DPPO_OK;
}

/* How long a run is, where things are and what is logged do not change what a run computes; logdir and name
 * hold the time of day. */
static bool may_differ(const char *key) {
    static const char *const keys[] = {"n_train_itr", "n_epochs",   "save_model_freq", "log_freq", "logdir",
                                       "name",        "wandb",      "hydra",           "log_dir",  "env_dir",
                                       "save_video",  "render_dir", "render",          "device",   "gpu_id",
                                       "sim_device",  NULL};
    const char *path = strstr(key, "_path");
    for (const char *const *word = keys; *word; word++)
        if (strcmp(*word, key) == 0) return true;
    return path && path[5] == '\0';
}

static dppo_status check_resumed(const dppo_config *config, const char *checkpoint) {
    dppo_config *before;
    dppo_text difference = {0};
    DPPO_TRY(dppo_checkpoint_config(checkpoint, &before));
    if (!before) return DPPO_OK;
    dppo_status status = DPPO_OK;
    if (dppo_config_differ(before, config, may_differ, &difference))
        status = dppo_fail(DPPO_INVALID, "%s: not of this configuration: %s", checkpoint,
                           difference.bytes ? difference.bytes : "out of memory");
    dppo_text_free(&difference);
    dppo_config_free(before);
    return status;
}

dppo_status dppo_run_folder_check(const dppo_config *config, const dppo_run_options *options) {
    char path[4096];
    if (options->resume) return check_resumed(config, options->resume);
    for (const char *const *name = run_files; *name && !options->overwrite; name++) {
        DPPO_TRY(dppo_run_folder_path(options, *name, path, sizeof path));
        if (access(path, F_OK) == 0)
            return dppo_fail(DPPO_INVALID, "%s: a run is here already (%s); --overwrite replaces it",
                             options->folder, *name);
    }
    return DPPO_OK;
}

static dppo_status remove_file(const char *path) {
    if (unlink(path) == 0 || errno == ENOENT) return DPPO_OK;
    return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
}

/* A checkpoint of the run before would pass for one of the new run's. Only names we write are touched. */
static dppo_status remove_run(const dppo_run_options *options) {
    char path[4096], folder[4096];
    for (const char *const *name = run_files; *name; name++) {
        DPPO_TRY(dppo_run_folder_path(options, *name, path, sizeof path));
        DPPO_TRY(remove_file(path));
    }
    DPPO_TRY(dppo_run_folder_path(options, "checkpoint", folder, sizeof folder));
    DIR *directory = opendir(folder);
    dppo_status status = DPPO_OK;
    for (struct dirent *entry; directory && status == DPPO_OK && (entry = readdir(directory));) {
        char file[512];
        bool numbered = strncmp(entry->d_name, "state_", 6) == 0;
        if (!numbered && strcmp(entry->d_name, "best.h5") != 0) continue;
        (void)snprintf(file, sizeof file, "checkpoint/%s", entry->d_name);
        status = dppo_run_folder_path(options, file, path, sizeof path);
        if (status == DPPO_OK) status = remove_file(path);
    }
    if (directory) (void)closedir(directory);
    return status;
}

dppo_status dppo_run_folder_open(const dppo_config *config, const dppo_run_options *options) {
    char path[4096];
    dppo_text yaml = {0};
    if (options->overwrite && !options->resume) DPPO_TRY(remove_run(options));
    DPPO_TRY(dppo_run_folder_path(options, "checkpoint", path, sizeof path));
    DPPO_TRY(dppo_make_folder(path));
    DPPO_TRY(dppo_run_folder_path(options, "config.yaml", path, sizeof path));
    dppo_config_write_yaml(config, &yaml);
    dppo_status status = dppo_text_save(&yaml, path);
    dppo_text_free(&yaml);
    return status;
}

static void add_quoted(dppo_text *text, const char *string) {
    dppo_text_add(text, "'");
    for (; string && *string; string++)
        dppo_text_append(text, *string == '\'' ? "''" : string, *string == '\'' ? 2 : 1);
    dppo_text_add(text, "'\n");
}

dppo_status dppo_run_folder_result(const dppo_run_options *options, const dppo_config *config,
                                   const dppo_run_result *result) {
    char path[4096], when[64] = "";
    int64_t seed;
    time_t now = time(NULL);
    struct tm local;
    dppo_text yaml = {0};
    DPPO_TRY(dppo_config_int_or(config, "seed", 42, &seed));
    if (localtime_r(&now, &local)) (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    dppo_text_add(&yaml, "command: ");
    add_quoted(&yaml, options->command);
    dppo_text_add(&yaml, "written: ");
    add_quoted(&yaml, when);
    dppo_text_format(&yaml, "seed: %lld\nfirst: %s\nsecond: %s\n", (long long)seed, options->first->side,
                     options->second ? options->second->side : "null");
    dppo_text_format(&yaml, "iterations: %lld\n", (long long)result->iterations);
    if (options->second)
        dppo_text_format(
            &yaml,
            "teacher_forced_within: %s\nteacher_forced_iterations: %lld\nteacher_forced_failures: %lld\n"
            "free_equal_iterations: %lld\n",
            result->teacher_forced_within ? "true" : "false", (long long)result->teacher_forced_iterations,
            (long long)result->teacher_forced_failures, (long long)result->free_equal_iterations);
    if (options->versions) dppo_text_add(&yaml, options->versions);
    dppo_status status = dppo_run_folder_path(options, "run.yaml", path, sizeof path);
    if (status == DPPO_OK) status = dppo_text_save(&yaml, path);
    dppo_text_free(&yaml);
    return status;
}
