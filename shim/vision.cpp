#include "vision.h"

#include <cmath>

namespace shim {

// -- the vision transformer

// Scaled dot-product attention of every token with every other: softmax(q k^T / sqrt(d)) v for each head.
class MultiHeadAttention : public torch::nn::Module {
  public:
    MultiHeadAttention(int64_t embed_dim, int64_t num_head)
        : heads_(num_head), qkv_(embed_dim, 3 * embed_dim), out_(embed_dim, embed_dim) {
        if (embed_dim % num_head != 0) invalid("num_heads: must divide embed_dim");
        register_module("qkv_proj", qkv_);
        register_module("out_proj", out_);
    }

    Tensor forward(const Tensor &x) { // (B, P, E)
        const int64_t batch = x.size(0), tokens = x.size(1), width = x.size(2) / heads_;
        // (3, B, heads, P, width)
        const Tensor qkv = qkv_(x).view({batch, tokens, 3, heads_, width}).permute({2, 0, 3, 1, 4});
        const Tensor q = qkv[0] / std::sqrt(static_cast<double>(width));
        const Tensor weights = torch::softmax(torch::matmul(q, qkv[1].transpose(-2, -1)), -1);
        const Tensor mixed = torch::matmul(weights, qkv[2]);
        return out_(mixed.transpose(1, 2).reshape({batch, tokens, heads_ * width}));
    }

  private:
    int64_t heads_;
    torch::nn::Linear qkv_, out_;
};

class TransformerLayer : public torch::nn::Module {
  public:
    TransformerLayer(int64_t embed_dim, int64_t num_head)
        : norm1_(torch::nn::LayerNormOptions({embed_dim})), norm2_(torch::nn::LayerNormOptions({embed_dim})),
          mha_(std::make_shared<MultiHeadAttention>(embed_dim, num_head)), linear1_(embed_dim, 4 * embed_dim),
          linear2_(4 * embed_dim, embed_dim) {
        register_module("layer_norm1", norm1_);
        register_module("mha", mha_);
        register_module("layer_norm2", norm2_);
        register_module("linear1", linear1_);
        register_module("linear2", linear2_);
    }

    Tensor forward(const Tensor &input) {
        const Tensor x = input + mha_->forward(norm1_(input));
        return x + linear2_(torch::gelu(linear1_(norm2_(x))));
    }

  private:
    torch::nn::LayerNorm norm1_, norm2_;
    std::shared_ptr<MultiHeadAttention> mha_;
    torch::nn::Linear linear1_, linear2_;
};

struct VitOptions {
    std::string embed_style;
    int64_t embed_dim, num_heads, depth, num_channel, img_h, img_w;
    bool embed_norm;
};

static VitOptions vit_options(const Config &config) {
    const Config cfg = config.at("cfg");
    if (!cfg.target().empty() && cfg.target() != "VitEncoderConfig")
        invalid("cfg: a VitEncoderConfig, not " + cfg.target());
    // The original's settings have these too, and nothing looks at them.
    (void)cfg.integer("patch_size", 8);
    (void)cfg.integer("stride", -1);
    // An int that stands for a truth value.
    const bool norm =
        cfg.is_integer("embed_norm") ? cfg.integer("embed_norm") != 0 : cfg.flag("embed_norm", false);
    return {cfg.text("embed_style", "embed2"), cfg.integer("embed_dim", 128),
            cfg.integer("num_heads", 4),       cfg.integer("depth", 1),
            config.integer("num_channel", 3),  config.integer("img_h", 96),
            config.integer("img_w", 96),       norm};
}

// Positions of a window of `size` that moves by `stride`, rounded up as the original does.
static int64_t windows(int64_t length, int64_t size, int64_t stride) {
    return (length - size + stride - 1) / stride + 1;
}

// One convolution (embed1), or two with a rectifier between them (embed2).
class PatchEmbed : public torch::nn::Module {
  public:
    explicit PatchEmbed(const VitOptions &options) {
        using Conv = torch::nn::Conv2dOptions;
        const int64_t width = options.embed_dim;
        if (options.embed_style == "embed1") {
            conv1_ =
                register_module("conv", torch::nn::Conv2d(Conv(options.num_channel, width, 8).stride(8)));
            num_patch_ = ((options.img_h + 7) / 8) * ((options.img_w + 7) / 8);
            return;
        }
        if (options.embed_style != "embed2")
            invalid("embed_style: must be embed1 or embed2, is \"" + options.embed_style + "\"");
        auto embed = std::make_shared<torch::nn::Module>();
        conv1_ =
            embed->register_module("0", torch::nn::Conv2d(Conv(options.num_channel, width, 8).stride(4)));
        if (options.embed_norm) norm_ = embed->register_module("1", torch::nn::GroupNorm(width, width));
        conv2_ = embed->register_module("3", torch::nn::Conv2d(Conv(width, width, 3).stride(2)));
        register_module("embed", embed);
        num_patch_ =
            windows(windows(options.img_h, 8, 4), 3, 2) * windows(windows(options.img_w, 8, 4), 3, 2);
    }

