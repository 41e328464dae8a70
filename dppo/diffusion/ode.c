#include "diffusion/ode.h"

#include <math.h>
#include <string.h>

/* An explicit Runge-Kutta method, in which a stage needs the one before it only:
 *     k_1 = f(t, y),  k_i = f(t + c_i h, y + h c_i k_{i-1}),  y(t + h) = y + h sum b_i k_i. */
typedef struct tableau {
    const char *name;
    int stages;
    double c[3], b[3];
} tableau;

static const tableau methods[] = {
    [DPPO_ODE_EULER] = {"euler", 1, {0}, {1}},
    [DPPO_ODE_MIDPOINT] = {"midpoint", 2, {0, 0.5}, {0, 1}},
    [DPPO_ODE_HEUN3] = {"heun3", 3, {0, 1.0 / 3, 2.0 / 3}, {0.25, 0, 0.75}},
};

dppo_status dppo_ode_method_of(const char *name, dppo_ode_method *method) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i].name, name) == 0) return *method = (dppo_ode_method)i, DPPO_OK;
    return dppo_fail(DPPO_INVALID,
                     "%s is none of euler, midpoint, heun3 (the other solvers evaluate the end of the "
                     "interval, for which the noise schedule has no entry)",
                     name);
}

/* What is added to y in a step of h. */
static dppo_tensor *increment(dppo_cx *cx, const tableau *m, dppo_ode_function *f, void *of, float t, float h,
                              dppo_tensor *y) {
    dppo_tensor *k = NULL, *slope = NULL;
    for (int i = 0; i < m->stages; i++) {
        float c = (float)m->c[i] * h;
        dppo_tensor *at = i == 0 ? y : dppo_add(cx, y, dppo_mul_scalar(cx, k, (double)c));
        k = f(cx, of, t + c, at);
        if (m->b[i] == 0) continue;
        dppo_tensor *part = m->b[i] == 1 ? k : dppo_mul_scalar(cx, k, m->b[i]);
        slope = slope ? dppo_add(cx, slope, part) : part;
    }
    return dppo_mul_scalar(cx, slope, (double)h);
}

dppo_tensor *dppo_odeint(dppo_cx *cx, dppo_ode_method method, dppo_ode_function *f, void *of, dppo_tensor *y0,
                         float t0, float t1, double step_size) {
    float size = (float)step_size;
    if (!(size > 0) || !(t1 > t0) || (t1 - t0) / size > 1e6F)
        return dppo_context_fail(cx, DPPO_INVALID, "odeint: steps of %g from %g to %g", step_size, (double)t0,
                                 (double)t1);
    /* The grid is counted in float32: t1 - t0 a hair above a multiple of the size has one more step. */
    int64_t steps = (int64_t)ceilf((t1 - t0) / size + 1.0F) - 1;
    dppo_tensor *y = y0;
    for (int64_t i = 0; i < steps && y; i++) {
        float from = (float)i * size + t0, to = i + 1 == steps ? t1 : (float)(i + 1) * size + t0;
        y = dppo_add(cx, y, increment(cx, &methods[method], f, of, from, to - from, y));
    }
    return y;
}
