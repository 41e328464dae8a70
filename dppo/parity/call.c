#include "autograd/autograd.h"
#include "nn/module.h"
#include "parity/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct output {
    char *name;
    dppo_tensor *tensor; /* in the context's arena */
} output;

/* One call of one case: everything it needs lives here and goes with it. */
struct dppo_call {
    const dppo_case *parity_case;
    dppo_answer *answer;
    dppo_generator *generator;
    dppo_context *context;
    bool *used; /* (leaves.count): the entry asked for it */
    bool method_used;
    dppo_named leaves; /* copies of the inputs: a call may write to them and gives them gradients */
    output *outputs;
    size_t output_count, output_capacity;
    dppo_module *module;
    bool report_state;
};

void dppo_answer_free(dppo_answer *answer) {
    dppo_named_free(&answer->out);
    dppo_named_free(&answer->grad);
    dppo_named_free(&answer->state_after);
}

const dppo_case *dppo_call_case(const dppo_call *call) {
    return call->parity_case;
}

struct dppo_context *dppo_call_context(dppo_call *call) {
    return call->context;
}

/* The leaf of that name, marked as used. */
static dppo_tensor *use_leaf(dppo_call *call, const char *name) {
    for (size_t i = 0; i < call->leaves.count; i++) {
        if (strcmp(call->leaves.entries[i].name, name) != 0) continue;
        call->used[i] = true;
        return call->leaves.entries[i].tensor;
    }
    return NULL;
}

dppo_tensor *dppo_call_input_or_null(dppo_call *call, const char *name) {
    dppo_tensor *tensor = use_leaf(call, name);
    return !tensor && strcmp(name, "input") == 0 ? use_leaf(call, "self") : tensor;
}

const dppo_named *dppo_call_inputs(dppo_call *call, const char *prefix) {
    for (size_t i = 0; i < call->leaves.count; i++)
        if (strncmp(call->leaves.entries[i].name, prefix, strlen(prefix)) == 0) call->used[i] = true;
    return &call->parity_case->in;
}

const char *dppo_call_method(dppo_call *call) {
    call->method_used = true;
    return call->parity_case->method;
}

dppo_status dppo_call_input(dppo_call *call, const char *name, dppo_tensor **tensor) {
    *tensor = dppo_call_input_or_null(call, name);
    return *tensor ? DPPO_OK : dppo_fail(DPPO_INVALID, "in/%s: missing", name);
}

dppo_status dppo_call_ints(const dppo_call *call, const char *const *names, dppo_int_list *list) {
    const dppo_config *args = call->parity_case->args;
    for (const char *const *name = names; *name; name++) {
        const dppo_config *node = dppo_config_get(args, *name);
        if (!node) continue;
        list->count = 1;
        if (dppo_config_type_of(node) == DPPO_CONFIG_INT)
            return dppo_config_int(node, NULL, &list->values[0]);
        return dppo_config_ints(args, *name, list->values, DPPO_MAX_DIMS, &list->count);
    }
    return dppo_fail(DPPO_INVALID, "args: %s is missing", names[0]);
}

const dppo_config *dppo_call_settings(const dppo_call *call) {
    const dppo_config *init = call->parity_case->init;
    return dppo_config_count(init) > 0 ? init : call->parity_case->args;
}

dppo_status dppo_call_refuse(const dppo_config *settings, const char *const *names) {
    for (const char *const *name = names; *name; name++) {
        const dppo_config *node = dppo_config_get(settings, *name);
        bool on = dppo_config_type_of(node) != DPPO_CONFIG_NULL;
        if (dppo_config_type_of(node) == DPPO_CONFIG_BOOL) DPPO_TRY(dppo_config_bool(node, NULL, &on));
        if (on) return dppo_fail(DPPO_MISSING, "%s: not supported", *name);
    }
    return DPPO_OK;
}

dppo_status dppo_call_sizes(const dppo_call *call, dppo_int_list *list) {
    return dppo_call_ints(call, (const char *const[]){"size", "sizes", "shape", "repeats", NULL}, list);
}

