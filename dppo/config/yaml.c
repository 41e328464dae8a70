/* YAML through libyaml's events. */
#include "config/tree.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct anchor {
    char *name;
    const dppo_config *node; /* borrowed from the tree being built */
} anchor;

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; deleted by next() */
    bool has_event;
    const char *source;
    anchor *anchors;
    size_t anchor_count;
    size_t nodes;
} reader;

static int line_of(const reader *r) {
    return (int)r->event.start_mark.line + 1;
}

static dppo_status fail_at(const reader *r, int line, const char *what, const char *name) {
    return dppo_fail(DPPO_FORMAT, "%s:%d: %s%s%s%s", r->source, line, what, name ? " '" : "",
                     name ? name : "", name ? "'" : "");
}

static dppo_status out_of_memory(const reader *r) {
    return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory while reading", r->source);
}

/* libyaml hands out one event at a time and leaves its memory to us. */
static dppo_status next(reader *r) {
    if (r->has_event) yaml_event_delete(&r->event);
    r->has_event = yaml_parser_parse(&r->parser, &r->event) != 0;
    if (r->has_event) return DPPO_OK;
    const char *problem = r->parser.problem ? r->parser.problem : "not YAML";
    return dppo_fail(DPPO_FORMAT, "%s:%d: %s", r->source, (int)r->parser.problem_mark.line + 1, problem);
}

/* Aliases multiply: nine levels of nine are 387 million nodes from a kilobyte of text. */
static dppo_status count_nodes(reader *r, size_t more) {
    r->nodes += more;
    if (r->nodes > DPPO_CONFIG_NODES)
        return fail_at(r, line_of(r), "more nodes than any configuration has", NULL);
    return DPPO_OK;
}

static dppo_status remember(reader *r, const char *name, const dppo_config *node) {
    anchor *grown = realloc(r->anchors, (r->anchor_count + 1) * sizeof *grown);
    if (!grown) return out_of_memory(r);
    r->anchors = grown;
    char *copy = strdup(name);
    if (!copy) return out_of_memory(r);
    r->anchors[r->anchor_count++] = (anchor){copy, node};
    return DPPO_OK;
}

/* The latest anchor of a name counts; one is known only when its node is complete, so that none contains
 * itself. */
static dppo_status read_alias(reader *r, dppo_config **node) {
    const char *name = (const char *)r->event.data.alias.anchor;
    for (size_t i = r->anchor_count; i-- > 0;) {
        if (!r->anchors[i].node || strcmp(r->anchors[i].name, name) != 0) continue;
        DPPO_TRY(count_nodes(r, dppo_config_size(r->anchors[i].node)));
        *node = dppo_config_copy(r->anchors[i].node);
        return *node ? DPPO_OK : out_of_memory(r);
    }
    return fail_at(r, line_of(r), "unknown alias", name);
}

/* A scalar under an explicit tag: !!int 1, !!str 1. */
static dppo_status read_tagged(reader *r, const char *tag, dppo_config **node) {
    static const struct {
        const char *name;
        dppo_config_type type;
    } tags[] = {{YAML_NULL_TAG, DPPO_CONFIG_NULL},
                {YAML_BOOL_TAG, DPPO_CONFIG_BOOL},
                {YAML_INT_TAG, DPPO_CONFIG_INT},
                {YAML_FLOAT_TAG, DPPO_CONFIG_FLOAT}};
    const char *text = (const char *)r->event.data.scalar.value;
    size_t length = r->event.data.scalar.length;
    if (strcmp(tag, "!") == 0 || strcmp(tag, YAML_STR_TAG) == 0) {
        *node = dppo_config_new_string(text, length, line_of(r));
        return *node ? DPPO_OK : out_of_memory(r);
    }
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (strcmp(tag, tags[i].name) != 0) continue;
        DPPO_TRY(dppo_config_plain(text, length, line_of(r), node));
        if ((*node)->type == DPPO_CONFIG_INT && tags[i].type == DPPO_CONFIG_FLOAT) {
            (*node)->type = DPPO_CONFIG_FLOAT;
            (*node)->number = (double)(*node)->integer;
        }
        if ((*node)->type == tags[i].type) return DPPO_OK;
        return fail_at(r, line_of(r), "not what its tag says:", text);
    }
    return fail_at(r, line_of(r), "unsupported tag", tag);
}

