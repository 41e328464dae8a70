#include "gmm.h"

namespace shim {

GMMModel::GMMModel(const Config &config, dppo_generator *weights, const char *network_key)
    : horizon_steps_(config.integer("horizon_steps")) {
    network_ = register_module("network", build_gmm_network(config.at(network_key), weights));
}

void GMMModel::load_pretrained(const Config &config) {
    if (!config.has("network_path")) return;
    load_state(*this, Checkpoint(config.text("network_path")).named(), "model/", false);
}

GMMModel::Policy GMMModel::forward_train(const Cond &cond, bool deterministic) {
    const auto [means, given_scales, logits] = network_->forward(cond);
    const Tensor scales = deterministic ? torch::ones_like(means) * 1e-4 : given_scales;
    const auto both = torch::broadcast_tensors({means, scales});
    const Tensor entropies = sum_rightmost(normal_entropy(both[0], both[1]), 1);
    const Tensor entropy = (logits.softmax(-1) * entropies).sum(-1).mean();
    const Tensor std = (logits.softmax(-1) * scales.mean(-1)).sum(-1).mean();
    const Tensor normalised = normalised_logits(logits);
    return {{normalised, normalised.softmax(-1), both[0], both[1]}, entropy, std};
}

Tensor GMMModel::forward(const Cond &cond, Draws &draws, bool deterministic) {
    const Tensor action = forward_train(cond, deterministic).dist.sample(draws);
    return action.view({cond.batch(), horizon_steps_, -1});
}

std::pair<Tensor, Tensor> GMMModel::loss(const Tensor &true_action, const Cond &cond) {
    const Policy policy = forward_train(cond, false);
    const Tensor flat = true_action.reshape({true_action.size(0), -1});
    return {(-policy.dist.log_prob(flat)).mean(), policy.entropy};
}

VPG_GMM::VPG_GMM(const Config &config, dppo_generator *weights) : GMMModel(config, nullptr, "actor") {
    critic_ = build_critic(config.at("critic"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    load_pretrained(config);
    register_module("actor_ft", network_);
    register_module("critic", critic_);
}

VPG_GMM::LogProbs VPG_GMM::get_logprobs(const Cond &cond, const Tensor &actions) {
    const Policy policy = forward_train(cond, false);
    const Tensor log_prob = policy.dist.log_prob(actions.reshape({actions.size(0), -1}));
    return {log_prob, policy.entropy, policy.std};
}

PPO_GMM::PPO_GMM(const Config &config, dppo_generator *weights)
    : VPG_GMM(config, weights), clip_ploss_coef_(config.number("clip_ploss_coef")),
      clip_vloss_coef_(optional_number(config, "clip_vloss_coef")), norm_adv_(config.flag("norm_adv", true)) {
}

PpoLoss PPO_GMM::loss(const GaussianBatch &b) {
    PpoLoss result;
    const LogProbs found = get_logprobs(b.cond, b.actions);
    result.entropy_loss = -found.entropy;
    add_policy_loss({found.log_prob, b.oldlogprobs, b.advantages, clip_ploss_coef_, norm_adv_}, result);
    const Tensor newvalues = critic_->forward(b.cond).view(-1);
    result.v_loss = ppo_value_loss(newvalues, b.oldvalues, b.returns, clip_vloss_coef_);
    result.eta_or_std = found.std.item<double>();
    return result;
}

} // namespace shim