    Tensor forward(const Tensor &image) {
        Tensor x = conv1_(image);
        if (!norm_.is_empty()) x = norm_(x);
        if (!conv2_.is_empty()) x = conv2_(torch::relu(x));
        return x.flatten(2).transpose(1, 2);
    }

    int64_t num_patch() const {
        return num_patch_;
    }

  private:
    torch::nn::Conv2d conv1_{nullptr}, conv2_{nullptr};
    torch::nn::GroupNorm norm_{nullptr};
    int64_t num_patch_;
};

class VitEncoder::MinVit : public torch::nn::Module, public OwnWeights {
  public:
    explicit MinVit(const VitOptions &options)
        : embed_(std::make_shared<PatchEmbed>(options)),
          norm_(torch::nn::LayerNormOptions({options.embed_dim})) {
        register_module("patch_embed", embed_);
        pos_embed_ =
            register_parameter("pos_embed", torch::zeros({1, embed_->num_patch(), options.embed_dim}));
        torch::nn::ModuleList net;
        for (int64_t i = 0; i < options.depth; i++) {
            layers_.push_back(std::make_shared<TransformerLayer>(options.embed_dim, options.num_heads));
            net->push_back(layers_.back());
        }
        register_module("net", net);
        register_module("norm", norm_);
    }

    Tensor forward(const Tensor &image) {
        Tensor x = embed_->forward(image) + pos_embed_;
        for (const auto &layer : layers_)
            x = layer->forward(x);
        return norm_(x);
    }

    // torch's own initialisation first, then timm's: truncated normals, and no biases in linear layers.
    void draw(dppo_generator *generator) override {
        draw_members(*this, generator);
        draw_trunc_normal(pos_embed_, 0.02, generator);
        for (const auto &child : modules()) {
            auto *linear = child->as<torch::nn::Linear>();
            if (linear == nullptr) continue;
            draw_trunc_normal(linear->weight, 0.02, generator);
            linear->bias.zero_();
        }
    }

    const PatchEmbed &embed() const {
        return *embed_;
    }
    int64_t width() const {
        return pos_embed_.size(2);
    }

