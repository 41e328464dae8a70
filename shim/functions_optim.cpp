// What training stands on beside the model: optimizers, the learning rate schedule, initialisers, random
// sampling, and the two statistics of a rollout that the original computes with numpy, in float64.
#include "call.h"

#include <cmath>

namespace shim {

// -- torch.optim ----------------------------------------------------------------------------------

template <typename Options> static Options optimizer_options(const Config &init) {
    Options options;
    const std::vector<double> betas = init.numbers("betas");
    if (betas.size() == 2) options.betas(std::make_tuple(betas[0], betas[1]));
    options.lr(init.number("lr", options.lr()));
    options.eps(init.number("eps", options.eps()));
    options.weight_decay(init.number("weight_decay", options.weight_decay()));
    return options.amsgrad(init.flag("amsgrad", false));
}

// params (P), grads (steps, P) -> params (steps, P), after each step.
template <typename Optimizer, typename Options> static void optimizer(Call &call) {
    Tensor parameter = call.input("params").detach().clone().requires_grad_(true);
    const Tensor gradients = call.input("grads").detach();
    Optimizer learner(std::vector<Tensor>{parameter}, optimizer_options<Options>(call.settings()));
    std::vector<Tensor> after;
    for (int64_t step = 0; step < gradients.size(0); step++) {
        parameter.mutable_grad() = gradients[step].clone();
        learner.step();
        after.push_back(parameter.detach().clone());
    }
    call.output("params", torch::stack(after));
}

// -- CosineAnnealingWarmupRestarts ----------------------------------------------------------------

namespace {

// Linear warm-up from min_lr to the cycle's maximum, then half a cosine back; every cycle is cycle_mult times
// as long (without its warm-up) and its maximum gamma times as high.
class WarmRestarts {
  public:
    explicit WarmRestarts(const Config &settings)
        : cycle_steps_(settings.integer("first_cycle_steps")), warmup_(settings.integer("warmup_steps", 0)),
          cycle_mult_(settings.number("cycle_mult", 1)), base_max_(settings.number("max_lr", 0.1)),
          min_(settings.number("min_lr", 0.001)), gamma_(settings.number("gamma", 1)) {
        if (warmup_ >= cycle_steps_) invalid("warmup_steps: not below first_cycle_steps");
    }

    double step() {
        position_++;
        if (position_ >= cycle_steps_) {
            cycle_++;
            position_ -= cycle_steps_;
            cycle_steps_ =
                static_cast<int64_t>(static_cast<double>(cycle_steps_ - warmup_) * cycle_mult_) + warmup_;
        }
        return rate();
    }

  private:
    double rate() const {
        const double range = base_max_ * std::pow(gamma_, static_cast<double>(cycle_)) - min_;
        const double position = static_cast<double>(position_), warmup = static_cast<double>(warmup_);
        if (position_ < warmup_) return range * position / warmup + min_;
        const double angle = M_PI * (position - warmup) / static_cast<double>(cycle_steps_ - warmup_);
        return min_ + range * (1 + std::cos(angle)) / 2;
    }

