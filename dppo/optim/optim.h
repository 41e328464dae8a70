/* Optimizers and what goes with them, rounding after each elementary step as libtorch's do. */
#ifndef DPPO_OPTIM_OPTIM_H
#define DPPO_OPTIM_OPTIM_H

#include "base/status.h"
#include "tensor/named.h"

typedef enum dppo_optimizer_kind { DPPO_ADAM, DPPO_ADAMW } dppo_optimizer_kind;

typedef struct dppo_optimizer_options {
    double lr, beta1, beta2, eps, weight_decay; /* torch: Adam 1e-3 .9 .999 1e-8 0; AdamW weight_decay 1e-2 */
} dppo_optimizer_options;

typedef struct dppo_optimizer dppo_optimizer;

dppo_optimizer_options dppo_optimizer_defaults(dppo_optimizer_kind kind);
/* Over `count` leaf parameters (borrowed); NULL when memory is exhausted. A parameter without grad is
 * skipped. */
dppo_optimizer *dppo_optimizer_new(dppo_optimizer_kind kind, dppo_optimizer_options options, size_t count,
                                   dppo_tensor *const *parameters);
void dppo_optimizer_free(dppo_optimizer *optimizer);
void dppo_optimizer_step(dppo_optimizer *optimizer);
void dppo_optimizer_zero_grad(dppo_optimizer *optimizer);
void dppo_optimizer_set_lr(dppo_optimizer *optimizer, double lr);
double dppo_optimizer_lr(const dppo_optimizer *optimizer);
/* "prefix" + "i/step", "i/exp_avg", "i/exp_avg_sq", and "lr". */
dppo_status dppo_optimizer_save(const dppo_optimizer *optimizer, const char *prefix, dppo_named *into);
dppo_status dppo_optimizer_load(dppo_optimizer *optimizer, const char *prefix, const dppo_named *from);

/* torch.nn.utils.clip_grad_norm_ (norm 2): scales the grads in place, returns the total norm before. */
double dppo_clip_grad_norm(size_t count, dppo_tensor *const *parameters, double max_norm);

/* ma = ma * decay + (1 - decay) * current for every parameter pair (buffers are left alone), as the
 * original's EMA. */
void dppo_ema_update(size_t count, dppo_tensor *const *ma, dppo_tensor *const *current, double decay);

/* The learning rate schedule of the original (katsura-jp's class of this name), in float64. */
typedef struct dppo_lr_schedule {
    int64_t first_cycle_steps, warmup_steps;
    double cycle_mult, base_max_lr, min_lr, gamma;
    double max_lr; /* state */
    int64_t cur_cycle_steps, cycle, step_in_cycle, last_epoch;
} dppo_lr_schedule; /* CosineAnnealingWarmupRestarts */

/* Starts the schedule; *lr is the rate before the first step. DPPO_INVALID unless warmup_steps <
 * first_cycle_steps. */
dppo_status dppo_lr_schedule_init(dppo_lr_schedule *schedule, int64_t first_cycle_steps, double cycle_mult,
                                  double max_lr, double min_lr, int64_t warmup_steps, double gamma,
                                  double *lr);
/* One step(); returns the new rate. */
double dppo_lr_schedule_step(dppo_lr_schedule *schedule);
dppo_status dppo_lr_schedule_save(const dppo_lr_schedule *schedule, const char *prefix, dppo_named *into);
dppo_status dppo_lr_schedule_load(dppo_lr_schedule *schedule, const char *prefix, const dppo_named *from);

#endif
