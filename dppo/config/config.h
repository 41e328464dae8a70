/* The configuration tree: what YAML and JSON files hold, with OmegaConf's interpolations resolved.
 *
 * DPPO's own YAML files load unmodified: ${a.b}, ${oc.env:X}, ${oc.env:X,default}, ${now:%Y-%m-%d},
 * ${eval:'...'} (arithmetic only, never code), ${round_up:..}, ${round_down:..}. */
#ifndef DPPO_CONFIG_CONFIG_H
#define DPPO_CONFIG_CONFIG_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum dppo_config_type {
    DPPO_CONFIG_NULL,
    DPPO_CONFIG_BOOL,
    DPPO_CONFIG_INT,
    DPPO_CONFIG_FLOAT,
    DPPO_CONFIG_STRING,
    DPPO_CONFIG_LIST,
    DPPO_CONFIG_MAP
} dppo_config_type;

typedef struct dppo_config dppo_config; /* a node; the root owns the tree */

/* Owned by the caller: dppo_config_free(root). Parsing does not resolve interpolations. */
dppo_status dppo_config_parse_yaml(const char *text, const char *source_name, dppo_config **root);
dppo_status dppo_config_parse_json(const char *text, const char *source_name, dppo_config **root);
dppo_status dppo_config_load(const char *path, dppo_config **root);
/* A configuration as the verbs of the command take it: loads `path`, applies the overrides (key=value,
 * +key=value, ~key) and resolves. DPPO_LOG_DIR and DPPO_DATA_DIR, which the original's files name, default to
 * "runs" and "data"; its wandb node is dropped, there is nothing to log in to. */
dppo_status dppo_run_config(const char *path, int override_count, char *const *overrides,
                            dppo_config **config);
dppo_config *dppo_config_new_map(void);
dppo_config *dppo_config_copy(const dppo_config *node); /* deep, a new root; NULL when memory is exhausted */
void dppo_config_free(dppo_config *root);

/* "train.actor_lr=1e-3", "+new.key=..", "~key" (remove). The value is YAML. A key that is not there is
 * DPPO_INVALID and named, unless prefixed with '+'. */
dppo_status dppo_config_override(dppo_config *root, const char *assignment);
/* Replaces every interpolation by its value, in place; all ${now:} of a tree see the same time. */
dppo_status dppo_config_resolve(dppo_config *root);

dppo_config_type dppo_config_type_of(const dppo_config *node); /* NULL node: DPPO_CONFIG_NULL */
/* Child by dotted path ("model.actor.mlp_dims.0"); NULL when absent. */
const dppo_config *dppo_config_get(const dppo_config *node, const char *path);
size_t dppo_config_count(const dppo_config *node); /* of a list or map; else 0 */
const dppo_config *dppo_config_item(const dppo_config *node, size_t index);
const char *dppo_config_key(const dppo_config *map, size_t index);

/* Typed values of the child at `path` (NULL path: the node itself). The plain forms fail with the full path
 * and the value found when it is absent or of another type (an int is a float, "1" is not an int); the _or
 * forms return the default when it is absent or null. */
dppo_status dppo_config_int(const dppo_config *node, const char *path, int64_t *value);
dppo_status dppo_config_float(const dppo_config *node, const char *path, double *value);
dppo_status dppo_config_bool(const dppo_config *node, const char *path, bool *value);
dppo_status dppo_config_string(const dppo_config *node, const char *path, const char **value); /* borrowed */
dppo_status dppo_config_int_or(const dppo_config *node, const char *path, int64_t fallback, int64_t *value);
dppo_status dppo_config_float_or(const dppo_config *node, const char *path, double fallback, double *value);
dppo_status dppo_config_bool_or(const dppo_config *node, const char *path, bool fallback, bool *value);
dppo_status dppo_config_string_or(const dppo_config *node, const char *path, const char *fallback,
                                  const char **value);
/* An int of at least `least`; the _or form allows absence and null, as above. */
dppo_status dppo_config_int_from(const dppo_config *node, const char *path, int64_t least, int64_t *value);
dppo_status dppo_config_int_from_or(const dppo_config *node, const char *path, int64_t least,
                                    int64_t fallback, int64_t *value);
/* A list of ints into values[capacity]; absent or null gives count 0. */
dppo_status dppo_config_ints(const dppo_config *node, const char *path, int64_t *values, size_t capacity,
                             size_t *count);

/* Sets or adds a child of a map (dotted path, maps are made). */
dppo_status dppo_config_set_string(dppo_config *root, const char *path, const char *value);
dppo_status dppo_config_set_int(dppo_config *root, const char *path, int64_t value);
dppo_status dppo_config_set_float(dppo_config *root, const char *path, double value);

/* The configuration `name` ("gym/pretrain/hopper-medium-v2/pre_diffusion_mlp") of a file of structures
 * (fixtures/configs/structures.yaml, which says how they are written), not yet resolved; owned by the caller.
 */
dppo_status dppo_config_expand(const dppo_config *structures, const char *name, dppo_config **config);

/* Appends the tree as YAML or one-line JSON; both parse back to an equal tree. */
void dppo_config_write_yaml(const dppo_config *node, dppo_text *text);
void dppo_config_write_json(const dppo_config *node, dppo_text *text);

/* Whether a key, at any depth, is of no account to the question asked. */
typedef bool dppo_config_exempt(const char *key);

/* What nobody asked for, for callers to whom a misspelt key must not go unnoticed. dppo_config_get(),
 * dppo_config_item() and all that is built on them mark what they reach, in a copy of a tree the copy's
 * nodes; a list that was reached counts with its scalars. dppo_config_forget() takes the marks away;
 * dppo_config_unread() gives the first node without one that is neither null nor exempt (may be NULL), or
 * NULL when there is none, or no tree. */
void dppo_config_forget(const dppo_config *root);
const dppo_config *dppo_config_unread(const dppo_config *root, dppo_config_exempt *exempt);
/* Appends the node's place: "network.mlp_dims.0". */
void dppo_config_path(const dppo_config *node, dppo_text *text);

/* Whether two trees say different things. The first difference is appended as "train.gamma: was 0.99, is
 * 0.9"; exempt keys may differ. */
bool dppo_config_differ(const dppo_config *before, const dppo_config *now, dppo_config_exempt *exempt,
                        dppo_text *difference);

/* The class name of `_target_`: the part after the last dot ("DiffusionMLP"); NULL when absent. */
const char *dppo_config_target(const dppo_config *node);

/* Fails and names the key when the map has one that is not in the NULL-terminated list ("_target_" is
 * allowed). */
dppo_status dppo_config_allow(const dppo_config *map, const char *where, const char *const *keys);

#endif
