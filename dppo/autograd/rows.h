/* Gradients of one batch, gathered over chunks of its rows.
 *
 * A batch of 50 000 rows does not fit in a cache; a chunk of it does. Evaluated chunk by chunk, forward and
 * backward, a network's activations stay close to the processor and memory does not grow with the batch. The
 * rows of a network are independent; only the gradients of weights and biases are sums over all of them. Here
 * these sums are continued from chunk to chunk in the order that one backward over the whole batch has, so
 * that every bit is the same:
 * - of a weight, dW += g' x (OpenBLAS adds panels of rows to dW; a chunk is a whole number of panels);
 * - of a bias, the cascade of partial sums keeps its levels;
 * - where a chunk would take another path in OpenBLAS than the batch, g and x wait for as many more rows as
 * it takes not to; where the sum of a bias would, g of all rows is kept and summed at the end.
 * Other products that are small in a chunk, but not in the whole, are padded with rows of zeros to stay on
 * OpenBLAS' usual path. */
#ifndef DPPO_AUTOGRAD_ROWS_H
#define DPPO_AUTOGRAD_ROWS_H

#include "autograd/autograd.h"

/* Rows of a chunk: a multiple of OpenBLAS' panels (320 or 384 rows) and of every vector width. */
enum { DPPO_ROWS_CHUNK = 1920 };
/* And of its tiles of rows: where a product may be cut or continued without a bit changing. */
enum { DPPO_ROWS_TILE = 192 };

typedef struct dppo_rows dppo_rows;

dppo_rows *dppo_rows_new(void); /* owned by the caller; NULL without memory */
void dppo_rows_free(dppo_rows *rows);

/* How many chunks a batch has; the last takes the remainder along. Where chunk `i` begins and how long it is.
 */
int64_t dppo_rows_count(int64_t total);
int64_t dppo_rows_chunk(int64_t total, int64_t i, int64_t *count);

/* From here on the context's tensors hold rows [begin, begin + count) of `total`; begin is 0, or where the
 * last chunk ended. rows NULL: whole batches again. */
void dppo_rows_set(dppo_context *cx, dppo_rows *rows, int64_t total, int64_t begin, int64_t count);
/* From here on they hold `count` rows of which the batch consists: its row i is number index[i] (total),
 * int64. The network is evaluated once for rows that are alike, in one chunk; weights and biases get the sum
 * that the whole batch would give. `index` is borrowed. */
void dppo_rows_set_repeated(dppo_context *cx, dppo_rows *rows, int64_t count, dppo_tensor *index);
/* After the last chunk's backward: what was kept is summed, `grad` of all weights and biases is complete. */
dppo_status dppo_rows_finish(dppo_context *cx, dppo_rows *rows);

#endif