dppo_status dppo_call_dtype(const dppo_call *call, dppo_dtype fallback, dppo_dtype *dtype) {
    const char *name;
    DPPO_TRY(dppo_config_string_or(call->parity_case->args, "dtype", NULL, &name));
    *dtype = fallback;
    if (!name) return DPPO_OK;
    if (strncmp(name, "torch.", 6) == 0) name += 6;
    static const struct {
        const char *name;
        dppo_dtype dtype;
    } names[] = {{"float32", DPPO_F32}, {"float", DPPO_F32}, {"float64", DPPO_F64}, {"double", DPPO_F64},
                 {"int64", DPPO_I64},   {"long", DPPO_I64},  {"bool", DPPO_BOOL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, name) == 0) return *dtype = names[i].dtype, DPPO_OK;
    return dppo_fail(DPPO_INVALID, "args/dtype: %s is none of float32, float64, int64, bool", name);
}

size_t dppo_call_sequence(dppo_call *call, const char *name, dppo_tensor **tensors, size_t capacity) {
    char item[256];
    size_t count = 0;
    while (count < capacity) {
        (void)snprintf(item, sizeof item, "%s/%zu", name, count);
        tensors[count] = dppo_call_input_or_null(call, item);
        if (!tensors[count]) break;
        count++;
    }
    return count;
}

/* Results are kept until the backward, where the cotangents look them up by name. */
static dppo_status remember_output(dppo_call *call, const char *name, dppo_tensor *tensor) {
    if (call->output_count == call->output_capacity) {
        size_t capacity = call->output_capacity ? 2 * call->output_capacity : 8;
        output *outputs = realloc(call->outputs, capacity * sizeof *outputs);
        if (!outputs) return dppo_fail(DPPO_NO_MEMORY, "out/%s: out of memory", name);
        call->outputs = outputs;
        call->output_capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) return dppo_fail(DPPO_NO_MEMORY, "out/%s: out of memory", name);
    call->outputs[call->output_count++] = (output){copy, tensor};
    return DPPO_OK;
}

dppo_status dppo_call_output(dppo_call *call, const char *name, dppo_tensor *tensor) {
    if (!tensor) {
        DPPO_TRY(dppo_context_status(call->context));
        return dppo_fail(DPPO_INVALID, "out/%s: the function gave no tensor and no message", name);
    }
    DPPO_TRY(dppo_named_put(&call->answer->out, name, tensor));
    return remember_output(call, name, tensor);
}

dppo_status dppo_call_output_f64(dppo_call *call, const char *name, double value) {
    return dppo_named_put_f64(&call->answer->out, name, value);
}

dppo_status dppo_call_output_i64(dppo_call *call, const char *name, int64_t value) {
    return dppo_named_put_i64(&call->answer->out, name, value);
}

dppo_status dppo_call_output_copy(dppo_call *call, const char *name, const dppo_tensor *tensor) {
    return dppo_named_put(&call->answer->out, name, tensor);
}

dppo_status dppo_call_module(dppo_call *call, dppo_module *module, bool after) {
    if (!module) return dppo_fail(DPPO_NO_MEMORY, "the module was not built");
    if (call->module) {
        dppo_module_free(module);
        return dppo_fail(DPPO_INVALID, "a call has one module under test");
    }
    call->module = module;
    call->report_state = after;
    /* Without recorded state the module keeps what its initialisers drew from the case's generator. */
    if (call->parity_case->state.count == 0) return DPPO_OK;
    dppo_status status = dppo_module_load_state_dict(module, "", &call->parity_case->state, true);
    return status == DPPO_OK ? DPPO_OK : dppo_fail_in(status, "state");
}

dppo_status dppo_call_report_state(dppo_call *call) {
    if (!call->module) return dppo_fail(DPPO_INVALID, "state_after: there is no module");
    call->report_state = true;
    return DPPO_OK;
}

/* Inputs become leaves: they want gradients when they are floating and the case has cotangents. */
static dppo_status make_leaves(dppo_call *call) {
    DPPO_TRY(dppo_named_merge(&call->leaves, "", &call->parity_case->in));
    call->used = calloc(call->leaves.count + 1, sizeof *call->used);
    if (!call->used) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < call->leaves.count; i++) {
        dppo_tensor *leaf = call->leaves.entries[i].tensor;
        bool floating = leaf->dtype == DPPO_F32 || leaf->dtype == DPPO_F64;
        leaf->requires_grad = floating && call->parity_case->cotangent.count > 0;
    }
    return DPPO_OK;
}

/* A case with recorded draws replays them; any other draws from a generator seeded with manual_seed, as torch
 * does after torch.manual_seed(). */
