/* Compact descriptions of many configurations: what they share is written once, as parts.
 *
 * A node with `is` starts from the part (or parts, in order) of that name, its own keys come on top, and
 * `without` takes keys away again. Keys may be dotted paths. */
#include "config/config.h"

#include <stdio.h>
#include <string.h>

enum { DEEPEST = 32 };

typedef struct expansion {
    const dppo_config *structures;
    dppo_config *into;
    int depth; /* parts may name themselves */
} expansion;

/* What a configuration's row says beside the configuration itself. */
static bool is_beside(const char *key) {
    static const char *const beside[] = {"is", "without", "lacks", "parameters", "state"};
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++)
        if (strcmp(key, beside[i]) == 0) return true;
    return false;
}

/* `prefix` is "" or ends in a dot. */
static dppo_status put(expansion *x, const char *prefix, const dppo_config *node);

static dppo_status put_part(expansion *x, const char *prefix, const dppo_config *name) {
    static const char *const sections[] = {"tasks", "networks", "kinds"};
    const char *text;
    DPPO_TRY(dppo_config_string(name, NULL, &text));
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        const dppo_config *part = dppo_config_get(dppo_config_get(x->structures, sections[i]), text);
        if (part) return put(x, prefix, part);
    }
    return dppo_fail(DPPO_INVALID, "%sis: there is no part %s", prefix, text);
}

static dppo_status put_parts(expansion *x, const char *prefix, const dppo_config *is) {
    if (dppo_config_type_of(is) == DPPO_CONFIG_STRING) return put_part(x, prefix, is);
    for (size_t i = 0; i < dppo_config_count(is); i++)
        DPPO_TRY(put_part(x, prefix, dppo_config_item(is, i)));
    return DPPO_OK;
}

/* "+path=value" or "~path" */
static dppo_status override(expansion *x, char operation, const char *prefix, const char *key,
                            const dppo_config *value) {
    dppo_text text = {0};
    dppo_text_format(&text, "%c%s%s%s", operation, prefix, key, value ? "=" : "");
    if (value) dppo_config_write_json(value, &text);
    dppo_status status = text.failed ? dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration")
                                     : dppo_config_override(x->into, text.bytes);
    dppo_text_free(&text);
    return status;
}

static dppo_status put_key(expansion *x, const char *prefix, const char *key, const dppo_config *item) {
    dppo_text below = {0};
    if (dppo_config_type_of(item) != DPPO_CONFIG_MAP) return override(x, '+', prefix, key, item);
    dppo_text_format(&below, "%s%s.", prefix, key);
    dppo_status status = below.failed ? dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration")
                                      : put(x, below.bytes, item);
    dppo_text_free(&below);
    return status;
}

static dppo_status put(expansion *x, const char *prefix, const dppo_config *node) {
    if (++x->depth > DEEPEST) return dppo_fail(DPPO_INVALID, "%sis: parts nested too deeply", prefix);
    DPPO_TRY(put_parts(x, prefix, dppo_config_get(node, "is")));
    for (size_t i = 0; i < dppo_config_count(node); i++)
        if (!is_beside(dppo_config_key(node, i)))
            DPPO_TRY(put_key(x, prefix, dppo_config_key(node, i), dppo_config_item(node, i)));
    const dppo_config *without = dppo_config_get(node, "without");
    for (size_t i = 0; i < dppo_config_count(without); i++) {
        const char *key;
        DPPO_TRY(dppo_config_string(dppo_config_item(without, i), NULL, &key));
        DPPO_TRY(override(x, '~', prefix, key, NULL));
    }
    x->depth--;
    return DPPO_OK;
}

dppo_status dppo_config_expand(const dppo_config *structures, const char *name, dppo_config **config) {
    char folder[256];
    const char *file = strrchr(name, '/');
    int length = file ? (int)(file - name) : 0;
    *config = NULL;
    (void)snprintf(folder, sizeof folder, "%.*s", length, name);
    const dppo_config *rows = dppo_config_get(dppo_config_get(structures, "configs"), folder);
    const dppo_config *row = dppo_config_get(rows, file ? file + 1 : name);
    if (!row) return dppo_fail(DPPO_INVALID, "there is no configuration %s", name);
    expansion x = {.structures = structures, .into = dppo_config_new_map()};
    if (!x.into) return dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration");
    dppo_status status = put(&x, "", row);
    if (status == DPPO_OK) {
        *config = x.into;
        return DPPO_OK;
    }
    dppo_config_free(x.into);
    return dppo_fail_in(status, "%s", name);
}
