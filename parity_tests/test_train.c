/* Whole runs at a small size: a run that was stopped and resumed is the run that was not, threads change
 * nothing, the two sides stay together. */
#include "algorithms/driver.h"
#include "algorithms/metrics.h"
#include "hopper_data.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

static char *in_folder(const char *name) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* -- small configurations of the real ones
 * ------------------------------------------------------------------------- */

static dppo_config *load(const char *name, size_t count, const char *const *overrides) {
    char path[1024];
    dppo_config *config;
    (void)snprintf(path, sizeof path, "%s/configs/%s", FIXTURES, name);
    assert_int_equal(dppo_config_load(path, &config), DPPO_OK);
    for (size_t i = 0; i < count; i++)
        if (dppo_config_override(config, overrides[i]) != DPPO_OK) fail_msg("%s", dppo_message());
    if (dppo_config_resolve(config) != DPPO_OK) fail_msg("%s", dppo_message());
    return config;
}

static dppo_config *small_diffusion(const char *batch) {
    const char *overrides[] = {"wandb=null",
                               "model.network_path=null",
                               normalization_override,
                               "env.n_envs=4",
                               "train.n_steps=12",
                               batch,
                               "train.update_epochs=2",
                               "train.n_train_itr=20",
                               "train.val_freq=7",
                               "train.save_model_freq=100",
                               "model.actor.mlp_dims=[32,32,32]",
                               "model.critic.mlp_dims=[32,32,32]",
                               "denoising_steps=5",
                               "ft_denoising_steps=3"};
    return load("ft_ppo_diffusion_mlp.yaml", sizeof overrides / sizeof *overrides, overrides);
}

static dppo_config *small_gaussian(void) {
    const char *overrides[] = {"wandb=null",
                               normalization_override,
                               "env.n_envs=4",
                               "train.n_steps=40",
                               "train.batch_size=40",
                               "train.update_epochs=2",
                               "train.n_train_itr=20",
                               "train.val_freq=7",
                               "train.save_model_freq=100",
                               "model.actor.mlp_dims=[32,32]",
                               "model.critic.mlp_dims=[32,32,32]"};
    return load("ppo_gaussian_mlp.yaml", sizeof overrides / sizeof *overrides, overrides);
}

/* The same with a mixture of three. */
static dppo_config *small_gmm(void) {
    const char *actor =
        "model.actor={_target_: model.common.mlp_gmm.GMM_MLP, mlp_dims: [32, 32], cond_dim: 11,"
        " horizon_steps: '${horizon_steps}', action_dim: 3, num_modes: 3, fixed_std: 0.1,"
        " learn_fixed_std: true}";
    const char *overrides[] = {"wandb=null",
                               normalization_override,
                               "env.n_envs=4",
                               "train.n_steps=40",
                               "train.batch_size=40",
                               "train.update_epochs=2",
                               "train.n_train_itr=6",
                               "train.val_freq=3",
                               "train.save_model_freq=100",
                               "model._target_=model.rl.gmm_ppo.PPO_GMM",
                               actor,
                               "model.critic.mlp_dims=[32,32,32]"};
    return load("ppo_gaussian_mlp.yaml", sizeof overrides / sizeof *overrides, overrides);
}

static dppo_config *small_pretraining(void) {
    const char *overrides[] = {"wandb=null",
                               dataset_override,
                               "train.n_epochs=4",
                               "train.batch_size=2000",
                               "train.save_model_freq=100",
                               "train.lr_scheduler.first_cycle_steps=4",
                               "+train.epoch_start_ema=2",
                               "+train.update_ema_freq=2",
                               "model.network.mlp_dims=[32,32,32]"};
    return load("pre_diffusion_mlp.yaml", sizeof overrides / sizeof *overrides, overrides);
}

