#include "networks.h"

#include <algorithm>
#include <cmath>

namespace shim {

Activation activation(const std::string &name) {
    static const std::map<std::string, Activation> known = {
        {"ReLU", [](const Tensor &x) { return torch::relu(x); }},
        {"ELU", [](const Tensor &x) { return torch::elu(x); }},
        {"GELU", [](const Tensor &x) { return torch::gelu(x); }},
        {"Tanh", [](const Tensor &x) { return torch::tanh(x); }},
        {"Mish", [](const Tensor &x) { return torch::mish(x); }},
        {"Identity", [](const Tensor &x) { return x; }},
        {"Softplus", [](const Tensor &x) { return torch::softplus(x); }},
    };
    const auto place = known.find(name);
    if (place == known.end()) invalid("activation \"" + name + "\": unknown");
    return place->second;
}

// Dropout draws from torch's own generator, which the C side does not share; no configuration in use has it.
static void refuse_dropout(const Config &config) {
    if (config.number("dropout", 0) > 0) invalid("dropout: only 0 is supported");
}

MlpOptions mlp_options(const Config &config, const char *default_activation) {
    refuse_dropout(config);
    MlpOptions options;
    options.dim_list = config.integers("dim_list");
    options.activation_type = config.text("activation_type", default_activation);
    options.out_activation_type = config.text("out_activation_type", "Identity");
    options.use_layernorm = config.flag("use_layernorm", false);
    options.use_layernorm_final = config.flag("use_layernorm_final", false);
    options.append_dim = config.integer("append_dim", 0);
    options.append_layers = config.integers("append_layers");
    return options;
}

static torch::nn::LayerNorm layer_norm(int64_t width, double eps = 1e-5) {
    return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(eps));
}

static bool contains(const Shape &list, size_t value) {
    return std::find(list.begin(), list.end(), static_cast<int64_t>(value)) != list.end();
}

// -- MLP
// -----------------------------------------------------------------------------------------------------

MLP::MLP(const MlpOptions &options) : append_layers_(options.append_layers) {
    const Shape &dims = options.dim_list;
    if (dims.size() < 2) invalid("dim_list: an MLP needs at least an input and an output width");
    torch::nn::ModuleList list;
    for (size_t i = 0; i + 1 < dims.size(); i++) {
        const bool final = i + 2 == dims.size();
        const bool appended = options.append_dim > 0 && contains(append_layers_, i);
        const int64_t width = dims[i] + (appended ? options.append_dim : 0);
        auto layer = std::make_shared<Layer>();
        layer->linear = layer->register_module("linear_1", torch::nn::Linear(width, dims[i + 1]));
        if (options.use_layernorm && (!final || options.use_layernorm_final))
            layer->norm = layer->register_module("norm_1", layer_norm(dims[i + 1]));
        layer->act = activation(final ? options.out_activation_type : options.activation_type);
        layers_.push_back(layer);
        list->push_back(layer);
    }
    register_module("moduleList", list);
}

Tensor MLP::forward(Tensor x, const Tensor &append) {
    for (size_t i = 0; i < layers_.size(); i++) {
        Layer &layer = *layers_[i];
        if (append.defined() && contains(append_layers_, i)) x = torch::cat({x, append}, -1);
        x = layer.linear(x);
        if (!layer.norm.is_empty()) x = layer.norm(x);
        x = layer.act(x);
    }
    return x;
}

// -- ResidualMLP
// -----------------------------------------------------------------------------------------------

ResidualMLP::Block::Block(int64_t width, Activation activation_, bool use_layernorm)
    : l1(width, width), l2(width, width), act(activation_) {
    register_module("l1", l1);
    register_module("l2", l2);
    if (use_layernorm) {
        norm1 = register_module("norm1", layer_norm(width, 1e-6));
        norm2 = register_module("norm2", layer_norm(width, 1e-6));
    }
}

Tensor ResidualMLP::Block::forward(const Tensor &input) {
    Tensor x = input;
    if (!norm1.is_empty()) x = norm1(x);
    x = l1(act(x));
    if (!norm2.is_empty()) x = norm2(x);
    x = l2(act(x));
    return x + input;
}

