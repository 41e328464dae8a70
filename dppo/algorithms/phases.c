#include "algorithms/phases.h"
#include "base/log.h"

void dppo_stopwatch_start(dppo_stopwatch *watch) {
    *watch = (dppo_stopwatch){.lap = dppo_seconds()};
}

void dppo_lap(dppo_stopwatch *watch, double *phase) {
    double now = dppo_seconds();
    *phase += now - watch->lap;
    watch->lap = now;
}
