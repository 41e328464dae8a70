#include "offpolicy.h"

#include "training.h"

#include <cmath>

namespace shim {

// -- losses and targets
// ---------------------------------------------------------------------------------------------------------

Tensor bellman_target(const Transitions &batch, const Tensor &next_value, double gamma) {
    const Tensor mask = 1 - batch.terminated;
    return batch.rewards.view(-1) + gamma * next_value.view(-1) * mask.view(-1);
}

Tensor double_q_loss(const std::pair<Tensor, Tensor> &q, const Tensor &target) {
    const Tensor first = (q.first - target).pow(2).mean();
    return first + (q.second - target).pow(2).mean();
}

Tensor expectile_loss(const Tensor &diff, double expectile) {
    const Tensor weight = torch::where(diff > 0, torch::full({}, expectile), torch::full({}, 1 - expectile));
    return weight * diff.pow(2);
}

void soft_update(torch::nn::Module &target, const torch::nn::Module &source, double tau) {
    torch::NoGradGuard no_grad;
    const std::vector<Tensor> to = target.parameters(), from = source.parameters();
    for (size_t i = 0; i < to.size(); i++)
        to[i].copy_(to[i] * (1.0 - tau) + from[i] * tau);
}

// -- what the agents compute with numpy
// ---------------------------------------------------------------------------------------------------------

// delta_i = r_i + gamma V_{i+1} - V_i; A_i = alpha delta_i + gamma lam A_{i+1}; result A_i + V_i. The last
// row's successor is the row itself. numpy multiplies float32 by integers in float64, so that only the last
// row's gamma V has the values' own precision.
Tensor td_values(const Tensor &rewards, const Tensor &terminateds, const Tensor &values, double gamma,
                 double alpha, double lam) {
    const int64_t steps = values.size(0);
    const Tensor going_on = terminateds.logical_not().to(torch::kFloat64);
    Tensor result = torch::zeros_like(values);
    Tensor accumulated = torch::zeros({values.size(1)}, torch::kFloat64);
    for (int64_t i = steps - 1; i >= 0; i--) {
        Tensor next;
        if (i == steps - 1)
            next = gamma * values[i].masked_fill(terminateds[i], 0);
        else
            next = gamma * (values[i + 1].to(torch::kFloat64) * going_on[i]);
        const Tensor value = values[i].to(torch::kFloat64);
        const Tensor error = rewards[i] + next.to(torch::kFloat64) - value;
        accumulated = alpha * error + gamma * lam * going_on[i] * accumulated;
        result[i].copy_(accumulated + value);
    }
    return result;
}

Tensor advantage_weights(const Tensor &advantages, double beta, double max_weight) {
    const Tensor centred = advantages - advantages.mean();
    const Tensor normalised = centred / (advantages.std(true) + 1e-6);
    return torch::exp(beta * normalised).clamp_max(max_weight);
}

static std::vector<double> to_vector(const Tensor &tensor) {
    const Tensor values = tensor.detach().to(torch::kFloat64).contiguous();
    return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
}

// The rewards-to-go of rewards[start..end), of which the last is the reward itself.
static void add_returns(const std::vector<double> &rewards, size_t start, size_t end, double gamma,
                        std::vector<double> &all) {
    std::vector<double> returns(end - start);
    double after = 0;
    for (size_t t = end; t-- > start;)
        after = returns[t - start] = rewards[t] + gamma * after;
    all.insert(all.end(), returns.begin(), returns.end());
}

Tensor episode_returns(const Tensor &rewards, const Tensor &firsts, double gamma) {
    std::vector<double> all;
    for (int64_t env = 0; env < rewards.size(1); env++) {
        const std::vector<double> reward = to_vector(rewards.select(1, env)),
                                  first = to_vector(firsts.select(1, env));
        std::vector<size_t> begins;
        for (size_t t = 0; t < first.size(); t++)
            if (first[t] == 1) begins.push_back(t);
        for (size_t e = 0; e + 1 < begins.size(); e++)
            if (begins[e + 1] - begins[e] > 1) add_returns(reward, begins[e], begins[e + 1], gamma, all);
    }
    return torch::tensor(all, torch::kFloat64);
}

Tensor reward_weights(const Tensor &returns, double beta, double max_weight) {
    std::vector<double> values = to_vector(returns);
    const double mean = numpy_mean(values), std = std::sqrt(numpy_var(values));
    for (double &value : values)
        value = (value - mean) / (std + 1e-3);
    const Tensor normalised = torch::tensor(values, torch::kFloat64).to(torch::get_default_dtype());
    return torch::exp(beta * normalised).clamp_max(max_weight);
}

} // namespace shim
