/* In its steady state a learner allocates nothing: acting, stepping environments, collecting, updating and
 * pre-training take their memory in the first two iterations and keep it.
 *
 * Counted is what malloc and its relatives, and mmap, are asked for by anyone in the process, libraries
 * included: this program defines these functions. Sanitizers bring their own; there nothing is counted and
 * the tests are skipped. Of a whole iteration of training, from the first action on until the learner has
 * ended it, nothing is allocated; what follows does allocate, and is not counted: the log line, the row of
 * the table, files. */
#include "algorithms/driver.h"
#include "algorithms/ppo.h"
#include "hopper_data.h"
#include "random/generator.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#define OTHER_MALLOC                                                                                         \
    (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer))
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || OTHER_MALLOC || !defined(__GLIBC__)
#define COUNTS 0
#else
#define COUNTS 1
#endif

/* -- counting
 * ------------------------------------------------------------------------------------------------------ */

enum { KEPT = 16 };

static _Atomic bool counting;
static _Atomic int count, of_openblas, mapped_by_openblas;
static struct {
    const void *caller;
    size_t size;
} kept[KEPT];

static void start_counting(void) {
    atomic_store(&count, 0);
    atomic_store(&mapped_by_openblas, 0);
    atomic_store(&counting, true);
}

static void stop_counting(void) {
    atomic_store(&counting, false);
}

/* What OpenBLAS does on its own: a product of few numbers packs a matrix into scratch of a few kilobytes that
 * it gives back at once (sgemm_small_kernel of processors with AVX-512), and when more threads multiply at
 * one moment than ever before it maps one more buffer, at most one a thread. */
__attribute__((unused)) static bool is_of_openblas(const void *caller, size_t size, bool mapped) {
    enum { MOST_SCRATCH = 1 << 16 };
    Dl_info from;
    bool known = dladdr(caller, &from) != 0 && from.dli_fname;
    if (!known || strstr(from.dli_fname, "libopenblas") == NULL) return false;
    if (mapped) return atomic_fetch_add(&mapped_by_openblas, 1) < dppo_threads();
    atomic_fetch_add(&of_openblas, 1);
    return size <= MOST_SCRATCH;
}

#define NOTE(bytes, mapped) note(__builtin_return_address(0), bytes, mapped)

__attribute__((unused)) static void note(const void *caller, size_t size, bool mapped) {
    if (!atomic_load_explicit(&counting, memory_order_relaxed)) return;
    if (is_of_openblas(caller, size, mapped)) return;
    int i = atomic_fetch_add(&count, 1);
    if (i >= KEPT) return;
    kept[i].caller = caller;
    kept[i].size = size;
}

/* What was counted, if anything: who asked for how much. */
static void assert_none(const char *what) {
    stop_counting();
    int total = atomic_load(&count);
    for (int i = 0; i < total && i < KEPT; i++) {
        Dl_info from = {0};
        (void)dladdr(kept[i].caller, &from);
        print_error("%s: %zu bytes for %s+0x%tx %s\n", what, kept[i].size,
                    from.dli_fname ? from.dli_fname : "?",
                    (const char *)kept[i].caller - (const char *)from.dli_fbase,
                    from.dli_sname ? from.dli_sname : "");
    }
    if (total > 0) fail_msg("%s: %d allocations in the steady state", what, total);
}

static void skip_without_counts(void) {
    if (COUNTS) return;
    print_message("skipped: allocations are counted only with glibc's malloc, not with a sanitizer's\n");
    skip();
}

#if COUNTS
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t number, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
    NOTE(size, false);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    NOTE(number * size, false);
    return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size) {
    NOTE(size, false);
    return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
    NOTE(size, false);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    NOTE(size, false);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    NOTE(size, false);
    void *made = __libc_memalign(alignment, size);
    if (made) *memory = made;
    return made ? 0 : ENOMEM;
}

void *mmap(void *wanted, size_t size, int protection, int flags, int file, off_t offset) {
    NOTE(size, true);
    long made = syscall(SYS_mmap, wanted, size, protection, flags, file, offset);
    return made == -1 ? MAP_FAILED : (void *)made; /* NOLINT(performance-no-int-to-ptr) */
}
#endif

/* -- learners
 * ------------------------------------------------------------------------------------------------------ */

enum { N = 40, T = 15, OBS = 11, TA = 4, DA = 3, MOST_CHAIN = 11 };

static void ok(dppo_status status) {
    if (status != DPPO_OK) fail_msg("%s", dppo_message());
}

/* The original's configurations, with fewer steps and narrower networks. A minibatch of 5 900 of 6 000 pairs
 * is two chunks, and a longer last one. */
