/* MLP: linear layers, each followed by LayerNorm, dropout and an activation as asked for. */
#include "models/build.h"
#include "models/networks.h"
#include "nn/layers.h"

#include <stdio.h>
#include <string.h>

/* What forward() needs of a layer, beside the registry: borrowed from it. */
typedef struct mlp_layer {
    dppo_linear_layer *linear;
    dppo_layer_norm_layer *norm; /* or NULL */
    double dropout;              /* 0: none */
    bool append;
} mlp_layer;

typedef struct mlp {
    dppo_module module;
    size_t count;
    mlp_layer layers[DPPO_MAX_LAYERS];
    dppo_activation_kind activation, out_activation;
} mlp;

static bool appended_at(const dppo_mlp_options *options, size_t layer) {
    for (size_t i = 0; i < options->append_layer_count; i++)
        if (options->append_layers[i] == (int64_t)layer) return options->append_dim > 0;
    return false;
}

/* moduleList.<i> is a Sequential: linear_1, norm_1, dropout_1, act_1; the last two have no parameters. */
static dppo_status add_layer(mlp *self, const dppo_mlp_options *options, size_t i, dppo_generator *generator,
                             dppo_module *list) {
    char name[24];
    mlp_layer *layer = &self->layers[i];
    bool last = i + 2 == options->dim_count;
    (void)snprintf(name, sizeof name, "%zu", i);
    layer->append = appended_at(options, i);
    layer->dropout = !last || options->use_drop_final ? options->dropout : 0;
    int64_t in = options->dims[i] + (layer->append ? options->append_dim : 0), out = options->dims[i + 1];

    dppo_module *sequential = dppo_module_new(sizeof *sequential, "Sequential");
    if (!sequential) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_module_child(list, name, sequential));
    layer->linear = dppo_linear_layer_new(generator, in, out, true);
    if (!layer->linear) return DPPO_INVALID;
    DPPO_TRY(dppo_module_child(sequential, "linear_1", &layer->linear->module));
    if (!options->use_layernorm || (last && !options->use_layernorm_final)) return DPPO_OK;
    layer->norm = dppo_layer_norm_layer_new(out, 1e-5);
    if (!layer->norm) return DPPO_INVALID;
    return dppo_module_child(sequential, "norm_1", &layer->norm->module);
}

/* Layers are made, and their weights drawn, from the input on, as the original's constructor does. A failure
 * leaves a part: the caller frees the whole. */
static dppo_status fill(mlp *self, const dppo_mlp_options *options, dppo_generator *generator) {
    DPPO_TRY(dppo_activation_from_name(options->activation_type, &self->activation));
    DPPO_TRY(dppo_activation_from_name(options->out_activation_type, &self->out_activation));
    dppo_module *list = dppo_module_new(sizeof *list, "ModuleList");
    if (!list) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_module_child(&self->module, "moduleList", list));
    self->count = options->dim_count - 1;
    for (size_t i = 0; i < self->count; i++)
        DPPO_TRY(add_layer(self, options, i, generator, list));
    return DPPO_OK;
}

dppo_status dppo_mlp_new(const dppo_mlp_options *options, dppo_generator *generator, dppo_module **module) {
    *module = NULL;
    if (options->dim_count < 2) return dppo_fail(DPPO_INVALID, "an MLP needs at least two dimensions");
    mlp *self = dppo_module_new(sizeof *self, "MLP");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, options, generator), &self->module, module);
}

dppo_tensor *dppo_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x, dppo_tensor *append) {
    const mlp *self = (const mlp *)module;
    for (size_t i = 0; i < self->count; i++) {
        const mlp_layer *layer = &self->layers[i];
        if (append && layer->append) x = dppo_cat(cx, 2, (dppo_tensor *[]){x, append}, -1);
        x = dppo_linear_layer_forward(cx, layer->linear, x);
        if (layer->norm) x = dppo_layer_norm_layer_forward(cx, layer->norm, x);
        if (layer->dropout > 0) x = dppo_dropout(cx, x, layer->dropout, module->training);
        x = dppo_activation_inplace(cx, i + 1 == self->count ? self->out_activation : self->activation, x);
    }
    return x;
}

dppo_tensor *dppo_any_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    return strcmp(module->type, "MLP") == 0 ? dppo_mlp_forward(cx, module, x, NULL)
                                            : dppo_residual_mlp_forward(cx, module, x);
}

dppo_status dppo_any_mlp_new(bool residual_style, const dppo_mlp_options *options, dppo_generator *generator,
                             dppo_module **module) {
    return residual_style ? dppo_residual_mlp_new(options, generator, module)
                          : dppo_mlp_new(options, generator, module);
}

/* -- options from a config
 * -------------------------------------------------------------------------------------- */

dppo_status dppo_mlp_options_add(dppo_mlp_options *options, int64_t dim) {
    if (options->dim_count > DPPO_MAX_LAYERS)
        return dppo_fail(DPPO_INVALID, "more than %d layers", DPPO_MAX_LAYERS);
    options->dims[options->dim_count++] = dim;
    return DPPO_OK;
}

dppo_status dppo_mlp_options_add_list(dppo_mlp_options *options, const dppo_config *config, const char *key) {
    int64_t dims[DPPO_MAX_LAYERS + 1];
    size_t count = 0;
    DPPO_TRY(dppo_config_ints(config, key, dims, DPPO_MAX_LAYERS + 1, &count));
    for (size_t i = 0; i < count; i++)
        DPPO_TRY(dppo_mlp_options_add(options, dims[i]));
    return DPPO_OK;
}

dppo_status dppo_mlp_options_add_hidden(dppo_mlp_options *options, const dppo_config *config,
                                        const int64_t *fallback, size_t fallback_count) {
    const dppo_config *list = dppo_config_get(config, "mlp_dims");
    if (list) return dppo_mlp_options_add_list(options, config, "mlp_dims");
    if (!fallback) return dppo_fail(DPPO_INVALID, "mlp_dims is missing");
    for (size_t i = 0; i < fallback_count; i++)
        DPPO_TRY(dppo_mlp_options_add(options, fallback[i]));
    return DPPO_OK;
}

/* `verbose` is accepted: it only makes the original print its layers. */
dppo_status dppo_build_mlp(const dppo_config *config, dppo_generator *generator, dppo_module **module) {
    static const char *const keys[] = {"dim_list",
                                       "append_dim",
                                       "append_layers",
                                       "activation_type",
                                       "out_activation_type",
                                       "use_layernorm",
                                       "use_layernorm_final",
                                       "dropout",
                                       "use_drop_final",
                                       "verbose",
                                       NULL};
    dppo_mlp_options o = {0};
    DPPO_TRY(dppo_config_allow(config, "MLP", keys));
    DPPO_TRY(dppo_mlp_options_add_list(&o, config, "dim_list"));
    DPPO_TRY(dppo_config_int_or(config, "append_dim", 0, &o.append_dim));
    DPPO_TRY(
        dppo_config_ints(config, "append_layers", o.append_layers, DPPO_MAX_LAYERS, &o.append_layer_count));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Tanh", &o.activation_type));
    DPPO_TRY(dppo_config_string_or(config, "out_activation_type", "Identity", &o.out_activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &o.use_layernorm));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm_final", false, &o.use_layernorm_final));
    DPPO_TRY(dppo_config_float_or(config, "dropout", 0, &o.dropout));
    DPPO_TRY(dppo_config_bool_or(config, "use_drop_final", false, &o.use_drop_final));
    return dppo_mlp_new(&o, generator, module);
}
