// torch.autograd.grad with create_graph, of any function that has an entry.
#include "call.h"

namespace shim {

// args: `function` and that function's own; in: its inputs, and `grad_output` for its result. The gradients
// of its floating inputs are the results, so that their own gradients are second derivatives.
static void grad(Call &call) {
    std::vector<std::string> names;
    std::vector<Tensor> inputs;
    for (const std::string &name : call.input_names()) {
        const Tensor input = call.input(name);
        if (name == "grad_output" || !input.is_floating_point()) continue;
        names.push_back(name);
        inputs.push_back(input.requires_grad_(true)); // also where nobody asks for second derivatives
    }
    const Tensor result = call.result_of(call.args().text("function"));
    const auto gradients = torch::autograd::grad({result}, inputs, {call.input("grad_output")}, c10::nullopt,
                                                 /*create_graph=*/true);
    for (size_t i = 0; i < names.size(); i++)
        call.output(names[i], gradients[i]);
}

const Entry entries_autograd[] = {
    {"torch.autograd.grad", grad},
    {nullptr, nullptr},
};

} // namespace shim
