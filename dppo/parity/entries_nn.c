/* Door entries of convolutions, GroupNorm, attention, padding, containers, of networks with parameters from
 * elsewhere, and of what is about recording: no_grad, requires_grad_, Parameter, register_buffer. */
#include "nn/attention.h"
#include "nn/convolution.h"
#include "nn/sequential.h"
#include "parity/door.h"

#include <stdio.h>
#include <string.h>

static const dppo_config *args_of(dppo_call *call) {
    return dppo_call_case(call)->args;
}

static const dppo_config *init_of(dppo_call *call) {
    return dppo_call_case(call)->init;
}

static dppo_status result(dppo_call *call, dppo_tensor *tensor) {
    return dppo_call_output(call, "result", tensor);
}

/* -- convolutions and GroupNorm
 * -------------------------------------------------------------------------------------------- */

/* An int for every dim, or a list of `dims`. */
static dppo_status per_dim(const dppo_config *init, const char *key, int dims, int64_t fallback,
                           int64_t *values) {
    const dppo_config *node = dppo_config_get(init, key);
    size_t count = 0;
    values[0] = values[1] = fallback;
    if (!node) return DPPO_OK;
    if (dppo_config_type_of(node) == DPPO_CONFIG_INT) {
        DPPO_TRY(dppo_config_int(node, NULL, &values[0]));
        values[1] = values[0];
        return DPPO_OK;
    }
    DPPO_TRY(dppo_config_ints(init, key, values, 2, &count));
    return count == (size_t)dims
               ? DPPO_OK
               : dppo_fail(DPPO_INVALID, "init/%s: %zu sizes for %d dims", key, count, dims);
}

static dppo_status conv_options(const dppo_config *init, int dims, dppo_conv_options *o) {
    static const char *const keys[] = {
        "in_channels",    "out_channels", "kernel_size", "stride",       "padding", "bias",
        "output_padding", "groups",       "dilation",    "padding_mode", NULL};
    const char *padding_mode;
    const dppo_config *padding = dppo_config_get(init, "padding");
    int64_t output_padding[2];
    DPPO_TRY(dppo_config_allow(init, "init", keys));
    DPPO_TRY(dppo_config_string_or(init, "padding_mode", "zeros", &padding_mode));
    if (strcmp(padding_mode, "zeros") != 0)
        return dppo_fail(DPPO_MISSING, "init/padding_mode: only zeros is supported");
    DPPO_TRY(dppo_config_int_from_or(init, "groups", 1, 1, &o->groups));
    DPPO_TRY(per_dim(init, "dilation", dims, 1, o->dilation));
    if (o->dilation[0] < 1 || o->dilation[1] < 1)
        return dppo_fail(DPPO_INVALID, "init/dilation: must be at least 1");
    if (dppo_config_type_of(padding) == DPPO_CONFIG_STRING)
        return dppo_fail(DPPO_MISSING, "init/padding: only numbers are supported");
    DPPO_TRY(dppo_config_int(init, "in_channels", &o->in_channels));
    DPPO_TRY(dppo_config_int(init, "out_channels", &o->out_channels));
    DPPO_TRY(per_dim(init, "kernel_size", dims, 0, o->kernel_size));
    DPPO_TRY(per_dim(init, "stride", dims, 1, o->stride));
    DPPO_TRY(per_dim(init, "padding", dims, 0, o->padding));
    DPPO_TRY(per_dim(init, "output_padding", dims, 0, output_padding));
    o->output_padding = output_padding[0];
    return dppo_config_bool_or(init, "bias", true, &o->bias);
}

static dppo_status call_conv(dppo_call *call, dppo_conv_kind kind) {
    dppo_tensor *input;
    dppo_conv_options options;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(conv_options(init_of(call), kind == DPPO_CONV2D ? 2 : 1, &options));
    dppo_generator *generator = dppo_generator_new(0);
    if (!generator) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    dppo_conv_layer *layer = dppo_conv_layer_new(generator, kind, &options);
    dppo_generator_free(generator);
    if (!layer) return DPPO_INVALID;
    DPPO_TRY(dppo_call_module(call, &layer->module, false));
    return result(call, dppo_conv_layer_forward(dppo_call_context(call), layer, input));
}

