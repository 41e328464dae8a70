#include "transformer.h"

#include <cmath>

namespace shim {

// -- attention of torch.nn.MultiheadAttention, without weights, masks and dropout

class MultiheadAttention : public torch::nn::Module, public OwnWeights {
  public:
    MultiheadAttention(int64_t embed_dim, int64_t num_heads)
        : heads_(num_heads), out_proj_(embed_dim, embed_dim) {
        if (embed_dim % num_heads != 0) invalid("transformer_num_heads: must divide transformer_embed_dim");
        weight_ = register_parameter("in_proj_weight", torch::zeros({3 * embed_dim, embed_dim}));
        bias_ = register_parameter("in_proj_bias", torch::zeros({3 * embed_dim}));
        register_module("out_proj", out_proj_);
    }

    // query (B, T, E), memory (B, S, E) gives keys and values.
    Tensor forward(const Tensor &query, const Tensor &memory) {
        const int64_t batch = query.size(0), steps = query.size(1), width = query.size(2) / heads_;
        const Tensor first = query.transpose(1, 0);
        const std::vector<Tensor> qkv =
            project(first, query.is_same(memory) ? first : memory.transpose(1, 0));
        const auto heads = [&](const Tensor &x) { // (S, B, E) to (B heads, S, width)
            return x.contiguous().view({x.size(0), batch * heads_, width}).transpose(0, 1);
        };
        const Tensor scaled = heads(qkv[0]) / std::sqrt(static_cast<double>(width));
        const Tensor weights = torch::softmax(torch::bmm(scaled, heads(qkv[1]).transpose(-2, -1)), -1);
        const Tensor mixed =
            torch::bmm(weights, heads(qkv[2])).transpose(0, 1).contiguous().view({steps * batch, -1});
        return out_proj_(mixed).view({steps, batch, -1}).transpose(1, 0);
    }

    // xavier_uniform_ for the projections, after what Linear draws for the output.
    void draw(dppo_generator *generator) override {
        draw_members(*this, generator);
        const double fans = static_cast<double>(weight_.size(0) + weight_.size(1));
        draw_uniform(weight_, std::sqrt(3.0) * std::sqrt(2.0 / fans), generator);
        bias_.zero_();
        out_proj_->bias.zero_();
    }
    Tensor in_proj_weight() const {
        return weight_;
    }

  private:
    std::vector<Tensor> project(const Tensor &query, const Tensor &memory) {
        if (query.is_same(memory)) return torch::linear(query, weight_, bias_).chunk(3, -1);
        const int64_t size = query.size(-1);
        const Tensor q = torch::linear(query, weight_.narrow(0, 0, size), bias_.narrow(0, 0, size));
        const std::vector<Tensor> both =
            torch::linear(memory, weight_.narrow(0, size, 2 * size), bias_.narrow(0, size, 2 * size))
                .chunk(2, -1);
        return {q, both[0], both[1]};
    }

    int64_t heads_;
    torch::nn::Linear out_proj_;
    Tensor weight_, bias_;
};

struct TransformerOptions {
    int64_t output_dim, horizon, cond_dim, layers, heads, embed_dim;
    std::string activation;
};

// torch.nn.TransformerDecoderLayer with norm_first.
class DecoderLayer : public torch::nn::Module {
  public:
    explicit DecoderLayer(const TransformerOptions &options)
        : self_attn_(std::make_shared<MultiheadAttention>(options.embed_dim, options.heads)),
          multihead_attn_(std::make_shared<MultiheadAttention>(options.embed_dim, options.heads)),
          linear1_(options.embed_dim, 4 * options.embed_dim),
          linear2_(4 * options.embed_dim, options.embed_dim),
          norm1_(torch::nn::LayerNormOptions({options.embed_dim})),
          norm2_(torch::nn::LayerNormOptions({options.embed_dim})),
          norm3_(torch::nn::LayerNormOptions({options.embed_dim})) {
        if (options.activation != "gelu" && options.activation != "relu")
            invalid("transformer_activation: must be gelu or relu, is \"" + options.activation + "\"");
        act_ = activation(options.activation == "gelu" ? "GELU" : "ReLU");
        register_module("self_attn", self_attn_);
        register_module("multihead_attn", multihead_attn_);
        register_module("linear1", linear1_);
        register_module("linear2", linear2_);
        register_module("norm1", norm1_);
        register_module("norm2", norm2_);
        register_module("norm3", norm3_);
    }

