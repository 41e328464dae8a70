#include "offpolicy_gaussian.h"

#include <cmath>
#include <limits>

namespace shim {

// -- RWR_Gaussian, AWR_Gaussian
// ---------------------------------------------------------------------------------------------------------

RWR_Gaussian::RWR_Gaussian(const Config &config, dppo_generator *weights)
    : GaussianModel(config, weights, "actor") {
    load_pretrained(config);
    register_module("actor", network_);
}

Tensor RWR_Gaussian::act(const Cond &cond, Draws &draws, bool deterministic) {
    torch::NoGradGuard no_grad;
    return forward(cond, draws, deterministic, false, false).action;
}

// The original sizes its rows by the number of the observation's entries, which is one; with more than one
// row it cannot run. Here a row is a row.
Tensor RWR_Gaussian::weighted_loss(const Tensor &actions, const Cond &obs, const Tensor &reward_weights) {
    const Normal dist = forward_train(*network_, obs, false);
    const Tensor flat = actions.reshape({actions.size(0), -1});
    return -(normal_log_prob(flat, dist.loc, dist.scale).mean(-1) * reward_weights).mean();
}

AWR_Gaussian::AWR_Gaussian(const Config &config, dppo_generator *weights) : RWR_Gaussian(config, nullptr) {
    critic_ = build_critic(config.at("critic"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    load_pretrained(config);
    register_module("critic", critic_);
}

Tensor AWR_Gaussian::loss_critic(const Cond &obs, const Tensor &advantages) {
    return (critic_->forward(obs) - advantages).pow(2).mean();
}

// -- SAC_Gaussian
// ---------------------------------------------------------------------------------------------------------

static Tensor smaller(const std::pair<Tensor, Tensor> &q) {
    return torch::min(q.first, q.second);
}

Tensor SoftGaussian::loss_temperature(const Cond &obs, const Tensor &alpha, double target_entropy,
                                      Draws &draws) {
    Tensor log_prob;
    {
        torch::NoGradGuard no_grad;
        log_prob = forward(obs, draws, false, false, true).log_prob;
    }
    return -(alpha * (log_prob + target_entropy)).mean();
}

SAC_Gaussian::SAC_Gaussian(const Config &config, dppo_generator *weights) : SoftGaussian(config) {
    critic_ = build_critic_obs_act(config.at("critic"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic_.get()}});
    load_pretrained(config);
    register_module("critic", critic_);
    target_critic_ = register_module("target_critic", deepcopy(*critic_));
}

// rewards + gamma (1 - terminated) next_value: the same number as bellman_target's, rounded in the order in
// which these classes multiply.
static Tensor discounted_target(const Transitions &batch, const Tensor &next_value, double gamma) {
    return batch.rewards + gamma * (1 - batch.terminated) * next_value;
}

Tensor SAC_Gaussian::loss_critic(const Transitions &batch, double gamma, double alpha, Draws &draws) {
    Tensor wanted;
    {
        torch::NoGradGuard no_grad;
        const Sample next = forward(batch.next_obs, draws, false, false, true);
        const Tensor next_q = smaller(target_critic_->forward(batch.next_obs, next.action));
        wanted = bellman_target(batch, next_q - alpha * next.log_prob, gamma);
    }
    const auto [q1, q2] = critic_->forward(batch.obs, batch.actions);
    const Tensor first = torch::mse_loss(q1, wanted);
    return first + torch::mse_loss(q2, wanted);
}

Tensor SAC_Gaussian::loss_actor(const Cond &obs, double alpha, Draws &draws) {
    const Sample sample = forward(obs, draws, false, true, true);
    const Tensor q = smaller(critic_->forward(obs, sample.action));
    return (-q + alpha * sample.log_prob).mean();
}

void SAC_Gaussian::update_target_critic(double tau) {
    soft_update(*target_critic_, *critic_, tau);
}

// -- CalQL_Gaussian
// ---------------------------------------------------------------------------------------------------------

// Pre-trained weights of Cal-QL include the critics.
CalQL_Gaussian::CalQL_Gaussian(const Config &config, dppo_generator *weights)
    : SAC_Gaussian(config, weights),
      cql_clip_diff_min_(config.number("cql_clip_diff_min", -std::numeric_limits<double>::infinity())),
      cql_clip_diff_max_(config.number("cql_clip_diff_max", std::numeric_limits<double>::infinity())),
      cql_min_q_weight_(config.number("cql_min_q_weight", 5)),
      cql_n_actions_(config.integer("cql_n_actions", 10)) {
    if (config.has("network_path"))
        load_state(*this, Checkpoint(config.text("network_path")).named(), "model/", true);
}

// The best of n sampled next actions.
Tensor CalQL_Gaussian::target(const Transitions &batch, double gamma, Draws &draws) {
    torch::NoGradGuard no_grad;
    const int64_t rows = batch.actions.size(0);
    const Cond next(batch.next_obs.state.repeat_interleave(cql_n_actions_, 0));
    const Tensor actions = forward(next, draws, false, false, true).action;
    const Tensor q = smaller(target_critic_->forward(next, actions)).view({rows, cql_n_actions_});
    const Tensor best = q.gather(1, q.argmax(1, true)).squeeze(1);
    return discounted_target(batch, best, gamma);
}

// Mean of the soft maximum over actions outside the data less the data's value, within the clipping bounds.
Tensor CalQL_Gaussian::conservative(const std::vector<Tensor> &out_of_data, const Tensor &q_data) const {
    const Tensor soft_maximum = torch::logsumexp(torch::cat(out_of_data, -1), -1);
    return torch::clamp(soft_maximum - q_data, cql_clip_diff_min_, cql_clip_diff_max_).mean() *
           cql_min_q_weight_;
}

// The policy's values are (B, 1), its log-probabilities (B): their difference is (B, B), every value less the
// log-probability of every row. The original does so, and so do we.
Tensor CalQL_Gaussian::loss_critic(const Transitions &batch, const Tensor &random_actions,
                                   const Tensor &returns, double gamma, Draws &draws) {
    const int64_t rows = batch.actions.size(0), count = random_actions.size(1);
    const auto q_data = critic_->forward(batch.obs, batch.actions);
    const Tensor wanted = target(batch, gamma, draws);
    const Tensor td1 = torch::mse_loss(q_data.first, wanted), td2 = torch::mse_loss(q_data.second, wanted);

    // Nothing is detached: a sample has no gradient, its log-probability has one.
    const Sample pi = forward(batch.obs, draws, false, false, true);
    const Sample pi_next = forward(batch.next_obs, draws, false, false, true);
    const double log_rand_pi =
        std::pow(0.5, static_cast<double>(random_actions.size(2) * random_actions.size(3)));
    const Cond repeated(batch.obs.state.repeat_interleave(count, 0));
    const auto q_rand = critic_->forward(repeated, random_actions.flatten(0, 1));
    const auto q_pi = critic_->forward(batch.obs, pi.action);
    const auto q_pi_next = critic_->forward(batch.next_obs, pi_next.action);
    const auto difference = [&](const Tensor &rand, const Tensor &now, const Tensor &next,
                                const Tensor &data) {
        return conservative({(rand - log_rand_pi).view({rows, count}),
                             torch::max(now, returns).unsqueeze(1) - pi.log_prob,
                             torch::max(next, returns).unsqueeze(1) - pi_next.log_prob},
                            data);
    };
    const Tensor cql1 = difference(q_rand.first, q_pi.first, q_pi_next.first, q_data.first);
    const Tensor cql2 = difference(q_rand.second, q_pi.second, q_pi_next.second, q_data.second);
    return td1 + td2 + cql1 + cql2;
}

// -- Ensemble
// ---------------------------------------------------------------------------------------------------------

// Registers a parameter under a name with dots, making the modules on the way.
static void register_dotted(torch::nn::Module &module, const std::string &name, const Tensor &value) {
    const size_t dot = name.find('.');
    if (dot == std::string::npos) {
        module.register_parameter(name, value);
        return;
    }
    const std::string head = name.substr(0, dot);
    const auto children = module.named_children();
    const auto *known = children.find(head);
    const auto child =
        known != nullptr ? *known : module.register_module(head, std::make_shared<torch::nn::Module>());
    register_dotted(*child, name.substr(dot + 1), value);
}

static void register_list(torch::nn::Module &owner, const char *name, const CriticObsAct &critic,
                          int64_t count, std::vector<std::shared_ptr<CriticObsAct>> &members) {
    torch::nn::ModuleList list;
    for (int64_t i = 0; i < count; i++) {
        members.push_back(deepcopy(critic));
        list->push_back(members.back());
    }
    owner.register_module(name, list);
}

Ensemble::Ensemble(torch::nn::Module &owner, const CriticObsAct &critic, int64_t n_critics)
    : member_(deepcopy(critic)), stacked_(std::make_shared<torch::nn::Module>()) {
    if (n_critics < 2) invalid("n_critics: two are drawn at a time, there are " + std::to_string(n_critics));
    register_list(owner, "critic_networks", critic, n_critics, networks_);
    register_list(owner, "target_networks", critic, n_critics, targets_);
    for (const auto &item : critic.named_parameters()) {
        const std::vector<Tensor> copies(static_cast<size_t>(n_critics), item.value().detach());
        register_dotted(*stacked_, item.key(), torch::stack(copies));
    }
    owner.register_module("ensemble_params", stacked_);
}

// torch.func.functional_call for the layers a critic is made of.
static void use_parameters(torch::nn::Module &module,
                           const std::function<Tensor(const std::string &)> &parameter) {
    for (const auto &item : module.named_modules("", false)) {
        if (auto *linear = item.value()->as<torch::nn::Linear>()) {
            linear->weight = parameter(item.key() + ".weight");
            linear->bias = parameter(item.key() + ".bias");
        } else if (auto *norm = item.value()->as<torch::nn::LayerNorm>()) {
            norm->weight = parameter(item.key() + ".weight");
            norm->bias = parameter(item.key() + ".bias");
        }
    }
}

// torch.vmap over the stack.
Tensor Ensemble::forward(const Cond &cond, const Tensor &action) {
    const auto stacked = stacked_->named_parameters();
    std::vector<Tensor> values;
    for (int64_t i = 0; i < static_cast<int64_t>(networks_.size()); i++) {
        use_parameters(*member_, [&](const std::string &name) { return stacked[name].select(0, i); });
        const auto [q, second] = member_->forward(cond, action);
        if (second.defined()) invalid("critic.double_q: an ensemble is made of single critics");
        values.push_back(q);
    }
    return torch::stack(values);
}

Tensor Ensemble::smaller(bool of_targets, const Tensor &members, const Cond &cond, const Tensor &action) {
    const auto &critics = of_targets ? targets_ : networks_;
    const auto value = [&](int64_t place) {
        const int64_t member = members[place].item<int64_t>();
        return critics.at(static_cast<size_t>(member))->forward(cond, action).first;
    };
    const Tensor first = value(0);
    return torch::min(first, value(1));
}

Tensor Ensemble::random_order(Draws &draws) const {
    return draws.randperm(static_cast<int64_t>(networks_.size()));
}

void Ensemble::update_targets(double tau) {
    torch::NoGradGuard no_grad;
    const auto stacked = stacked_->named_parameters();
    for (size_t i = 0; i < targets_.size(); i++)
        for (const auto &item : targets_[i]->named_parameters()) {
            const Tensor source = stacked[item.key()].select(0, static_cast<int64_t>(i));
            item.value().copy_(item.value() * (1.0 - tau) + source * tau);
        }
}

// -- RLPD_Gaussian
// ---------------------------------------------------------------------------------------------------------

RLPD_Gaussian::RLPD_Gaussian(const Config &config, dppo_generator *weights)
    : SoftGaussian(config), backup_entropy_(config.flag("backup_entropy", false)) {
    const auto critic = build_critic_obs_act(config.at("critic"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic.get()}});
    load_pretrained(config);
    ensemble_ = std::make_unique<Ensemble>(*this, *critic, config.integer("n_critics"));
}

Tensor RLPD_Gaussian::loss_critic(const Transitions &batch, double gamma, double alpha, Draws &draws) {
    const Tensor members = ensemble_->random_order(draws);
    Tensor wanted;
    {
        torch::NoGradGuard no_grad;
        const Sample next = forward(batch.next_obs, draws, false, false, true);
        const Tensor next_q = ensemble_->smaller(true, members, batch.next_obs, next.action);
        wanted = discounted_target(batch, next_q, gamma);
        if (backup_entropy_) wanted = wanted + gamma * (1 - batch.terminated) * alpha * (-next.log_prob);
    }
    return (ensemble_->forward(batch.obs, batch.actions) - wanted.unsqueeze(0)).pow(2).mean();
}

Tensor RLPD_Gaussian::loss_actor(const Cond &obs, double alpha, Draws &draws) {
    const Sample sample = forward(obs, draws, false, true, true);
    const Tensor q = ensemble_->forward(obs, sample.action).mean(0) + alpha * (-sample.log_prob);
    return -q.mean();
}

void RLPD_Gaussian::update_target_critic(double tau) {
    ensemble_->update_targets(tau);
}

// -- IBRL_Gaussian
// ---------------------------------------------------------------------------------------------------------

IBRL_Gaussian::IBRL_Gaussian(const Config &config, dppo_generator *weights)
    : GaussianModel(config, nullptr, "actor"), soft_action_sample_(config.flag("soft_action_sample", false)),
      soft_action_sample_beta_(config.number("soft_action_sample_beta", 10)) {
    const auto critic = build_critic_obs_act(config.at("critic"), nullptr);
    draw_parts(config, weights, {{"actor", network_.get()}, {"critic", critic.get()}});
    load_pretrained(config);
    target_actor_ = register_module("target_actor", deepcopy(*network_));
    bc_policy_ = register_module("bc_policy", deepcopy(*network_));
    freeze(*bc_policy_);
    ensemble_ = std::make_unique<Ensemble>(*this, *critic, config.integer("n_critics"));
}

Tensor IBRL_Gaussian::choose(const Cond &cond, Draws &draws, bool deterministic, bool reparameterize) {
    const Tensor members = ensemble_->random_order(draws);
    const Tensor bc_action = sample(*bc_policy_, cond, draws, true, false, false).action;
    const Tensor rl_action = sample(*network_, cond, draws, deterministic, reparameterize, false).action;
    const Tensor q_bc = ensemble_->smaller(false, members, cond, bc_action);
    const Tensor q_rl = ensemble_->smaller(false, members, cond, rl_action);
    Tensor prefer_bc; // (B)
    if (deterministic || !soft_action_sample_) {
        prefer_bc = q_bc > q_rl;
    } else {
        const Tensor weights = torch::stack({q_bc, q_rl}, -1).mul(soft_action_sample_beta_).exp();
        prefer_bc = draws.multinomial(torch::softmax(weights, -1), 1, false).squeeze(1) == 0;
    }
    return torch::where(prefer_bc.view({-1, 1, 1}), bc_action, rl_action);
}

// The next value is the better of what the pre-trained policy and the target actor would do.
Tensor IBRL_Gaussian::loss_critic(const Transitions &batch, double gamma, Draws &draws) {
    const Tensor members = ensemble_->random_order(draws);
    Tensor wanted;
    {
        torch::NoGradGuard no_grad;
        const Cond &next = batch.next_obs;
        const Tensor bc_action = sample(*bc_policy_, next, draws, true, false, false).action;
        const Tensor rl_action = sample(*target_actor_, next, draws, false, false, false).action;
        const Tensor q_bc = ensemble_->smaller(true, members, next, bc_action);
        const Tensor q_rl = ensemble_->smaller(true, members, next, rl_action);
        wanted = discounted_target(batch, torch::where(q_bc > q_rl, q_bc, q_rl), gamma);
    }
    return (ensemble_->forward(batch.obs, batch.actions) - wanted.unsqueeze(0)).pow(2).mean();
}

Tensor IBRL_Gaussian::loss_actor(const Cond &obs, Draws &draws) {
    const Tensor action = forward(obs, draws, false, true, false).action;
    return -std::get<0>(ensemble_->forward(obs, action).min(0)).mean();
}

void IBRL_Gaussian::update_target_critic(double tau) {
    ensemble_->update_targets(tau);
}

void IBRL_Gaussian::update_target_actor(double tau) {
    soft_update(*target_actor_, *network_, tau);
}

} // namespace shim
