// The networks of the original as torch::nn modules, with its state_dict names.
//
// Shapes: B batch, To observation steps, Do observation, Ta action steps, Da action, M modes. Constructors
// take the keyword arguments of the original's class from a configuration node, with the original's defaults.
// New parameters have torch's default dtype; what they hold is torch's own initialisation until
// draw_weights() or a state replaces it.
#ifndef DPPO_SHIM_NETWORKS_H
#define DPPO_SHIM_NETWORKS_H

#include "call.h"

namespace shim {

using Activation = Tensor (*)(const Tensor &);
// ReLU, ELU, GELU, Tanh, Mish, Identity or Softplus; fails on any other name.
Activation activation(const std::string &name);

struct MlpOptions {
    Shape dim_list;
    std::string activation_type, out_activation_type = "Identity";
    bool use_layernorm = false, use_layernorm_final = false;
    int64_t append_dim = 0;
    Shape append_layers; // layers that get `append` beside their input
};
MlpOptions mlp_options(const Config &config, const char *default_activation);

// What MLP and ResidualMLP have in common: features (B, ..., dim_list.front()) to (B, ..., dim_list.back()).
class Feedforward : public torch::nn::Module {
  public:
    virtual Tensor forward(Tensor x) = 0;
};

class MLP : public Feedforward {
  public:
    explicit MLP(const MlpOptions &options);
    Tensor forward(Tensor x) override {
        return forward(x, Tensor());
    }
    Tensor forward(Tensor x, const Tensor &append); // append (B, append_dim), may be undefined

  private:
    struct Layer : torch::nn::Module {
        torch::nn::Linear linear{nullptr};
        torch::nn::LayerNorm norm{nullptr};
        Activation act = nullptr;
    };
    std::vector<std::shared_ptr<Layer>> layers_;
    Shape append_layers_;
};

class ResidualMLP : public Feedforward {
  public:
    explicit ResidualMLP(const MlpOptions &options);
    Tensor forward(Tensor x) override;

  private:
    // x + l2(act(norm2(l1(act(norm1(x))))))
    struct Block : torch::nn::Module {
        Block(int64_t width, Activation activation, bool use_layernorm);
        Tensor forward(const Tensor &x);
        torch::nn::LayerNorm norm1{nullptr}, norm2{nullptr};
        torch::nn::Linear l1, l2;
        Activation act;
    };
    torch::nn::Linear first_{nullptr}, last_{nullptr};
    std::vector<std::shared_ptr<Block>> blocks_;
    torch::nn::LayerNorm norm_{nullptr};
    Activation out_act_;
};

std::shared_ptr<Feedforward> feedforward(const MlpOptions &options, bool residual_style);

// (n) or (n, 1) steps to (n, dim) or (n, 1, dim): sines, then cosines.
Tensor sinusoidal_pos_emb(const Tensor &x, int64_t dim);

// What a policy is conditioned on. A state alone is a condition without images.
struct Cond {
    Cond() = default;
    Cond(Tensor state_, Tensor rgb_ = Tensor(), Draws *draws_ = nullptr)
        : state(std::move(state_)), rgb(std::move(rgb_)), draws(draws_) {}
    int64_t batch() const {
        return state.size(0);
    }
    Tensor flat() const; // (B, To Do)
    // The same change of every part: rows picked, rows taken from begin to end, every row `count` times in
    // turn.
    Cond index(const Tensor &rows) const;
    Cond slice(int64_t begin, int64_t end) const;
    Cond repeat_interleave(int64_t count) const;

    Tensor state;           // (B, To, Do)
    Tensor rgb;             // (B, To_img, C, H, W), undefined without images
    Draws *draws = nullptr; // where networks that augment images draw from
};

// A network keeps a copy of the configuration it was made from, so that another one like it can be made.
class Network : public torch::nn::Module {
  public:
    explicit Network(const Config &config);
    Config config() const {
        return Config(made_from_.get());
    }

  private:
    std::shared_ptr<dppo_config> made_from_;
};

// Predicts the noise of a chunk: x (B, Ta, Da), time (B) int64 to (B, Ta, Da).
class NoiseNetwork : public Network {
  public:
    using Network::Network;
    virtual Tensor forward(const Tensor &x, const Tensor &time, const Cond &cond) = 0;
};

class DiffusionMLP : public NoiseNetwork {
  public:
    explicit DiffusionMLP(const Config &config);
    Tensor forward(const Tensor &x, const Tensor &time, const Cond &cond) override;

    struct Options {
        int64_t time_dim, action_size, cond_dim;
        Shape cond_mlp_dims; // empty: none
        bool residual_style;
        MlpOptions mean; // dim_list holds the hidden widths
    };