/* The same demonstrations for a policy without diffusion. */
static dppo_config *small_likelihood(const char *model, const char *network) {
    const char *overrides[] = {"wandb=null",
                               dataset_override,
                               "train.n_epochs=4",
                               "train.batch_size=2000",
                               "train.save_model_freq=100",
                               "train.lr_scheduler.first_cycle_steps=4",
                               "+train.epoch_start_ema=2",
                               "+train.update_ema_freq=2",
                               "_target_=agent.pretrain.train_gaussian_agent.TrainGaussianAgent",
                               "+train.ent_coef=0.01",
                               model,
                               network};
    return load("pre_diffusion_mlp.yaml", sizeof overrides / sizeof *overrides, overrides);
}
#define NETWORK(target)                                                                                      \
    "model.network={_target_: " target ", mlp_dims: [32, 32], cond_dim: 11, action_dim: 3, "                 \
    "horizon_steps: '${horizon_steps}'}"
#define POLICY(target) "model={_target_: " target ", horizon_steps: '${horizon_steps}', network: null}"

typedef dppo_status training(const dppo_config *, const dppo_run_options *, dppo_run_result *);

static dppo_run_result run(training *train, const dppo_config *config, const char *name, const char *resume,
                           int64_t stop_after, const dppo_agent_class *second) {
    dppo_run_options options = {.folder = in_folder(name),
                                .command = "test_train",
                                .first = &dppo_c_agent_class,
                                .second = second,
                                .resume = resume,
                                .stop_after = stop_after};
    dppo_run_result result;
    if (train(config, &options, &result) != DPPO_OK) fail_msg("%s: %s", name, dppo_message());
    return result;
}

/* -- comparisons
 * ------------------------------------------------------------------------------------------------------ */

static void assert_same_checkpoint(const char *a, const char *b) {
    dppo_named x = {0}, y = {0};
    if (dppo_checkpoint_read(in_folder(a), &x) != DPPO_OK) fail_msg("%s", dppo_message());
    if (dppo_checkpoint_read(in_folder(b), &y) != DPPO_OK) fail_msg("%s", dppo_message());
    assert_true(x.count > 30);
    for (size_t i = 0; i < x.count; i++) {
        const dppo_tensor *mine = x.entries[i].tensor, *other = dppo_named_get(&y, x.entries[i].name);
        if (!other) fail_msg("%s: only in %s", x.entries[i].name, a);
        size_t bytes = (size_t)dppo_numel(mine) * dppo_dtype_size(mine->dtype);
        if (!dppo_same_shape(mine, other) || memcmp(mine->data, other->data, bytes) != 0)
            fail_msg("%s: differs between %s and %s", x.entries[i].name, a, b);
    }
    assert_true(x.count == y.count);
    dppo_named_free(&x);
    dppo_named_free(&y);
}

#define ONE(field, label) +1
enum { ITERATION_PHASES = 0 DPPO_ITERATION_PHASES(ONE), PHASE_COLUMNS = 0 DPPO_PHASE_METRICS(ONE) };
#undef ONE

/* metrics.csv without its columns of seconds, which are the last. */
static char *metrics_of(const char *name) {
    char *text, *to;
    char file[128];
    (void)snprintf(file, sizeof file, "%s/metrics.csv", name);
    assert_int_equal(dppo_read_file(in_folder(file), &text, NULL), DPPO_OK);
    to = text;
    for (char *line = text; *line;) {
        char *end = strchr(line, '\n'), *cut = end;
        assert_non_null(end);
        for (int commas = 0; cut > line && commas < PHASE_COLUMNS;)
            commas += *--cut == ',';
        memmove(to, line, (size_t)(cut - line));
        to += cut - line;
        *to++ = '\n';
        line = end + 1;
    }
    *to = '\0';
    return text;
}

