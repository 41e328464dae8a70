#include "algorithms/reward_scaling.h"
#include "algorithms/numpy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

dppo_status dppo_reward_scaler_init(dppo_reward_scaler *scaler, int64_t n_envs, double cliprew, double gamma,
                                    bool per_env) {
    int64_t stats = per_env ? n_envs : 1;
    if (n_envs <= 0) return dppo_fail(DPPO_INVALID, "RunningRewardScaler: num_envs %lld", (long long)n_envs);
    *scaler =
        (dppo_reward_scaler){n_envs, cliprew, gamma, 1e-8, per_env, stats, NULL, NULL, NULL, 1e-4, NULL, 0};
    scaler->ret = calloc((size_t)n_envs, sizeof(double));
    scaler->mean = calloc((size_t)stats, sizeof(double));
    scaler->var = calloc((size_t)stats, sizeof(double));
    if (!scaler->ret || !scaler->mean || !scaler->var) {
        dppo_reward_scaler_free(scaler);
        return dppo_fail(DPPO_NO_MEMORY, "RunningRewardScaler: out of memory");
    }
    for (int64_t i = 0; i < stats; i++)
        scaler->var[i] = 1.0;
    return DPPO_OK;
}

void dppo_reward_scaler_free(dppo_reward_scaler *scaler) {
    free(scaler->ret);
    free(scaler->mean);
    free(scaler->var);
    free(scaler->work);
    scaler->ret = scaler->mean = scaler->var = scaler->work = NULL;
    scaler->room = 0;
}

/* Merges a batch's moments into the running ones (Chan et al.); the sum of squares is divided by the new
 * count - 1. */
static void merge_moments(dppo_reward_scaler *scaler, int64_t which, double mean, double var, double batch) {
    double count = scaler->count, total = count + batch, delta = mean - scaler->mean[which];
    double m2 = scaler->var[which] * count + var * batch + delta * delta * count * batch / total;
    scaler->mean[which] += delta * batch / total;
    scaler->var[which] = m2 / (total - 1);
}

static bool make_room(dppo_reward_scaler *scaler, int64_t count) {
    if (count <= scaler->room) return true;
    double *work = realloc(scaler->work, (size_t)count * sizeof *work);
    if (!work) return false;
    scaler->work = work;
    scaler->room = count;
    return true;
}

static double clip(double x, double bound) {
    return x < -bound ? -bound : x > bound ? bound : x;
}

dppo_status dppo_reward_scaler_apply(dppo_reward_scaler *scaler, int64_t n_steps, const double *firsts,
                                     double *reward) {
    int64_t n = scaler->n_envs;
    if (n_steps <= 0) return dppo_fail(DPPO_INVALID, "RunningRewardScaler: %lld steps", (long long)n_steps);
    if (!make_room(scaler, n * n_steps))
        return dppo_fail(DPPO_NO_MEMORY, "RunningRewardScaler: out of memory");
    double *rets = scaler->work; /* (N, T), so that statistics run over it in order */
    for (int64_t t = 0; t < n_steps; t++)
        for (int64_t i = 0; i < n; i++) {
            /* ret <- r + (1 - first) gamma ret */
            scaler->ret[i] = reward[t * n + i] + (1 - firsts[t * n + i]) * scaler->gamma * scaler->ret[i];
            rets[i * n_steps + t] = scaler->ret[i];
        }
    int64_t batch = scaler->per_env ? n_steps : n * n_steps;
    for (int64_t s = 0; s < scaler->stats; s++) {
        const double *values = rets + s * batch;
        merge_moments(scaler, s, dppo_np_mean(values, batch), dppo_np_var(values, batch), (double)batch);
    }
    scaler->count += (double)batch;
    for (int64_t i = 0; i < n; i++) {
        double scale = sqrt(scaler->var[scaler->per_env ? i : 0] + scaler->epsilon);
        for (int64_t t = 0; t < n_steps; t++)
            reward[t * n + i] = clip(reward[t * n + i] / scale, scaler->cliprew);
    }
    return DPPO_OK;
}

/* The fields of the state, as views: ret (N), mean, var (N with per_env, else rank 0), count (rank 0). */
enum { FIELDS = 4 };
static const char *const field_names[FIELDS] = {"ret", "mean", "var", "count"};

static dppo_tensor field(const dppo_reward_scaler *scaler, int which, double *count) {
    double *values[FIELDS] = {scaler->ret, scaler->mean, scaler->var, count};
    bool vector = which == 0 || (which < 3 && scaler->per_env);
    return (dppo_tensor){
        .dtype = DPPO_F64, .ndim = vector, .shape = {scaler->n_envs}, .stride = {1}, .data = values[which]};
}

dppo_status dppo_reward_scaler_save(const dppo_reward_scaler *scaler, const char *prefix, dppo_named *into) {
    char name[256];
    double count = scaler->count;
    for (int i = 0; i < FIELDS; i++) {
        dppo_tensor view = field(scaler, i, &count);
        (void)snprintf(name, sizeof name, "%s%s", prefix, field_names[i]);
        DPPO_TRY(dppo_named_put(into, name, &view));
    }
    return DPPO_OK;
}

dppo_status dppo_reward_scaler_load(dppo_reward_scaler *scaler, const char *prefix, const dppo_named *from) {
    char name[256];
    for (int i = 0; i < FIELDS; i++) {
        dppo_tensor *tensor, view = field(scaler, i, &scaler->count);
        (void)snprintf(name, sizeof name, "%s%s", prefix, field_names[i]);
        DPPO_TRY(dppo_named_require(from, name, DPPO_F64, &tensor));
        if (!dppo_same_shape(tensor, &view))
            return dppo_fail(DPPO_INVALID, "%s: %lld numbers, not %lld", name, (long long)dppo_numel(tensor),
                             (long long)dppo_numel(&view));
        dppo_tensor_pack(tensor, view.data);
    }
    return DPPO_OK;
}