static dppo_status prepare(dppo_call *call) {
    const dppo_case *parity_case = call->parity_case;
    call->generator = dppo_generator_new((uint64_t)parity_case->manual_seed);
    if (!call->generator) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    if (parity_case->has_draws) DPPO_TRY(dppo_generator_replay(call->generator, &parity_case->draws));
    call->context = dppo_context_new(call->generator);
    if (!call->context) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    /* On as in torch: a call that trains runs its own backward, without any cotangents. */
    (void)dppo_set_grad_enabled(call->context, true);
    return make_leaves(call);
}

/* The outputs that have a cotangent, side by side with it; `outputs` and `cotangents` have room for all. */
static dppo_status pair_cotangents(dppo_call *call, dppo_tensor **outputs, dppo_tensor **cotangents,
                                   int *count) {
    const dppo_named *given = &call->parity_case->cotangent;
    *count = 0;
    for (size_t i = 0; i < given->count; i++) {
        dppo_tensor *result = NULL;
        for (size_t j = 0; j < call->output_count; j++)
            if (strcmp(call->outputs[j].name, given->entries[i].name) == 0) result = call->outputs[j].tensor;
        if (!result)
            return dppo_fail(DPPO_INVALID, "cotangent/%s: no differentiable result of that name",
                             given->entries[i].name);
        if (!dppo_same_shape(result, given->entries[i].tensor) ||
            result->dtype != given->entries[i].tensor->dtype)
            return dppo_fail(DPPO_INVALID, "cotangent/%s: not of the result's shape and type",
                             given->entries[i].name);
        if (!result->requires_grad) continue; /* depends on no leaf: contributes nothing */
        outputs[*count] = result;
        cotangents[(*count)++] = given->entries[i].tensor;
    }
    return DPPO_OK;
}

/* No gradient is no entry: a tensor the objective does not depend on differs from one whose gradient is zero.
 */
static dppo_status put_gradient(dppo_call *call, const char *group, const char *name,
                                const dppo_tensor *leaf) {
    char path[1024];
    if (!leaf->requires_grad || !leaf->grad) return DPPO_OK;
    (void)snprintf(path, sizeof path, "%s/%s", group, name);
    return dppo_named_put(&call->answer->grad, path, leaf->grad);
}

/* Distinct parameters under their first names, as named_parameters() lists them. */
static dppo_status report_parameter_gradients(dppo_call *call) {
    if (!call->module) return DPPO_OK;
    size_t count = dppo_module_parameters(call->module, NULL, NULL, 0);
    dppo_tensor **parameters = calloc(count + 1, sizeof(dppo_tensor *));
    char **names = calloc(count + 1, sizeof(char *));
    dppo_status status = DPPO_OK;
    if (!parameters || !names) {
        status = dppo_fail(DPPO_NO_MEMORY, "out of memory");
        count = 0;
    } else {
        (void)dppo_module_parameters(call->module, parameters, names, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (status == DPPO_OK) status = put_gradient(call, "state", names[i], parameters[i]);
        free(names[i]);
    }
    free(names);
    free(parameters);
    return status;
}

/* Objective: sum over results of result * cotangent. */
static dppo_status differentiate(dppo_call *call) {
    size_t room = call->parity_case->cotangent.count;
    if (room == 0) return DPPO_OK;
    dppo_tensor **outputs = calloc(2 * room, sizeof(dppo_tensor *));
    if (!outputs) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    int count;
    dppo_status status = pair_cotangents(call, outputs, outputs + room, &count);
    if (status == DPPO_OK && count > 0) status = dppo_backward(call->context, count, outputs, outputs + room);
    free(outputs);
    DPPO_TRY(status);
    for (size_t i = 0; i < call->leaves.count; i++)
        DPPO_TRY(put_gradient(call, "in", call->leaves.entries[i].name, call->leaves.entries[i].tensor));
    return report_parameter_gradients(call);
}

/* Arguments of the original's constructors that change nothing of what is computed, here or there. */
static bool neutral(const char *key) {
    return strcmp(key, "device") == 0 || strcmp(key, "obs_dim") == 0 || strcmp(key, "obs_shape") == 0;
}

static dppo_status all_read(const dppo_config *tree, const char *group) {
    const dppo_config *unread = dppo_config_unread(tree, neutral);
    if (!unread) return DPPO_OK;
    dppo_text path = {0};
    dppo_config_path(unread, &path);
    dppo_status status =
        dppo_fail(DPPO_INVALID, "%s/%s: the function does not use it", group, path.bytes ? path.bytes : "?");
    dppo_text_free(&path);
    return status;
}

void dppo_case_forget(const dppo_case *parity_case) {
    dppo_config_forget(parity_case->args);
    dppo_config_forget(parity_case->init);
}

/* The class of a method, or of a network's forward, may be named again in init. */
static dppo_status check_target(const dppo_case *parity_case) {
    const char *function = parity_case->function;
    const dppo_config *unread = dppo_config_unread(parity_case->init, neutral);
    if (!unread || unread != dppo_config_get(parity_case->init, "_target_")) return DPPO_OK;
    const char *target = dppo_config_target(parity_case->init);
    size_t length = strcspn(function, ".");
    if (target && strlen(target) == length && strncmp(target, function, length) == 0) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "init/_target_: %s, but the function is %s", target ? target : "no text",
                     function);
}

