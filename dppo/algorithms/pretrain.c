/* Pre-training: the outer loop of the original's TrainDiffusionAgent and TrainGaussianAgent, for one side or
 * two on the same batches.
 *
 * Departures from the original:
 * 1. The order of samples comes from a generator of its own, seeded with config.seed, not from torch's
 * DataLoader machinery, which draws worker seeds from the global stream in between.
 * 2. train.train_split below 1 is refused: the original's validation loop cannot run. */
#include "algorithms/driver.h"
#include "algorithms/metrics.h"
#include "base/log.h"
#include "data/dataset.h"
#include "random/generator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct side {
    const dppo_agent_class *class;
    dppo_agent *agent;
    const char *prefix;
    double loss_sum, grad_norm_sum, seconds;
    dppo_trace trace; /* of the epoch under way */
} side;

typedef struct pretrainer {
    const dppo_config *config;
    const dppo_run_options *options;
    dppo_sequence_dataset *dataset;
    dppo_generator *order;    /* of the samples */
    dppo_tensor *permutation; /* (samples) drawn from it */
    side sides[2];
    int side_count;
    int64_t n_epochs, batch_size, save_model_freq, epoch_start_ema, update_ema_freq;
    int64_t cond_steps, obs_dim, horizon_steps, action_dim;
    int64_t epoch, batches;  /* the epoch to come, counted from 1; batches so far */
    float *actions, *states; /* (batch, Ta, Da), (batch, To, Do) */
    dppo_text metrics, compared;
    dppo_run_result *result;
} pretrainer;

static const dppo_training_tolerance loss_tolerance = {.rtol = 1e-4, .atol = 1e-6};

/* -- set-up
 * -------------------------------------------------------------------------------------------------- */

static dppo_status read_config(pretrainer *p) {
    const dppo_config *config = p->config;
    double train_split;
    DPPO_TRY(dppo_config_int(config, "train.n_epochs", &p->n_epochs));
    DPPO_TRY(dppo_config_int_from(config, "train.batch_size", 1, &p->batch_size));
    DPPO_TRY(dppo_config_int_from(config, "train.save_model_freq", 1, &p->save_model_freq));
    DPPO_TRY(dppo_config_int_or(config, "train.epoch_start_ema", 20, &p->epoch_start_ema));
    DPPO_TRY(dppo_config_int_from_or(config, "train.update_ema_freq", 1, 10, &p->update_ema_freq));
    DPPO_TRY(dppo_config_float_or(config, "train.train_split", 1.0, &train_split));
    DPPO_TRY(dppo_config_int_from(config, "obs_dim", 1, &p->obs_dim));
    DPPO_TRY(dppo_config_int_from(config, "action_dim", 1, &p->action_dim));
    DPPO_TRY(dppo_config_int_from(config, "horizon_steps", 1, &p->horizon_steps));
    DPPO_TRY(dppo_config_int_from_or(config, "cond_steps", 1, 1, &p->cond_steps));
    if (train_split < 1)
        return dppo_fail(DPPO_MISSING, "train.train_split: %g, validation is not supported", train_split);
    return DPPO_OK;
}

static dppo_status open_dataset(pretrainer *p) {
    const dppo_config *node = dppo_config_get(p->config, "train_dataset");
    if (!node) return dppo_fail(DPPO_INVALID, "train_dataset: missing");
    DPPO_TRY(dppo_sequence_dataset_new(node, &p->dataset));
    int64_t obs_dim = dppo_sequence_dataset_obs_dim(p->dataset),
            action_dim = dppo_sequence_dataset_action_dim(p->dataset);
    if (obs_dim != p->obs_dim || action_dim != p->action_dim)
        return dppo_fail(
            DPPO_INVALID, "train_dataset: obs_dim %lld, action_dim %lld; the configuration says %lld, %lld",
            (long long)obs_dim, (long long)action_dim, (long long)p->obs_dim, (long long)p->action_dim);
    if (dppo_sequence_dataset_count(p->dataset) < 1)
        return dppo_fail(DPPO_INVALID, "train_dataset: no trajectory has %lld steps",
                         (long long)p->horizon_steps);
    return DPPO_OK;
}

