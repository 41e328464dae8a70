#include "algorithms/ppo.h"
#include "base/log.h"
#include "models/networks.h"

#include <stdlib.h>
#include <string.h>

/* d total / d surrogate and d total / d value_error of each of B rows: (B) each, whatever the terms are, for
 * the total is linear in them. */
static dppo_status cotangents_of_terms(dppo_ppo *ppo, int64_t batch, dppo_tensor *cotangents[2]) {
    dppo_context *cx = ppo->base.learning;
    dppo_ppo_loss loss;
    dppo_ppo_terms terms;
#define ZEROS(name) terms.name = dppo_zeros(cx, DPPO_F32, 1, &batch);
    DPPO_PPO_TERMS(ZEROS)
#undef ZEROS
    DPPO_TRY(dppo_context_status(cx));
    dppo_tensor *leaves[2] = {terms.surrogate, terms.value_error};
    leaves[0]->requires_grad = leaves[1]->requires_grad = true;
    DPPO_TRY(dppo_ppo_loss_of_terms(cx, &terms, &loss));
    dppo_tensor *total = dppo_ppo_total_loss(ppo, &loss);
    DPPO_TRY(dppo_grad(cx, 1, &total, NULL, 2, leaves, false, cotangents));
    for (int i = 0; i < 2; i++)
        if (!(cotangents[i] = dppo_contiguous(cx, cotangents[i]))) return dppo_context_status(cx);
    return DPPO_OK;
}

/* Rows [begin, begin + count) into the terms of the whole minibatch, which take their shape from the first
 * rows. */
static void keep_terms(const dppo_ppo_terms *chunk, int64_t begin, int64_t batch, dppo_ppo_terms *whole) {
#define KEEP(name)                                                                                           \
    if (begin == 0) {                                                                                        \
        whole->name->ndim = chunk->name->ndim;                                                               \
        for (int d = chunk->name->ndim - 1, stride = 1; d >= 0; d--) {                                       \
            whole->name->shape[d] = d == 0 ? batch : chunk->name->shape[d];                                  \
            whole->name->stride[d] = stride;                                                                 \
            stride *= (int)chunk->name->shape[d];                                                            \
        }                                                                                                    \
    }                                                                                                        \
    dppo_tensor_pack(chunk->name, dppo_f32(whole->name) + begin * (dppo_numel(whole->name) / batch));
    DPPO_PPO_TERMS(KEEP)
#undef KEEP
}

/* -- states that occur several times
 *
 * A minibatch of (row, denoising step) pairs looks at a state once for each of its steps that were drawn. The
 * critic knows nothing of steps: value, error and gradients of such pairs are the same numbers. They are
 * computed once; only the sums over the batch run over all pairs. */

/* The distinct states of a minibatch: rows (U) of the data, and which of them each of the B pairs has. */
typedef struct states {
    dppo_tensor *rows, *index;
} states;

/* The last rows of a product may be an incomplete tile to OpenBLAS, summed in another order: they keep their
 * places, a tile's multiple after the others. */
static dppo_status find_states(dppo_ppo *ppo, const dppo_ppo_data *data, const dppo_tensor *rows, states *s) {
    dppo_context *cx = ppo->base.learning;
    int64_t batch = dppo_numel(rows), whole = batch - batch % DPPO_ROWS_TILE, most = batch + DPPO_ROWS_TILE,
            count = 0;
    dppo_tensor *seen = dppo_full(cx, DPPO_I64, 1, &data->rows, -1);
    s->rows = dppo_result(cx, DPPO_I64, 1, &most);
    s->index = dppo_result(cx, DPPO_I64, 1, &batch);
    if (!seen || !s->rows || !s->index) return dppo_context_status(cx);
    const int64_t *row = dppo_i64(rows);
    for (int64_t i = 0; i < whole; i++) {
        int64_t *number = dppo_i64(seen) + row[i];
        if (*number < 0) dppo_i64(s->rows)[ *number = count++] = row[i];
        dppo_i64(s->index)[i] = *number;
    }
    while (count % DPPO_ROWS_TILE != 0)
        dppo_i64(s->rows)[count++] = row[0];
    for (int64_t i = whole; i < batch; i++)
        dppo_i64(s->rows)[dppo_i64(s->index)[i] = count++] = row[i];
    s->rows = dppo_narrow(cx, s->rows, 0, 0, count);
    return dppo_context_status(cx);
}

static bool all_equal(const dppo_tensor *values) {
    for (int64_t i = 1; i < dppo_numel(values); i++)
        if (dppo_f32(values)[i] != *dppo_f32(values)) return false;
    return true;
}

