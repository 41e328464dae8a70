#include "training.h"

#include <cmath>

namespace shim {

// -- numpy
// -------------------------------------------------------------------------------------------------------

template <class Float> Float numpy_sum(const Float *values, int64_t count) {
    if (count < 8) {
        Float sum = 0;
        for (int64_t i = 0; i < count; i++)
            sum += values[i];
        return sum;
    }
    if (count > 128) {
        const int64_t half = count / 2 - (count / 2) % 8;
        return numpy_sum(values, half) + numpy_sum(values + half, count - half);
    }
    Float r[8];
    std::copy(values, values + 8, r);
    int64_t i = 8;
    for (; i < count - count % 8; i += 8)
        for (int k = 0; k < 8; k++)
            r[k] += values[i + k];
    Float sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < count; i++)
        sum += values[i];
    return sum;
}

template <class Float> Float numpy_mean(const std::vector<Float> &values) {
    const int64_t count = static_cast<int64_t>(values.size());
    return numpy_sum(values.data(), count) / static_cast<Float>(count);
}

template <class Float> Float numpy_var(const std::vector<Float> &values) {
    const Float mean = numpy_mean(values);
    std::vector<Float> squares(values);
    for (Float &value : squares)
        value = (value - mean) * (value - mean);
    return numpy_mean(squares);
}

template float numpy_mean(const std::vector<float> &);
template float numpy_var(const std::vector<float> &);
template double numpy_mean(const std::vector<double> &);
template double numpy_var(const std::vector<double> &);

// -- CosineAnnealingWarmupRestarts
// ---------------------------------------------------------------------------------

LrSchedule::LrSchedule(int64_t first_cycle_steps, double cycle_mult, double max_lr, double min_lr,
                       int64_t warmup_steps, double gamma) {
    if (warmup_steps >= first_cycle_steps)
        invalid("warmup_steps: must be below first_cycle_steps, is " + std::to_string(warmup_steps));
    at_.first_cycle_steps = at_.cur_cycle_steps = first_cycle_steps;
    at_.warmup_steps = warmup_steps;
    at_.cycle_mult = cycle_mult;
    at_.base_max_lr = at_.max_lr = max_lr;
    at_.min_lr = min_lr;
    at_.gamma = gamma;
}

double LrSchedule::lr() const {
    const double range = at_.max_lr - at_.min_lr;
    const double position = static_cast<double>(at_.step_in_cycle),
                 warmup = static_cast<double>(at_.warmup_steps);
    if (at_.last_epoch == 0) return at_.min_lr;
    if (at_.step_in_cycle < at_.warmup_steps) return range * position / warmup + at_.min_lr;
    const double length = static_cast<double>(at_.cur_cycle_steps - at_.warmup_steps);
    return at_.min_lr + range * (1 + std::cos(M_PI * (position - warmup) / length)) / 2;
}

void LrSchedule::step() {
    at_.last_epoch++;
    at_.step_in_cycle++;
    if (at_.step_in_cycle >= at_.cur_cycle_steps) {
        at_.cycle++;
        at_.step_in_cycle -= at_.cur_cycle_steps;
        const double length = static_cast<double>(at_.cur_cycle_steps - at_.warmup_steps);
        at_.cur_cycle_steps = static_cast<int64_t>(length * at_.cycle_mult) + at_.warmup_steps;
    }
    at_.max_lr = at_.base_max_lr * std::pow(at_.gamma, static_cast<double>(at_.cycle));
}

// -- RunningRewardScaler
// -------------------------------------------------------------------------------------------

RewardScaler::RewardScaler(int64_t n_envs, double gamma, double cliprew, double epsilon)
    : ret(static_cast<size_t>(n_envs), 0.0), gamma_(gamma), cliprew_(cliprew), epsilon_(epsilon) {}

// Chan's merge of the moments of `rets` into the running ones; the variance is of a sample (n - 1), as there.
void RewardScaler::update(const std::vector<double> &rets) {
    const double batch_mean = numpy_mean(rets), batch_var = numpy_var(rets);
    const double batch_count = static_cast<double>(rets.size());
    const double delta = batch_mean - mean, total = count + batch_count;
    mean = mean + delta * batch_count / total;
    const double m2 = var * count + batch_var * batch_count + delta * delta * count * batch_count / total;
    var = m2 / (total - 1);
    count = total;
}

std::vector<double> RewardScaler::scale(const std::vector<double> &reward, const std::vector<double> &first) {
    const size_t n_envs = ret.size(), n_steps = reward.size() / n_envs;
    std::vector<double> rets(reward.size()), scaled(reward.size());
    for (size_t n = 0; n < n_envs; n++)
        for (size_t t = 0; t < n_steps; t++) {
            const size_t i = n * n_steps + t;
            ret[n] = reward[i] + (1 - first[i]) * gamma_ * ret[n];
            rets[i] = ret[n];
        }
    update(rets);
    const double deviation = std::sqrt(var + epsilon_);
    for (size_t i = 0; i < reward.size(); i++)
        scaled[i] = std::min(std::max(reward[i] / deviation, -cliprew_), cliprew_);
    return scaled;
}

// -- advantages
// ------------------------------------------------------------------------------------------------------

// A_t = delta_t + gamma lambda (1 - terminated_t) A_{t+1}, delta_t = c r_t + gamma V_{t+1} (1 - terminated_t)
// - V_t.
std::vector<double> gae(const GaeInput &in) {
    const int64_t last = in.n_steps - 1;
    std::vector<double> advantages(static_cast<size_t>(in.n_steps * in.n_envs));
    for (int64_t n = 0; n < in.n_envs; n++) {
        double advantage = 0;
        for (int64_t t = last; t >= 0; t--) {
            const int64_t i = t * in.n_envs + n;
            const double next = t == last ? in.discounted_last_value[n] : in.gamma * in.value[i + in.n_envs];
            const double alive = 1.0 - in.terminated[i];
            const double delta = in.reward[i] * in.reward_scale_const + next * alive - in.value[i];
            advantage = delta + in.gamma * in.gae_lambda * alive * advantage;
            advantages[static_cast<size_t>(i)] = advantage;
        }
    }
    return advantages;
}

} // namespace shim
