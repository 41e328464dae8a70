#include "nn/module.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- registration
 * ----------------------------------------------------------------------------------------------- */

void *dppo_module_new(size_t size, const char *type) {
    dppo_module *module = calloc(1, size);
    if (!module) {
        dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", type);
        return NULL;
    }
    module->type = type;
    module->training = true;
    return module;
}

static dppo_module_entry *find(const dppo_module *module, const char *name) {
    for (size_t i = 0; i < module->count; i++)
        if (strcmp(module->entries[i].name, name) == 0) return &module->entries[i];
    return NULL;
}

/* Appends `entry` under a copy of `name`; its contents stay the caller's on failure. */
static dppo_status add(dppo_module *module, const char *name, dppo_module_entry entry) {
    if (find(module, name))
        return dppo_fail(DPPO_INVALID, "%s: '%s' is registered already", module->type, name);
    if (module->count == module->capacity) {
        size_t capacity = module->capacity ? 2 * module->capacity : 8;
        dppo_module_entry *entries = realloc(module->entries, capacity * sizeof *entries);
        if (!entries) return dppo_fail(DPPO_NO_MEMORY, "%s.%s: out of memory", module->type, name);
        module->entries = entries;
        module->capacity = capacity;
    }
    entry.name = strdup(name);
    if (!entry.name) return dppo_fail(DPPO_NO_MEMORY, "%s.%s: out of memory", module->type, name);
    module->entries[module->count++] = entry;
    return DPPO_OK;
}

static dppo_tensor *add_tensor(dppo_module *module, const char *name, int ndim, const int64_t *shape,
                               bool buffer) {
    dppo_tensor *tensor = dppo_tensor_heap(DPPO_F32, ndim, shape);
    if (!tensor) {
        dppo_fail(DPPO_NO_MEMORY, "%s.%s: out of memory", module->type, name);
        return NULL;
    }
    tensor->requires_grad = !buffer;
    if (add(module, name, (dppo_module_entry){.parameter = tensor, .buffer = buffer}) != DPPO_OK) {
        dppo_tensor_free(tensor);
        return NULL;
    }
    return tensor;
}

dppo_tensor *dppo_module_parameter(dppo_module *module, const char *name, int ndim, const int64_t *shape) {
    return add_tensor(module, name, ndim, shape, false);
}

dppo_tensor *dppo_module_buffer(dppo_module *module, const char *name, int ndim, const int64_t *shape) {
    return add_tensor(module, name, ndim, shape, true);
}

dppo_status dppo_module_child(dppo_module *module, const char *name, dppo_module *child) {
    if (!child) return dppo_fail_in(DPPO_INVALID, "%s.%s", module->type, name);
    dppo_status status = add(module, name, (dppo_module_entry){.child = child});
    if (status != DPPO_OK) dppo_module_free(child);
    return status;
}

dppo_status dppo_module_alias(dppo_module *module, const char *name, dppo_module *child) {
    return add(module, name, (dppo_module_entry){.child = child, .alias = true});
}

void dppo_module_free(dppo_module *module) {
    if (!module) return;
    if (module->destroy) module->destroy(module);
    for (size_t i = 0; i < module->count; i++) {
        dppo_module_entry *entry = &module->entries[i];
        dppo_tensor_free(entry->parameter);
        if (!entry->alias) dppo_module_free(entry->child);
        free(entry->name);
    }
    free(module->entries);
    free(module);
}

/* -- walking
 * ------------------------------------------------------------------------------------------------------ */

enum { MAX_NAME = 1024 };

typedef struct walk {
    char name[MAX_NAME]; /* prefix + dotted path of the tensor being visited */
    dppo_status (*visit)(struct walk *walk, dppo_tensor *tensor, bool buffer);
    void *context;
} walk;

static dppo_status step_into(walk *w, size_t length, const char *name, const char *end, size_t *longer) {
    int written = snprintf(w->name + length, MAX_NAME - length, "%s%s", name, end);
    if (written < 0 || (size_t)written >= MAX_NAME - length)
        return dppo_fail(DPPO_INVALID, "the name '%.60s...%s' is too long", w->name, name);
    *longer = length + (size_t)written;
    return DPPO_OK;
}

