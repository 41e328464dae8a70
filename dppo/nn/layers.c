#include "nn/layers.h"

#include "nn/init.h"
#include "nn/sequential.h"

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
    if (layer->weight->ndim == 3) return dppo_ensemble_linear(cx, x, layer->weight, layer->bias);
    return dppo_linear(cx, x, layer->weight, layer->bias);
}

static bool affine_parameters(dppo_layer_norm_layer *layer) {
    layer->weight = dppo_module_parameter(&layer->module, "weight", layer->ndim, layer->shape);
    if (layer->weight) layer->bias = dppo_module_parameter(&layer->module, "bias", layer->ndim, layer->shape);
    return layer->bias && dppo_init_ones(layer->weight) == DPPO_OK;
}

dppo_layer_norm_layer *dppo_layer_norm_layer_new_over(int ndim, const int64_t *shape, bool affine,
                                                      double eps) {
    bool sensible = ndim > 0 && ndim <= DPPO_MAX_DIMS;
    for (int d = 0; sensible && d < ndim; d++)
        if (!sizes_make_sense("LayerNorm", shape[d], 1)) return NULL;
    if (!sensible) {
        dppo_fail(DPPO_INVALID, "LayerNorm: over %d dimensions", ndim);
        return NULL;
    }
    dppo_layer_norm_layer *layer = dppo_module_new(sizeof *layer, "LayerNorm");
    if (!layer) return NULL;
    layer->eps = eps;
    layer->ndim = ndim;
    memcpy(layer->shape, shape, (size_t)ndim * sizeof *shape);
    if (!affine || affine_parameters(layer)) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_layer_norm_layer *dppo_layer_norm_layer_new(int64_t size, double eps) {
    return dppo_layer_norm_layer_new_over(1, &size, true, eps);
}

/* Several dimensions are one long one: (.., S1, S2) -> (.., S1 S2) and back. */
dppo_tensor *dppo_layer_norm_layer_forward(dppo_cx *cx, const dppo_layer_norm_layer *layer, dppo_tensor *x) {
    int64_t shape[DPPO_MAX_DIMS], size = 1;
    if (!x) return NULL;
    int kept = x->ndim - layer->ndim;
    for (int d = 0; d < layer->ndim; d++) {
        size *= layer->shape[d];
        if (kept < 0 || x->shape[kept + d] != layer->shape[d])
            return dppo_context_fail(cx, DPPO_INVALID, "LayerNorm: the input's last %d dims are not its own",
                                     layer->ndim);
    }
    if (layer->ndim == 1 && layer->weight && layer->weight->ndim == 2)
        return dppo_ensemble_norm(cx, x, layer->weight, layer->bias, layer->eps);
    if (layer->ndim == 1) return dppo_layer_norm(cx, x, layer->weight, layer->bias, layer->eps);
    memcpy(shape, x->shape, sizeof shape);
    shape[kept] = size;
    dppo_tensor *weight = layer->weight ? dppo_reshape(cx, layer->weight, 1, &size) : NULL;
    dppo_tensor *bias = layer->bias ? dppo_reshape(cx, layer->bias, 1, &size) : NULL;
    dppo_tensor *out = dppo_layer_norm(cx, dppo_reshape(cx, x, kept + 1, shape), weight, bias, layer->eps);
    return dppo_reshape(cx, out, x->ndim, x->shape);
}

dppo_embedding_layer *dppo_embedding_layer_new(dppo_generator *generator, int64_t count, int64_t size) {
    if (!sizes_make_sense("Embedding", count, size)) return NULL;
    dppo_embedding_layer *layer = dppo_module_new(sizeof *layer, "Embedding");
    if (!layer) return NULL;
    layer->padding_idx = -1;
    layer->weight = dppo_module_parameter(&layer->module, "weight", 2, (int64_t[]){count, size});
    bool drawn = layer->weight && (!generator || dppo_init_normal(generator, layer->weight, 0, 1) == DPPO_OK);
    if (drawn) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_tensor *dppo_embedding_layer_forward(dppo_cx *cx, const dppo_embedding_layer *layer, dppo_tensor *x) {
    dppo_tensor *rows = dppo_embedding(cx, x, layer->weight);
    if (layer->padding_idx < 0 || !rows) return rows;
    dppo_tensor *padding = dppo_full(cx, DPPO_I64, 0, NULL, (double)layer->padding_idx);
    return dppo_where(cx, dppo_unsqueeze(cx, dppo_eq(cx, x, padding), -1), dppo_detach(cx, rows), rows);
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

dppo_tensor *dppo_activation_inplace(dppo_cx *cx, dppo_activation_kind kind, dppo_tensor *x) {
    return kind == DPPO_ACTIVATION_RELU ? dppo_relu_inplace(cx, x) : dppo_activation(cx, kind, x);
}
