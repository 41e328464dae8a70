/* Modules: parameters and sub-modules under torch's state_dict names.
 *
 * A module's struct embeds dppo_module as its first member. Registration order is torch's, so that
 * state_dict(), named_parameters() and the optimizers see parameters in the same order; a module registered
 * under two names (network and actor of VPGDiffusion) appears twice in the state_dict and once among the
 * parameters, under its first name. */
#ifndef DPPO_NN_MODULE_H
#define DPPO_NN_MODULE_H

#include "autograd/autograd.h"
#include "tensor/named.h"

typedef struct dppo_module dppo_module;

typedef struct dppo_module_entry {
    char *name;
    dppo_tensor *parameter; /* parameter or buffer, owned; or NULL */
    dppo_module *child;     /* or a sub-module; owned unless `alias` */
    bool alias, buffer;
} dppo_module_entry;

struct dppo_module {
    const char *type; /* the class name in the original, e.g. "DiffusionMLP" */
    dppo_module_entry *entries;
    size_t count, capacity;
    void (*destroy)(
        dppo_module *self); /* frees what the registry does not own, may be NULL; then `self` is freed */
    bool training;
    bool draws; /* its forward draws from the context's generator */
};

/* A zeroed module of `size` bytes (a struct that begins with dppo_module), in training mode as torch's are;
 * freed by dppo_module_free(). NULL and a message when memory is exhausted. */
void *dppo_module_new(size_t size, const char *type);

/* Registers and returns a heap parameter (zeroed, requires_grad); NULL when memory is exhausted. */
dppo_tensor *dppo_module_parameter(dppo_module *module, const char *name, int ndim, const int64_t *shape);
dppo_tensor *dppo_module_buffer(dppo_module *module, const char *name, int ndim, const int64_t *shape);
/* Takes ownership, also when it fails. A NULL child passes on the message of the constructor that returned
 * it. */
dppo_status dppo_module_child(dppo_module *module, const char *name, dppo_module *child);
dppo_status dppo_module_alias(dppo_module *module, const char *name, dppo_module *child); /* does not */
void dppo_module_free(dppo_module *module);

/* Adds copies of all parameters and buffers, "prefix" + dotted name. */
dppo_status dppo_module_state_dict(const dppo_module *module, const char *prefix, dppo_named *into);
/* Copies values in. strict: every name of the module must be there (and every name under prefix must be the
 * module's), else DPPO_INVALID naming it; not strict: loads what matches. Shapes must always match. */
dppo_status dppo_module_load_state_dict(dppo_module *module, const char *prefix, const dppo_named *from,
                                        bool strict);

/* Distinct parameters in torch's order with their names (borrowed tensors, names written to names[i] if not
 * NULL, owned by the caller). Returns how many there are; writes at most `capacity`. */
size_t dppo_module_parameters(const dppo_module *module, dppo_tensor **parameters, char **names,
                              size_t capacity);
void dppo_module_requires_grad(dppo_module *module, bool requires_grad);
void dppo_module_zero_grad(dppo_module *module); /* sets grads to zero, keeps their memory */
void dppo_module_train(dppo_module *module, bool training);
/* Copies parameters and buffers from a module of the same structure. */
dppo_status dppo_module_copy(dppo_module *to, const dppo_module *from);

#endif
