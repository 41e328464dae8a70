#include "config/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_KEY = 128 }; /* YAML readers look for the colon within 1024 bytes, escapes included */

static dppo_status out_of_memory(void) {
    return dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration");
}

dppo_config *dppo_config_new(dppo_config_type type, int line) {
    dppo_config *node = calloc(1, sizeof *node);
    if (!node) return NULL;
    node->type = type;
    node->line = line;
    return node;
}

dppo_config *dppo_config_new_map(void) {
    return dppo_config_new(DPPO_CONFIG_MAP, 0);
}

dppo_config *dppo_config_new_string(const char *bytes, size_t length, int line) {
    dppo_config *node = dppo_config_new(DPPO_CONFIG_STRING, line);
    if (!node) return NULL;
    node->string = malloc(length + 1);
    if (!node->string) {
        free(node);
        return NULL;
    }
    if (length > 0) memcpy(node->string, bytes, length);
    node->string[length] = '\0';
    return node;
}

static void free_contents(dppo_config *node) {
    for (size_t i = 0; i < node->count; i++) {
        dppo_config_free(node->items[i]);
        if (node->keys) free(node->keys[i]);
    }
    free(node->items);
    free(node->keys);
    free(node->string);
}

void dppo_config_free(dppo_config *root) {
    if (!root) return;
    free_contents(root);
    free(root->source);
    free(root);
}

/* The shell stays where it is, because its parent, its source line and references being resolved belong to
 * the place. */
void dppo_config_become(dppo_config *node, dppo_config *from) {
    dppo_config old = *node;
    free_contents(&old);
    *node = *from;
    node->line = old.line;
    node->parent = old.parent;
    node->source = old.source;
    for (size_t i = 0; i < node->count; i++)
        node->items[i]->parent = node;
    free(from->source);
    free(from);
}

/* Room for one more child; maps keep keys and items in arrays of one length. */
static bool grow(dppo_config *container) {
    if (container->count < container->capacity) return true;
    size_t capacity = container->capacity ? 2 * container->capacity : 8;
    dppo_config **items = realloc(container->items, capacity * sizeof *items);
    if (!items) return false;
    container->items = items;
    if (container->type == DPPO_CONFIG_MAP) {
        char **keys = realloc(container->keys, capacity * sizeof *keys);
        if (!keys) return false;
        container->keys = keys;
    }
    container->capacity = capacity;
    return true;
}

dppo_status dppo_config_append(dppo_config *container, const char *key, dppo_config *item) {
    char *name = NULL;
    bool map = container->type == DPPO_CONFIG_MAP;
    if (map && strlen(key) > LONGEST_KEY) {
        dppo_config_free(item);
        return dppo_fail(DPPO_INVALID, "the key '%.40s...' is longer than %d bytes", key, LONGEST_KEY);
    }
    if (!item || !grow(container) || (map && !(name = strdup(key)))) {
        dppo_config_free(item);
        return out_of_memory();
    }
    if (map) container->keys[container->count] = name;
    item->parent = container;
    container->items[container->count++] = item;
    return DPPO_OK;
}

static bool copy_children(dppo_config *copy, const dppo_config *node) {
    for (size_t i = 0; i < node->count; i++) {
        const char *key = node->keys ? node->keys[i] : NULL;
        if (dppo_config_append(copy, key, dppo_config_copy(node->items[i])) != DPPO_OK) return false;
    }
    return true;
}

dppo_config *dppo_config_copy(const dppo_config *node) {
    dppo_config *copy = dppo_config_new(node->type, node->line);
    if (!copy) return NULL;
    copy->state = node->state;
    copy->boolean = node->boolean;
    copy->integer = node->integer;
    copy->number = node->number;
    bool fine = (!node->string || (copy->string = strdup(node->string))) &&
                (!node->source || (copy->source = strdup(node->source))) && copy_children(copy, node);
    if (fine) return copy;
    dppo_config_free(copy);
    return NULL;
}

size_t dppo_config_size(const dppo_config *node) {
    size_t size = 1;
    for (size_t i = 0; i < node->count; i++)
        size += dppo_config_size(node->items[i]);
    return size;
}