static dppo_status call_conv1d(dppo_call *call) {
    return call_conv(call, DPPO_CONV1D);
}

static dppo_status call_conv2d(dppo_call *call) {
    return call_conv(call, DPPO_CONV2D);
}

static dppo_status call_conv_transpose1d(dppo_call *call) {
    return call_conv(call, DPPO_CONV_TRANSPOSE1D);
}

static dppo_status call_group_norm(dppo_call *call) {
    dppo_tensor *input;
    int64_t groups, channels;
    double eps;
    bool affine;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_int(init_of(call), "num_groups", &groups));
    DPPO_TRY(dppo_config_int(init_of(call), "num_channels", &channels));
    DPPO_TRY(dppo_config_float_or(init_of(call), "eps", 1e-5, &eps));
    DPPO_TRY(dppo_config_bool_or(init_of(call), "affine", true, &affine));
    dppo_group_norm_layer *layer = dppo_group_norm_layer_new(groups, channels, eps, affine);
    if (!layer) return DPPO_INVALID;
    DPPO_TRY(dppo_call_module(call, &layer->module, false));
    return result(call, dppo_group_norm_layer_forward(dppo_call_context(call), layer, input));
}

static dppo_status call_pad(dppo_call *call) {
    static const char *const modes[] = {"constant", "replicate", "reflect"};
    dppo_tensor *input;
    int64_t sizes[2 * DPPO_MAX_DIMS];
    size_t count, mode = 0;
    const char *name;
    double value;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_ints(args_of(call), "pad", sizes, 2 * DPPO_MAX_DIMS, &count));
    DPPO_TRY(dppo_config_string_or(args_of(call), "mode", modes[0], &name));
    DPPO_TRY(dppo_config_float_or(args_of(call), "value", 0, &value));
    while (mode < 3 && strcmp(modes[mode], name) != 0)
        mode++;
    if (mode == 3)
        return dppo_fail(DPPO_MISSING, "args/mode: %s is none of constant, replicate, reflect", name);
    return result(call,
                  dppo_pad(dppo_call_context(call), input, (int)count, sizes, (dppo_pad_mode)mode, value));
}

/* -- attention
 * ------------------------------------------------------------------------------------------------------ */

static dppo_status attention_layer(dppo_call *call, dppo_attention_layer **layer) {
    static const char *const keys[] = {"embed_dim",   "num_heads", "dropout",     "bias",
                                       "batch_first", "training",  "add_bias_kv", "add_zero_attn",
                                       "kdim",        "vdim",      NULL};
    const dppo_config *init = init_of(call);
    int64_t embed_dim, heads;
    double dropout;
    bool bias, batch_first;
    *layer = NULL;
    DPPO_TRY(dppo_config_allow(init, "init", keys));
    DPPO_TRY(dppo_call_refuse(init, keys + 6));
    DPPO_TRY(dppo_config_int(init, "embed_dim", &embed_dim));
    DPPO_TRY(dppo_config_int(init, "num_heads", &heads));
    DPPO_TRY(dppo_config_float_or(init, "dropout", 0, &dropout));
    DPPO_TRY(dppo_config_bool_or(init, "bias", true, &bias));
    DPPO_TRY(dppo_config_bool_or(init, "batch_first", false, &batch_first));
    dppo_generator *generator = dppo_generator_new(0);
    if (!generator) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    *layer = dppo_attention_layer_new(generator, embed_dim, heads, dropout, bias, batch_first);
    dppo_generator_free(generator);
    return *layer ? dppo_call_module(call, &(*layer)->module, false) : DPPO_INVALID;
}

