/* JSON as Python's json module writes it: strict, plus NaN, Infinity and -Infinity. */
#include "config/tree.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    const char *at, *source;
    int line;
    size_t nodes;
} reader;

static dppo_status fail_at(const reader *r, const char *what) {
    char found[16] = "the end";
    size_t length = 0;
    if (*r->at) {
        while (length < 12 && r->at[length] > ' ')
            length++;
        memcpy(found, r->at, length);
        found[length] = '\0';
    }
    return dppo_fail(DPPO_FORMAT, "%s:%d: %s at '%s'", r->source, r->line, what, found);
}

static dppo_status out_of_memory(const reader *r) {
    return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory while reading", r->source);
}

static void skip_space(reader *r) {
    for (; *r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'; r->at++)
        if (*r->at == '\n') r->line++;
}

static bool take(reader *r, const char *word) {
    size_t length = strlen(word);
    if (strncmp(r->at, word, length) != 0) return false;
    r->at += length;
    return true;
}

/* Four hexadecimal digits. */
static bool read_unit(reader *r, unsigned *unit) {
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        char c = r->at[0];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            digit = (unsigned)((c | 0x20) - 'a') + 10;
        else
            return false;
        *unit = 16 * *unit + digit;
        r->at++;
    }
    return true;
}

/* 1 to 4 bytes; the lead byte says how many, the others carry 6 bits each. */
static void add_utf8(dppo_text *text, unsigned code) {
    char bytes[4];
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (size_t i = length; i-- > 1; code >>= 6)
        bytes[i] = (char)(0x80 | (code & 0x3F));
    bytes[0] = (char)(lead[length] | code);
    dppo_text_append(text, bytes, length);
}

/* After "\u"; a surrogate must be the first of a pair. */
static dppo_status read_unicode(reader *r, dppo_text *text) {
    unsigned high, low;
    if (!read_unit(r, &high)) return fail_at(r, "a wrong \\u escape");
    if (high == 0) return fail_at(r, "a string holds a NUL");
    if (high >= 0xD800 && high < 0xE000) {
        if (high >= 0xDC00 || !take(r, "\\u") || !read_unit(r, &low) || low < 0xDC00 || low >= 0xE000)
            return fail_at(r, "half a surrogate pair");
        high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
    }
    add_utf8(text, high);
    return DPPO_OK;
}

static dppo_status read_escape(reader *r, dppo_text *text) {
    static const char codes[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *code = *r->at ? strchr(codes, *r->at) : NULL;
    if (*r->at == 'u') {
        r->at++;
        return read_unicode(r, text);
    }
    if (!code) return fail_at(r, "a wrong escape");
    dppo_text_append(text, &values[code - codes], 1);
    r->at++;
    return DPPO_OK;
}

static dppo_status read_string(reader *r, dppo_text *text) {
    if (!take(r, "\"")) return fail_at(r, "expected a string");
    dppo_text_add(text, "");
    while (*r->at != '"') {
        size_t length = 0;
        while ((unsigned char)r->at[length] >= ' ' && r->at[length] != '"' && r->at[length] != '\\')
            length++;
        dppo_text_append(text, r->at, length);
        r->at += length;
        if (*r->at == '"') break;
        if (*r->at != '\\') return fail_at(r, "an unfinished string");
        r->at++;
        DPPO_TRY(read_escape(r, text));
    }
    r->at++;
    return text->failed ? out_of_memory(r) : DPPO_OK;
}

/* The length of a number by JSON's grammar (no leading zeros, digits around the point); 0 when it is none. */
static size_t number_length(const char *text, bool *is_float) {
    static const char digits[] = "0123456789";
    size_t n = text[0] == '-' ? 1 : 0, whole = strspn(text + n, digits), part;
    *is_float = false;
    if (whole == 0 || (whole > 1 && text[n] == '0')) return 0;
    n += whole;
    if (text[n] == '.') {
        part = strspn(text + n + 1, digits);
        if (part == 0) return 0;
        n += 1 + part;
        *is_float = true;
    }
    if (text[n] == 'e' || text[n] == 'E') {
        n++;
        if (text[n] == '+' || text[n] == '-') n++;
        part = strspn(text + n, digits);
        if (part == 0) return 0;
        n += part;
        *is_float = true;
    }
    return n;
}

static dppo_status read_number(reader *r, dppo_config *node) {
    bool is_float;
    size_t length = number_length(r->at, &is_float);
    if (length == 0) return fail_at(r, "not a value");
    node->type = is_float ? DPPO_CONFIG_FLOAT : DPPO_CONFIG_INT;
    errno = 0;
    if (is_float)
        node->number = strtod(r->at, NULL);
    else
        node->integer = strtoll(r->at, NULL, 10);
    if (!is_float && errno == ERANGE) return fail_at(r, "an integer beyond 64 bits");
    r->at += length;
    return DPPO_OK;
}

/* The words of JSON and Python's three extensions. */
static bool read_word(reader *r, dppo_config *node) {
    static const struct {
        const char *word;
        dppo_config_type type;
        double value;
    } words[] = {{"null", DPPO_CONFIG_NULL, 0},
                 {"true", DPPO_CONFIG_BOOL, 1},
                 {"false", DPPO_CONFIG_BOOL, 0},
                 {"NaN", DPPO_CONFIG_FLOAT, (double)NAN},
                 {"Infinity", DPPO_CONFIG_FLOAT, (double)INFINITY},
                 {"-Infinity", DPPO_CONFIG_FLOAT, -(double)INFINITY}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!take(r, words[i].word)) continue;
        node->type = words[i].type;
        node->number = words[i].value;
        node->boolean = node->type == DPPO_CONFIG_BOOL && node->number > 0;
        return true;
    }
    return false;
}