/* -- paths -- */
void dppo_config_path(const dppo_config *node, dppo_text *text) {
    const dppo_config *parent = node->parent;
    if (!parent) {
        dppo_text_add(text, "(root)");
        return;
    }
    if (parent->parent) {
        dppo_config_path(parent, text);
        dppo_text_add(text, ".");
    }
    for (size_t i = 0; i < parent->count; i++) {
        if (parent->items[i] != node) continue;
        if (parent->keys)
            dppo_text_add(text, parent->keys[i]);
        else
            dppo_text_format(text, "%zu", i);
    }
}

dppo_status dppo_config_fail(const dppo_config *node, const char *format, ...) {
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    const dppo_config *root = node;
    while (root->parent)
        root = root->parent;
    dppo_text path = {0};
    dppo_config_path(node, &path);
    const char *where = path.bytes ? path.bytes : "?", *source = root->source ? root->source : "config";
    dppo_status status = node->line > 0
                             ? dppo_fail(DPPO_INVALID, "%s:%d: %s: %s", source, node->line, where, message)
                             : dppo_fail(DPPO_INVALID, "%s: %s: %s", source, where, message);
    dppo_text_free(&path);
    return status;
}

/* Lists are addressed by numbers: "mlp_dims.0". */
dppo_config *dppo_config_child(const dppo_config *map, const char *key, size_t length) {
    if (map->type == DPPO_CONFIG_LIST) {
        size_t index = 0;
        if (length == 0 || length > 9) return NULL;
        for (size_t i = 0; i < length; i++) {
            if (key[i] < '0' || key[i] > '9') return NULL;
            index = 10 * index + (size_t)(key[i] - '0');
        }
        return index < map->count ? map->items[index] : NULL;
    }
    if (map->type != DPPO_CONFIG_MAP) return NULL;
    for (size_t i = 0; i < map->count; i++)
        if (strncmp(map->keys[i], key, length) == 0 && map->keys[i][length] == '\0') return map->items[i];
    return NULL;
}

const dppo_config *dppo_config_get(const dppo_config *node, const char *path) {
    while (node && path && *path) {
        size_t length = strcspn(path, ".");
        dppo_config *child = dppo_config_child(node, path, length);
        if (child) child->read = true;
        node = child;
        path += length;
        if (*path == '.') path++;
    }
    return node;
}

dppo_status dppo_config_make(dppo_config *root, const char *path, dppo_config **node) {
    const char *part = path;
    dppo_config *at = root;
    for (int depth = 0;; depth++) {
        size_t length = strcspn(part, ".");
        if (length == 0 || depth == DPPO_CONFIG_DEPTH)
            return dppo_fail(DPPO_INVALID, "'%s': not a key", path);
        if (at->type == DPPO_CONFIG_NULL) at->type = DPPO_CONFIG_MAP;
        dppo_config *next = dppo_config_child(at, part, length);
        if (!next) {
            if (at->type != DPPO_CONFIG_MAP)
                return dppo_fail(DPPO_INVALID, "%s: '%.*s' is not in a map", path, (int)length, part);
            char *key = strndup(part, length);
            if (!key) return out_of_memory();
            dppo_status status = dppo_config_append(at, key, dppo_config_new(DPPO_CONFIG_NULL, 0));
            free(key);
            DPPO_TRY(status);
            next = at->items[at->count - 1];
        }
        at = next;
        part += length;
        if (*part == '\0') break;
        part++;
    }
    *node = at;
    return DPPO_OK;
}

/* -- reading -- */
dppo_config_type dppo_config_type_of(const dppo_config *node) {
    return node ? node->type : DPPO_CONFIG_NULL;
}

size_t dppo_config_count(const dppo_config *node) {
    return node ? node->count : 0;
}

const dppo_config *dppo_config_item(const dppo_config *node, size_t index) {
    if (!node || index >= node->count) return NULL;
    node->items[index]->read = true;
    return node->items[index];
}

void dppo_config_forget(const dppo_config *root) {
    for (size_t i = 0; i < dppo_config_count(root); i++) {
        root->items[i]->read = false;
        dppo_config_forget(root->items[i]);
    }
}

const dppo_config *dppo_config_unread(const dppo_config *root, dppo_config_exempt *exempt) {
    for (size_t i = 0; i < dppo_config_count(root); i++) {
        const dppo_config *item = root->items[i], *inside = NULL;
        bool leaf = item->type != DPPO_CONFIG_LIST && item->type != DPPO_CONFIG_MAP;
        bool excused = item->type == DPPO_CONFIG_NULL || (leaf && root->type == DPPO_CONFIG_LIST) ||
                       (root->keys && exempt && exempt(root->keys[i]));
        if (excused) continue;
        if (!item->read) return item;
        if (!leaf && (inside = dppo_config_unread(item, exempt)) != NULL) return inside;
    }
    return NULL;
}