ResidualMLP::ResidualMLP(const MlpOptions &options) : out_act_(activation(options.out_activation_type)) {
    const Shape &dims = options.dim_list;
    if (dims.size() < 3 || (dims.size() - 3) % 2 != 0)
        invalid("dim_list: a ResidualMLP needs an odd number of hidden widths, there are " +
                std::to_string(static_cast<int64_t>(dims.size()) - 2));
    torch::nn::ModuleList list;
    first_ = torch::nn::Linear(dims[0], dims[1]);
    list->push_back(first_);
    for (size_t i = 1; i < dims.size() - 3; i += 2) {
        blocks_.push_back(
            std::make_shared<Block>(dims[1], activation(options.activation_type), options.use_layernorm));
        list->push_back(blocks_.back());
    }
    last_ = torch::nn::Linear(dims[1], dims.back());
    list->push_back(last_);
    if (options.use_layernorm_final) {
        norm_ = layer_norm(dims.back());
        list->push_back(norm_);
    }
    register_module("layers", list);
}

Tensor ResidualMLP::forward(Tensor x) {
    x = first_(x);
    for (const auto &block : blocks_)
        x = block->forward(x);
    x = last_(x);
    if (!norm_.is_empty()) x = norm_(x);
    return out_act_(x);
}

std::shared_ptr<Feedforward> feedforward(const MlpOptions &options, bool residual_style) {
    if (residual_style) return std::make_shared<ResidualMLP>(options);
    return std::make_shared<MLP>(options);
}

// [first] + hidden + [last]; a width below zero is left out.
static MlpOptions with_dims(MlpOptions options, int64_t first, const Shape &hidden, int64_t last) {
    options.dim_list = {first};
    options.dim_list.insert(options.dim_list.end(), hidden.begin(), hidden.end());
    if (last >= 0) options.dim_list.push_back(last);
    return options;
}

// -- conditions
// --------------------------------------------------------------------------------------------------

Tensor Cond::flat() const {
    return state.reshape({state.size(0), -1});
}

Cond Cond::index(const Tensor &rows) const {
    return {state.index({rows}), rgb.defined() ? rgb.index({rows}) : rgb, draws};
}

Cond Cond::slice(int64_t begin, int64_t end) const {
    return {state.slice(0, begin, end), rgb.defined() ? rgb.slice(0, begin, end) : rgb, draws};
}

// A repeated dimension rather than repeat_interleave: gradients are then summed in the original's order.
static Tensor repeat_rows(const Tensor &x, int64_t count) {
    Shape repeats(static_cast<size_t>(x.dim() + 1), 1);
    repeats[1] = count;
    return x.unsqueeze(1).repeat(repeats).flatten(0, 1);
}

Cond Cond::repeat_interleave(int64_t count) const {
    return {repeat_rows(state, count), rgb.defined() ? repeat_rows(rgb, count) : rgb, draws};
}

Network::Network(const Config &config) : made_from_(dppo_config_copy(config.node()), dppo_config_free) {
    if (made_from_ == nullptr) throw Failure(DPPO_NO_MEMORY, "configuration of a network: out of memory");
}

// -- DiffusionMLP
// ------------------------------------------------------------------------------------------------

Tensor sinusoidal_pos_emb(const Tensor &x, int64_t dim) {
    const int64_t half = dim / 2;
    if (half < 2) invalid("SinusoidalPosEmb: dim must be at least 4, is " + std::to_string(dim));
    const double step = std::log(10000.0) / static_cast<double>(half - 1);
    // An integer range times a python float has torch's default dtype.
    const Tensor frequency = torch::exp(torch::arange(half, torch::kInt64) * -step);
    const Tensor phase = x.unsqueeze(1) * frequency.unsqueeze(0);
    return torch::cat({phase.sin(), phase.cos()}, -1);
}

static DiffusionMLP::Options diffusion_mlp_options(const Config &config) {
    DiffusionMLP::Options options;
    options.mean = mlp_options(config, "Mish");
    options.mean.dim_list = config.has("mlp_dims") ? config.integers("mlp_dims") : Shape{256, 256};
    options.time_dim = config.integer("time_dim", 16);
    options.action_size = config.integer("action_dim") * config.integer("horizon_steps");
    options.cond_dim = config.integer("cond_dim");
    options.cond_mlp_dims = config.integers("cond_mlp_dims");
    options.residual_style = config.flag("residual_style", false);
    return options;
}

