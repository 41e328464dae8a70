// What training stands on beside the model: optimizers, the learning rate schedule, initialisers, random
// sampling, and the two statistics of a rollout that the original computes with numpy, in float64.
#include "training.h"

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
    for (const char *option : {"maximize", "foreach", "capturable", "differentiable", "fused"})
        init.refuse(option);
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

// The rate in force before each of n steps; the first is min_lr.
static void warm_restarts(Call &call) {
    const Config settings = call.settings();
    LrSchedule schedule(settings.integer("first_cycle_steps"), settings.number("cycle_mult", 1),
                        settings.number("max_lr", 0.1), settings.number("min_lr", 0.001),
                        settings.integer("warmup_steps", 0), settings.number("gamma", 1));
    std::vector<double> rates;
    for (int64_t i = 0; i < call.args().integer("n"); i++, schedule.step())
        rates.push_back(schedule.lr());
    call.output("result", torch::tensor(rates, torch::kFloat64));
}

// -- torch.nn.init --------------------------------------------------------------------------------

static Shape init_shape(Call &call) {
    for (const char *name : {"tensor", "input"})
        if (call.has(name)) return call.input(name).sizes().vec();
    return call.sizes();
}

static void init_normal(Call &call) {
    const Config args = call.args();
    call.output("result",
                call.draws().normal(init_shape(call), args.number("mean", 0), args.number("std", 1)));
}

// (fan_in, fan_out): a fan counts the receptive field behind the first two dims.
static std::pair<double, double> fans(const Shape &shape) {
    if (shape.size() < 2) invalid("in/tensor: fans need two dimensions");
    const int64_t field = c10::multiply_integers(shape.begin() + 2, shape.end());
    return {static_cast<double>(shape[1] * field), static_cast<double>(shape[0] * field)};
}

// std = gain sqrt(2 / (fan_in + fan_out))
static void init_xavier_normal(Call &call) {
    const Shape shape = init_shape(call);
    const auto [in, out] = fans(shape);
    call.output("result",
                call.draws().normal(shape, 0, call.args().number("gain", 1) * std::sqrt(2 / (in + out))));
}

static void init_uniform(Call &call) {
    const Config args = call.args();
    call.output("result", call.draws().uniform(init_shape(call), args.number("a", 0), args.number("b", 1)));
}

// A uniform of standard deviation std reaches from -sqrt(3) std to sqrt(3) std.
static void init_xavier_uniform(Call &call) {
    const Shape shape = init_shape(call);
    const auto [in, out] = fans(shape);
    const double bound = std::sqrt(3.0) * (call.args().number("gain", 1) * std::sqrt(2.0 / (in + out)));
    call.output("result", call.draws().uniform(shape, -bound, bound));
}

// The gain is that of a leaky ReLU of slope a.
static void init_kaiming_uniform(Call &call) {
    const Config args = call.args();
    if (args.text("mode", "fan_in") != "fan_in" || args.text("nonlinearity", "leaky_relu") != "leaky_relu")
        throw Failure(DPPO_MISSING, "kaiming_uniform_: only fan_in and leaky_relu");
    const Shape shape = init_shape(call);
    const double slope = args.number("a", 0), gain = std::sqrt(2.0 / (1 + slope * slope));
    const double bound = std::sqrt(3.0) * (gain / std::sqrt(fans(shape).first));
    call.output("result", call.draws().uniform(shape, -bound, bound));
}

// Q of a tall matrix of normal numbers, each column with the sign of R's diagonal.
static void init_orthogonal(Call &call) {
    const Shape shape = init_shape(call);
    if (shape.size() < 2) invalid("in/tensor: orthogonal_ needs two dimensions");
    Tensor flat = call.draws().normal(shape, 0, 1).view({shape[0], -1});
    const bool wide = flat.size(0) < flat.size(1);
    if (wide) flat = flat.t();
    const auto [q, r] = torch::linalg_qr(flat);
    const Tensor columns = q * r.diagonal().sign();
    call.output("result", (wide ? columns.t() : columns).reshape(shape) * call.args().number("gain", 1));
}

static void init_constant(Call &call) {
    call.output("result", torch::full(init_shape(call), call.args().number("val"), call.dtype()));
}

