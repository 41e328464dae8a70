// Policies of the original whose distribution is a mixture of Gaussians: GMMModel, VPG_GMM, PPO_GMM.
//
// Shapes: B batch, M modes, Ta, Da action. The distribution is over flattened chunks (B, Ta Da).
#ifndef DPPO_SHIM_GMM_H
#define DPPO_SHIM_GMM_H

#include "gaussian.h"

namespace shim {

class GMMModel : public torch::nn::Module {
  public:
    // `weights` may be null; `network_key` is the key of the network ("actor" for the policies).
    GMMModel(const Config &config, dppo_generator *weights, const char *network_key = "network");

    Tensor forward(const Cond &cond, Draws &draws, bool deterministic); // (B, Ta, Da), without gradient
    // true_action (B, Ta, Da): mean negative log-likelihood, and the approximate entropy.
    std::pair<Tensor, Tensor> loss(const Tensor &true_action, const Cond &cond);
    // The weights of network_path, if there is one, for what is registered by now.
    void load_pretrained(const Config &config);

  protected:
    struct Policy {
        NormalMixture dist;
        Tensor entropy, std; // (): both averaged over the modes with their probabilities, then over rows
    };
    Policy forward_train(const Cond &cond, bool deterministic);

    int64_t horizon_steps_;
    std::shared_ptr<GmmNetwork> network_;
};

// network and actor_ft are one.
class VPG_GMM : public GMMModel {
  public:
    VPG_GMM(const Config &config, dppo_generator *weights);
    struct LogProbs {
        Tensor log_prob, entropy, std; // (B), (), ()
    };
    LogProbs get_logprobs(const Cond &cond, const Tensor &actions);

  protected:
    std::shared_ptr<Critic> critic_;
};

class PPO_GMM : public VPG_GMM {
  public:
    PPO_GMM(const Config &config, dppo_generator *weights);
    PpoLoss loss(const GaussianBatch &batch);

  private:
    double clip_ploss_coef_;
    std::optional<double> clip_vloss_coef_;
    bool norm_adv_;
};

} // namespace shim

#endif
