// The diffusion policies of the original that learn from a replay buffer or from weighted samples: RWR, AWR,
// DIPO, DQL, IDQL, QSM. All sample with DDPM only.
//
// Shapes: B batch, K denoising steps, S samples a state, Ta, Da action.
#ifndef DPPO_SHIM_OFFPOLICY_DIFFUSION_H
#define DPPO_SHIM_OFFPOLICY_DIFFUSION_H

#include "diffusion.h"
#include "offpolicy.h"

namespace shim {

// DDPM that keeps at least min_sampling_denoising_std of noise while it explores.
class ExploringDiffusion : public DiffusionModel {
  public:
    ExploringDiffusion(const Config &config, dppo_generator *weights, const char *network_key);
    Samples forward(const Cond &cond, Draws &draws, Mode mode = {}) override; // without gradient

  protected:
    // The whole chain through `network`, recorded where autograd is on; the result clamped to +-final_clip.
    Tensor chain(NoiseNetwork &network, const Cond &cond, Draws &draws, bool deterministic,
                 const std::optional<double> &final_clip);
    // The rest of construction once all parts with weights are there: weights, then those of network_path.
    void fill(const Config &config, dppo_generator *weights, const Parts &parts);

    double min_sampling_denoising_std_;
};

// Reward-weighted regression.
class RWRDiffusion : public ExploringDiffusion {
  public:
    RWRDiffusion(const Config &config, dppo_generator *weights, const char *network_key = "network");
    // Each row's error times its weight, rewards (B); one random t per row, or those given.
    Tensor weighted_loss(const Tensor &x, const Cond &cond, const Tensor &rewards, Draws &draws);
    Tensor weighted_p_losses(const Tensor &x_start, const Cond &cond, const Tensor &rewards, const Tensor &t,
                             Draws &draws);
};

// Advantage-weighted regression; the weights are the agent's business.
class AWRDiffusion : public RWRDiffusion {
  public:
    AWRDiffusion(const Config &config, dppo_generator *weights);
    // mean (V(s) - advantages)^2. V is (B, 1): advantages (B) are compared with every row, as in the
    // original.
    Tensor loss_critic(const Cond &obs, const Tensor &advantages);

  private:
    std::shared_ptr<Critic> critic_;
};

// Critic, target critic and actor of DIPO and DQL, which differ in who samples the next action.
class DIPODiffusion : public ExploringDiffusion {
  public:
    DIPODiffusion(const Config &config, dppo_generator *weights);
    Samples forward(const Cond &cond, Draws &draws, Mode mode = {}) override; // with the target actor
    Tensor loss_critic(const Transitions &batch, double gamma, Draws &draws);
    // `steps` of Adam on actions (B, Ta, Da) against -sum min(Q1, Q2), clamped to [-1, 1] after each.
    Tensor action_gradient(const Cond &obs, const Tensor &actions, double lr, int64_t steps, double max_norm);
    void update_target_critic(double tau);
    void update_target_actor(double tau);

  private:
    std::shared_ptr<CriticObsAct> critic_, critic_target_;
    std::shared_ptr<NoiseNetwork> actor_target_;
};

class DQLDiffusion : public ExploringDiffusion {
  public:
    DQLDiffusion(const Config &config, dppo_generator *weights);
    Tensor forward_train(const Cond &cond, Draws &draws, bool deterministic); // (B, Ta, Da), differentiable
    Tensor loss_critic(const Transitions &batch, double gamma, Draws &draws);
    // Behaviour cloning of its own samples + eta times -Q of one critic, divided by the other's size.
    Tensor loss_actor(const Cond &obs, double eta, int64_t act_steps, Draws &draws);
    void update_target_critic(double tau);

  private:
    std::shared_ptr<CriticObsAct> critic_, critic_target_;
};

class IDQLDiffusion : public RWRDiffusion {
  public:
    IDQLDiffusion(const Config &config, dppo_generator *weights);
    struct Choice {
        bool deterministic = false, use_expectile_exploration = true;
        int64_t num_sample = 10;
        double critic_hyperparam = 0.7;
    };
    // Of num_sample actions the best, or one at random in favour of advantages above zero: (B, Ta, Da).
    Tensor choose(const Cond &cond, const Choice &choice, Draws &draws);
    Tensor compute_advantages(const Cond &obs, const Tensor &actions); // min Q of the targets - V, (B)
    Tensor loss_critic_v(const Cond &obs, const Tensor &actions);
    Tensor loss_critic_q(const Transitions &batch, double gamma);
    void update_target_critic(double tau);

  private:
    std::shared_ptr<CriticObsAct> critic_q_, target_q_;
    std::shared_ptr<Critic> critic_v_;
};

class QSMDiffusion : public RWRDiffusion {
  public:
    QSMDiffusion(const Config &config, dppo_generator *weights);
    // The predicted noise against -q_grad_coeff dQ/da at the noisy actions.
    Tensor loss_actor(const Cond &obs, const Tensor &actions, double q_grad_coeff, Draws &draws);
    Tensor loss_critic(const Transitions &batch, double gamma, Draws &draws);
    void update_target_critic(double tau);

  private:
    std::shared_ptr<CriticObsAct> critic_q_, target_q_;
};

} // namespace shim

#endif