static dppo_status read_scalar(reader *r, dppo_config **node) {
    const char *text = (const char *)r->event.data.scalar.value;
    size_t length = r->event.data.scalar.length;
    int line = line_of(r);
    if (memchr(text, '\0', length)) return fail_at(r, line, "a string holds a NUL", NULL);
    if (r->event.data.scalar.tag) return read_tagged(r, (const char *)r->event.data.scalar.tag, node);
    if (r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        dppo_status status = dppo_config_plain(text, length, line, node);
        return status == DPPO_OK ? status : dppo_fail_in(status, "%s:%d", r->source, line);
    }
    *node = dppo_config_new_string(text, length, line);
    return *node ? DPPO_OK : out_of_memory(r);
}

/* Keys of `from` that the map does not have itself. */
static dppo_status merge_map(const reader *r, dppo_config *map, const dppo_config *from) {
    if (from->type != DPPO_CONFIG_MAP)
        return fail_at(r, from->line, "'<<' needs a map or a list of maps", NULL);
    for (size_t i = 0; i < from->count; i++) {
        if (dppo_config_child(map, from->keys[i], strlen(from->keys[i]))) continue;
        DPPO_TRY(dppo_config_append(map, from->keys[i], dppo_config_copy(from->items[i])));
    }
    return DPPO_OK;
}

static dppo_status merge(const reader *r, dppo_config *map, const dppo_config *from) {
    if (from->type != DPPO_CONFIG_LIST) return merge_map(r, map, from);
    for (size_t i = 0; i < from->count; i++)
        DPPO_TRY(merge_map(r, map, from->items[i]));
    return DPPO_OK;
}

static dppo_status read_node(reader *r, int depth, dppo_config **node);

