#include "offpolicy_diffusion.h"

#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adam.h>

namespace shim {

// -- ExploringDiffusion
// ---------------------------------------------------------------------------------------------------------

ExploringDiffusion::ExploringDiffusion(const Config &config, dppo_generator *weights, const char *network_key)
    : DiffusionModel(config, weights, network_key),
      min_sampling_denoising_std_(config.number("min_sampling_denoising_std", 0.1)) {
    if (use_ddim_) invalid("use_ddim: this policy samples with DDPM only");
}

void ExploringDiffusion::fill(const Config &config, dppo_generator *weights, const Parts &parts) {
    draw_parts(config, weights, parts);
    load_pretrained(config);
    if (std::string(parts.front().first) == "actor") register_module("actor", network_);
}

Tensor ExploringDiffusion::chain(NoiseNetwork &network, const Cond &cond, Draws &draws, bool deterministic,
                                 const std::optional<double> &final_clip) {
    const int64_t batch = cond.batch();
    Tensor x = draws.randn({batch, horizon_steps_, action_dim_});
    for (int64_t t = denoising_steps_ - 1; t >= 0; t--) {
        const Tensor times = torch::full({batch}, t, torch::kInt64);
        const Denoised denoised = denoise(x, times, Tensor(), network.forward(x, times, cond));
        const MeanVar step = ddpm_mean(x, times, denoised.x_recon);
        Tensor std = torch::exp(0.5 * step.logvar);
        if (deterministic && t == 0)
            std = torch::zeros_like(std);
        else
            std = torch::clamp(std, deterministic ? 1e-3 : min_sampling_denoising_std_);
        x = step.mu + std * sample_noise(x, draws);
    }
    return final_clip ? torch::clamp(x, -*final_clip, *final_clip) : x;
}

Samples ExploringDiffusion::forward(const Cond &cond, Draws &draws, Mode mode) {
    torch::NoGradGuard no_grad;
    return {chain(*network_, cond, draws, mode.deterministic, final_action_clip_value_), Tensor()};
}

// -- RWRDiffusion, AWRDiffusion
// ---------------------------------------------------------------------------------------------------------

RWRDiffusion::RWRDiffusion(const Config &config, dppo_generator *weights, const char *network_key)
    : ExploringDiffusion(config, nullptr, network_key) {
    if (std::string(network_key) == "network") fill(config, weights, {{"network", network_.get()}});
}

Tensor RWRDiffusion::weighted_loss(const Tensor &x, const Cond &cond, const Tensor &rewards, Draws &draws) {
    const Tensor t = draws.randint(0, denoising_steps_, {x.size(0)});
    return weighted_p_losses(x, cond, rewards, t, draws);
}

Tensor RWRDiffusion::weighted_p_losses(const Tensor &x_start, const Cond &cond, const Tensor &rewards,
                                       const Tensor &t, Draws &draws) {
    const Tensor noise = draws.randn(x_start.sizes().vec());
    const Tensor x_recon = network_->forward(q_sample(x_start, t, noise), t, cond);
    const Tensor error = torch::mse_loss(x_recon, predict_epsilon_ ? noise : x_start, torch::Reduction::None);
    return (error.mean({1, 2}) * rewards).mean();
}

AWRDiffusion::AWRDiffusion(const Config &config, dppo_generator *weights)
    : RWRDiffusion(config, nullptr, "actor") {
    critic_ = build_critic(config.at("critic"), nullptr);
    fill(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    register_module("critic", critic_);
}

Tensor AWRDiffusion::loss_critic(const Cond &obs, const Tensor &advantages) {
    return (critic_->forward(obs) - advantages).pow(2).mean();
}

// -- DIPODiffusion
// ---------------------------------------------------------------------------------------------------------

static Tensor smaller(const std::pair<Tensor, Tensor> &q) {
    return torch::min(q.first, q.second);
}

DIPODiffusion::DIPODiffusion(const Config &config, dppo_generator *weights)
    : ExploringDiffusion(config, nullptr, "actor") {
    critic_ = build_critic_obs_act(config.at("critic"), nullptr);
    fill(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    register_module("critic", critic_);
    critic_target_ = register_module("critic_target", deepcopy(*critic_));
    actor_target_ = register_module("actor_target", deepcopy(*network_));
}

Samples DIPODiffusion::forward(const Cond &cond, Draws &draws, Mode mode) {
    torch::NoGradGuard no_grad;
    return {chain(*actor_target_, cond, draws, mode.deterministic, final_action_clip_value_), Tensor()};
}

// The TD loss of a double critic whose next action `policy` samples.
static Tensor actor_critic_loss(CriticObsAct &critic, CriticObsAct &target, DiffusionModel &policy,
                                const Transitions &batch, double gamma, Draws &draws) {
    const auto q = critic.forward(batch.obs, batch.actions);
    torch::Tensor wanted;
    {
        torch::NoGradGuard no_grad;
        const Tensor next_actions = policy.forward(batch.next_obs, draws, {false, false}).trajectories;
        wanted = bellman_target(batch, smaller(target.forward(batch.next_obs, next_actions)), gamma);
    }
    return double_q_loss(q, wanted);
}

Tensor DIPODiffusion::loss_critic(const Transitions &batch, double gamma, Draws &draws) {
    return actor_critic_loss(*critic_, *critic_target_, *this, batch, gamma, draws);
}

Tensor DIPODiffusion::action_gradient(const Cond &obs, const Tensor &actions, double lr, int64_t steps,
                                      double max_norm) {
    Tensor flat = actions.detach().clone().reshape({actions.size(0), -1}).requires_grad_(true);
    torch::optim::Adam optimizer({flat}, torch::optim::AdamOptions(lr).eps(1e-5));
    for (int64_t i = 0; i < steps; i++) {
        const Tensor loss = -smaller(critic_->forward(obs, flat)).sum();
        flat.mutable_grad() = torch::autograd::grad({loss}, {flat})[0];
        torch::nn::utils::clip_grad_norm_(flat, max_norm);
        optimizer.step();
        torch::NoGradGuard no_grad;
        flat.clamp_(-1.0, 1.0);
    }
    return flat.detach().reshape(actions.sizes());
}

void DIPODiffusion::update_target_critic(double tau) {
    soft_update(*critic_target_, *critic_, tau);
}

void DIPODiffusion::update_target_actor(double tau) {
    soft_update(*actor_target_, *network_, tau);
}

// -- DQLDiffusion
// ---------------------------------------------------------------------------------------------------------

DQLDiffusion::DQLDiffusion(const Config &config, dppo_generator *weights)
    : ExploringDiffusion(config, nullptr, "actor") {
    critic_ = build_critic_obs_act(config.at("critic"), nullptr);
    fill(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    register_module("critic", critic_);
    critic_target_ = register_module("critic_target", deepcopy(*critic_));
}

// Whatever final_action_clip_value is, unless none or 0, the original clamps to 1 here.
Tensor DQLDiffusion::forward_train(const Cond &cond, Draws &draws, bool deterministic) {
    const bool clipped = final_action_clip_value_.value_or(0) != 0;
    return chain(*network_, cond, draws, deterministic, clipped ? std::optional<double>(1.0) : std::nullopt);
}

Tensor DQLDiffusion::loss_critic(const Transitions &batch, double gamma, Draws &draws) {
    return actor_critic_loss(*critic_, *critic_target_, *this, batch, gamma, draws);
}

Tensor DQLDiffusion::loss_actor(const Cond &obs, double eta, int64_t act_steps, Draws &draws) {
    const Tensor action = forward_train(obs, draws, false).slice(1, 0, act_steps);
    const auto [q1, q2] = critic_->forward(obs, action);
    const Tensor bc_loss = loss(action, obs, draws);
    const bool first = draws.np_uniform() > 0.5;
    const Tensor &q = first ? q1 : q2, &scale = first ? q2 : q1;
    const Tensor q_loss = -q.mean() / scale.abs().mean().detach();
    return bc_loss + eta * q_loss;
}

void DQLDiffusion::update_target_critic(double tau) {
    soft_update(*critic_target_, *critic_, tau);
}

// -- IDQLDiffusion
// ---------------------------------------------------------------------------------------------------------

IDQLDiffusion::IDQLDiffusion(const Config &config, dppo_generator *weights)
    : RWRDiffusion(config, nullptr, "actor") {
    critic_q_ = build_critic_obs_act(config.at("critic_q"), nullptr);
    critic_v_ = build_critic(config.at("critic_v"), nullptr);
    fill(config, weights,
         {{"actor", network_.get()}, {"critic_q", critic_q_.get()}, {"critic_v", critic_v_.get()}});
    register_module("critic_q", critic_q_);
    target_q_ = register_module("target_q", deepcopy(*critic_q_));
    register_module("critic_v", critic_v_);
}

Tensor IDQLDiffusion::compute_advantages(const Cond &obs, const Tensor &actions) {
    Tensor q;
    {
        torch::NoGradGuard no_grad;
        q = smaller(target_q_->forward(obs, actions));
    }
    return q - critic_v_->forward(obs).reshape(-1);
}

Tensor IDQLDiffusion::loss_critic_v(const Cond &obs, const Tensor &actions) {
    return expectile_loss(compute_advantages(obs, actions)).mean();
}

Tensor IDQLDiffusion::loss_critic_q(const Transitions &batch, double gamma) {
    const auto q = critic_q_->forward(batch.obs, batch.actions);
    Tensor next_v;
    {
        torch::NoGradGuard no_grad;
        next_v = critic_v_->forward(batch.next_obs);
    }
    return double_q_loss(q, bellman_target(batch, next_v, gamma));
}

// The states follow one another num_sample times; samples and values are seen as (S, B, ..).
Tensor IDQLDiffusion::choose(const Cond &cond, const Choice &choice, Draws &draws) {
    torch::NoGradGuard no_grad;
    const int64_t batch = cond.batch(), count = choice.num_sample;
    const Cond repeated(cond.state.repeat({count, 1, 1}));
    const Tensor samples = forward(repeated, draws, {choice.deterministic, false}).trajectories;
    const Tensor q = smaller(target_q_->forward(repeated, samples)).view({count, batch});
    Tensor picked; // (B), which sample of each state
    if (choice.deterministic || !choice.use_expectile_exploration) {
        picked = q.argmax(0);
    } else {
        const Tensor adv = q - critic_v_->forward(repeated).view({count, batch});
        Tensor weights = torch::where(adv > 0, torch::full({}, choice.critic_hyperparam),
                                      torch::full({}, 1 - choice.critic_hyperparam));
        weights = weights / weights.sum(0);
        picked = draws.multinomial(weights.t(), 1, false).squeeze(1);
    }
    return samples.view({count, batch, horizon_steps_, action_dim_})
        .index({picked, torch::arange(batch, torch::kInt64)});
}

void IDQLDiffusion::update_target_critic(double tau) {
    soft_update(*target_q_, *critic_q_, tau);
}

// -- QSMDiffusion
// ---------------------------------------------------------------------------------------------------------

QSMDiffusion::QSMDiffusion(const Config &config, dppo_generator *weights)
    : RWRDiffusion(config, nullptr, "actor") {
    critic_q_ = build_critic_obs_act(config.at("critic"), nullptr);
    fill(config, weights, {{"actor", network_.get()}, {"critic", critic_q_.get()}});
    register_module("critic_q", critic_q_);
    target_q_ = register_module("target_q", deepcopy(*critic_q_));
}

Tensor QSMDiffusion::loss_actor(const Cond &obs, const Tensor &actions, double q_grad_coeff, Draws &draws) {
    const Tensor noise = draws.randn(actions.sizes().vec());
    const Tensor t = draws.randint(0, denoising_steps_, {actions.size(0)});
    const Tensor x_noisy = q_sample(actions, t, noise).requires_grad_(true);
    const auto [q1, q2] = critic_q_->forward(obs, x_noisy);
    const Tensor gradient1 = torch::autograd::grad({q1.sum()}, {x_noisy})[0];
    const Tensor gradient2 = torch::autograd::grad({q2.sum()}, {x_noisy})[0];
    const Tensor gradient = torch::stack({gradient1, gradient2}).mean(0).detach();
    return torch::mse_loss(-network_->forward(x_noisy, t, obs), q_grad_coeff * gradient);
}

// Unlike DIPO's and DQL's, the target passes gradients on to rewards.
Tensor QSMDiffusion::loss_critic(const Transitions &batch, double gamma, Draws &draws) {
    const auto q = critic_q_->forward(batch.obs, batch.actions);
    const Tensor next_actions = forward(batch.next_obs, draws, {false, false}).trajectories;
    Tensor next_q;
    {
        torch::NoGradGuard no_grad;
        next_q = smaller(target_q_->forward(batch.next_obs, next_actions));
    }
    return double_q_loss(q, bellman_target(batch, next_q, gamma));
}

void QSMDiffusion::update_target_critic(double tau) {
    soft_update(*target_q_, *critic_q_, tau);
}

} // namespace shim