static dppo_status open_sides(pretrainer *p) {
    int64_t seed;
    DPPO_TRY(dppo_config_int_or(p->config, "seed", 42, &seed));
    p->order = dppo_generator_new((uint64_t)seed);
    p->actions = malloc((size_t)(p->batch_size * p->horizon_steps * p->action_dim) * sizeof(float));
    p->states = malloc((size_t)(p->batch_size * p->cond_steps * p->obs_dim) * sizeof(float));
    p->permutation = dppo_tensor_heap(DPPO_I64, 1, (int64_t[]){dppo_sequence_dataset_count(p->dataset)});
    if (!p->order || !p->actions || !p->states || !p->permutation)
        return dppo_fail(DPPO_NO_MEMORY, "pretrain: out of memory");
    p->side_count = p->options->second ? 2 : 1;
    p->sides[0] = (side){.class = p->options->first, .prefix = ""};
    p->sides[1] = (side){.class = p->options->second, .prefix = "torch/"};
    for (int i = 0; i < p->side_count; i++)
        DPPO_TRY(p->sides[i].class->create(p->config, &p->sides[i].agent));
    return DPPO_OK;
}

/* -- checkpoints
 * ------------------------------------------------------------------------------------------------- */

static dppo_status write_checkpoint(const pretrainer *p, int64_t epoch) {
    char path[4096], file[128];
    dppo_named state = {0};
    dppo_text yaml = {0};
    (void)snprintf(file, sizeof file, "checkpoint/state_%lld.h5", (long long)epoch);
    dppo_status status = dppo_run_folder_path(p->options, file, path, sizeof path);
    if (status == DPPO_OK) status = dppo_named_put_i64(&state, "epoch", epoch);
    if (status == DPPO_OK) status = dppo_named_put_i64(&state, "batches", p->batches);
    if (status == DPPO_OK) status = dppo_generator_save(p->order, "order/", &state);
    for (int i = 0; i < p->side_count && status == DPPO_OK; i++) {
        dppo_named own = {0};
        status = p->sides[i].class->save(p->sides[i].agent, &own);
        if (status == DPPO_OK) status = dppo_named_merge(&state, p->sides[i].prefix, &own);
        dppo_named_free(&own);
    }
    dppo_config_write_yaml(p->config, &yaml);
    if (status == DPPO_OK) status = dppo_checkpoint_write(path, &state, yaml.bytes ? yaml.bytes : "");
    dppo_text_free(&yaml);
    dppo_named_free(&state);
    return status;
}

static dppo_status load_side(side *s, const dppo_named *state) {
    dppo_named own = {0};
    dppo_status status = dppo_named_extract(&own, s->prefix, state);
    if (status == DPPO_OK) status = s->class->load(s->agent, &own);
    dppo_named_free(&own);
    return status;
}

static dppo_status load_run(pretrainer *p, const dppo_named *state) {
    dppo_tensor *epoch, *batches;
    DPPO_TRY(dppo_named_require(state, "epoch", DPPO_I64, &epoch));
    DPPO_TRY(dppo_named_require(state, "batches", DPPO_I64, &batches));
    DPPO_TRY(dppo_generator_load(p->order, "order/", state));
    p->epoch = *dppo_i64(epoch) + 1;
    p->batches = *dppo_i64(batches);
    for (int i = 0; i < p->side_count; i++)
        DPPO_TRY(load_side(&p->sides[i], state));
    return DPPO_OK;
}

static dppo_status resume(pretrainer *p) {
    char path[4096];
    dppo_named state = {0};
    dppo_status status = dppo_checkpoint_read(p->options->resume, &state);
    if (status == DPPO_OK) status = load_run(p, &state);
    dppo_named_free(&state);
    if (status != DPPO_OK) return dppo_fail_in(status, "%s", p->options->resume);
    DPPO_TRY(dppo_run_folder_path(p->options, "metrics.csv", path, sizeof path));
    DPPO_TRY(dppo_csv_read_until(path, p->epoch, &p->metrics));
    DPPO_TRY(dppo_run_folder_path(p->options, "teacher_forced.csv", path, sizeof path));
    return dppo_csv_read_until(path, p->epoch, &p->compared);
}