    Tensor forward(const Tensor &input, const Tensor &memory) {
        const Tensor own = norm1_(input);
        Tensor x = input + self_attn_->forward(own, own);
        x = x + multihead_attn_->forward(norm2_(x), memory);
        return x + linear2_(act_(linear1_(norm3_(x))));
    }

  private:
    std::shared_ptr<MultiheadAttention> self_attn_, multihead_attn_;
    torch::nn::Linear linear1_, linear2_;
    torch::nn::LayerNorm norm1_, norm2_, norm3_;
    Activation act_;
};

// The condition, one token, goes through a small MLP; learnt positions attend to each other and to it.
class Transformer : public torch::nn::Module, public OwnWeights {
  public:
    explicit Transformer(const TransformerOptions &options);
    struct Steps {
        Tensor out, prehead; // (B, Ta, output_dim), (B, Ta, E)
    };
    Steps forward(const Tensor &cond); // (B, 1, cond_dim)
    void draw(dppo_generator *generator) override;

  private:
    torch::nn::Linear cond_obs_emb_, encoder1_{nullptr}, encoder2_{nullptr}, head_;
    std::vector<std::shared_ptr<DecoderLayer>> layers_;
    torch::nn::LayerNorm ln_f_;
    Tensor cond_pos_emb_, pos_emb_;
};

Transformer::Transformer(const TransformerOptions &options)
    : cond_obs_emb_(options.cond_dim, options.embed_dim), head_(options.embed_dim, options.output_dim),
      ln_f_(torch::nn::LayerNormOptions({options.embed_dim})) {
    const int64_t width = options.embed_dim;
    register_module("cond_obs_emb", cond_obs_emb_);
    cond_pos_emb_ = register_parameter("cond_pos_emb", torch::zeros({1, 1, width}));
    // Linear, Mish, Linear
    auto encoder = std::make_shared<torch::nn::Module>();
    encoder1_ = encoder->register_module("0", torch::nn::Linear(width, 4 * width));
    encoder2_ = encoder->register_module("2", torch::nn::Linear(4 * width, width));
    register_module("encoder", encoder);
    pos_emb_ = register_parameter("pos_emb", torch::zeros({1, options.horizon, width}));
    torch::nn::ModuleList list;
    for (int64_t i = 0; i < options.layers; i++) {
        layers_.push_back(std::make_shared<DecoderLayer>(options));
        list->push_back(layers_.back());
    }
    auto decoder = std::make_shared<torch::nn::Module>();
    decoder->register_module("layers", list);
    register_module("decoder", decoder);
    register_module("ln_f", ln_f_);
    register_module("head", head_);
}

Transformer::Steps Transformer::forward(const Tensor &cond) {
    const Tensor embedded = cond_obs_emb_(cond) + cond_pos_emb_;
    const Tensor memory = encoder2_(torch::mish(encoder1_(embedded)));
    Tensor x = pos_emb_.expand({cond.size(0), -1, -1});
    for (const auto &layer : layers_)
        x = layer->forward(x, memory);
    const Tensor prehead = ln_f_(x);
    return {head_(prehead), prehead};
}

// Twice, as in the original: torch's own initialisation, which one decoder layer consumes for all (the others
// are copies of it), then normals of 0.02 for every weight, children first, and for the positions.
void Transformer::draw(dppo_generator *generator) {
    for (const auto &child : named_children()) {
        if (child.key() != "decoder")
            draw_weights(*child.value(), generator);
        else if (!layers_.empty())
            draw_weights(*layers_[0], generator);
    }
    const std::function<void(torch::nn::Module &)> redraw = [&](torch::nn::Module &module) {
        for (const auto &child : module.children())
            redraw(*child);
        if (auto *linear = module.as<torch::nn::Linear>()) {
            draw_normal(linear->weight, 0, 0.02, generator);
            linear->bias.zero_();
        } else if (auto *attention = dynamic_cast<MultiheadAttention *>(&module)) {
            draw_normal(attention->in_proj_weight(), 0, 0.02, generator);
        }
    };
    redraw(*this);
    draw_normal(pos_emb_, 0, 0.02, generator);
    draw_normal(cond_pos_emb_, 0, 0.02, generator);
}

static std::shared_ptr<Transformer> make_transformer(const Config &config, int64_t output_dim) {
    if (config.number("p_drop_emb", 0) > 0 || config.number("p_drop_attn", 0) > 0)
        invalid("p_drop_emb, p_drop_attn: only 0 is supported");
    return std::make_shared<Transformer>(TransformerOptions{
        output_dim, config.integer("horizon_steps"), config.integer("cond_dim"),
        config.integer("transformer_num_layers", 6), config.integer("transformer_num_heads", 8),
        config.integer("transformer_embed_dim", 256), config.text("transformer_activation", "gelu")});
}

// -- Gaussian_Transformer

Gaussian_Transformer::Gaussian_Transformer(const Config &config)
    : GaussianNetwork(config), action_dim_(config.integer("action_dim")),
      spread_(*this, config, 1, action_dim_, config.integer("horizon_steps")) {
    transformer_ = register_module(
        "transformer", make_transformer(config, spread_.predicted() ? 2 * action_dim_ : action_dim_));
}

std::pair<Tensor, Tensor> Gaussian_Transformer::forward(const Cond &cond) {
    const Tensor out = transformer_->forward(cond.flat().unsqueeze(1)).out;
    const int64_t batch = out.size(0);
    const Tensor mean = torch::tanh(out.slice(2, 0, action_dim_)).reshape({batch, -1});
    if (!spread_.predicted()) return {mean, spread_.fixed(mean)};
    return {mean, spread_.of(out.slice(2, action_dim_).reshape({batch, -1}))};
}

// -- GMM_Transformer

GMM_Transformer::GMM_Transformer(const Config &config)
    : GmmNetwork(config), num_modes_(config.integer("num_modes", 5)),
      action_dim_(config.integer("action_dim")),
      spread_(*this, config, num_modes_, action_dim_, config.integer("horizon_steps")) {
    // The original takes M too few of the numbers that it predicts, and cannot reshape them.
    if (spread_.predicted()) invalid("fixed_std: GMM_Transformer needs one");
    transformer_ = register_module("transformer", make_transformer(config, num_modes_ * action_dim_));
    modes_head_ =
        register_module("modes_head", torch::nn::Linear(config.integer("horizon_steps") *
                                                            config.integer("transformer_embed_dim", 256),
                                                        num_modes_));
}

GmmNetwork::Mixture GMM_Transformer::forward(const Cond &cond) {
    const Transformer::Steps steps = transformer_->forward(cond.flat().unsqueeze(1));
    const int64_t batch = steps.out.size(0), horizon = steps.out.size(1);
    // (B, Ta, M, Da) to (B, M, Ta Da)
    const Tensor means = torch::tanh(steps.out)
                             .reshape({batch, horizon, num_modes_, action_dim_})
                             .permute({0, 2, 1, 3})
                             .reshape({batch, num_modes_, horizon * action_dim_});
    return {means, spread_.fixed(means), modes_head_(steps.prehead.reshape({batch, -1}))};
}

} // namespace shim
