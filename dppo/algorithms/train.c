/* Fine-tuning: the outer loop of the original's PPO agents, for one side or two.
 *
 * With two sides there are two comparisons. Free run: each side has its own environments and learns from its
 * own actions, from one seed; while they agree in every bit, so do their rollouts. Teacher-forced: at each
 * iteration the second side takes over the first side's state and does the same update on the same rollout;
 * every loss, gradient norm and parameter change is compared. While the free runs agree in every bit the two
 * comparisons are one. */
#include "algorithms/driver.h"
#include "algorithms/metrics.h"
#include "base/log.h"
#include "data/dataset.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A learner with its environments. */
typedef struct lane {
    const dppo_agent_class *class;
    dppo_agent *agent;
    dppo_vector_env *envs;
    dppo_collector collector;
    const char *prefix; /* of its entries in a checkpoint */
    dppo_trace trace;
    dppo_named before, after; /* states around the last update, kept only for comparisons */
    double best;              /* best average episode reward so far */
} lane;

typedef struct trainer {
    const dppo_config *config;
    const dppo_run_options *options;
    lane lanes[2];
    int lane_count;
    dppo_agent *forced; /* of the second class, made when the free runs have parted */
    int64_t n_train_itr, val_freq, save_model_freq, n_steps, act_steps, itr, env_steps;
    int64_t ft_denoising_steps, anneal_by, anneal_every; /* 0 for policies without chains */
    bool force_train, reset_at_iteration;
    double threshold;
    dppo_text metrics, teacher_forced;
    dppo_run_result *result;
} trainer;

static const dppo_training_tolerance level_1 = {.rtol = 1e-4, .atol = 1e-6};

/* -- set-up
 * --------------------------------------------------------------------------------------------------- */

static dppo_status read_config(trainer *t) {
    const dppo_config *config = t->config;
    DPPO_TRY(dppo_config_int(config, "train.n_train_itr", &t->n_train_itr));
    DPPO_TRY(dppo_config_int_from(config, "train.n_steps", 1, &t->n_steps));
    DPPO_TRY(dppo_config_int_from(config, "train.val_freq", 1, &t->val_freq));
    DPPO_TRY(dppo_config_int_from(config, "train.save_model_freq", 1, &t->save_model_freq));
    DPPO_TRY(dppo_config_bool_or(config, "train.force_train", false, &t->force_train));
    DPPO_TRY(dppo_config_bool_or(config, "env.reset_at_iteration", true, &t->reset_at_iteration));
    DPPO_TRY(dppo_config_float(config, "env.best_reward_threshold_for_success", &t->threshold));
    DPPO_TRY(dppo_config_int(config, "act_steps", &t->act_steps));
    DPPO_TRY(dppo_config_int_or(config, "model.ft_denoising_steps", 0, &t->ft_denoising_steps));
    DPPO_TRY(dppo_config_int_or(config, "model.ft_denoising_steps_d", 0, &t->anneal_by));
    DPPO_TRY(dppo_config_int_or(config, "model.ft_denoising_steps_t", 0, &t->anneal_every));
    return DPPO_OK;
}

static dppo_status open_lane(trainer *t, lane *l, const dppo_agent_class *class, const char *prefix) {
    l->class = class;
    l->prefix = prefix;
    l->best = -INFINITY;
    DPPO_TRY(class->create(t->config, &l->agent));
    DPPO_TRY(dppo_vector_env_new(t->config, &l->envs));
    return dppo_collector_init(&l->collector, t->config, t->n_steps, t->ft_denoising_steps + 1);
}

static void close_lane(lane *l) {
    if (l->agent) l->class->destroy(l->agent);
    if (l->envs) dppo_vector_env_free(l->envs);
    dppo_collector_free(&l->collector);
    dppo_named_free(&l->before);
    dppo_named_free(&l->after);
    free(l->trace.rows);
}

/* -- checkpoints
 * --------------------------------------------------------------------------------------------------- */

static dppo_status save_lane(const lane *l, dppo_named *state) {
    dppo_named own = {0};
    dppo_status status = l->class->save(l->agent, &own);
    if (status == DPPO_OK) status = dppo_vector_env_save(l->envs, "envs/", &own);
    if (status == DPPO_OK) status = dppo_collector_save(&l->collector, "collector/", &own);
    if (status == DPPO_OK) status = dppo_named_put_f64(&own, "best", l->best);
    if (status == DPPO_OK) status = dppo_named_merge(state, l->prefix, &own);
    dppo_named_free(&own);
    return status;
}

