/* The tree as YAML and JSON text; both read back to an equal tree, here and in Python. */
#include "config/tree.h"

#include <math.h>
#include <string.h>

/* The bytes of a character that YAML readers refuse or take for a line break (C1 controls, U+2028/9, the byte
 * order mark, U+FFFE/F), with its code; 0 for any other. */
static size_t awkward(const unsigned char *p, unsigned *code) {
    if (*p < ' ' || *p == 0x7F) {
        *code = *p;
        return 1;
    }
    if (p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0) {
        *code = p[1];
        return 2;
    }
    static const unsigned codes[] = {0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        *code = codes[i];
        if (p[0] == (0xE0 | (*code >> 12)) && p[1] == (0x80 | ((*code >> 6) & 0x3F)) &&
            p[2] == (0x80 | (*code & 0x3F)))
            return 3;
    }
    return 0;
}

static void add_json_string(dppo_text *text, const char *string) {
    unsigned code;
    dppo_text_add(text, "\"");
    for (const char *p = string; *p; p++) {
        size_t length = awkward((const unsigned char *)p, &code);
        if (*p == '"' || *p == '\\')
            dppo_text_format(text, "\\%c", *p);
        else if (*p == '\n')
            dppo_text_add(text, "\\n");
        else if (length > 0)
            dppo_text_format(text, "\\u%04x", code);
        else
            dppo_text_append(text, p, 1);
        if (length > 1) p += length - 1;
    }
    dppo_text_add(text, "\"");
}

static void add_json_scalar(dppo_text *text, const dppo_config *node) {
    char number[DPPO_NUMBER_TEXT];
    switch (dppo_config_type_of(node)) {
    case DPPO_CONFIG_NULL:
        dppo_text_add(text, "null");
        break;
    case DPPO_CONFIG_BOOL:
        dppo_text_add(text, node->boolean ? "true" : "false");
        break;
    case DPPO_CONFIG_STRING:
        add_json_string(text, node->string);
        break;
    case DPPO_CONFIG_FLOAT:
        dppo_config_float_text(node->number, number);
        if (isnan(node->number))
            dppo_text_add(text, "NaN");
        else if (isinf(node->number))
            dppo_text_add(text, node->number > 0 ? "Infinity" : "-Infinity");
        else
            dppo_text_add(text, number);
        break;
    default:
        (void)dppo_config_scalar_text(node, text);
        break;
    }
}

void dppo_config_write_json(const dppo_config *node, dppo_text *text) {
    bool map = dppo_config_type_of(node) == DPPO_CONFIG_MAP;
    if (!map && dppo_config_type_of(node) != DPPO_CONFIG_LIST) {
        add_json_scalar(text, node);
        return;
    }
    dppo_text_add(text, map ? "{" : "[");
    for (size_t i = 0; i < node->count; i++) {
        if (i > 0) dppo_text_add(text, ", ");
        if (map) {
            add_json_string(text, node->keys[i]);
            dppo_text_add(text, ": ");
        }
        dppo_config_write_json(node->items[i], text);
    }
    dppo_text_add(text, map ? "}" : "]");
}

/* Text that needs no quotes in a block or flow context: letters, digits and marks that never begin YAML
 * syntax, and not something that would read as a number, bool or null. A colon is fine before a letter or
 * digit. */
static bool safe_plain(const char *string) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char marks[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
    size_t length = strlen(string);
    if (length == 0 ||
        !strchr("/_.abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", string[0]))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (strchr(marks, string[i])) continue;
        if (string[i] != ':' || string[i + 1] == '\0' || !strchr(letters, string[i + 1])) return false;
    }
    return strcmp(string, "...") != 0 && dppo_config_is_plain_string(string, length);
}

/* YAML's double-quoted form takes JSON's escapes. */
static void add_yaml_string(dppo_text *text, const char *string) {
    if (safe_plain(string))
        dppo_text_add(text, string);
    else
        add_json_string(text, string);
}

/* A float keeps a point, which other YAML readers need to see a float: 1.0e-05. */
static void add_yaml_float(dppo_text *text, double value) {
    char number[DPPO_NUMBER_TEXT];
    if (!isfinite(value)) {
        dppo_text_add(text, isnan(value) ? ".nan" : value > 0 ? ".inf" : "-.inf");
        return;
    }
    dppo_config_float_text(value, number);
    size_t mantissa = strcspn(number, "e");
    dppo_text_append(text, number, mantissa);
    if (!memchr(number, '.', mantissa)) dppo_text_add(text, ".0");
    dppo_text_add(text, number + mantissa);
}

static bool is_container(const dppo_config *node) {
    return node->type == DPPO_CONFIG_LIST || node->type == DPPO_CONFIG_MAP;
}

static void add_yaml_scalar(dppo_text *text, const dppo_config *node) {
    if (node->type == DPPO_CONFIG_STRING)
        add_yaml_string(text, node->string);
    else if (node->type == DPPO_CONFIG_FLOAT)
        add_yaml_float(text, node->number);
    else
        add_json_scalar(text, node);
}

/* Empty containers and lists of scalars go on one line. */
static bool inline_form(const dppo_config *node) {
    if (!is_container(node) || node->count == 0) return true;
    if (node->type == DPPO_CONFIG_MAP) return false;
    for (size_t i = 0; i < node->count; i++)
        if (is_container(node->items[i])) return false;
    return true;
}

static void add_inline(dppo_text *text, const dppo_config *node) {
    if (!is_container(node)) {
        add_yaml_scalar(text, node);
        return;
    }
    dppo_text_add(text, node->type == DPPO_CONFIG_MAP ? "{" : "[");
    for (size_t i = 0; i < node->count; i++) {
        if (i > 0) dppo_text_add(text, ", ");
        add_yaml_scalar(text, node->items[i]);
    }
    dppo_text_add(text, node->type == DPPO_CONFIG_MAP ? "}" : "]");
}

static void add_block(dppo_text *text, const dppo_config *node, int indent) {
    for (size_t i = 0; i < node->count; i++) {
        const dppo_config *item = node->items[i];
        dppo_text_format(text, "%*s", indent, "");
        if (node->keys) add_yaml_string(text, node->keys[i]);
        dppo_text_add(text, node->keys ? ":" : "-");
        dppo_text_add(text, inline_form(item) ? " " : "\n");
        if (inline_form(item)) {
            add_inline(text, item);
            dppo_text_add(text, "\n");
        } else {
            add_block(text, item, indent + 2);
        }
    }
}

void dppo_config_write_yaml(const dppo_config *node, dppo_text *text) {
    if (!node) return;
    if (!inline_form(node)) {
        add_block(text, node, 0);
        return;
    }
    add_inline(text, node);
    dppo_text_add(text, "\n");
}
