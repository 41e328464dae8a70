#include "optim/optim.h"

#include <stdint.h>

/* Three tensor operations in the original, each rounded: old * decay, new * (1 - decay), their sum. */
void dppo_ema_update(size_t count, dppo_tensor *const *ma, dppo_tensor *const *current, double decay) {
    float keep = (float)decay, take = (float)(1 - decay);
    for (size_t i = 0; i < count; i++) {
        float *old = dppo_f32(ma[i]);
        const float *new = dppo_f32(current[i]);
        int64_t numel = dppo_numel(ma[i]);
        for (int64_t j = 0; j < numel; j++)
            old[j] = old[j] * keep + new[j] * take;
    }
}
