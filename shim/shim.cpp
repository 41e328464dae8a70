#include "call.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

extern "C" void openblas_set_num_threads(int count) __attribute__((weak));

namespace shim {

// All entries by name. The lists are constant, so is what is made of them.
static const std::vector<Entry> &entries() {
    static const std::vector<Entry> sorted = [] {
        std::vector<Entry> all;
        for (const Entry *list :
             {entries_torch, entries_nn, entries_distributions, entries_optim, entries_dppo,
              entries_offpolicy, entries_envs, entries_networks, entries_exact, entries_autograd})
            for (; list->function != nullptr; list++)
                all.push_back(*list);
        std::sort(all.begin(), all.end(),
                  [](const Entry &a, const Entry &b) { return std::strcmp(a.function, b.function) < 0; });
        return all;
    }();
    return sorted;
}

const Entry *find_entry(const char *function) {
    const auto &all = entries();
    const auto place =
        std::lower_bound(all.begin(), all.end(), function, [](const Entry &entry, const char *name) {
            return std::strcmp(entry.function, name) < 0;
        });
    return place != all.end() && std::strcmp(place->function, function) == 0 ? &*place : nullptr;
}

// torch's default dtype for the time of a call: constants an entry makes follow it.
class DefaultDtype {
  public:
    explicit DefaultDtype(torch::Dtype dtype) : before_(torch::get_default_dtype()) {
        torch::set_default_dtype(torch::scalarTypeToTypeMeta(dtype));
    }
    ~DefaultDtype() {
        torch::set_default_dtype(before_);
    }
    DefaultDtype(const DefaultDtype &) = delete;
    DefaultDtype &operator=(const DefaultDtype &) = delete;

  private:
    caffe2::TypeMeta before_;
};

static dppo_status call_in(torch::Dtype dtype, const dppo_case *parity_case, dppo_answer *answer) {
    std::memset(answer, 0, sizeof *answer);
    const Entry *entry = find_entry(parity_case->function);
    if (entry == nullptr)
        return dppo_fail(DPPO_MISSING, "%s: libtorch has no such entry", parity_case->function);
    DPPO_TRY(shim_init(0));
    const dppo_status status = guarded([&] {
        const DefaultDtype guard(dtype);
        Call call(*parity_case, dtype);
        entry->call(call);
        call.finish(answer);
    });
    if (status == DPPO_OK) return status;
    return dppo_fail_in(status, "%s/%s", parity_case->function, parity_case->name);
}

// Deterministic from the first operation: the environment is read when libtorch chooses its kernels.
// Convolutions are libtorch's own: those of oneDNN use whatever the processor has, and round differently on
// each.
static void set_up() {
    setenv("ATEN_CPU_CAPABILITY", "avx2", 0);
    at::set_num_threads(1);
    at::set_num_interop_threads(1);
    at::globalContext().setDeterministicAlgorithms(true, false);
    at::globalContext().setUserEnabledMkldnn(false);
}

} // namespace shim

extern "C" dppo_status shim_init(int threads) {
    return shim::guarded([threads] {
        static const bool once = (shim::set_up(), true);
        (void)once;
        if (threads > 0) at::set_num_threads(threads);
        // After set_num_threads: libtorch passes its count on to the BLAS only when it was built to.
        if (openblas_set_num_threads != nullptr) openblas_set_num_threads(at::get_num_threads());
    });
}

extern "C" const char *shim_torch_version(void) {
    return TORCH_VERSION;
}

extern "C" const char *shim_cpu_capability(void) {
    if (shim_init(0) != DPPO_OK) return "unknown";
    // libtorch tells it in its build summary only, as "CPU capability usage: AVX2".
    static const std::string name = [] {
        const std::string config = at::show_config(), label = "CPU capability usage: ";
        const size_t start = config.find(label);
        if (start == std::string::npos) return std::string("unknown");
        return config.substr(start + label.size(),
                             config.find_first_of("\r\n", start) - start - label.size());
    }();
    return name.c_str();
}

extern "C" const char *const *shim_functions(size_t *count) {
    static const std::vector<const char *> names = [] {
        std::vector<const char *> all;
        for (const shim::Entry &entry : shim::entries())
            all.push_back(entry.function);
        return all;
    }();
    *count = names.size();
    return names.data();
}

extern "C" dppo_status shim_call(const dppo_case *parity_case, dppo_answer *answer) {
    return shim::call_in(torch::kFloat32, parity_case, answer);
}

extern "C" dppo_status shim_call_float64(const dppo_case *parity_case, dppo_answer *answer) {
    return shim::call_in(torch::kFloat64, parity_case, answer);
}
