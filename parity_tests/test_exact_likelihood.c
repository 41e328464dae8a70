/* The exact likelihood: the order of the solvers, a flow whose answer is known in closed form, what is
 * refused. */
#include "diffusion/diffusion.h"
#include "models/build.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* -- the solver
 * -------------------------------------------------------------------------------------------------- */

typedef struct counted {
    int evaluations;
    float last;
} counted;

/* y' = y (1 + t): y(1) = y(0) exp(3 / 2) */
static dppo_tensor *growth(dppo_cx *cx, void *of, float t, dppo_tensor *y) {
    counted *c = of;
    c->evaluations++;
    c->last = t;
    return dppo_mul_scalar(cx, y, 1 + (double)t);
}

static double error_of(dppo_ode_method method, double step_size) {
    dppo_cx *cx = dppo_context_new(NULL);
    counted c = {0};
    dppo_tensor *y = dppo_odeint(cx, method, growth, &c, dppo_scalar(cx, 2), 0, 1, step_size);
    double error = fabs(dppo_item(cx, y) - 2 * exp(1.5));
    dppo_context_free(cx);
    return error;
}

/* Half the step, a half, a quarter, an eighth of the error. */
static void test_solvers_have_their_order(void **state) {
    (void)state;
    static const double halved[] = {2, 4, 8};
    for (int m = DPPO_ODE_EULER; m <= DPPO_ODE_HEUN3; m++) {
        double coarse = error_of((dppo_ode_method)m, 1.0 / 8), fine = error_of((dppo_ode_method)m, 1.0 / 16);
        if (!(coarse / fine > 0.75 * halved[m] && coarse / fine < 1.35 * halved[m]))
            fail_msg("method %d: errors %g and %g", m, coarse, fine);
    }
}

static void test_the_last_step_ends_at_the_end(void **state) {
    (void)state;
    dppo_cx *cx = dppo_context_new(NULL);
    counted c = {0};
    assert_non_null(dppo_odeint(cx, DPPO_ODE_EULER, growth, &c, dppo_scalar(cx, 2), 0, 1, 0.3));
    assert_int_equal(c.evaluations, 4);
    assert_true(fabsf(c.last - 0.9F) < 1e-6F);
    assert_null(dppo_odeint(cx, DPPO_ODE_EULER, growth, &c, dppo_scalar(cx, 2), 0, 1, 0));
    assert_int_equal(dppo_context_status(cx), DPPO_INVALID);
    dppo_context_free(cx);
}

/* -- the policy
 * ------------------------------------------------------------------------------------------------- */

enum { B = 3, TA = 2, DA = 2, N = TA * DA, K = 10 };

#define MODEL(more)                                                                                          \
    "{\"_target_\":\"PPOExactDiffusion\",\"sde\":{\"_target_\":\"VPSDE\",\"N\":10},"                         \
    "\"actor\":{\"_target_\":\"DiffusionMLP\",\"action_dim\":2,\"horizon_steps\":2,\"cond_dim\":4,"          \
    "\"mlp_dims\":[8,8,8],\"residual_style\":true},\"critic\":{\"_target_\":\"CriticObs\",\"cond_dim\":4,"   \
    "\"mlp_dims\":[8]},\"horizon_steps\":2,\"obs_dim\":4,\"action_dim\":2,\"denoising_steps\":10,"           \
    "\"ft_denoising_steps\":5,\"clip_ploss_coef\":0.1" more "}"
#define EULER ",\"sde_method\":\"euler\",\"sde_step_size\":0.1,\"sde_num_epsilon\":2"

typedef struct fixture {
    dppo_generator *generator;
    dppo_cx *cx;
    dppo_module *module;
    dppo_tensor *samples; /* (B, TA, DA), a leaf */
    dppo_cond cond;
} fixture;

static dppo_status build(const char *json, dppo_generator *weights, dppo_module **module) {
    dppo_config *config = NULL;
    assert_int_equal(dppo_config_parse_json(json, "test", &config), DPPO_OK);
    dppo_status status = dppo_build_module(config, weights, module);
    dppo_config_free(config);
    return status;
}

static fixture open_model(const char *json, bool weights) {
    fixture f = {.generator = dppo_generator_new(4)};
    if (build(json, weights ? f.generator : NULL, &f.module) != DPPO_OK) fail_msg("%s", dppo_message());
    f.cx = dppo_context_new(f.generator);
    f.samples = dppo_tensor_heap(DPPO_F32, 3, (const int64_t[]){B, TA, DA});
    assert_int_equal(dppo_draw_randn(f.generator, f.samples), DPPO_OK);
    f.samples->requires_grad = true;
    f.cond = dppo_cond_of(dppo_randn(f.cx, 3, (const int64_t[]){B, 1, 4}));
    return f;
}