static void assert_same_metrics(const char *a, const char *b) {
    char *x = metrics_of(a), *y = metrics_of(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

static double cell_of(char **cursor) {
    char *end, *cell = *cursor;
    double value = strtod(cell, &end);
    assert_true(*end == ',' || *end == '\n');
    *cursor = end + 1;
    return end == cell ? NAN : value;
}

/* Rows of a mode: every phase is there that the mode has, and together they do not exceed the iteration. */
static void assert_profile(const char *name, const char *side, const char *mode, int update_phases,
                           int rows) {
    char *text, start[64], file[128];
    int found = 0;
    (void)snprintf(file, sizeof file, "%s/metrics.csv", name);
    (void)snprintf(start, sizeof start, ",%s,%s,", side, mode);
    assert_int_equal(dppo_read_file(in_folder(file), &text, NULL), DPPO_OK);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (strncmp(line + strcspn(line, ","), start, strlen(start)) != 0) continue;
        char *cell = end;
        for (int commas = 0; commas < PHASE_COLUMNS;)
            commas += *--cell == ',';
        cell++;
        double sum = 0, parts = 0;
        int present = 0;
        for (int i = 0; i < ITERATION_PHASES; i++) {
            double seconds = cell_of(&cell);
            bool of_update = i >= 2 && i < ITERATION_PHASES - 1;
            if (of_update) present += !isnan(seconds);
            if (isnan(seconds) && of_update) continue;
            assert_true(seconds >= 0);
            sum += seconds;
            parts += of_update ? seconds : 0;
        }
        double update = cell_of(&cell), iteration = cell_of(&cell);
        assert_int_equal(present, update_phases);
        assert_true(update_phases == 0 ? isnan(update) : parts > 0 && parts <= update * (1 + 1e-6));
        assert_true(sum > 0 && sum <= iteration * (1 + 1e-6)); /* nine digits are written */
        found++;
    }
    assert_int_equal(found, rows);
    free(text);
}

/* -- tests
 * ---------------------------------------------------------------------------------------------------------------
 */

/* 20 iterations straight, against 10, a new process's worth of state from the file, and 10 more. */
static void test_resumed_dppo_is_the_straight_run(void **state) {
    (void)state;
    dppo_config *config = small_diffusion("train.batch_size=48");
    run(dppo_train, config, "straight", NULL, -1, NULL);
    run(dppo_train, config, "resumed", NULL, 10, NULL);
    char *checkpoint = strdup(in_folder("resumed/checkpoint/state_9.h5"));
    dppo_run_result result = run(dppo_train, config, "resumed", checkpoint, -1, NULL);
    assert_int_equal(result.iterations, 20);
    assert_same_checkpoint("straight/checkpoint/state_19.h5", "resumed/checkpoint/state_19.h5");
    assert_same_metrics("straight", "resumed");
    assert_profile("resumed", "c", "train", 6, 17);
    assert_profile("resumed", "c", "eval", 0, 3);
    free(checkpoint);
    dppo_config_free(config);
}

/* eta's optimizer steps at every second minibatch, and its state is part of a checkpoint. */
static void test_resumed_run_with_a_learned_eta_is_the_straight_run(void **state) {
    (void)state;
    static const char *const more[] = {
        "+model.use_ddim=true",
        "+model.ddim_steps=5",
        "+model.learn_eta=true",
        "+model.eta={_target_: model.eta.EtaStateAction, input_dim: 11, action_dim: 3, mlp_dims: [8]}",
        "+train.eta_lr=1e-2",
        "+train.eta_weight_decay=0",
        "+train.eta_update_interval=2",
        "+train.eta_lr_scheduler={first_cycle_steps: 20, warmup_steps: 2, min_lr: 1e-3}"};
    dppo_config *config = small_diffusion("train.batch_size=48");
    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (dppo_config_override(config, more[i]) != DPPO_OK) fail_msg("%s", dppo_message());
    run(dppo_train, config, "eta_straight", NULL, 6, NULL);
    run(dppo_train, config, "eta_resumed", NULL, 3, NULL);
    char *checkpoint = strdup(in_folder("eta_resumed/checkpoint/state_2.h5"));
    run(dppo_train, config, "eta_resumed", checkpoint, 3, NULL);
    assert_same_checkpoint("eta_straight/checkpoint/state_5.h5", "eta_resumed/checkpoint/state_5.h5");
    assert_same_metrics("eta_straight", "eta_resumed");

    dppo_named first = {0}, last = {0};
    dppo_tensor *steps, *actor_steps;
    assert_int_equal(dppo_checkpoint_read(checkpoint, &first), DPPO_OK);
    assert_int_equal(dppo_checkpoint_read(in_folder("eta_straight/checkpoint/state_5.h5"), &last), DPPO_OK);
    const char *weight = "model/eta.mlp_res.moduleList.0.linear_1.weight";
    const dppo_tensor *before = dppo_named_get(&first, weight), *after = dppo_named_get(&last, weight);
    assert_true(before && after && memcmp(before->data, after->data, 11 * sizeof(float)) != 0);
    steps = dppo_named_get(&last, "eta_optimizer/0/step");
    actor_steps = dppo_named_get(&last, "actor_optimizer/0/step");
    assert_true(steps && actor_steps && dppo_tensor_at(steps, 0) > 0);
    assert_true(dppo_tensor_at(actor_steps, 0) > dppo_tensor_at(steps, 0));
    dppo_named_free(&first);
    dppo_named_free(&last);
    free(checkpoint);
    dppo_config_free(config);
}

/* After 8 iterations the fine-tuned steps go from 3 to 2 and the fine-tuned actor becomes the base: a
 * checkpoint of a later iteration goes on from there. */
static void test_resumed_annealing_is_the_straight_run(void **state) {
    (void)state;
    dppo_config *config = small_diffusion("train.batch_size=48");
    assert_int_equal(dppo_config_override(config, "+model.ft_denoising_steps_d=1"), DPPO_OK);
    assert_int_equal(dppo_config_override(config, "+model.ft_denoising_steps_t=8"), DPPO_OK);
    assert_int_equal(dppo_config_override(config, "train.n_train_itr=13"), DPPO_OK);
    run(dppo_train, config, "annealed", NULL, -1, NULL);
    run(dppo_train, config, "annealed_resumed", NULL, 10, NULL);
    char *checkpoint = strdup(in_folder("annealed_resumed/checkpoint/state_9.h5"));
    run(dppo_train, config, "annealed_resumed", checkpoint, -1, NULL);
    assert_same_checkpoint("annealed/checkpoint/state_12.h5", "annealed_resumed/checkpoint/state_12.h5");
    assert_same_metrics("annealed", "annealed_resumed");
    free(checkpoint);
    dppo_config_free(config);
}

static void test_resumed_gaussian_ppo_is_the_straight_run(void **state) {
    (void)state;
    dppo_config *config = small_gaussian();
    run(dppo_train, config, "gaussian_straight", NULL, -1, NULL);
    run(dppo_train, config, "gaussian_resumed", NULL, 10, NULL);
    char *checkpoint = strdup(in_folder("gaussian_resumed/checkpoint/state_9.h5"));
    run(dppo_train, config, "gaussian_resumed", checkpoint, -1, NULL);
    assert_same_checkpoint("gaussian_straight/checkpoint/state_19.h5",
                           "gaussian_resumed/checkpoint/state_19.h5");
    assert_same_metrics("gaussian_straight", "gaussian_resumed");
    assert_profile("gaussian_straight", "c", "train", 6, 17);
    free(checkpoint);
    dppo_config_free(config);
}

static void test_resumed_gmm_ppo_is_the_straight_run(void **state) {
    (void)state;
    dppo_config *config = small_gmm();
    run(dppo_train, config, "gmm_straight", NULL, -1, NULL);
    run(dppo_train, config, "gmm_resumed", NULL, 3, NULL);
    char *checkpoint = strdup(in_folder("gmm_resumed/checkpoint/state_2.h5"));
    run(dppo_train, config, "gmm_resumed", checkpoint, -1, NULL);
    assert_same_checkpoint("gmm_straight/checkpoint/state_5.h5", "gmm_resumed/checkpoint/state_5.h5");
    assert_same_metrics("gmm_straight", "gmm_resumed");
    free(checkpoint);
    dppo_config_free(config);
}

static void test_resumed_pretraining_is_the_straight_run(void **state) {
    (void)state;
    dppo_config *config = small_pretraining();
    run(dppo_pretrain, config, "pre_straight", NULL, -1, NULL);
    run(dppo_pretrain, config, "pre_resumed", NULL, 2, NULL);
    char *checkpoint = strdup(in_folder("pre_resumed/checkpoint/state_2.h5"));
    run(dppo_pretrain, config, "pre_resumed", checkpoint, -1, NULL);
    assert_same_checkpoint("pre_straight/checkpoint/state_4.h5", "pre_resumed/checkpoint/state_4.h5");
    free(checkpoint);
    dppo_config_free(config);
}

static double first_and_last_loss(const char *name, double *last) {
    char *text, file[128];
    (void)snprintf(file, sizeof file, "%s/metrics.csv", name);
    assert_int_equal(dppo_read_file(in_folder(file), &text, NULL), DPPO_OK);
    double first = NAN;
    for (char *line = strchr(text, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
        if (sscanf(line, "%*d,c,%lf", last) == 1 && isnan(first)) first = *last;
    free(text);
    return first;
}

/* Straight, and stopped and resumed; and what is likely becomes likelier. */
static void test_resumed_likelihood_is_the_straight_run(void **state) {
    (void)state;
    dppo_config *const configs[] = {small_likelihood(POLICY("GaussianModel"), NETWORK("Gaussian_MLP")),
                                    small_likelihood(POLICY("GMMModel"), NETWORK("GMM_MLP"))};
    for (int i = 0; i < 2; i++) {
        const char *straight = i ? "gmm_pre_straight" : "gauss_pre_straight";
        const char *resumed = i ? "gmm_pre_resumed" : "gauss_pre_resumed";
        char end[2][128];
        double last, first;
        run(dppo_pretrain, configs[i], straight, NULL, -1, NULL);
        run(dppo_pretrain, configs[i], resumed, NULL, 2, NULL);
        (void)snprintf(end[0], sizeof end[0], "%s/checkpoint/state_2.h5", resumed);
        char *checkpoint = strdup(in_folder(end[0]));
        run(dppo_pretrain, configs[i], resumed, checkpoint, -1, NULL);
        (void)snprintf(end[0], sizeof end[0], "%s/checkpoint/state_4.h5", straight);
        (void)snprintf(end[1], sizeof end[1], "%s/checkpoint/state_4.h5", resumed);
        assert_same_checkpoint(end[0], end[1]);
        first = first_and_last_loss(straight, &last);
        assert_true(last < first);
        free(checkpoint);
        dppo_config_free(configs[i]);
    }
}

/* From one seed come the same weights and the same noise. */
static void test_evaluation_acts_as_training_does(void **state) {
    (void)state;
    dppo_config *const configs[] = {small_gaussian(), small_gmm()};
    enum { BATCH = 5, DO = 11, DA = 3 };
    float obs[BATCH * DO], actions[2][BATCH * DA];
    for (int i = 0; i < BATCH * DO; i++)
        obs[i] = 0.1f * (float)(i % 7) - 0.3f;
    for (int c = 0; c < 2; c++) {
        for (int evaluation = 0; evaluation < 2; evaluation++) {
            dppo_agent *agent;
            if (evaluation)
                assert_int_equal(dppo_config_override(configs[c], "_target_=agent.EvalGaussianAgent"),
                                 DPPO_OK);
            if (dppo_c_agent_class.create(configs[c], &agent) != DPPO_OK) fail_msg("%s", dppo_message());
            assert_int_equal(dppo_c_agent_class.act(agent, BATCH, obs, true, actions[evaluation], NULL),
                             DPPO_OK);
            dppo_c_agent_class.destroy(agent);
        }
        assert_memory_equal(actions[0], actions[1], sizeof actions[0]);
        assert_true(isfinite(actions[0][0]) && actions[0][0] != actions[0][DA]);
        dppo_config_free(configs[c]);
    }
}

static void test_threads_change_nothing(void **state) {
    (void)state;
    dppo_config *config = small_diffusion("train.batch_size=48");
    dppo_set_threads(3);
    run(dppo_train, config, "threads", NULL, -1, NULL);
    dppo_set_threads(1);
    assert_same_checkpoint("straight/checkpoint/state_19.h5", "threads/checkpoint/state_19.h5");
    assert_same_metrics("straight", "threads");
    dppo_config_free(config);
}

/* A checkpoint of another configuration is refused by name and leaves the run folder's files alone. */
static void test_foreign_checkpoint_is_refused(void **state) {
    (void)state;
    dppo_config *config = small_gaussian();
    dppo_run_options options = {.folder = in_folder("refused"),
                                .command = "",
                                .first = &dppo_c_agent_class,
                                .resume = in_folder("straight/checkpoint/state_19.h5"),
                                .stop_after = -1};
    dppo_run_result result;
    assert_int_not_equal(dppo_train(config, &options, &result), DPPO_OK);
    assert_non_null(strstr(dppo_message(), "state_19.h5"));
    assert_int_not_equal(access(in_folder("refused/metrics.csv"), F_OK), 0);
    dppo_config_free(config);
}

/* A table of an older version is neither continued with rows of other columns nor lost. */
static void test_foreign_columns_are_refused(void **state) {
    (void)state;
    dppo_config *config = small_diffusion("train.batch_size=48");
    run(dppo_train, config, "columns", NULL, 1, NULL);
    dppo_run_options options = {.folder = in_folder("columns"),
                                .command = "",
                                .first = &dppo_c_agent_class,
                                .resume = in_folder("columns/checkpoint/state_0.h5"),
                                .stop_after = 1};
    dppo_text old = {0};
    char *text;
    dppo_run_result result;
    dppo_text_add(&old, "itr,side,mode,loss\n0,c,eval,\n");
    assert_int_equal(dppo_text_save(&old, in_folder("columns/metrics.csv")), DPPO_OK);
    assert_int_equal(dppo_train(config, &options, &result), DPPO_FORMAT);
    assert_non_null(strstr(dppo_message(), "metrics.csv: has the columns of another version"));
    assert_int_equal(dppo_read_file(in_folder("columns/metrics.csv"), &text, NULL), DPPO_OK);
    assert_string_equal(text, old.bytes);
    free(text);
    dppo_text_free(&old);
    dppo_config_free(config);
}

/* Runs on or over what is there; DPPO_OK or the refusal. */
static dppo_status try_run(const dppo_config *config, const char *name, const char *resume, bool overwrite) {
    dppo_run_options options = {.folder = in_folder(name),
                                .command = "",
                                .first = &dppo_c_agent_class,
                                .resume = resume,
                                .overwrite = overwrite,
                                .stop_after = 1};
    dppo_run_result result;
    return dppo_pretrain(config, &options, &result);
}

/* A checkpoint goes on with the configuration it was made with; how long to run and paths may change. */
static void test_resuming_compares_configurations(void **state) {
    (void)state;
    dppo_config *config = small_pretraining();
    const char *checkpoint = in_folder("pre_straight/checkpoint/state_4.h5");
    assert_int_equal(dppo_config_override(config, "train.n_epochs=5"), DPPO_OK);
    assert_int_equal(dppo_config_override(config, "logdir=elsewhere"), DPPO_OK);
    if (try_run(config, "longer", checkpoint, false) != DPPO_OK) fail_msg("%s", dppo_message());
    assert_int_equal(dppo_config_override(config, "train.batch_size=1999"), DPPO_OK);
    assert_int_equal(try_run(config, "other", checkpoint, false), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "state_4.h5"));
    assert_non_null(strstr(dppo_message(), "train.batch_size: was 2000, is 1999"));
    assert_int_equal(dppo_config_override(config, "train.batch_size=2000"), DPPO_OK);
    assert_int_equal(dppo_config_override(config, "+model.extra=[1]"), DPPO_OK);
    assert_int_equal(try_run(config, "other", checkpoint, false), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "model.extra: was absent, is [1]"));
    assert_int_not_equal(access(in_folder("other"), F_OK), 0);
    dppo_config_free(config);
}

/* A folder with a run in it is left as it is, unless the run is to be replaced; then nothing of it stays. */
static void test_a_run_is_not_written_over(void **state) {
    (void)state;
    char *before, *after;
    dppo_config *config = small_pretraining();
    assert_int_equal(dppo_read_file(in_folder("pre_straight/metrics.csv"), &before, NULL), DPPO_OK);
    assert_int_equal(try_run(config, "pre_straight", NULL, false), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "pre_straight: a run is here already (metrics.csv)"));
    assert_int_equal(dppo_read_file(in_folder("pre_straight/metrics.csv"), &after, NULL), DPPO_OK);
    assert_string_equal(before, after);
    free(before);
    free(after);
    if (try_run(config, "pre_straight", NULL, true) != DPPO_OK) fail_msg("%s", dppo_message());
    assert_int_equal(access(in_folder("pre_straight/checkpoint/state_1.h5"), F_OK), 0);
    assert_int_not_equal(access(in_folder("pre_straight/checkpoint/state_4.h5"), F_OK), 0);
    dppo_config_free(config);
}