/* -- epochs
 * ----------------------------------------------------------------------------------------------------------
 */

static void read_batch(pretrainer *p, const int64_t *indices, int64_t count) {
    int64_t chunk = p->horizon_steps * p->action_dim, state = p->cond_steps * p->obs_dim;
    for (int64_t i = 0; i < count; i++)
        dppo_sequence_dataset_get(p->dataset, indices[i], p->actions + i * chunk, p->states + i * state);
}

/* 0: leave the average alone; 1: copy, before epoch_start_ema; 2: average. */
static int ema_mode(const pretrainer *p) {
    if (p->batches % p->update_ema_freq != 0) return 0;
    return p->epoch < p->epoch_start_ema ? 1 : 2;
}

/* One batch on every side; a row of the comparison when there are two. */
static dppo_status one_batch(pretrainer *p, int64_t count) {
    for (int i = 0; i < p->side_count; i++) {
        side *s = &p->sides[i];
        double loss, grad_norm, start = dppo_seconds();
        DPPO_TRY(
            s->class->pretrain_step(s->agent, count, p->actions, p->states, ema_mode(p), &loss, &grad_norm));
        s->seconds += dppo_seconds() - start;
        if (!isfinite(loss))
            return dppo_fail(DPPO_INVALID, "epoch %lld, side %s: the loss is %g", (long long)p->epoch,
                             s->class->side, loss);
        s->loss_sum += loss;
        s->grad_norm_sum += grad_norm;
        dppo_trace_row row = {.loss = loss, .actor_grad_norm = grad_norm};
        DPPO_TRY(dppo_trace_add(&s->trace, &row));
    }
    p->batches++;
    return DPPO_OK;
}

static dppo_status all_batches(pretrainer *p, int64_t *batches) {
    int64_t total = dppo_sequence_dataset_count(p->dataset);
    DPPO_TRY(dppo_draw_randperm(p->order, p->permutation));
    *batches = 0;
    for (int64_t begin = 0; begin < total; begin += p->batch_size) {
        int64_t count = p->batch_size < total - begin ? p->batch_size : total - begin;
        read_batch(p, dppo_i64(p->permutation) + begin, count);
        DPPO_TRY(one_batch(p, count));
        ++*batches;
    }
    return DPPO_OK;
}

/* Both sides saw the same batches, so that their traces are comparable while their states agree. */
static dppo_status compare_sides(pretrainer *p) {
    dppo_named c = {0}, torch = {0};
    bool within = true;
    dppo_status status = p->sides[0].class->save(p->sides[0].agent, &c);
    if (status == DPPO_OK) status = p->sides[1].class->save(p->sides[1].agent, &torch);
    if (status == DPPO_OK)
        status = dppo_compare_traces(&p->compared, p->epoch, &p->sides[0].trace, &p->sides[1].trace,
                                     loss_tolerance, &within);
    if (status == DPPO_OK && p->result->free_equal_iterations < 0 && !dppo_states_equal(&c, &torch))
        p->result->free_equal_iterations = p->epoch - 1;
    p->result->teacher_forced_iterations++;
    p->result->teacher_forced_failures += !within;
    p->result->teacher_forced_within = p->result->teacher_forced_within && within;
    dppo_named_free(&c);
    dppo_named_free(&torch);
    return status;
}

static dppo_status write_tables(const pretrainer *p) {
    char path[4096];
    DPPO_TRY(dppo_run_folder_path(p->options, "metrics.csv", path, sizeof path));
    DPPO_TRY(dppo_text_save(&p->metrics, path));
    if (p->side_count < 2) return DPPO_OK;
    DPPO_TRY(dppo_run_folder_path(p->options, "teacher_forced.csv", path, sizeof path));
    return dppo_text_save(&p->compared, path);
}

