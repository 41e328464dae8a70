/* Ordinary differential equations on a fixed grid, as torchdiffeq's odeint with a step_size solves them. */
#ifndef DPPO_DIFFUSION_ODE_H
#define DPPO_DIFFUSION_ODE_H

#include "autograd/functions.h"

/* dy/dt at (t, y), of y's shape. */
typedef dppo_tensor *dppo_ode_function(dppo_cx *cx, void *of, float t, dppo_tensor *y);

typedef enum dppo_ode_method { DPPO_ODE_EULER, DPPO_ODE_MIDPOINT, DPPO_ODE_HEUN3 } dppo_ode_method;

/* "euler", "midpoint" or "heun3"; DPPO_INVALID names any other. */
dppo_status dppo_ode_method_of(const char *name, dppo_ode_method *method);

/* y(t1) from y(t0) = y0, t0 < t1: steps of step_size > 0 from t0, the last one ends at t1. Times are float32.
 * Differentiable through the steps. */
dppo_tensor *dppo_odeint(dppo_cx *cx, dppo_ode_method method, dppo_ode_function *f, void *of, dppo_tensor *y0,
                         float t0, float t1, double step_size);

#endif
