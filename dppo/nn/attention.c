#include "nn/attention.h"

#include "nn/init.h"

#include <inttypes.h>

/* torch draws out_proj as any Linear, then in_proj_weight, and sets both biases to zero. */
static bool fill(dppo_attention_layer *layer, dppo_generator *generator, int64_t E, bool bias) {
    int64_t shape[2] = {3 * E, E};
    layer->in_proj_weight = dppo_module_parameter(&layer->module, "in_proj_weight", 2, shape);
    if (!layer->in_proj_weight) return false;
    if (bias) {
        layer->in_proj_bias = dppo_module_parameter(&layer->module, "in_proj_bias", 1, shape);
        if (!layer->in_proj_bias) return false;
    }
    dppo_linear_layer *out = dppo_linear_layer_new(generator, E, E, bias);
    if (!out || dppo_module_child(&layer->module, "out_proj", &out->module) != DPPO_OK) return false;
    layer->out_proj = out;
    if (!generator) return true;
    return dppo_init_xavier_uniform(generator, layer->in_proj_weight, 1.0) == DPPO_OK &&
           (!bias || dppo_init_zeros(out->bias) == DPPO_OK);
}

dppo_attention_layer *dppo_attention_layer_new(dppo_generator *generator, int64_t embed_dim,
                                               int64_t num_heads, double dropout, bool bias,
                                               bool batch_first) {
    if (embed_dim < 1 || num_heads < 1 || embed_dim % num_heads != 0) {
        dppo_fail(DPPO_INVALID,
                  "MultiheadAttention: embed_dim %" PRId64 " is no multiple of %" PRId64 " heads", embed_dim,
                  num_heads);
        return NULL;
    }
    dppo_attention_layer *layer = dppo_module_new(sizeof *layer, "MultiheadAttention");
    if (!layer) return NULL;
    layer->num_heads = num_heads;
    layer->dropout = dropout;
    layer->batch_first = batch_first;
    if (fill(layer, generator, embed_dim, bias)) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_attention dppo_attention_layer_state(const dppo_attention_layer *layer) {
    return (dppo_attention){.in_proj_weight = layer->in_proj_weight,
                            .in_proj_bias = layer->in_proj_bias,
                            .out_proj_weight = layer->out_proj->weight,
                            .out_proj_bias = layer->out_proj->bias,
                            .num_heads = layer->num_heads,
                            .dropout = layer->dropout,
                            .training = layer->module.training,
                            .batch_first = layer->batch_first,
                            .average_weights = true};
}

dppo_tensor *dppo_attention_layer_forward(dppo_cx *cx, const dppo_attention_layer *layer, dppo_tensor *query,
                                          dppo_tensor *key, dppo_tensor *value, dppo_tensor *attn_mask,
                                          dppo_tensor *key_padding_mask, dppo_tensor **weights) {
    dppo_attention a = dppo_attention_layer_state(layer);
    a.attn_mask = attn_mask;
    a.key_padding_mask = key_padding_mask;
    return dppo_multi_head_attention(cx, &a, query, key, value, weights);
}
