#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/pool.h"
#include "optim/optim.h"
#include "random/generator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A parameter with a gradient, both drawn. */
static dppo_tensor *drawn(dppo_generator *generator, int64_t count) {
    dppo_tensor *parameter = dppo_tensor_heap(DPPO_F32, 1, &count);
    parameter->grad = dppo_tensor_heap(DPPO_F32, 1, &count);
    assert_int_equal(dppo_draw_randn(generator, parameter), DPPO_OK);
    assert_int_equal(dppo_draw_randn(generator, parameter->grad), DPPO_OK);
    return parameter;
}

/* libtorch 1.13 (avx2): lr 1e-2, weight_decay 0.1, from {0.5, -1.25, 3}, gradients {0.1 (s + 1), s - 2,
 * 1e-3}. */
static const float adam[3][3] = {{0x1.f5c29p-2f, -0x1.3d70a4p+0f, 0x1.7eb852p+1f},
                                 {0x1.ebb158p-2f, -0x1.3b0866p+0f, 0x1.7d70acp+1f},
                                 {0x1.e1af1ep-2f, -0x1.39173ep+0f, 0x1.7c2912p+1f}};
static const float adamw[3][3] = {{0x1.f53f7ep-2f, -0x1.3d1eb8p+0f, 0x1.7e5604p+1f},
                                  {0x1.eadd02p-2f, -0x1.3a6aap+0f, 0x1.7cac76p+1f},
                                  {0x1.e09002p-2f, -0x1.3841e6p+0f, 0x1.7b0354p+1f}};

static void steps_are_libtorch_s(void **unused) {
    (void)unused;
    const float start[] = {0.5f, -1.25f, 3};
    for (int kind = DPPO_ADAM; kind <= DPPO_ADAMW; kind++) {
        int64_t count = 3;
        dppo_tensor *parameter = dppo_tensor_heap(DPPO_F32, 1, &count);
        parameter->grad = dppo_tensor_heap(DPPO_F32, 1, &count);
        memcpy(parameter->data, start, sizeof start);
        dppo_optimizer_options options = dppo_optimizer_defaults((dppo_optimizer_kind)kind);
        options.lr = 1e-2, options.weight_decay = 0.1;
        dppo_optimizer *optimizer = dppo_optimizer_new((dppo_optimizer_kind)kind, options, 1, &parameter);
        for (int s = 0; s < 3; s++) {
            float *g = dppo_f32(parameter->grad);
            g[0] = 0.1f * (float)(s + 1), g[1] = (float)s - 2, g[2] = 1e-3f;
            dppo_optimizer_step(optimizer);
            assert_memory_equal(parameter->data, kind == DPPO_ADAM ? adam[s] : adamw[s], sizeof adam[s]);
        }
        dppo_optimizer_free(optimizer);
        dppo_tensor_free(parameter);
    }
}

/* The same bits for any number of threads, and for a vector cut off anywhere. */
static void threads_change_nothing(void **unused) {
    (void)unused;
    enum { COUNT = 20011 };
    float *first = malloc(COUNT * sizeof *first);
    for (int threads = 1; threads <= 3; threads++) {
        dppo_set_threads(threads);
        dppo_generator *generator = dppo_generator_new(7);
        dppo_tensor *parameters[2] = {drawn(generator, COUNT), drawn(generator, 77)};
        dppo_optimizer *optimizer =
            dppo_optimizer_new(DPPO_ADAMW, dppo_optimizer_defaults(DPPO_ADAMW), 2, parameters);
        for (int s = 0; s < 5; s++)
            dppo_optimizer_step(optimizer);
        if (threads == 1) memcpy(first, parameters[0]->data, COUNT * sizeof *first);
        assert_memory_equal(first, parameters[0]->data, COUNT * sizeof *first);
        dppo_optimizer_free(optimizer);
        dppo_tensor_free(parameters[0]);
        dppo_tensor_free(parameters[1]);
        dppo_generator_free(generator);
    }
    dppo_set_threads(1);
    free(first);
}

