// Functions of tensors under torch's own names, grouped as in its documentation. Each entry is libtorch's
// function with the arguments a case names; nothing is computed here that libtorch computes.
#include "call.h"

namespace shim {

// -- arguments ------------------------------------------------------------------------------------

using Unary = Tensor (*)(const Tensor &);
using Binary = Tensor (*)(const Tensor &, const Tensor &);

template <Unary function> static void unary(Call &call) {
    call.output("result", function(call.input("input")));
}

// `other` is a tensor, or a number of the arguments (which takes part in no type promotion).
static Tensor operand(Call &call, const char *name) {
    if (call.has(name)) return call.input(name);
    const Config args = call.args();
    return args.is_integer(name) ? torch::scalar_tensor(args.integer(name), torch::kInt64)
                                 : torch::scalar_tensor(args.number(name));
}

template <Binary function> static void binary(Call &call) {
    call.output("result", function(operand(call, "input"), operand(call, "other")));
}

// Dims: permute and flip call them dims, reductions dim.
static Shape dims(const Config &args) {
    return args.integers(args.has("dims") ? "dims" : "dim");
}

// The dtype argument ("torch.int64" or "int64"); float32 stands for the dtype of the run.
static torch::Dtype dtype_or(const Call &call, torch::Dtype fallback) {
    std::string name = call.args().text("dtype", "");
    if (name.empty()) return fallback;
    if (name.compare(0, 6, "torch.") == 0) name = name.substr(6);
    if (name == "float32" || name == "float") return call.dtype();
    if (name == "float64" || name == "double") return torch::kFloat64;
    if (name == "int64" || name == "long") return torch::kInt64;
    if (name == "bool") return torch::kBool;
    invalid("args/dtype: " + name + " is none of float32, float64, int64, bool");
}

static c10::optional<int64_t> dim_or_all(const Config &args) {
    return args.has("dim") ? c10::optional<int64_t>(args.integer("dim")) : c10::nullopt;
}

// What is reduced: the input, converted first where a dtype is named.
static Tensor reduced(Call &call) {
    const Tensor input = call.input("input");
    return call.args().has("dtype") ? input.to(dtype_or(call, call.dtype())) : input;
}

static bool keepdim(const Config &args) {
    return args.flag("keepdim", false);
}

// -- creation -------------------------------------------------------------------------------------

static void arange(Call &call) {
    const Config args = call.args();
    const bool whole = args.is_integer("end") && (!args.has("start") || args.is_integer("start")) &&
                       (!args.has("step") || args.is_integer("step"));
    const torch::Dtype dtype = dtype_or(call, whole ? torch::kInt64 : call.dtype());
    call.output("result",
                torch::arange(args.number("start", 0), args.number("end"), args.number("step", 1), dtype));
}

static void linspace(Call &call) {
    const Config args = call.args();
    call.output("result", torch::linspace(args.number("start"), args.number("end"), args.integer("steps"),
                                          dtype_or(call, call.dtype())));
}

// The type of the value decides, as in Python.
static void full(Call &call) {
    const Config args = call.args();
    const dppo_config_type type = dppo_config_type_of(args.at("fill_value").node());
    const bool truth = type == DPPO_CONFIG_BOOL;
    const torch::Dtype natural = truth                     ? torch::kBool
                                 : type == DPPO_CONFIG_INT ? torch::kInt64
                                                           : call.dtype();
    const double value = truth ? args.flag("fill_value", false) : args.number("fill_value");
    call.output("result", torch::full(call.sizes(), value, dtype_or(call, natural)));
}

static void zeros(Call &call) {
    call.output("result", torch::zeros(call.sizes(), dtype_or(call, call.dtype())));
}

static void ones(Call &call) {
    call.output("result", torch::ones(call.sizes(), dtype_or(call, call.dtype())));
}

static void full_like(Call &call) {
    call.output("result", torch::full_like(call.input("input"), call.args().number("fill_value")));
}

static void ones_like(Call &call) {
    call.output("result", torch::ones_like(call.input("input")));
}

static void zeros_like(Call &call) {
    call.output("result", torch::zeros_like(call.input("input")));
}

// -- indexing, slicing, joining, mutating ---------------------------------------------------------

static void cat(Call &call) {
    call.output("result", torch::cat(call.sequence("tensors"), call.args().integer("dim", 0)));
}

static void stack(Call &call) {
    call.output("result", torch::stack(call.sequence("tensors"), call.args().integer("dim", 0)));
}

static void hstack(Call &call) {
    call.output("result", torch::hstack(call.sequence("tensors")));
}

static void meshgrid(Call &call) {
    call.output_sequence(torch::meshgrid(call.sequence("tensors"), call.args().text("indexing", "ij")));
}

static void split(Call &call) {
    const Config args = call.args();
    const char *name = args.has("split_size") ? "split_size" : "split_size_or_sections";
    const Shape sections = args.integers(name);
    const int64_t dim = args.integer("dim", 0);
    call.output_sequence(args.is_integer(name) ? torch::split(call.input("input"), sections.at(0), dim)
                                               : torch::split_with_sizes(call.input("input"), sections, dim));
}

static void gather(Call &call) {
    call.output("result",
                torch::gather(call.input("input"), call.args().integer("dim"), call.input("index")));
}

static void index_select(Call &call) {
    call.output("result",
                torch::index_select(call.input("input"), call.args().integer("dim"), call.input("index")));
}

static void narrow(Call &call) {
    const Config args = call.args();
    call.output("result", torch::narrow(call.input("input"), args.integer("dim"), args.integer("start"),
                                        args.integer("length")));
}

static void select(Call &call) {
    call.output("result",
                torch::select(call.input("input"), call.args().integer("dim"), call.args().integer("index")));
}

static void reshape(Call &call) {
    call.output("result", call.input("input").reshape(call.sizes()));
}

static void view(Call &call) {
    call.output("result", call.input("input").view(call.sizes()));
}

static void flatten(Call &call) {
    call.output("result", torch::flatten(call.input("input"), call.args().integer("start_dim", 0),
                                         call.args().integer("end_dim", -1)));
}

static void permute(Call &call) {
    call.output("result", torch::permute(call.input("input"), dims(call.args())));
}

static void transpose(Call &call) {
    call.output("result", torch::transpose(call.input("input"), call.args().integer("dim0"),
                                           call.args().integer("dim1")));
}

static void squeeze(Call &call) {
    const Tensor input = call.input("input");
    call.output("result", call.args().has("dim") ? torch::squeeze(input, call.args().integer("dim"))
                                                 : torch::squeeze(input));
}

static void unsqueeze(Call &call) {
    call.output("result", torch::unsqueeze(call.input("input"), call.args().integer("dim")));
}

static void expand(Call &call) {
    call.output("result", call.input("input").expand(call.sizes()));
}

static void expand_as(Call &call) {
    call.output("result", call.input("input").expand_as(call.input("other")));
}

static void repeat(Call &call) {
    call.output("result", call.input("input").repeat(call.sizes()));
}

static void repeat_interleave(Call &call) {
    const auto dim = dim_or_all(call.args());
    const Tensor input = call.input("input");
    if (!call.has("repeats") && call.args().is_integer("repeats"))
        return call.output("result", torch::repeat_interleave(input, call.args().integer("repeats"), dim));
    const Tensor repeats = call.has("repeats")
                               ? call.input("repeats")
                               : torch::tensor(call.args().integers("repeats"), torch::kInt64);
    call.output("result", torch::repeat_interleave(input, repeats, dim));
}

static void flip(Call &call) {
    call.output("result", torch::flip(call.input("input"), dims(call.args())));
}

static void triu(Call &call) {
    call.output("result", torch::triu(call.input("input"), call.args().integer("diagonal", 0)));
}

static void where(Call &call) {
    call.output("result", torch::where(call.input("condition").to(torch::kBool),
                                       operand(call, call.has("x") ? "x" : "input"),
                                       operand(call, call.has("y") ? "y" : "other")));
}

static void masked_fill(Call &call) {
    const Tensor input = call.input("input"), mask = call.input("mask").to(torch::kBool);
    call.output("result", call.has("value") ? input.masked_fill(mask, call.input("value"))
                                            : input.masked_fill(mask, call.args().number("value")));
}

// libtorch 1.13 has none (it came with 2.2): the last dim runs fastest.
static void unravel_index(Call &call) {
    const Shape shape = call.args().integers("shape");
    Tensor rest = call.input(call.has("indices") ? "indices" : "input");
    std::vector<Tensor> places(shape.size());
    for (size_t i = shape.size(); i-- > 0;) {
        places[i] = torch::remainder(rest, shape[i]);
        rest = torch::floor_divide(rest, torch::scalar_tensor(shape[i], torch::kInt64));
    }
    call.output_sequence(places);
}

// -- methods that change what a tensor is, not its values -----------------------------------------

static void same(Call &call) {
    call.output("result", call.input("input"));
}

static void clone(Call &call) {
    call.output("result", call.input("input").clone());
}

static void detach(Call &call) {
    call.output("result", call.input("input").detach());
}

static void to_float(Call &call) {
    call.output("result", call.input("input").to(call.dtype()));
}

static void to_long(Call &call) {
    call.output("result", call.input("input").to(torch::kInt64));
}

static void item(Call &call) {
    const Tensor input = call.input("input");
    if (input.is_floating_point())
        call.output("result", input.item<double>());
    else
        call.output_int("result", input.item<int64_t>());
}

// What is computed from a leaf that wants a gradient, or does not.
static void requires_grad(Call &call) {
    Tensor input = call.input(call.has("data") ? "data" : "input");
    const bool wanted = call.args().flag("requires_grad", true);
    if (call.differentiable()) input.requires_grad_(wanted);
    call.output("result", input * 1);
}

// `inside` is computed without recording, and a constant to what follows.
static void no_grad(Call &call) {
    const Tensor input = call.input("input");
    Tensor inside;
    {
        torch::NoGradGuard guard;
        inside = input * 2;
    }
    call.output("inside", inside);
    call.output("result", input * inside);
}

// -- pointwise ------------------------------------------------------------------------------------

static c10::optional<c10::Scalar> bound(const Config &args, const char *name) {
    if (!args.has(name)) return c10::nullopt;
    return args.is_integer(name) ? c10::Scalar(args.integer(name)) : c10::Scalar(args.number(name));
}

static void clamp(Call &call) {
    const Tensor input = call.input("input");
    if (!call.has("min") && !call.has("max")) {
        call.output("result", torch::clamp(input, bound(call.args(), "min"), bound(call.args(), "max")));
        return;
    }
    const auto tensor = [&](const char *name) {
        return call.has(name) ? c10::optional<Tensor>(call.input(name)) : c10::nullopt;
    };
    call.output("result", torch::clamp(input, tensor("min"), tensor("max")));
}

// In place on a copy, as a leaf that wants a gradient may not be written.
static void clamp_(Call &call) {
    Tensor copy = call.input("input").clone();
    call.output("result", torch::clamp_(copy, bound(call.args(), "min"), bound(call.args(), "max")));
}

static void round(Call &call) {
    const Tensor input = call.input("input");
    call.output("result", call.args().has("decimals") ? torch::round(input, call.args().integer("decimals"))
                                                      : torch::round(input));
}

static void pow(Call &call) {
    const Tensor input = call.input("input");
    call.output("result", call.has("exponent") ? torch::pow(input, call.input("exponent"))
                                               : torch::pow(input, *bound(call.args(), "exponent")));
}

// -- reductions -----------------------------------------------------------------------------------

static void sum(Call &call) {
    const Config args = call.args();
    const Tensor input = reduced(call);
    call.output("result",
                args.has("dim") ? torch::sum(input, args.integers("dim"), keepdim(args)) : torch::sum(input));
}

static void mean(Call &call) {
    const Config args = call.args();
    const Tensor input = reduced(call);
    call.output("result", args.has("dim") ? torch::mean(input, args.integers("dim"), keepdim(args))
                                          : torch::mean(input));
}

static void nanmean(Call &call) {
    const Config args = call.args();
    const Tensor input = reduced(call);
    call.output("result", args.has("dim") ? torch::nanmean(input, args.integers("dim"), keepdim(args))
                                          : torch::nanmean(input));
}

using Spread = Tensor (*)(const Tensor &, at::OptionalIntArrayRef, c10::optional<int64_t>, bool);

// unbiased=False is correction 0; the default is Bessel's 1.
template <Spread function> static void spread(Call &call) {
    const Config args = call.args();
    const int64_t correction = args.integer("correction", args.flag("unbiased", true) ? 1 : 0);
    const Shape dims = args.integers("dim");
    call.output("result", function(call.input("input"),
                                   dims.empty() ? at::OptionalIntArrayRef() : at::OptionalIntArrayRef(dims),
                                   correction, keepdim(args)));
}

static void prod(Call &call) {
    const Config args = call.args();
    const Tensor input = reduced(call);
    call.output("result", args.has("dim") ? torch::prod(input, args.integer("dim"), keepdim(args))
                                          : torch::prod(input));
}

using Extreme = Tensor (*)(const Tensor &);
using ExtremeDim = std::tuple<Tensor, Tensor> (*)(const Tensor &, int64_t, bool);

// Three functions under one name: of all elements, along a dim, of two tensors.
template <Extreme all, ExtremeDim along, Binary elementwise> static void extreme(Call &call) {
    const Config args = call.args();
    const Tensor input = call.input("input");
    if (call.has("other")) return call.output("result", elementwise(input, call.input("other")));
    if (!args.has("dim")) return call.output("result", all(input));
    const auto found = along(input, args.integer("dim"), keepdim(args));
    call.output("values", std::get<0>(found));
    call.output("indices", std::get<1>(found));
}

static void argmax(Call &call) {
    call.output("result", torch::argmax(call.input("input"), dim_or_all(call.args()), keepdim(call.args())));
}

static void logsumexp(Call &call) {
    call.output("result",
                torch::logsumexp(call.input("input"), call.args().integers("dim"), keepdim(call.args())));
}

static void cumprod(Call &call) {
    call.output("result", torch::cumprod(reduced(call), call.args().integer("dim")));
}

static void cumsum(Call &call) {
    call.output("result", torch::cumsum(reduced(call), call.args().integer("dim")));
}

static void quantile(Call &call) {
    const Config args = call.args();
    const Tensor input = call.input("input");
    const auto dim = dim_or_all(args);
    const std::string how = args.text("interpolation", "linear");
    if (!call.has("q") && args.at("q").size() == 0)
        return call.output("result", torch::quantile(input, args.number("q"), dim, keepdim(args), how));
    const Tensor q = call.has("q") ? call.input("q") : torch::tensor(args.numbers("q"), call.dtype());
    call.output("result", torch::quantile(input, q, dim, keepdim(args), how));
}

static void softmax(Call &call) {
    call.output("result", torch::softmax(reduced(call), call.args().integer("dim")));
}

static void log_softmax(Call &call) {
    call.output("result", torch::log_softmax(reduced(call), call.args().integer("dim")));
}

// -- the table ------------------------------------------------------------------------------------

static void dot(Call &call) {
    call.output("result",
                torch::dot(call.input("input"), call.input(call.has("tensor") ? "tensor" : "other")));
}

static Tensor plus(const Tensor &a, const Tensor &b) {
    return torch::add(a, b);
}
static Tensor minus(const Tensor &a, const Tensor &b) {
    return torch::sub(a, b);
}

const Entry entries_torch[] = {
    {"torch.Tensor.clamp_", clamp_},
    {"torch.Tensor.clone", clone},
    {"torch.Tensor.detach", detach},
    {"torch.Tensor.expand", expand},
    {"torch.Tensor.expand_as", expand_as},
    {"torch.Tensor.float", to_float},
    {"torch.Tensor.item", item},
    {"torch.Tensor.long", to_long},
    {"torch.Tensor.masked_fill", masked_fill},
    {"torch.Tensor.repeat", repeat},
    {"torch.Tensor.requires_grad_", requires_grad},
    {"torch.Tensor.reshape", reshape},
    {"torch.Tensor.transpose", transpose},
    {"torch.Tensor.view", view},
    {"torch.abs", unary<torch::abs>},
    {"torch.add", binary<plus>},
    {"torch.arange", arange},
    {"torch.argmax", argmax},
    {"torch.atanh", unary<torch::atanh>},
    {"torch.cat", cat},
    {"torch.clamp", clamp},
    {"torch.clamp_", clamp_},
    {"torch.clip", clamp},
    {"torch.cos", unary<torch::cos>},
    {"torch.cumprod", cumprod},
    {"torch.cumsum", cumsum},
    {"torch.div", binary<torch::div>},
    {"torch.dot", dot},
    {"torch.eq", binary<torch::eq>},
    {"torch.erf", unary<torch::erf>},
    {"torch.exp", unary<torch::exp>},
    {"torch.flatten", flatten},
    {"torch.flip", flip},
    {"torch.from_numpy", same},
    {"torch.full", full},
    {"torch.full_like", full_like},
    {"torch.gather", gather},
    {"torch.ge", binary<torch::ge>},
    {"torch.gt", binary<torch::gt>},
    {"torch.hstack", hstack},
    {"torch.index_select", index_select},
    {"torch.isnan", unary<torch::isnan>},
    {"torch.le", binary<torch::le>},
    {"torch.linspace", linspace},
    {"torch.log", unary<torch::log>},
    {"torch.log1p", unary<torch::log1p>},
    {"torch.log_softmax", log_softmax},
    {"torch.logsumexp", logsumexp},
    {"torch.lt", binary<torch::lt>},
    {"torch.matmul", binary<torch::matmul>},
    {"torch.max", extreme<torch::max, torch::max, torch::maximum>},
    {"torch.maximum", binary<torch::maximum>},
    {"torch.mean", mean},
    {"torch.meshgrid", meshgrid},
    {"torch.min", extreme<torch::min, torch::min, torch::minimum>},
    {"torch.minimum", binary<torch::minimum>},
    {"torch.mul", binary<torch::mul>},
    {"torch.nanmean", nanmean},
    {"torch.narrow", narrow},
    {"torch.neg", unary<torch::neg>},
    {"torch.nn.Parameter", requires_grad},
    {"torch.no_grad", no_grad},
    {"torch.ones", ones},
    {"torch.ones_like", ones_like},
    {"torch.permute", permute},
    {"torch.pow", pow},
    {"torch.prod", prod},
    {"torch.quantile", quantile},
    {"torch.repeat_interleave", repeat_interleave},
    {"torch.reshape", reshape},
    {"torch.round", round},
    {"torch.select", select},
    {"torch.sigmoid", unary<torch::sigmoid>},
    {"torch.sign", unary<torch::sign>},
    {"torch.sin", unary<torch::sin>},
    {"torch.softmax", softmax},
    {"torch.split", split},
    {"torch.sqrt", unary<torch::sqrt>},
    {"torch.square", unary<torch::square>},
    {"torch.squeeze", squeeze},
    {"torch.stack", stack},
    {"torch.std", spread<torch::std>},
    {"torch.sub", binary<minus>},
    {"torch.sum", sum},
    {"torch.tanh", unary<torch::tanh>},
    {"torch.transpose", transpose},
    {"torch.triu", triu},
    {"torch.unravel_index", unravel_index},
    {"torch.unsqueeze", unsqueeze},
    {"torch.var", spread<torch::var>},
    {"torch.where", where},
    {"torch.zeros", zeros},
    {"torch.zeros_like", zeros_like},
    {nullptr, nullptr},
};

} // namespace shim
