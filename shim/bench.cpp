// A network on one batch, to be measured against the C side: built once, stepped many times.
#include "diffusion.h"
#include "vision.h"

namespace shim {

using Outputs = std::vector<Tensor>;

struct TimedNetwork {
    std::shared_ptr<torch::nn::Module> module;
    std::function<Outputs()> forward;
    Outputs outputs; // of the last step, detached
};

static Tensor input(const dppo_named &in, const char *name) {
    const dppo_tensor *found = dppo_named_get(&in, name);
    return found != nullptr ? from_c(found) : Tensor();
}

// Keeps `module` and what to call on each step.
template <class Kind, class Forward>
static TimedNetwork timed(const std::shared_ptr<Kind> &module, Forward forward) {
    return {module, [module, forward] { return forward(*module); }, {}};
}

static TimedNetwork build(const std::string &family, const Config &config, const dppo_named &in) {
    const Cond cond(input(in, "state"), input(in, "rgb"));
    if (family == "noise")
        return timed(build_noise_network(config, nullptr),
                     [cond, x = input(in, "x"), time = input(in, "time")](NoiseNetwork &network) {
                         return Outputs{network.forward(x, time, cond)};
                     });
    if (family == "gaussian")
        return timed(build_gaussian_network(config, nullptr), [cond](GaussianNetwork &network) {
            const auto [mean, scale] = network.forward(cond);
            return Outputs{mean, scale};
        });
    if (family == "gmm")
        return timed(build_gmm_network(config, nullptr), [cond](GmmNetwork &network) {
            const auto mixture = network.forward(cond);
            return Outputs{mixture.means, mixture.scales, mixture.logits};
        });
    if (family == "critic")
        return timed(build_critic(config, nullptr),
                     [cond](Critic &network) { return Outputs{network.forward(cond)}; });
    if (family == "eta")
        return timed(build_eta(config, nullptr),
                     [cond](Eta &network) { return Outputs{network.forward(cond)}; });
    if (family == "critic_obs_act")
        return timed(build_critic_obs_act(config, nullptr),
                     [cond, action = input(in, "action")](CriticObsAct &network) {
                         const auto [q1, q2] = network.forward(cond, action);
                         return q2.defined() ? Outputs{q1, q2} : Outputs{q1};
                     });
    if (family == "encoder")
        return timed(build_backbone(config), [image = input(in, "image")](VitEncoder &network) {
            return Outputs{network.forward(image, false)};
        });
    invalid("libtorch has no family of networks \"" + family + "\"");
}

// d/dy (y^2 / 2) = y: the outputs are their own cotangents.
static void step(TimedNetwork &network) {
    network.module->zero_grad();
    Outputs roots, cotangents;
    for (const Tensor &output : network.forward()) {
        if (!output.requires_grad()) continue;
        roots.push_back(output);
        cotangents.push_back(output.detach());
    }
    torch::autograd::backward(roots, cotangents);
    network.outputs = cotangents;
}

} // namespace shim

struct shim_network {
    shim::TimedNetwork timed;
};

extern "C" dppo_status shim_network_new(const char *family, const dppo_config *config,
                                        const dppo_named *state, const dppo_named *in,
                                        shim_network **network) {
    *network = nullptr;
    DPPO_TRY(shim_init(0));
    return shim::guarded([&] {
        auto made = std::make_unique<shim_network>();
        made->timed = shim::build(family, shim::Config(config), *in);
        shim::load_state(*made->timed.module, *state, "", true);
        *network = made.release();
    });
}

extern "C" dppo_status shim_network_step(shim_network *network) {
    return shim::guarded([&] { shim::step(network->timed); });
}

extern "C" dppo_status shim_network_result(const shim_network *network, double *objective, double *norm) {
    return shim::guarded([&] {
        double squares = 0, gradients = 0;
        for (const shim::Tensor &output : network->timed.outputs)
            squares += output.to(torch::kFloat64).square().sum().item<double>();
        for (const shim::Tensor &parameter : network->timed.module->parameters())
            if (parameter.grad().defined())
                gradients += parameter.grad().to(torch::kFloat64).square().sum().item<double>();
        *objective = squares / 2;
        *norm = std::sqrt(gradients);
    });
}

extern "C" void shim_network_free(shim_network *network) {
    delete network;
}
