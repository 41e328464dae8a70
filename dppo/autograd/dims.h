/* Checks of dimensions that several functions share. */
#ifndef DPPO_AUTOGRAD_DIMS_H
#define DPPO_AUTOGRAD_DIMS_H

#include "autograd/functions.h"

/* Turns a negative dim into its positive one; false (and a failed context) when it is out of range. A rank-0
 * tensor accepts 0 and -1, as in torch. */
bool dppo_wrap_dim(dppo_cx *cx, const char *function, int ndim, int *dim);

/* The common shape of two broadcast shapes; false when they do not go together. */
bool dppo_broadcast_shape(dppo_cx *cx, const char *function, const dppo_tensor *a, const dppo_tensor *b,
                          int *ndim, int64_t *shape);

#endif
