/* An ordered list of named tensors that owns them: a state_dict, the inputs of a case, a checkpoint, the
 * answers of a call. Names are paths as in FIXTURES ("in/cond/state", "network.mlp_mean.layers.0.weight"). */
#ifndef DPPO_TENSOR_NAMED_H
#define DPPO_TENSOR_NAMED_H

#include "tensor/tensor.h"

typedef struct dppo_named_entry {
    char *name;          /* owned */
    dppo_tensor *tensor; /* owned, contiguous, on the heap */
    char *kind;          /* of a draw: "randn", ...; else NULL; owned */
} dppo_named_entry;

typedef struct dppo_named {
    dppo_named_entry *entries;
    size_t count, capacity;
} dppo_named;

/* Adds an uninitialised-to-zero tensor; returns it (owned by the map), NULL when memory is exhausted or the
 * name is there already. */
dppo_tensor *dppo_named_add(dppo_named *map, const char *name, dppo_dtype dtype, int ndim,
                            const int64_t *shape);

/* Adds a contiguous copy of `tensor` (any strides), replacing an entry of that name. */
dppo_status dppo_named_put(dppo_named *map, const char *name, const dppo_tensor *tensor);

/* Adds a rank-0 tensor of that value. */
dppo_status dppo_named_put_f64(dppo_named *map, const char *name, double value);
dppo_status dppo_named_put_i64(dppo_named *map, const char *name, int64_t value);

/* The tensor of that name, borrowed; NULL when there is none. */
dppo_tensor *dppo_named_get(const dppo_named *map, const char *name);

/* The same with a message that names it: DPPO_INVALID when absent, or of another dtype. */
dppo_status dppo_named_require(const dppo_named *map, const char *name, dppo_dtype dtype,
                               dppo_tensor **tensor);

/* Adds copies of all entries of `from`, names prefixed. */
dppo_status dppo_named_merge(dppo_named *map, const char *prefix, const dppo_named *from);

/* Adds copies of the entries of `from` whose names begin with `prefix`, with the prefix taken off. */
dppo_status dppo_named_extract(dppo_named *map, const char *prefix, const dppo_named *from);

void dppo_named_free(dppo_named *map);

#endif
