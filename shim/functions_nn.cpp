// torch.nn: modules are evaluated through their functional form with the case's state, so that a parameter of
// the case is the leaf whose gradient is reported.
#include "call.h"

namespace shim {

namespace F = torch::nn::functional;

// A parameter the module may have been built without (bias=False, elementwise_affine=False).
static Tensor state_or_none(Call &call, const char *name) {
    return call.has_state(name) ? call.state(name) : Tensor();
}

// A size given once stands for every dimension, as in torch's int-or-tuple arguments.
static Shape per_dim(const Config &init, const char *name, int64_t fallback, size_t dims) {
    const Shape values = init.integers(name);
    if (values.empty()) return Shape(dims, fallback);
    return values.size() == 1 ? Shape(dims, values[0]) : values;
}

// -- layers with parameters -----------------------------------------------------------------------

static void linear(Call &call) {
    call.output("result",
                torch::linear(call.input("input"), call.state("weight"), state_or_none(call, "bias")));
}

static void layer_norm(Call &call) {
    const Config init = call.init();
    const double eps = init.number("eps", 1e-5);
    const Tensor weight = state_or_none(call, "weight");
    call.output("result", torch::layer_norm(call.input("input"), init.integers("normalized_shape"), weight,
                                            state_or_none(call, "bias"), eps));
}

static void group_norm(Call &call) {
    const Config init = call.init();
    const Tensor weight = state_or_none(call, "weight");
    call.output("result", torch::group_norm(call.input("input"), init.integer("num_groups"), weight,
                                            state_or_none(call, "bias"), init.number("eps", 1e-5)));
}

template <size_t dims> static void convolution(Call &call) {
    const Config init = call.init();
    const Tensor weight = call.state("weight");
    call.output("result",
                torch::convolution(call.input("input"), weight, state_or_none(call, "bias"),
                                   per_dim(init, "stride", 1, dims), per_dim(init, "padding", 0, dims),
                                   per_dim(init, "dilation", 1, dims), /*transposed=*/false, Shape(dims, 0),
                                   init.integer("groups", 1)));
}

static void conv_transpose1d(Call &call) {
    const Config init = call.init();
    const Tensor weight = call.state("weight");
    call.output("result",
                torch::conv_transpose1d(call.input("input"), weight, state_or_none(call, "bias"),
                                        per_dim(init, "stride", 1, 1), per_dim(init, "padding", 0, 1),
                                        per_dim(init, "output_padding", 0, 1), init.integer("groups", 1),
                                        per_dim(init, "dilation", 1, 1)));
}

static void embedding(Call &call) {
    call.output("result", torch::embedding(call.state("weight"), call.input("input"),
                                           call.init().integer("padding_idx", -1)));
}

// query (T, B, E), or (B, T, E) with batch_first, or without the batch; C++ knows only the first.
static void multihead_attention(Call &call) {
    const Config init = call.init(), args = call.args();
    const bool batch_first = init.flag("batch_first", false);
    const bool batched = call.input("query").dim() == 3;
    const auto given = [&](const char *name) {
        const Tensor tensor = call.input(name);
        if (!batched) return tensor.unsqueeze(1);
        return batch_first ? tensor.transpose(0, 1) : tensor;
    };
    const Tensor in_weight = call.state("in_proj_weight"), in_bias = state_or_none(call, "in_proj_bias");
    const Tensor out_weight = call.state("out_proj.weight"), out_bias = state_or_none(call, "out_proj.bias");
    auto options =
        F::MultiheadAttentionForwardFuncOptions(init.integer("embed_dim"), init.integer("num_heads"),
                                                in_weight, in_bias, {}, {}, false, 0.0, out_weight, out_bias)
            .training(false)
            .need_weights(args.flag("need_weights", true))
            .average_attn_weights(args.flag("average_attn_weights", true));
    if (call.has("attn_mask")) options.attn_mask(call.input("attn_mask"));
    if (call.has("key_padding_mask")) options.key_padding_mask(call.input("key_padding_mask"));
    Tensor output, weights;
    std::tie(output, weights) =
        F::multi_head_attention_forward(given("query"), given("key"), given("value"), options);
    if (!batched)
        output = output.squeeze(1);
    else if (batch_first)
        output = output.transpose(0, 1);
    call.output("attn_output", output);
    if (weights.defined()) call.output("attn_output_weights", batched ? weights : weights.squeeze(0));
}

// -- layers without -------------------------------------------------------------------------------

static void dropout(Call &call) {
    const Config settings = call.settings();
    const bool training = call.args().flag("training", call.init().flag("training", true));
    call.output("result", torch::dropout(call.input("input"), settings.number("p", 0.5), training));
}

static void elu(Call &call) {
    call.output("result", torch::elu(call.input("input"), call.settings().number("alpha", 1.0)));
}

static void gelu(Call &call) {
    call.output("result", torch::gelu(call.input("input"), call.settings().text("approximate", "none")));
}

static void softplus(Call &call) {
    const Config settings = call.settings();
    call.output("result", torch::softplus(call.input("input"), settings.number("beta", 1),
                                          settings.number("threshold", 20)));
}

template <Tensor (*function)(const Tensor &)> static void activation(Call &call) {
    call.output("result", function(call.input("input")));
}

static void identity(Call &call) {
    call.output("result", call.input("input"));
}

static void mse_loss(Call &call) {
    const std::string reduction = call.args().text("reduction", "mean");
    const int64_t how = reduction == "none"   ? at::Reduction::None
                        : reduction == "mean" ? at::Reduction::Mean
                        : reduction == "sum"  ? at::Reduction::Sum
                                              : at::Reduction::END;
    if (how == at::Reduction::END) invalid("args/reduction: " + reduction + " is none of none, mean, sum");
    call.output("result", torch::mse_loss(call.input("input"), call.input("target"), how));
}

static void pad(Call &call) {
    const Config args = call.args();
    const Tensor input = call.input("input");
    const Shape sides = args.integers("pad");
    const std::string mode = args.text("mode", "constant");
    if (mode == "constant")
        call.output("result", torch::constant_pad_nd(input, sides, args.number("value", 0)));
    else if (mode == "replicate")
        call.output("result", F::pad(input, F::PadFuncOptions(sides).mode(torch::kReplicate)));
    else if (mode == "reflect")
        call.output("result", F::pad(input, F::PadFuncOptions(sides).mode(torch::kReflect)));
    else
        invalid("args/mode: " + mode + " is none of constant, replicate, reflect");
}

// -- containers -----------------------------------------------------------------------------------

// One layer of a Sequential, built from its `_target_`; its parameters are "<index>.weight" in the state.
static Tensor layer(Call &call, const Config &init, const std::string &prefix, const Tensor &input) {
    const std::string kind = init.target();
    const auto parameter = [&](const char *name) {
        return call.has_state(prefix + name) ? call.state(prefix + name) : Tensor();
    };
    if (kind == "Linear") {
        const Tensor weight = parameter("weight");
        return torch::linear(input, weight, parameter("bias"));
    }
    if (kind == "LayerNorm") {
        const Tensor weight = parameter("weight");
        return torch::layer_norm(input, init.integers("normalized_shape"), weight, parameter("bias"),
                                 init.number("eps", 1e-5));
    }
    if (kind == "ReLU") return torch::relu(input);
    if (kind == "Mish") return torch::mish(input);
    if (kind == "Tanh") return torch::tanh(input);
    if (kind == "ELU") return torch::elu(input);
    if (kind == "GELU") return torch::gelu(input);
    if (kind == "Softplus") return torch::softplus(input);
    if (kind == "Identity") return input;
    invalid("init: Sequential of " + kind + " is not known");
}

// init: {"modules": [{"_target_": "torch.nn.Linear", ...}, ...]}
static void sequential(Call &call) {
    const Config modules = call.init().at("modules");
    Tensor value = call.input("input");
    for (size_t i = 0; i < modules.size(); i++)
        value = layer(call, modules.item(i), std::to_string(i) + ".", value);
    call.output("result", value);
}

const Entry entries_nn[] = {
    {"torch.nn.Conv1d", convolution<1>},
    {"torch.nn.Conv2d", convolution<2>},
    {"torch.nn.ConvTranspose1d", conv_transpose1d},
    {"torch.nn.Dropout", dropout},
    {"torch.nn.ELU", elu},
    {"torch.nn.Embedding", embedding},
    {"torch.nn.GELU", gelu},
    {"torch.nn.GroupNorm", group_norm},
    {"torch.nn.Identity", identity},
    {"torch.nn.LayerNorm", layer_norm},
    {"torch.nn.Linear", linear},
    {"torch.nn.Mish", activation<torch::mish>},
    {"torch.nn.MultiheadAttention", multihead_attention},
    {"torch.nn.ReLU", activation<torch::relu>},
    {"torch.nn.Sequential", sequential},
    {"torch.nn.Sigmoid", activation<torch::sigmoid>},
    {"torch.nn.Softplus", softplus},
    {"torch.nn.Tanh", activation<torch::tanh>},
    {"torch.nn.functional.mse_loss", mse_loss},
    {"torch.nn.functional.pad", pad},
    {nullptr, nullptr},
};

} // namespace shim
