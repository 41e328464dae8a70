// What the entries of DPPO's classes, spread over several files, have in common.
#ifndef DPPO_SHIM_FUNCTIONS_DPPO_H
#define DPPO_SHIM_FUNCTIONS_DPPO_H

#include "diffusion.h"

namespace shim {

// A loss under the names of the recorded cases; `last` is that of eta_or_std.
void output_ppo_loss(Call &call, const PpoLoss &loss, const char *last);

} // namespace shim

#endif
