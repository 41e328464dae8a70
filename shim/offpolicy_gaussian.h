// The Gaussian policies of the original that learn from a replay buffer or from weighted samples: RWR, AWR,
// SAC, RLPD, Cal-QL, IBRL.
//
// Shapes: B batch, M critics, n sampled actions a state, Ta, Da action.
#ifndef DPPO_SHIM_OFFPOLICY_GAUSSIAN_H
#define DPPO_SHIM_OFFPOLICY_GAUSSIAN_H

#include "gaussian.h"
#include "offpolicy.h"

namespace shim {

class RWR_Gaussian : public GaussianModel {
  public:
    RWR_Gaussian(const Config &config, dppo_generator *weights);
    Tensor act(const Cond &cond, Draws &draws, bool deterministic); // (B, Ta, Da), without gradient
    // -mean over rows of weight (B) times the mean log-probability of actions (B, Ta, Da).
    Tensor weighted_loss(const Tensor &actions, const Cond &obs, const Tensor &reward_weights);
};

class AWR_Gaussian : public RWR_Gaussian {
  public:
    AWR_Gaussian(const Config &config, dppo_generator *weights);
    Tensor loss_critic(const Cond &obs, const Tensor &advantages); // as AWRDiffusion

  private:
    std::shared_ptr<Critic> critic_;
};

// What SAC, RLPD and Cal-QL have in common: actors trained with an entropy bonus alpha.
class SoftGaussian : public GaussianModel {
  public:
    explicit SoftGaussian(const Config &config) : GaussianModel(config, nullptr, "actor") {}
    // -mean alpha (log pi(a|s) + target_entropy); only alpha, rank 0, has a gradient.
    Tensor loss_temperature(const Cond &obs, const Tensor &alpha, double target_entropy, Draws &draws);
};

class SAC_Gaussian : public SoftGaussian {
  public:
    SAC_Gaussian(const Config &config, dppo_generator *weights);
    Tensor loss_critic(const Transitions &batch, double gamma, double alpha, Draws &draws);
    Tensor loss_actor(const Cond &obs, double alpha, Draws &draws);
    void update_target_critic(double tau);

  protected:
    std::shared_ptr<CriticObsAct> critic_, target_critic_;
};

class CalQL_Gaussian : public SAC_Gaussian {
  public:
    CalQL_Gaussian(const Config &config, dppo_generator *weights);
    // random_actions (B, n, Ta, Da), returns (B): a lower bound of what the policy reaches.
    Tensor loss_critic(const Transitions &batch, const Tensor &random_actions, const Tensor &returns,
                       double gamma, Draws &draws);

  private:
    Tensor target(const Transitions &batch, double gamma, Draws &draws); // (B)
    Tensor conservative(const std::vector<Tensor> &out_of_data, const Tensor &q_data) const;

    double cql_clip_diff_min_, cql_clip_diff_max_, cql_min_q_weight_;
    int64_t cql_n_actions_;
};

// M single critics. What is trained are their stacked parameters; the critics themselves keep the values
// they began with, as in the original, where torch.vmap runs the stack.
class Ensemble {
  public:
    // Registers critic_networks, target_networks and ensemble_params in `owner`.
    Ensemble(torch::nn::Module &owner, const CriticObsAct &critic, int64_t n_critics);
    Tensor forward(const Cond &cond, const Tensor &action); // (M, B)
    // The smaller of two members' values, (B). members (M): a permutation of which the first two count.
    Tensor smaller(bool of_targets, const Tensor &members, const Cond &cond, const Tensor &action);
    Tensor random_order(Draws &draws) const; // (M)
    void update_targets(double tau);

  private:
    std::vector<std::shared_ptr<CriticObsAct>> networks_, targets_;
    std::shared_ptr<CriticObsAct> member_; // runs with one member's parameters at a time
    std::shared_ptr<torch::nn::Module> stacked_;
};

class RLPD_Gaussian : public SoftGaussian {
  public:
    RLPD_Gaussian(const Config &config, dppo_generator *weights);
    Tensor loss_critic(const Transitions &batch, double gamma, double alpha, Draws &draws);
    Tensor loss_actor(const Cond &obs, double alpha, Draws &draws);
    void update_target_critic(double tau);

  private:
    bool backup_entropy_;
    std::unique_ptr<Ensemble> ensemble_;
};

// Acts with whichever of a frozen pre-trained policy and the learning one the critics prefer.
class IBRL_Gaussian : public GaussianModel {
  public:
    IBRL_Gaussian(const Config &config, dppo_generator *weights);
    Tensor choose(const Cond &cond, Draws &draws, bool deterministic, bool reparameterize); // (B, Ta, Da)
    Tensor loss_critic(const Transitions &batch, double gamma, Draws &draws);
    Tensor loss_actor(const Cond &obs, Draws &draws);
    void update_target_critic(double tau);
    void update_target_actor(double tau);

  private:
    bool soft_action_sample_;
    double soft_action_sample_beta_;
    std::shared_ptr<GaussianNetwork> target_actor_, bc_policy_;
    std::unique_ptr<Ensemble> ensemble_;
};

} // namespace shim

#endif
