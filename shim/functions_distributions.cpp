// torch.distributions, which libtorch's C++ interface does not have: the formulas of the Python package, step
// by step in its order of operations, on libtorch tensors.
#include "distributions.h"

#include <cmath>
#include <limits>

namespace shim {

// -- Normal ---------------------------------------------------------------------------------------

// log N(x; loc, scale) = -(x - loc)^2 / (2 scale^2) - log scale - log sqrt(2 pi)
Tensor normal_log_prob(const Tensor &value, const Tensor &loc, const Tensor &scale) {
    const Tensor variance = scale.pow(2);
    return -(value - loc).pow(2) / (2 * variance) - scale.log() - std::log(std::sqrt(2 * M_PI));
}

Tensor normal_entropy(const Tensor &loc, const Tensor &scale) {
    return 0.5 + 0.5 * std::log(2 * M_PI) + scale.expand_as(loc).log();
}

Tensor standard_normal(const Tensor &loc, const Tensor &scale, Draws &draws, Shape sample_shape) {
    const Shape batch = at::infer_size(loc.sizes(), scale.sizes());
    sample_shape.insert(sample_shape.end(), batch.begin(), batch.end());
    return draws.randn(sample_shape);
}

// The draw in the shape that the call's arguments ask for.
static Tensor standard_normal(Call &call, const Tensor &loc, const Tensor &scale) {
    return standard_normal(loc, scale, call.draws(), call.args().integers("sample_shape"));
}

static void normal_log_prob(Call &call) {
    call.output("result", normal_log_prob(call.input("value"), call.input("loc"), call.input("scale")));
}

static void normal_entropy(Call &call) {
    call.output("result", normal_entropy(call.input("loc"), call.input("scale")));
}

// sample() has no gradient and scales first: torch.normal(mean, std) is noise * std + mean.
static void normal_sample(Call &call) {
    const Tensor loc = call.input("loc").detach(), scale = call.input("scale").detach();
    call.output("result", standard_normal(call, loc, scale).mul(scale).add(loc));
}

static void normal_rsample(Call &call) {
    const Tensor loc = call.input("loc"), scale = call.input("scale");
    call.output("result", loc + standard_normal(call, loc, scale) * scale);
}

static void normal_cdf(Call &call) {
    const Tensor distance = (call.input("value") - call.input("loc")) * call.input("scale").reciprocal();
    call.output("result", 0.5 * (1 + torch::erf(distance / std::sqrt(2.0))));
}

// -- Independent of Normal: event dims are summed -------------------------------------------------

Tensor sum_rightmost(const Tensor &value, int64_t dims) {
    if (dims == 0) return value;
    Shape kept(value.sizes().begin(), value.sizes().end() - dims);
    kept.push_back(-1);
    return value.reshape(kept).sum(-1);
}

static int64_t event_dims(const Call &call) {
    return call.settings().integer("reinterpreted_batch_ndims", 1);
}

static void independent_log_prob(Call &call) {
    const Tensor each = normal_log_prob(call.input("value"), call.input("loc"), call.input("scale"));
    call.output("result", sum_rightmost(each, event_dims(call)));
}

static void independent_entropy(Call &call) {
    call.output("result",
                sum_rightmost(normal_entropy(call.input("loc"), call.input("scale")), event_dims(call)));
}

// -- Categorical ----------------------------------------------------------------------------------

Tensor normalised_logits(const Tensor &logits) {
    return logits - logits.logsumexp(-1, true);
}

struct Categorical {
    Tensor logits, probs; // normalised
};

// From logits: minus their logsumexp. From probs: divided by their sum, with logits of probabilities kept off
// 0 and 1.
static Categorical categorical(Call &call) {
    if (call.has("logits")) {
        const Tensor normalised = normalised_logits(call.input("logits"));
        return {normalised, torch::softmax(normalised, -1)};
    }
    const Tensor given = call.input("probs"), probs = given / given.sum(-1, true);
    const double eps = probs.scalar_type() == torch::kFloat64 ? std::numeric_limits<double>::epsilon()
                                                              : std::numeric_limits<float>::epsilon();
    return {probs.clamp(eps, 1 - eps).log(), probs};
}

static void categorical_log_prob(Call &call) {
    Tensor value = call.input("value").to(torch::kInt64).unsqueeze(-1);
    Tensor logits = categorical(call).logits;
    Shape batch =
        at::infer_size(value.sizes().slice(0, value.dim() - 1), logits.sizes().slice(0, logits.dim() - 1));
    Shape values = batch, categories = batch;
    values.push_back(1);
    categories.push_back(logits.size(-1));
    call.output("result", logits.expand(categories).gather(-1, value.expand(values)).squeeze(-1));
}

// H = -sum p log p, with log p kept finite where p is 0.
static void categorical_entropy(Call &call) {
    const Categorical one = categorical(call);
    const double lowest = one.logits.scalar_type() == torch::kFloat64 ? std::numeric_limits<double>::lowest()
                                                                      : std::numeric_limits<float>::lowest();
    call.output("result", -(one.logits.clamp(lowest) * one.probs).sum(-1));
}

// All samples of a row are drawn at once; the sample dims go in front.
Tensor categorical_sample(const Tensor &probs, Draws &draws, const Shape &sample_shape) {
    Shape shape = sample_shape;
    const Tensor rows = probs.detach().reshape({-1, probs.size(-1)});
    const Tensor drawn = draws.multinomial(rows, c10::multiply_integers(shape), true);
    shape.insert(shape.end(), probs.sizes().begin(), probs.sizes().end() - 1);
    return drawn.t().reshape(shape);
}

static void categorical_sample(Call &call) {
    call.output("result", categorical_sample(categorical(call).probs, call.draws(),
                                             call.args().integers("sample_shape")));
}

// -- MixtureSameFamily of Independent Normals -----------------------------------------------------

// log sum_m exp(log w_m + log N(x; loc_m, scale_m))
Tensor NormalMixture::log_prob(const Tensor &value) const {
    const Tensor each = normal_log_prob(value.unsqueeze(-1 - event_dims), loc, scale);
    return torch::logsumexp(sum_rightmost(each, event_dims) + torch::log_softmax(logits, -1), -1);
}

Tensor NormalMixture::sample(Draws &draws, const Shape &sample_shape) const {
    torch::NoGradGuard no_grad;
    Tensor index = categorical_sample(probs, draws, sample_shape);
    const Tensor all = standard_normal(loc, scale, draws, sample_shape).mul(scale).add(loc);
    const int64_t place = index.dim();
    Shape shape = all.sizes().vec();
    shape[static_cast<size_t>(place)] = 1;
    for (int64_t i = 0; i <= event_dims; i++)
        index = index.unsqueeze(-1);
    return all.gather(place, index.expand(shape)).squeeze(place);
}

static NormalMixture mixture(Call &call) {
    const Categorical modes = categorical(call);
    return {modes.logits, modes.probs, call.input("loc"), call.input("scale"), event_dims(call)};
}

static void mixture_log_prob(Call &call) {
    call.output("result", mixture(call).log_prob(call.input("value")));
}

static void mixture_sample(Call &call) {
    call.output("result", mixture(call).sample(call.draws(), call.args().integers("sample_shape")));
}

// The class alone: its `method`, or log_prob.
static void by_method(Call &call) {
    const std::string method = call.method().empty() ? "log_prob" : call.method();
    const std::string name = call.function() + "." + method;
    for (const Entry *entry = entries_distributions; entry->function != nullptr; entry++)
        if (name == entry->function) return entry->call(call);
    throw Failure(DPPO_MISSING, name + ": libtorch has no such entry");
}

const Entry entries_distributions[] = {
    {"torch.distributions.Categorical", by_method},
    {"torch.distributions.Independent", by_method},
    {"torch.distributions.MixtureSameFamily", by_method},
    {"torch.distributions.Normal", by_method},
    {"torch.distributions.Categorical.entropy", categorical_entropy},
    {"torch.distributions.Categorical.log_prob", categorical_log_prob},
    {"torch.distributions.Categorical.sample", categorical_sample},
    {"torch.distributions.Independent.entropy", independent_entropy},
    {"torch.distributions.Independent.log_prob", independent_log_prob},
    {"torch.distributions.Independent.rsample", normal_rsample},
    {"torch.distributions.Independent.sample", normal_sample},
    {"torch.distributions.MixtureSameFamily.log_prob", mixture_log_prob},
    {"torch.distributions.MixtureSameFamily.sample", mixture_sample},
    {"torch.distributions.Normal.cdf", normal_cdf},
    {"torch.distributions.Normal.entropy", normal_entropy},
    {"torch.distributions.Normal.log_prob", normal_log_prob},
    {"torch.distributions.Normal.rsample", normal_rsample},
    {"torch.distributions.Normal.sample", normal_sample},
    {nullptr, nullptr},
};

} // namespace shim