DiffusionMLP::DiffusionMLP(const Config &config)
    : NoiseNetwork(config), options_(diffusion_mlp_options(config)) {
    const Options &options = options_;
    // A Sequential of embedding, Linear, Mish, Linear: only 1 and 3 have parameters.
    auto time_embedding = std::make_shared<torch::nn::Module>();
    time1_ = time_embedding->register_module("1", torch::nn::Linear(options.time_dim, options.time_dim * 2));
    time2_ = time_embedding->register_module("3", torch::nn::Linear(options.time_dim * 2, options.time_dim));
    register_module("time_embedding", time_embedding);
    int64_t cond_size = options.cond_dim;
    if (!options.cond_mlp_dims.empty()) {
        MlpOptions encoder;
        encoder.activation_type = options.mean.activation_type;
        cond_mlp_ = std::make_shared<MLP>(with_dims(encoder, cond_size, options.cond_mlp_dims, -1));
        register_module("cond_mlp", cond_mlp_);
        cond_size = options.cond_mlp_dims.back();
    }
    MlpOptions mean = options.mean;
    mean.use_layernorm_final = false;
    mean.append_layers.clear();
    const int64_t input = options.time_dim + options.action_size + cond_size;
    mlp_mean_ =
        feedforward(with_dims(mean, input, mean.dim_list, options.action_size), options.residual_style);
    register_module("mlp_mean", mlp_mean_);
}

Tensor DiffusionMLP::forward(const Tensor &chunk, const Tensor &time, const Cond &cond) {
    const int64_t batch = chunk.size(0);
    Tensor state = cond.flat();
    if (cond_mlp_) state = cond_mlp_->forward(state);
    Tensor embedding = sinusoidal_pos_emb(time.view({batch, 1}), options_.time_dim);
    embedding = time2_(torch::mish(time1_(embedding))).view({batch, options_.time_dim});
    const Tensor x = torch::cat({chunk.reshape({batch, -1}), embedding, state}, -1);
    return mlp_mean_->forward(x).view({batch, chunk.size(1), chunk.size(2)});
}

// -- Gaussian_MLP
// ------------------------------------------------------------------------------------------------

static Gaussian_MLP::Options gaussian_mlp_options(const Config &config) {
    Gaussian_MLP::Options options;
    options.mean = mlp_options(config, "Mish");
    options.mean.dim_list = config.has("mlp_dims") ? config.integers("mlp_dims") : Shape{256, 256, 256};
    options.mean.out_activation_type = "Identity";
    options.action_dim = config.integer("action_dim");
    options.horizon_steps = config.integer("horizon_steps");
    options.cond_dim = config.integer("cond_dim");
    options.tanh_output = config.flag("tanh_output", true);
    options.residual_style = config.flag("residual_style", false);
    options.has_fixed_std = config.has("fixed_std");
    options.fixed_std = config.number("fixed_std", 0);
    options.learn_fixed_std = config.flag("learn_fixed_std", false);
    options.std_min = config.number("std_min", 0.01);
    options.std_max = config.number("std_max", 1);
    return options;
}

// log(std^2) as the original makes it: the square in python, the logarithm in torch.
static Tensor log_variance(double std, at::IntArrayRef shape) {
    return torch::log(torch::full(shape, std * std, torch::get_default_dtype()));
}

Gaussian_MLP::Gaussian_MLP(const Config &config)
    : GaussianNetwork(config), options_(gaussian_mlp_options(config)) {
    options_.has_fixed_std ? fixed_std() : learned_std();
    logvar_min_ = register_parameter("logvar_min", log_variance(options_.std_min, {}), false);
    logvar_max_ = register_parameter("logvar_max", log_variance(options_.std_max, {}), false);
}

// A common trunk with a head for the mean and one for the logarithm of the variance.
void Gaussian_MLP::learned_std() {
    const Shape &hidden = options_.mean.dim_list;
    if (hidden.empty()) invalid("mlp_dims: empty");
    const int64_t size = options_.action_dim * options_.horizon_steps;
    MlpOptions base = with_dims(options_.mean, options_.cond_dim, hidden, -1);
    base.out_activation_type = base.activation_type;
    base.use_layernorm_final = base.use_layernorm;
    mlp_base_ = register_module("mlp_base", feedforward(base, options_.residual_style));
    MlpOptions head;
    head.activation_type = "Tanh";
    head.dim_list = {hidden.back(), size};
    mlp_mean_ = register_module("mlp_mean", std::make_shared<MLP>(head));
    mlp_logvar_ = register_module("mlp_logvar", std::make_shared<MLP>(head));
}

void Gaussian_MLP::fixed_std() {
    const int64_t size = options_.action_dim * options_.horizon_steps;
    MlpOptions mean = with_dims(options_.mean, options_.cond_dim, options_.mean.dim_list, size);
    mean.use_layernorm_final = false;
    mlp_mean_ = register_module("mlp_mean", feedforward(mean, options_.residual_style));
    if (options_.learn_fixed_std)
        logvar_ = register_parameter("logvar", log_variance(options_.fixed_std, {options_.action_dim}));
}

