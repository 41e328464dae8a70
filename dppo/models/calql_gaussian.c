/* CalQL_Gaussian: calibrated conservative Q-learning (arXiv 2303.05479, on CQL, 2006.04779). The critics are
 * pushed down where the data has no actions, but not below the returns G of the data:
 *
 *   y = r + gamma (1 - d) max over cql_n_actions samples a' ~ pi(s') of min(Q1', Q2')(s', a')
 *   L_Q = sum over Q1, Q2 of  mean (Q(s, a) - y)^2 + cql_min_q_weight  mean clip( LSE - Q(s, a) )
 *   LSE = logsumexp( Q(s, random) - 0.5^(Ta Da),  max(Q(s, a_pi), G) - log p(a_pi|s),
 *                    max(Q(s', a_pi'), G) - log p(a_pi'|s') )
 *
 * Two peculiarities of the original are kept, for its results depend on them: the density of random actions
 * is subtracted itself and not its logarithm; and the policy's terms (B, 1) minus log-probabilities (B) make
 * (B, B), so that each row's LSE runs over the log-probabilities of all rows. The losses of the actor and of
 * the temperature are SAC_Gaussian's. A checkpoint is loaded whole, critics included. */
#include "models/build.h"
#include "models/gaussian_internal.h"
#include "models/offpolicy_gaussian.h"

#include <math.h>

static dppo_status read_options(const dppo_config *config, dppo_gaussian *model) {
    DPPO_TRY(dppo_config_float_or(config, "cql_clip_diff_min", -INFINITY, &model->cql_clip_diff_min));
    DPPO_TRY(dppo_config_float_or(config, "cql_clip_diff_max", INFINITY, &model->cql_clip_diff_max));
    DPPO_TRY(dppo_config_float_or(config, "cql_min_q_weight", 5, &model->cql_min_q_weight));
    DPPO_TRY(dppo_config_int_or(config, "cql_n_actions", 10, &model->cql_n_actions));
    if (model->cql_n_actions > 0) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "cql_n_actions: %lld is not positive", (long long)model->cql_n_actions);
}

dppo_status dppo_build_calql_gaussian(const dppo_config *config, dppo_generator *generator,
                                      dppo_module **module) {
    static const char *const keys[] = {"actor",
                                       "critic",
                                       "cql_clip_diff_min",
                                       "cql_clip_diff_max",
                                       "cql_min_q_weight",
                                       "cql_n_actions",
                                       DPPO_GAUSSIAN_KEYS,
                                       NULL};
    dppo_gaussian *model = NULL;
    dppo_status status = dppo_sac_gaussian_new("CalQL_Gaussian", keys, config, generator, &model);
    if (status == DPPO_OK) status = read_options(config, model);
    return dppo_build_finish(status, model ? &model->module : NULL, module);
}

/* y without gradients: (B). */
static dppo_tensor *best_target(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                double gamma) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    int64_t samples = model->cql_n_actions;
    bool grad_enabled = dppo_set_grad_enabled(cx, false);
    dppo_cond repeated = dppo_cond_of(dppo_repeat_interleave(cx, batch->next_obs.state, samples, 0));
    dppo_tensor *actions = dppo_gaussian_forward(cx, module, repeated, (dppo_gaussian_options){0}, NULL);
    dppo_tensor *next_q = dppo_min_q(cx, model->target_critic, repeated, actions), *indices;
    next_q = dppo_reshape(cx, next_q, 2, (const int64_t[]){-1, samples});
    dppo_tensor *target = dppo_td_target(cx, batch, dppo_max_dim(cx, next_q, 1, false, &indices), gamma);
    dppo_set_grad_enabled(cx, grad_enabled);
    return target;
}

/* One kind of actions for both critics, what logsumexp is taken over: (B, n). */
typedef struct candidates {
    dppo_tensor *q1, *q2;
} candidates;

