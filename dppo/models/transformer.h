/* Transformer of the original (model/common/transformer.py): action steps attend to each other and to one
 * embedded observation. Internal to models/; networks on it: gaussian_transformer.c, gmm_transformer.c. */
#ifndef DPPO_MODELS_TRANSFORMER_H
#define DPPO_MODELS_TRANSFORMER_H

#include "models/networks.h"

typedef struct dppo_transformer_options {
    int64_t output_dim, horizon, cond_dim;
    int64_t embed_dim, num_heads, num_layers; /* 256, 8, 6 */
    double p_drop_emb, p_drop_attn;           /* 0, 0 */
    const char *activation;                   /* "gelu" or "relu" */
} dppo_transformer_options;

/* Of a network on it, besides those of its std; output_dim is the network's to set. */
#define DPPO_TRANSFORMER_KEYS                                                                                \
    "cond_dim", "transformer_embed_dim", "transformer_num_heads", "transformer_num_layers",                  \
        "transformer_activation", "p_drop_emb", "p_drop_attn"
dppo_status dppo_transformer_options_read(const dppo_config *config, dppo_transformer_options *options);

/* Owned by the caller; a NULL generator leaves the weights zero. */
dppo_status dppo_transformer_new(const dppo_transformer_options *options, dppo_generator *generator,
                                 dppo_module **module);

/* state (B, cond_dim) -> (B, Ta, output_dim); *features, unless NULL: what the head saw, (B, Ta, E). */
dppo_tensor *dppo_transformer_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *state,
                                      dppo_tensor **features);

#endif