/* key and value default to the query: attention of a sequence to itself. */
static dppo_status call_multihead_attention(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_attention_layer *layer = NULL;
    dppo_tensor *query, *weights = NULL;
    bool training, need_weights;
    DPPO_TRY(dppo_call_input(call, "query", &query));
    dppo_tensor *key = dppo_call_input_or_null(call, "key"), *value = dppo_call_input_or_null(call, "value");
    DPPO_TRY(dppo_config_bool_or(init_of(call), "training", false, &training));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "training", training, &training));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "need_weights", true, &need_weights));
    DPPO_TRY(attention_layer(call, &layer));
    dppo_module_train(&layer->module, training);
    dppo_attention a = dppo_attention_layer_state(layer);
    DPPO_TRY(dppo_config_bool_or(args_of(call), "average_attn_weights", true, &a.average_weights));
    a.attn_mask = dppo_call_input_or_null(call, "attn_mask");
    a.key_padding_mask = dppo_call_input_or_null(call, "key_padding_mask");
    if (!key) key = query;
    if (!value) value = key;
    dppo_tensor *out = dppo_multi_head_attention(cx, &a, query, key, value, need_weights ? &weights : NULL);
    DPPO_TRY(dppo_call_output(call, "attn_output", out));
    return need_weights ? dppo_call_output(call, "attn_output_weights", weights) : DPPO_OK;
}

/* -- containers, and parameters from elsewhere
 * ---------------------------------------------------------------------------------- */

static dppo_status build_container(dppo_call *call, const char *type, dppo_sequential **self) {
    bool training;
    dppo_generator *generator = dppo_generator_new(0);
    if (!generator) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    dppo_status status =
        dppo_sequential_new(dppo_config_get(init_of(call), "modules"), type, generator, self);
    dppo_generator_free(generator);
    DPPO_TRY(status);
    DPPO_TRY(dppo_call_module(call, &(*self)->module, false));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "training", true, &training));
    dppo_module_train(&(*self)->module, training);
    return DPPO_OK;
}

static dppo_status call_sequential(dppo_call *call) {
    dppo_sequential *self;
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(build_container(call, "Sequential", &self));
    return result(call, dppo_sequential_forward(dppo_call_context(call), self, input));
}

/* Every layer of the list sees the input; results 0, 1, ... */
static dppo_status call_module_list(dppo_call *call) {
    dppo_sequential *self;
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(build_container(call, "ModuleList", &self));
    for (size_t i = 0; i < self->count; i++) {
        char name[24];
        (void)snprintf(name, sizeof name, "%zu", i);
        DPPO_TRY(
            dppo_call_output(call, name, dppo_sequential_layer(dppo_call_context(call), self, i, input)));
    }
    return DPPO_OK;
}

enum { MAX_GIVEN = 4 * DPPO_MAX_SEQUENTIAL, PATH = 128 };

/* The inputs params/<name>, as the leaves they are. */
typedef struct given {
    size_t count;
    const char *names[MAX_GIVEN];
    dppo_tensor *tensors[MAX_GIVEN];
} given;

static dppo_status given_parameters(dppo_call *call, given *g) {
    const dppo_named *in = dppo_call_inputs(call, "params/");
    g->count = 0;
    for (size_t i = 0; i < in->count; i++) {
        if (strncmp(in->entries[i].name, "params/", 7) != 0) continue;
        if (g->count == MAX_GIVEN) return dppo_fail(DPPO_INVALID, "in/params: more than %d", MAX_GIVEN);
        g->names[g->count] = in->entries[i].name + 7;
        g->tensors[g->count++] = dppo_call_input_or_null(call, in->entries[i].name);
    }
    return g->count > 0 ? DPPO_OK : dppo_fail(DPPO_INVALID, "in/params: missing");
}

static dppo_status call_functional_call(dppo_call *call) {
    dppo_sequential *self;
    dppo_tensor *input;
    given g;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(given_parameters(call, &g));
    DPPO_TRY(build_container(call, "Sequential", &self));
    return result(call,
                  dppo_functional_call(dppo_call_context(call), self, g.count, g.names, g.tensors, input));
}

/* vmap of functional_call over stacked parameters; in_dims [0, 0] has an input for each, [0, null] one for
 * all. */
