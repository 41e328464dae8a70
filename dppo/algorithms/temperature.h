/* The learned weight of the entropy, alpha, of the original's SAC, RLPD and Cal-QL agents (arXiv 1812.05905):
 * Adam on log alpha, which is a float64 there, made by numpy's logarithm. */
#ifndef DPPO_ALGORITHMS_TEMPERATURE_H
#define DPPO_ALGORITHMS_TEMPERATURE_H

#include "models/networks.h"

typedef struct dppo_temperature {
    double log_alpha;
    double target_entropy, lr;
    double exp_avg, exp_avg_sq; /* Adam's */
    int64_t step;
} dppo_temperature;

dppo_temperature dppo_temperature_new(double init_temperature, double target_entropy, double lr);

/* exp(log alpha). */
double dppo_temperature_alpha(const dppo_temperature *temperature);

/* One step of Adam on the loss_temperature of `model` (SAC_Gaussian, RLPD_Gaussian, CalQL_Gaussian); draws
 * one action for each row of obs. *loss is the loss before the step. */
dppo_status dppo_temperature_update(dppo_cx *cx, dppo_temperature *temperature, dppo_module *model,
                                    dppo_cond obs, float *loss);

/* "prefix" + log_alpha, step, exp_avg, exp_avg_sq; the rest is configuration. */
dppo_status dppo_temperature_save(const dppo_temperature *temperature, const char *prefix, dppo_named *into);
dppo_status dppo_temperature_load(dppo_temperature *temperature, const char *prefix, const dppo_named *from);

#endif
