// torch.nn: modules are evaluated through their functional form with the case's state, so that a parameter of
// the case is the leaf whose gradient is reported.
#include "call.h"

#include <cmath>
#include <limits>

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

static void check_linear(const Config &init, const Tensor &weight, const Tensor &bias) {
    init.expect("in_features", weight.size(1));
    init.expect("out_features", weight.size(0));
    init.expect_flag("bias", bias.defined());
}

static void linear(Call &call) {
    const Tensor weight = call.state("weight"), bias = state_or_none(call, "bias");
    check_linear(call.init(), weight, bias);
    call.output("result", torch::linear(call.input("input"), weight, bias));
}

static void layer_norm(Call &call) {
    const Config init = call.init();
    const double eps = init.number("eps", 1e-5);
    const Tensor weight = state_or_none(call, "weight");
    init.expect_flag("elementwise_affine", weight.defined());
    call.output("result", torch::layer_norm(call.input("input"), init.integers("normalized_shape"), weight,
                                            state_or_none(call, "bias"), eps));
}

static void group_norm(Call &call) {
    const Config init = call.init();
    const Tensor weight = state_or_none(call, "weight");
    init.expect("num_channels", call.input("input").size(1));
    init.expect_flag("affine", weight.defined());
    call.output("result", torch::group_norm(call.input("input"), init.integer("num_groups"), weight,
                                            state_or_none(call, "bias"), init.number("eps", 1e-5)));
}

using Convolution = Tensor (*)(const Tensor &, const Tensor &, const c10::optional<Tensor> &, at::IntArrayRef,
                               at::IntArrayRef, at::IntArrayRef, int64_t);

// weight (out, in / groups, kernel..), transposed (in, out / groups, kernel..)
static void check_convolution(const Config &init, const Tensor &weight, bool bias, bool transposed) {
    const int64_t grouped = weight.size(1) * init.integer("groups", 1);
    init.expect("in_channels", transposed ? weight.size(0) : grouped);
    init.expect("out_channels", transposed ? grouped : weight.size(0));
    init.expect("kernel_size", weight.sizes().slice(2));
    init.expect_flag("bias", bias);
    if (init.text("padding_mode", "zeros") != "zeros")
        throw Failure(DPPO_MISSING, "padding_mode: libtorch side has zeros only");
}

template <Convolution function, size_t dims> static void convolution(Call &call) {
    const Config init = call.init();
    const Tensor weight = call.state("weight");
    check_convolution(init, weight, call.has_state("bias"), false);
    call.output("result", function(call.input("input"), weight, state_or_none(call, "bias"),
                                   per_dim(init, "stride", 1, dims), per_dim(init, "padding", 0, dims),
                                   per_dim(init, "dilation", 1, dims), init.integer("groups", 1)));
}

static void conv_transpose1d(Call &call) {
    const Config init = call.init();
    const Tensor weight = call.state("weight");
    check_convolution(init, weight, call.has_state("bias"), true);
    call.output("result",
                torch::conv_transpose1d(call.input("input"), weight, state_or_none(call, "bias"),
                                        per_dim(init, "stride", 1, 1), per_dim(init, "padding", 0, 1),
                                        per_dim(init, "output_padding", 0, 1), init.integer("groups", 1),
                                        per_dim(init, "dilation", 1, 1)));
}

static void embedding(Call &call) {
    const Tensor weight = call.state("weight");
    call.init().expect("num_embeddings", weight.size(0));
    call.init().expect("embedding_dim", weight.size(1));
    // Counted from the end where negative; its row gets no gradient.
    int64_t padding_idx = -1;
    if (call.init().has("padding_idx")) {
        padding_idx = call.init().integer("padding_idx");
        if (padding_idx < 0) padding_idx += weight.size(0);
    }
    call.output("result", torch::embedding(weight, call.input("input"), padding_idx));
}

// -- attention ------------------------------------------------------------------------------------

// One tensor given for several arguments is projected once (the package asks `is`); each is (T, B, E).
static std::vector<Tensor> project(const Tensor &query, const Tensor &key, const Tensor &value,
                                   const Tensor &weight, const Tensor &bias) {
    const int64_t size = query.size(-1);
    const auto rows = [&](const Tensor &input, int64_t first, int64_t count) {
        const Tensor part = bias.defined() ? bias.narrow(0, first * size, count * size) : bias;
        return torch::linear(input, weight.narrow(0, first * size, count * size), part);
    };
    if (key.is_same(value) && query.is_same(key)) return torch::linear(query, weight, bias).chunk(3, -1);
    if (!key.is_same(value)) return {rows(query, 0, 1), rows(key, 1, 1), rows(value, 2, 1)};
    const std::vector<Tensor> both = rows(key, 1, 2).chunk(2, -1);
    return {rows(query, 0, 1), both[0], both[1]};
}