/* random_actions (B, n, Ta, Da) in the state of their row. */
static candidates of_random_actions(dppo_cx *cx, const dppo_gaussian *model, dppo_cond obs,
                                    dppo_tensor *random_actions) {
    const int64_t *shape = random_actions->shape, rows[] = {-1, shape[1]};
    double density = pow(0.5, (double)(shape[2] * shape[3]));
    candidates c;
    dppo_cond repeated = dppo_cond_of(dppo_repeat_interleave(cx, obs.state, shape[1], 0));
    dppo_tensor *actions = dppo_flatten(cx, random_actions, 0, 1);
    c.q1 = dppo_critic_obs_act_forward(cx, model->critic, repeated, actions, &c.q2);
    c.q1 = dppo_reshape(cx, dppo_sub_scalar(cx, c.q1, density), 2, rows);
    c.q2 = dppo_reshape(cx, dppo_sub_scalar(cx, c.q2, density), 2, rows);
    return c;
}

/* max(q, returns) as a column, minus log-probabilities as a row: (B, B). */
static dppo_tensor *calibrated(dppo_cx *cx, dppo_tensor *q, dppo_tensor *returns, dppo_tensor *logprob) {
    return dppo_sub(cx, dppo_unsqueeze(cx, dppo_maximum(cx, q, returns), 1), logprob);
}

/* weight mean clip(logsumexp(candidates) - Q(s, a)) of one critic. */
static dppo_tensor *conservatism(dppo_cx *cx, const dppo_gaussian *model, dppo_tensor *random,
                                 dppo_tensor *now, dppo_tensor *next, dppo_tensor *q_data) {
    const int last[] = {-1};
    if (!random || !now || !next) return NULL;
    dppo_tensor *all = dppo_cat(cx, 3, (dppo_tensor *[]){random, now, next}, -1);
    dppo_tensor *gap = dppo_sub(cx, dppo_logsumexp(cx, all, 1, last, false), q_data);
    gap = dppo_clamp(cx, gap, model->cql_clip_diff_min, model->cql_clip_diff_max);
    return dppo_mul_scalar(cx, dppo_mean(cx, gap, 0, NULL, false), model->cql_min_q_weight);
}

dppo_tensor *dppo_calql_gaussian_loss_critic(dppo_cx *cx, dppo_module *module, const dppo_transitions *batch,
                                             dppo_tensor *random_actions, dppo_tensor *returns,
                                             double gamma) {
    const dppo_gaussian *model = dppo_gaussian_of(module);
    const dppo_gaussian_options sample = {.get_logprob = true};
    dppo_tensor *logprob, *next_logprob, *q1, *q2;
    if (!random_actions || random_actions->ndim != 4)
        return dppo_context_fail(cx, DPPO_INVALID, "random_actions: (B, n, Ta, Da) are expected");
    q1 = dppo_critic_obs_act_forward(cx, model->critic, batch->obs, batch->actions, &q2);
    dppo_tensor *target = best_target(cx, module, batch, gamma);
    dppo_tensor *td1 = dppo_mse_loss(cx, q1, target);
    dppo_tensor *td2 = dppo_mse_loss(cx, q2, target);

    /* The samples are constants, their log-probabilities are not: gradients reach the policy, too. */
    dppo_tensor *action = dppo_gaussian_forward(cx, module, batch->obs, sample, &logprob);
    dppo_tensor *next_action = dppo_gaussian_forward(cx, module, batch->next_obs, sample, &next_logprob);
    candidates random = of_random_actions(cx, model, batch->obs, random_actions), now, next;
    now.q1 = dppo_critic_obs_act_forward(cx, model->critic, batch->obs, action, &now.q2);
    next.q1 = dppo_critic_obs_act_forward(cx, model->critic, batch->next_obs, next_action, &next.q2);
    now.q1 = calibrated(cx, now.q1, returns, logprob);
    now.q2 = calibrated(cx, now.q2, returns, logprob);
    next.q1 = calibrated(cx, next.q1, returns, next_logprob);
    next.q2 = calibrated(cx, next.q2, returns, next_logprob);
    dppo_tensor *cql1 = conservatism(cx, model, random.q1, now.q1, next.q1, q1);
    dppo_tensor *cql2 = conservatism(cx, model, random.q2, now.q2, next.q2, q2);
    return dppo_add(cx, dppo_add(cx, dppo_add(cx, td1, td2), cql1), cql2);
}
