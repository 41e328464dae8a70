#include "envs/scaling.h"

#include <stdlib.h>
#include <string.h>

void dppo_scaling_free(dppo_scaling *scaling) {
    free(scaling->obs_min);
    free(scaling->obs_max);
    free(scaling->action_min);
    free(scaling->action_max);
    *scaling = (dppo_scaling){0};
}

void dppo_scale_observation(const dppo_scaling *scaling, const double *raw, double *out) {
    if (scaling->obs_min == NULL) {
        memmove(out, raw, (size_t)scaling->obs_dim * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < scaling->obs_dim; i++) {
        double low = scaling->obs_min[i], high = scaling->obs_max[i];
        /* the range has the type of the file, the observation itself is always float64 */
        double range =
            scaling->obs_float32 ? (double)(((float)high - (float)low) + 1e-6f) : high - low + 1e-6;
        out[i] = 2 * ((raw[i] - low) / range - 0.5);
    }
}

static float to_motor_range_f32(float action) {
    float scaled = -1.0f + (action + 1.0f) * 0.5f * 2.0f;
    return scaled < -1.0f ? -1.0f : scaled > 1.0f ? 1.0f : scaled;
}

static double to_motor_range(double action) {
    double scaled = -1.0 + (action + 1.0) * 0.5 * 2.0;
    return scaled < -1.0 ? -1.0 : scaled > 1.0 ? 1.0 : scaled;
}

bool dppo_unscale_action(const dppo_scaling *scaling, const float *action, float *narrow, double *wide) {
    bool normalised = scaling->action_min != NULL;
    if (normalised && !scaling->action_float32) {
        for (int64_t i = 0; i < scaling->action_dim; i++) {
            double low = scaling->action_min[i], range = scaling->action_max[i] - low;
            wide[i] = to_motor_range((double)((action[i] + 1.0f) / 2.0f) * range + low);
        }
        return true;
    }
    for (int64_t i = 0; i < scaling->action_dim; i++) {
        float raw = action[i];
        if (normalised) {
            float low = (float)scaling->action_min[i], range = (float)scaling->action_max[i] - low;
            raw = (raw + 1.0f) / 2.0f * range + low;
        }
        narrow[i] = to_motor_range_f32(raw);
    }
    return false;
}
