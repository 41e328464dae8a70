/* RandomShiftsAug (Yarats et al. 2021, DrQ-v2): images padded by their edge and cut out again somewhere else.
 */
#include "models/build.h"
#include "models/vision.h"

typedef struct random_shifts_aug {
    dppo_module module;
    int64_t pad;
} random_shifts_aug;

/* A module without parameters, where the original's is no module at all: it appears in no state_dict. */
dppo_status dppo_build_random_shifts_aug(const dppo_config *config, dppo_generator *generator,
                                         dppo_module **module) {
    (void)generator;
    int64_t pad = 0;
    DPPO_TRY(dppo_config_allow(config, "RandomShiftsAug", (const char *const[]){"pad", NULL}));
    DPPO_TRY(dppo_config_int(config, "pad", &pad));
    if (pad < 0) return dppo_fail(DPPO_INVALID, "pad: %lld is negative", (long long)pad);
    random_shifts_aug *self = dppo_module_new(sizeof *self, "RandomShiftsAug");
    if (!self) return DPPO_NO_MEMORY;
    self->pad = pad;
    *module = &self->module;
    return DPPO_OK;
}

/* Whole pixels, 0 ... 2 pad of them along x and y, in the grid's units of half a padded image. */
static dppo_tensor *draw_shift(dppo_cx *cx, int64_t B, int64_t size, int64_t pad) {
    const int64_t shape[] = {B, 1, 1, 2};
    dppo_generator *generator = dppo_context_generator(cx);
    dppo_tensor *shift = dppo_zeros(cx, DPPO_F32, 4, shape);
    if (!shift) return NULL;
    if (!generator) return dppo_context_fail(cx, DPPO_INVALID, "augment: no generator to draw from");
    dppo_status status = dppo_draw_randint(generator, shift, 0, 2 * pad + 1);
    if (status != DPPO_OK) return dppo_context_fail(cx, status, "%s", dppo_message());
    return dppo_mul_scalar(cx, shift, 2.0 / (double)size);
}

/* (1, h, h, 2): the centres of the first h pixels along both dims of a padded image of `size` */
static dppo_tensor *base_grid(dppo_cx *cx, int64_t h, int64_t size) {
    const int64_t shape[] = {h, h};
    double eps = 1.0 / (double)size;
    dppo_tensor *centres = dppo_narrow(cx, dppo_linspace(cx, -1 + eps, 1 - eps, size), 0, 0, h);
    dppo_tensor *x = dppo_expand(cx, dppo_unsqueeze(cx, centres, 0), 2, shape);
    dppo_tensor *y = dppo_expand(cx, dppo_unsqueeze(cx, centres, 1), 2, shape);
    return x && y ? dppo_unsqueeze(cx, dppo_stack(cx, 2, (dppo_tensor *[]){x, y}, 2), 0) : NULL;
}

dppo_tensor *dppo_random_shifts(dppo_cx *cx, dppo_tensor *x, int64_t pad) {
    if (!x) return NULL;
    if (x->ndim != 4 || x->shape[2] != x->shape[3])
        return dppo_context_fail(cx, DPPO_INVALID, "RandomShiftsAug: the images must be square");
    int64_t h = x->shape[2], size = h + 2 * pad;
    dppo_tensor *padded = dppo_pad(cx, x, 4, (const int64_t[]){pad, pad, pad, pad}, DPPO_PAD_REPLICATE, 0);
    dppo_tensor *grid = dppo_add(cx, base_grid(cx, h, size), draw_shift(cx, x->shape[0], size, pad));
    return dppo_grid_sample(cx, padded, grid);
}

dppo_tensor *dppo_random_shifts_aug_forward(dppo_cx *cx, const dppo_module *module, dppo_tensor *x) {
    return dppo_random_shifts(cx, x, ((const random_shifts_aug *)module)->pad);
}