static void a_parameter_without_gradient_is_left_alone(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(8);
    dppo_tensor *parameters[2] = {drawn(generator, 4), drawn(generator, 4)};
    dppo_tensor *grad = parameters[0]->grad;
    parameters[0]->grad = NULL;
    float before[4];
    memcpy(before, parameters[0]->data, sizeof before);
    dppo_optimizer *optimizer =
        dppo_optimizer_new(DPPO_ADAMW, dppo_optimizer_defaults(DPPO_ADAMW), 2, parameters);
    dppo_optimizer_step(optimizer);
    assert_memory_equal(before, parameters[0]->data, sizeof before);
    dppo_named state = {0};
    assert_int_equal(dppo_optimizer_save(optimizer, "", &state), DPPO_OK);
    assert_int_equal(dppo_i64(dppo_named_get(&state, "0/step"))[0], 0);
    assert_int_equal(dppo_i64(dppo_named_get(&state, "1/step"))[0], 1);
    parameters[0]->grad = grad;
    dppo_optimizer_zero_grad(optimizer);
    assert_true(dppo_f32(grad)[3] == 0);
    dppo_named_free(&state);
    dppo_optimizer_free(optimizer);
    dppo_tensor_free(parameters[0]);
    dppo_tensor_free(parameters[1]);
    dppo_generator_free(generator);
}

static void a_restored_optimizer_continues(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(9);
    dppo_tensor *a = drawn(generator, 50), *b = drawn(generator, 50);
    dppo_optimizer_options options = dppo_optimizer_defaults(DPPO_ADAM);
    dppo_optimizer *one = dppo_optimizer_new(DPPO_ADAM, options, 1, &a);
    dppo_optimizer_step(one);
    dppo_optimizer_set_lr(one, 0.25);
    dppo_optimizer_step(one);
    dppo_named state = {0};
    assert_int_equal(dppo_optimizer_save(one, "opt/", &state), DPPO_OK);
    dppo_optimizer *two = dppo_optimizer_new(DPPO_ADAM, options, 1, &b);
    assert_int_equal(dppo_optimizer_load(two, "opt/", &state), DPPO_OK);
    assert_true(dppo_optimizer_lr(two) == 0.25);
    assert_int_equal(dppo_tensor_copy(b, a), DPPO_OK);
    assert_int_equal(dppo_tensor_copy(b->grad, a->grad), DPPO_OK);
    for (int s = 0; s < 3; s++) {
        dppo_optimizer_step(one);
        dppo_optimizer_step(two);
    }
    assert_memory_equal(a->data, b->data, 50 * sizeof(float));

    dppo_tensor *other = drawn(generator, 3);
    dppo_optimizer *three = dppo_optimizer_new(DPPO_ADAM, options, 1, &other);
    assert_int_equal(dppo_optimizer_load(three, "opt/", &state), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "opt/0/exp_avg has shape (50,), the parameter (3,)"));
    assert_true(dppo_optimizer_lr(three) == options.lr);
    dppo_optimizer *none = dppo_optimizer_new(DPPO_ADAM, options, 0, NULL);
    assert_int_equal(dppo_optimizer_load(none, "opt/", &state), DPPO_INVALID);
    dppo_optimizer_free(none);
    dppo_optimizer_free(three);
    dppo_optimizer_free(two);
    dppo_optimizer_free(one);
    dppo_tensor_free(other);
    dppo_tensor_free(a);
    dppo_tensor_free(b);
    dppo_named_free(&state);
    dppo_generator_free(generator);
}

