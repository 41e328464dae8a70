// Gaussian policies of the original: GaussianModel, VPG_Gaussian, PPO_Gaussian.
//
// Shapes: B batch, To, Do observation, Ta, Da action. The distribution is over flattened chunks (B, Ta Da).
#ifndef DPPO_SHIM_GAUSSIAN_H
#define DPPO_SHIM_GAUSSIAN_H

#include "diffusion.h"

namespace shim {

class GaussianModel : public torch::nn::Module {
  public:
    // `weights` may be null; `network_key` is the key of the network ("actor" for the policies).
    GaussianModel(const Config &config, dppo_generator *weights, const char *network_key = "network");

    struct Sample {
        Tensor action, log_prob; // (B, Ta, Da); (B) when asked for
    };
    Sample forward(const Cond &cond, Draws &draws, bool deterministic, bool reparameterize, bool get_logprob);
    // true_action (B, Ta, Da): mean negative log-likelihood less ent_coef times the entropy, and the entropy.
    std::pair<Tensor, Tensor> loss(const Tensor &true_action, const Cond &cond, double ent_coef);
    // The weights of network_path, if there is one, for what is registered by now.
    void load_pretrained(const Config &config);

  protected:
    struct Normal {
        Tensor loc, scale;
        Tensor entropy() const;
    };
    Normal forward_train(GaussianNetwork &network, const Cond &cond, bool deterministic);
    Sample sample(GaussianNetwork &network, const Cond &cond, Draws &draws, bool deterministic,
                  bool reparameterize, bool get_logprob);

    int64_t horizon_steps_;
    double randn_clip_value_;
    bool tanh_output_;
    std::shared_ptr<GaussianNetwork> network_;
};

std::shared_ptr<GaussianModel> build_gaussian_model(const Config &config, dppo_generator *weights);

// network and actor_ft are one; actor is a frozen copy of what it was.
class VPG_Gaussian : public GaussianModel {
  public:
    VPG_Gaussian(const Config &config, dppo_generator *weights);

    Tensor forward(const Cond &cond, Draws &draws, Mode mode = {}); // (B, Ta, Da), without gradient
    struct LogProbs {
        Tensor log_prob, entropy, std; // (B), (), ()
    };
    LogProbs get_logprobs(const Cond &cond, const Tensor &actions, bool use_base_policy = false);

    GaussianNetwork &actor_ft() {
        return *network_;
    }
    Critic &critic() {
        return *critic_;
    }

  protected:
    std::shared_ptr<GaussianNetwork> actor_;
    std::shared_ptr<Critic> critic_;
};

// actions (B, Ta, Da), the rest (B).
struct GaussianBatch {
    Cond cond;
    Tensor actions, returns, oldvalues, advantages, oldlogprobs;
};

// The part of PPO's loss that does not depend on the kind of distribution: log-probabilities and advantages
// (B).
struct PpoRatio {
    Tensor newlogprobs, oldlogprobs, advantages;
    double clip_ploss_coef;
    bool norm_adv;
};
void add_policy_loss(const PpoRatio &given, PpoLoss &result); // pg_loss, clipfrac, approx_kl, ratio

class PPO_Gaussian : public VPG_Gaussian {
  public:
    PPO_Gaussian(const Config &config, dppo_generator *weights);
    PpoLoss loss(const GaussianBatch &batch, bool use_bc_loss, Draws &draws);

  private:
    double clip_ploss_coef_;
    std::optional<double> clip_vloss_coef_;
    bool norm_adv_;
};

} // namespace shim

#endif