/* Values of the states, and the gradients of the critic from their errors. */
static dppo_status learn_values(dppo_ppo *ppo, const dppo_ppo_data *data, const dppo_ppo_minibatch *minibatch,
                                const states *s, dppo_tensor *cotangent, dppo_tensor *newvalues) {
    dppo_context *cx = ppo->base.learning;
    const int64_t shape[3] = {0, ppo->base.cond_steps, ppo->base.obs_dim}, flat[] = {-1};
    dppo_rows_set_repeated(cx, ppo->states, dppo_numel(s->rows), s->index);
    dppo_tensor *state = dppo_ppo_rows(ppo, data->obs, data->rows, s->rows, 3, shape);
    dppo_tensor *values =
        dppo_reshape(cx, dppo_critic_forward(cx, ppo->critic_module, dppo_cond_of(state)), 1, flat);
    dppo_tensor *error =
        minibatch->value_error(ppo, values, dppo_ppo_rows(ppo, data->values, data->rows, s->rows, 1, NULL),
                               dppo_ppo_rows(ppo, data->returns, data->rows, s->rows, 1, NULL));
    DPPO_TRY(dppo_context_status(cx));
    for (int64_t i = 0; i < dppo_numel(s->index); i++)
        dppo_f32(newvalues)[i] = dppo_f32(values)[dppo_i64(s->index)[i]];
    dppo_lap(&ppo->watch, &ppo->watch.spent.forward_seconds);
    dppo_tensor *each = dppo_expand(cx, dppo_narrow(cx, cotangent, 0, 0, 1), 1, s->rows->shape);
    DPPO_TRY(dppo_backward(cx, 1, &error, &each));
    DPPO_TRY(dppo_rows_finish(cx, ppo->states));
    dppo_lap(&ppo->watch, &ppo->watch.spent.backward_seconds);
    return DPPO_OK;
}

/* Where it is worth it: *newvalues (B) are set, and the critic has its gradients. Else NULL. */
static dppo_status learn_values_once(dppo_ppo *ppo, const dppo_ppo_data *data,
                                     const dppo_ppo_minibatch *minibatch, const dppo_tensor *rows,
                                     dppo_tensor *cotangent, dppo_tensor **newvalues) {
    dppo_context *cx = ppo->base.learning;
    int64_t batch = dppo_numel(rows);
    states s;
    *newvalues = NULL;
    DPPO_TRY(find_states(ppo, data, rows, &s));
    if (4 * dppo_numel(s.rows) > 3 * batch || !all_equal(cotangent)) return DPPO_OK;
    *newvalues = dppo_result(cx, DPPO_F32, 1, &batch);
    if (!*newvalues) return dppo_context_status(cx);
    dppo_context_mark mark = dppo_context_position(cx);
    DPPO_TRY(learn_values(ppo, data, minibatch, &s, cotangent, *newvalues));
    dppo_context_rewind(cx, mark);
    return DPPO_OK;
}

/* -- rows in chunks
 * ---------------------------------------------------------------------------------------------------------
 */

/* What the chunks of a minibatch have in common. */
typedef struct pass {
    const dppo_ppo_data *data;
    const dppo_ppo_minibatch *minibatch;
    const void *shaped;
    int64_t batch;
    dppo_tensor *cotangents[2], *newvalues; /* (B); the last NULL where the critic is evaluated in chunks */
    dppo_ppo_terms whole;
} pass;

/* Forward and backward of one chunk. */
static dppo_status run_chunk(dppo_ppo *ppo, pass *c, int64_t begin, int64_t count) {
    dppo_context *cx = ppo->base.learning;
    dppo_ppo_terms terms = {0};
    dppo_rows_set(cx, ppo->chunks, c->batch, begin, count);
    dppo_tensor *newvalues = dppo_narrow(cx, c->newvalues, 0, begin, count);
    DPPO_TRY(c->minibatch->terms(ppo, c->data, c->shaped, begin, count, newvalues, &terms));
    dppo_lap(&ppo->watch, &ppo->watch.spent.forward_seconds);
    dppo_tensor *outputs[2] = {terms.surrogate, terms.value_error};
    dppo_tensor *gradients[2] = {dppo_narrow(cx, c->cotangents[0], 0, begin, count),
                                 dppo_narrow(cx, c->cotangents[1], 0, begin, count)};
    DPPO_TRY(dppo_backward(cx, newvalues ? 1 : 2, outputs, gradients));
    keep_terms(&terms, begin, c->batch, &c->whole);
    dppo_lap(&ppo->watch, &ppo->watch.spent.backward_seconds);
    return DPPO_OK;
}