/* libtorch 1.13's clip_grad_norm_ of {3, -4, 12} and {0.7, 0.1} to 1.5. */
static void clipping_is_libtorch_s(void **unused) {
    (void)unused;
    static const float expected[] = {0x1.61f036p-2f, -0x1.d7eaf2p-2f, 0x1.61f036p+0f};
    static const float expected_other[] = {0x1.4a57aap-4f, 0x1.7988c2p-7f};
    dppo_generator *generator = dppo_generator_new(10);
    dppo_tensor *parameters[3] = {drawn(generator, 3), drawn(generator, 1), drawn(generator, 2)};
    dppo_tensor_free(parameters[1]->grad);
    parameters[1]->grad = NULL;
    memcpy(parameters[0]->grad->data, (float[]){3, -4, 12}, 3 * sizeof(float));
    memcpy(parameters[2]->grad->data, (float[]){0.7f, 0.1f}, 2 * sizeof(float));
    assert_true(dppo_clip_grad_norm(3, parameters, 100) == 0x1.a09d6cp+3);
    assert_true(dppo_f32(parameters[0]->grad)[2] == 12); /* below the limit nothing is scaled */
    assert_true(dppo_clip_grad_norm(3, parameters, 1.5) == 0x1.a09d6cp+3);
    assert_memory_equal(parameters[0]->grad->data, expected, sizeof expected);
    assert_memory_equal(parameters[2]->grad->data, expected_other, sizeof expected_other);
    for (int i = 0; i < 3; i++)
        dppo_tensor_free(parameters[i]);
    assert_true(dppo_clip_grad_norm(0, NULL, 1) == 0);
    dppo_generator_free(generator);
}

static void the_average_moves(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(11);
    dppo_tensor *ma = drawn(generator, 2), *current = drawn(generator, 2);
    memcpy(ma->data, (float[]){1, -2}, 2 * sizeof(float));
    memcpy(current->data, (float[]){3, 2}, 2 * sizeof(float));
    dppo_ema_update(1, &ma, &current, 0.75);
    assert_true(dppo_f32(ma)[0] == 1.5f && dppo_f32(ma)[1] == -1.0f);
    dppo_tensor_free(ma);
    dppo_tensor_free(current);
    dppo_generator_free(generator);
}

/* warmup 3 of 19, twice as long and half as high after a restart; the numbers are the recorded case's. */
static void the_schedule_warms_up_and_restarts(void **unused) {
    (void)unused;
    dppo_lr_schedule schedule, copy;
    double lr;
    assert_int_equal(dppo_lr_schedule_init(&schedule, 19, 2, 0.01, 1e-5, 3, 0.5, &lr), DPPO_OK);
    assert_true(lr == 1e-5);
    double rates[60];
    dppo_named state = {0};
    for (int i = 1; i < 60; i++) {
        rates[i] = dppo_lr_schedule_step(&schedule);
        if (i == 20) assert_int_equal(dppo_lr_schedule_save(&schedule, "lr/", &state), DPPO_OK);
    }
    assert_true(fabs(rates[1] - 3.34e-3) < 1e-15 && fabs(rates[3] - 1e-2) < 1e-15);
    assert_true(rates[19] == 1e-5 && fabs(rates[22] - 5e-3) < 1e-15); /* second cycle */
    assert_int_equal(schedule.cycle, 2);
    assert_int_equal(dppo_lr_schedule_init(&copy, 19, 2, 0.01, 1e-5, 3, 0.5, &lr), DPPO_OK);
    assert_int_equal(dppo_lr_schedule_load(&copy, "lr/", &state), DPPO_OK);
    for (int i = 21; i < 60; i++)
        assert_true(dppo_lr_schedule_step(&copy) == rates[i]);
    assert_int_equal(dppo_lr_schedule_init(&copy, 3, 1, 0.01, 1e-5, 3, 1, &lr), DPPO_INVALID);
    dppo_named_free(&state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_libtorch_s),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_parameter_without_gradient_is_left_alone),
        cmocka_unit_test(a_restored_optimizer_continues),
        cmocka_unit_test(clipping_is_libtorch_s),
        cmocka_unit_test(the_average_moves),
        cmocka_unit_test(the_schedule_warms_up_and_restarts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
