// DPPO's own classes and functions on the torch side.
#include "call.h"

namespace shim {

const Entry entries_dppo[] = {{nullptr, nullptr}};

} // namespace shim
