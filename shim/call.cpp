#include "call.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace shim {

// -- failures -------------------------------------------------------------------------------------

void check(dppo_status status) {
    if (status != DPPO_OK) throw Failure(status, dppo_message());
}

void invalid(const std::string &message) {
    throw Failure(DPPO_INVALID, message);
}

// libtorch's messages go on with a C++ stack trace: the first line says what was wrong.
static std::string first_line(const char *text) {
    while (*text == '\n' || *text == ' ')
        text++;
    return std::string(text, std::strcspn(text, "\n"));
}

dppo_status guarded(const std::function<void()> &body) {
    try {
        body();
        return DPPO_OK;
    } catch (const Failure &failure) {
        return dppo_fail(failure.status, "%s", first_line(failure.what()).c_str());
    } catch (const std::bad_alloc &) {
        return dppo_fail(DPPO_NO_MEMORY, "libtorch: out of memory");
    } catch (const std::exception &error) {
        return dppo_fail(DPPO_INVALID, "libtorch: %s", first_line(error.what()).c_str());
    } catch (...) {
        return dppo_fail(DPPO_INVALID, "libtorch: an unknown exception");
    }
}

// -- tensors across the boundary ------------------------------------------------------------------

static torch::Dtype dtype_from_c(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return torch::kFloat32;
    case DPPO_F64:
        return torch::kFloat64;
    case DPPO_I64:
        return torch::kInt64;
    case DPPO_BOOL:
        return torch::kBool;
    }
    invalid("tensor of unknown dtype " + std::to_string(static_cast<int>(dtype)));
}

Tensor from_c(const dppo_tensor *tensor) {
    const size_t rank = static_cast<size_t>(tensor->ndim);
    auto options = torch::TensorOptions().dtype(dtype_from_c(tensor->dtype));
    return torch::from_blob(tensor->data, torch::IntArrayRef(tensor->shape, rank),
                            torch::IntArrayRef(tensor->stride, rank), options)
        .clone(torch::MemoryFormat::Contiguous);
}

static dppo_dtype dtype_to_c(torch::Dtype dtype, const std::string &name) {
    switch (dtype) {
    case torch::kFloat32:
        return DPPO_F32;
    case torch::kFloat64:
        return DPPO_F64;
    case torch::kInt64:
        return DPPO_I64;
    case torch::kBool:
        return DPPO_BOOL;
    default:
        invalid(name + ": answer of dtype " + c10::toString(dtype) + ", which fixtures do not have");
    }
}

void put(dppo_named *map, const std::string &name, const Tensor &tensor) {
    const Tensor contiguous = tensor.detach().contiguous();
    const dppo_dtype dtype = dtype_to_c(contiguous.scalar_type(), name);
    if (contiguous.dim() > DPPO_MAX_DIMS) invalid(name + ": answer of more than 8 dimensions");
    dppo_tensor *copy = dppo_named_add(map, name.c_str(), dtype, static_cast<int>(contiguous.dim()),
                                       contiguous.sizes().data());
    if (copy == nullptr)
        throw Failure(DPPO_NO_MEMORY, name + ": no memory for the answer, or answered twice");
    if (contiguous.numel() > 0) std::memcpy(copy->data, contiguous.data_ptr(), contiguous.nbytes());
}

// -- configuration --------------------------------------------------------------------------------

bool Config::has(const char *path) const {
    return node_ != nullptr && dppo_config_type_of(dppo_config_get(node_, path)) != DPPO_CONFIG_NULL;
}

Config Config::at(const char *path) const {
    return Config(node_ == nullptr ? nullptr : dppo_config_get(node_, path));
}

size_t Config::size() const {
    return node_ == nullptr ? 0 : dppo_config_count(node_);
}

Config Config::item(size_t index) const {
    return Config(dppo_config_item(node_, index));
}

std::string Config::key(size_t index) const {
    return dppo_config_key(node_, index);
}

std::string Config::target() const {
    const char *target = node_ == nullptr ? nullptr : dppo_config_target(node_);
    return target == nullptr ? "" : target;
}

