#include "cli/cli.h"

#ifdef DPPO_WITH_SHIM
#include "shim.h"

#include <stdio.h>

const dppo_parity_side *dppo_torch_side(void) {
    static dppo_parity_side side = {.name = "torch", .call = shim_call, .truth = shim_call_float64};
    static char version[64];
    (void)snprintf(version, sizeof version, "libtorch %s", shim_torch_version());
    side.version = version;
    side.names = shim_functions(&side.count);
    return &side;
}
#else
const dppo_parity_side *dppo_torch_side(void) {
    return NULL;
}
#endif