// in/grads/0, 1, ...: parameters with these gradients.
static void clip_grad_norm(Call &call) {
    const Config args = call.args();
    args.refuse("error_if_nonfinite");
    std::vector<Tensor> parameters;
    for (const Tensor &gradient : call.sequence("grads")) {
        parameters.push_back(torch::zeros_like(gradient));
        parameters.back().mutable_grad() = gradient.detach().clone();
    }
    const double total =
        torch::nn::utils::clip_grad_norm_(parameters, args.number("max_norm"), args.number("norm_type", 2));
    call.output("total_norm", torch::full({}, total, call.dtype()));
    for (size_t i = 0; i < parameters.size(); i++)
        call.output("grads/" + std::to_string(i), parameters[i].grad());
}

static void init_ones(Call &call) {
    call.output("result", torch::nn::init::ones_(torch::empty(init_shape(call))));
}

static void init_zeros(Call &call) {
    call.output("result", torch::nn::init::zeros_(torch::empty(init_shape(call))));
}

// -- random sampling ------------------------------------------------------------------------------

static void rand(Call &call) {
    call.output("result", call.draws().rand(call.sizes()));
}

static void randn(Call &call) {
    call.output("result", call.draws().randn(call.sizes()));
}

static void randn_like(Call &call) {
    call.output("result", call.draws().randn(call.input("input").sizes().vec()));
}

static void randint(Call &call) {
    const Config args = call.args();
    call.output("result", call.draws().randint(args.integer("low", 0), args.integer("high"), call.sizes()));
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

static std::vector<double> numbers(const Tensor &tensor) {
    const Tensor values = tensor.detach().to(torch::kFloat64).contiguous();
    return std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
}

// reward, value, terminated (T, N) and next_value (N), the value after the last step.
static void gae_entry(Call &call) {
    const Config args = call.args();
    const Tensor value = call.input("value");
    const double gamma = args.number("gamma");
    const auto reward = numbers(call.input("reward")), terminated = numbers(call.input("terminated")),
               values = numbers(value), next_value = numbers(call.input("next_value") * gamma);
    const auto advantages = gae({value.size(0), value.size(1), gamma, args.number("gae_lambda"),
                                 args.number("reward_scale_const", 1), reward.data(), terminated.data(),
                                 values.data(), next_value.data()});
    const Tensor all = torch::tensor(advantages, torch::kFloat64).view(value.sizes());
    call.output("advantages", all);
    call.output("returns", all + value);
}

// reward, first (calls, N, T): consecutive calls of one scaler, and its statistics after them.
static void reward_scaler(Call &call) {
    const Config settings = call.settings();
    // With per_env the original adds statistics of T numbers to ones of N and cannot run.
    if (settings.flag("per_env", false)) invalid("per_env: only false can run");
    RewardScaler scaler(settings.integer("num_envs"), settings.number("gamma", 0.99),
                        settings.number("cliprew", 10), settings.number("epsilon", 1e-8));
    const Tensor reward = call.input("reward"), first = call.input("first");
    std::vector<Tensor> scaled;
    for (int64_t i = 0; i < reward.size(0); i++) {
        const auto rewards = scaler.scale(numbers(reward[i]), numbers(first[i]));
        scaled.push_back(torch::tensor(rewards, torch::kFloat64).view(reward[i].sizes()));
    }
    call.output("scaled", torch::stack(scaled));
    call.output("mean", scaler.mean);
    call.output("var", scaler.var);
    call.output("count", scaler.count);
}

const Entry entries_optim[] = {
    {"CosineAnnealingWarmupRestarts", warm_restarts},
    {"RunningRewardScaler", reward_scaler},
    {"gae", gae_entry},
    {"torch.multinomial", multinomial},
    {"torch.nn.init.normal_", init_normal},
    {"torch.nn.init.ones_", init_ones},
    {"torch.nn.init.xavier_normal_", init_xavier_normal},
    {"torch.nn.init.constant_", init_constant},
    {"torch.nn.init.kaiming_uniform_", init_kaiming_uniform},
    {"torch.nn.init.orthogonal_", init_orthogonal},
    {"torch.nn.init.uniform_", init_uniform},
    {"torch.nn.init.xavier_uniform_", init_xavier_uniform},
    {"torch.nn.init.zeros_", init_zeros},
    {"torch.nn.utils.clip_grad_norm_", clip_grad_norm},
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