static dppo_status one_epoch(pretrainer *p) {
    int64_t batches = 0;
    for (int i = 0; i < p->side_count; i++) {
        p->sides[i].loss_sum = p->sides[i].grad_norm_sum = p->sides[i].seconds = 0;
        p->sides[i].trace.count = 0;
    }
    DPPO_TRY(all_batches(p, &batches));
    for (int i = 0; i < p->side_count; i++) {
        side *s = &p->sides[i];
        DPPO_TRY(s->class->pretrain_end_epoch(s->agent));
        dppo_text_format(&p->metrics, "%lld,%s,%.9g,%.9g,%.6f\n", (long long)p->epoch, s->class->side,
                         s->loss_sum / (double)batches, s->grad_norm_sum / (double)batches, s->seconds);
        dppo_log_line("%4lld %-5s train loss %8.5f  %5.1f s", (long long)p->epoch, s->class->side,
                      s->loss_sum / (double)batches, s->seconds);
    }
    return p->side_count == 2 ? compare_sides(p) : DPPO_OK;
}

static dppo_status run(pretrainer *p) {
    int64_t done = 0;
    for (; p->epoch <= p->n_epochs && !dppo_interrupted(); p->epoch++) {
        if (p->options->stop_after >= 0 && done++ >= p->options->stop_after) break;
        DPPO_TRY(one_epoch(p));
        p->result->iterations = p->epoch;
        bool last = p->epoch == p->n_epochs || dppo_interrupted() || (p->options->stop_after == done);
        if (p->epoch % p->save_model_freq == 0 || last) DPPO_TRY(write_checkpoint(p, p->epoch));
        DPPO_TRY(write_tables(p));
        dppo_progress("pretrain", (long)p->epoch, (long)p->n_epochs, NULL);
    }
    if (!dppo_interrupted() || p->epoch > p->n_epochs) return DPPO_OK;
    return dppo_fail(DPPO_INTERRUPTED,
                     "interrupted after epoch %lld; continue with --resume %s/checkpoint/state_%lld.h5",
                     (long long)(p->epoch - 1), p->options->folder, (long long)(p->epoch - 1));
}

static dppo_status open_run(pretrainer *p) {
    p->epoch = 1;
    DPPO_TRY(read_config(p));
    DPPO_TRY(dppo_run_folder_check(p->config, p->options));
    DPPO_TRY(open_dataset(p));
    DPPO_TRY(open_sides(p));
    if (p->options->resume) DPPO_TRY(resume(p));
    DPPO_TRY(dppo_run_folder_open(p->config, p->options));
    if (!p->metrics.length)
        dppo_text_add(&p->metrics, "epoch,side,loss - train,grad norm,seconds - update\n");
    if (!p->compared.length)
        dppo_text_add(&p->compared,
                      "itr,quantity,count,max_abs,max_rel,worst,c,torch,bitwise_share,status\n");
    return DPPO_OK;
}

dppo_status dppo_pretrain(const dppo_config *config, const dppo_run_options *options,
                          dppo_run_result *result) {
    pretrainer p = {.config = config, .options = options, .result = result};
    *result = (dppo_run_result){.teacher_forced_within = true, .free_equal_iterations = -1};
    dppo_status status = open_run(&p);
    if (status == DPPO_OK) status = run(&p);
    if (status == DPPO_OK)
        status = dppo_run_folder_result(options, config, result);
    else if (status == DPPO_INTERRUPTED)
        (void)dppo_run_folder_result(options, config, result);
    for (int i = 0; i < 2; i++) {
        if (p.sides[i].agent) p.sides[i].class->destroy(p.sides[i].agent);
        free(p.sides[i].trace.rows);
    }
    dppo_tensor_free(p.permutation);
    if (p.dataset) dppo_sequence_dataset_free(p.dataset);
    dppo_generator_free(p.order);
    free(p.actions);
    free(p.states);
    dppo_text_free(&p.metrics);
    dppo_text_free(&p.compared);
    return status;
}
