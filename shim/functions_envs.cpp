// Environments, derived a second time on MuJoCo's C interface.
#include "call.h"

namespace shim {

const Entry entries_envs[] = {{nullptr, nullptr}};

} // namespace shim
