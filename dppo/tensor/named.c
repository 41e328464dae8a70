#include "tensor/named.h"

#include <stdlib.h>
#include <string.h>

static dppo_named_entry *find(const dppo_named *map, const char *name) {
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->entries[i].name, name) == 0) return &map->entries[i];
    return NULL;
}

static bool reserve_one(dppo_named *map) {
    if (map->count < map->capacity) return true;
    size_t capacity = map->capacity ? 2 * map->capacity : 16;
    dppo_named_entry *entries = realloc(map->entries, capacity * sizeof *entries);
    if (!entries) return false;
    map->entries = entries;
    map->capacity = capacity;
    return true;
}

dppo_tensor *dppo_named_add(dppo_named *map, const char *name, dppo_dtype dtype, int ndim,
                            const int64_t *shape) {
    if (find(map, name) || !reserve_one(map)) return NULL;
    char *copy = strdup(name);
    dppo_tensor *tensor = dppo_tensor_heap(dtype, ndim, shape);
    if (!copy || !tensor) {
        free(copy);
        dppo_tensor_free(tensor);
        return NULL;
    }
    map->entries[map->count++] = (dppo_named_entry){copy, tensor, NULL};
    return tensor;
}

dppo_status dppo_named_put(dppo_named *map, const char *name, const dppo_tensor *tensor) {
    dppo_named_entry *entry = find(map, name);
    if (entry) {
        dppo_tensor *copy = dppo_tensor_heap(tensor->dtype, tensor->ndim, tensor->shape);
        if (!copy) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", name);
        dppo_tensor_pack(tensor, copy->data);
        dppo_tensor_free(entry->tensor);
        entry->tensor = copy;
        return DPPO_OK;
    }
    dppo_tensor *copy = dppo_named_add(map, name, tensor->dtype, tensor->ndim, tensor->shape);
    if (!copy) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", name);
    dppo_tensor_pack(tensor, copy->data);
    return DPPO_OK;
}

dppo_status dppo_named_put_f64(dppo_named *map, const char *name, double value) {
    dppo_tensor scalar = {.dtype = DPPO_F64, .data = &value};
    return dppo_named_put(map, name, &scalar);
}

dppo_status dppo_named_put_i64(dppo_named *map, const char *name, int64_t value) {
    dppo_tensor scalar = {.dtype = DPPO_I64, .data = &value};
    return dppo_named_put(map, name, &scalar);
}

dppo_tensor *dppo_named_get(const dppo_named *map, const char *name) {
    dppo_named_entry *entry = find(map, name);
    return entry ? entry->tensor : NULL;
}

dppo_status dppo_named_require(const dppo_named *map, const char *name, dppo_dtype dtype,
                               dppo_tensor **tensor) {
    *tensor = dppo_named_get(map, name);
    if (!*tensor) return dppo_fail(DPPO_INVALID, "%s: missing", name);
    if ((*tensor)->dtype != dtype)
        return dppo_fail(DPPO_INVALID, "%s: is %s, not %s", name, dppo_dtype_name((*tensor)->dtype),
                         dppo_dtype_name(dtype));
    return DPPO_OK;
}

dppo_status dppo_named_merge(dppo_named *map, const char *prefix, const dppo_named *from) {
    size_t prefix_length = strlen(prefix);
    for (size_t i = 0; i < from->count; i++) {
        size_t length = strlen(from->entries[i].name);
        char *name = malloc(prefix_length + length + 1);
        if (!name) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", from->entries[i].name);
        memcpy(name, prefix, prefix_length);
        memcpy(name + prefix_length, from->entries[i].name, length + 1);
        dppo_status status = dppo_named_put(map, name, from->entries[i].tensor);
        free(name);
        if (status != DPPO_OK) return status;
    }
    return DPPO_OK;
}

dppo_status dppo_named_extract(dppo_named *map, const char *prefix, const dppo_named *from) {
    size_t length = strlen(prefix);
    for (size_t i = 0; i < from->count; i++)
        if (strncmp(from->entries[i].name, prefix, length) == 0)
            DPPO_TRY(dppo_named_put(map, from->entries[i].name + length, from->entries[i].tensor));
    return DPPO_OK;
}

void dppo_named_free(dppo_named *map) {
    for (size_t i = 0; i < map->count; i++) {
        free(map->entries[i].name);
        free(map->entries[i].kind);
        dppo_tensor_free(map->entries[i].tensor);
    }
    free(map->entries);
    *map = (dppo_named){0};
}