Tensor Gaussian_MLP::scale(const Tensor &features, const Tensor &mean) {
    const int64_t batch = mean.size(0);
    if (options_.learn_fixed_std && options_.has_fixed_std) {
        const Tensor one = torch::exp(0.5 * torch::clamp(logvar_, logvar_min_, logvar_max_));
        return one.view({1, options_.action_dim}).repeat({batch, options_.horizon_steps});
    }
    if (options_.has_fixed_std) return torch::ones_like(mean) * options_.fixed_std;
    Tensor logvar =
        mlp_logvar_->forward(features).view({batch, options_.horizon_steps * options_.action_dim});
    logvar = torch::tanh(logvar);
    logvar = logvar_min_ + 0.5 * (logvar_max_ - logvar_min_) * (logvar + 1);
    return torch::exp(0.5 * logvar);
}

std::pair<Tensor, Tensor> Gaussian_MLP::forward(const Cond &cond) {
    Tensor features = cond.flat();
    if (mlp_base_) features = mlp_base_->forward(features);
    Tensor mean = mlp_mean_->forward(features);
    if (options_.tanh_output) mean = torch::tanh(mean);
    mean = mean.view({cond.batch(), options_.horizon_steps * options_.action_dim});
    return {mean, scale(features, mean)};
}

// -- critics
// --------------------------------------------------------------------------------------------------------

// From `width` features to one value.
static MlpOptions critic_options(const Config &config, int64_t width) {
    MlpOptions options;
    options.activation_type = config.text("activation_type", "Mish");
    options.use_layernorm = config.flag("use_layernorm", false);
    return with_dims(options, width, config.integers("mlp_dims"), 1);
}

CriticObs::CriticObs(const Config &config) : Critic(config) {
    const MlpOptions options = critic_options(config, config.integer("cond_dim"));
    q1_ = register_module("Q1", feedforward(options, config.flag("residual_style", false)));
}

Tensor CriticObs::forward(const Cond &cond, bool) {
    return q1_->forward(cond.flat());
}

// The original's switch for residual networks is misspelt: "residual_style" is swallowed and does nothing.
CriticObsAct::CriticObsAct(const Config &config) : Network(config) {
    const int64_t action_size = config.integer("action_dim") * config.integer("action_steps", 1);
    const MlpOptions options = critic_options(config, config.integer("cond_dim") + action_size);
    const bool residual = config.flag("residual_tyle", false);
    q1_ = register_module("Q1", feedforward(options, residual));
    if (config.flag("double_q", true)) q2_ = register_module("Q2", feedforward(options, residual));
}

std::pair<Tensor, Tensor> CriticObsAct::forward(const Cond &cond, const Tensor &action) {
    const Tensor x = torch::cat({cond.flat(), action.reshape({cond.batch(), -1})}, -1);
    const Tensor q1 = q1_->forward(x).squeeze(1);
    return {q1, q2_ ? q2_->forward(x).squeeze(1) : Tensor()};
}

// -- etas
// -----------------------------------------------------------------------------------------------------------

EtaFixed::EtaFixed(const Config &config)
    : Eta(config), min_(config.number("min_eta", 0.1)), max_(config.number("max_eta", 1.0)) {
    const double base = config.number("base_eta", 0.5);
    const double normalized = 2 * (base - min_) / (max_ - min_) - 1;
    logit_ = register_parameter("eta_logit", torch::atanh(torch::full({1}, normalized)));
}

// A number taken out of the graph, as in the original: no gradient reaches the logit.
Tensor EtaFixed::forward(const Cond &cond) {
    const Tensor normalized = torch::tanh(logit_);
    const Tensor eta = 0.5 * (normalized + 1) * (max_ - min_) + min_;
    return torch::full({cond.batch(), 1}, eta.item<double>());
}

// -- builders
// ------------------------------------------------------------------------------------------------------

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
    };
    return build(classes, "diffusion network", config, weights);
}

std::shared_ptr<GaussianNetwork> build_gaussian_network(const Config &config, dppo_generator *weights) {
    static const Class<GaussianNetwork> classes[] = {
        {"Gaussian_MLP", make<GaussianNetwork, Gaussian_MLP>},
    };
    return build(classes, "Gaussian network", config, weights);
}

