/* The original's 279 configurations, from the structures of fixtures/configs/structures.yaml: each resolves
 * and builds, and its state_dict has the original's names and sizes. */
#include "base/sha256.h"
#include "config/config.h"
#include "models/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { CONFIGS = 279 };

static dppo_config *structures;

static void try(dppo_status status, const char *where) {
    if (status != DPPO_OK) fail_msg("%s: %s", where, dppo_message());
}

/* The row of a configuration and, expanded, the configuration itself. */
static const dppo_config *row_of(const char *folder, const char *file) {
    const dppo_config *row =
        dppo_config_get(dppo_config_get(dppo_config_get(structures, "configs"), folder), file);
    assert_non_null(row);
    return row;
}

static dppo_config *expanded(const char *folder, const char *file) {
    char name[256];
    dppo_config *config;
    (void)snprintf(name, sizeof name, "%s/%s", folder, file);
    try(dppo_config_expand(structures, name, &config), name);
    return config;
}

/* -- what a model is made of */

/* "name (sizes)" a line. */
static void describe(const dppo_named *state, dppo_text *text) {
    for (size_t i = 0; i < state->count; i++) {
        const dppo_tensor *tensor = state->entries[i].tensor;
        dppo_text_format(text, "%s (", state->entries[i].name);
        for (int k = 0; k < tensor->ndim; k++)
            dppo_text_format(text, "%s%lld", k > 0 ? ", " : "", (long long)tensor->shape[k]);
        dppo_text_add(text, ")\n");
    }
}

static int64_t count_parameters(const dppo_module *module) {
    size_t count = dppo_module_parameters(module, NULL, NULL, 0);
    dppo_tensor **parameters = malloc((count + 1) * sizeof *parameters);
    int64_t total = 0;
    assert_non_null(parameters);
    (void)dppo_module_parameters(module, parameters, NULL, count);
    for (size_t i = 0; i < count; i++)
        total += dppo_numel(parameters[i]);
    free(parameters);
    return total;
}

/* Whether `module` is as the row says; how it is, into `text`. */
static bool as_promised(const dppo_config *row, const dppo_module *module, dppo_text *text) {
    char digest[DPPO_SHA256_TEXT];
    dppo_named state = {0};
    const char *promised;
    int64_t parameters, found = count_parameters(module);
    try(dppo_config_string(row, "state", &promised), "state");
    try(dppo_config_int(row, "parameters", &parameters), "parameters");
    try(dppo_module_state_dict(module, "", &state), "state_dict");
    describe(&state, text);
    dppo_named_free(&state);
    dppo_sha256(text->bytes, text->length, digest);
    dppo_text_format(text, "%lld parameters, promised are %lld", (long long)found, (long long)parameters);
    return strncmp(digest, promised, strlen(promised)) == 0 && found == parameters;
}

/* -- the configurations */

/* Builds `config`, which must come out as the row says. */
static bool build_one(const char *path, const dppo_config *row, dppo_config *config) {
    dppo_module *module = NULL;
    dppo_text text = {0};
    try(dppo_config_resolve(config), path);
    dppo_status status = dppo_build_module(dppo_config_get(config, "model"), NULL, &module);
    bool good = status == DPPO_OK && as_promised(row, module, &text);
    if (!good) print_error("%s: %s\n", path, status == DPPO_OK ? text.bytes : dppo_message());
    dppo_text_free(&text);
    dppo_module_free(module);
    return good;
}

/* A row that lacks an argument, as the original's file does, is refused by name. */
static bool refused(const char *path, const char *lacking, const dppo_config *config) {
    dppo_config *copy = dppo_config_copy(config);
    dppo_module *module = NULL;
    try(dppo_config_resolve(copy), path);
    dppo_status status = dppo_build_module(dppo_config_get(copy, "model"), NULL, &module);
    bool good = status == DPPO_INVALID && strstr(dppo_message(), lacking);
    if (!good) print_error("%s: lacks %s: %s\n", path, lacking, dppo_message());
    dppo_module_free(module);
    dppo_config_free(copy);
    return good;
}