static void require(const dppo_config *node, const char *path) {
    if (node == nullptr) invalid(std::string(path == nullptr ? "value" : path) + ": absent");
}

int64_t Config::integer(const char *path) const {
    require(node_, path);
    int64_t value = 0;
    check(dppo_config_int(node_, path, &value));
    return value;
}

int64_t Config::integer(const char *path, int64_t fallback) const {
    return has(path) ? integer(path) : fallback;
}

double Config::number(const char *path) const {
    require(node_, path);
    double value = 0;
    check(dppo_config_float(node_, path, &value));
    return value;
}

double Config::number(const char *path, double fallback) const {
    return has(path) ? number(path) : fallback;
}

bool Config::flag(const char *path, bool fallback) const {
    bool value = fallback;
    if (has(path)) check(dppo_config_bool(node_, path, &value));
    return value;
}

std::string Config::text(const char *path) const {
    require(node_, path);
    const char *value = nullptr;
    check(dppo_config_string(node_, path, &value));
    return value;
}

std::string Config::text(const char *path, const char *fallback) const {
    return has(path) ? text(path) : fallback;
}

Shape Config::integers(const char *path) const {
    if (!has(path)) return {};
    const Config list = at(path);
    const dppo_config_type type = dppo_config_type_of(list.node());
    if (type == DPPO_CONFIG_INT) return {integer(path)};
    if (type != DPPO_CONFIG_LIST) invalid(std::string(path) + ": neither an int nor a list of ints");
    Shape values;
    for (size_t i = 0; i < list.size(); i++)
        values.push_back(list.item(i).integer(nullptr));
    return values;
}

void Config::expect(const char *path, int64_t value) const {
    if (has(path) && integer(path) != value)
        invalid(std::string(path) + ": " + std::to_string(integer(path)) + ", the tensors say " +
                std::to_string(value));
}

void Config::expect(const char *path, at::IntArrayRef values) const {
    if (!has(path)) return;
    const Shape given = integers(path);
    for (size_t i = 0; i < values.size(); i++)
        if ((given.size() != 1 && given.size() != values.size()) ||
            given[given.size() == 1 ? 0 : i] != values[i])
            invalid(std::string(path) + ": " + c10::str(given) + ", the tensors say " + c10::str(values));
}

void Config::expect_flag(const char *path, bool value) const {
    if (flag(path, value) != value)
        invalid(std::string(path) + ": the tensors say " + (value ? "true" : "false"));
}

void Config::refuse(const char *path) const {
    const bool off =
        has(path) && dppo_config_type_of(at(path).node()) == DPPO_CONFIG_BOOL && !flag(path, false);
    if (has(path) && !off)
        throw Failure(DPPO_MISSING, std::string(path) + ": libtorch side has no such option");
}

bool Config::is_integer(const char *path) const {
    return has(path) && dppo_config_type_of(at(path).node()) == DPPO_CONFIG_INT;
}

std::vector<double> Config::numbers(const char *path) const {
    if (!has(path)) return {};
    const Config list = at(path);
    if (dppo_config_type_of(list.node()) != DPPO_CONFIG_LIST)
        invalid(std::string(path) + ": not a list of numbers");
    std::vector<double> values;
    for (size_t i = 0; i < list.size(); i++)
        values.push_back(list.item(i).number(nullptr));
    return values;
}

// -- draws ----------------------------------------------------------------------------------------

Tensor Draws::normal(const Shape &shape, double mean, double std) {
    return randn(shape) * std + mean;
}

Tensor Draws::uniform(const Shape &shape, double from, double to) {
    return rand(shape) * (to - from) + from;
}

namespace {

class RecordedDraws : public Draws {
  public:
    RecordedDraws(const dppo_named &draws, torch::Dtype dtype) : draws_(draws), dtype_(dtype) {}

