/* dppo doctor: what is here. What a configuration needs that is not: doctor_config.c. */
#include "base/pool.h"
#include "base/sha256.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/doctor.h"
#include "cli/run_config.h"
#include "tensor/kernel_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>
#include <zip.h>

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
    (void)printf("kernels: '%s'\n", dppo_kernels_avx2() ? "AVX2 and FMA" : "plain C");
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

/* The exit status is that of the worst: one that makes no sense, then one that lacks something. */
static int check_configs(int count, char **paths, int override_count, char **overrides) {
    int counts[DPPO_EXIT_MISSING + 1] = {0};
    for (int i = 0; i < count; i++)
        counts[dppo_doctor_config(paths[i], override_count, overrides)]++;
    if (count > 1)
        (void)printf("\n%d in order, %d with something missing, %d invalid\n", counts[DPPO_EXIT_OK],
                     counts[DPPO_EXIT_MISSING], counts[DPPO_EXIT_USAGE]);
    return counts[DPPO_EXIT_USAGE]     ? DPPO_EXIT_USAGE
           : counts[DPPO_EXIT_MISSING] ? DPPO_EXIT_MISSING
                                       : DPPO_EXIT_OK;
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
    if (configs > 1) return check_configs(configs - 1, argv + 1, overrides - configs, argv + configs);
    print_build();
    check_fixtures(&found);
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
    .usage = "usage: dppo doctor [CONFIG.. [KEY=VALUE..]]\n\n"
             "Without arguments: prints versions, the processor's capability and the threads, and checks the "
             "fixture\n"
             "files against their manifest.\n\n"
             "With them, one line for each CONFIG (the overrides apply to all): whether its model builds, of "
             "what\n"
             "classes and how many parameters; and what is missing, by name: classes, agents, checkpoint, "
             "data, the\n"
             "environment. Nothing hides behind the first.\n\n"
             "Exit status: 0 all is here; 1 a fixture file is not the one of the manifest; 2 a configuration "
             "or a\n"
             "file cannot be read or makes no sense; 3 a class, an environment or a file is missing.\n",
    .run = run,
};