static dppo_status write_checkpoint(const trainer *t, const char *name) {
    char path[4096], file[128];
    dppo_named state = {0};
    dppo_text yaml = {0};
    (void)snprintf(file, sizeof file, "checkpoint/%s", name);
    dppo_status status = dppo_run_folder_path(t->options, file, path, sizeof path);
    if (status == DPPO_OK) status = dppo_named_put_i64(&state, "itr", t->itr);
    if (status == DPPO_OK) status = dppo_named_put_i64(&state, "env_steps", t->env_steps);
    if (status == DPPO_OK && t->options->second) {
        const dppo_run_result *r = t->result;
        status = dppo_named_put_i64(&state, "run/teacher_forced_iterations", r->teacher_forced_iterations);
        if (status == DPPO_OK)
            status = dppo_named_put_i64(&state, "run/teacher_forced_failures", r->teacher_forced_failures);
        if (status == DPPO_OK)
            status = dppo_named_put_i64(&state, "run/free_equal_iterations", r->free_equal_iterations);
    }
    for (int i = 0; i < t->lane_count && status == DPPO_OK; i++)
        status = save_lane(&t->lanes[i], &state);
    dppo_config_write_yaml(t->config, &yaml);
    if (status == DPPO_OK) status = dppo_checkpoint_write(path, &state, yaml.bytes ? yaml.bytes : "");
    dppo_text_free(&yaml);
    dppo_named_free(&state);
    return status;
}

static dppo_status load_lane(lane *l, const dppo_named *state) {
    dppo_named own = {0};
    dppo_tensor *best;
    dppo_status status = dppo_named_extract(&own, l->prefix, state);
    if (status == DPPO_OK) status = l->class->load(l->agent, &own);
    if (status == DPPO_OK) status = dppo_vector_env_load(l->envs, "envs/", &own);
    if (status == DPPO_OK) status = dppo_collector_load(&l->collector, "collector/", &own);
    if (status == DPPO_OK) status = dppo_named_require(&own, "best", DPPO_F64, &best);
    if (status == DPPO_OK) l->best = *dppo_f64(best);
    dppo_named_free(&own);
    return status;
}

static dppo_status load_counters(trainer *t, const dppo_named *state) {
    dppo_tensor *itr, *steps, *forced, *failures, *equal;
    DPPO_TRY(dppo_named_require(state, "itr", DPPO_I64, &itr));
    DPPO_TRY(dppo_named_require(state, "env_steps", DPPO_I64, &steps));
    t->itr = *dppo_i64(itr);
    t->env_steps = *dppo_i64(steps);
    if (!t->options->second) return DPPO_OK;
    DPPO_TRY(dppo_named_require(state, "run/teacher_forced_iterations", DPPO_I64, &forced));
    DPPO_TRY(dppo_named_require(state, "run/teacher_forced_failures", DPPO_I64, &failures));
    DPPO_TRY(dppo_named_require(state, "run/free_equal_iterations", DPPO_I64, &equal));
    t->result->teacher_forced_iterations = *dppo_i64(forced);
    t->result->teacher_forced_failures = *dppo_i64(failures);
    t->result->teacher_forced_within = *dppo_i64(failures) == 0;
    t->result->free_equal_iterations = *dppo_i64(equal);
    return DPPO_OK;
}

/* Rows are added to a table only under the columns they have. */
static dppo_status check_columns(const dppo_text *csv, const char *path) {
    dppo_text header = {0};
    dppo_metrics_header(&header);
    bool same = csv->length == 0 || (header.bytes && strncmp(csv->bytes, header.bytes, header.length) == 0);
    dppo_text_free(&header);
    return same ? DPPO_OK
                : dppo_fail(DPPO_FORMAT, "%s: has the columns of another version; move it away to resume",
                            path);
}

static dppo_status resume(trainer *t) {
    char path[4096];
    dppo_named state = {0};
    dppo_status status = dppo_checkpoint_read(t->options->resume, &state);
    if (status == DPPO_OK) status = load_counters(t, &state);
    for (int i = 0; i < t->lane_count && status == DPPO_OK; i++)
        status = load_lane(&t->lanes[i], &state);
    dppo_named_free(&state);
    if (status != DPPO_OK) return dppo_fail_in(status, "%s", t->options->resume);
    DPPO_TRY(dppo_run_folder_path(t->options, "metrics.csv", path, sizeof path));
    DPPO_TRY(dppo_csv_read_until(path, t->itr, &t->metrics));
    DPPO_TRY(check_columns(&t->metrics, path));
    DPPO_TRY(dppo_run_folder_path(t->options, "teacher_forced.csv", path, sizeof path));
    return dppo_csv_read_until(path, t->itr, &t->teacher_forced);
}

