/* Sums, means and variances as numpy computes them: pairwise, so that float64 and float32 statistics of the
 * original's agents come out equal to the last bit. */
#ifndef DPPO_ALGORITHMS_NUMPY_H
#define DPPO_ALGORITHMS_NUMPY_H

#include <stdint.h>

double dppo_np_sum(const double *values, int64_t count);
double dppo_np_mean(const double *values, int64_t count);
double dppo_np_var(const double *values, int64_t count); /* population variance, np.var's default */
float dppo_np_mean_f32(const float *values, int64_t count);
float dppo_np_var_f32(const float *values, int64_t count);

#endif