    Tensor randn(const Shape &shape) override {
        return next("randn", shape).to(dtype_);
    }
    Tensor rand(const Shape &shape) override {
        return next("rand", shape).to(dtype_);
    }
    Tensor randint(int64_t, int64_t, const Shape &shape) override {
        return next("randint", shape).to(torch::kInt64);
    }
    Tensor randperm(int64_t n) override {
        return next("randperm", {n});
    }
    Tensor multinomial(const Tensor &probabilities, int64_t samples, bool) override {
        return next("multinomial",
                    probabilities.dim() == 1 ? Shape{samples} : Shape{probabilities.size(0), samples});
    }
    double np_uniform() override {
        return next("np.uniform", {}).item<double>();
    }
    void finish() override {
        if (used_ != draws_.count)
            invalid("draws: the call consumed " + std::to_string(used_) + " of " +
                    std::to_string(draws_.count));
    }

  private:
    // The entry named by the running number: the map's own order need not be numeric.
    Tensor next(const std::string &kind, const Shape &shape) {
        const std::string name = std::to_string(used_);
        for (size_t i = 0; i < draws_.count; i++) {
            const dppo_named_entry &entry = draws_.entries[i];
            if (name != entry.name) continue;
            Tensor draw = from_c(entry.tensor);
            if (entry.kind == nullptr || kind != entry.kind || draw.sizes() != torch::IntArrayRef(shape))
                invalid("draws/" + name + ": recorded is " + (entry.kind ? entry.kind : "no kind") + " " +
                        c10::str(draw.sizes()) + ", the call draws " + kind + " " + c10::str(shape));
            used_++;
            return draw;
        }
        invalid("draws/" + name + ": missing, the call draws " + kind + " " + c10::str(shape));
    }

    const dppo_named &draws_;
    torch::Dtype dtype_;
    size_t used_ = 0;
};

class TorchDraws : public Draws {
  public:
    explicit TorchDraws(torch::Dtype dtype) : dtype_(dtype) {}

    Tensor randn(const Shape &shape) override {
        return torch::randn(shape, torch::kFloat32).to(dtype_);
    }
    Tensor rand(const Shape &shape) override {
        return torch::rand(shape, torch::kFloat32).to(dtype_);
    }
    Tensor randint(int64_t low, int64_t high, const Shape &shape) override {
        return torch::randint(low, high, shape, torch::kInt64);
    }
    Tensor randperm(int64_t n) override {
        return torch::randperm(n, torch::kInt64);
    }
    Tensor multinomial(const Tensor &probabilities, int64_t samples, bool replacement) override {
        return torch::multinomial(probabilities.detach().to(torch::kFloat32), samples, replacement);
    }
    Tensor normal(const Shape &shape, double mean, double std) override {
        return torch::empty(shape, torch::kFloat32).normal_(mean, std).to(dtype_);
    }
    Tensor uniform(const Shape &shape, double from, double to) override {
        return torch::empty(shape, torch::kFloat32).uniform_(from, to).to(dtype_);
    }
    double np_uniform() override {
        invalid("np.uniform: numpy's generator is not ours to seed; the case must record this draw");
    }

  private:
    torch::Dtype dtype_;
};

} // namespace

std::unique_ptr<Draws> recorded_draws(const dppo_named &draws, torch::Dtype dtype) {
    return std::make_unique<RecordedDraws>(draws, dtype);
}

std::unique_ptr<Draws> torch_draws(torch::Dtype dtype) {
    return std::make_unique<TorchDraws>(dtype);
}

// -- the call -------------------------------------------------------------------------------------

Call::Call(const dppo_case &parity_case, torch::Dtype dtype) : case_(parity_case), dtype_(dtype) {
    dppo_case_forget(&case_);
    seed();
    draws_ = case_.has_draws ? recorded_draws(case_.draws, dtype) : torch_draws(dtype);
}

// A case that says nothing of random numbers still gets the same ones every time.
void Call::seed() const {
    torch::manual_seed(static_cast<uint64_t>(case_.has_seed ? case_.manual_seed : 0));
}

bool Call::differentiable() const {
    return case_.cotangent.count > 0;
}

std::string Call::function() const {
    return case_.function;
}

std::string Call::method() {
    method_used_ = true;
    return case_.method == nullptr ? "" : case_.method;
}

Config Call::init() const {
    return Config(case_.init);
}