static dppo_status read_list(reader *r, int depth, dppo_config *list) {
    for (;;) {
        DPPO_TRY(next(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT) return DPPO_OK;
        dppo_config *item = NULL;
        dppo_status status = read_node(r, depth + 1, &item);
        if (status != DPPO_OK) {
            dppo_config_free(item);
            return status;
        }
        DPPO_TRY(dppo_config_append(list, NULL, item));
    }
}

/* One key and its value; a `<<` goes to *merged instead. */
static dppo_status read_pair(reader *r, int depth, dppo_config *map, dppo_config **merged) {
    if (r->event.type != YAML_SCALAR_EVENT) return fail_at(r, line_of(r), "a key must be plain text", NULL);
    int line = line_of(r);
    size_t length = r->event.data.scalar.length;
    bool is_merge = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE && length == 2 &&
                    memcmp(r->event.data.scalar.value, "<<", 2) == 0;
    if (memchr(r->event.data.scalar.value, '\0', length)) return fail_at(r, line, "a key holds a NUL", NULL);
    if (r->event.data.scalar.anchor) return fail_at(r, line, "an anchor on a key is not supported", NULL);
    char *key = strndup((const char *)r->event.data.scalar.value, length);
    if (!key) return out_of_memory(r);
    dppo_config *value = NULL;
    dppo_status status = DPPO_OK;
    if (dppo_config_child(map, key, length) || (is_merge && *merged))
        status = fail_at(r, line, "duplicate key", key);
    if (status == DPPO_OK) status = next(r);
    if (status == DPPO_OK) status = read_node(r, depth + 1, &value);
    if (status == DPPO_OK && !is_merge) {
        status = dppo_config_append(map, key, value);
        value = NULL;
    } else if (status == DPPO_OK) {
        *merged = value;
        value = NULL;
    }
    dppo_config_free(value);
    free(key);
    return status;
}

static dppo_status read_map(reader *r, int depth, dppo_config *map) {
    dppo_config *merged = NULL;
    dppo_status status;
    for (;;) {
        status = next(r);
        if (status != DPPO_OK || r->event.type == YAML_MAPPING_END_EVENT) break;
        status = read_pair(r, depth, map, &merged);
        if (status != DPPO_OK) break;
    }
    if (status == DPPO_OK && merged) status = merge(r, map, merged);
    /* An anchor inside a merged value would dangle once it is freed: it is forgotten with its node. (After a
     * failure no anchor is looked at any more, and some have lost their nodes.) */
    for (size_t i = 0; status == DPPO_OK && merged && i < r->anchor_count; i++) {
        const dppo_config *up = r->anchors[i].node;
        while (up && up != merged)
            up = up->parent;
        if (up) r->anchors[i] = (anchor){r->anchors[i].name, NULL};
    }
    dppo_config_free(merged);
    return status;
}

static dppo_status container_tag(const reader *r, const yaml_char_t *tag, const char *allowed) {
    const char *text = (const char *)tag;
    if (!text || strcmp(text, allowed) == 0) return DPPO_OK;
    return fail_at(r, line_of(r), "unsupported tag", text);
}

/* The node that starts at the current event. On failure *node may hold what was read; the caller frees it. */
static dppo_status read_node(reader *r, int depth, dppo_config **node) {
    const yaml_char_t *anchor_name = NULL;
    char *name = NULL;
    dppo_status status = DPPO_OK;
    if (depth > DPPO_CONFIG_DEPTH) return fail_at(r, line_of(r), "nested too deeply", NULL);
    DPPO_TRY(count_nodes(r, 1));
    if (r->event.type == YAML_ALIAS_EVENT) return read_alias(r, node);
    if (r->event.type == YAML_SCALAR_EVENT) anchor_name = r->event.data.scalar.anchor;
    if (r->event.type == YAML_SEQUENCE_START_EVENT) anchor_name = r->event.data.sequence_start.anchor;
    if (r->event.type == YAML_MAPPING_START_EVENT) anchor_name = r->event.data.mapping_start.anchor;
    if (anchor_name && !(name = strdup((const char *)anchor_name))) return out_of_memory(r);
    if (r->event.type == YAML_SCALAR_EVENT) {
        status = read_scalar(r, node);
    } else if (r->event.type == YAML_SEQUENCE_START_EVENT) {
        status = container_tag(r, r->event.data.sequence_start.tag, YAML_SEQ_TAG);
        if (status == DPPO_OK && !(*node = dppo_config_new(DPPO_CONFIG_LIST, line_of(r))))
            status = out_of_memory(r);
        if (status == DPPO_OK) status = read_list(r, depth, *node);
    } else {
        status = container_tag(r, r->event.data.mapping_start.tag, YAML_MAP_TAG);
        if (status == DPPO_OK && !(*node = dppo_config_new(DPPO_CONFIG_MAP, line_of(r))))
            status = out_of_memory(r);
        if (status == DPPO_OK) status = read_map(r, depth, *node);
    }
    if (status == DPPO_OK && name) status = remember(r, name, *node);
    free(name);
    return status;
}

/* A stream of at most one document; an empty one is null. */
static dppo_status read_stream(reader *r, dppo_config **root) {
    DPPO_TRY(next(r));
    DPPO_TRY(next(r));
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *root = dppo_config_new(DPPO_CONFIG_NULL, 0);
        return *root ? DPPO_OK : out_of_memory(r);
    }
    DPPO_TRY(next(r));
    DPPO_TRY(read_node(r, 0, root));
    DPPO_TRY(next(r));
    DPPO_TRY(next(r));
    if (r->event.type != YAML_STREAM_END_EVENT) return fail_at(r, line_of(r), "a second document", NULL);
    return DPPO_OK;
}

dppo_status dppo_config_parse_yaml(const char *text, const char *source_name, dppo_config **root) {
    reader r = {.source = source_name};
    *root = NULL;
    if (!yaml_parser_initialize(&r.parser)) return out_of_memory(&r);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, strlen(text));
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    dppo_status status = read_stream(&r, root);
    if (status == DPPO_OK && !((*root)->source = strdup(source_name))) status = out_of_memory(&r);
    if (r.has_event) yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    for (size_t i = 0; i < r.anchor_count; i++)
        free(r.anchors[i].name);
    free(r.anchors);
    if (status != DPPO_OK) {
        dppo_config_free(*root);
        *root = NULL;
    }
    return status;
}

dppo_status dppo_config_load(const char *path, dppo_config **root) {
    char *bytes;
    size_t length;
    *root = NULL;
    DPPO_TRY(dppo_read_file(path, &bytes, &length));
    size_t name = strlen(path);
    bool json = name > 5 && strcmp(path + name - 5, ".json") == 0;
    dppo_status status;
    if (memchr(bytes, '\0', length))
        status = dppo_fail(DPPO_FORMAT, "%s: not a text file", path);
    else
        status = json ? dppo_config_parse_json(bytes, path, root) : dppo_config_parse_yaml(bytes, path, root);
    free(bytes);
    return status;
}