/* What the comparison of runs must refuse to call equal. */
static void test_gaps_are_judged(void **state) {
    (void)state;
    const double same[3] = {1, 0, -2}, nan[3] = {1, NAN, -2}, off[3] = {1, 0, -2.1};
    dppo_training_tolerance tolerance = {.rtol = 1e-4, .atol = 1e-6};
    dppo_gap gap = dppo_gap_of(3, same, same, tolerance);
    assert_true(gap.within && gap.bitwise_share == 1);
    assert_false(dppo_gap_of(3, same, nan, tolerance).within);
    assert_false(dppo_gap_of(3, nan, nan, tolerance).within);
    gap = dppo_gap_of(3, off, same, tolerance);
    assert_false(gap.within);
    assert_int_equal(gap.worst, 2);
    assert_true(gap.c == -2.1 && gap.torch == -2);
}

#ifdef DPPO_WITH_SHIM
static void test_both_sides_stay_together(void **state) {
    (void)state;
    dppo_config *config = small_diffusion("train.batch_size=100");
    assert_int_equal(shim_init(1), DPPO_OK);
    dppo_run_result result = run(dppo_train, config, "both", NULL, 9, &shim_agent_class);
    assert_true(result.teacher_forced_within);
    assert_int_equal(result.teacher_forced_iterations, 7);
    assert_int_equal(result.teacher_forced_failures, 0);
    assert_profile("both", "c", "train", 6, 7);
    assert_profile("both", "torch", "train", 6, 7);
    dppo_config_free(config);
    config = small_pretraining();
    result = run(dppo_pretrain, config, "pre_both", NULL, 2, &shim_agent_class);
    assert_true(result.teacher_forced_within);
    dppo_config_free(config);
}

