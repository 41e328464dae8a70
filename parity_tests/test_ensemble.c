/* Ensembles: N networks at once are N networks one after another, in every bit; parameters from elsewhere. */
#include "nn/sequential.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 5, B = 7, IN = 9, HIDDEN = 33, PARAMETERS = 4 };

static const char *const names[PARAMETERS] = {"0.weight", "0.bias", "2.weight", "2.bias"};

typedef struct fixture {
    dppo_generator *generator;
    dppo_cx *cx;
    dppo_sequential *members[N];
    dppo_named stacked;
    dppo_tensor *parameters[PARAMETERS]; /* of `stacked`, as leaves */
    dppo_tensor *x;
} fixture;

static dppo_sequential *network(dppo_generator *generator) {
    char text[256];
    dppo_config *modules;
    dppo_sequential *self = NULL;
    (void)snprintf(
        text, sizeof text,
        "[{_target_: torch.nn.Linear, in_features: %d, out_features: %d}, {_target_: torch.nn.ReLU}, "
        "{_target_: torch.nn.Linear, in_features: %d, out_features: 1}]",
        IN, HIDDEN, HIDDEN);
    assert_int_equal(dppo_config_parse_yaml(text, "test", &modules), DPPO_OK);
    assert_int_equal(dppo_sequential_new(modules, "Sequential", generator, &self), DPPO_OK);
    dppo_config_free(modules);
    return self;
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    const dppo_module *modules[N];
    f->generator = dppo_generator_new(11);
    f->cx = dppo_context_new(f->generator);
    for (int n = 0; n < N; n++) {
        f->members[n] = network(f->generator);
        modules[n] = &f->members[n]->module;
    }
    assert_int_equal(dppo_stack_module_state(N, modules, &f->stacked), DPPO_OK);
    for (int k = 0; k < PARAMETERS; k++) {
        f->parameters[k] = dppo_named_get(&f->stacked, names[k]);
        assert_non_null(f->parameters[k]);
        f->parameters[k]->requires_grad = true;
    }
    f->x = dppo_randn(f->cx, 2, (int64_t[]){B, IN});
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    dppo_context_free(f->cx);
    dppo_named_free(&f->stacked);
    for (int n = 0; n < N; n++)
        dppo_module_free(&f->members[n]->module);
    dppo_generator_free(f->generator);
    free(f);
    return 0;
}

static void test_stacked_parameters_are_the_members(void **state) {
    const fixture *f = *state;
    assert_int_equal(f->stacked.count, PARAMETERS);
    const dppo_tensor *weight = f->parameters[0];
    assert_int_equal(weight->shape[0], N);
    for (int n = 0; n < N; n++) {
        const dppo_linear_layer *first = (const dppo_linear_layer *)f->members[n]->layers[0].layer;
        assert_memory_equal(dppo_f32(weight) + n * HIDDEN * IN, first->weight->data,
                            HIDDEN * IN * sizeof(float));
    }
}

/* Values, and gradients with respect to every parameter, against a loop over the members. */
static void test_ensemble_is_a_loop(void **state) {
    fixture *f = *state;
    dppo_tensor *y =
        dppo_ensemble_forward(f->cx, f->members[0], PARAMETERS, names, f->parameters, f->x, false);
    assert_non_null(y);
    assert_int_equal(y->ndim, 3);
    dppo_tensor *cotangent = dppo_randn(f->cx, 3, y->shape), *gradients[PARAMETERS];
    assert_int_equal(dppo_grad(f->cx, 1, &y, &cotangent, PARAMETERS, f->parameters, false, gradients),
                     DPPO_OK);
    for (int n = 0; n < N; n++) {
        dppo_tensor *one = dppo_sequential_forward(f->cx, f->members[n], f->x);
        dppo_tensor *upstream = dppo_select(f->cx, cotangent, 0, n), *leaves[PARAMETERS], *of[PARAMETERS];
        assert_memory_equal(one->data, dppo_f32(y) + n * B, B * sizeof(float));
        assert_int_equal(dppo_module_parameters(&f->members[n]->module, leaves, NULL, PARAMETERS),
                         PARAMETERS);
        assert_int_equal(dppo_grad(f->cx, 1, &one, &upstream, PARAMETERS, leaves, false, of), DPPO_OK);
        for (int k = 0; k < PARAMETERS; k++) {
            size_t size = (size_t)dppo_numel(leaves[k]) * sizeof(float);
            const dppo_tensor *packed = dppo_contiguous(f->cx, of[k]);
            assert_memory_equal(packed->data, (char *)gradients[k]->data + (size_t)n * size, size);
        }
    }
}

/* Given parameters are used instead of the module's, and the gradient is theirs alone. */
static void test_functional_call_leaves_the_module_alone(void **state) {
    fixture *f = *state;
    dppo_tensor *given[PARAMETERS], *mine[PARAMETERS], *gradients[PARAMETERS], *own[PARAMETERS];
    for (int k = 0; k < PARAMETERS; k++)
        given[k] = dppo_select(f->cx, f->parameters[k], 0, 3);
    dppo_tensor *y = dppo_functional_call(f->cx, f->members[0], PARAMETERS, names, given, f->x);
    dppo_tensor *same = dppo_sequential_forward(f->cx, f->members[3], f->x);
    assert_memory_equal(y->data, same->data, B * sizeof(float));
    dppo_tensor *sum = dppo_sum(f->cx, y, 0, NULL, false);
    (void)dppo_module_parameters(&f->members[0]->module, mine, NULL, PARAMETERS);
    assert_int_equal(dppo_grad(f->cx, 1, &sum, NULL, PARAMETERS, f->parameters, false, gradients), DPPO_OK);
    assert_int_equal(dppo_grad(f->cx, 1, &sum, NULL, PARAMETERS, mine, false, own), DPPO_OK);
    for (int k = 0; k < PARAMETERS; k++) {
        assert_non_null(gradients[k]);
        assert_null(own[k]);
    }
}

static void test_a_missing_parameter_is_named(void **state) {
    fixture *f = *state;
    assert_null(dppo_ensemble_forward(f->cx, f->members[0], 3, names, f->parameters, f->x, false));
    assert_int_equal(dppo_context_status(f->cx), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "2.bias"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stacked_parameters_are_the_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ensemble_is_a_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_functional_call_leaves_the_module_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_missing_parameter_is_named, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
