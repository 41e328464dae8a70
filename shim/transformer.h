// Policies on a transformer decoder whose queries are the positions of the chunk
// (model/common/transformer.py).
#ifndef DPPO_SHIM_TRANSFORMER_H
#define DPPO_SHIM_TRANSFORMER_H

#include "networks.h"

namespace shim {

class Transformer; // its steps, (B, Ta, E) before the head and after it

class Gaussian_Transformer : public GaussianNetwork {
  public:
    explicit Gaussian_Transformer(const Config &config);
    std::pair<Tensor, Tensor> forward(const Cond &cond) override;

  private:
    std::shared_ptr<Transformer> transformer_;
    int64_t action_dim_;
    Spread spread_;
};

class GMM_Transformer : public GmmNetwork {
  public:
    explicit GMM_Transformer(const Config &config);
    Mixture forward(const Cond &cond) override;

  private:
    std::shared_ptr<Transformer> transformer_;
    torch::nn::Linear modes_head_{nullptr};
    int64_t num_modes_, action_dim_;
    Spread spread_;
};

} // namespace shim

#endif