static void close_model(fixture *f) {
    dppo_context_free(f->cx);
    dppo_module_free(f->module);
    dppo_tensor_free(f->samples);
    dppo_generator_free(f->generator);
}

/* A network that says 0 leaves dx = -1/2 beta_t x dt. Euler's steps then multiply x by (1 - beta_t h / 2),
 * the divergence is -N beta_t / 2 whatever the signs drawn, and d log p / dx = -z factor. */
static void test_a_silent_network_has_a_known_likelihood(void **state) {
    (void)state;
    fixture f = open_model(MODEL(EULER ",\"sde_probability_flow\":true"), false);
    dppo_tensor *logprobs = dppo_ppo_exact_diffusion_get_exact_logprobs(f.cx, f.module, f.cond, f.samples);
    if (!logprobs) fail_msg("%s", dppo_message());
    assert_true(logprobs->ndim == 1 && logprobs->shape[0] == B);
    dppo_tensor *total = dppo_sum(f.cx, logprobs, 0, NULL, false);
    assert_int_equal(dppo_backward(f.cx, 1, &total, NULL), DPPO_OK);
    const float *betas = dppo_f32(dppo_diffusion_of(f.module)->schedule.betas);
    double factor = 1, divergence = 0, eps = 1e-4, bits = N * log(2);
    for (int i = 0; i < 10; i++) {
        double h = i < 9 ? 0.1 : 1 - eps - 0.9, beta = fmax((double)betas[i], 0.01);
        factor *= 1 - beta * h / 2;
        divergence -= N * beta * h / 2;
    }
    for (int b = 0; b < B; b++) {
        double squares = 0;
        for (int i = 0; i < N; i++) {
            double z = (double)dppo_f32(f.samples)[b * N + i] * factor;
            squares += z * z;
            assert_true(fabs((double)dppo_f32(f.samples->grad)[b * N + i] + z * factor / bits) < 1e-5);
        }
        double expected = (-N / 2.0 * log(2 * 3.14159265358979323846) - squares / 2 + divergence) / bits;
        assert_true(fabs((double)dppo_f32(logprobs)[b] - expected) < 1e-5);
    }
    close_model(&f);
}

/* Each evaluation in a context of its own gives what the tape gives, and leaves no gradient behind. */
static void test_without_gradients_the_numbers_are_the_same(void **state) {
    (void)state;
    float recorded[B];
    for (int pass = 0; pass < 2; pass++) {
        fixture f = open_model(MODEL(EULER), true);
        dppo_set_grad_enabled(f.cx, pass == 0);
        dppo_tensor *logprobs =
            dppo_ppo_exact_diffusion_get_exact_logprobs(f.cx, f.module, f.cond, f.samples);
        if (!logprobs) fail_msg("%s", dppo_message());
        assert_true(logprobs->requires_grad == (pass == 0));
        if (pass == 0) memcpy(recorded, dppo_f32(logprobs), sizeof recorded);
        assert_memory_equal(dppo_f32(logprobs), recorded, sizeof recorded);
        assert_null(f.samples->grad);
        close_model(&f);
    }
}

/* Where the solver would look beyond the schedule, it says so, with or without a tape. */
static void test_steps_beyond_the_schedule_are_refused(void **state) {
    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        fixture f = open_model(MODEL(",\"sde_method\":\"euler\",\"sde_step_size\":0.01"), true);
        dppo_set_grad_enabled(f.cx, pass == 0);
        assert_null(dppo_ppo_exact_diffusion_get_exact_logprobs(f.cx, f.module, f.cond, f.samples));
        assert_int_equal(dppo_context_status(f.cx), DPPO_INVALID);
        assert_non_null(strstr(dppo_message(), "sde_step_size"));
        close_model(&f);
    }
}

static void test_settings_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *json, *named;
    } bad[] = {
        {MODEL(""), "RK23"},
        {MODEL(",\"sde_method\":\"dopri5\""), "sde_method"},
        {MODEL(EULER ",\"sde_hutchinson_type\":\"Cauchy\""), "Cauchy"},
        {MODEL(",\"sde_method\":\"euler\",\"sde_step_size\":0"), "sde_step_size"},
        {MODEL(",\"sde_method\":\"euler\",\"sde_num_epsilon\":0"), "sde_num_epsilon"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dppo_module *module = NULL;
        assert_int_equal(build(bad[i].json, NULL, &module), DPPO_INVALID);
        assert_null(module);
        if (!strstr(dppo_message(), bad[i].named)) fail_msg("%s", dppo_message());
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_solvers_have_their_order),
        cmocka_unit_test(test_the_last_step_ends_at_the_end),
        cmocka_unit_test(test_a_silent_network_has_a_known_likelihood),
        cmocka_unit_test(test_without_gradients_the_numbers_are_the_same),
        cmocka_unit_test(test_steps_beyond_the_schedule_are_refused),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