static dppo_status read_value(reader *r, int depth, dppo_config **value);

/* "key": value of a map, or a value of a list. Python keeps the last of duplicate keys; here they are a
 * mistake. */
static dppo_status read_member(reader *r, int depth, dppo_config *container) {
    dppo_text key = {0};
    dppo_config *value = NULL;
    dppo_status status = DPPO_OK;
    if (container->type == DPPO_CONFIG_MAP) {
        skip_space(r);
        status = read_string(r, &key);
        if (status == DPPO_OK && dppo_config_child(container, key.bytes, key.length))
            status = dppo_fail(DPPO_FORMAT, "%s:%d: duplicate key '%s'", r->source, r->line, key.bytes);
        skip_space(r);
        if (status == DPPO_OK && !take(r, ":")) status = fail_at(r, "expected ':'");
    }
    if (status == DPPO_OK) status = read_value(r, depth + 1, &value);
    if (status == DPPO_OK)
        status = dppo_config_append(container, key.bytes, value);
    else
        dppo_config_free(value);
    dppo_text_free(&key);
    return status;
}

static dppo_status read_container(reader *r, int depth, dppo_config *container, const char *end) {
    r->at++;
    skip_space(r);
    if (take(r, end)) return DPPO_OK;
    for (;;) {
        DPPO_TRY(read_member(r, depth, container));
        skip_space(r);
        if (take(r, end)) return DPPO_OK;
        if (!take(r, ",")) return fail_at(r, "expected ',' or the end of a list or map");
    }
}

static dppo_status read_value(reader *r, int depth, dppo_config **value) {
    skip_space(r);
    if (depth > DPPO_CONFIG_DEPTH) return fail_at(r, "nested too deeply");
    if (++r->nodes > DPPO_CONFIG_NODES) return fail_at(r, "more values than any configuration has");
    char first = *r->at;
    if (first == '"') {
        dppo_text text = {0};
        dppo_status status = read_string(r, &text);
        if (status == DPPO_OK && !(*value = dppo_config_new_string(text.bytes, text.length, r->line)))
            status = out_of_memory(r);
        dppo_text_free(&text);
        return status;
    }
    *value = dppo_config_new(first == '{' ? DPPO_CONFIG_MAP : DPPO_CONFIG_LIST, r->line);
    if (!*value) return out_of_memory(r);
    if (first == '{') return read_container(r, depth, *value, "}");
    if (first == '[') return read_container(r, depth, *value, "]");
    return read_word(r, *value) ? DPPO_OK : read_number(r, *value);
}

/* Where the first byte that is not UTF-8 stands; NULL when all is well. */
static const char *bad_utf8(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        size_t more = *p < 0x80                 ? 0
                      : *p >= 0xC2 && *p < 0xE0 ? 1
                      : (*p & 0xF0) == 0xE0     ? 2
                      : *p >= 0xF0 && *p < 0xF5 ? 3
                                                : 9;
        if (more == 9) return (const char *)p;
        unsigned code = *p & (more == 0 ? 0x7FU : 0x3FU >> more);
        for (size_t i = 1; i <= more; i++) {
            if ((p[i] & 0xC0) != 0x80) return (const char *)p;
            code = code << 6 | (p[i] & 0x3F);
        }
        bool longer = (more == 2 && code < 0x800) || (more == 3 && code < 0x10000);
        if (longer || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF) return (const char *)p;
        p += more + 1;
    }
    return NULL;
}

dppo_status dppo_config_parse_json(const char *text, const char *source_name, dppo_config **root) {
    reader r = {.at = text, .source = source_name, .line = 1};
    *root = NULL;
    const char *bad = bad_utf8(text);
    if (bad) return dppo_fail(DPPO_FORMAT, "%s: not UTF-8 at byte %zu", source_name, (size_t)(bad - text));
    dppo_status status = read_value(&r, 0, root);
    skip_space(&r);
    if (status == DPPO_OK && *r.at) status = fail_at(&r, "something after the value");
    if (status == DPPO_OK && !((*root)->source = strdup(source_name))) status = out_of_memory(&r);
    if (status != DPPO_OK) {
        dppo_config_free(*root);
        *root = NULL;
    }
    return status;
}