const char *dppo_config_key(const dppo_config *map, size_t index) {
    return map && map->keys && index < map->count ? map->keys[index] : NULL;
}

static const char *type_name(dppo_config_type type) {
    static const char *const names[] = {"null", "a bool", "an int", "a float", "a string", "a list", "a map"};
    return names[type];
}

/* The child at `path`, which must be of `type` (an int passes for a float). */
static dppo_status typed(const dppo_config *node, const char *path, dppo_config_type type,
                         const dppo_config **child) {
    *child = dppo_config_get(node, path);
    if (*child && (*child)->type == type) return DPPO_OK;
    if (*child && type == DPPO_CONFIG_FLOAT && (*child)->type == DPPO_CONFIG_INT) return DPPO_OK;
    const char *wanted = type_name(type);
    if (!*child && !node) return dppo_fail(DPPO_INVALID, "%s: missing (%s)", path ? path : "(root)", wanted);
    if (!*child) return dppo_config_fail(node, "'%s' is missing (%s)", path, wanted);
    dppo_text value = {0};
    dppo_config_write_json(*child, &value);
    dppo_status status =
        dppo_config_fail(*child, "must be %s, is %.300s", wanted, value.bytes ? value.bytes : "another");
    dppo_text_free(&value);
    return status;
}

static bool absent(const dppo_config *node, const char *path) {
    return dppo_config_type_of(dppo_config_get(node, path)) == DPPO_CONFIG_NULL;
}

dppo_status dppo_config_int(const dppo_config *node, const char *path, int64_t *value) {
    const dppo_config *child;
    DPPO_TRY(typed(node, path, DPPO_CONFIG_INT, &child));
    *value = child->integer;
    return DPPO_OK;
}

dppo_status dppo_config_float(const dppo_config *node, const char *path, double *value) {
    const dppo_config *child;
    DPPO_TRY(typed(node, path, DPPO_CONFIG_FLOAT, &child));
    *value = child->type == DPPO_CONFIG_INT ? (double)child->integer : child->number;
    return DPPO_OK;
}

dppo_status dppo_config_bool(const dppo_config *node, const char *path, bool *value) {
    const dppo_config *child;
    DPPO_TRY(typed(node, path, DPPO_CONFIG_BOOL, &child));
    *value = child->boolean;
    return DPPO_OK;
}

dppo_status dppo_config_string(const dppo_config *node, const char *path, const char **value) {
    const dppo_config *child;
    DPPO_TRY(typed(node, path, DPPO_CONFIG_STRING, &child));
    *value = child->string;
    return DPPO_OK;
}

dppo_status dppo_config_int_or(const dppo_config *node, const char *path, int64_t fallback, int64_t *value) {
    *value = fallback;
    return absent(node, path) ? DPPO_OK : dppo_config_int(node, path, value);
}

dppo_status dppo_config_float_or(const dppo_config *node, const char *path, double fallback, double *value) {
    *value = fallback;
    return absent(node, path) ? DPPO_OK : dppo_config_float(node, path, value);
}

dppo_status dppo_config_bool_or(const dppo_config *node, const char *path, bool fallback, bool *value) {
    *value = fallback;
    return absent(node, path) ? DPPO_OK : dppo_config_bool(node, path, value);
}

dppo_status dppo_config_string_or(const dppo_config *node, const char *path, const char *fallback,
                                  const char **value) {
    *value = fallback;
    return absent(node, path) ? DPPO_OK : dppo_config_string(node, path, value);
}

dppo_status dppo_config_int_from(const dppo_config *node, const char *path, int64_t least, int64_t *value) {
    DPPO_TRY(dppo_config_int(node, path, value));
    if (*value >= least) return DPPO_OK;
    return dppo_config_fail(dppo_config_get(node, path), "must be at least %lld, is %lld", (long long)least,
                            (long long)*value);
}

dppo_status dppo_config_int_from_or(const dppo_config *node, const char *path, int64_t least,
                                    int64_t fallback, int64_t *value) {
    *value = fallback;
    return absent(node, path) ? DPPO_OK : dppo_config_int_from(node, path, least, value);
}