static dppo_status call_vmap(dppo_call *call) {
    const dppo_config *dim = dppo_config_get(args_of(call), "in_dims.1");
    dppo_sequential *self;
    dppo_tensor *input;
    given g;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(given_parameters(call, &g));
    DPPO_TRY(build_container(call, "Sequential", &self));
    bool per_member = dppo_config_type_of(dim) == DPPO_CONFIG_INT;
    return result(call, dppo_ensemble_forward(dppo_call_context(call), self, g.count, g.names, g.tensors,
                                              input, per_member));
}

/* in/models/<n>/<name>: a module for each, and what they stack to. */
static dppo_status stack_members(dppo_call *call, size_t count, dppo_sequential **members,
                                 dppo_named *stacked) {
    const dppo_module *modules[DPPO_MAX_SEQUENTIAL];
    for (size_t n = 0; n < count; n++) {
        dppo_named state = {0};
        char prefix[PATH];
        (void)snprintf(prefix, sizeof prefix, "models/%zu/", n);
        DPPO_TRY(
            dppo_sequential_new(dppo_config_get(init_of(call), "modules"), "Sequential", NULL, &members[n]));
        dppo_status status = dppo_named_extract(&state, prefix, dppo_call_inputs(call, prefix));
        if (status == DPPO_OK) status = dppo_module_load_state_dict(&members[n]->module, "", &state, true);
        dppo_named_free(&state);
        DPPO_TRY(status);
        modules[n] = &members[n]->module;
    }
    return dppo_stack_module_state(count, modules, stacked);
}

/* How many n there are with an input models/<n>/..., from 0 on. */
static size_t member_count(dppo_call *call) {
    const dppo_named *in = &dppo_call_case(call)->in;
    char prefix[PATH];
    for (size_t n = 0;; n++) {
        bool found = false;
        int length = snprintf(prefix, sizeof prefix, "models/%zu/", n);
        for (size_t i = 0; i < in->count && !found; i++)
            found = strncmp(in->entries[i].name, prefix, (size_t)length) == 0;
        if (!found) return n;
    }
}

static dppo_status call_stack_module_state(dppo_call *call) {
    dppo_sequential *members[DPPO_MAX_SEQUENTIAL] = {NULL};
    dppo_named stacked = {0};
    size_t count = member_count(call);
    if (count < 1 || count > DPPO_MAX_SEQUENTIAL)
        return dppo_fail(DPPO_INVALID, "in/models: %zu members, not 1 to %d", count, DPPO_MAX_SEQUENTIAL);
    dppo_status status = stack_members(call, count, members, &stacked);
    for (size_t i = 0; i < stacked.count && status == DPPO_OK; i++)
        status = dppo_call_output_copy(call, stacked.entries[i].name, stacked.entries[i].tensor);
    dppo_named_free(&stacked);
    for (size_t n = 0; n < count; n++)
        dppo_module_free(members[n] ? &members[n]->module : NULL);
    return status;
}

/* -- recording
 * ---------------------------------------------------------------------------------------------------------
 */

/* inside: 2 input, computed without recording; result: input * inside. Its gradient is `inside` alone: what
 * was computed under no_grad is a constant. */
static dppo_status call_no_grad(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    bool enabled = dppo_set_grad_enabled(cx, false);
    dppo_tensor *inside = dppo_mul_scalar(cx, input, 2.0);
    (void)dppo_set_grad_enabled(cx, enabled);
    DPPO_TRY(dppo_call_output(call, "inside", inside));
    return result(call, dppo_mul(cx, input, inside));
}

/* A leaf that wants a gradient, or does not, and what is computed from it. */
static dppo_status call_requires_grad(dppo_call *call) {
    dppo_tensor *input;
    bool wanted;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "requires_grad", true, &wanted));
    if (wanted && input->dtype != DPPO_F32 && input->dtype != DPPO_F64)
        return dppo_fail(DPPO_INVALID, "requires_grad_: only floating tensors can require gradients");
    input->requires_grad = wanted && dppo_call_case(call)->cotangent.count > 0;
    return result(call, dppo_mul_scalar(dppo_call_context(call), input, 1.0));
}

