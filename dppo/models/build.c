#include "models/build.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *target;
    dppo_builder *build;
} builders[] = {
#define BUILDER(target, name) {#target, dppo_build_##name},
    DPPO_TARGETS(BUILDER)
#undef BUILDER
};

dppo_status dppo_build_module(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    *module = NULL;
    const char *target = dppo_config_target(config);
    if (!target) return dppo_fail(DPPO_INVALID, "a model needs a _target_");
    for (size_t i = 0; i < sizeof builders / sizeof *builders; i++) {
        if (strcmp(builders[i].target, target) != 0) continue;
        dppo_status status = builders[i].build(config, generator, module);
        return status == DPPO_OK ? status : dppo_fail_in(status, "%s", target);
    }
    return dppo_fail(DPPO_MISSING, "_target_ %s: there is no such model here", target);
}

static bool known_target(const char *target) {
    for (size_t i = 0; i < sizeof builders / sizeof *builders; i++)
        if (strcmp(builders[i].target, target) == 0) return true;
    return false;
}

/* A class of the wrong kind is a mistake; one that there is not at all is missing. */
static dppo_status build_one(const dppo_config *node, dppo_generator *generator, const dppo_nested *nested) {
    const char *target = dppo_config_target(node);
    for (const char *const *type = nested->types; target && *type; type++)
        if (strcmp(target, *type) == 0) return dppo_build_module(node, generator, nested->module);
    if (target && !known_target(target)) return dppo_build_module(node, generator, nested->module);
    return dppo_fail(DPPO_INVALID, "%s must be a %s%s, not %s", nested->key, nested->types[0],
                     nested->types[1] ? " or one of its kind" : "", target ? target : "a plain value");
}

static const dppo_nested *find_nested(const char *key, size_t count, const dppo_nested *nested) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(nested[i].key, key) == 0) return &nested[i];
    return NULL;
}

/* hydra would build any node with a _target_, and draw its weights; one that no argument takes is a mistake.
 */
static dppo_status build_key(const dppo_config *config, size_t index, dppo_generator *generator, size_t count,
                             const dppo_nested *nested) {
    const dppo_config *node = dppo_config_item(config, index);
    const char *key = dppo_config_key(config, index);
    const dppo_nested *wanted = find_nested(key, count, nested);
    if (wanted && !(wanted->optional && dppo_config_type_of(node) == DPPO_CONFIG_NULL))
        return build_one(node, generator, wanted);
    if (!wanted && dppo_config_type_of(node) == DPPO_CONFIG_MAP && dppo_config_target(node))
        return dppo_fail(DPPO_INVALID, "unknown key %s", key);
    return DPPO_OK;
}

dppo_status dppo_build_nested(const dppo_config *config, dppo_generator *generator, size_t count,
                              const dppo_nested *nested) {
    dppo_status status = DPPO_OK;
    for (size_t i = 0; i < count; i++)
        *nested[i].module = NULL;
    for (size_t i = 0; i < dppo_config_count(config) && status == DPPO_OK; i++)
        status = build_key(config, i, generator, count, nested);
    for (size_t i = 0; i < count && status == DPPO_OK; i++)
        if (!*nested[i].module && !nested[i].optional)
            status = dppo_fail(DPPO_INVALID, "%s is missing", nested[i].key);
    for (size_t i = 0; i < count && status != DPPO_OK; i++) {
        dppo_module_free(*nested[i].module);
        *nested[i].module = NULL;
    }
    return status;
}

dppo_status dppo_build_adopt(dppo_module *parent, const char *name, dppo_module **child,
                             dppo_module **field) {
    dppo_module *adopted = *child;
    *child = NULL;
    DPPO_TRY(dppo_module_child(parent, name, adopted)); /* frees it when it fails */
    *field = adopted;
    return DPPO_OK;
}

dppo_status dppo_build_finish(dppo_status status, dppo_module *built, dppo_module **module) {
    if (status == DPPO_OK) {
        *module = built;
        return DPPO_OK;
    }
    dppo_module_free(built);
    *module = NULL;
    return status;
}

dppo_status dppo_config_float_or_none(const dppo_config *config, const char *key, double fallback,
                                      double *value) {
    const dppo_config *node = dppo_config_get(config, key);
    if (node && dppo_config_type_of(node) == DPPO_CONFIG_NULL) {
        *value = NAN;
        return DPPO_OK;
    }
    return dppo_config_float_or(config, key, fallback, value);
}

dppo_status dppo_build_copy(const dppo_config *config, const dppo_module *from, dppo_module **copy) {
    DPPO_TRY(dppo_build_module(config, NULL, copy));
    dppo_status status = dppo_module_copy(*copy, from);
    if (status != DPPO_OK) {
        dppo_module_free(*copy);
        *copy = NULL;
    }
    return status;
}

dppo_status dppo_build_target(dppo_module *parent, const char *name, const dppo_config *config,
                              const char *key, const dppo_module *from, dppo_module **field) {
    dppo_module *copy = NULL;
    DPPO_TRY(dppo_build_copy(dppo_config_get(config, key), from, &copy));
    return dppo_build_adopt(parent, name, &copy, field);
}