dppo_status dppo_config_ints(const dppo_config *node, const char *path, int64_t *values, size_t capacity,
                             size_t *count) {
    const dppo_config *list;
    *count = 0;
    if (absent(node, path)) return DPPO_OK;
    DPPO_TRY(typed(node, path, DPPO_CONFIG_LIST, &list));
    if (list->count > capacity)
        return dppo_config_fail(list, "has %zu values, at most %zu are possible", list->count, capacity);
    for (size_t i = 0; i < list->count; i++)
        DPPO_TRY(dppo_config_int(list->items[i], NULL, &values[i]));
    *count = list->count;
    return DPPO_OK;
}

const char *dppo_config_target(const dppo_config *node) {
    const dppo_config *target = dppo_config_get(node, "_target_");
    if (!target || target->type != DPPO_CONFIG_STRING) return NULL;
    const char *dot = strrchr(target->string, '.');
    return dot ? dot + 1 : target->string;
}

dppo_status dppo_config_allow(const dppo_config *map, const char *where, const char *const *keys) {
    for (size_t i = 0; i < dppo_config_count(map); i++) {
        if (!map->keys || strcmp(map->keys[i], "_target_") == 0) continue;
        const char *const *key = keys;
        while (*key && strcmp(*key, map->keys[i]) != 0)
            key++;
        if (!*key) return dppo_config_fail(map->items[i], "%s has no '%s'", where, map->keys[i]);
    }
    return DPPO_OK;
}

/* -- writing -- */
static dppo_status set(dppo_config *root, const char *path, dppo_config *value) {
    dppo_config *node;
    if (!value) return out_of_memory();
    dppo_status status = dppo_config_make(root, path, &node);
    if (status != DPPO_OK) {
        dppo_config_free(value);
        return status;
    }
    dppo_config_become(node, value);
    return DPPO_OK;
}

dppo_status dppo_config_set_string(dppo_config *root, const char *path, const char *value) {
    return set(root, path, dppo_config_new_string(value, strlen(value), 0));
}

dppo_status dppo_config_set_int(dppo_config *root, const char *path, int64_t value) {
    dppo_config *node = dppo_config_new(DPPO_CONFIG_INT, 0);
    if (node) node->integer = value;
    return set(root, path, node);
}

dppo_status dppo_config_set_float(dppo_config *root, const char *path, double value) {
    dppo_config *node = dppo_config_new(DPPO_CONFIG_FLOAT, 0);
    if (node) node->number = value;
    return set(root, path, node);
}

/* -- overrides -- */
static dppo_status remove_key(dppo_config *root, const char *path) {
    const dppo_config *found = dppo_config_get(root, path);
    if (!found || !found->parent)
        return dppo_config_fail(root, "cannot remove '%s': there is no such key", path);
    dppo_config *parent = found->parent;
    size_t i = 0;
    while (parent->items[i] != found)
        i++;
    dppo_config_free(parent->items[i]);
    if (parent->keys) free(parent->keys[i]);
    for (parent->count--; i < parent->count; i++) {
        parent->items[i] = parent->items[i + 1];
        if (parent->keys) parent->keys[i] = parent->keys[i + 1];
    }
    return DPPO_OK;
}

/* The value is parsed before the tree is touched: a refused assignment leaves it as it was. */
dppo_status dppo_config_override(dppo_config *root, const char *assignment) {
    if (assignment[0] == '~') return remove_key(root, assignment + 1);
    size_t plus = strspn(assignment, "+");
    const char *key = assignment + plus, *equals = strchr(key, '=');
    if (!equals || equals == key) return dppo_fail(DPPO_INVALID, "'%s': expected key=value", assignment);
    char *path = strndup(key, (size_t)(equals - key));
    if (!path) return out_of_memory();
    dppo_config *value = NULL;
    dppo_status status = dppo_config_parse_yaml(equals + 1, assignment, &value);
    if (status == DPPO_OK && plus == 0 && !dppo_config_get(root, path))
        status =
            dppo_config_fail(root, "there is no '%s' to override (write +%s to add it)", path, assignment);
    if (status == DPPO_OK) {
        value->line = 0;
        status = set(root, path, value);
        value = NULL;
    }
    dppo_config_free(value);
    free(path);
    return status;
}