/* -- comparison of the sides
 * --------------------------------------------------------------------------------------------- */

/* The first side's update again on the second side, from the same state and rollout. */
static dppo_status force_second(trainer *t, dppo_trace *trace, dppo_named *after) {
    const dppo_agent_class *class = t->options->second;
    dppo_update_metrics unused;
    if (!t->forced) DPPO_TRY(class->create(t->config, &t->forced));
    DPPO_TRY(class->load(t->forced, &t->lanes[0].before));
    DPPO_TRY(class->update(t->forced, t->itr, &t->lanes[0].collector.rollout, &unused, trace));
    return class->save(t->forced, after);
}

static dppo_status compare_sides(trainer *t, bool same_start) {
    lane *c = &t->lanes[0], *torch = &t->lanes[1];
    dppo_trace forced_trace = {0};
    dppo_named forced_after = {0};
    bool within = true;
    dppo_status status = same_start ? DPPO_OK : force_second(t, &forced_trace, &forced_after);
    const dppo_trace *trace = same_start ? &torch->trace : &forced_trace;
    const dppo_named *after = same_start ? &torch->after : &forced_after;
    if (status == DPPO_OK)
        status = dppo_compare_traces(&t->teacher_forced, t->itr, &c->trace, trace, level_1, &within);
    if (status == DPPO_OK)
        status = dppo_compare_changes(&t->teacher_forced, t->itr, &c->before, &c->after, after,
                                      (dppo_training_tolerance){.rtol = 0, .atol = 1e-2}, &within);
    if (status == DPPO_OK) {
        t->result->teacher_forced_iterations++;
        t->result->teacher_forced_failures += !within;
        t->result->teacher_forced_within = t->result->teacher_forced_within && within;
        if (t->result->free_equal_iterations < 0 &&
            !(same_start && dppo_states_equal(&c->after, &torch->after)))
            t->result->free_equal_iterations = t->itr;
    }
    dppo_named_free(&forced_after);
    free(forced_trace.rows);
    return status;
}

/* -- one iteration
 * -------------------------------------------------------------------------------------------------------------
 */

/* K'+1: every anneal_every iterations K' shrinks by anneal_by. The buffers have room for the first. */
static int64_t chain_length(const trainer *t) {
    int64_t steps = t->ft_denoising_steps;
    if (t->anneal_by > 0 && t->anneal_every > 0) {
        int64_t times = t->itr / t->anneal_every;
        steps = times < steps / t->anneal_by + 1 ? steps - times * t->anneal_by : 0;
    }
    return steps > 0 ? steps + 1 : 1;
}

static dppo_status collect_lane(trainer *t, lane *l, bool eval, dppo_metrics_row *row) {
    dppo_episodes episodes;
    l->collector.rollout.chain_length = chain_length(t);
    DPPO_TRY(dppo_collect(&l->collector, l->class, l->agent, l->envs, t->reset_at_iteration || eval, eval));
    DPPO_TRY(dppo_summarize_episodes(&l->collector, t->threshold, &episodes));
    dppo_metrics_take_episodes(row, &episodes);
    row->act_seconds = l->collector.act_seconds;
    row->env_seconds = l->collector.env_seconds;
    return DPPO_OK;
}

static dppo_status update_lane(trainer *t, lane *l, dppo_metrics_row *row) {
    dppo_update_metrics metrics;
    bool compared = t->lane_count == 2;
    double start = dppo_seconds();
    l->trace.count = 0;
    dppo_named_free(&l->before);
    dppo_named_free(&l->after);
    if (compared) DPPO_TRY(l->class->save(l->agent, &l->before));
    double ready = dppo_seconds();
    DPPO_TRY(l->class->update(l->agent, t->itr, &l->collector.rollout, &metrics, &l->trace));
    double updated = dppo_seconds();
    row->update_seconds = updated - ready;
    dppo_metrics_take_update(row, &metrics);
    if (compared) DPPO_TRY(l->class->save(l->agent, &l->after));
    row->save_seconds = ready - start + (dppo_seconds() - updated);
    return DPPO_OK;
}

