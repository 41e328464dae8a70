// What an entry of the torch side is given: the case's inputs, state, settings and draws as libtorch tensors,
// and places for its answers. An entry computes; backward, gradients and conversion are done around it
// (call.cpp).
//
//     static void softmax(Call &call) {
//         call.output("result", torch::softmax(call.input("input"), call.args().integer("dim")));
//     }
//
// dtype() is float32, or float64 when the truth is asked for; it is also torch's default dtype while an entry
// runs, so that torch::zeros({3}) and constants follow it without being told. Every failure is an exception.
#ifndef DPPO_SHIM_CALL_H
#define DPPO_SHIM_CALL_H

#include "shim.h"

#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

namespace shim {

using torch::Tensor;
using Shape = std::vector<int64_t>;
using NamedTensors = std::vector<std::pair<std::string, Tensor>>; // in order

// A failure with its status; becomes dppo_fail() at the C boundary.
struct Failure : std::runtime_error {
    Failure(dppo_status code, const std::string &message) : std::runtime_error(message), status(code) {}
    dppo_status status;
};

// Throws the thread's dppo_message() unless `status` is DPPO_OK.
void check(dppo_status status);
[[noreturn]] void invalid(const std::string &message); // Failure(DPPO_INVALID)

// Runs `body`; whatever it throws becomes a status and a one-line message. Every extern "C" function is one
// of these.
dppo_status guarded(const std::function<void()> &body);

// A copy of a C tensor (bool as torch::kBool), and the contiguous copy of a torch tensor into a map.
Tensor from_c(const dppo_tensor *tensor);
void put(dppo_named *map, const std::string &name, const Tensor &tensor);

// A borrowed node of a configuration tree. The forms without fallback fail with the path; those with one
// return it where the value is absent or null.
class Config {
  public:
    explicit Config(const dppo_config *node) : node_(node) {}
    const dppo_config *node() const {
        return node_;
    }
    bool has(const char *path) const; // there and not null
    Config at(const char *path) const;
    size_t size() const;
    Config item(size_t index) const;
    std::string key(size_t index) const;
    std::string target() const; // the class name of _target_, "" when absent
    int64_t integer(const char *path) const;
    int64_t integer(const char *path, int64_t fallback) const;
    double number(const char *path) const;
    double number(const char *path, double fallback) const;
    bool flag(const char *path, bool fallback) const;
    std::string text(const char *path) const;
    std::string text(const char *path, const char *fallback) const;
    Shape integers(const char *path) const; // a list, or one int; empty when absent
    bool is_integer(const char *path) const;
    std::vector<double> numbers(const char *path) const;
    // What the tensors of a case tell already: where it is given it must say the same. One int stands for
    // all values.
    void expect(const char *path, int64_t value) const;
    void expect(const char *path, at::IntArrayRef values) const;
    void expect_flag(const char *path, bool value) const;
    // An option that this side knows only switched off: DPPO_MISSING unless absent, null or false.
    void refuse(const char *path) const;

  private:
    const dppo_config *node_;
};

// Where random numbers come from. Floats have the dtype the source was made for; they are drawn in float32
// and widened, so that the truth is evaluated at the same numbers.
class Draws {
  public:
    virtual ~Draws() = default;
    virtual Tensor randn(const Shape &shape) = 0;
    virtual Tensor rand(const Shape &shape) = 0;
    virtual Tensor randint(int64_t low, int64_t high, const Shape &shape) = 0; // int64
    virtual Tensor randperm(int64_t n) = 0;                                    // int64 (n)
    // probabilities (n) or (rows, n); int64 (samples) or (rows, samples)
    virtual Tensor multinomial(const Tensor &probabilities, int64_t samples, bool replacement) = 0;
    // normal_ and uniform_ of a fresh tensor: recorded as standard numbers, which are then scaled
    virtual Tensor normal(const Shape &shape, double mean, double std);
    virtual Tensor uniform(const Shape &shape, double from, double to);
    virtual double np_uniform() = 0; // numpy's, recorded only
    virtual void finish() {}         // fails when something is left over
};
std::unique_ptr<Draws> recorded_draws(const dppo_named &draws, torch::Dtype dtype);
std::unique_ptr<Draws> torch_draws(torch::Dtype dtype); // torch's own default generator

class Call {
  public:
    Call(const dppo_case &parity_case, torch::Dtype dtype);

