// What an update needs beside the model: the learning rate schedule, reward scaling, advantages. The original
// computes these with python and numpy, in float64 and in numpy's order of summation.
#ifndef DPPO_SHIM_TRAINING_H
#define DPPO_SHIM_TRAINING_H

#include "call.h"

extern "C" {
#include "optim/optim.h"
}

namespace shim {

// numpy's sum of a contiguous array: pairwise over blocks of at most 128 with eight partial sums each.
template <class Float> Float numpy_sum(const Float *values, int64_t count);
template <class Float> Float numpy_mean(const std::vector<Float> &values);
template <class Float> Float numpy_var(const std::vector<Float> &values);

// CosineAnnealingWarmupRestarts: linear warm-up from min_lr to the cycle's maximum, half a cosine back; the
// next cycle is cycle_mult times as long (without its warm-up), its maximum gamma times as high.
class LrSchedule {
  public:
    LrSchedule(int64_t first_cycle_steps, double cycle_mult, double max_lr, double min_lr,
               int64_t warmup_steps, double gamma);
    double lr() const; // min_lr before the first step
    void step();
    dppo_lr_schedule &fields() { // for saving and loading
        return at_;
    }
    const dppo_lr_schedule &fields() const {
        return at_;
    }

  private:
    dppo_lr_schedule at_ = {};
};

// RunningRewardScaler: rewards divided by the running standard deviation of their discounted sum.
class RewardScaler {
  public:
    explicit RewardScaler(int64_t n_envs, double gamma = 0.99, double cliprew = 10, double epsilon = 1e-8);
    // reward and first are (N, T), row-major; the scaled rewards have the same shape.
    std::vector<double> scale(const std::vector<double> &reward, const std::vector<double> &first);

    std::vector<double> ret; // (N), the discounted sums so far
    double mean = 0, var = 1, count = 1e-4;

  private:
    void update(const std::vector<double> &rets);
    double gamma_, cliprew_, epsilon_;
};

// Generalised advantage estimation; everything (T, N) row-major, next_value (N) already times gamma where it
// follows the last step.
struct GaeInput {
    int64_t n_steps, n_envs;
    double gamma, gae_lambda, reward_scale_const;
    const double *reward, *terminated, *value, *discounted_last_value;
};
std::vector<double> gae(const GaeInput &input);

} // namespace shim

#endif
