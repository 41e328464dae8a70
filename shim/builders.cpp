// Networks by _target_, and their initial weights.
#include "transformer.h"
#include "unet.h"

#include <cmath>

namespace shim {

template <class Kind> struct Class {
    const char *target;
    std::shared_ptr<Kind> (*make)(const Config &);
};

template <class Kind, class Derived> static std::shared_ptr<Kind> make(const Config &config) {
    return std::make_shared<Derived>(config);
}

template <class Kind, size_t Count>
static std::shared_ptr<Kind> build(const Class<Kind> (&classes)[Count], const char *what,
                                   const Config &config, dppo_generator *weights) {
    for (const Class<Kind> &one : classes) {
        if (config.target() != one.target) continue;
        const std::shared_ptr<Kind> network = one.make(config);
        if (weights != nullptr) draw_weights(*network, weights);
        return network;
    }
    throw Failure(DPPO_MISSING,
                  std::string(what) + ": libtorch side has no _target_ \"" + config.target() + "\"");
}

std::shared_ptr<NoiseNetwork> build_noise_network(const Config &config, dppo_generator *weights) {
    static const Class<NoiseNetwork> classes[] = {
        {"DiffusionMLP", make<NoiseNetwork, DiffusionMLP>},
        {"Unet1D", make<NoiseNetwork, Unet1D>},
        {"VisionDiffusionMLP", make<NoiseNetwork, VisionDiffusionMLP>},
        {"VisionUnet1D", make<NoiseNetwork, VisionUnet1D>},
    };
    return build(classes, "diffusion network", config, weights);
}

std::shared_ptr<GaussianNetwork> build_gaussian_network(const Config &config, dppo_generator *weights) {
    static const Class<GaussianNetwork> classes[] = {
        {"Gaussian_MLP", make<GaussianNetwork, Gaussian_MLP>},
        {"Gaussian_Transformer", make<GaussianNetwork, Gaussian_Transformer>},
        {"Gaussian_VisionMLP", make<GaussianNetwork, Gaussian_VisionMLP>},
    };
    return build(classes, "Gaussian network", config, weights);
}

std::shared_ptr<GmmNetwork> build_gmm_network(const Config &config, dppo_generator *weights) {
    static const Class<GmmNetwork> classes[] = {
        {"GMM_MLP", make<GmmNetwork, GMM_MLP>},
        {"GMM_Transformer", make<GmmNetwork, GMM_Transformer>},
    };
    return build(classes, "GMM network", config, weights);
}

std::shared_ptr<Critic> build_critic(const Config &config, dppo_generator *weights) {
    static const Class<Critic> classes[] = {
        {"CriticObs", make<Critic, CriticObs>},
        {"ViTCritic", make<Critic, ViTCritic>},
    };
    return build(classes, "critic", config, weights);
}

std::shared_ptr<CriticObsAct> build_critic_obs_act(const Config &config, dppo_generator *weights) {
    static const Class<CriticObsAct> classes[] = {
        {"CriticObsAct", make<CriticObsAct, CriticObsAct>},
    };
    return build(classes, "critic of actions", config, weights);
}

std::shared_ptr<Eta> build_eta(const Config &config, dppo_generator *weights) {
    static const Class<Eta> classes[] = {
        {"EtaAction", make<Eta, EtaAction>},
        {"EtaFixed", make<Eta, EtaFixed>},
        {"EtaState", make<Eta, EtaState>},
        {"EtaStateAction", make<Eta, EtaStateAction>},
    };
    return build(classes, "eta", config, weights);
}

std::shared_ptr<NoiseNetwork> fresh(const NoiseNetwork &network) {
    return build_noise_network(network.config(), nullptr);
}

std::shared_ptr<GaussianNetwork> fresh(const GaussianNetwork &network) {
    return build_gaussian_network(network.config(), nullptr);
}

std::shared_ptr<GmmNetwork> fresh(const GmmNetwork &network) {
    return build_gmm_network(network.config(), nullptr);
}

std::shared_ptr<Critic> fresh(const Critic &network) {
    return build_critic(network.config(), nullptr);
}

std::shared_ptr<CriticObsAct> fresh(const CriticObsAct &network) {
    return build_critic_obs_act(network.config(), nullptr);
}

// -- initial weights

static dppo_tensor view_of(const Tensor &values) {
    dppo_tensor view = {};
    view.dtype = DPPO_F32;
    view.ndim = static_cast<int>(values.dim());
    std::copy(values.sizes().begin(), values.sizes().end(), view.shape);
    std::copy(values.strides().begin(), values.strides().end(), view.stride);
    view.data = values.data_ptr();
    return view;
}

void draw_uniform(Tensor parameter, double bound, dppo_generator *generator) {
    const Tensor values = torch::empty(parameter.sizes(), torch::kFloat32);
    dppo_tensor view = view_of(values);
    check(dppo_draw_uniform(generator, &view, -bound, bound));
    parameter.copy_(values);
}

void draw_normal(Tensor parameter, double mean, double std, dppo_generator *generator) {
    const Tensor values = torch::empty(parameter.sizes(), torch::kFloat32);
    dppo_tensor view = view_of(values);
    check(dppo_draw_normal(generator, &view, mean, std));
    parameter.copy_(values);
}

// The inverse of the cumulative distribution at uniform numbers between those of the bounds.
void draw_trunc_normal(Tensor parameter, double std, dppo_generator *generator) {
    const double bound = 2, share = (1 + std::erf(bound / std / std::sqrt(2.0))) / 2;
    Tensor values = torch::empty(parameter.sizes(), torch::kFloat32);
    dppo_tensor view = view_of(values);
    check(dppo_draw_uniform(generator, &view, 2 * (1 - share) - 1, 2 * share - 1));
    values.erfinv_().mul_(std * std::sqrt(2.0)).clamp_(-bound, bound);
    parameter.copy_(values);
}

// kaiming_uniform_ with a = sqrt(5): gain sqrt(2 / (1 + 5)), bound sqrt(3) gain / sqrt(fan_in).
static void draw_layer(const Tensor &weight, const Tensor &bias, dppo_generator *generator) {
    const double fan_in = static_cast<double>(weight[0].numel());
    draw_uniform(weight, std::sqrt(3.0) * (std::sqrt(2.0 / 6.0) / std::sqrt(fan_in)), generator);
    draw_uniform(bias, 1 / std::sqrt(fan_in), generator);
}

template <class Layer> static bool draw_as(torch::nn::Module &module, dppo_generator *generator) {
    auto *layer = dynamic_cast<Layer *>(&module);
    if (layer != nullptr) draw_layer(layer->weight, layer->bias, generator);
    return layer != nullptr;
}

void draw_members(torch::nn::Module &module, dppo_generator *generator) {
    for (const auto &child : module.children())
        draw_weights(*child, generator);
}

void draw_weights(torch::nn::Module &module, dppo_generator *generator) {
    torch::NoGradGuard no_grad;
    if (auto *own = dynamic_cast<OwnWeights *>(&module)) return own->draw(generator);
    if (draw_as<torch::nn::LinearImpl>(module, generator)) return;
    if (draw_as<torch::nn::Conv1dImpl>(module, generator)) return;
    if (draw_as<torch::nn::Conv2dImpl>(module, generator)) return;
    if (draw_as<torch::nn::ConvTranspose1dImpl>(module, generator)) return;
    draw_members(module, generator);
}

} // namespace shim
