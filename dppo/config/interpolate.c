/* OmegaConf's interpolations: ${a.b}, ${.sibling}, ${oc.env:NAME,default}, ${now:%Y}, ${eval:'1 + ${a}'},
 * ${round_up:1.5}, ${round_down:1.5}; nested at will; \${ is a plain ${.
 *
 * Every string node that holds one is resolved in place, depth first: a reference resolves its target before
 * it copies it, so that a target met again while it is being resolved is a cycle. */
#include "config/tree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEEPEST = 100, MOST_ARGUMENTS = 8 };

typedef struct resolver_state {
    dppo_config *root;
    struct tm now; /* one moment for the whole tree */
    int depth;
    bool placed;             /* the message names its node */
    size_t copied, expanded; /* nodes and bytes that references made */
} resolver_state;

static dppo_status resolve_node(resolver_state *s, dppo_config *node);
static dppo_status interpolation(resolver_state *s, dppo_config *node, const char **at, dppo_config **value);

static dppo_status out_of_memory(void) {
    return dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration");
}

/* -- resolvers: each takes its arguments as texts and gives a new node; a failure is a message without the
 * place -- */
typedef struct resolver_call {
    resolver_state *state;
    size_t count;
    dppo_text arguments[MOST_ARGUMENTS];
} resolver_call;

static dppo_status new_string(const char *text, dppo_config **value) {
    *value = dppo_config_new_string(text, strlen(text), 0);
    return *value ? DPPO_OK : out_of_memory();
}

static dppo_status resolve_env(resolver_call *call, dppo_config **value) {
    const char *name = call->arguments[0].bytes, *found = getenv(name);
    if (found) return new_string(found, value);
    if (call->count < 2) return dppo_fail(DPPO_INVALID, "environment variable '%s' is not set", name);
    const char *fallback = call->arguments[1].bytes;
    if (strcmp(fallback, "null") != 0) return new_string(fallback, value);
    *value = dppo_config_new(DPPO_CONFIG_NULL, 0);
    return *value ? DPPO_OK : out_of_memory();
}

static dppo_status resolve_now(resolver_call *call, dppo_config **value) {
    char text[256];
    const char *format = call->arguments[0].bytes;
    if (*format == '\0' || strftime(text, sizeof text, format, &call->state->now) == 0)
        return dppo_fail(DPPO_INVALID, "'%.100s' is not a time format", format);
    return new_string(text, value);
}

static dppo_status resolve_eval(resolver_call *call, dppo_config **value) {
    return dppo_config_evaluate(call->arguments[0].bytes, value);
}

/* Numbers only: the argument is evaluated as arithmetic, of which a number is the simplest. */
static dppo_status rounded(resolver_call *call, double (*toward)(double), dppo_config **value) {
    DPPO_TRY(dppo_config_evaluate(call->arguments[0].bytes, value));
    if ((*value)->type == DPPO_CONFIG_INT) return DPPO_OK;
    double number = toward((*value)->number);
    if (!(number >= -0x1p63 && number < 0x1p63))
        return dppo_fail(DPPO_INVALID, "the result does not fit in 64 bits");
    (*value)->type = DPPO_CONFIG_INT;
    (*value)->integer = (int64_t)number;
    return DPPO_OK;
}

static dppo_status resolve_up(resolver_call *call, dppo_config **value) {
    return rounded(call, ceil, value);
}

static dppo_status resolve_down(resolver_call *call, dppo_config **value) {
    return rounded(call, floor, value);
}

static const struct {
    const char *name;
    size_t fewest, most;
    dppo_status (*resolve)(resolver_call *call, dppo_config **value);
} resolvers[] = {{"oc.env", 1, 2, resolve_env},
                 {"now", 1, 1, resolve_now},
                 {"eval", 1, 1, resolve_eval},
                 {"round_up", 1, 1, resolve_up},
                 {"round_down", 1, 1, resolve_down}};

/* -- references -- */
/* One step of a path: the key at *part, written a.key or a[key]; *part moves behind it. False at the end
 * of the path, and for a malformed one (*length 0). */
static bool path_step(const char **part, const char **key, size_t *length) {
    *length = 0;
    if (**part == '\0') return false;
    bool bracket = **part == '[';
    *key = *part + (bracket ? 1 : 0);
    *length = strcspn(*key, ".[]");
    if (*length == 0) return false;
    const char *end = *key + *length;
    if (bracket && *end++ != ']') *length = 0;
    if (*end == '.' && end[1] != '\0' && end[1] != '[')
        end++;
    else if (*end != '\0' && *end != '[')
        *length = 0;
    *part = end;
    return *length > 0;
}

