#include "parity/generate.h"

#include "models/build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- lists
 * ---------------------------------------------------------------------------------------------------------
 */

static dppo_status collect(const dppo_config *functions, dppo_case_list *list) {
    size_t total = 0;
    for (size_t i = 0; i < dppo_config_count(functions); i++)
        total += dppo_config_count(dppo_config_item(functions, i));
    dppo_case_spec *specs = calloc(total + 1, sizeof *specs);
    if (!specs) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", list->path);
    list->specs = specs;
    for (size_t i = 0; i < dppo_config_count(functions); i++) {
        const dppo_config *cases = dppo_config_item(functions, i);
        for (size_t j = 0; j < dppo_config_count(cases); j++)
            specs[list->count++] = (dppo_case_spec){dppo_config_key(functions, i), dppo_config_key(cases, j),
                                                    dppo_config_item(cases, j)};
    }
    return DPPO_OK;
}

dppo_status dppo_case_list_load(const char *path, dppo_case_list *list) {
    static const char *const keys[] = {"seed", "cases", NULL};
    *list = (dppo_case_list){.path = strdup(path)};
    if (!list->path) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    DPPO_TRY(dppo_config_load(path, &list->tree));
    DPPO_TRY(dppo_config_allow(list->tree, path, keys));
    DPPO_TRY(dppo_config_int(list->tree, "seed", &list->seed));
    return collect(dppo_config_get(list->tree, "cases"), list);
}

void dppo_case_list_free(dppo_case_list *list) {
    dppo_config_free(list->tree);
    free(list->path);
    free((void *)(uintptr_t)list->specs);
    *list = (dppo_case_list){0};
}

/* -- tensors
 * -------------------------------------------------------------------------------------------------------- */

typedef struct recipe {
    const char *kind;
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    const dppo_config *node;
    dppo_generator *generator;
} recipe;

static dppo_status parameter(const recipe *r, const char *index, double fallback, double *value) {
    return dppo_config_float_or(r->node, index, fallback, value);
}

/* scale * z + shift in float64, rounded once. */
static dppo_status draw_randn(const recipe *r, dppo_tensor *out) {
    double scale, shift;
    DPPO_TRY(parameter(r, "2", 1, &scale));
    DPPO_TRY(parameter(r, "3", 0, &shift));
    DPPO_TRY(dppo_draw_randn(r->generator, out));
    for (int64_t i = 0, count = dppo_numel(out); i < count; i++)
        dppo_f32(out)[i] = (float)((double)dppo_f32(out)[i] * scale + shift);
    return DPPO_OK;
}

static dppo_status draw_uniform(const recipe *r, dppo_tensor *out) {
    double low, high;
    DPPO_TRY(parameter(r, "2", 0, &low));
    DPPO_TRY(parameter(r, "3", 1, &high));
    return dppo_draw_uniform(r->generator, out, low, high);
}

static dppo_status draw_randint(const recipe *r, dppo_tensor *out) {
    int64_t low, high;
    DPPO_TRY(dppo_config_int(r->node, "2", &low));
    DPPO_TRY(dppo_config_int(r->node, "3", &high));
    return dppo_draw_randint(r->generator, out, low, high);
}

static dppo_status draw_randperm(const recipe *r, dppo_tensor *out) {
    return dppo_draw_randperm(r->generator, out);
}

static dppo_status draw_bool(const recipe *r, dppo_tensor *out) {
    double share;
    DPPO_TRY(parameter(r, "2", 0.5, &share));
    for (int64_t i = 0, count = dppo_numel(out); i < count; i++)
        dppo_bool(out)[i] = dppo_random_double(r->generator) < share;
    return DPPO_OK;
}

/* The listed values over and over until the shape is full. */
static dppo_status list_values(const recipe *r, dppo_tensor *out) {
    const dppo_config *values = dppo_config_item(r->node, 2);
    size_t given = dppo_config_count(values);
    if (given == 0) return dppo_fail(DPPO_INVALID, "%s needs a list of values", r->kind);
    for (int64_t i = 0, count = dppo_numel(out); i < count; i++) {
        const dppo_config *item = dppo_config_item(values, (size_t)i % given);
        double value = 0;
        int64_t whole = 0;
        if (out->dtype == DPPO_I64)
            DPPO_TRY(dppo_config_int(item, NULL, &whole));
        else
            DPPO_TRY(dppo_config_float(item, NULL, &value));
        if (out->dtype == DPPO_I64) dppo_i64(out)[i] = whole;
        if (out->dtype == DPPO_F32) dppo_f32(out)[i] = (float)value;
        if (out->dtype == DPPO_F64) dppo_f64(out)[i] = value;
        if (out->dtype == DPPO_BOOL) dppo_bool(out)[i] = value != 0;
    }
    return DPPO_OK;
}

