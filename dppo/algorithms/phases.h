/* A stopwatch for the phases of an update: each lap is some phase's, so that no time is left out. */
#ifndef DPPO_ALGORITHMS_PHASES_H
#define DPPO_ALGORITHMS_PHASES_H

#include "algorithms/agent.h"

typedef struct dppo_stopwatch {
    double lap; /* when the present one began */
    dppo_update_phases spent;
} dppo_stopwatch;

void dppo_stopwatch_start(dppo_stopwatch *watch); /* from zero */
/* The time since the last lap was a phase's: dppo_lap(&watch, &watch.spent.forward_seconds). */
void dppo_lap(dppo_stopwatch *watch, double *phase);

#endif
