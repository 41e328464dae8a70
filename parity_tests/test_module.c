#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "nn/init.h"
#include "nn/layers.h"
#include "nn/module.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* parent: own parameter "scale", buffer "mean", child "network" (Linear 3 -> 2), and "actor", the same module
 * again, as VPGDiffusion has it. */
static dppo_module *parent_new(dppo_generator *generator) {
    dppo_module *parent = dppo_module_new(sizeof *parent, "Parent");
    dppo_linear_layer *network = dppo_linear_layer_new(generator, 3, 2, true);
    assert_int_equal(dppo_module_child(parent, "network", &network->module), DPPO_OK);
    assert_int_equal(dppo_module_alias(parent, "actor", &network->module), DPPO_OK);
    assert_non_null(dppo_module_buffer(parent, "mean", 1, (int64_t[]){4}));
    assert_non_null(dppo_module_parameter(parent, "scale", 0, NULL));
    return parent;
}

static dppo_named state_of(const dppo_module *module, const char *prefix) {
    dppo_named state = {0};
    assert_int_equal(dppo_module_state_dict(module, prefix, &state), DPPO_OK);
    return state;
}

static void state_dict_has_torch_names_in_torch_order(void **unused) {
    (void)unused;
    dppo_module *parent = parent_new(NULL);
    dppo_named state = state_of(parent, "m.");
    static const char *const names[] = {"m.scale",        "m.mean",         "m.network.weight",
                                        "m.network.bias", "m.actor.weight", "m.actor.bias"};
    assert_int_equal(state.count, 6);
    for (size_t i = 0; i < state.count; i++)
        assert_string_equal(state.entries[i].name, names[i]);
    dppo_named_free(&state);
    dppo_module_free(parent);
}

static void an_alias_is_one_parameter_under_its_first_name(void **unused) {
    (void)unused;
    dppo_module *parent = parent_new(NULL);
    dppo_tensor *parameters[8];
    char *names[8];
    assert_int_equal(dppo_module_parameters(parent, parameters, names, 8), 3);
    static const char *const expected[] = {"scale", "network.weight", "network.bias"};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(names[i], expected[i]);
        assert_true(parameters[i]->requires_grad);
        free(names[i]);
    }
    assert_int_equal(dppo_module_parameters(parent, parameters, NULL, 1), 3);
    dppo_module_free(parent);
}

static void loading_is_strict_and_all_or_nothing(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(3);
    dppo_module *from = parent_new(generator), *to = parent_new(NULL);
    dppo_named state = state_of(from, "");
    assert_int_equal(dppo_module_load_state_dict(to, "", &state, true), DPPO_OK);
    dppo_named copy = state_of(to, "");
    for (size_t i = 0; i < state.count; i++)
        assert_memory_equal(state.entries[i].tensor->data, copy.entries[i].tensor->data,
                            (size_t)dppo_numel(copy.entries[i].tensor) * sizeof(float));
    dppo_named_free(&copy);
    dppo_module_free(to);

    to = parent_new(NULL);
    int64_t wrong[] = {5};
    dppo_named broken = {0};
    assert_int_equal(dppo_named_merge(&broken, "", &state), DPPO_OK);
    dppo_tensor *odd = dppo_tensor_heap(DPPO_F32, 1, wrong);
    assert_int_equal(dppo_named_put(&broken, "actor.bias", odd), DPPO_OK);
    assert_int_equal(dppo_module_load_state_dict(to, "", &broken, false), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "'actor.bias' has shape (5,)"));
    assert_true(dppo_f32(to->entries[0].child->entries[0].parameter)[0] ==
                0); /* nothing was written before */
    dppo_named_free(&broken);

    assert_int_equal(dppo_named_put(&state, "surplus", odd), DPPO_OK);
    assert_int_equal(dppo_module_load_state_dict(to, "", &state, true), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "'surplus' is not in Parent"));
    assert_int_equal(dppo_module_load_state_dict(to, "", &state, false), DPPO_OK);
    assert_int_equal(dppo_module_load_state_dict(to, "ema.", &state, true), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "'ema.scale' is missing"));
    assert_int_equal(dppo_module_load_state_dict(to, "ema.", &state, false), DPPO_OK);
    dppo_tensor_free(odd);
    dppo_named_free(&state);
    dppo_module_free(to);
    dppo_module_free(from);
    dppo_generator_free(generator);
}

static void copies_need_the_same_structure(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(4);
    dppo_module *from = parent_new(generator), *to = parent_new(NULL);
    assert_int_equal(dppo_module_copy(to, from), DPPO_OK);
    dppo_tensor *a[3], *b[3];
    dppo_module_parameters(from, a, NULL, 3);
    dppo_module_parameters(to, b, NULL, 3);
    assert_ptr_not_equal(a[1], b[1]);
    assert_memory_equal(a[1]->data, b[1]->data, 6 * sizeof(float));
    dppo_layer_norm_layer *other = dppo_layer_norm_layer_new(3, 1e-5);
    assert_int_equal(dppo_module_copy(to, &other->module), DPPO_INVALID);
    dppo_module_free(&other->module);
    dppo_module_free(to);
    dppo_module_free(from);
    dppo_generator_free(generator);
}