static const struct {
    const char *kind;
    dppo_dtype drawn, stored;
    dppo_status (*fill)(const recipe *r, dppo_tensor *out);
} kinds[] = {
    {"randn", DPPO_F32, DPPO_F32, draw_randn},         {"uniform", DPPO_F32, DPPO_F32, draw_uniform},
    {"float64 randn", DPPO_F32, DPPO_F64, draw_randn}, {"float64 uniform", DPPO_F32, DPPO_F64, draw_uniform},
    {"randint", DPPO_I64, DPPO_I64, draw_randint},     {"randperm", DPPO_I64, DPPO_I64, draw_randperm},
    {"bool", DPPO_BOOL, DPPO_BOOL, draw_bool},         {"float32", DPPO_F32, DPPO_F32, list_values},
    {"float64", DPPO_F64, DPPO_F64, list_values},      {"int64", DPPO_I64, DPPO_I64, list_values},
    {"mask", DPPO_BOOL, DPPO_BOOL, list_values},
};

static dppo_status make_tensor(const recipe *r, const char *name, dppo_named *into) {
    size_t k = 0, count = sizeof kinds / sizeof kinds[0];
    while (k < count && strcmp(kinds[k].kind, r->kind) != 0)
        k++;
    if (k == count) return dppo_fail(DPPO_INVALID, "unknown kind of tensor %s", r->kind);
    dppo_tensor *drawn = dppo_tensor_heap(kinds[k].drawn, r->ndim, r->shape);
    dppo_tensor *stored = dppo_named_add(into, name, kinds[k].stored, r->ndim, r->shape);
    dppo_status status = drawn && stored ? kinds[k].fill(r, drawn) : dppo_fail(DPPO_NO_MEMORY, "bad shape");
    if (status == DPPO_OK) status = dppo_tensor_copy(stored, drawn);
    dppo_tensor_free(drawn);
    return status;
}

/* Tensors of a map, nested maps with '/' between the names. */
static dppo_status make_tensors(const dppo_config *map, const char *prefix, dppo_generator *generator,
                                dppo_named *into) {
    for (size_t i = 0; i < dppo_config_count(map); i++) {
        char name[512];
        size_t ndim;
        recipe r = {.node = dppo_config_item(map, i), .generator = generator};
        (void)snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "/" : "", dppo_config_key(map, i));
        if (dppo_config_type_of(r.node) == DPPO_CONFIG_MAP) {
            DPPO_TRY(make_tensors(r.node, name, generator, into));
            continue;
        }
        dppo_status status = dppo_config_string(r.node, "0", &r.kind);
        if (status == DPPO_OK) status = dppo_config_ints(r.node, "1", r.shape, DPPO_MAX_DIMS, &ndim);
        if (status == DPPO_OK) r.ndim = (int)ndim;
        if (status == DPPO_OK) status = make_tensor(&r, name, into);
        if (status != DPPO_OK) return dppo_fail_in(status, "%s", name);
    }
    return DPPO_OK;
}

/* -- draws
 * ----------------------------------------------------------------------------------------------------------
 */

/* How a recorded draw is made for each kind that a case may list. */
static const struct {
    const char *draw, *tensor;
} draw_kinds[] = {
    {"randn", "randn"},       {"rand", "uniform"},        {"randint", "randint"},
    {"randperm", "randperm"}, {"multinomial", "randint"}, {"np.uniform", "float64 uniform"},
};

static dppo_status make_draw(recipe *r, const char *name, dppo_named *into) {
    size_t ndim, k = 0, count = sizeof draw_kinds / sizeof draw_kinds[0];
    const char *kind;
    DPPO_TRY(dppo_config_string(r->node, "0", &kind));
    DPPO_TRY(dppo_config_ints(r->node, "1", r->shape, DPPO_MAX_DIMS, &ndim));
    while (k < count && strcmp(draw_kinds[k].draw, kind) != 0)
        k++;
    if (k == count) return dppo_fail(DPPO_INVALID, "unknown kind of draw %s", kind);
    r->kind = draw_kinds[k].tensor;
    r->ndim = (int)ndim;
    DPPO_TRY(make_tensor(r, name, into));
    char **kept = &into->entries[into->count - 1].kind;
    *kept = strdup(kind);
    return *kept ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "out of memory");
}

