/* A decoder of pre-norm layers (Vaswani et al. 2017; norm first: Xiong et al. 2020) whose queries are learned
 * positions, one an action step, and whose memory is the embedded observation, a sequence of one. E embedding
 * dimension. */
#include "models/transformer.h"
#include "models/build.h"
#include "models/parts.h"
#include "nn/attention.h"
#include "nn/init.h"

#include <stdio.h>
#include <string.h>

/* torch.nn.TransformerDecoderLayer */
typedef struct decoder_layer {
    dppo_attention_layer *self_attn, *multihead_attn;
    dppo_linear_layer *linear1, *linear2;
    dppo_layer_norm_layer *norm1, *norm2, *norm3;
} decoder_layer;

typedef struct transformer {
    dppo_module module;
    dppo_linear_layer *cond_obs_emb, *widen, *narrow, *head;
    dppo_tensor *cond_pos_emb, *pos_emb; /* (1, 1, E), (1, Ta, E) */
    dppo_layer_norm_layer *ln_f;
    int64_t layer_count;
    decoder_layer layers[DPPO_MAX_LAYERS];
    dppo_activation_kind activation;
    double p_drop_emb, p_drop_attn;
} transformer;

/* -- construction
 * --------------------------------------------------------------------------------------------- */

dppo_status dppo_transformer_options_read(const dppo_config *config, dppo_transformer_options *options) {
    DPPO_TRY(dppo_config_int(config, "horizon_steps", &options->horizon));
    DPPO_TRY(dppo_config_int(config, "cond_dim", &options->cond_dim));
    DPPO_TRY(dppo_config_int_or(config, "transformer_embed_dim", 256, &options->embed_dim));
    DPPO_TRY(dppo_config_int_or(config, "transformer_num_heads", 8, &options->num_heads));
    DPPO_TRY(dppo_config_int_or(config, "transformer_num_layers", 6, &options->num_layers));
    DPPO_TRY(dppo_config_string_or(config, "transformer_activation", "gelu", &options->activation));
    DPPO_TRY(dppo_config_float_or(config, "p_drop_emb", 0, &options->p_drop_emb));
    DPPO_TRY(dppo_config_float_or(config, "p_drop_attn", 0, &options->p_drop_attn));
    if (options->num_layers < 1 || options->num_layers > DPPO_MAX_LAYERS)
        return dppo_fail(DPPO_INVALID, "transformer_num_layers: %lld is not in 1 to %d",
                         (long long)options->num_layers, DPPO_MAX_LAYERS);
    return DPPO_OK;
}

/* torch's decoder layers know two activations, by names of their own. */
static dppo_status read_activation(const char *name, dppo_activation_kind *kind) {
    *kind = strcmp(name, "relu") == 0 ? DPPO_ACTIVATION_RELU : DPPO_ACTIVATION_GELU;
    if (strcmp(name, "relu") == 0 || strcmp(name, "gelu") == 0) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "transformer_activation: %s; known are relu, gelu", name);
}

static dppo_status add_attention(dppo_module *parent, const char *name, const dppo_transformer_options *o,
                                 dppo_generator *generator, dppo_attention_layer **layer) {
    *layer = dppo_attention_layer_new(generator, o->embed_dim, o->num_heads, o->p_drop_attn, true, true);
    return dppo_module_child(parent, name, *layer ? &(*layer)->module : NULL);
}

static dppo_status add_decoder_layer(dppo_module *list, int64_t i, const dppo_transformer_options *o,
                                     dppo_generator *generator, decoder_layer *added) {
    char name[24];
    dppo_module *layer = NULL;
    int64_t E = o->embed_dim;
    (void)snprintf(name, sizeof name, "%lld", (long long)i);
    DPPO_TRY(dppo_add_container(list, name, "TransformerDecoderLayer", &layer));
    DPPO_TRY(add_attention(layer, "self_attn", o, generator, &added->self_attn));
    DPPO_TRY(add_attention(layer, "multihead_attn", o, generator, &added->multihead_attn));
    DPPO_TRY(dppo_add_linear(layer, "linear1", generator, E, 4 * E, &added->linear1));
    DPPO_TRY(dppo_add_linear(layer, "linear2", generator, 4 * E, E, &added->linear2));
    DPPO_TRY(dppo_add_layer_norm(layer, "norm1", E, 1e-5, &added->norm1));
    DPPO_TRY(dppo_add_layer_norm(layer, "norm2", E, 1e-5, &added->norm2));
    return dppo_add_layer_norm(layer, "norm3", E, 1e-5, &added->norm3);
}

static dppo_status add_encoder(transformer *self, int64_t E, dppo_generator *generator) {
    dppo_module *encoder = NULL;
    DPPO_TRY(dppo_add_container(&self->module, "encoder", "Sequential", &encoder));
    DPPO_TRY(dppo_add_linear(encoder, "0", generator, E, 4 * E, &self->widen));
    return dppo_add_linear(encoder, "2", generator, 4 * E, E, &self->narrow);
}

/* torch copies one layer: only the first draws. */
static dppo_status add_decoder(transformer *self, const dppo_transformer_options *o,
                               dppo_generator *generator) {
    dppo_module *decoder = NULL, *list = NULL;
    DPPO_TRY(dppo_add_container(&self->module, "decoder", "TransformerDecoder", &decoder));
    DPPO_TRY(dppo_add_container(decoder, "layers", "ModuleList", &list));
    self->layer_count = o->num_layers;
    for (int64_t i = 0; i < o->num_layers; i++)
        DPPO_TRY(add_decoder_layer(list, i, o, i == 0 ? generator : NULL, &self->layers[i]));
    return DPPO_OK;
}

/* All linear and attention weights are drawn a second time, N(0, 0.02^2), children before their module;
 * biases are zero. */