  private:
    Options options_;
    torch::nn::Linear time1_{nullptr}, time2_{nullptr};
    std::shared_ptr<MLP> cond_mlp_;
    std::shared_ptr<Feedforward> mlp_mean_;
};

// Mean and scale of a Gaussian over a flattened chunk, each (B, Ta * Da).
class GaussianNetwork : public Network {
  public:
    using Network::Network;
    virtual std::pair<Tensor, Tensor> forward(const Cond &cond) = 0;
};

class Gaussian_MLP : public GaussianNetwork {
  public:
    explicit Gaussian_MLP(const Config &config);
    std::pair<Tensor, Tensor> forward(const Cond &cond) override;

    struct Options {
        int64_t action_dim, horizon_steps, cond_dim;
        bool tanh_output, residual_style, has_fixed_std, learn_fixed_std;
        double fixed_std, std_min, std_max;
        MlpOptions mean;
    };

  private:
    void learned_std();
    void fixed_std();
    Tensor scale(const Tensor &features, const Tensor &mean);

    Options options_;
    std::shared_ptr<Feedforward> mlp_base_, mlp_mean_, mlp_logvar_;
    Tensor logvar_, logvar_min_, logvar_max_;
};

// A mixture of Gaussians over a flattened chunk: means and scales (B, M, Ta * Da), logits of the modes
// (B, M).
class GmmNetwork : public Network {
  public:
    using Network::Network;
    struct Mixture {
        Tensor means, scales, logits;
    };
    virtual Mixture forward(const Cond &cond) = 0;
};

// V(s), (B, 1). no_augment: images as they are.
class Critic : public Network {
  public:
    using Network::Network;
    virtual Tensor forward(const Cond &cond, bool no_augment = false) = 0;
};

class CriticObs : public Critic {
  public:
    explicit CriticObs(const Config &config);
    Tensor forward(const Cond &cond, bool no_augment = false) override;

  private:
    std::shared_ptr<Feedforward> q1_;
};

// Q(s, a), two of them or, with double_q false, one: (B) each, the second undefined. action (B, Ta, Da).
class CriticObsAct : public Network {
  public:
    explicit CriticObsAct(const Config &config);
    std::pair<Tensor, Tensor> forward(const Cond &cond, const Tensor &action);

  private:
    std::shared_ptr<Feedforward> q1_, q2_;
};

// Eta of DDIM: (B, 1), or (B, Da) where each dimension of an action has its own.
class Eta : public Network {
  public:
    using Network::Network;
    virtual Tensor forward(const Cond &cond) = 0;
};

// One number for every sample.
class EtaFixed : public Eta {
  public:
    explicit EtaFixed(const Config &config);
    Tensor forward(const Cond &cond) override;

  private:
    double min_, max_;
    Tensor logit_;
};

// Builders from a node with _target_. With a generator, weights are drawn from it (draw_weights);
// DPPO_MISSING names a class this side does not have.
std::shared_ptr<NoiseNetwork> build_noise_network(const Config &config, dppo_generator *weights);
std::shared_ptr<GaussianNetwork> build_gaussian_network(const Config &config, dppo_generator *weights);
std::shared_ptr<GmmNetwork> build_gmm_network(const Config &config, dppo_generator *weights);
std::shared_ptr<Critic> build_critic(const Config &config, dppo_generator *weights);
std::shared_ptr<CriticObsAct> build_critic_obs_act(const Config &config, dppo_generator *weights);
std::shared_ptr<Eta> build_eta(const Config &config, dppo_generator *weights);

// The same structure, other weights.
std::shared_ptr<NoiseNetwork> fresh(const NoiseNetwork &network);
std::shared_ptr<GaussianNetwork> fresh(const GaussianNetwork &network);
std::shared_ptr<GmmNetwork> fresh(const GmmNetwork &network);
std::shared_ptr<Critic> fresh(const Critic &network);
std::shared_ptr<CriticObsAct> fresh(const CriticObsAct &network);

// nn.Linear's initialisation in construction order: weight, then bias, both U(+-1/sqrt(fan_in)).
void draw_weights(torch::nn::Module &module, dppo_generator *generator);

// copy.deepcopy: a network of its own with the same values and flags.
template <class Kind> std::shared_ptr<Kind> deepcopy(const Kind &network);
void copy_values(torch::nn::Module &to, const torch::nn::Module &from);
// The original's EMA over parameters: to = to * decay + (1 - decay) * from.
void average_values(torch::nn::Module &to, const torch::nn::Module &from, double decay);
void freeze(torch::nn::Module &module); // requires_grad = False on all parameters

// Every parameter and buffer under all its names, in order.
NamedTensors state_dict(const torch::nn::Module &module);
// Copies in "prefix<name>". strict: all names must be there; else what is there. Shapes must match.
void load_state(torch::nn::Module &module, const dppo_named &from, const std::string &prefix, bool strict);

template <class Kind> std::shared_ptr<Kind> deepcopy(const Kind &network) {
    std::shared_ptr<Kind> copy = fresh(network);
    copy_values(*copy, network);
    return copy;
}

} // namespace shim

#endif