static dppo_status run_lane(trainer *t, lane *l, bool eval, dppo_metrics_row *row) {
    double start = dppo_seconds();
    *row = dppo_metrics_empty(t->itr, l->class->side, eval);
    row->save_seconds = 0;
    DPPO_TRY(collect_lane(t, l, eval, row));
    if (!eval) DPPO_TRY(update_lane(t, l, row));
    DPPO_TRY(l->class->end_iteration(l->agent, t->itr));
    row->iteration_seconds = dppo_seconds() - start;
    return DPPO_OK;
}

static double reward_of(const dppo_metrics_row *row) {
    return row->eval ? row->eval_episode_reward : row->train_episode_reward;
}

static void report_iteration(const trainer *t, const dppo_metrics_row *row) {
    if (row->eval)
        dppo_log_line(
            "%4lld %-5s eval   episode reward %9.2f  best %7.3f  success %.2f  episodes %3.0f  %5.1f s",
            (long long)t->itr, row->side, row->eval_episode_reward, row->eval_best_reward,
            row->eval_success_rate, row->eval_num_episode, row->iteration_seconds);
    else
        dppo_log_line(
            "%4lld %-5s train  episode reward %9.2f  loss %9.4f  pg %9.5f  value %9.4f  kl %.2e  %5.1f s",
            (long long)t->itr, row->side, row->train_episode_reward, row->loss, row->pg_loss, row->value_loss,
            row->approx_kl, row->iteration_seconds);
}

static dppo_status write_tables(const trainer *t) {
    char path[4096];
    DPPO_TRY(dppo_run_folder_path(t->options, "metrics.csv", path, sizeof path));
    DPPO_TRY(dppo_text_save(&t->metrics, path));
    if (t->lane_count < 2) return DPPO_OK;
    DPPO_TRY(dppo_run_folder_path(t->options, "teacher_forced.csv", path, sizeof path));
    return dppo_text_save(&t->teacher_forced, path);
}

/* The best policy so far, by evaluation when there is one, else by training reward. */
static dppo_status keep_best(trainer *t, const dppo_metrics_row *row) {
    bool judged = row->eval || t->force_train || t->val_freq > t->n_train_itr;
    double episodes = row->eval ? row->eval_num_episode : row->train_num_episode;
    if (!judged || episodes < 1 || !(reward_of(row) > t->lanes[0].best)) return DPPO_OK;
    t->lanes[0].best = reward_of(row);
    return write_checkpoint(t, "best.h5");
}

/* A loss that is no number ends the run, after its row is written: nothing learned from here on means
 * anything. */
static dppo_status check_losses(const trainer *t, const dppo_metrics_row *rows) {
    for (int i = 0; i < t->lane_count; i++)
        if (!rows[i].eval && !isfinite(rows[i].loss))
            return dppo_fail(DPPO_INVALID, "iteration %lld, side %s: the loss is %g", (long long)t->itr,
                             rows[i].side, rows[i].loss);
    return DPPO_OK;
}

static void add_rows(trainer *t, const dppo_metrics_row *rows) {
    for (int i = 0; i < t->lane_count; i++)
        dppo_metrics_add(&t->metrics, &rows[i]);
}

/* What an iteration leaves in files. Its rows are in the table before a checkpoint says that it is done; that
 * they took time to save is added to them afterwards, and written with the next table. */
static dppo_status keep(trainer *t, dppo_metrics_row *rows) {
    size_t length = t->metrics.length;
    if (t->lane_count == 2 && !rows[0].eval) {
        bool same_start = dppo_states_equal(&t->lanes[0].before, &t->lanes[1].before) &&
                          dppo_collections_equal(&t->lanes[0].collector, &t->lanes[1].collector);
        DPPO_TRY(compare_sides(t, same_start));
    }
    double start = dppo_seconds();
    add_rows(t, rows);
    DPPO_TRY(write_tables(t));
    DPPO_TRY(check_losses(t, rows));
    bool save = t->itr % t->save_model_freq == 0 || t->itr == t->n_train_itr - 1;
    int64_t done = t->itr++; /* a checkpoint continues with the next iteration */
    t->result->iterations = t->itr;
    DPPO_TRY(keep_best(t, &rows[0]));
    if (save) {
        char name[64];
        (void)snprintf(name, sizeof name, "state_%lld.h5", (long long)done);
        DPPO_TRY(write_checkpoint(t, name));
    }
    double seconds = dppo_seconds() - start;
    for (int i = 0; i < t->lane_count; i++) {
        rows[i].save_seconds += seconds;
        rows[i].iteration_seconds += seconds;
    }
    t->metrics.length = length;
    add_rows(t, rows);
    return DPPO_OK;
}