/* torch's state_dict order: a module's own parameters, then its buffers, then its children. */
static dppo_status visit_all(walk *w, size_t length, const dppo_module *module) {
    size_t longer = 0;
    for (int buffers = 0; buffers <= 1; buffers++)
        for (size_t i = 0; i < module->count; i++) {
            const dppo_module_entry *entry = &module->entries[i];
            if (!entry->parameter || entry->buffer != (buffers == 1)) continue;
            DPPO_TRY(step_into(w, length, entry->name, "", &longer));
            DPPO_TRY(w->visit(w, entry->parameter, entry->buffer));
        }
    for (size_t i = 0; i < module->count; i++) {
        const dppo_module_entry *entry = &module->entries[i];
        if (!entry->child) continue;
        DPPO_TRY(step_into(w, length, entry->name, ".", &longer));
        DPPO_TRY(visit_all(w, longer, entry->child));
    }
    return DPPO_OK;
}

static dppo_status start_walk(const dppo_module *module, const char *prefix,
                              dppo_status (*visit)(walk *, dppo_tensor *, bool), void *context) {
    walk w = {.visit = visit, .context = context};
    size_t length = 0;
    DPPO_TRY(step_into(&w, 0, prefix, "", &length));
    return visit_all(&w, length, module);
}

/* -- state_dict
 * --------------------------------------------------------------------------------------------------- */

static dppo_status put(walk *w, dppo_tensor *tensor, bool buffer) {
    (void)buffer;
    return dppo_named_put(w->context, w->name, tensor);
}

dppo_status dppo_module_state_dict(const dppo_module *module, const char *prefix, dppo_named *into) {
    return start_walk(module, prefix, put, into);
}

typedef struct loading {
    const dppo_named *from;
    bool strict, write; /* first everything is checked, then everything is written */
    bool *expected;     /* of each entry of `from`: the module has it; or NULL */
} loading;

static dppo_status load_one(walk *w, dppo_tensor *tensor, bool buffer) {
    (void)buffer;
    loading *job = w->context;
    dppo_tensor *value = NULL;
    for (size_t i = 0; i < job->from->count && !value; i++)
        if (strcmp(job->from->entries[i].name, w->name) == 0) {
            value = job->from->entries[i].tensor;
            if (job->expected) job->expected[i] = true;
        }
    if (!value && job->strict) return dppo_fail(DPPO_INVALID, "state_dict: '%s' is missing", w->name);
    if (!value) return DPPO_OK;
    if (job->write) return dppo_tensor_copy(tensor, value);
    if (!dppo_same_shape(value, tensor)) {
        char have[128], want[128];
        return dppo_fail(DPPO_INVALID, "state_dict: '%s' has shape %s, the module's is %s", w->name,
                         dppo_shape_text(value->ndim, value->shape, have, sizeof have),
                         dppo_shape_text(tensor->ndim, tensor->shape, want, sizeof want));
    }
    return DPPO_OK;
}

dppo_status dppo_module_load_state_dict(dppo_module *module, const char *prefix, const dppo_named *from,
                                        bool strict) {
    loading job = {.from = from, .strict = strict, .expected = calloc(from->count + 1, sizeof(bool))};
    if (!job.expected) return dppo_fail(DPPO_NO_MEMORY, "state_dict: out of memory");
    dppo_status status = start_walk(module, prefix, load_one, &job);
    for (size_t i = 0; strict && status == DPPO_OK && i < from->count; i++)
        if (!job.expected[i] && strncmp(from->entries[i].name, prefix, strlen(prefix)) == 0)
            status =
                dppo_fail(DPPO_INVALID, "state_dict: '%s' is not in %s", from->entries[i].name, module->type);
    free(job.expected);
    if (status != DPPO_OK) return status;
    job.write = true;
    job.expected = NULL;
    return start_walk(module, prefix, load_one, &job);
}