/* The node that `path` names as seen from `node`: "a.b" from the root, ".b" from node's map, "..b" from the
 * map above. */
static dppo_status find_target(resolver_state *s, dppo_config *node, const char *path, dppo_config **target) {
    dppo_config *at = s->root;
    const char *part = path, *key;
    size_t length = 1;
    if (*part == '.')
        for (at = node; *part == '.'; part++) {
            at = at->parent;
            if (!at) return dppo_fail(DPPO_INVALID, "'%s' leads above the root", path);
        }
    while (path_step(&part, &key, &length)) {
        /* On the way an interpolation stands for what it gives. */
        if (at->type == DPPO_CONFIG_STRING) DPPO_TRY(resolve_node(s, at));
        at = dppo_config_child(at, key, length);
        if (!at) return dppo_fail(DPPO_INVALID, "there is no key '%s'", path);
    }
    if (*part != '\0') return dppo_fail(DPPO_INVALID, "'%s' is not a key", path);
    *target = at;
    return DPPO_OK;
}

static dppo_status resolve_reference(resolver_state *s, dppo_config *node, const char *path,
                                     dppo_config **value) {
    dppo_config *target = NULL;
    if (*path == '\0') return dppo_fail(DPPO_INVALID, "an empty interpolation");
    DPPO_TRY(find_target(s, node, path, &target));
    DPPO_TRY(resolve_node(s, target));
    s->copied += dppo_config_size(target);
    if (s->copied > DPPO_CONFIG_NODES) return dppo_fail(DPPO_INVALID, "the interpolations copy too much");
    *value = dppo_config_copy(target);
    return *value ? DPPO_OK : out_of_memory();
}

/* -- the text inside ${ } -- */
/* An interpolation met inside other text: its value's text is appended. */
static dppo_status nested(resolver_state *s, dppo_config *node, const char **at, dppo_text *text) {
    dppo_config *value = NULL;
    *at += 2;
    DPPO_TRY(interpolation(s, node, at, &value));
    size_t before = text->length;
    bool scalar = dppo_config_scalar_text(value, text);
    s->expanded += text->length - before;
    dppo_config_free(value);
    if (!scalar) return dppo_fail(DPPO_INVALID, "a list or map cannot stand inside text");
    if (s->expanded > DPPO_CONFIG_TEXT)
        return dppo_fail(DPPO_INVALID, "the interpolations make too much text");
    return text->failed ? out_of_memory() : DPPO_OK;
}

/* Text up to one of the characters in `stops`, nested interpolations replaced; \x gives x for a stop or
 * quote. */
static dppo_status scan(resolver_state *s, dppo_config *node, const char **at, const char *stops,
                        dppo_text *text) {
    dppo_text_add(text, "");
    while (**at && !strchr(stops, **at)) {
        if ((*at)[0] == '$' && (*at)[1] == '{') {
            DPPO_TRY(nested(s, node, at, text));
            continue;
        }
        if ((*at)[0] == '\\' && (*at)[1] && (strchr(stops, (*at)[1]) || strchr("\\'\"", (*at)[1]))) (*at)++;
        dppo_text_append(text, *at, 1);
        (*at)++;
    }
    if (**at == '\0') return dppo_fail(DPPO_INVALID, "the interpolation is not closed");
    return text->failed ? out_of_memory() : DPPO_OK;
}

static void skip_space(const char **at) {
    while (**at == ' ')
        (*at)++;
}

static void trim(dppo_text *text) {
    while (text->length > 0 && text->bytes[text->length - 1] == ' ')
        text->bytes[--text->length] = '\0';
}

/* One argument, quoted or not. */
static dppo_status argument(resolver_state *s, dppo_config *node, const char **at, dppo_text *text) {
    skip_space(at);
    if (**at != '\'' && **at != '"') {
        DPPO_TRY(scan(s, node, at, ",}", text));
        trim(text);
        return DPPO_OK;
    }
    char quote[2] = {**at, '\0'};
    ++*at;
    DPPO_TRY(scan(s, node, at, quote, text));
    ++*at;
    skip_space(at);
    if (**at != ',' && **at != '}')
        return dppo_fail(DPPO_INVALID, "unexpected '%.20s' after a quoted argument", *at);
    return DPPO_OK;
}

static dppo_status arguments(resolver_call *call, dppo_config *node, const char **at) {
    for (;;) {
        if (call->count == MOST_ARGUMENTS) return dppo_fail(DPPO_INVALID, "too many arguments");
        dppo_text *text = &call->arguments[call->count++];
        DPPO_TRY(argument(call->state, node, at, text));
        char end = **at;
        ++*at;
        if (end == '}') return DPPO_OK;
    }
}

