/* torch.nn.MultiheadAttention: in_proj_weight (3 E, E), in_proj_bias (3 E), out_proj.weight, out_proj.bias.
 */
#ifndef DPPO_NN_ATTENTION_H
#define DPPO_NN_ATTENTION_H

#include "nn/layers.h"

typedef struct dppo_attention_layer {
    dppo_module module;
    dppo_tensor *in_proj_weight, *in_proj_bias; /* no bias: NULL */
    dppo_linear_layer *out_proj;
    int64_t num_heads;
    double dropout;
    bool batch_first;
} dppo_attention_layer;

/* Owned by the caller until registered; NULL with a message. A NULL generator draws nothing. */
dppo_attention_layer *dppo_attention_layer_new(dppo_generator *generator, int64_t embed_dim,
                                               int64_t num_heads, double dropout, bool bias,
                                               bool batch_first);

/* Masks as in dppo_attention, or NULL. *weights, averaged over the heads, unless NULL. Dropout acts while the
 * module is training. */
dppo_tensor *dppo_attention_layer_forward(dppo_cx *cx, const dppo_attention_layer *layer, dppo_tensor *query,
                                          dppo_tensor *key, dppo_tensor *value, dppo_tensor *attn_mask,
                                          dppo_tensor *key_padding_mask, dppo_tensor **weights);

/* The same in full: what dppo_multi_head_attention() is given, masks still to be set. */
dppo_attention dppo_attention_layer_state(const dppo_attention_layer *layer);

#endif