  private:
    std::shared_ptr<PatchEmbed> embed_;
    std::vector<std::shared_ptr<TransformerLayer>> layers_;
    torch::nn::LayerNorm norm_;
    Tensor pos_embed_; // (1, P, E)
};

VitEncoder::VitEncoder(const Config &config) : vit_(std::make_shared<MinVit>(vit_options(config))) {
    register_module("vit", vit_);
}

int64_t VitEncoder::num_patch() const {
    return vit_->embed().num_patch();
}

int64_t VitEncoder::patch_dim() const {
    return vit_->width();
}

Tensor VitEncoder::forward(const Tensor &obs, bool flatten) {
    const Tensor features = vit_->forward(obs / 255.0 - 0.5);
    return flatten ? features.flatten(1, 2) : features;
}

// -- spatial embedding

SpatialEmb::SpatialEmb(const Options &options) : options_(options) {
    // Linear, LayerNorm, ReLU
    auto input_proj = std::make_shared<torch::nn::Module>();
    linear_ = input_proj->register_module(
        "0", torch::nn::Linear(options.num_patch + options.prop_dim, options.proj_dim));
    norm_ = input_proj->register_module(
        "1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({options.proj_dim})));
    register_module("input_proj", input_proj);
    weight_ = register_parameter("weight", torch::zeros({1, options.patch_dim, options.proj_dim}));
}

std::shared_ptr<SpatialEmb> SpatialEmb::copy_of(const std::shared_ptr<SpatialEmb> &original) {
    auto copy = std::make_shared<SpatialEmb>(original->options_);
    copy->original_ = original;
    return copy;
}

void SpatialEmb::draw(dppo_generator *generator) {
    if (const auto original = original_.lock()) return copy_values(*this, *original);
    draw_members(*this, generator);
    draw_normal(weight_, 0, 1, generator);
}

Tensor SpatialEmb::forward(const Tensor &feat, const Tensor &prop) {
    Tensor x = feat.transpose(1, 2);
    if (options_.prop_dim > 0) x = torch::cat({x, prop.unsqueeze(1).repeat({1, x.size(1), 1})}, -1);
    return (weight_ * torch::relu(norm_(linear_(x)))).sum(1);
}

// -- augmentation

// The window's corner is a whole number of pixels from 0 to 2 pad; sampling is bilinear nevertheless, because
// positions are rounded.
Tensor random_shifts(const Tensor &x, int64_t pad, Draws &draws) {
    const int64_t n = x.size(0), h = x.size(2), padded = h + 2 * pad;
    if (h != x.size(3)) invalid("RandomShiftsAug: images must be square");
    const double eps = 1.0 / static_cast<double>(padded);
    const Tensor line = torch::linspace(-1.0 + eps, 1.0 - eps, padded, x.options()).slice(0, 0, h);
    const Tensor columns = line.unsqueeze(0).repeat({h, 1}).unsqueeze(2);
    const Tensor base = torch::cat({columns, columns.transpose(1, 0)}, 2).unsqueeze(0).repeat({n, 1, 1, 1});
    const Tensor shift =
        draws.randint(0, 2 * pad + 1, {n, 1, 1, 2}).to(x.dtype()) * (2.0 / static_cast<double>(padded));
    const Tensor wide = torch::replication_pad2d(x, {pad, pad, pad, pad});
    const int64_t bilinear = 0, zeros = 0;
    return torch::grid_sampler(wide, base + shift, bilinear, zeros, false);
}

// -- what the networks share

std::shared_ptr<VitEncoder> build_backbone(const Config &config) {
    if (config.target() != "VitEncoder")
        throw Failure(DPPO_MISSING, "backbone: libtorch side has no _target_ \"" + config.target() + "\"");
    return std::make_shared<VitEncoder>(config);
}

Vision::Vision(torch::nn::Module &owner, const Config &config, int64_t default_spatial_emb)
    : num_img_(config.integer("num_img", 1)), img_cond_steps_(config.integer("img_cond_steps", 1)),
      augment_(config.flag("augment", false)),
      backbone_(owner.register_module("backbone", build_backbone(config.at("backbone")))) {
    refuse_dropout(config);
    const int64_t spatial_emb = config.integer("spatial_emb", default_spatial_emb);
    dim_ = config.integer("visual_feature_dim", 128);
    if (spatial_emb > 0) {
        const SpatialEmb::Options options = {backbone_->num_patch(), backbone_->patch_dim(),
                                             config.integer("cond_dim"), spatial_emb};
        embeddings_.push_back(std::make_shared<SpatialEmb>(options));
        owner.register_module(num_img_ > 1 ? "compress1" : "compress", embeddings_[0]);
        if (num_img_ > 1)
            embeddings_.push_back(owner.register_module("compress2", SpatialEmb::copy_of(embeddings_[0])));
        dim_ = spatial_emb * num_img_;
        return;
    }
    if (num_img_ > 1) invalid("spatial_emb: several images need one");
    // Linear, LayerNorm, Dropout, ReLU
    auto compress = std::make_shared<torch::nn::Module>();
    linear_ = compress->register_module(
        "0", torch::nn::Linear(backbone_->num_patch() * backbone_->patch_dim(), dim_));
    norm_ = compress->register_module("1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({dim_})));
    owner.register_module("compress", compress);
}

// The steps of an image are joined along its channels; of several images only the first two are looked at.
Tensor Vision::images(const Cond &cond) const {
    if (!cond.rgb.defined()) invalid("cond/rgb: absent");
    const int64_t batch = cond.rgb.size(0), steps = cond.rgb.size(1),
                  taken = std::min(steps, img_cond_steps_);
    const Tensor rgb = cond.rgb.slice(1, steps - taken).to(torch::get_default_dtype());
    const int64_t height = rgb.size(3), width = rgb.size(4);
    if (num_img_ == 1) return rgb.reshape({batch, 1, taken * rgb.size(2), height, width});
    if (taken != steps) invalid("img_cond_steps: with several images all steps are taken");
    return rgb.reshape({batch, steps, num_img_, 3, height, width})
        .permute({0, 2, 1, 3, 4, 5})
        .reshape({batch, num_img_, steps * 3, height, width});
}

Tensor Vision::forward(const Cond &cond, const Tensor &state, bool no_augment) {
    const Tensor all = images(cond);
    const int64_t count = num_img_ > 1 ? 2 : 1;
    std::vector<Tensor> views, features;
    for (int64_t i = 0; i < count; i++)
        views.push_back(all.select(1, i));
    for (Tensor &view : views) {
        if (!augment_ || no_augment) continue;
        if (cond.draws == nullptr) invalid("augment: nothing to draw shifts from");
        view = random_shifts(view, 4, *cond.draws);
    }
    for (const Tensor &view : views)
        features.push_back(backbone_->forward(view));
    if (embeddings_.empty()) return torch::relu(norm_(linear_(features[0].flatten(1, -1))));
    for (size_t i = 0; i < features.size(); i++)
        features[i] = embeddings_[i]->forward(features[i], state);
    return torch::cat(features, -1);
}

// -- networks

static Shape hidden_dims(const Config &config, const Shape &fallback) {
    return config.has("mlp_dims") ? config.integers("mlp_dims") : fallback;
}

VisionDiffusionMLP::VisionDiffusionMLP(const Config &config) : NoiseNetwork(config), vision_(*this, config) {
    const int64_t time_dim = config.integer("time_dim", 16), cond_dim = config.integer("cond_dim");
    const int64_t size = config.integer("action_dim") * config.integer("horizon_steps");
    time_embedding_ =
        register_module("time_embedding", std::make_shared<StepEmbedding>(time_dim, 2 * time_dim));
    const MlpOptions options =
        with_dims(mlp_options(config, "Mish"), time_dim + size + vision_.dim() + cond_dim,
                  hidden_dims(config, {256, 256}), size);
    mlp_mean_ = register_module("mlp_mean", feedforward(options, config.flag("residual_style", false)));
}

Tensor VisionDiffusionMLP::forward(const Tensor &chunk, const Tensor &time, const Cond &cond) {
    const int64_t batch = chunk.size(0);
    const Tensor state = cond.flat(), features = vision_.forward(cond, state);
    const Tensor embedding = time_embedding_->forward(time.view({batch, 1})).view({batch, -1});
    const Tensor x =
        torch::cat({chunk.reshape({batch, -1}), embedding, torch::cat({features, state}, -1)}, -1);
    return mlp_mean_->forward(x).view({batch, chunk.size(1), chunk.size(2)});
}

Gaussian_VisionMLP::Gaussian_VisionMLP(const Config &config)
    : GaussianNetwork(config), vision_(*this, config),
      spread_(*this, config, 1, config.integer("action_dim"), config.integer("horizon_steps")) {
    const int64_t input = vision_.dim() + config.integer("cond_dim");
    const int64_t size = config.integer("action_dim") * config.integer("horizon_steps");
    const Shape hidden = hidden_dims(config, {256, 256, 256});
    MlpOptions options = mlp_options(config, "Mish");
    options.out_activation_type = "Identity";
    mlp_mean_ = register_module("mlp_mean", feedforward(with_dims(options, input, hidden, size),
                                                        config.flag("residual_style", false)));
    if (!spread_.predicted()) return;
    if (hidden.empty()) invalid("mlp_dims: empty");
    mlp_logvar_ =
        register_module("mlp_logvar", feedforward(with_dims(options, input, {hidden.back()}, size), false));
}

std::pair<Tensor, Tensor> Gaussian_VisionMLP::forward(const Cond &cond) {
    const Tensor state = cond.flat();
    const Tensor features = torch::cat({vision_.forward(cond, state), state}, -1);
    const Tensor mean = torch::tanh(mlp_mean_->forward(features));
    if (spread_.predicted()) return {mean, spread_.of(mlp_logvar_->forward(features))};
    return {mean, spread_.fixed(mean)};
}

// Python registers Q1 first, but hydra built, and drew, the backbone before.
ViTCritic::ViTCritic(const Config &config) : Critic(config) {
    const int64_t images = config.integer("num_img", 1), spatial_emb = config.integer("spatial_emb", 128);
    if (spatial_emb <= 0) invalid("spatial_emb: ViTCritic needs one");
    const MlpOptions options = critic_options(config, spatial_emb * images + config.integer("cond_dim"));
    q1_ = register_module("Q1", feedforward(options, config.flag("residual_style", false)));
    vision_ = std::make_unique<Vision>(*this, config, spatial_emb);
}

void ViTCritic::draw(dppo_generator *generator) {
    draw_weights(*named_children()["backbone"], generator);
    for (const auto &child : named_children())
        if (child.key() != "backbone") draw_weights(*child.value(), generator);
}

Tensor ViTCritic::forward(const Cond &cond, bool no_augment) {
    const Tensor state = cond.flat();
    return q1_->forward(torch::cat({vision_->forward(cond, state, no_augment), state}, -1));
}

} // namespace shim
