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

void refuse_dropout(const Config &config) {
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

MlpOptions with_dims(MlpOptions options, int64_t first, const Shape &hidden, int64_t last) {
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

StepEmbedding::StepEmbedding(int64_t dim, int64_t hidden)
    : dim_(dim), first_(dim, hidden), second_(hidden, dim) {
    register_module("1", first_);
    register_module("3", second_);
}

Tensor StepEmbedding::forward(const Tensor &time) {
    return second_(torch::mish(first_(sinusoidal_pos_emb(time, dim_))));
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
    time_embedding_ = register_module(
        "time_embedding", std::make_shared<StepEmbedding>(options.time_dim, options.time_dim * 2));
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
    const Tensor embedding = time_embedding_->forward(time.view({batch, 1})).view({batch, options_.time_dim});
    const Tensor x = torch::cat({chunk.reshape({batch, -1}), embedding, state}, -1);
    return mlp_mean_->forward(x).view({batch, chunk.size(1), chunk.size(2)});
}

// -- Gaussian_MLP
// ------------------------------------------------------------------------------------------------

// log(std^2) as the original makes it: the square in python, the logarithm in torch.
static Tensor log_variance(double std, at::IntArrayRef shape) {
    return torch::log(torch::full(shape, std * std, torch::get_default_dtype()));
}

Spread::Spread(torch::nn::Module &owner, const Config &config, int64_t modes, int64_t action_dim,
               int64_t horizon_steps)
    : modes_(modes), action_dim_(action_dim), horizon_steps_(horizon_steps) {
    const bool learn = config.flag("learn_fixed_std", false); // without fixed_std nothing is to be learnt
    if (config.has("fixed_std")) {
        fixed_std_ = config.number("fixed_std");
        if (learn)
            logvar_ = owner.register_parameter("logvar", log_variance(*fixed_std_, {modes * action_dim}));
    }
    min_ = owner.register_parameter("logvar_min", log_variance(config.number("std_min", 0.01), {}), false);
    max_ = owner.register_parameter("logvar_max", log_variance(config.number("std_max", 1), {}), false);
}

Tensor Spread::of(const Tensor &logvar) const {
    return torch::exp(0.5 * torch::clamp(logvar, min_, max_));
}

Tensor Spread::squashed(const Tensor &logvar) const {
    return torch::exp(0.5 * (min_ + 0.5 * (max_ - min_) * (torch::tanh(logvar) + 1)));
}

Tensor Spread::fixed(const Tensor &mean) const {
    if (!logvar_.defined()) return torch::ones_like(mean) * *fixed_std_;
    if (mean.dim() == 2) return of(logvar_).view({1, action_dim_}).repeat({mean.size(0), horizon_steps_});
    return of(logvar_).view({1, modes_, action_dim_}).repeat({mean.size(0), 1, horizon_steps_});
}

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
    return options;
}

Gaussian_MLP::Gaussian_MLP(const Config &config)
    : GaussianNetwork(config), options_(gaussian_mlp_options(config)),
      spread_(*this, config, 1, options_.action_dim, options_.horizon_steps) {
    spread_.predicted() ? learned_std() : fixed_std();
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
}

std::pair<Tensor, Tensor> Gaussian_MLP::forward(const Cond &cond) {
    Tensor features = cond.flat();
    if (mlp_base_) features = mlp_base_->forward(features);
    Tensor mean = mlp_mean_->forward(features);
    if (options_.tanh_output) mean = torch::tanh(mean);
    mean = mean.view({cond.batch(), options_.horizon_steps * options_.action_dim});
    if (!spread_.predicted()) return {mean, spread_.fixed(mean)};
    return {mean, spread_.squashed(mlp_logvar_->forward(features).view(mean.sizes()))};
}

// -- GMM_MLP

GMM_MLP::GMM_MLP(const Config &config)
    : GmmNetwork(config), num_modes_(config.integer("num_modes", 5)),
      spread_(*this, config, num_modes_, config.integer("action_dim"), config.integer("horizon_steps")) {
    const int64_t size = config.integer("action_dim") * config.integer("horizon_steps") * num_modes_;
    const Shape hidden = config.has("mlp_dims") ? config.integers("mlp_dims") : Shape{256, 256, 256};
    MlpOptions options = mlp_options(config, "Mish");
    options.out_activation_type = "Identity";
    const auto part = [&](const char *name, int64_t outputs) {
        return register_module(name,
                               feedforward(with_dims(options, config.integer("cond_dim"), hidden, outputs),
                                           config.flag("residual_style", false)));
    };
    mlp_mean_ = part("mlp_mean", size);
    if (spread_.predicted()) mlp_logvar_ = part("mlp_logvar", size);
    mlp_weights_ = part("mlp_weights", num_modes_);
}

GmmNetwork::Mixture GMM_MLP::forward(const Cond &cond) {
    const Tensor state = cond.flat();
    const Shape shape = {cond.batch(), num_modes_, -1};
    const Tensor means = torch::tanh(mlp_mean_->forward(state)).view(shape);
    const Tensor scales =
        mlp_logvar_ ? spread_.of(mlp_logvar_->forward(state).view(shape)) : spread_.fixed(means);
    return {means, scales, mlp_weights_->forward(state)};
}

// -- critics
// --------------------------------------------------------------------------------------------------------

MlpOptions critic_options(const Config &config, int64_t width) {
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
    (void)config.flag("residual_style", false);
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

// The logit at which eta is base_eta.
static Tensor eta_logit(const Config &config, double min, double max, int64_t count) {
    const double normalized = 2 * (config.number("base_eta", 0.5) - min) / (max - min) - 1;
    return torch::ones(count) * torch::atanh(torch::full({1}, normalized));
}

static Tensor eta_of(const Tensor &logit, double min, double max) {
    return 0.5 * (torch::tanh(logit) + 1) * (max - min) + min;
}

EtaFixed::EtaFixed(const Config &config)
    : Eta(config), min_(config.number("min_eta", 0.1)), max_(config.number("max_eta", 1.0)) {
    logit_ = register_parameter("eta_logit", eta_logit(config, min_, max_, 1));
}

// A number taken out of the graph, as in the original: no gradient reaches the logit.
Tensor EtaFixed::forward(const Cond &cond) {
    return torch::full({cond.batch(), 1}, eta_of(logit_, min_, max_).item<double>());
}

EtaAction::EtaAction(const Config &config)
    : Eta(config), min_(config.number("min_eta", 0.1)), max_(config.number("max_eta", 1.0)) {
    logit_ = register_parameter("eta_logit", eta_logit(config, min_, max_, config.integer("action_dim")));
}

Tensor EtaAction::forward(const Cond &cond) {
    return eta_of(logit_, min_, max_).repeat({cond.batch(), 1});
}

EtaState::EtaState(const Config &config, int64_t outputs, Defaults defaults)
    : Eta(config), base_(config.number("base_eta", defaults.base)), gain_(config.number("gain", 1e-2)) {
    // The bounds as the original makes them: relative to the base, and back.
    min_ = (config.number("min_eta", defaults.min) - base_) + base_;
    max_ = (config.number("max_eta", defaults.max) - base_) + base_;
    MlpOptions options;
    options.activation_type = config.text("activation_type", "ReLU");
    options.out_activation_type = config.text("out_activation_type", "Identity");
    options = with_dims(options, config.integer("input_dim"), config.integers("mlp_dims"), outputs);
    mlp_res_ = register_module("mlp_res", std::make_shared<MLP>(options));
}

Tensor EtaState::forward(const Cond &cond) {
    if (cond.rgb.defined()) invalid("eta: one that depends on the state is not for images");
    return torch::clamp(torch::tanh(mlp_res_->forward(cond.flat())) + base_, min_, max_);
}

// torch's own initialisation, then xavier_normal_ with a small gain and no biases: eta starts at its base.
void EtaState::draw(dppo_generator *generator) {
    draw_members(*this, generator);
    for (const auto &child : modules()) {
        auto *linear = child->as<torch::nn::Linear>();
        if (linear == nullptr) continue;
        const double fans = static_cast<double>(linear->weight.size(0) + linear->weight.size(1));
        draw_normal(linear->weight, 0, gain_ * std::sqrt(2.0 / fans), generator);
        linear->bias.zero_();
    }
}

void draw_parts(const Config &config, dppo_generator *weights, const Parts &parts) {
    for (size_t i = 0; weights != nullptr && i < config.size(); i++)
        for (const auto &part : parts)
            if (config.key(i) == part.first && part.second != nullptr) draw_weights(*part.second, weights);
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