Config Call::args() const {
    return Config(case_.args);
}

Config Call::settings() const {
    return init().size() > 0 ? init() : args();
}

Tensor Call::convert(const dppo_tensor *tensor) const {
    Tensor copy = from_c(tensor);
    return copy.scalar_type() == torch::kFloat32 ? copy.to(dtype_) : copy;
}

Tensor Call::leaf(const dppo_tensor *tensor) const {
    Tensor copy = convert(tensor);
    return copy.requires_grad_(differentiable() && copy.is_floating_point());
}

std::string Call::recorded(const std::string &name) const {
    const bool absent = dppo_named_get(&case_.in, name.c_str()) == nullptr;
    return absent && name == "input" ? "self" : name;
}

bool Call::has(const std::string &name) const {
    return dppo_named_get(&case_.in, recorded(name).c_str()) != nullptr;
}

Tensor Call::input(const std::string &given) {
    const std::string name = recorded(given);
    auto known = inputs_.find(name);
    if (known != inputs_.end()) return known->second;
    const dppo_tensor *tensor = dppo_named_get(&case_.in, name.c_str());
    if (tensor == nullptr) invalid("in/" + given + ": absent");
    return inputs_[name] = leaf(tensor);
}

Tensor Call::input_or(const std::string &name, const Tensor &fallback) {
    return has(name) ? input(name) : fallback;
}

std::vector<Tensor> Call::sequence(const std::string &name) {
    std::vector<Tensor> tensors;
    while (has(name + "/" + std::to_string(tensors.size())))
        tensors.push_back(input(name + "/" + std::to_string(tensors.size())));
    return tensors;
}

std::map<std::string, Tensor> Call::group(const std::string &prefix) {
    std::map<std::string, Tensor> tensors;
    const std::string start = prefix + "/";
    for (size_t i = 0; i < case_.in.count; i++) {
        const std::string name = case_.in.entries[i].name;
        if (name.compare(0, start.size(), start) == 0) tensors[name.substr(start.size())] = input(name);
    }
    return tensors;
}

std::vector<std::string> Call::input_names() const {
    std::vector<std::string> names;
    for (size_t i = 0; i < case_.in.count; i++)
        names.push_back(case_.in.entries[i].name);
    return names;
}

Tensor Call::result_of(const std::string &function) {
    const Entry *entry = find_entry(function.c_str());
    if (entry == nullptr) throw Failure(DPPO_MISSING, function + ": libtorch has no such entry");
    const size_t before = outputs_.size();
    entry->call(*this);
    if (outputs_.size() != before + 1) invalid(function + ": has not one result");
    const Tensor result = outputs_.back().second;
    outputs_.pop_back();
    return result;
}

Shape Call::sizes() const {
    for (const char *name : {"size", "sizes", "shape", "repeats"})
        if (args().has(name)) return args().integers(name);
    invalid("args: size, sizes, shape or repeats is missing");
}

bool Call::has_state(const std::string &name) const {
    return dppo_named_get(&case_.state, name.c_str()) != nullptr;
}

Tensor Call::state(const std::string &name) {
    auto known = states_.find(name);
    if (known != states_.end()) return known->second;
    const dppo_tensor *tensor = dppo_named_get(&case_.state, name.c_str());
    if (tensor == nullptr) invalid("state/" + name + ": absent");
    Tensor parameter = leaf(tensor);
    track(name, parameter);
    return states_[name] = parameter;
}

NamedTensors Call::state_dict() const {
    NamedTensors all;
    for (size_t i = 0; i < case_.state.count; i++)
        all.emplace_back(case_.state.entries[i].name, convert(case_.state.entries[i].tensor));
    return all;
}

void Call::track(const std::string &name, const Tensor &parameter) {
    for (const auto &known : tracked_)
        if (known.second.is_same(parameter)) return;
    tracked_.emplace_back(name, parameter);
}

void Call::state_after(const std::string &name, const Tensor &value) {
    state_after_.emplace_back(name, value);
}

