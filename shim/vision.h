// Images: the vision transformer, the spatial embedding, random shifts, and the networks on top of them
// (model/common/vit.py, modules.py, critic.py, mlp_gaussian.py, model/diffusion/mlp_diffusion.py).
//
// Shapes: B batch, C channels, H, W pixels, P patches, E embedding of a patch.
#ifndef DPPO_SHIM_VISION_H
#define DPPO_SHIM_VISION_H

#include "networks.h"

namespace shim {

// An image (B, C, H, W) with values from 0 to 255 to (B, P, E), or (B, P E) when `flatten`.
class VitEncoder : public torch::nn::Module {
  public:
    explicit VitEncoder(const Config &config);
    Tensor forward(const Tensor &obs, bool flatten = false);
    int64_t num_patch() const;
    int64_t patch_dim() const;

  private:
    class MinVit;
    std::shared_ptr<MinVit> vit_;
};
std::shared_ptr<VitEncoder> build_backbone(const Config &config);

// Features (B, P, E) and proprioception (B, prop_dim) to (B, proj_dim): a projection over the patches,
// weighed and added up over E.
class SpatialEmb : public torch::nn::Module, public OwnWeights {
  public:
    struct Options {
        int64_t num_patch, patch_dim, prop_dim, proj_dim;
    };
    explicit SpatialEmb(const Options &options);
    Tensor forward(const Tensor &feat, const Tensor &prop);
    void draw(dppo_generator *generator) override;
    // deepcopy: draws nothing, takes over what was drawn.
    static std::shared_ptr<SpatialEmb> copy_of(const std::shared_ptr<SpatialEmb> &original);

  private:
    Options options_;
    torch::nn::Linear linear_{nullptr};
    torch::nn::LayerNorm norm_{nullptr};
    Tensor weight_;
    std::weak_ptr<SpatialEmb> original_;
};

// RandomShiftsAug: every image of x (B, C, H, H) shifted by up to `pad` pixels, its border repeated.
Tensor random_shifts(const Tensor &x, int64_t pad, Draws &draws);

// What the networks for images have in common: registers backbone and compress (compress1, compress2 for two
// images) in `owner`, whose keyword arguments these are.
class Vision {
  public:
    Vision(torch::nn::Module &owner, const Config &config, int64_t default_spatial_emb = 0);
    int64_t dim() const {
        return dim_;
    }
    // The images' features (B, dim()); state (B, prop_dim).
    Tensor forward(const Cond &cond, const Tensor &state, bool no_augment = false);

  private:
    Tensor images(const Cond &cond) const; // (B, n, To C, H, W)

    int64_t num_img_, img_cond_steps_, dim_;
    bool augment_;
    std::shared_ptr<VitEncoder> backbone_;
    std::vector<std::shared_ptr<SpatialEmb>> embeddings_;
    torch::nn::Linear linear_{nullptr};
    torch::nn::LayerNorm norm_{nullptr};
};

class VisionDiffusionMLP : public NoiseNetwork {
  public:
    explicit VisionDiffusionMLP(const Config &config);
    Tensor forward(const Tensor &x, const Tensor &time, const Cond &cond) override;

  private:
    Vision vision_;
    std::shared_ptr<StepEmbedding> time_embedding_;
    std::shared_ptr<Feedforward> mlp_mean_;
};

class Gaussian_VisionMLP : public GaussianNetwork {
  public:
    explicit Gaussian_VisionMLP(const Config &config);
    std::pair<Tensor, Tensor> forward(const Cond &cond) override;

  private:
    Vision vision_;
    std::shared_ptr<Feedforward> mlp_mean_, mlp_logvar_;
    Spread spread_;
};

class ViTCritic : public Critic, public OwnWeights {
  public:
    explicit ViTCritic(const Config &config);
    Tensor forward(const Cond &cond, bool no_augment = false) override;
    void draw(dppo_generator *generator) override;

  private:
    std::shared_ptr<Feedforward> q1_;
    std::unique_ptr<Vision> vision_; // registered after Q1
};

} // namespace shim

#endif
