#include "unet.h"

namespace shim {

// -- parts

static Activation block_activation(const std::string &name) {
    if (name != "Mish" && name != "ReLU")
        invalid("activation_type: must be Mish or ReLU, is \"" + name + "\"");
    return activation(name);
}

Conv1dBlock::Options conv_options(const Config &config, const char *eps_key, int64_t kernel_size) {
    return {kernel_size, config.integer("n_groups", 0), config.text("activation_type", "Mish"),
            config.number(eps_key, 1e-5)};
}

Conv1dBlock::Conv1dBlock(int64_t in, int64_t out, const Options &options)
    : act_(block_activation(options.activation_type)) {
    // A Sequential whose members 1, 3 and 4 have no parameters.
    auto block = std::make_shared<torch::nn::Module>();
    conv_ = block->register_module(
        "0", torch::nn::Conv1d(
                 torch::nn::Conv1dOptions(in, out, options.kernel_size).padding(options.kernel_size / 2)));
    if (options.n_groups > 0)
        norm_ = block->register_module(
            "2", torch::nn::GroupNorm(torch::nn::GroupNormOptions(options.n_groups, out).eps(options.eps)));
    register_module("block", block);
}

Tensor Conv1dBlock::forward(const Tensor &input) {
    Tensor x = conv_(input);
    if (!norm_.is_empty()) x = norm_(x);
    return act_(x);
}

Downsample1d::Downsample1d(int64_t dim) : conv_(torch::nn::Conv1dOptions(dim, dim, 3).stride(2).padding(1)) {
    register_module("conv", conv_);
}

Tensor Downsample1d::forward(const Tensor &x) {
    return conv_(x);
}

Upsample1d::Upsample1d(int64_t dim)
    : conv_(torch::nn::ConvTranspose1dOptions(dim, dim, 4).stride(2).padding(1)) {
    register_module("conv", conv_);
}

Tensor Upsample1d::forward(const Tensor &x) {
    return conv_(x);
}

ResidualBlock1D::ResidualBlock1D(int64_t in, int64_t out, const Options &options)
    : options_(options), channels_(out), act_(block_activation(options.conv.activation_type)) {
    block0_ = std::make_shared<Conv1dBlock>(in, out, options.conv);
    block1_ = std::make_shared<Conv1dBlock>(out, out, options.conv);
    torch::nn::ModuleList blocks;
    blocks->push_back(block0_);
    blocks->push_back(block1_);
    register_module("blocks", blocks);
    const int64_t width = options.cond_predict_scale ? 2 * out : out;
    // Linear, act, Linear, act, Linear; or act, Linear.
    auto encoder = std::make_shared<torch::nn::Module>();
    const auto add = [&](const char *name, int64_t inputs) {
        encoder_.push_back(encoder->register_module(name, torch::nn::Linear(inputs, width)));
    };
    add(options.larger_encoder ? "0" : "1", options.cond_dim);
    if (options.larger_encoder) add("2", width);
    if (options.larger_encoder) add("4", width);
    register_module("cond_encoder", encoder);
    if (in != out)
        residual_ = register_module("residual_conv", torch::nn::Conv1d(torch::nn::Conv1dOptions(in, out, 1)));
}

Tensor ResidualBlock1D::encode(const Tensor &cond) {
    Tensor x = encoder_[0](options_.larger_encoder ? cond : act_(cond));
    for (size_t i = 1; i < encoder_.size(); i++)
        x = encoder_[i](act_(x));
    return x.unsqueeze(-1);
}

Tensor ResidualBlock1D::forward(const Tensor &x, const Tensor &cond) {
    Tensor out = block0_->forward(x);
    Tensor embed = encode(cond);
    if (options_.cond_predict_scale) {
        embed = embed.reshape({embed.size(0), 2, channels_, 1});
        const Tensor scale = embed.select(1, 0), bias = embed.select(1, 1);
        out = scale * out + bias;
    } else {
        out = out + embed;
    }
    out = block1_->forward(out);
    return out + (residual_.is_empty() ? x : residual_(x));
}

// -- the network

UnetBase::Level::Level(int64_t in, int64_t out, const ResidualBlock1D::Options &options) {
    first = register_module("0", std::make_shared<ResidualBlock1D>(in, out, options));
    second = register_module("1", std::make_shared<ResidualBlock1D>(out, out, options));
}

Tensor UnetBase::Level::forward(const Tensor &x, const Tensor &features) {
    return second->forward(first->forward(x, features), features);
}

static ResidualBlock1D::Options block_options(const Config &config, int64_t cond_dim) {
    return {conv_options(config, "groupnorm_eps", config.integer("kernel_size", 5)), cond_dim,
            config.flag("cond_predict_scale", false),
            !config.flag("smaller_encoder", false) && config.integers("cond_mlp_dims").empty()};
}

static Shape multiples(const Config &config) {
    return config.has("dim_mults") ? config.integers("dim_mults") : Shape{1, 2, 4, 8};
}

// Modules in the order in which the original makes them: the middle before the ways down and up.
void UnetBase::make_unet(const Config &options, int64_t visual_dim) {
    const int64_t dim = options.integer("dim", 32), action_dim = options.integer("action_dim");
    const int64_t embed_dim = options.integer("diffusion_step_embed_dim", 32);
    Shape dims = {action_dim};
    for (int64_t factor : multiples(options))
        dims.push_back(dim * factor);
    if (dims.size() < 2) invalid("dim_mults: empty");
    time_mlp_ = register_module("time_mlp", std::make_shared<StepEmbedding>(embed_dim, 4 * embed_dim));
    int64_t cond_dim = options.integer("cond_dim");
    const Shape cond_mlp_dims = options.integers("cond_mlp_dims");
    if (!cond_mlp_dims.empty()) {
        MlpOptions encoder;
        encoder.activation_type = options.text("activation_type", "Mish");
        encoder.dim_list = {cond_dim};
        encoder.dim_list.insert(encoder.dim_list.end(), cond_mlp_dims.begin(), cond_mlp_dims.end());
        cond_mlp_ = register_module("cond_mlp", std::make_shared<ResidualMLP>(encoder));
        cond_dim = cond_mlp_dims.back();
    }
    const ResidualBlock1D::Options block = block_options(options, embed_dim + cond_dim + visual_dim);
    torch::nn::ModuleList mid, down, up;
    for (int i = 0; i < 2; i++) {
        mid_.push_back(std::make_shared<ResidualBlock1D>(dims.back(), dims.back(), block));
        mid->push_back(mid_.back());
    }
    register_module("mid_modules", mid);
    for (size_t i = 0; i + 1 < dims.size(); i++) {
        down_.push_back(std::make_shared<Level>(dims[i], dims[i + 1], block));
        if (i + 2 < dims.size())
            down_[i]->down = down_[i]->register_module("2", std::make_shared<Downsample1d>(dims[i + 1]));
        down->push_back(down_[i]);
    }
    register_module("down_modules", down);
    for (size_t i = dims.size() - 2; i > 0; i--) {
        auto level = std::make_shared<Level>(2 * dims[i + 1], dims[i], block);
        level->up = level->register_module("2", std::make_shared<Upsample1d>(dims[i]));
        up->push_back(level);
        up_.push_back(level);
    }
    register_module("up_modules", up);
    auto final_conv = std::make_shared<torch::nn::Module>();
    final_block_ = final_conv->register_module("0", std::make_shared<Conv1dBlock>(dim, dim, block.conv));
    final_conv_ =
        final_conv->register_module("1", torch::nn::Conv1d(torch::nn::Conv1dOptions(dim, action_dim, 1)));
    register_module("final_conv", final_conv);
}

Tensor UnetBase::encode_state(const Cond &cond) {
    const Tensor state = cond.flat();
    return cond_mlp_ ? cond_mlp_->forward(state) : state;
}

Tensor UnetBase::run(const Tensor &chunk, const Tensor &time, const Tensor &state) {
    Tensor x = chunk.permute({0, 2, 1});
    const Tensor features = torch::cat({time_mlp_->forward(time.expand({x.size(0)})), state}, -1);
    std::vector<Tensor> skipped;
    for (const auto &level : down_) {
        x = level->forward(x, features);
        skipped.push_back(x);
        if (level->down) x = level->down->forward(x);
    }
    for (const auto &block : mid_)
        x = block->forward(x, features);
    for (const auto &level : up_) {
        x = torch::cat({x, skipped.back()}, 1);
        skipped.pop_back();
        x = level->up->forward(level->forward(x, features));
    }
    return final_conv_(final_block_->forward(x)).permute({0, 2, 1});
}

Unet1D::Unet1D(const Config &config) : UnetBase(config) {
    make_unet(config, 0);
}

Tensor Unet1D::forward(const Tensor &x, const Tensor &time, const Cond &cond) {
    return run(x, time, encode_state(cond));
}

VisionUnet1D::VisionUnet1D(const Config &config) : UnetBase(config), vision_(*this, config) {
    // The original names the width of the features only on the way with a spatial embedding.
    if (config.integer("spatial_emb", 0) == 0) invalid("spatial_emb: VisionUnet1D needs one");
    make_unet(config, vision_.dim());
}

// The embedding sees the encoded state, which must then be as wide as the state.
Tensor VisionUnet1D::forward(const Tensor &x, const Tensor &time, const Cond &cond) {
    const Tensor state = encode_state(cond);
    return run(x, time, torch::cat({vision_.forward(cond, state), state}, -1));
}

} // namespace shim