/* Resuming a comparison resumes both sides. */
static void test_resumed_comparison_is_the_straight_one(void **state) {
    (void)state;
    dppo_config *config = small_diffusion("train.batch_size=100");
    run(dppo_train, config, "both_resumed", NULL, 4, &shim_agent_class);
    char *checkpoint = strdup(in_folder("both_resumed/checkpoint/state_3.h5"));
    dppo_run_result result = run(dppo_train, config, "both_resumed", checkpoint, 5, &shim_agent_class);
    assert_int_equal(result.teacher_forced_iterations, 7);
    assert_same_checkpoint("both/checkpoint/state_8.h5", "both_resumed/checkpoint/state_8.h5");
    free(checkpoint);
    dppo_config_free(config);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resumed_dppo_is_the_straight_run),
        cmocka_unit_test(test_resumed_run_with_a_learned_eta_is_the_straight_run),
        cmocka_unit_test(test_resumed_annealing_is_the_straight_run),
        cmocka_unit_test(test_resumed_gaussian_ppo_is_the_straight_run),
        cmocka_unit_test(test_resumed_gmm_ppo_is_the_straight_run),
        cmocka_unit_test(test_resumed_pretraining_is_the_straight_run),
        cmocka_unit_test(test_resumed_likelihood_is_the_straight_run),
        cmocka_unit_test(test_evaluation_acts_as_training_does),
        cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_foreign_checkpoint_is_refused),
        cmocka_unit_test(test_foreign_columns_are_refused),
        cmocka_unit_test(test_resuming_compares_configurations),
        cmocka_unit_test(test_a_run_is_not_written_over),
        cmocka_unit_test(test_gaps_are_judged),
#ifdef DPPO_WITH_SHIM
        cmocka_unit_test(test_both_sides_stay_together),
        cmocka_unit_test(test_resumed_comparison_is_the_straight_one),
#endif
    };
    return cmocka_run_group_tests(tests, make_data, remove_data);
}
