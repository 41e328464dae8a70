/* ResidualMLP: a linear layer, pre-activation residual blocks of two layers, a linear layer. */
#include "models/build.h"
#include "models/networks.h"
#include "models/parts.h"

#include <stdio.h>

/* TwoLayerPreActivationResNetLinear of the original; width is the same in and out. */
typedef struct block {
    dppo_linear_layer *l1, *l2;
    dppo_layer_norm_layer *norm1, *norm2; /* or NULL */
} block;

typedef struct residual_mlp {
    dppo_module module;
    dppo_linear_layer *input, *output;
    size_t block_count;
    block blocks[DPPO_MAX_LAYERS / 2];
    dppo_layer_norm_layer *norm; /* of the output, or NULL */
    dppo_activation_kind activation, out_activation;
} residual_mlp;

/* The block's norms have an epsilon of 1e-6, the output's has torch's default of 1e-5. Registered after both
 * layers, as in the original, though they come first in forward(). */
static dppo_status add_block(dppo_module *list, const char *name, int64_t hidden, bool use_layernorm,
                             dppo_generator *generator, block *added) {
    dppo_module *parent = dppo_module_new(sizeof *parent, "TwoLayerPreActivationResNetLinear");
    if (!parent) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_module_child(list, name, parent));
    DPPO_TRY(dppo_add_linear(parent, "l1", generator, hidden, hidden, &added->l1));
    DPPO_TRY(dppo_add_linear(parent, "l2", generator, hidden, hidden, &added->l2));
    if (!use_layernorm) return DPPO_OK;
    DPPO_TRY(dppo_add_layer_norm(parent, "norm1", hidden, 1e-6, &added->norm1));
    return dppo_add_layer_norm(parent, "norm2", hidden, 1e-6, &added->norm2);
}

/* layers.0 linear, layers.1 ... blocks, then linear, and LayerNorm when asked for. */
static dppo_status fill(residual_mlp *self, const dppo_mlp_options *options, dppo_generator *generator) {
    char name[24];
    size_t index = 0;
    int64_t hidden = options->dims[1], out = options->dims[options->dim_count - 1];
    DPPO_TRY(dppo_activation_from_name(options->activation_type, &self->activation));
    DPPO_TRY(dppo_activation_from_name(options->out_activation_type, &self->out_activation));
    dppo_module *list = dppo_module_new(sizeof *list, "ModuleList");
    if (!list) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_module_child(&self->module, "layers", list));
    DPPO_TRY(dppo_add_linear(list, "0", generator, options->dims[0], hidden, &self->input));
    self->block_count = (options->dim_count - 3) / 2;
    for (; index < self->block_count; index++) {
        (void)snprintf(name, sizeof name, "%zu", index + 1);
        DPPO_TRY(add_block(list, name, hidden, options->use_layernorm, generator, &self->blocks[index]));
    }
    (void)snprintf(name, sizeof name, "%zu", index + 1);
    DPPO_TRY(dppo_add_linear(list, name, generator, hidden, out, &self->output));
    if (!options->use_layernorm_final) return DPPO_OK;
    (void)snprintf(name, sizeof name, "%zu", index + 2);
    return dppo_add_layer_norm(list, name, out, 1e-5, &self->norm);
}

dppo_status dppo_residual_mlp_new(const dppo_mlp_options *options, dppo_generator *generator,
                                  dppo_module **module) {
    *module = NULL;
    if (options->dim_count < 3 || (options->dim_count - 3) % 2 != 0)
        return dppo_fail(DPPO_INVALID,
                         "a residual MLP needs an odd number of hidden layers, not %zu dimensions in all",
                         options->dim_count);
    if (options->dropout > 0) return dppo_fail(DPPO_INVALID, "dropout: a residual MLP has none");
    residual_mlp *self = dppo_module_new(sizeof *self, "ResidualMLP");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, options, generator), &self->module, module);
}

/* x + l2(act(norm2(l1(act(norm1(x)))))) */
static dppo_tensor *block_forward(dppo_cx *cx, const block *b, dppo_activation_kind activation,
                                  dppo_tensor *x) {
    dppo_tensor *h = b->norm1 ? dppo_layer_norm_layer_forward(cx, b->norm1, x) : x;
    h = dppo_linear_layer_forward(cx, b->l1, dppo_activation(cx, activation, h));
    if (b->norm2) h = dppo_layer_norm_layer_forward(cx, b->norm2, h);
    h = dppo_linear_layer_forward(cx, b->l2, dppo_activation_inplace(cx, activation, h));
    return dppo_add_inplace(cx, h, x);
}

/* All but the last layer at once: with ReLU, without norms. NULL where that cannot be. */
static dppo_tensor *hidden_at_once(dppo_cx *cx, const residual_mlp *self, const dppo_tensor *x) {
    const dppo_tensor *weights[DPPO_MAX_LAYERS + 1] = {self->input->weight};
    const dppo_tensor *biases[DPPO_MAX_LAYERS + 1] = {self->input->bias};
    if (self->activation != DPPO_ACTIVATION_RELU || !x) return NULL;
    for (size_t i = 0; i < self->block_count; i++) {
        const block *b = &self->blocks[i];
        if (b->norm1 || b->norm2) return NULL;
        weights[2 * i + 1] = b->l1->weight, biases[2 * i + 1] = b->l1->bias;
        weights[2 * i + 2] = b->l2->weight, biases[2 * i + 2] = b->l2->bias;
    }
    return dppo_residual_layers(cx, x, 2 * self->block_count + 1, weights, biases);
}

dppo_tensor *dppo_residual_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    const residual_mlp *self = (const residual_mlp *)module;
    dppo_tensor *hidden = hidden_at_once(cx, self, x);
    if (!hidden) {
        hidden = dppo_linear_layer_forward(cx, self->input, x);
        for (size_t i = 0; i < self->block_count; i++)
            hidden = block_forward(cx, &self->blocks[i], self->activation, hidden);
    }
    x = hidden;
    x = dppo_linear_layer_forward(cx, self->output, x);
    if (self->norm) x = dppo_layer_norm_layer_forward(cx, self->norm, x);
    return dppo_activation(cx, self->out_activation, x);
}

dppo_status dppo_build_residual_mlp(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {"dim_list",
                                       "activation_type",
                                       "out_activation_type",
                                       "use_layernorm",
                                       "use_layernorm_final",
                                       "dropout",
                                       NULL};
    dppo_mlp_options o = {0};
    DPPO_TRY(dppo_config_allow(config, "ResidualMLP", keys));
    DPPO_TRY(dppo_mlp_options_add_list(&o, config, "dim_list"));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &o.activation_type));
    DPPO_TRY(dppo_config_string_or(config, "out_activation_type", "Identity", &o.out_activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &o.use_layernorm));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm_final", false, &o.use_layernorm_final));
    DPPO_TRY(dppo_config_float_or(config, "dropout", 0, &o.dropout));
    return dppo_residual_mlp_new(&o, generator, module);
}