static dppo_status iterate(trainer *t) {
    dppo_metrics_row rows[2];
    bool eval = t->itr % t->val_freq == 0 && !t->force_train;
    int64_t collected = t->n_steps * t->lanes[0].collector.rollout.n_envs * t->act_steps;
    if (!eval) t->env_steps += collected;
    for (int i = 0; i < t->lane_count; i++) {
        DPPO_TRY(run_lane(t, &t->lanes[i], eval, &rows[i]));
        rows[i].total_env_step = t->env_steps;
        report_iteration(t, &rows[i]);
    }
    return keep(t, rows);
}

/* -- the run
 * ------------------------------------------------------------------------------------------------------------------------
 */

static dppo_status open_run(trainer *t) {
    DPPO_TRY(read_config(t));
    DPPO_TRY(dppo_run_folder_check(t->config, t->options));
    t->lane_count = t->options->second ? 2 : 1;
    DPPO_TRY(open_lane(t, &t->lanes[0], t->options->first, ""));
    if (t->lane_count == 2) DPPO_TRY(open_lane(t, &t->lanes[1], t->options->second, "torch/"));
    if (t->options->resume) DPPO_TRY(resume(t));
    DPPO_TRY(dppo_run_folder_open(t->config, t->options));
    if (!t->metrics.length) dppo_metrics_header(&t->metrics);
    if (!t->teacher_forced.length)
        dppo_text_add(&t->teacher_forced,
                      "itr,quantity,count,max_abs,max_rel,worst,c,torch,bitwise_share,status\n");
    return DPPO_OK;
}

static dppo_status run(trainer *t) {
    int64_t first = t->itr;
    t->result->iterations = t->itr;
    while (t->itr < t->n_train_itr && !dppo_interrupted() &&
           (t->options->stop_after < 0 || t->itr - first < t->options->stop_after)) {
        DPPO_TRY(iterate(t));
        dppo_progress("train", (long)t->itr, (long)t->n_train_itr, NULL);
    }
    if (t->itr > first) DPPO_TRY(write_tables(t));   /* the last iteration's, with its own saving */
    if (t->itr < t->n_train_itr && t->itr > first) { /* stopped early: where --resume goes on */
        char name[64];
        (void)snprintf(name, sizeof name, "state_%lld.h5", (long long)(t->itr - 1));
        DPPO_TRY(write_checkpoint(t, name));
        if (dppo_interrupted())
            return dppo_fail(DPPO_INTERRUPTED,
                             "interrupted after iteration %lld; continue with --resume %s/checkpoint/%s",
                             (long long)(t->itr - 1), t->options->folder, name);
    }
    return DPPO_OK;
}

dppo_status dppo_train(const dppo_config *config, const dppo_run_options *options, dppo_run_result *result) {
    trainer t = {.config = config, .options = options, .result = result};
    *result = (dppo_run_result){.teacher_forced_within = true, .free_equal_iterations = -1};
    dppo_status status = open_run(&t);
    if (status == DPPO_OK) status = run(&t);
    if (status == DPPO_OK)
        status = dppo_run_folder_result(options, config, result);
    else if (status == DPPO_INTERRUPTED)
        (void)dppo_run_folder_result(options, config, result);
    for (int i = 0; i < 2; i++)
        close_lane(&t.lanes[i]);
    if (t.forced) options->second->destroy(t.forced);
    dppo_text_free(&t.metrics);
    dppo_text_free(&t.teacher_forced);
    return status;
}

dppo_status dppo_evaluate(const dppo_config *config, const dppo_agent_class *agents,
                          dppo_episodes *episodes) {
    int64_t n_steps;
    double threshold;
    dppo_agent *agent = NULL;
    dppo_vector_env *envs = NULL;
    dppo_collector collector = {0};
    DPPO_TRY(dppo_config_int_from(config, "n_steps", 1, &n_steps));
    DPPO_TRY(dppo_config_float_or(config, "env.best_reward_threshold_for_success", INFINITY, &threshold));
    dppo_status status = agents->create(config, &agent);
    if (status == DPPO_OK) status = dppo_vector_env_new(config, &envs);
    if (status == DPPO_OK) status = dppo_collector_init(&collector, config, n_steps, 1);
    if (status == DPPO_OK) status = dppo_collect(&collector, agents, agent, envs, true, true);
    if (status == DPPO_OK) status = dppo_summarize_episodes(&collector, threshold, episodes);
    if (agent) agents->destroy(agent);
    if (envs) dppo_vector_env_free(envs);
    dppo_collector_free(&collector);
    return status;
}
