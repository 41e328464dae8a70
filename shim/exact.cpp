#include "exact.h"

#include <cmath>

namespace shim {

// -- the stochastic differential equation
// ------------------------------------------------------------------------------------

VPSDE::VPSDE(const Tensor &betas, double min_beta) : betas_(betas.clamp(min_beta)) {
    const Tensor alphas = 1.0 - betas_;
    sqrt_alphas_ = torch::sqrt(alphas);
    sqrt_1m_alpha_bar_ = torch::sqrt(1 - torch::cumprod(alphas, 0));
}

// (B) as (B, 1, 1)
static Tensor per_row(const Tensor &values) {
    return values.unsqueeze(-1).unsqueeze(-1);
}

Tensor VPSDE::score(const Tensor &x, const Tensor &t, const Tensor &prediction, bool predict_epsilon) const {
    if (predict_epsilon) return -prediction / per_row(sqrt_1m_alpha_bar_.index({t}));
    return -(x - prediction * per_row(sqrt_alphas_.index({t}))) / per_row(betas_.index({t}));
}

Tensor VPSDE::reverse_drift(const Tensor &x, const Tensor &t, const Tensor &score,
                            bool probability_flow) const {
    const Tensor beta = betas_.index({t});
    const Tensor forward = -0.5 * per_row(beta) * x;
    const Tensor diffusion = torch::sqrt(beta);
    return forward - per_row(diffusion).pow(2) * score * (probability_flow ? 0.5 : 1.0);
}

Tensor VPSDE::prior_logp(const Tensor &z) const {
    const double n = static_cast<double>(z[0].numel());
    return -n / 2.0 * std::log(2 * M_PI) - z.pow(2).sum({1, 2}) / 2.0;
}

// -- the solver
// --------------------------------------------------------------------------------------------------

static Tensor euler(const OdeFunction &f, const Tensor &t, const Tensor &h, const Tensor &y) {
    return h * f(t, y);
}

static Tensor midpoint(const OdeFunction &f, const Tensor &t, const Tensor &h, const Tensor &y) {
    const Tensor half = 0.5 * h;
    const Tensor middle = y + f(t, y) * half;
    return h * f(t + half, middle);
}

static Tensor heun3(const OdeFunction &f, const Tensor &t, const Tensor &h, const Tensor &y) {
    const Tensor k1 = f(t, y);
    const Tensor k2 = f(t + h * (1.0 / 3), y + h * k1 * (1.0 / 3));
    const Tensor k3 = f(t + h * (2.0 / 3), y + h * (k2 * (2.0 / 3)));
    return h * (k1 * 0.25 + k3 * 0.75);
}

// The grid is t0, t0 + h, ... with the last point moved to t1: as many as ceil((t1 - t0) / h + 1).
Tensor odeint(const std::string &method, const OdeFunction &f, Tensor y, double t0, double t1,
              double step_size) {
    const auto step = method == "euler"      ? euler
                      : method == "midpoint" ? midpoint
                      : method == "heun3"    ? heun3
                                             : nullptr;
    if (step == nullptr) invalid("sde_method: " + method + " is not one of euler, midpoint, heun3");
    const Tensor start = torch::full({}, t0), end = torch::full({}, t1);
    const double points = torch::ceil((end - start) / step_size + 1).item<double>();
    Tensor grid = torch::arange(0, points, torch::get_default_dtype()) * step_size + start;
    grid[-1] = end;
    for (int64_t i = 0; i + 1 < grid.size(0); i++)
        y = y + step(f, grid[i], grid[i + 1] - grid[i], y);
    return y;
}

// -- the policy
// --------------------------------------------------------------------------------------------------

PPOExactDiffusion::PPOExactDiffusion(const Config &config, dppo_generator *weights)
    : VPGDiffusion(config, weights), sde_(schedule().betas, config.number("sde_min_beta", 1e-2)),
      hutchinson_type_(config.text("sde_hutchinson_type", "Rademacher")),
      method_(config.text("sde_method", "RK23")), eps_(config.number("sde_eps", 1e-4)),
      step_size_(config.number("sde_step_size", 1e-3)), clip_ploss_coef_(config.number("clip_ploss_coef")),
      clip_vloss_coef_(optional_number(config, "clip_vloss_coef")),
      num_epsilon_(config.integer("sde_num_epsilon", 1)),
      probability_flow_(config.flag("sde_probability_flow", false)),
      norm_adv_(config.flag("norm_adv", true)) {
    if (config.at("sde").target() != "VPSDE") invalid("sde: must be a VPSDE");
    // Taken and without effect, as in the original: N is a sampler's, tolerances those of other solvers.
    (void)config.at("sde").integer("N", 1000);
    for (const char *tolerance : {"sde_rtol", "sde_atol"})
        (void)config.number(tolerance, 1e-4);
}

Tensor PPOExactDiffusion::drift(NoiseNetwork &network, const Tensor &x, const Tensor &t, const Cond &cond) {
    const Tensor prediction = network.forward(x, t, cond);
    return sde_.reverse_drift(x, t, sde_.score(x, t, prediction, predict_epsilon_), probability_flow_);
}

// <d<f, e>/dx, e> of each row; the frozen network's, whichever network moves x.
Tensor PPOExactDiffusion::divergence(const Tensor &x, const Tensor &t, const Tensor &epsilon,
                                     const Cond &cond) {
    Tensor gradient;
    {
        torch::AutoGradMode recording(true);
        const Tensor rows = x.requires_grad() ? x : x.detach().requires_grad_(true);
        const Tensor along = (drift(*actor_, rows, t, cond) * epsilon).sum();
        gradient = torch::autograd::grad({along}, {rows}, {}, c10::nullopt, /*create_graph=*/true)[0];
    }
    return (gradient * epsilon).sum({1, 2});
}

Tensor PPOExactDiffusion::hutchinson_noise(const Shape &shape, Draws &draws) const {
    if (hutchinson_type_ == "Gaussian") return draws.randn(shape);
    if (hutchinson_type_ != "Rademacher") invalid("sde_hutchinson_type: " + hutchinson_type_ + " is unknown");
    return draws.randint(0, 2, shape).to(torch::get_default_dtype()) * 2 - 1.0;
}

Tensor PPOExactDiffusion::get_exact_logprobs(const Cond &cond, const Tensor &samples, Draws &draws) {
    const int64_t batch = samples.size(0), wide = batch * num_epsilon_;
    const Tensor epsilon = hutchinson_noise({wide, samples.size(1), samples.size(2)}, draws);
    const Cond cond_epsilon = cond.repeat_interleave(num_epsilon_);

    const OdeFunction rates = [&](const Tensor &t, const Tensor &y) {
        const int64_t step = torch::round(t * denoising_steps_).item<int64_t>();
        const Tensor times = torch::full({batch}, step, torch::kInt64);
        const Tensor x = y.slice(1, 0, -1).view(samples.sizes());
        // One step more than K', and the divergence below is the frozen network's: as the original has it.
        NoiseNetwork &network = step <= ft_denoising_steps_ ? *actor_ft_ : *actor_;
        const Tensor dx = drift(network, x, times, cond).reshape({batch, -1});
        const Tensor estimates = divergence(x.repeat_interleave(num_epsilon_, 0),
                                            times.repeat_interleave(num_epsilon_), epsilon, cond_epsilon);
        const Tensor dlogp = estimates.unsqueeze(1).reshape({batch, num_epsilon_, -1}).mean(1);
        return torch::cat({dx, dlogp}, -1);
    };
    const Tensor start = torch::hstack({samples.view({batch, -1}), torch::zeros({batch, 1})});
    const Tensor end = odeint(method_, rates, start, eps_, 1.0, step_size_);
    const Tensor z = end.slice(1, 0, -1).view(samples.sizes()), delta = end.select(1, -1);
    const Tensor bits = torch::full({}, samples[0].numel(), torch::kInt64) * std::log(2.0);
    return (sde_.prior_logp(z) + delta) / bits;
}

PpoLoss PPOExactDiffusion::loss(const Cond &cond, const Tensor &samples, const Tensor &returns,
                                const Tensor &oldvalues, const Tensor &given, const Tensor &oldlogprobs,
                                Draws &draws) {
    PpoLoss result{};
    const Tensor newlogprobs = get_exact_logprobs(cond, samples, draws).clamp(-5, 2);
    const Tensor logratio = newlogprobs - oldlogprobs.clamp(-5, 2);
    const Tensor ratio = logratio.exp();
    {
        torch::NoGradGuard no_grad;
        result.approx_kl = ((ratio - 1) - logratio).mean().item<double>();
        const Tensor clipped = (ratio - 1.0).abs() > clip_ploss_coef_;
        result.clipfrac = clipped.to(torch::get_default_dtype()).mean().item<double>();
        result.ratio = ratio.mean().item<double>();
    }
    Tensor advantages = given;
    if (norm_adv_) {
        const Tensor centred = given - given.mean(); // first, as Python evaluates it
        advantages = centred / (given.std(true) + 1e-8);
    }
    const Tensor loss1 = -advantages * ratio;
    const Tensor loss2 = -advantages * torch::clamp(ratio, 1 - clip_ploss_coef_, 1 + clip_ploss_coef_);
    result.pg_loss = torch::max(loss1, loss2).mean();
    result.v_loss = ppo_value_loss(critic_->forward(cond).view(-1), oldvalues, returns, clip_vloss_coef_);
    return result;
}

// -- entries
// --------------------------------------------------------------------------------------------------------

static std::shared_ptr<PPOExactDiffusion> build(Call &call) {
    auto model = std::make_shared<PPOExactDiffusion>(call.init(), nullptr);
    call.module(*model);
    return model;
}

static void get_exact_logprobs(Call &call) {
    auto model = build(call);
    call.output("result",
                model->get_exact_logprobs(call.input("cond/state"), call.input("samples"), call.draws()));
}

static void loss(Call &call) {
    if (call.args().flag("use_bc_loss", false)) throw Failure(DPPO_MISSING, "use_bc_loss: not there");
    auto model = build(call);
    const PpoLoss found = model->loss(call.input("obs/state"), call.input("samples"), call.input("returns"),
                                      call.input("oldvalues"), call.input("advantages"),
                                      call.input("oldlogprobs"), call.draws());
    call.output("pg_loss", found.pg_loss);
    call.output("v_loss", found.v_loss);
    call.output("clipfrac", found.clipfrac);
    call.output("approx_kl", found.approx_kl);
    call.output("ratio", found.ratio);
    call.output_int("bc_loss", 0);
}

const Entry entries_exact[] = {
    {"PPOExactDiffusion.get_exact_logprobs", get_exact_logprobs},
    {"PPOExactDiffusion.loss", loss},
    {nullptr, nullptr},
};

} // namespace shim