/* A list in the order of the call. */
static dppo_status make_draws(const dppo_config *list, dppo_generator *generator, dppo_case *parity_case) {
    parity_case->has_draws = list != NULL;
    for (size_t i = 0; i < dppo_config_count(list); i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%zu", i);
        recipe r = {.node = dppo_config_item(list, i), .generator = generator};
        dppo_status status = make_draw(&r, name, &parity_case->draws);
        if (status != DPPO_OK) return dppo_fail_in(status, "draws/%s", name);
    }
    return DPPO_OK;
}

/* -- questions
 * ------------------------------------------------------------------------------------------------------ */

/* FNV-1a of the title, with the file's seed: 31 bits, so that torch.manual_seed takes it everywhere. */
static int64_t case_seed(int64_t seed, const char *function, const char *name) {
    uint64_t hash = 14695981039346656037ULL ^ (uint64_t)seed;
    const char *parts[] = {function, "/", name};
    for (int p = 0; p < 3; p++)
        for (const char *c = parts[p]; *c; c++)
            hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    return (int64_t)((hash ^ (hash >> 32)) & 0x7fffffff);
}

/* Adds normal noise of 0.1 to every parameter but scalars, which are bounds. */
static dppo_status perturb(dppo_module *module, dppo_generator *generator) {
    size_t count = dppo_module_parameters(module, NULL, NULL, 0);
    dppo_tensor **parameters = calloc(count + 1, sizeof *parameters);
    if (!parameters) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    (void)dppo_module_parameters(module, parameters, NULL, count);
    dppo_status status = DPPO_OK;
    for (size_t p = 0; status == DPPO_OK && p < count; p++) {
        if (parameters[p]->ndim == 0) continue;
        dppo_tensor *noise = dppo_tensor_heap(DPPO_F32, parameters[p]->ndim, parameters[p]->shape);
        status = noise ? dppo_draw_randn(generator, noise) : dppo_fail(DPPO_NO_MEMORY, "out of memory");
        for (int64_t i = 0, n = dppo_numel(parameters[p]); status == DPPO_OK && i < n; i++)
            dppo_f32(parameters[p])[i] += 0.1F * dppo_f32(noise)[i];
        dppo_tensor_free(noise);
    }
    free((void *)parameters);
    return status;
}

/* What the constructor leaves in a new module: weights in the order and the distributions of torch's; when
 * `perturbed`, no longer the same in a network and its copies (targets, ensembles). */
static dppo_status build_state(const dppo_case *parity_case, bool perturbed, dppo_generator *generator,
                               dppo_named *state) {
    dppo_module *module = NULL;
    if (!parity_case->init) return dppo_fail(DPPO_INVALID, "state: built needs an init");
    dppo_status status = dppo_build_module(parity_case->init, generator, &module);
    if (status == DPPO_OK && perturbed) status = perturb(module, generator);
    if (status == DPPO_OK) status = dppo_module_state_dict(module, "", state);
    if (module) dppo_module_free(module);
    return status;
}

static dppo_status copy_tree(const dppo_config *node, const char *key, dppo_config **copy) {
    const dppo_config *child = dppo_config_get(node, key);
    if (!child) return DPPO_OK;
    *copy = dppo_config_copy(child);
    return *copy ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", key);
}

static dppo_status copy_text(const dppo_config *node, const char *key, char **copy) {
    const char *value;
    DPPO_TRY(dppo_config_string_or(node, key, NULL, &value));
    if (!value) return DPPO_OK;
    *copy = strdup(value);
    return *copy ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", key);
}

static dppo_status fill_state(const dppo_config *state, dppo_generator *generator, dppo_case *parity_case) {
    if (dppo_config_type_of(state) != DPPO_CONFIG_STRING)
        return make_tensors(state, "", generator, &parity_case->state);
    const char *how;
    DPPO_TRY(dppo_config_string(state, NULL, &how));
    bool perturbed = strcmp(how, "perturbed") == 0;
    if (!perturbed && strcmp(how, "built") != 0)
        return dppo_fail(DPPO_INVALID, "state: built, perturbed or a map of tensors, not %s", how);
    return build_state(parity_case, perturbed, generator, &parity_case->state);
}

/* Inputs are drawn before the state, the state before draws, all from the case's one generator: the order is
 * part of the format. */