static dppo_config *load(const char *name) {
    char path[512];
    dppo_config *config;
    (void)snprintf(path, sizeof path, "%s/configs/%s.yaml", FIXTURES, name);
    ok(dppo_config_load(path, &config));
    return config;
}

static dppo_config *with(dppo_config *config, size_t number, const char *const *overrides) {
    for (size_t i = 0; i < number; i++)
        ok(dppo_config_override(config, overrides[i]));
    ok(dppo_config_resolve(config));
    return config;
}
#define WITH(config, ...)                                                                                    \
    with(config, sizeof(const char *[]){__VA_ARGS__} / sizeof(const char *), (const char *[]){__VA_ARGS__})

static dppo_config *diffusion(void) {
    return WITH(load("ft_ppo_diffusion_mlp"), "wandb=null", "model.network_path=null", normalization_override,
                "train.n_steps=15", "train.batch_size=5900", "train.update_epochs=1", "train.n_train_itr=6",
                "train.val_freq=3", "train.save_model_freq=100", "model.actor.mlp_dims=[256,256,256]",
                "model.critic.mlp_dims=[256,256,256]");
}

static dppo_config *gaussian(void) {
    return WITH(load("ppo_gaussian_mlp"), "wandb=null", normalization_override, "env.n_envs=40",
                "train.n_steps=15", "train.batch_size=200", "train.update_epochs=2", "train.n_train_itr=6",
                "train.val_freq=3", "train.save_model_freq=100");
}

static dppo_config *mixture(void) {
    return WITH(load("ppo_gaussian_mlp"), "wandb=null", normalization_override, "env.n_envs=40",
                "train.n_steps=15", "train.batch_size=200", "train.update_epochs=2", "train.n_train_itr=6",
                "train.val_freq=3", "train.save_model_freq=100", "model._target_=model.rl.gmm_ppo.PPO_GMM",
                "model.actor={_target_: model.common.mlp_gmm.GMM_MLP, mlp_dims: [64, 64], cond_dim: 11,"
                " horizon_steps: '${horizon_steps}', action_dim: 3, num_modes: 3, fixed_std: 0.1}");
}

static dppo_config *pretraining(void) {
    return WITH(load("pre_diffusion_mlp"), "wandb=null", dataset_override, "train.n_epochs=5",
                "train.batch_size=128", "+train.epoch_start_ema=2", "+train.update_ema_freq=1",
                "train.save_model_freq=100", "model.network.mlp_dims=[64,64,64]");
}

static const struct {
    const char *name;
    dppo_config *(*config)(void);
    int64_t chain; /* K'+1 */
} policies[] = {{"diffusion", diffusion, 11}, {"Gaussian", gaussian, 1}, {"mixture", mixture, 1}};
enum { POLICIES = sizeof policies / sizeof *policies };

static dppo_agent *make_agent(dppo_config *(*configure)(void)) {
    dppo_config *config = configure();
    dppo_agent *agent;
    ok(dppo_c_agent_class.create(config, &agent));
    dppo_config_free(config);
    return agent;
}

static float *random_floats(int64_t number) {
    dppo_generator *generator = dppo_generator_new(3);
    float *values = calloc((size_t)number, sizeof *values);
    assert_true(generator && values);
    for (int64_t i = 0; i < number; i++)
        values[i] = (float)(2 * dppo_random_double(generator) - 1);
    dppo_generator_free(generator);
    return values;
}

/* -- the counter itself
 * ------------------------------------------------------------------------------------------------------ */

static void test_allocations_are_counted(void **unused) {
    (void)unused;
    skip_without_counts();
    void *volatile memory[4];
    start_counting();
    memory[0] = malloc(1);
    memory[1] = calloc(1, 1);
    memory[2] = strdup("libc's own");
    memory[3] = aligned_alloc(64, 64);
    memory[0] = realloc(memory[0], 1000);
    dppo_arena *arena = dppo_arena_new(); /* one, and two with its first block */
    void *in_arena = dppo_arena_alloc(arena, 1);
    void *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stop_counting();
    assert_int_equal(atomic_load(&count), 5 + 3 + 1);
    assert_true(in_arena && mapped != MAP_FAILED);
    dppo_arena_free(arena);
    (void)munmap(mapped, 4096);
    for (int i = 0; i < 4; i++)
        free(memory[i]);
}

/* -- the parts of an iteration
 * ------------------------------------------------------------------------------------------------------ */

static void act(dppo_agent *agent, int64_t batch, const float *obs, float *actions, float *chains) {
    ok(dppo_c_agent_class.act(agent, batch, obs, false, actions, chains));
    ok(dppo_c_agent_class.act(agent, batch, obs, true, actions, NULL));
}

