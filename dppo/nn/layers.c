#include "nn/layers.h"

#include "nn/init.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

static bool sizes_make_sense(const char *layer, int64_t a, int64_t b) {
    if (a > 0 && b > 0) return true;
    dppo_fail(DPPO_INVALID, "%s: sizes %" PRId64 " and %" PRId64 " must be positive", layer, a, b);
    return false;
}

/* torch draws the weight, then the bias. */
static bool initialise_linear(dppo_generator *generator, dppo_linear_layer *layer) {
    if (!generator) return true;
    return dppo_init_kaiming_uniform(generator, layer->weight, sqrt(5.0)) == DPPO_OK &&
           (!layer->bias || dppo_init_bias(generator, layer->bias, layer->weight) == DPPO_OK);
}

dppo_linear_layer *dppo_linear_layer_new(dppo_generator *generator, int64_t in, int64_t out, bool bias) {
    if (!sizes_make_sense("Linear", in, out)) return NULL;
    dppo_linear_layer *layer = dppo_module_new(sizeof *layer, "Linear");
    if (!layer) return NULL;
    layer->weight = dppo_module_parameter(&layer->module, "weight", 2, (int64_t[]){out, in});
    if (bias && layer->weight) layer->bias = dppo_module_parameter(&layer->module, "bias", 1, &out);
    bool whole = layer->weight && (layer->bias || !bias);
    if (whole && initialise_linear(generator, layer)) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_tensor *dppo_linear_layer_forward(dppo_cx *cx, const dppo_linear_layer *layer, dppo_tensor *x) {
    return dppo_linear(cx, x, layer->weight, layer->bias);
}

dppo_layer_norm_layer *dppo_layer_norm_layer_new(int64_t size, double eps) {
    if (!sizes_make_sense("LayerNorm", size, 1)) return NULL;
    dppo_layer_norm_layer *layer = dppo_module_new(sizeof *layer, "LayerNorm");
    if (!layer) return NULL;
    layer->eps = eps;
    layer->weight = dppo_module_parameter(&layer->module, "weight", 1, &size);
    if (layer->weight) layer->bias = dppo_module_parameter(&layer->module, "bias", 1, &size);
    if (layer->bias && dppo_init_ones(layer->weight) == DPPO_OK) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_tensor *dppo_layer_norm_layer_forward(dppo_cx *cx, const dppo_layer_norm_layer *layer, dppo_tensor *x) {
    return dppo_layer_norm(cx, x, layer->weight, layer->bias, layer->eps);
}

dppo_embedding_layer *dppo_embedding_layer_new(dppo_generator *generator, int64_t count, int64_t size) {
    if (!sizes_make_sense("Embedding", count, size)) return NULL;
    dppo_embedding_layer *layer = dppo_module_new(sizeof *layer, "Embedding");
    if (!layer) return NULL;
    layer->weight = dppo_module_parameter(&layer->module, "weight", 2, (int64_t[]){count, size});
    bool drawn = layer->weight && (!generator || dppo_init_normal(generator, layer->weight, 0, 1) == DPPO_OK);
    if (drawn) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_tensor *dppo_embedding_layer_forward(dppo_cx *cx, const dppo_embedding_layer *layer, dppo_tensor *x) {
    return dppo_embedding(cx, x, layer->weight);
}

/* -- activations
 * ------------------------------------------------------------------------------------------------ */

static const char *const activation_names[] = {
#define X(name, text, call) [DPPO_ACTIVATION_##name] = text,
    DPPO_ACTIVATIONS(X)
#undef X
};

dppo_status dppo_activation_from_name(const char *name, dppo_activation_kind *kind) {
    size_t count = sizeof activation_names / sizeof *activation_names;
    for (size_t i = 0; i < count; i++)
        if (strcmp(activation_names[i], name) == 0) {
            *kind = (dppo_activation_kind)i;
            return DPPO_OK;
        }
#define X(key, text, call) " " text
    return dppo_fail(DPPO_INVALID, "activation '%s' is unknown; there are" DPPO_ACTIVATIONS(X), name);
#undef X
}

const char *dppo_activation_name(dppo_activation_kind kind) {
    return activation_names[kind];
}

dppo_tensor *dppo_activation(dppo_cx *cx, dppo_activation_kind kind, dppo_tensor *x) {
    switch (kind) {
#define X(name, text, call)                                                                                  \
    case DPPO_ACTIVATION_##name:                                                                             \
        return call;
        DPPO_ACTIVATIONS(X)
#undef X
    }
    return dppo_context_fail(cx, DPPO_INVALID, "activation %d is unknown", (int)kind);
}