static dppo_status fill_case(const dppo_config *node, dppo_generator *generator, dppo_case *parity_case) {
    DPPO_TRY(copy_tree(node, "init", &parity_case->init));
    DPPO_TRY(copy_tree(node, "args", &parity_case->args));
    DPPO_TRY(copy_text(node, "method", &parity_case->method));
    DPPO_TRY(copy_text(node, "reason", &parity_case->reason));
    parity_case->has_rtol = dppo_config_get(node, "rtol") != NULL;
    parity_case->has_atol = dppo_config_get(node, "atol") != NULL;
    DPPO_TRY(dppo_config_float_or(node, "rtol", 0, &parity_case->rtol));
    DPPO_TRY(dppo_config_float_or(node, "atol", 0, &parity_case->atol));
    DPPO_TRY(make_tensors(dppo_config_get(node, "in"), "", generator, &parity_case->in));
    DPPO_TRY(fill_state(dppo_config_get(node, "state"), generator, parity_case));
    return make_draws(dppo_config_get(node, "draws"), generator, parity_case);
}

dppo_status dppo_generate_case(const dppo_case_list *list, size_t index, dppo_case *parity_case) {
    static const char *const keys[] = {"init", "method", "args",   "in",   "state", "draws",
                                       "rtol", "atol",   "reason", "grad", NULL};
    const dppo_case_spec *spec = &list->specs[index];
    *parity_case = (dppo_case){.has_seed = true};
    parity_case->manual_seed = case_seed(list->seed, spec->function, spec->name);
    parity_case->file = strdup(list->path);
    parity_case->function = strdup(spec->function);
    parity_case->name = strdup(spec->name);
    dppo_generator *generator = dppo_generator_new((uint64_t)parity_case->manual_seed);
    dppo_status status = DPPO_OK;
    if (!parity_case->file || !parity_case->function || !parity_case->name || !generator)
        status = dppo_fail(DPPO_NO_MEMORY, "out of memory");
    if (status == DPPO_OK) status = dppo_config_allow(spec->node, spec->name, keys);
    if (status == DPPO_OK) status = fill_case(spec->node, generator, parity_case);
    dppo_generator_free(generator);
    if (status == DPPO_OK) return DPPO_OK;
    return dppo_fail_in(status, "%s: %s/%s", list->path, spec->function, spec->name);
}

dppo_status dppo_case_wants_grad(const dppo_case_list *list, size_t index, bool *wanted) {
    return dppo_config_bool_or(list->specs[index].node, "grad", true, wanted);
}

/* -- answers
 * -------------------------------------------------------------------------------------------------------- */

/* Without one nothing can have a gradient, and cotangents would only be refused. */
static bool has_floating_leaf(const dppo_case *parity_case) {
    const dppo_named *maps[] = {&parity_case->in, &parity_case->state};
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < maps[m]->count; i++)
            if (maps[m]->entries[i].tensor->dtype == DPPO_F32) return true;
    return false;
}

/* Random, so that no direction of the gradient is hidden (the sum of a softmax has none). */
static dppo_status draw_cotangents(const dppo_named *out, dppo_case *parity_case) {
    dppo_generator *generator = dppo_generator_new((uint64_t)parity_case->manual_seed + 1);
    if (!generator) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    dppo_status status = DPPO_OK;
    for (size_t i = 0; status == DPPO_OK && i < out->count; i++) {
        const dppo_tensor *result = out->entries[i].tensor;
        if (result->dtype != DPPO_F32) continue;
        dppo_tensor *cotangent = dppo_named_add(&parity_case->cotangent, out->entries[i].name, DPPO_F32,
                                                result->ndim, result->shape);
        status =
            cotangent ? dppo_draw_randn(generator, cotangent) : dppo_fail(DPPO_NO_MEMORY, "out of memory");
    }
    dppo_generator_free(generator);
    return status;
}

dppo_status dppo_record_case(const dppo_parity_side *side, bool gradients, dppo_case *parity_case) {
    dppo_answer answer = {0};
    dppo_status status = side->call(parity_case, &answer);
    bool again = gradients && parity_case->cotangent.count == 0 && has_floating_leaf(parity_case);
    if (status == DPPO_OK && again) status = draw_cotangents(&answer.out, parity_case);
    if (status == DPPO_OK && again && parity_case->cotangent.count > 0) {
        dppo_answer_free(&answer);
        answer = (dppo_answer){0};
        status = side->call(parity_case, &answer);
    }
    if (status != DPPO_OK) {
        dppo_answer_free(&answer);
        return dppo_fail_in(status, "%s/%s: %s", parity_case->function, parity_case->name, side->name);
    }
    dppo_named_free(&parity_case->out);
    dppo_named_free(&parity_case->grad);
    dppo_named_free(&parity_case->state_after);
    parity_case->out = answer.out;
    parity_case->grad = answer.grad;
    parity_case->state_after = answer.state_after;
    return DPPO_OK;
}