static void test_acting(void **unused) {
    (void)unused;
    skip_without_counts();
    float *obs = random_floats(N * OBS), *actions = random_floats(N * TA * DA),
          *chains = random_floats(N * MOST_CHAIN * TA * DA);
    for (int p = 0; p < POLICIES; p++)
        for (int64_t batch = 1; batch <= N; batch += N - 1) {
            dppo_agent *agent = make_agent(policies[p].config);
            for (int i = 0; i < 12; i++) {
                if (i == 2) start_counting();
                act(agent, batch, obs, actions, chains);
            }
            assert_none(policies[p].name);
            dppo_c_agent_class.destroy(agent);
        }
    free(obs);
    free(actions);
    free(chains);
}

/* Random actions: environments fall, and start anew. */
static void test_stepping_environments(void **unused) {
    (void)unused;
    skip_without_counts();
    dppo_config *config = diffusion();
    dppo_vector_env *envs;
    ok(dppo_vector_env_new(config, &envs));
    float *actions = random_floats(N * TA * DA), *obs = random_floats(N * OBS);
    double reward[N];
    bool terminated[N], truncated[N];
    int ended = 0;
    dppo_step_result result = {obs, reward, terminated, truncated, NULL};
    ok(dppo_vector_env_reset(envs, obs));
    for (int t = 0; t < 62; t++) {
        if (t == 2) start_counting();
        ok(dppo_vector_env_step(envs, actions, &result));
        for (int i = 0; i < N; i++)
            ended += terminated[i] || truncated[i];
    }
    assert_none("dppo_vector_env_step");
    assert_true(ended > 0);
    free(actions);
    free(obs);
    dppo_vector_env_free(envs);
    dppo_config_free(config);
}

typedef struct learner {
    dppo_config *config;
    dppo_agent *agent;
    dppo_vector_env *envs;
    dppo_collector collector;
    dppo_trace trace;
} learner;

static learner make_learner(int policy) {
    learner l = {.config = policies[policy].config()};
    ok(dppo_c_agent_class.create(l.config, &l.agent));
    ok(dppo_vector_env_new(l.config, &l.envs));
    ok(dppo_collector_init(&l.collector, l.config, T, policies[policy].chain));
    return l;
}

static void free_learner(learner *l) {
    dppo_collector_free(&l->collector);
    dppo_vector_env_free(l->envs);
    dppo_c_agent_class.destroy(l->agent);
    dppo_config_free(l->config);
    free(l->trace.rows);
}

static void collect(learner *l) {
    dppo_episodes episodes;
    ok(dppo_collect(&l->collector, &dppo_c_agent_class, l->agent, l->envs, false, false));
    ok(dppo_summarize_episodes(&l->collector, 3, &episodes));
}

static void update(learner *l, int64_t itr) {
    dppo_update_metrics metrics;
    l->trace.count = 0;
    ok(dppo_c_agent_class.update(l->agent, itr, &l->collector.rollout, &metrics, &l->trace));
    ok(dppo_c_agent_class.end_iteration(l->agent, itr));
}

static void test_collecting(void **unused) {
    (void)unused;
    skip_without_counts();
    learner l = make_learner(0);
    for (int i = 0; i < 4; i++) {
        if (i == 2) start_counting();
        collect(&l);
    }
    assert_none("dppo_collect");
    free_learner(&l);
}

static void test_updating(void **unused) {
    (void)unused;
    skip_without_counts();
    for (int p = 0; p < POLICIES; p++) {
        learner l = make_learner(p);
        collect(&l);
        for (int i = 0; i < 4; i++) {
            if (i == 2) start_counting();
            update(&l, i);
        }
        assert_none(policies[p].name);
        if (p == 0) assert_int_equal(((dppo_ppo *)l.agent)->minibatches, DPPO_IN_CHUNKS);
        free_learner(&l);
    }
}

static void test_pretraining_step(void **unused) {
    (void)unused;
    skip_without_counts();
    enum { BATCH = 128 };
    dppo_agent *agent = make_agent(pretraining);
    float *obs = random_floats(BATCH * OBS), *actions = random_floats(BATCH * TA * DA);
    double loss, grad_norm;
    for (int i = 0; i < 9; i++) {
        if (i == 3) start_counting(); /* each way of keeping the average was seen */
        ok(dppo_c_agent_class.pretrain_step(agent, BATCH, actions, obs, i % 3, &loss, &grad_norm));
    }
    assert_none("pretrain_step");
    free(obs);
    free(actions);
    dppo_c_agent_class.destroy(agent);
}

