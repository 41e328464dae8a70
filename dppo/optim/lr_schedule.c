/* CosineAnnealingWarmupRestarts: a linear warm-up, then half a cosine from max_lr to min_lr, then again with
 * a period multiplied by cycle_mult and a maximum multiplied by gamma. In float64, in the order of the
 * original. */
#include "optim/optim.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static double rate(const dppo_lr_schedule *s) {
    double range = s->max_lr - s->min_lr;
    if (s->step_in_cycle < s->warmup_steps)
        return range * (double)s->step_in_cycle / (double)s->warmup_steps + s->min_lr;
    double angle = 3.14159265358979323846 * (double)(s->step_in_cycle - s->warmup_steps) /
                   (double)(s->cur_cycle_steps - s->warmup_steps);
    return s->min_lr + range * (1 + cos(angle)) / 2;
}

double dppo_lr_schedule_step(dppo_lr_schedule *s) {
    s->last_epoch++;
    s->step_in_cycle++;
    if (s->step_in_cycle >= s->cur_cycle_steps) {
        s->cycle++;
        s->step_in_cycle -= s->cur_cycle_steps;
        s->cur_cycle_steps =
            (int64_t)((double)(s->cur_cycle_steps - s->warmup_steps) * s->cycle_mult) + s->warmup_steps;
    }
    s->max_lr = s->base_max_lr * pow(s->gamma, (double)s->cycle);
    return rate(s);
}

/* torch's base class steps once while it is constructed; the original then sets the rate to min_lr. */
dppo_status dppo_lr_schedule_init(dppo_lr_schedule *s, int64_t first_cycle_steps, double cycle_mult,
                                  double max_lr, double min_lr, int64_t warmup_steps, double gamma,
                                  double *lr) {
    if (warmup_steps < 0 || warmup_steps >= first_cycle_steps)
        return dppo_fail(DPPO_INVALID,
                         "CosineAnnealingWarmupRestarts: warmup_steps %" PRId64
                         " must be below first_cycle_steps %" PRId64,
                         warmup_steps, first_cycle_steps);
    if (!(cycle_mult > 0))
        return dppo_fail(DPPO_INVALID, "CosineAnnealingWarmupRestarts: cycle_mult %g must be positive",
                         cycle_mult);
    *s = (dppo_lr_schedule){.first_cycle_steps = first_cycle_steps,
                            .warmup_steps = warmup_steps,
                            .cycle_mult = cycle_mult,
                            .base_max_lr = max_lr,
                            .max_lr = max_lr,
                            .min_lr = min_lr,
                            .gamma = gamma,
                            .cur_cycle_steps = first_cycle_steps,
                            .step_in_cycle = -1,
                            .last_epoch = -1};
    dppo_lr_schedule_step(s);
    *lr = min_lr;
    return DPPO_OK;
}

/* -- state: everything that steps change
 * ------------------------------------------------------------------------- */

#define COUNTERS(X) X(cur_cycle_steps) X(cycle) X(step_in_cycle) X(last_epoch)

enum { MAX_NAME = 512 };

dppo_status dppo_lr_schedule_save(const dppo_lr_schedule *schedule, const char *prefix, dppo_named *into) {
    char name[MAX_NAME];
#define X(field)                                                                                             \
    snprintf(name, sizeof name, "%s" #field, prefix);                                                        \
    DPPO_TRY(dppo_named_put_i64(into, name, schedule->field));
    COUNTERS(X)
#undef X
    snprintf(name, sizeof name, "%smax_lr", prefix);
    return dppo_named_put_f64(into, name, schedule->max_lr);
}

dppo_status dppo_lr_schedule_load(dppo_lr_schedule *schedule, const char *prefix, const dppo_named *from) {
    dppo_lr_schedule loaded = *schedule;
    dppo_tensor *value;
    char name[MAX_NAME];
#define X(field)                                                                                             \
    snprintf(name, sizeof name, "%s" #field, prefix);                                                        \
    DPPO_TRY(dppo_named_require(from, name, DPPO_I64, &value));                                              \
    loaded.field = dppo_i64(value)[0];
    COUNTERS(X)
#undef X
    snprintf(name, sizeof name, "%smax_lr", prefix);
    DPPO_TRY(dppo_named_require(from, name, DPPO_F64, &value));
    loaded.max_lr = dppo_f64(value)[0];
    *schedule = loaded;
    return DPPO_OK;
}
