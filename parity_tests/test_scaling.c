/* The min-max wrapper against numpy 1.24, bit for bit. The hexadecimal numbers come from the expressions of
 * the original's wrapper (normalize_obs, unnormalize_action) and D4RL's NormalizedBoxEnv.step, evaluated on
 *     lo = np.array([-.95, -.7, -.999], np.float32); hi = np.array([.93, .99, .85], np.float32)
 *     a = np.array([.3, -1.7, .12345], np.float32); o = np.array([1.25, -.1, .33])
 * and on lo, hi converted to float64. */
#include "envs/scaling.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static double low[3] = {(double)-0.95f, (double)-0.7f, (double)-0.999f};
static double high[3] = {(double)0.93f, (double)0.99f, (double)0.85f};
static const float action[3] = {0.3f, -1.7f, 0.12345f};
static const double observation[3] = {1.25, -0.1, 0.33};

static dppo_scaling scaling_of(bool float32) {
    return (dppo_scaling){.obs_dim = 3,
                          .action_dim = 3,
                          .obs_min = low,
                          .obs_max = high,
                          .action_min = low,
                          .action_max = high,
                          .obs_float32 = float32,
                          .action_float32 = float32};
}

static void observations_follow_numpy(void **state) {
    (void)state;
    const double narrow[3] = {0x1.57260ca6302d6p+0, -0x1.28e65d123c5a0p-2, 0x1.c008acc9db028p-2};
    const double wide[3] = {0x1.57260bae7e1d2p+0, -0x1.28e65cb262ccap-2, 0x1.c008a742f8adcp-2};
    double out[3];
    dppo_scaling scaling = scaling_of(true);
    dppo_scale_observation(&scaling, observation, out);
    assert_memory_equal(out, narrow, sizeof out);
    scaling = scaling_of(false);
    dppo_scale_observation(&scaling, observation, out);
    assert_memory_equal(out, wide, sizeof out);
    assert_true(out[0] > 1); /* not clipped */
}

static void actions_follow_numpy(void **state) {
    (void)state;
    const float from_float32[3] = {0x1.168730p-2f, -1.0f, 0x1.44a5p-5f};
    const double from_float64[3] = {0x1.168728978d5p-2, -1.0, 0x1.44a53ba612cp-5};
    float narrow[3];
    double wide[3];
    dppo_scaling scaling = scaling_of(true);
    assert_false(dppo_unscale_action(&scaling, action, narrow, wide));
    assert_memory_equal(narrow, from_float32, sizeof narrow);
    scaling = scaling_of(false);
    assert_true(dppo_unscale_action(&scaling, action, narrow, wide));
    assert_memory_equal(wide, from_float64, sizeof wide);
}

static void without_a_file_only_the_motor_range_acts(void **state) {
    (void)state;
    const float expected[3] = {0x1.33333p-2f, -1.0f, 0x1.f9a6cp-4f}; /* 0.3 loses bits in 0.3 + 1 */
    float narrow[3];
    double wide[3], out[3];
    dppo_scaling scaling = {.obs_dim = 3, .action_dim = 3};
    assert_false(dppo_unscale_action(&scaling, action, narrow, wide));
    assert_memory_equal(narrow, expected, sizeof narrow);
    dppo_scale_observation(&scaling, observation, out);
    assert_memory_equal(out, observation, sizeof out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(observations_follow_numpy),
        cmocka_unit_test(actions_follow_numpy),
        cmocka_unit_test(without_a_file_only_the_motor_range_acts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