static dppo_status call_resolver(resolver_state *s, dppo_config *node, const char *name, const char **at,
                                 dppo_config **value) {
    resolver_call call = {.state = s};
    size_t i = 0, known = sizeof resolvers / sizeof *resolvers;
    while (i < known && strcmp(resolvers[i].name, name) != 0)
        i++;
    if (i == known) return dppo_fail(DPPO_INVALID, "unknown resolver '%s'", name);
    dppo_status status = arguments(&call, node, at);
    if (status == DPPO_OK && (call.count < resolvers[i].fewest || call.count > resolvers[i].most))
        status =
            dppo_fail(DPPO_INVALID, "%s takes %zu arguments, got %zu", name, resolvers[i].most, call.count);
    if (status == DPPO_OK) status = resolvers[i].resolve(&call, value);
    for (size_t j = 0; j < call.count; j++)
        dppo_text_free(&call.arguments[j]);
    return status;
}

/* After "${" up to and with "}". On failure *value may hold a node; it is freed here. */
static dppo_status interpolation(resolver_state *s, dppo_config *node, const char **at, dppo_config **value) {
    dppo_text head = {0};
    *value = NULL;
    if (++s->depth > DEEPEST) return dppo_fail(DPPO_INVALID, "interpolations nested too deeply");
    skip_space(at);
    dppo_status status = scan(s, node, at, ":}", &head);
    if (status == DPPO_OK) {
        char end = **at;
        ++*at;
        trim(&head);
        status = end == '}' ? resolve_reference(s, node, head.bytes, value)
                            : call_resolver(s, node, head.bytes, at, value);
    }
    dppo_text_free(&head);
    s->depth--;
    if (status != DPPO_OK) {
        dppo_config_free(*value);
        *value = NULL;
    }
    return status;
}

/* -- strings and trees -- */
static dppo_status mixed_text(resolver_state *s, dppo_config *node, dppo_text *text) {
    const char *at = node->string;
    dppo_text_add(text, "");
    while (*at) {
        if (at[0] == '\\' && at[1] == '$' && at[2] == '{') {
            dppo_text_add(text, "${");
            at += 3;
        } else if (at[0] == '$' && at[1] == '{') {
            DPPO_TRY(nested(s, node, &at, text));
        } else {
            dppo_text_append(text, at++, 1);
        }
    }
    return text->failed ? out_of_memory() : DPPO_OK;
}

/* A string that is one interpolation keeps the type of its value; within other text it becomes text. */
static dppo_status resolve_string(resolver_state *s, dppo_config *node, dppo_config **value) {
    const char *at = node->string;
    dppo_text text = {0};
    if (at[0] == '$' && at[1] == '{') {
        at += 2;
        DPPO_TRY(interpolation(s, node, &at, value));
        if (*at == '\0') return DPPO_OK;
        dppo_config_free(*value);
        *value = NULL;
    }
    dppo_status status = mixed_text(s, node, &text);
    if (status == DPPO_OK && !(*value = dppo_config_new_string(text.bytes, text.length, 0)))
        status = out_of_memory();
    dppo_text_free(&text);
    return status;
}

static dppo_status resolve_node(resolver_state *s, dppo_config *node) {
    for (size_t i = 0; i < node->count; i++)
        DPPO_TRY(resolve_node(s, node->items[i]));
    if (node->type != DPPO_CONFIG_STRING || node->state == DPPO_RESOLVED || !strstr(node->string, "${"))
        return DPPO_OK;
    if (node->state == DPPO_RESOLVING)
        return dppo_config_fail(node, "'%.200s' depends on itself", node->string);
    node->state = DPPO_RESOLVING;
    dppo_config *value = NULL;
    dppo_status status = resolve_string(s, node, &value);
    node->state = DPPO_RAW;
    if (status != DPPO_OK && !s->placed) {
        /* The innermost failure knows the place best; those above it would only repeat. */
        s->placed = true;
        return dppo_config_fail(node, "'%.200s': %.500s", node->string, dppo_message());
    }
    if (status != DPPO_OK) return status;
    dppo_config_become(node, value);
    node->state = DPPO_RESOLVED;
    return DPPO_OK;
}

dppo_status dppo_config_resolve(dppo_config *root) {
    resolver_state s = {.root = root};
    time_t now = time(NULL);
    if (!localtime_r(&now, &s.now)) return dppo_fail(DPPO_INVALID, "the system clock has no local time");
    return resolve_node(&s, root);
}
