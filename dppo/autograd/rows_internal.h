/* What the tape and the matrix products know of chunks of rows. Internal to autograd/. */
#ifndef DPPO_AUTOGRAD_ROWS_INTERNAL_H
#define DPPO_AUTOGRAD_ROWS_INTERNAL_H

#include "autograd/rows.h"

/* The chunks a context works on, or NULL. */
dppo_rows *dppo_context_rows(const dppo_context *context);
void dppo_context_set_rows(dppo_context *context, dppo_rows *rows);

/* Takes over the gradients of a linear layer's weight (N, K) and bias (N): x (count, K), g (count, N). False
 * where that is not possible, and they are to be computed as always. */
bool dppo_rows_add(dppo_context *cx, dppo_tensor *weight, dppo_tensor *bias, dppo_tensor *x, dppo_tensor *g);
/* A leaf got a gradient in another way: its sum over rows would have another order. */
void dppo_rows_refuse(dppo_rows *rows);

/* out (M, N), contiguous, = beta out + a (M, K) b (K, N), any strides; as libtorch hands it to BLAS
 * (matrix.c). */
bool dppo_multiply_into(dppo_context *cx, float *out, const dppo_tensor *a, const dppo_tensor *b, float beta);

/* Whether a product of M rows is to be padded, being part of a larger one. */
bool dppo_rows_pads(const dppo_rows *rows, int64_t M, int64_t N, int64_t K);

#endif
