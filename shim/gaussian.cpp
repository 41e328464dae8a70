#include "gaussian.h"

namespace shim {

// -- GaussianModel
// ---------------------------------------------------------------------------------------------------

GaussianModel::GaussianModel(const Config &config, dppo_generator *weights, const char *network_key)
    : horizon_steps_(config.integer("horizon_steps")),
      randn_clip_value_(config.number("randn_clip_value", 10)),
      tanh_output_(config.flag("tanh_output", false)) {
    network_ = register_module("network", build_gaussian_network(config.at(network_key), weights));
}

void GaussianModel::load_pretrained(const Config &config) {
    if (!config.has("network_path")) return;
    const Checkpoint checkpoint(config.text("network_path"));
    load_state(*this, checkpoint.named(), "model/", false);
}

std::shared_ptr<GaussianModel> build_gaussian_model(const Config &config, dppo_generator *weights) {
    auto model = std::make_shared<GaussianModel>(config, weights);
    model->load_pretrained(config);
    return model;
}

Tensor GaussianModel::Normal::entropy() const {
    return normal_entropy(loc, scale);
}

GaussianModel::Normal GaussianModel::forward_train(GaussianNetwork &network, const Cond &cond,
                                                   bool deterministic) {
    const auto [means, scales] = network.forward(cond);
    const auto both =
        torch::broadcast_tensors({means, deterministic ? torch::ones_like(means) * 1e-4 : scales});
    return {both[0], both[1]};
}

// torch.normal(loc, scale) is a standard draw, scaled, then shifted.
static Tensor draw(const Tensor &loc, const Tensor &scale, Draws &draws, bool reparameterize) {
    const Tensor noise = draws.randn(loc.sizes().vec());
    if (reparameterize) return loc + noise * scale;
    torch::NoGradGuard no_grad;
    return noise.mul(scale).add(loc);
}

GaussianModel::Sample GaussianModel::sample(GaussianNetwork &network, const Cond &cond, Draws &draws,
                                            bool deterministic, bool reparameterize, bool get_logprob) {
    const Shape chunk = {cond.batch(), horizon_steps_, -1};
    const Normal dist = forward_train(network, cond, deterministic);
    Tensor action = draw(dist.loc, dist.scale, draws, reparameterize);
    // The bounds depend on the network: a clipped sample has a gradient even without reparameterisation.
    action = torch::clamp(action, dist.loc - randn_clip_value_ * dist.scale,
                          dist.loc + randn_clip_value_ * dist.scale);
    Tensor log_prob;
    if (get_logprob) log_prob = normal_log_prob(action, dist.loc, dist.scale);
    if (tanh_output_) action = torch::tanh(action);
    if (get_logprob && tanh_output_) log_prob = log_prob - torch::log(1 - action.pow(2) + 1e-6);
    return {action.view(chunk), get_logprob ? log_prob.sum(1) : Tensor()};
}

GaussianModel::Sample GaussianModel::forward(const Cond &cond, Draws &draws, bool deterministic,
                                             bool reparameterize, bool get_logprob) {
    return sample(*network_, cond, draws, deterministic, reparameterize, get_logprob);
}

std::pair<Tensor, Tensor> GaussianModel::loss(const Tensor &true_action, const Cond &cond, double ent_coef) {
    const Normal dist = forward_train(*network_, cond, false);
    const Tensor flat = true_action.reshape({true_action.size(0), -1});
    const Tensor loss = -normal_log_prob(flat, dist.loc, dist.scale);
    const Tensor entropy = dist.entropy().mean();
    return {loss.mean() - entropy * ent_coef, entropy};
}

// -- VPG_Gaussian
// ----------------------------------------------------------------------------------------------------

// Weights are drawn in the order of the configuration's keys, as hydra builds the parts.
VPG_Gaussian::VPG_Gaussian(const Config &config, dppo_generator *weights)
    : GaussianModel(config, nullptr, "actor") {
    critic_ = build_critic(config.at("critic"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    load_pretrained(config);
    register_module("critic", critic_);
    register_module("actor_ft", network_);
    actor_ = register_module("actor", deepcopy(*network_));
    freeze(*actor_);
}

Tensor VPG_Gaussian::forward(const Cond &cond, Draws &draws, Mode mode) {
    torch::NoGradGuard no_grad;
    GaussianNetwork &network = mode.use_base_policy ? *actor_ : *network_;
    return sample(network, cond, draws, mode.deterministic, false, false).action;
}

VPG_Gaussian::LogProbs VPG_Gaussian::get_logprobs(const Cond &cond, const Tensor &actions,
                                                  bool use_base_policy) {
    const Normal dist = forward_train(use_base_policy ? *actor_ : *network_, cond, false);
    const Tensor log_prob = normal_log_prob(actions.reshape({actions.size(0), -1}), dist.loc, dist.scale);
    return {log_prob.mean(-1), dist.entropy().mean(), dist.scale.mean()};
}

// -- PPO_Gaussian
// ----------------------------------------------------------------------------------------------------

PPO_Gaussian::PPO_Gaussian(const Config &config, dppo_generator *weights)
    : VPG_Gaussian(config, weights), clip_ploss_coef_(config.number("clip_ploss_coef")),
      clip_vloss_coef_(optional_number(config, "clip_vloss_coef")), norm_adv_(config.flag("norm_adv", true)) {
}

void add_policy_loss(const PpoRatio &given, PpoLoss &result) {
    const double clip = given.clip_ploss_coef;
    const Tensor logratio = given.newlogprobs.clamp(-5, 2) - given.oldlogprobs.clamp(-5, 2);
    const Tensor ratio = logratio.exp();
    {
        torch::NoGradGuard no_grad;
        result.approx_kl = ((ratio - 1) - logratio).nanmean().item<double>();
        const Tensor clipped = (ratio - 1.0).abs() > clip;
        result.clipfrac = clipped.to(torch::get_default_dtype()).mean().item<double>();
    }
    Tensor advantages = given.advantages;
    if (given.norm_adv) {
        /* Two statements: C++ may evaluate the divisor first, Python does not, and gradients add up in that
         * order. */
        const Tensor centred = advantages - advantages.mean();
        advantages = centred / (advantages.std(true) + 1e-8);
    }
    const Tensor loss1 = -advantages * ratio;
    const Tensor loss2 = -advantages * torch::clamp(ratio, 1 - clip, 1 + clip);
    result.pg_loss = torch::max(loss1, loss2).mean();
    result.ratio = ratio.mean().item<double>();
}

PpoLoss PPO_Gaussian::loss(const GaussianBatch &b, bool use_bc_loss, Draws &draws) {
    PpoLoss result;
    const LogProbs found = get_logprobs(b.cond, b.actions);
    result.entropy_loss = -found.entropy;
    if (use_bc_loss) {
        const Tensor samples = forward(b.cond, draws, {false, true});
        result.bc_loss = -get_logprobs(b.cond, samples).log_prob.clamp(-5, 2).mean();
    }
    add_policy_loss({found.log_prob, b.oldlogprobs, b.advantages, clip_ploss_coef_, norm_adv_}, result);
    const Tensor newvalues = critic_->forward(b.cond).view(-1);
    result.v_loss = ppo_value_loss(newvalues, b.oldvalues, b.returns, clip_vloss_coef_);
    result.eta_or_std = found.std.item<double>();
    return result;
}

} // namespace shim