std::shared_ptr<Critic> build_critic(const Config &config, dppo_generator *weights) {
    static const Class<Critic> classes[] = {
        {"CriticObs", make<Critic, CriticObs>},
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
        {"EtaFixed", make<Eta, EtaFixed>},
    };
    return build(classes, "eta", config, weights);
}

std::shared_ptr<NoiseNetwork> fresh(const NoiseNetwork &network) {
    return build_noise_network(network.config(), nullptr);
}

std::shared_ptr<GaussianNetwork> fresh(const GaussianNetwork &network) {
    return build_gaussian_network(network.config(), nullptr);
}

std::shared_ptr<Critic> fresh(const Critic &network) {
    return build_critic(network.config(), nullptr);
}

std::shared_ptr<CriticObsAct> fresh(const CriticObsAct &network) {
    return build_critic_obs_act(network.config(), nullptr);
}

// Both sides draw in float32 from the same stream, straight into the parameter.
static void draw_uniform(Tensor parameter, double bound, dppo_generator *generator) {
    Tensor values = torch::empty(parameter.sizes(), torch::kFloat32);
    dppo_tensor view = {};
    view.dtype = DPPO_F32;
    view.ndim = static_cast<int>(values.dim());
    std::copy(values.sizes().begin(), values.sizes().end(), view.shape);
    std::copy(values.strides().begin(), values.strides().end(), view.stride);
    view.data = values.data_ptr();
    check(dppo_draw_uniform(generator, &view, -bound, bound));
    parameter.copy_(values);
}

void draw_weights(torch::nn::Module &module, dppo_generator *generator) {
    torch::NoGradGuard no_grad;
    for (const auto &child : module.modules()) {
        auto *linear = child->as<torch::nn::Linear>();
        if (linear == nullptr) continue;
        // kaiming_uniform_ with a = sqrt(5): gain sqrt(2 / (1 + 5)), bound sqrt(3) gain / sqrt(fan_in).
        const double fan_in = static_cast<double>(linear->weight.size(1));
        const double bound = std::sqrt(3.0) * (std::sqrt(2.0 / 6.0) / std::sqrt(fan_in));
        draw_uniform(linear->weight, bound, generator);
        draw_uniform(linear->bias, 1 / std::sqrt(fan_in), generator);
    }
}

// -- values
// ----------------------------------------------------------------------------------------------------------

NamedTensors state_dict(const torch::nn::Module &module) {
    NamedTensors all;
    for (const auto &item : module.named_parameters())
        all.emplace_back(item.key(), item.value());
    for (const auto &item : module.named_buffers())
        all.emplace_back(item.key(), item.value());
    return all;
}

void copy_values(torch::nn::Module &to, const torch::nn::Module &from) {
    torch::NoGradGuard no_grad;
    NamedTensors target = state_dict(to);
    const NamedTensors source = state_dict(from);
    TORCH_CHECK(target.size() == source.size(), "modules of different structure");
    for (size_t i = 0; i < target.size(); i++)
        target[i].second.copy_(source[i].second);
}

void average_values(torch::nn::Module &to, const torch::nn::Module &from, double decay) {
    torch::NoGradGuard no_grad;
    const std::vector<Tensor> target = to.parameters(), source = from.parameters();
    for (size_t i = 0; i < target.size(); i++)
        target[i].copy_(target[i] * decay + (1 - decay) * source[i]);
}

void freeze(torch::nn::Module &module) {
    for (Tensor &parameter : module.parameters())
        parameter.requires_grad_(false);
}

void load_state(torch::nn::Module &module, const dppo_named &from, const std::string &prefix, bool strict) {
    torch::NoGradGuard no_grad;
    const NamedTensors own = state_dict(module);
    const auto given = [&](const auto &item) {
        return dppo_named_get(&from, (prefix + item.first).c_str()) != nullptr;
    };
    if (std::none_of(own.begin(), own.end(), given))
        invalid("the checkpoint has nothing to load: " + prefix + (own.empty() ? "" : own[0].first) +
                " is missing, as are all others");
    for (const auto &item : own) {
        const std::string name = prefix + item.first;
        const dppo_tensor *tensor = dppo_named_get(&from, name.c_str());
        if (tensor == nullptr && strict) invalid(name + ": absent");
        if (tensor == nullptr) continue;
        const Tensor value = from_c(tensor);
        if (value.sizes() != item.second.sizes())
            invalid(name + ": shape " + c10::str(value.sizes()) + ", the model's is " +
                    c10::str(item.second.sizes()));
        item.second.copy_(value);
    }
}

} // namespace shim
