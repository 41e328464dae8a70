#include "cli/cli.h"

#ifdef DPPO_WITH_SHIM
#include "shim.h"

const dppo_parity_side *dppo_torch_side(void) {
    static dppo_parity_side side = {.name = "torch", .call = shim_call, .truth = shim_call_float64};
    side.names = shim_functions(&side.count);
    return &side;
}
#else
const dppo_parity_side *dppo_torch_side(void) {
    return NULL;
}
#endif