static dppo_status init_weights(dppo_module *module, dppo_generator *generator) {
    bool drawn = strcmp(module->type, "Linear") == 0 || strcmp(module->type, "MultiheadAttention") == 0;
    for (size_t i = 0; i < module->count; i++)
        if (module->entries[i].child) DPPO_TRY(init_weights(module->entries[i].child, generator));
    for (size_t i = 0; drawn && i < module->count; i++) {
        dppo_tensor *parameter = module->entries[i].parameter;
        if (!parameter) continue;
        DPPO_TRY(parameter->ndim == 2 ? dppo_init_normal(generator, parameter, 0, 0.02)
                                      : dppo_init_zeros(parameter));
    }
    return DPPO_OK;
}

static dppo_status fill(transformer *self, const dppo_transformer_options *o, dppo_generator *generator) {
    const int64_t E = o->embed_dim, one[] = {1, 1, E}, steps[] = {1, o->horizon, E};
    dppo_module *module = &self->module;
    DPPO_TRY(read_activation(o->activation, &self->activation));
    self->p_drop_emb = o->p_drop_emb;
    self->p_drop_attn = o->p_drop_attn;
    DPPO_TRY(dppo_add_linear(module, "cond_obs_emb", generator, o->cond_dim, E, &self->cond_obs_emb));
    self->cond_pos_emb = dppo_module_parameter(module, "cond_pos_emb", 3, one);
    self->pos_emb = dppo_module_parameter(module, "pos_emb", 3, steps);
    if (!self->cond_pos_emb || !self->pos_emb) return DPPO_NO_MEMORY;
    DPPO_TRY(add_encoder(self, E, generator));
    DPPO_TRY(add_decoder(self, o, generator));
    DPPO_TRY(dppo_add_layer_norm(module, "ln_f", E, 1e-5, &self->ln_f));
    DPPO_TRY(dppo_add_linear(module, "head", generator, E, o->output_dim, &self->head));
    if (!generator) return DPPO_OK;
    DPPO_TRY(init_weights(module, generator));
    DPPO_TRY(dppo_init_normal(generator, self->pos_emb, 0, 0.02));
    return dppo_init_normal(generator, self->cond_pos_emb, 0, 0.02);
}

dppo_status dppo_transformer_new(const dppo_transformer_options *options, dppo_generator *generator,
                                 dppo_module **module) {
    *module = NULL;
    transformer *self = dppo_module_new(sizeof *self, "Transformer");
    if (!self) return DPPO_NO_MEMORY;
    return dppo_build_finish(fill(self, options, generator), &self->module, module);
}

/* -- forward
 * -------------------------------------------------------------------------------------------------- */

static dppo_tensor *drop(dppo_cx *cx, const transformer *self, dppo_tensor *x, double p) {
    return p > 0 ? dppo_dropout(cx, x, p, self->module.training) : x;
}

/* linear2(act(linear1(x))), with dropout between */
static dppo_tensor *feed_forward(dppo_cx *cx, const transformer *self, const decoder_layer *layer,
                                 dppo_tensor *x) {
    x = dppo_activation(cx, self->activation, dppo_linear_layer_forward(cx, layer->linear1, x));
    return dppo_linear_layer_forward(cx, layer->linear2, drop(cx, self, x, self->p_drop_attn));
}

/* x += self_attn(norm1(x)); x += multihead_attn(norm2(x), memory); x += ff(norm3(x)). x (B, Ta, E), memory
 * (B, 1, E). */
static dppo_tensor *layer_forward(dppo_cx *cx, const transformer *self, const decoder_layer *layer,
                                  dppo_tensor *x, dppo_tensor *memory) {
    double p = self->p_drop_attn;
    dppo_tensor *y = dppo_layer_norm_layer_forward(cx, layer->norm1, x);
    y = dppo_attention_layer_forward(cx, layer->self_attn, y, y, y, NULL, NULL, NULL);
    x = dppo_add(cx, x, drop(cx, self, y, p));
    y = dppo_layer_norm_layer_forward(cx, layer->norm2, x);
    y = dppo_attention_layer_forward(cx, layer->multihead_attn, y, memory, memory, NULL, NULL, NULL);
    x = dppo_add(cx, x, drop(cx, self, y, p));
    y = feed_forward(cx, self, layer, dppo_layer_norm_layer_forward(cx, layer->norm3, x));
    return dppo_add(cx, x, drop(cx, self, y, p));
}

/* The observation, embedded: (B, cond_dim) -> (B, 1, E). */
static dppo_tensor *encode(dppo_cx *cx, const transformer *self, dppo_tensor *state) {
    dppo_tensor *x = dppo_linear_layer_forward(cx, self->cond_obs_emb, dppo_unsqueeze(cx, state, 1));
    x = drop(cx, self, dppo_add(cx, x, self->cond_pos_emb), self->p_drop_emb);
    x = dppo_mish(cx, dppo_linear_layer_forward(cx, self->widen, x));
    return dppo_linear_layer_forward(cx, self->narrow, x);
}

dppo_tensor *dppo_transformer_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *state,
                                      dppo_tensor **features) {
    const transformer *self = (const transformer *)module;
    if (features) *features = NULL;
    if (!state) return NULL;
    dppo_tensor *memory = encode(cx, self, state);
    dppo_tensor *x = dppo_expand(cx, self->pos_emb, 3, (const int64_t[]){state->shape[0], -1, -1});
    x = drop(cx, self, x, self->p_drop_emb);
    for (int64_t i = 0; i < self->layer_count; i++)
        x = layer_forward(cx, self, &self->layers[i], x, memory);
    x = dppo_layer_norm_layer_forward(cx, self->ln_f, x);
    if (features) *features = x;
    return dppo_linear_layer_forward(cx, self->head, x);
}