// The attn_mask and the key_padding_mask (B, S) as one mask to add: (1 or B H, T or 1, S), or undefined.
static Tensor merged_mask(Call &call, int64_t batch, int64_t heads, bool batched) {
    Tensor mask;
    if (call.has("attn_mask")) {
        mask = call.input("attn_mask");
        if (mask.dim() == 2) mask = mask.unsqueeze(0);
    }
    const double forbidden = -std::numeric_limits<double>::infinity();
    if (call.has("key_padding_mask")) {
        Tensor keys = call.input("key_padding_mask").to(torch::kBool);
        if (!batched) keys = keys.unsqueeze(0);
        keys = keys.view({batch, 1, 1, -1}).expand({-1, heads, -1, -1}).reshape({batch * heads, 1, -1});
        if (!mask.defined())
            mask = keys;
        else
            mask = mask.scalar_type() == torch::kBool ? mask.logical_or(keys)
                                                      : mask.masked_fill(keys, forbidden);
    }
    if (mask.defined() && mask.scalar_type() == torch::kBool)
        return torch::zeros(mask.sizes()).masked_fill(mask, forbidden);
    return mask;
}

// query (T, B, E), or (B, T, E) with batch_first, or without the batch: the steps of the Python package,
// which F::multi_head_attention_forward of C++ multiplies and adds in another order.
static void multihead_attention(Call &call) {
    const Config init = call.init(), args = call.args();
    const bool batched = call.input("query").dim() == 3;
    const bool swap = batched && init.flag("batch_first", false);
    const auto prepared = [&](const char *name) {
        const Tensor tensor = call.input(name);
        return !batched ? tensor.unsqueeze(1) : swap ? tensor.transpose(1, 0) : tensor;
    };
    // key defaults to the query, value to the key
    const Tensor query = prepared("query"), key = call.has("key") ? prepared("key") : query;
    const Tensor value = call.has("value") ? prepared("value") : key;
    const int64_t T = query.size(0), B = query.size(1), E = query.size(2), H = init.integer("num_heads");
    init.expect("embed_dim", E);
    init.expect_flag("bias", call.has_state("in_proj_bias"));
    for (const char *option : {"add_bias_kv", "add_zero_attn", "kdim", "vdim"})
        init.refuse(option);
    std::vector<Tensor> qkv =
        project(query, key, value, call.state("in_proj_weight"), state_or_none(call, "in_proj_bias"));
    for (Tensor &each : qkv)
        each = each.contiguous().view({each.size(0), B * H, E / H}).transpose(0, 1);
    const Tensor scaled = qkv[0] / std::sqrt(static_cast<double>(E / H)), keys = qkv[1].transpose(-2, -1);
    const Tensor mask = merged_mask(call, B, H, batched);
    Tensor weights = mask.defined() ? torch::baddbmm(mask, scaled, keys) : torch::bmm(scaled, keys);
    weights = torch::softmax(weights, -1);
    const double dropped = init.number("dropout", 0);
    if (args.flag("training", init.flag("training", false)) && dropped > 0)
        weights = torch::dropout(weights, dropped, true);
    Tensor output = torch::bmm(weights, qkv[2]).transpose(0, 1).contiguous().view({T * B, E});
    output = torch::linear(output, call.state("out_proj.weight"), state_or_none(call, "out_proj.bias"))
                 .view({T, B, E});
    call.output("attn_output", !batched ? output.squeeze(1) : swap ? output.transpose(1, 0) : output);
    if (!args.flag("need_weights", true)) return;
    weights = weights.view({B, H, T, -1});
    if (args.flag("average_attn_weights", true)) weights = weights.sum(1) / static_cast<double>(H);
    call.output("attn_output_weights", batched ? weights : weights.squeeze(0));
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
    // Broadcast first, as torch.nn.functional does: left to itself, mse_loss divides the gradient of the
    // smaller operand by that one's number of elements.
    const std::vector<Tensor> both = torch::broadcast_tensors({call.input("input"), call.input("target")});
    call.output("result", torch::mse_loss(both[0], both[1], how));
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

// -- containers, and parameters from elsewhere ----------------------------------------------------

using Parameters = std::function<Tensor(const std::string &)>; // undefined where there is none

// The case's state by name.
static Parameters of_state(Call &call) {
    return [&call](const std::string &name) { return call.has_state(name) ? call.state(name) : Tensor(); };
}

// What a description says of a layer's tensors, for the layers that have some.
static void check_layer(const Config &init, const Tensor &weight, const Tensor &bias) {
    if (init.target() == "Linear") {
        check_linear(init, weight, bias);
    } else if (init.target() == "LayerNorm") {
        init.expect_flag("elementwise_affine", weight.defined());
        if (weight.defined()) init.expect("normalized_shape", weight.sizes());
    }
}

// One layer of a container, built from its `_target_`; its parameters are "<index>.weight", ...
static Tensor layer(Call &call, const Config &init, const std::string &prefix, const Parameters &parameters,
                    const Tensor &input) {
    const std::string kind = init.target();
    const Tensor weight = parameters(prefix + "weight"), bias = parameters(prefix + "bias");
    check_layer(init, weight, bias);
    if (kind == "Linear") return torch::linear(input, weight, bias);
    if (kind == "LayerNorm")
        return torch::layer_norm(input, init.integers("normalized_shape"), weight, bias,
                                 init.number("eps", 1e-5));
    if (kind == "Dropout")
        return torch::dropout(input, init.number("p", 0.5), call.args().flag("training", true));
    if (kind == "ReLU") return torch::relu(input);
    if (kind == "Mish") return torch::mish(input);
    if (kind == "Tanh") return torch::tanh(input);
    if (kind == "ELU") return torch::elu(input);
    if (kind == "GELU") return torch::gelu(input);
    if (kind == "Softplus") return torch::softplus(input);
    if (kind == "Identity") return input;
    invalid("init: a layer of kind " + kind + " is not known");
}

// init: {"modules": [{"_target_": "torch.nn.Linear", ...}, ...]}
static Tensor chain(Call &call, const Parameters &parameters, Tensor value) {
    const Config modules = call.init().at("modules");
    for (size_t i = 0; i < modules.size(); i++)
        value = layer(call, modules.item(i), std::to_string(i) + ".", parameters, value);
    return value;
}

static void sequential(Call &call) {
    call.output("result", chain(call, of_state(call), call.input("input")));
}

// Every layer sees the input.
static void module_list(Call &call) {
    const Config modules = call.init().at("modules");
    const Tensor input = call.input("input");
    std::vector<Tensor> results;
    for (size_t i = 0; i < modules.size(); i++)
        results.push_back(layer(call, modules.item(i), std::to_string(i) + ".", of_state(call), input));
    call.output_sequence(results);
}

// Parameters in/params/<name>; the module's own where one is not given.
static void functional_call(Call &call) {
    const std::map<std::string, Tensor> given = call.group("params");
    const Parameters own = of_state(call);
    const Parameters parameters = [&](const std::string &name) {
        const auto found = given.find(name);
        return found != given.end() ? found->second : own(name);
    };
    call.output("result", chain(call, parameters, call.input("input")));
}

// vmap over stacked parameters is by its definition this loop; C++ has nothing faster.
static void vmap(Call &call) {
    const std::map<std::string, Tensor> given = call.group("params");
    if (given.empty()) invalid("in/params: absent");
    const bool per_member = call.args().has("in_dims") && call.args().at("in_dims").has("1");
    const Tensor input = call.input("input");
    std::vector<Tensor> results;
    for (int64_t n = 0; n < given.begin()->second.size(0); n++) {
        const Parameters member = [&](const std::string &name) {
            const auto found = given.find(name);
            return found != given.end() ? found->second.select(0, n) : Tensor();
        };
        results.push_back(chain(call, member, per_member ? input.select(0, n) : input));
    }
    call.output("result", torch::stack(results));
}

// in/models/<n>/<name>; a fresh leaf each, without history.
static void stack_module_state(Call &call) {
    std::map<std::string, std::vector<Tensor>> members;
    for (int64_t n = 0;; n++) {
        const std::map<std::string, Tensor> state = call.group("models/" + std::to_string(n));
        if (state.empty()) break;
        for (const auto &item : state)
            members[item.first].push_back(item.second);
    }
    if (members.empty()) invalid("in/models: absent");
    const Config modules = call.init().at("modules");
    for (size_t i = 0; i < modules.size(); i++) {
        const auto first = [&](const std::string &name) {
            const auto found = members.find(std::to_string(i) + "." + name);
            return found == members.end() ? Tensor() : found->second[0];
        };
        check_layer(modules.item(i), first("weight"), first("bias"));
    }
    for (const auto &item : members)
        call.output(item.first, torch::stack(item.second).detach());
}

// A buffer is state and no parameter, and its holder sees what is written to it.
static void register_buffer(Call &call) {
    const std::string name = call.args().text("name", "buffer");
    torch::nn::Module module("Module");
    Tensor &held = module.register_buffer(name, call.input("tensor").detach().clone());
    if (call.args().has("fill")) module.named_buffers()[name].fill_(call.args().number("fill"));
    call.output("result", call.input("input") + held);
    for (const auto &item : module.named_buffers())
        call.state_after(item.key(), item.value());
}

const Entry entries_nn[] = {
    {"torch.func.functional_call", functional_call},
    {"torch.func.stack_module_state", stack_module_state},
    {"torch.nn.Conv1d", convolution<at::conv1d, 1>},
    {"torch.nn.Conv2d", convolution<at::conv2d, 2>},
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
    {"torch.nn.Module.register_buffer", register_buffer},
    {"torch.nn.ModuleList", module_list},
    {"torch.nn.MultiheadAttention", multihead_attention},
    {"torch.nn.ReLU", activation<torch::relu>},
    {"torch.nn.Sequential", sequential},
    {"torch.nn.Sigmoid", activation<torch::sigmoid>},
    {"torch.nn.Softplus", softplus},
    {"torch.nn.Tanh", activation<torch::tanh>},
    {"torch.nn.functional.mse_loss", mse_loss},
    {"torch.nn.functional.pad", pad},
    {"torch.vmap", vmap},
    {nullptr, nullptr},
};

} // namespace shim
