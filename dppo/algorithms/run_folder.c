#include "algorithms/driver.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

dppo_status dppo_run_folder_path(const dppo_run_options *options, const char *name, char *path, size_t size) {
    int length = snprintf(path, size, "%s/%s", options->folder, name);
    if (length < 0 || (size_t)length >= size)
        return dppo_fail(DPPO_INVALID, "%s: path too long", options->folder);
    return DPPO_OK;
}

dppo_status dppo_run_folder_open(const dppo_config *config, const dppo_run_options *options) {
    char path[4096];
    dppo_text yaml = {0};
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