    torch::Dtype dtype() const {
        return dtype_;
    }
    bool differentiable() const; // the case has cotangents
    std::string function() const;
    std::string method(); // "" when absent
    Config init() const;
    Config args() const;
    Draws &draws() {
        return *draws_;
    }

    // Settings of a class come with the constructor; some recordings have them among the arguments.
    Config settings() const;

    // Inputs are leaves: float32 in dtype(); float64, int64 and bool as they are. The same tensor each time.
    // A tensor whose method is called may be recorded as in/self.
    bool has(const std::string &name) const;
    Tensor input(const std::string &name); // fails when absent, naming it
    // The inputs "name/0", "name/1", ...; and all inputs whose name starts with "prefix/", without it.
    std::vector<Tensor> sequence(const std::string &name);
    Tensor input_or(const std::string &name, const Tensor &fallback);
    std::map<std::string, Tensor> group(const std::string &prefix);

    // The names of all inputs; and what the entry of another function answers for this call, its only result.
    std::vector<std::string> input_names() const;
    Tensor result_of(const std::string &function);

    // The argument of sizes: functions call it size, methods take it unnamed.
    Shape sizes() const;

    // The case's state, converted. state(): one entry as a leaf whose gradient is reported, for plain
    // functions.
    bool has_state(const std::string &name) const;
    Tensor state(const std::string &name);
    NamedTensors state_dict() const;

    // For modules written with plain tensors: reports the gradient of a leaf as state/<name>, a value as
    // state_after.
    void track(const std::string &name, const Tensor &parameter);
    void state_after(const std::string &name, const Tensor &value);
    // For a torch::nn::Module: converts it to dtype(), loads the whole state into it strictly (a parameter
    // that appears under several names may be given under all of them), tracks its parameters in order under
    // their first name, and reports its state after the call when `after`.
    void module(torch::nn::Module &module, bool after = false);

    // Answers. Floats of any width are reported in dtype() only if they have it: a float64 result stays
    // float64.
    void output(const std::string &name, const Tensor &tensor);
    void output(const std::string &name, double value);       // a python float: rank 0, float64
    void output_int(const std::string &name, int64_t value);  // a python int: rank 0, int64
    void output_sequence(const std::vector<Tensor> &tensors); // "0", "1", ...

    // For the framework: fails when the case has an input, a key of args or init, or a method that the entry
    // did not ask for. Objective = sum of output * cotangent; its gradients, and all answers, into
    // `answer`.
    void finish(dppo_answer *answer);

  private:
    void seed() const;
    std::string recorded(const std::string &name) const; // the name of an input in the file
    Tensor convert(const dppo_tensor *tensor) const;
    Tensor leaf(const dppo_tensor *tensor) const;
    void all_used() const;
    void backward(dppo_named *gradients);

    const dppo_case &case_;
    torch::Dtype dtype_;
    bool method_used_ = false;
    std::unique_ptr<Draws> draws_;
    std::map<std::string, Tensor> inputs_, states_;
    NamedTensors outputs_, tracked_, state_after_;
    std::vector<std::function<void()>> at_end_;
};

struct Entry {
    const char *function;
    void (*call)(Call &);
};
const Entry *find_entry(const char *function); // nullptr when there is none
// One list a file, each ended by {nullptr, nullptr}; shim.cpp merges and sorts them.
extern const Entry entries_torch[], entries_nn[], entries_distributions[], entries_optim[], entries_dppo[],
    entries_offpolicy[], entries_envs[], entries_networks[], entries_exact[], entries_autograd[];

} // namespace shim

#endif