void Call::module(torch::nn::Module &module, bool after) {
    module.to(dtype_);
    std::map<std::string, Tensor> own;
    for (auto &item : module.named_parameters()) {
        own[item.key()] = item.value();
        track(item.key(), item.value());
    }
    for (auto &item : module.named_buffers())
        own[item.key()] = item.value();

    torch::NoGradGuard no_grad;
    std::set<std::string> missing;
    for (const auto &item : own)
        missing.insert(item.first);
    for (const auto &item : state_dict()) {
        auto place = own.find(item.first);
        if (place == own.end()) invalid("state/" + item.first + ": the module has no such entry");
        if (place->second.sizes() != item.second.sizes())
            invalid("state/" + item.first + ": shape " + c10::str(item.second.sizes()) +
                    ", the module's is " + c10::str(place->second.sizes()));
        place->second.copy_(item.second);
        missing.erase(item.first);
    }
    if (!missing.empty()) invalid("state/" + *missing.begin() + ": absent");
    // Construction drew initial weights from torch's generator; the call begins after it.
    seed();
    if (after) {
        at_end_.push_back([this, own] {
            for (const auto &item : own)
                state_after(item.first, item.second);
        });
    }
}

void Call::output(const std::string &name, const Tensor &tensor) {
    if (!tensor.defined()) invalid("out/" + name + ": undefined");
    outputs_.emplace_back(name, tensor);
}

void Call::output(const std::string &name, double value) {
    output(name, torch::full({}, value, torch::kFloat64));
}

void Call::output_int(const std::string &name, int64_t value) {
    output(name, torch::full({}, value, torch::kInt64));
}

void Call::output_sequence(const std::vector<Tensor> &tensors) {
    for (size_t i = 0; i < tensors.size(); i++)
        output(std::to_string(i), tensors[i]);
}

// d(sum of out * cotangent) for every leaf. The upstream gradient of `out` is then the cotangent itself, so
// it is handed to autograd directly. Leaves the objective does not depend on get no entry.
void Call::backward(dppo_named *gradients) {
    std::vector<Tensor> results, cotangents, leaves;
    std::vector<std::string> names;
    for (const auto &item : outputs_) {
        const dppo_tensor *cotangent = dppo_named_get(&case_.cotangent, item.first.c_str());
        if (cotangent == nullptr || !item.second.requires_grad()) continue;
        results.push_back(item.second);
        cotangents.push_back(from_c(cotangent).to(item.second.scalar_type()));
    }
    const auto add = [&](const std::string &name, const Tensor &tensor) {
        if (!tensor.requires_grad()) return;
        names.push_back(name);
        leaves.push_back(tensor);
    };
    for (const auto &item : inputs_)
        add("in/" + item.first, item.second);
    for (const auto &item : tracked_)
        add("state/" + item.first, item.second);
    if (results.empty() || leaves.empty()) return;
    const auto found =
        torch::autograd::grad(results, leaves, cotangents, c10::nullopt, false, /*allow_unused=*/true);
    for (size_t i = 0; i < found.size(); i++)
        if (found[i].defined()) put(gradients, names[i], found[i]);
}

// Whatever the case says and nobody asked for is misspelt, or not done on this side.
void Call::all_used() const {
    check(dppo_case_all_read(&case_, method_used_));
    for (size_t i = 0; i < case_.in.count; i++)
        if (inputs_.count(case_.in.entries[i].name) == 0)
            invalid(std::string("in/") + case_.in.entries[i].name + ": the call does not use it");
}

void Call::finish(dppo_answer *answer) {
    all_used();
    draws_->finish();
    for (size_t i = 0; i < case_.cotangent.count; i++) {
        const std::string name = case_.cotangent.entries[i].name;
        if (std::none_of(outputs_.begin(), outputs_.end(),
                         [&](const auto &item) { return item.first == name; }))
            invalid("cotangent/" + name + ": the call has no such result");
    }
    for (const auto &item : outputs_)
        put(&answer->out, item.first, item.second);
    if (differentiable()) backward(&answer->grad);
    for (const auto &report : at_end_)
        report();
    for (const auto &item : state_after_)
        put(&answer->state_after, item.first, item.second);
}

} // namespace shim