dppo_status dppo_ppo_gradients_in_chunks(dppo_ppo *ppo, const dppo_ppo_data *data,
                                         const dppo_ppo_minibatch *minibatch, dppo_tensor *indices,
                                         dppo_ppo_loss *loss) {
    dppo_context *cx = ppo->base.learning;
    int64_t batch = dppo_numel(indices), count, wide = batch * ppo->base.horizon_steps * ppo->base.action_dim;
    pass c = {.data = data, .minibatch = minibatch, .batch = batch};
    dppo_tensor *rows = NULL;
    void *shaped = NULL;
    DPPO_TRY(minibatch->shape(ppo, data, indices, &shaped, &rows));
    c.shaped = shaped;
    DPPO_TRY(cotangents_of_terms(ppo, batch, c.cotangents));
#define ROOM(name) c.whole.name = dppo_result(cx, DPPO_F32, 1, &wide);
    DPPO_PPO_TERMS(ROOM)
#undef ROOM
    DPPO_TRY(dppo_context_status(cx));
    dppo_ppo_zero_grad(ppo);
    DPPO_TRY(learn_values_once(ppo, data, minibatch, rows, c.cotangents[1], &c.newvalues));
    dppo_context_mark mark = dppo_context_position(cx);
    for (int64_t i = 0; i < dppo_rows_count(batch); i++) {
        int64_t begin = dppo_rows_chunk(batch, i, &count);
        DPPO_TRY(run_chunk(ppo, &c, begin, count));
        dppo_context_rewind(cx, mark);
    }
    DPPO_TRY(dppo_rows_finish(cx, ppo->chunks));
    dppo_lap(&ppo->watch, &ppo->watch.spent.backward_seconds);
    return dppo_ppo_loss_of_terms(cx, &c.whole, loss);
}

/* -- whether chunks may be used
 * --------------------------------------------------------------------------------------------- */

static int64_t gather_gradients(const dppo_trained *trained, float *into) {
    int64_t at = 0;
    for (size_t i = 0; i < trained->count; i++) {
        const dppo_tensor *grad = trained->parameters[i]->grad;
        int64_t count = dppo_numel(trained->parameters[i]);
        if (into && grad) memcpy(into + at, grad->data, (size_t)count * sizeof(float));
        at += count;
    }
    return at;
}

/* Two and a half chunks, whole and in chunks: the gradients must be the same in every bit. */
static dppo_status chunks_are_exact(dppo_ppo *ppo, const dppo_ppo_data *data,
                                    const dppo_ppo_minibatch *minibatch, dppo_tensor *permutation,
                                    bool *exact) {
    dppo_context *cx = ppo->base.learning;
    int64_t length = 2 * DPPO_ROWS_CHUNK + DPPO_ROWS_CHUNK / 2 - 5;
    int64_t actor = gather_gradients(&ppo->actor, NULL), total = actor + gather_gradients(&ppo->critic, NULL);
    float *gradients = calloc((size_t)(2 * total), sizeof *gradients);
    if (!gradients) return dppo_fail(DPPO_NO_MEMORY, "update: out of memory");
    dppo_status status = DPPO_OK;
    for (int chunked = 0; chunked < 2 && status == DPPO_OK; chunked++) {
        dppo_ppo_loss loss = {0};
        dppo_context_reset(cx);
        dppo_tensor *indices = dppo_from_i64(cx, 1, &length, dppo_i64(permutation));
        if (!indices) return free(gradients), dppo_context_status(cx);
        for (int64_t i = 0; i < length; i++) /* of so few rows that states occur several times */
            dppo_i64(indices)[i] %= 2 * length;
        if (chunked) {
            status = dppo_ppo_gradients_in_chunks(ppo, data, minibatch, indices, &loss);
        } else {
            status = minibatch->loss(ppo, data, indices, &loss);
            dppo_tensor *sum = dppo_ppo_total_loss(ppo, &loss);
            dppo_ppo_zero_grad(ppo);
            if (status == DPPO_OK) status = dppo_backward(cx, 1, &sum, NULL);
        }
        (void)gather_gradients(&ppo->actor, gradients + chunked * total);
        (void)gather_gradients(&ppo->critic, gradients + chunked * total + actor);
    }
    *exact =
        status == DPPO_OK && memcmp(gradients, gradients + total, (size_t)total * sizeof *gradients) == 0;
    free(gradients);
    return status == DPPO_MISSING ? DPPO_OK : status;
}

dppo_status dppo_ppo_check_chunks(dppo_ppo *ppo, const dppo_ppo_data *data,
                                  const dppo_ppo_minibatch *minibatch, dppo_tensor *permutation) {
    int64_t batch = ppo->options.batch_size, total = dppo_numel(permutation);
    bool worth_it = dppo_rows_count(batch < total ? batch : total) >= 3;
    if (!worth_it || !minibatch->terms || ppo->minibatches != DPPO_CHUNKS_UNKNOWN) return DPPO_OK;
    bool exact = false;
    DPPO_TRY(chunks_are_exact(ppo, data, minibatch, permutation, &exact));
    ppo->minibatches = exact ? DPPO_IN_CHUNKS : DPPO_WHOLE;
    if (!exact)
        dppo_log_line(
            "update: minibatches are evaluated whole, in chunks gradients would differ in some bits");
    return DPPO_OK;
}
