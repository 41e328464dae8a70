/* The first difference between two trees, for a run that continues another. */
#include "config/tree.h"

#include <string.h>

static bool is_container(const dppo_config *node) {
    return node->type == DPPO_CONFIG_MAP || node->type == DPPO_CONFIG_LIST;
}

/* 1 and 1.0 are the same number: YAML readers differ in what they make of 1e0. */
static bool same_scalar(const dppo_config *a, const dppo_config *b) {
    dppo_text texts[2] = {{0}, {0}};
    double numbers[2];
    if (dppo_config_float(a, NULL, &numbers[0]) == DPPO_OK &&
        dppo_config_float(b, NULL, &numbers[1]) == DPPO_OK && numbers[0] == numbers[1])
        return true;
    dppo_config_write_json(a, &texts[0]);
    dppo_config_write_json(b, &texts[1]);
    bool same = texts[0].bytes && texts[1].bytes && strcmp(texts[0].bytes, texts[1].bytes) == 0;
    dppo_text_free(&texts[0]);
    dppo_text_free(&texts[1]);
    return same;
}

static void describe(const dppo_config *node, const char *name, const dppo_config *before,
                     const dppo_config *now, dppo_text *text) {
    const dppo_config *sides[] = {before, now};
    if (node->parent) {
        dppo_config_path(node, text);
        if (name) dppo_text_add(text, ".");
    }
    if (name) dppo_text_add(text, name);
    for (int i = 0; i < 2; i++) {
        dppo_text_add(text, i == 0 ? ": was " : ", is ");
        if (sides[i])
            dppo_config_write_json(sides[i], text);
        else
            dppo_text_add(text, "absent");
    }
}

static bool differ(const dppo_config *before, const dppo_config *now, dppo_config_exempt *exempt,
                   dppo_text *difference);

/* A child that only `map` has, of the two nodes; `reversed` when it is the later one. */
static bool only_here(const dppo_config *map, const dppo_config *other, bool reversed,
                      dppo_config_exempt *exempt, dppo_text *difference) {
    for (size_t i = 0; i < map->count; i++) {
        if (dppo_config_child(other, map->keys[i], strlen(map->keys[i])) || exempt(map->keys[i])) continue;
        describe(map, map->keys[i], reversed ? NULL : map->items[i], reversed ? map->items[i] : NULL,
                 difference);
        return true;
    }
    return false;
}

static bool maps_differ(const dppo_config *before, const dppo_config *now, dppo_config_exempt *exempt,
                        dppo_text *difference) {
    for (size_t i = 0; i < before->count; i++) {
        const char *key = before->keys[i];
        const dppo_config *after = dppo_config_child(now, key, strlen(key));
        if (after && !exempt(key) && differ(before->items[i], after, exempt, difference)) return true;
    }
    return only_here(before, now, false, exempt, difference) ||
           only_here(now, before, true, exempt, difference);
}

static bool differ(const dppo_config *before, const dppo_config *now, dppo_config_exempt *exempt,
                   dppo_text *difference) {
    bool same = before->type == now->type || (!is_container(before) && !is_container(now));
    if (same && before->type == DPPO_CONFIG_MAP) return maps_differ(before, now, exempt, difference);
    if (same && before->type == DPPO_CONFIG_LIST) {
        same = before->count == now->count;
        for (size_t i = 0; same && i < before->count; i++)
            if (differ(before->items[i], now->items[i], exempt, difference)) return true;
    } else if (same) {
        same = same_scalar(before, now);
    }
    if (!same) describe(before, NULL, before, now, difference);
    return !same;
}

bool dppo_config_differ(const dppo_config *before, const dppo_config *now, dppo_config_exempt *exempt,
                        dppo_text *difference) {
    return differ(before, now, exempt, difference);
}