static void names_are_registered_once(void **unused) {
    (void)unused;
    dppo_module *parent = parent_new(NULL);
    assert_null(dppo_module_parameter(parent, "mean", 0, NULL));
    dppo_linear_layer *layer = dppo_linear_layer_new(NULL, 1, 1, false);
    assert_int_equal(dppo_module_child(parent, "network", &layer->module), DPPO_INVALID); /* and frees it */
    assert_non_null(strstr(dppo_message(), "'network' is registered already"));
    dppo_module *absent = (dppo_module *)dppo_linear_layer_new(NULL, 0, 1, false);
    assert_int_equal(dppo_module_child(parent, "x", absent), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "Parent.x: Linear: sizes 0 and 1"));
    dppo_module_free(parent);
}

static void training_and_gradients_reach_every_child(void **unused) {
    (void)unused;
    dppo_module *parent = parent_new(NULL);
    dppo_module *network = parent->entries[0].child;
    assert_true(network->training);
    dppo_module_train(parent, false);
    assert_false(network->training);
    dppo_tensor *weight = network->entries[0].parameter;
    dppo_module_requires_grad(parent, false);
    assert_false(weight->requires_grad);
    weight->grad = dppo_tensor_heap(DPPO_F32, weight->ndim, weight->shape);
    dppo_f32(weight->grad)[5] = 7;
    dppo_module_zero_grad(parent);
    assert_true(dppo_f32(weight->grad)[5] == 0);
    dppo_module_free(parent);
}

static void activations_go_by_torch_names(void **unused) {
    (void)unused;
    dppo_activation_kind kind;
    assert_int_equal(dppo_activation_from_name("Mish", &kind), DPPO_OK);
    assert_int_equal(kind, DPPO_ACTIVATION_MISH);
    assert_string_equal(dppo_activation_name(kind), "Mish");
    assert_int_equal(dppo_activation_from_name("Swish", &kind), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "'Swish' is unknown; there are ReLU ELU"));
}

/* What libtorch 1.13 leaves after torch::manual_seed(11), Linear(3, 2), xavier_normal_ and xavier_uniform_
 * (2, 2). */
static const float linear_weight[] = {-0x1.9efa4ep-2f, -0x1.fccaccp-7f, 0x1.1f2056p-1f,
                                      -0x1.88162ap-2f, 0x1.8d05f8p-4f,  0x1.c9d416p-3f};
static const float linear_bias[] = {0x1.88f672p-4f, -0x1.b75714p-2f};
static const float xavier_normal[] = {-0x1.73a43cp-2f, -0x1.86736ap-3f, 0x1.648374p-3f, 0x1.5e663cp-2f};
static const float xavier_uniform[] = {-0x1.f28442p-1f, 0x1.461294p-1f, 0x1.7caf06p-1f, 0x1.4cb80ep-1f};

static void initialisers_draw_what_torch_draws(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(11);
    dppo_linear_layer *layer = dppo_linear_layer_new(generator, 3, 2, true);
    assert_memory_equal(layer->weight->data, linear_weight, sizeof linear_weight);
    assert_memory_equal(layer->bias->data, linear_bias, sizeof linear_bias);
    dppo_tensor *square = dppo_tensor_heap(DPPO_F32, 2, (int64_t[]){2, 2});
    assert_int_equal(dppo_init_xavier_normal(generator, square, 1), DPPO_OK);
    assert_memory_equal(square->data, xavier_normal, sizeof xavier_normal);
    assert_int_equal(dppo_init_xavier_uniform(generator, square, 1), DPPO_OK);
    assert_memory_equal(square->data, xavier_uniform, sizeof xavier_uniform);
    assert_int_equal(dppo_init_kaiming_uniform(generator, layer->bias, 1), DPPO_INVALID);
    dppo_tensor_free(square);
    dppo_module_free(&layer->module);
    dppo_generator_free(generator);
}

static void orthogonal_rows_are_orthonormal(void **unused) {
    (void)unused;
    dppo_generator *generator = dppo_generator_new(12);
    dppo_tensor *wide = dppo_tensor_heap(DPPO_F32, 3, (int64_t[]){3, 2, 4});
    assert_int_equal(dppo_init_orthogonal(generator, wide, 2), DPPO_OK);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            double dot = 0;
            for (int k = 0; k < 8; k++)
                dot += (double)dppo_f32(wide)[i * 8 + k] * (double)dppo_f32(wide)[j * 8 + k];
            assert_true(fabs(dot - (i == j ? 4 : 0)) < 1e-5);
        }
    dppo_tensor_free(wide);
    dppo_generator_free(generator);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_dict_has_torch_names_in_torch_order),
        cmocka_unit_test(an_alias_is_one_parameter_under_its_first_name),
        cmocka_unit_test(loading_is_strict_and_all_or_nothing),
        cmocka_unit_test(copies_need_the_same_structure),
        cmocka_unit_test(names_are_registered_once),
        cmocka_unit_test(training_and_gradients_reach_every_child),
        cmocka_unit_test(activations_go_by_torch_names),
        cmocka_unit_test(initialisers_draw_what_torch_draws),
        cmocka_unit_test(orthogonal_rows_are_orthonormal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