/* -- parameters
 * ------------------------------------------------------------------------------------------------------ */

typedef struct listing {
    dppo_tensor **parameters; /* distinct, `count` of them; grows */
    char **names;             /* owned copies */
    size_t count, capacity;
} listing;

static void free_listing(listing *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
    free(list->parameters);
}

static dppo_status list_one(walk *w, dppo_tensor *tensor, bool buffer) {
    listing *list = w->context;
    if (buffer) return DPPO_OK;
    for (size_t i = 0; i < list->count; i++)
        if (list->parameters[i] == tensor) return DPPO_OK;
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        dppo_tensor **parameters = realloc(list->parameters, list->capacity * sizeof *parameters);
        if (parameters) list->parameters = parameters;
        char **names = realloc(list->names, list->capacity * sizeof *names);
        if (names) list->names = names;
        if (!parameters || !names) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", w->name);
    }
    char *name = strdup(w->name);
    if (!name) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", w->name);
    list->parameters[list->count] = tensor;
    list->names[list->count++] = name;
    return DPPO_OK;
}

size_t dppo_module_parameters(const dppo_module *module, dppo_tensor **parameters, char **names,
                              size_t capacity) {
    listing list = {0};
    if (start_walk(module, "", list_one, &list) != DPPO_OK) {
        free_listing(&list);
        return 0;
    }
    size_t count = list.count;
    for (size_t i = 0; i < count && i < capacity; i++) {
        parameters[i] = list.parameters[i];
        if (!names) continue;
        names[i] = list.names[i];
        list.names[i] = NULL;
    }
    free_listing(&list);
    return count;
}

static dppo_status set_requires_grad(walk *w, dppo_tensor *tensor, bool buffer) {
    if (!buffer) tensor->requires_grad = *(const bool *)w->context;
    return DPPO_OK;
}

void dppo_module_requires_grad(dppo_module *module, bool requires_grad) {
    start_walk(module, "", set_requires_grad, &requires_grad);
}

static dppo_status zero_one(walk *w, dppo_tensor *tensor, bool buffer) {
    (void)w;
    if (!buffer && tensor->grad)
        memset(tensor->grad->data, 0, (size_t)dppo_numel(tensor) * dppo_dtype_size(tensor->grad->dtype));
    return DPPO_OK;
}

void dppo_module_zero_grad(dppo_module *module) {
    start_walk(module, "", zero_one, NULL);
}

void dppo_module_train(dppo_module *module, bool training) {
    module->training = training;
    for (size_t i = 0; i < module->count; i++)
        if (module->entries[i].child) dppo_module_train(module->entries[i].child, training);
}

/* -- copies
 * ------------------------------------------------------------------------------------------------------------
 */

/* Entry by entry down both trees; `write` false only checks that they are alike. */
static dppo_status copy_tree(dppo_module *to, const dppo_module *from, bool write) {
    if (to->count != from->count)
        return dppo_fail(DPPO_INVALID, "copy: %s has %zu entries, %s has %zu", to->type, to->count,
                         from->type, from->count);
    for (size_t i = 0; i < to->count; i++) {
        const dppo_module_entry *a = &to->entries[i], *b = &from->entries[i];
        bool alike = strcmp(a->name, b->name) == 0 && !a->parameter == !b->parameter &&
                     (!a->parameter || dppo_same_shape(a->parameter, b->parameter));
        if (!alike)
            return dppo_fail(DPPO_INVALID, "copy: %s.%s and %s.%s are not alike", to->type, a->name,
                             from->type, b->name);
        if (a->child) DPPO_TRY(copy_tree(a->child, b->child, write));
        if (a->parameter && write) DPPO_TRY(dppo_tensor_copy(a->parameter, b->parameter));
    }
    return DPPO_OK;
}

dppo_status dppo_module_copy(dppo_module *to, const dppo_module *from) {
    DPPO_TRY(copy_tree(to, from, false));
    return copy_tree(to, from, true);
}
