// The networks of the original as torch::nn modules, with its state_dict names.
//
// Shapes: B batch, To observation steps, Do observation, Ta action steps, Da action, M modes. Constructors
// take the keyword arguments of the original's class from a configuration node, with the original's defaults.
// New parameters have torch's default dtype; what they hold is torch's own initialisation until
// draw_weights() or a state replaces it.
#ifndef DPPO_SHIM_NETWORKS_H
#define DPPO_SHIM_NETWORKS_H

#include "call.h"

#include <optional>

namespace shim {

// A module that draws its initial weights in a way of its own; without gradient recording.
class OwnWeights {
  public:
    virtual ~OwnWeights() = default;
    virtual void draw(dppo_generator *generator) = 0;
};

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
// [first] + hidden + [last]; a width below zero is left out.
MlpOptions with_dims(MlpOptions options, int64_t first, const Shape &hidden, int64_t last);
// Dropout draws from torch's own generator, which the C side does not share; no configuration in use has it.
void refuse_dropout(const Config &config);

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

// The embedded step through two layers: time (n) to (n, dim), or (n, 1) to (n, 1, dim). A Sequential of
// embedding, Linear, Mish, Linear.
class StepEmbedding : public torch::nn::Module {
  public:
    StepEmbedding(int64_t dim, int64_t hidden);
    Tensor forward(const Tensor &time);

  private:
    int64_t dim_;
    torch::nn::Linear first_, second_;
};

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

// The input `name` of a case: a dictionary with state and, perhaps, rgb; or the state itself.
Cond condition(Call &call, const std::string &name = "cond");

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
    std::shared_ptr<StepEmbedding> time_embedding_;
    std::shared_ptr<MLP> cond_mlp_;
    std::shared_ptr<Feedforward> mlp_mean_;
};

// Mean and scale of a Gaussian over a flattened chunk, each (B, Ta * Da).
class GaussianNetwork : public Network {
  public:
    using Network::Network;
    virtual std::pair<Tensor, Tensor> forward(const Cond &cond) = 0;
};

// The standard deviation of a policy with M modes: given (fixed_std), learnt for each mode and dimension of
// an action (learn_fixed_std), or predicted by the network. Registers logvar, logvar_min, logvar_max in
// `owner`.
class Spread {
  public:
    Spread(torch::nn::Module &owner, const Config &config, int64_t modes, int64_t action_dim,
           int64_t horizon_steps);
    bool predicted() const {
        return !fixed_std_;
    }
    Tensor fixed(const Tensor &mean) const;      // mean (B, Ta Da) or (B, M, Ta Da): the scale beside it
    Tensor of(const Tensor &logvar) const;       // clamped to the bounds
    Tensor squashed(const Tensor &logvar) const; // tanh, stretched to the bounds

  private:
    std::optional<double> fixed_std_;
    int64_t modes_, action_dim_, horizon_steps_;
    Tensor logvar_, min_, max_;
};

class Gaussian_MLP : public GaussianNetwork {
  public:
    explicit Gaussian_MLP(const Config &config);
    std::pair<Tensor, Tensor> forward(const Cond &cond) override;

    struct Options {
        int64_t action_dim, horizon_steps, cond_dim;
        bool tanh_output, residual_style;
        MlpOptions mean;
    };

  private:
    void learned_std();
    void fixed_std();

    Options options_;
    Spread spread_;
    std::shared_ptr<Feedforward> mlp_base_, mlp_mean_, mlp_logvar_;
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

class GMM_MLP : public GmmNetwork {
  public:
    explicit GMM_MLP(const Config &config);
    Mixture forward(const Cond &cond) override;

  private:
    int64_t num_modes_;
    Spread spread_;
    std::shared_ptr<Feedforward> mlp_mean_, mlp_logvar_, mlp_weights_;
};

// V(s), (B, 1). no_augment: images as they are.
class Critic : public Network {
  public:
    using Network::Network;
    virtual Tensor forward(const Cond &cond, bool no_augment = false) = 0;
};

MlpOptions critic_options(const Config &config, int64_t width); // `width` features to one value

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

// One number for every dimension of an action, learnt.
class EtaAction : public Eta {
  public:
    explicit EtaAction(const Config &config);
    Tensor forward(const Cond &cond) override;

  private:
    double min_, max_;
    Tensor logit_;
};

// A network around base_eta, near which it starts; no images.
class EtaState : public Eta, public OwnWeights {
  public:
    explicit EtaState(const Config &config) : EtaState(config, 1, {0.5, 0.1, 1.0}) {}
    Tensor forward(const Cond &cond) override;
    void draw(dppo_generator *generator) override;

  protected:
    struct Defaults {
        double base, min, max;
    };
    EtaState(const Config &config, int64_t outputs, Defaults defaults);

  private:
    double base_, min_, max_, gain_;
    std::shared_ptr<MLP> mlp_res_;
};

class EtaStateAction : public EtaState {
  public:
    explicit EtaStateAction(const Config &config)
        : EtaState(config, config.integer("action_dim"), {1, 1e-3, 2}) {}
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

// Initial weights in the order in which the original draws them: those of linear layers and convolutions as
// torch does in order of construction (weight, then bias, both U(+-1/sqrt(fan_in))), except where a module
// has OwnWeights. draw_members() treats the members of a module only.
void draw_weights(torch::nn::Module &module, dppo_generator *generator);
void draw_members(torch::nn::Module &module, dppo_generator *generator);
// One parameter, in float32 from the stream that both sides share: uniform_(-bound, bound), normal_, and
// trunc_normal_ within +-2.
void draw_uniform(Tensor parameter, double bound, dppo_generator *generator);
void draw_normal(Tensor parameter, double mean, double std, dppo_generator *generator);
void draw_trunc_normal(Tensor parameter, double std, dppo_generator *generator);
// Those of parts of a policy in the order of the configuration's keys, as hydra builds them. `weights`
// may be null, and so may a part.
using Parts = std::vector<std::pair<std::string, torch::nn::Module *>>;
void draw_parts(const Config &config, dppo_generator *weights, const Parts &parts);

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