static bool builds(const char *folder, const char *file) {
    const dppo_config *row = row_of(folder, file);
    dppo_config *config = expanded(folder, file);
    const char *lacks;
    char path[256], given[256];
    bool good = true;
    (void)snprintf(path, sizeof path, "%s/%s.yaml", folder, file);
    try(dppo_config_string_or(row, "lacks", NULL, &lacks), path);
    if (lacks) {
        const char *key = strrchr(lacks, '.') + 1;
        good = refused(path, key, config);
        (void)snprintf(given, sizeof given, "+%s=${%s}", lacks, key);
        try(dppo_config_override(config, given), path);
    }
    good = good && build_one(path, row, config);
    dppo_config_free(config);
    return good;
}

static void test_all_build(void **unused) {
    (void)unused;
    const dppo_config *folders = dppo_config_get(structures, "configs");
    int good = 0, all = 0;
    for (size_t i = 0; i < dppo_config_count(folders); i++) {
        const dppo_config *folder = dppo_config_item(folders, i);
        for (size_t k = 0; k < dppo_config_count(folder); k++, all++)
            good += builds(dppo_config_key(folders, i), dppo_config_key(folder, k));
    }
    assert_int_equal(all, CONFIGS);
    assert_int_equal(good, CONFIGS);
}

/* The table can tell: another width, a missing layer and another class are noticed. */
static void test_differences_are_noticed(void **unused) {
    (void)unused;
    static const char *const changes[] = {"model.network.mlp_dims=[512, 512, 512, 512, 512]",
                                          "model.network.time_dim=32", "+model.network.use_layernorm=true",
                                          "model.network.residual_style=false"};
    const char *folder = "gym/pretrain/hopper-medium-v2", *file = "pre_diffusion_mlp";
    const dppo_config *row = row_of(folder, file);
    assert_true(builds(folder, file));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        dppo_config *config = expanded(folder, file);
        dppo_module *module = NULL;
        dppo_text text = {0};
        try(dppo_config_override(config, changes[i]), changes[i]);
        try(dppo_config_resolve(config), changes[i]);
        try(dppo_build_module(dppo_config_get(config, "model"), NULL, &module), changes[i]);
        assert_false(as_promised(row, module, &text));
        dppo_text_free(&text);
        dppo_module_free(module);
        dppo_config_free(config);
    }
}

/* What is wrong in a description is named. */
static void test_refused(void **unused) {
    (void)unused;
    static const char *const cases[][2] = {
        {"configs: {a: {b: {is: nothing}}}", "a/b: is: there is no part nothing"},
        {"configs: {a: {b: {is: [1]}}}", "a/b: "},
        {"configs: {a: {b: {x: {is: nothing}}}}", "x.is: there is no part nothing"},
        {"configs: {a: {b: {x: 1, without: [y]}}}", "y"},
        {"configs: {a: {c: {x: 1}}}", "there is no configuration a/b"},
        {"tasks: {t: {is: t}}\nconfigs: {a: {b: {is: t}}}", "too deeply"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_config *root, *config;
        try(dppo_config_parse_yaml(cases[i][0], "t.yaml", &root), cases[i][0]);
        assert_int_equal(dppo_config_expand(root, "a/b", &config), DPPO_INVALID);
        assert_null(config);
        if (!strstr(dppo_message(), cases[i][1])) fail_msg("%s: '%s'", cases[i][0], dppo_message());
        dppo_config_free(root);
    }
}

static int load(void **unused) {
    (void)unused;
    return dppo_config_load(FIXTURES "/configs/structures.yaml", &structures) == DPPO_OK ? 0 : -1;
}

static int unload(void **unused) {
    (void)unused;
    dppo_config_free(structures);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_build),
        cmocka_unit_test(test_differences_are_noticed),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