/* in/data becomes the parameter `weight` of a module: found under its name, with a gradient if it wants one;
 * result: 1 parameter. */
static dppo_status call_parameter(dppo_call *call) {
    dppo_tensor *data = dppo_call_input_or_null(call, "data");
    bool wanted;
    if (!data) DPPO_TRY(dppo_call_input(call, "input", &data));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "requires_grad", true, &wanted));
    data->requires_grad = data->requires_grad && wanted;
    return result(call, dppo_mul_scalar(dppo_call_context(call), data, 1.0));
}

/* in/tensor becomes the buffer args/name of a module: part of its state, not of its parameters. The result
 * adds it to in/input; writing to it through the module's name is seen by whoever holds it (args/fill). */
static dppo_status call_register_buffer(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *tensor, *input;
    const char *name;
    bool persistent;
    double fill;
    DPPO_TRY(dppo_call_input(call, "tensor", &tensor));
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_string_or(args_of(call), "name", "buffer", &name));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "persistent", true, &persistent));
    if (!persistent) return dppo_fail(DPPO_MISSING, "args/persistent: only true is supported");
    dppo_module *module = dppo_module_new(sizeof *module, "Module");
    if (!module) return DPPO_NO_MEMORY;
    DPPO_TRY(dppo_call_module(call, module, true));
    dppo_tensor *buffer = dppo_module_buffer(module, name, tensor->ndim, tensor->shape);
    if (!buffer) return dppo_fail(DPPO_INVALID, "register_buffer: %s", name);
    DPPO_TRY(dppo_tensor_copy(buffer, tensor));
    if (dppo_config_get(args_of(call), "fill")) {
        DPPO_TRY(dppo_config_float(args_of(call), "fill", &fill));
        for (int64_t i = 0, n = dppo_numel(buffer); i < n; i++)
            dppo_f32(buffer)[i] = (float)fill;
    }
    return result(call, dppo_add(cx, input, buffer));
}

/* -- distributions by class
 * ------------------------------------------------------------------------------------------------------ */

/* The class alone: its `method`, log_prob when none is named, through the method's own entry. */
static dppo_status call_distribution(dppo_call *call) {
    const dppo_case *parity_case = dppo_call_case(call);
    const char *named = dppo_call_method(call), *method = named ? named : "log_prob";
    char name[PATH];
    size_t count;
    const dppo_entry *entries = dppo_c_entries(&count);
    (void)snprintf(name, sizeof name, "%s.%s", parity_case->function, method);
    for (size_t i = 0; i < count; i++)
        if (strcmp(entries[i].function, name) == 0) return entries[i].call(call);
    return dppo_fail(DPPO_MISSING, "no C entry for %s", name);
}

const dppo_entry dppo_entries_nn[] = {
    {"torch.nn.Conv1d", call_conv1d},
    {"torch.nn.Conv2d", call_conv2d},
    {"torch.nn.ConvTranspose1d", call_conv_transpose1d},
    {"torch.nn.GroupNorm", call_group_norm},
    {"torch.nn.functional.pad", call_pad},
    {"torch.nn.MultiheadAttention", call_multihead_attention},
    {"torch.nn.Sequential", call_sequential},
    {"torch.nn.ModuleList", call_module_list},
    {"torch.func.functional_call", call_functional_call},
    {"torch.func.stack_module_state", call_stack_module_state},
    {"torch.vmap", call_vmap},
    {"torch.no_grad", call_no_grad},
    {"torch.Tensor.requires_grad_", call_requires_grad},
    {"torch.nn.Parameter", call_parameter},
    {"torch.nn.Module.register_buffer", call_register_buffer},
    {"torch.distributions.Categorical", call_distribution},
    {"torch.distributions.Independent", call_distribution},
    {"torch.distributions.MixtureSameFamily", call_distribution},
    {"torch.distributions.Normal", call_distribution},
    {NULL, NULL},
};
