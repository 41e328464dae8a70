#include "nn/sequential.h"

#include <stdio.h>
#include <string.h>

/* -- from a configuration
 * ------------------------------------------------------------------------------------------ */

static dppo_status new_linear(const dppo_config *node, dppo_generator *generator, dppo_module **layer) {
    static const char *const keys[] = {"in_features", "out_features", "bias", NULL};
    int64_t in, out;
    bool bias;
    DPPO_TRY(dppo_config_allow(node, "Linear", keys));
    DPPO_TRY(dppo_config_int(node, "in_features", &in));
    DPPO_TRY(dppo_config_int(node, "out_features", &out));
    DPPO_TRY(dppo_config_bool_or(node, "bias", true, &bias));
    dppo_linear_layer *linear = dppo_linear_layer_new(generator, in, out, bias);
    if (!linear) return DPPO_INVALID;
    *layer = &linear->module;
    return DPPO_OK;
}

dppo_status dppo_layer_norm_layer_from_config(const dppo_config *init, dppo_layer_norm_layer **layer) {
    static const char *const keys[] = {"normalized_shape", "eps", "elementwise_affine", NULL};
    const dppo_config *node = dppo_config_get(init, "normalized_shape");
    int64_t shape[DPPO_MAX_DIMS];
    size_t count = 1;
    double eps;
    bool affine;
    DPPO_TRY(dppo_config_allow(init, "LayerNorm", keys));
    if (dppo_config_type_of(node) == DPPO_CONFIG_INT)
        DPPO_TRY(dppo_config_int(node, NULL, &shape[0]));
    else
        DPPO_TRY(dppo_config_ints(init, "normalized_shape", shape, DPPO_MAX_DIMS, &count));
    DPPO_TRY(dppo_config_float_or(init, "eps", 1e-5, &eps));
    DPPO_TRY(dppo_config_bool_or(init, "elementwise_affine", true, &affine));
    *layer = dppo_layer_norm_layer_new_over((int)count, shape, affine, eps);
    return *layer ? DPPO_OK : DPPO_INVALID;
}

static dppo_status new_norm(const dppo_config *node, dppo_module **layer) {
    dppo_layer_norm_layer *norm;
    DPPO_TRY(dppo_layer_norm_layer_from_config(node, &norm));
    *layer = &norm->module;
    return DPPO_OK;
}

static dppo_status add_layer(dppo_sequential *self, const dppo_config *node, dppo_generator *generator) {
    const char *target = dppo_config_target(node);
    dppo_module *layer = NULL;
    size_t i = self->count;
    char name[24];
    if (!target) return dppo_fail(DPPO_INVALID, "%s: layer %zu has no _target_", self->module.type, i);
    if (strcmp(target, "Linear") == 0) {
        self->layers[i].kind = DPPO_LAYER_LINEAR;
        DPPO_TRY(new_linear(node, generator, &layer));
    } else if (strcmp(target, "LayerNorm") == 0) {
        self->layers[i].kind = DPPO_LAYER_NORM;
        DPPO_TRY(new_norm(node, &layer));
    } else if (strcmp(target, "Dropout") == 0) {
        self->layers[i].kind = DPPO_LAYER_DROPOUT;
        DPPO_TRY(dppo_config_float_or(node, "p", 0.5, &self->layers[i].p));
    } else {
        self->layers[i].kind = DPPO_LAYER_ACTIVATION;
        DPPO_TRY(dppo_activation_from_name(target, &self->layers[i].activation));
    }
    (void)snprintf(name, sizeof name, "%zu", i);
    self->layers[i].layer = layer;
    self->count++;
    return layer ? dppo_module_child(&self->module, name, layer) : DPPO_OK;
}

dppo_status dppo_sequential_new(const dppo_config *modules, const char *type, dppo_generator *generator,
                                dppo_sequential **sequential) {
    size_t count = dppo_config_count(modules);
    *sequential = NULL;
    if (dppo_config_type_of(modules) != DPPO_CONFIG_LIST || count > DPPO_MAX_SEQUENTIAL)
        return dppo_fail(DPPO_INVALID, "%s: modules must be a list of at most %d", type, DPPO_MAX_SEQUENTIAL);
    dppo_sequential *self = dppo_module_new(sizeof *self, type);
    if (!self) return DPPO_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        dppo_status status = add_layer(self, dppo_config_item(modules, i), generator);
        if (status == DPPO_OK) continue;
        dppo_module_free(&self->module);
        return status;
    }
    *sequential = self;
    return DPPO_OK;
}

/* -- evaluation
 * ----------------------------------------------------------------------------------------------------- */

/* The parameter "<layer>.<name>" from the given ones, or else the module's own. */
typedef struct given {
    size_t count;
    const char *const *names;
    dppo_tensor *const *tensors;
} given;

static dppo_tensor *parameter(const given *from, size_t layer, const char *name, dppo_tensor *own) {
    char path[64];
    (void)snprintf(path, sizeof path, "%zu.%s", layer, name);
    for (size_t i = 0; own && i < from->count; i++)
        if (strcmp(from->names[i], path) == 0) return from->tensors[i];
    return own;
}

static dppo_tensor *run_layer(dppo_cx *cx, const dppo_sequential *self, size_t i, const given *from,
                              dppo_tensor *x) {
    const dppo_module *layer = self->layers[i].layer;
    switch (self->layers[i].kind) {
    case DPPO_LAYER_LINEAR: {
        const dppo_linear_layer *linear = (const dppo_linear_layer *)layer;
        return dppo_linear(cx, x, parameter(from, i, "weight", linear->weight),
                           parameter(from, i, "bias", linear->bias));
    }
    case DPPO_LAYER_NORM: {
        const dppo_layer_norm_layer *norm = (const dppo_layer_norm_layer *)layer;
        return dppo_layer_norm(cx, x, parameter(from, i, "weight", norm->weight),
                               parameter(from, i, "bias", norm->bias), norm->eps);
    }
    case DPPO_LAYER_DROPOUT:
        return dppo_dropout(cx, x, self->layers[i].p, self->module.training);
    default:
        return dppo_activation(cx, self->layers[i].activation, x);
    }
}

dppo_tensor *dppo_sequential_layer(dppo_cx *cx, const dppo_sequential *self, size_t layer, dppo_tensor *x) {
    return run_layer(cx, self, layer, &(given){0}, x);
}

dppo_tensor *dppo_functional_call(dppo_cx *cx, const dppo_sequential *self, size_t count,
                                  const char *const *names, dppo_tensor *const *tensors, dppo_tensor *x) {
    given from = {count, names, tensors};
    for (size_t i = 0; i < self->count; i++)
        x = run_layer(cx, self, i, &from, x);
    return x;
}

dppo_tensor *dppo_sequential_forward(dppo_cx *cx, const dppo_sequential *self, dppo_tensor *x) {
    return dppo_functional_call(cx, self, 0, NULL, NULL, x);
}