dppo_status dppo_case_all_read(const dppo_case *parity_case, bool method_used) {
    const char *method = parity_case->method, *dot = strrchr(parity_case->function, '.');
    if (method && !method_used && !(dot && strcmp(dot + 1, method) == 0))
        return dppo_fail(DPPO_INVALID, "method: %s is not one of %s", method, parity_case->function);
    DPPO_TRY(all_read(parity_case->args, "args"));
    DPPO_TRY(check_target(parity_case));
    return all_read(parity_case->init, "init");
}

/* A misspelt name must not silently change what is tested. */
static dppo_status all_used(const dppo_call *call) {
    DPPO_TRY(dppo_case_all_read(call->parity_case, call->method_used));
    for (size_t i = 0; i < call->leaves.count; i++)
        if (!call->used[i])
            return dppo_fail(DPPO_INVALID, "in/%s: the function does not use it",
                             call->leaves.entries[i].name);
    return DPPO_OK;
}

/* Forward, draws all used, backward, state afterwards. */
static dppo_status run(dppo_call *call, const dppo_entry *entry) {
    dppo_case_forget(call->parity_case);
    DPPO_TRY(prepare(call));
    DPPO_TRY(entry->call(call));
    DPPO_TRY(dppo_context_status(call->context));
    DPPO_TRY(all_used(call));
    if (call->parity_case->has_draws) DPPO_TRY(dppo_generator_end_replay(call->generator));
    DPPO_TRY(differentiate(call));
    if (!call->report_state) return DPPO_OK;
    return dppo_module_state_dict(call->module, "", &call->answer->state_after);
}

static const dppo_entry *find_entry(const char *function) {
    size_t count;
    const dppo_entry *entries = dppo_c_entries(&count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(entries[i].function, function) == 0) return &entries[i];
    return NULL;
}

/* Answers of the inner call go nowhere; its tensors live in the same context. */
dppo_status dppo_call_result_of(dppo_call *call, const char *function, dppo_tensor **result) {
    const dppo_entry *entry = find_entry(function);
    if (!entry) return dppo_fail(DPPO_MISSING, "no C entry for %s", function);
    dppo_answer inner = {0}, *outer = call->answer;
    size_t before = call->output_count;
    call->answer = &inner;
    dppo_status status = entry->call(call);
    call->answer = outer;
    dppo_answer_free(&inner);
    DPPO_TRY(status);
    if (call->output_count != before + 1) return dppo_fail(DPPO_INVALID, "%s: has not one result", function);
    output *last = &call->outputs[--call->output_count];
    *result = last->tensor;
    free(last->name);
    return DPPO_OK;
}

dppo_status dppo_c_call(const dppo_case *parity_case, dppo_answer *answer) {
    *answer = (dppo_answer){0};
    const dppo_entry *entry = find_entry(parity_case->function);
    if (!entry) return dppo_fail(DPPO_MISSING, "no C entry for %s", parity_case->function);
    dppo_call call = {.parity_case = parity_case, .answer = answer};
    dppo_status status = run(&call, entry);
    dppo_context_free(call.context); /* the tape refers to the module's parameters and to the leaves */
    if (call.module) dppo_module_free(call.module);
    dppo_generator_free(call.generator);
    dppo_named_free(&call.leaves);
    free(call.used);
    for (size_t i = 0; i < call.output_count; i++)
        free(call.outputs[i].name);
    free(call.outputs);
    return status;
}
