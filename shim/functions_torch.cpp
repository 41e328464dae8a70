// The functions of torch that DPPO stands on, under their own names.
#include "call.h"

namespace shim {

static void clamp(Call &call) {
    call.output("result",
                torch::clamp(call.input("input"), call.args().number("min"), call.args().number("max")));
}

const Entry entries_torch[] = {{"torch.clamp", clamp}, {nullptr, nullptr}};

} // namespace shim
