// PPOExactDiffusion: PPO on the exact likelihood of a diffusion policy's actions.
//
// Shapes as in diffusion.h; E is the number of noise vectors that estimate one divergence.
#ifndef DPPO_SHIM_EXACT_H
#define DPPO_SHIM_EXACT_H

#include "diffusion.h"

namespace shim {

// The variance preserving SDE of a schedule: a score and a drift at the schedule's own steps t (B) int64.
class VPSDE {
  public:
    VPSDE(const Tensor &betas, double min_beta);
    int64_t steps() const {
        return betas_.size(0);
    }
    Tensor score(const Tensor &x, const Tensor &t, const Tensor &prediction, bool predict_epsilon) const;
    // Of the process run backwards in time, or of the deterministic flow with the same marginals.
    Tensor reverse_drift(const Tensor &x, const Tensor &t, const Tensor &score, bool probability_flow) const;
    Tensor prior_logp(const Tensor &z) const; // (B)

  private:
    Tensor betas_, sqrt_alphas_, sqrt_1m_alpha_bar_;
};

// torchdiffeq's solvers with a step_size: y(t1) from y(t0).
using OdeFunction = std::function<Tensor(const Tensor &t, const Tensor &y)>;
Tensor odeint(const std::string &method, const OdeFunction &f, Tensor y, double t0, double t1,
              double step_size);

class PPOExactDiffusion : public VPGDiffusion {
  public:
    PPOExactDiffusion(const Config &config, dppo_generator *weights);
    Tensor get_exact_logprobs(const Cond &cond, const Tensor &samples, Draws &draws); // (B)
    // All but `samples` (B). Entropy and behaviour cloning have no part in it.
    PpoLoss loss(const Cond &cond, const Tensor &samples, const Tensor &returns, const Tensor &oldvalues,
                 const Tensor &advantages, const Tensor &oldlogprobs, Draws &draws);

  private:
    Tensor drift(NoiseNetwork &network, const Tensor &x, const Tensor &t, const Cond &cond);
    Tensor divergence(const Tensor &x, const Tensor &t, const Tensor &epsilon, const Cond &cond);
    Tensor hutchinson_noise(const Shape &shape, Draws &draws) const;

    VPSDE sde_;
    std::string hutchinson_type_, method_;
    double eps_, step_size_, clip_ploss_coef_;
    std::optional<double> clip_vloss_coef_;
    int64_t num_epsilon_;
    bool probability_flow_, norm_adv_;
};

} // namespace shim

#endif
