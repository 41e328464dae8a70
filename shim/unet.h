// The one-dimensional U-Net over a chunk of actions and its parts (model/diffusion/modules.py, unet.py).
//
// Shapes: B batch, C channels, L positions of the chunk (Ta at the top, half of it a level further down),
// F features that every block is conditioned on.
#ifndef DPPO_SHIM_UNET_H
#define DPPO_SHIM_UNET_H

#include "vision.h"

namespace shim {

// Convolution that keeps L (odd kernels), group normalisation when n_groups > 0, activation.
class Conv1dBlock : public torch::nn::Module {
  public:
    struct Options {
        int64_t kernel_size, n_groups; // 0: no normalisation
        std::string activation_type;   // Mish or ReLU
        double eps;
    };
    Conv1dBlock(int64_t in, int64_t out, const Options &options);
    Tensor forward(const Tensor &x); // (B, C, L)

  private:
    torch::nn::Conv1d conv_{nullptr};
    torch::nn::GroupNorm norm_{nullptr};
    Activation act_;
};
// `eps_key`: what a class calls the normalisation's epsilon.
Conv1dBlock::Options conv_options(const Config &config, const char *eps_key, int64_t kernel_size);

class Downsample1d : public torch::nn::Module { // (B, C, L) to (B, C, ceil(L / 2))
  public:
    explicit Downsample1d(int64_t dim);
    Tensor forward(const Tensor &x);

  private:
    torch::nn::Conv1d conv_;
};

class Upsample1d : public torch::nn::Module { // (B, C, L) to (B, C, 2 L)
  public:
    explicit Upsample1d(int64_t dim);
    Tensor forward(const Tensor &x);

  private:
    torch::nn::ConvTranspose1d conv_;
};

// Two convolutions around a shift (and scale) of the channels predicted from the condition, and a shortcut.
class ResidualBlock1D : public torch::nn::Module {
  public:
    struct Options {
        Conv1dBlock::Options conv;
        int64_t cond_dim;
        bool cond_predict_scale, larger_encoder;
    };
    ResidualBlock1D(int64_t in, int64_t out, const Options &options);
    Tensor forward(const Tensor &x, const Tensor &cond); // x (B, C, L), cond (B, F)

  private:
    Tensor encode(const Tensor &cond); // (B, C or 2 C, 1)

    std::shared_ptr<Conv1dBlock> block0_, block1_;
    std::vector<torch::nn::Linear> encoder_;
    torch::nn::Conv1d residual_{nullptr};
    Options options_;
    int64_t channels_;
    Activation act_;
};

// What Unet1D and VisionUnet1D share: everything but what the images add to the condition.
class UnetBase : public NoiseNetwork {
  public:
    using NoiseNetwork::NoiseNetwork;

  protected:
    // `visual_dim`: width of the image features.
    void make_unet(const Config &options, int64_t visual_dim);
    Tensor encode_state(const Cond &cond);
    // x (B, Ta, Da), features (B, F without the step's embedding).
    Tensor run(const Tensor &x, const Tensor &time, const Tensor &features);

  private:
    struct Level : torch::nn::Module {
        Level(int64_t in, int64_t out, const ResidualBlock1D::Options &options);
        Tensor forward(const Tensor &x, const Tensor &features);
        std::shared_ptr<ResidualBlock1D> first, second;
        std::shared_ptr<Downsample1d> down; // null at the bottom and on the way up
        std::shared_ptr<Upsample1d> up;     // null on the way down
    };

    std::shared_ptr<StepEmbedding> time_mlp_;
    std::shared_ptr<ResidualMLP> cond_mlp_;
    std::vector<std::shared_ptr<ResidualBlock1D>> mid_;
    std::vector<std::shared_ptr<Level>> down_, up_;
    std::shared_ptr<Conv1dBlock> final_block_;
    torch::nn::Conv1d final_conv_{nullptr};
};

class Unet1D : public UnetBase {
  public:
    explicit Unet1D(const Config &config);
    Tensor forward(const Tensor &x, const Tensor &time, const Cond &cond) override;
};

class VisionUnet1D : public UnetBase {
  public:
    explicit VisionUnet1D(const Config &config);
    Tensor forward(const Tensor &x, const Tensor &time, const Cond &cond) override;

  private:
    Vision vision_;
};

} // namespace shim

#endif