/* -- runs
 * ------------------------------------------------------------------------------------------------------ */

enum { WARM_UP = 3 };

/* Iterations or epochs that have ended, and those of them that were counted. */
static int ended, counted;

static void begin_counted(void) {
    if (ended >= WARM_UP && !atomic_load(&counting)) start_counting();
}

static void end_counted(void) {
    if (atomic_load(&counting)) {
        assert_none("a whole iteration");
        counted++;
    }
    ended++;
}

static dppo_status counted_act(dppo_agent *agent, int64_t batch, const float *obs, bool deterministic,
                               float *actions, float *chains) {
    begin_counted();
    return dppo_c_agent_class.act(agent, batch, obs, deterministic, actions, chains);
}

static dppo_status counted_end_iteration(dppo_agent *agent, int64_t itr) {
    dppo_status status = dppo_c_agent_class.end_iteration(agent, itr);
    end_counted();
    return status;
}

static dppo_status counted_pretrain_step(dppo_agent *agent, int64_t batch, const float *actions,
                                         const float *obs, int ema_mode, double *loss, double *grad_norm) {
    begin_counted();
    return dppo_c_agent_class.pretrain_step(agent, batch, actions, obs, ema_mode, loss, grad_norm);
}

static dppo_status counted_pretrain_end_epoch(dppo_agent *agent) {
    dppo_status status = dppo_c_agent_class.pretrain_end_epoch(agent);
    end_counted();
    return status;
}

typedef dppo_status training(const dppo_config *, const dppo_run_options *, dppo_run_result *);

/* Runs the command's own loop with a learner that switches the counter. */
static void count_run(training *train, dppo_config *config, const char *name, int iterations) {
    char path[128];
    dppo_agent_class class = dppo_c_agent_class;
    dppo_run_result result;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    class.act = counted_act;
    class.end_iteration = counted_end_iteration;
    class.pretrain_step = counted_pretrain_step;
    class.pretrain_end_epoch = counted_pretrain_end_epoch;
    dppo_run_options options = {
        .folder = path, .command = "test_allocations", .first = &class, .stop_after = -1};
    ended = counted = 0;
    ok(train(config, &options, &result));
    assert_int_equal(counted, iterations - WARM_UP);
    dppo_config_free(config);
}

/* Iterations 0 and 3 evaluate. */
static void test_whole_iterations(void **unused) {
    (void)unused;
    skip_without_counts();
    for (int p = 0; p < POLICIES; p++) {
        dppo_set_threads(p == 0 ? 2 : 1);
        count_run(dppo_train, policies[p].config(), policies[p].name, 6);
    }
    count_run(dppo_pretrain, pretraining(), "pretraining", 5);
}

/* -- threads
 * ------------------------------------------------------------------------------------------------------ */

/* The state after an iteration on so many threads, and after the next one has collected. */
static dppo_named trained(int threads) {
    dppo_named state = {0};
    dppo_set_threads(threads);
    learner l = make_learner(0);
    collect(&l);
    update(&l, 0);
    collect(&l);
    assert_int_equal(((dppo_ppo *)l.agent)->minibatches, DPPO_IN_CHUNKS);
    ok(dppo_c_agent_class.save(l.agent, &state));
    ok(dppo_vector_env_save(l.envs, "envs/", &state));
    ok(dppo_collector_save(&l.collector, "collector/", &state));
    ok(dppo_named_put_f64(&state, "loss", l.trace.rows[l.trace.count - 1].loss));
    free_learner(&l);
    return state;
}

static void test_threads_change_no_bit_of_an_iteration(void **unused) {
    (void)unused;
    dppo_named one = trained(1);
    for (int threads = 2; threads <= 4; threads *= 2) {
        dppo_named several = trained(threads);
        assert_int_equal(one.count, several.count);
        assert_true(dppo_states_equal(&one, &several));
        dppo_named_free(&several);
    }
    dppo_named_free(&one);
    dppo_set_threads(1);
}

static int end(void **state) {
    print_message("OpenBLAS packed small products into scratch of its own %d times\n",
                  atomic_load(&of_openblas));
    return remove_data(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations_are_counted),
        cmocka_unit_test(test_acting),
        cmocka_unit_test(test_stepping_environments),
        cmocka_unit_test(test_collecting),
        cmocka_unit_test(test_updating),
        cmocka_unit_test(test_pretraining_step),
        cmocka_unit_test(test_whole_iterations),
        cmocka_unit_test(test_threads_change_no_bit_of_an_iteration),
    };
    return cmocka_run_group_tests(tests, make_data, end);
}