    int64_t cycle_steps_, warmup_, cycle_ = 0, position_ = 0;
    double cycle_mult_, base_max_, min_, gamma_;
};

} // namespace

// The rate in force before each of n steps; the first is min_lr.
static void warm_restarts(Call &call) {
    const Config settings = call.settings();
    WarmRestarts schedule(settings);
    std::vector<double> rates{settings.number("min_lr", 0.001)};
    const size_t count = static_cast<size_t>(call.args().integer("n"));
    while (rates.size() < count)
        rates.push_back(schedule.step());
    call.output("result", torch::tensor(rates, torch::kFloat64));
}

// -- torch.nn.init --------------------------------------------------------------------------------

static Shape init_shape(Call &call) {
    for (const char *name : {"tensor", "input"})
        if (call.has(name)) return call.input(name).sizes().vec();
    return call.args().integers("size");
}

static void init_normal(Call &call) {
    const Config args = call.args();
    call.output("result",
                call.draws().normal(init_shape(call), args.number("mean", 0), args.number("std", 1)));
}

// std = gain sqrt(2 / (fan_in + fan_out)); a fan counts the receptive field behind the first two dims.
static void init_xavier_normal(Call &call) {
    const Shape shape = init_shape(call);
    if (shape.size() < 2) invalid("in/tensor: fans need two dimensions");
    const int64_t field = c10::multiply_integers(shape.begin() + 2, shape.end());
    const double fans = static_cast<double>((shape[0] + shape[1]) * field);
    call.output("result", call.draws().normal(shape, 0, call.args().number("gain", 1) * std::sqrt(2 / fans)));
}

static void init_ones(Call &call) {
    call.output("result", torch::nn::init::ones_(torch::empty(init_shape(call))));
}

static void init_zeros(Call &call) {
    call.output("result", torch::nn::init::zeros_(torch::empty(init_shape(call))));
}

// -- random sampling ------------------------------------------------------------------------------

static void rand(Call &call) {
    call.output("result", call.draws().rand(call.args().integers("size")));
}

static void randn(Call &call) {
    call.output("result", call.draws().randn(call.args().integers("size")));
}

static void randn_like(Call &call) {
    call.output("result", call.draws().randn(call.input("input").sizes().vec()));
}

static void randint(Call &call) {
    const Config args = call.args();
    call.output("result",
                call.draws().randint(args.integer("low", 0), args.integer("high"), args.integers("size")));
}

static void randperm(Call &call) {
    call.output("result", call.draws().randperm(call.args().integer("n")));
}

static void multinomial(Call &call) {
    const Config args = call.args();
    call.output("result", call.draws().multinomial(call.input("input"), args.integer("num_samples"),
                                                   args.flag("replacement", false)));
}

// -- statistics of a rollout ----------------------------------------------------------------------

// Generalised advantage estimation over reward, value, terminated (T, N) and next_value (N), the value after
// the last step: A_t = delta_t + gamma lambda (1 - terminated_t) A_{t+1}, delta_t = c r_t + gamma V_{t+1} (1
// - terminated_t) - V_t.
static void gae(Call &call) {
    const Config args = call.args();
    const double gamma = args.number("gamma"), lambda = args.number("gae_lambda");
    const Tensor reward = call.input("reward") * args.number("reward_scale_const", 1);
    const Tensor value = call.input("value"), alive = 1 - call.input("terminated");
    Tensor next_value = call.input("next_value"), advantage = torch::zeros_like(next_value);
    std::vector<Tensor> advantages(static_cast<size_t>(reward.size(0)));
    for (int64_t t = reward.size(0) - 1; t >= 0; t--) {
        const Tensor delta = reward[t] + gamma * next_value * alive[t] - value[t];
        advantage = delta + gamma * lambda * alive[t] * advantage;
        advantages[static_cast<size_t>(t)] = advantage;
        next_value = value[t];
    }
    const Tensor all = torch::stack(advantages);
    call.output("advantages", all);
    call.output("returns", all + value);
}

namespace {

// Rewards divided by the running standard deviation of their discounted sum, as statistics over all
// environments or over each one. Everything float64.
class RewardScaler {
  public:
    explicit RewardScaler(const Config &settings)
        : per_env_(settings.flag("per_env", false)), gamma_(settings.number("gamma", 0.99)),
          clip_(settings.number("cliprew", 10)), epsilon_(settings.number("epsilon", 1e-8)),
          sum_(torch::zeros({settings.integer("num_envs")}, torch::kFloat64)) {
        const Shape shape = per_env_ ? sum_.sizes().vec() : Shape{};
        mean_ = torch::zeros(shape, torch::kFloat64);
        variance_ = torch::ones(shape, torch::kFloat64);
    }

    // reward, first (N, T): first starts an episode, where the sum starts anew.
    Tensor scale(const Tensor &reward, const Tensor &first) {
        std::vector<Tensor> sums;
        for (int64_t t = 0; t < reward.size(1); t++) {
            sum_ = reward.select(1, t) + (1 - first.select(1, t)) * gamma_ * sum_;
            sums.push_back(sum_);
        }
        const Tensor all = torch::stack(sums, 1);
        add(per_env_ ? all : all.reshape({-1}));
        return torch::clamp(reward / torch::sqrt(variance_ + epsilon_), -clip_, clip_);
    }

    Tensor mean_, variance_;
    double count_ = 1e-4;

  private:
    // Chan's merge of the moments of `batch` over its first dim.
    void add(const Tensor &batch) {
        const Tensor batch_mean = batch.mean(0), batch_variance = (batch - batch_mean).square().mean(0);
        const double added = static_cast<double>(batch.size(0)), total = count_ + added;
        const Tensor delta = batch_mean - mean_;
        mean_ = mean_ + delta * added / total;
        const Tensor spread =
            variance_ * count_ + batch_variance * added + delta.square() * count_ * added / total;
        variance_ = spread / (total - 1);
        count_ = total;
    }

    bool per_env_;
    double gamma_, clip_, epsilon_;
    Tensor sum_;
};

} // namespace

// reward, first (calls, N, T): consecutive calls of one scaler, and its statistics after them.
static void reward_scaler(Call &call) {
    RewardScaler scaler(call.settings());
    const Tensor reward = call.input("reward"), first = call.input("first");
    std::vector<Tensor> scaled;
    for (int64_t i = 0; i < reward.size(0); i++)
        scaled.push_back(scaler.scale(reward[i], first[i]));
    call.output("scaled", torch::stack(scaled));
    call.output("mean", scaler.mean_);
    call.output("var", scaler.variance_);
    call.output("count", scaler.count_);
}

const Entry entries_optim[] = {
    {"CosineAnnealingWarmupRestarts", warm_restarts},
    {"RunningRewardScaler", reward_scaler},
    {"gae", gae},
    {"torch.multinomial", multinomial},
    {"torch.nn.init.normal_", init_normal},
    {"torch.nn.init.ones_", init_ones},
    {"torch.nn.init.xavier_normal_", init_xavier_normal},
    {"torch.nn.init.zeros_", init_zeros},
    {"torch.optim.Adam", optimizer<torch::optim::Adam, torch::optim::AdamOptions>},
    {"torch.optim.AdamW", optimizer<torch::optim::AdamW, torch::optim::AdamWOptions>},
    {"torch.rand", rand},
    {"torch.randint", randint},
    {"torch.randn", randn},
    {"torch.randn_like", randn_like},
    {"torch.randperm", randperm},
    {nullptr, nullptr},
};

} // namespace shim
