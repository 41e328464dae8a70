/* Scalars: which text is a number, a bool, null or a string, and numbers as text. */
#include "config/tree.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_NUMBER = 512 };

static bool one_of(const char *text, const char *const *words) {
    for (; *words; words++)
        if (strcmp(text, *words) == 0) return true;
    return false;
}

static bool digit(char c) {
    return c >= '0' && c <= '9';
}

/* Skips digits and underscores; false unless the first is a digit. */
static bool skip_digits(const char **p) {
    if (!digit(**p)) return false;
    while (digit(**p) || **p == '_')
        (*p)++;
    return true;
}

/* The exponent needs no sign and the mantissa no point: 1e-3 and 1e3 are floats to OmegaConf, strings to
 * plain YAML 1.1. */
static bool skip_exponent(const char **p) {
    if (**p != 'e' && **p != 'E') return false;
    (*p)++;
    if (**p == '+' || **p == '-') (*p)++;
    if (!digit(**p)) return false;
    while (digit(**p))
        (*p)++;
    return true;
}

/* OmegaConf's float: digits with a point, with an exponent, or with both; .5 too. */
static bool looks_float(const char *text) {
    const char *p = text;
    bool point = false, whole;
    if (*p == '+' || *p == '-') p++;
    whole = skip_digits(&p);
    if (*p == '.') {
        point = true;
        p++;
        if (!whole && !digit(*p)) return false;
        while (digit(*p) || *p == '_')
            p++;
    } else if (!whole) {
        return false;
    }
    bool exponent = skip_exponent(&p);
    return *p == '\0' && (point || exponent);
}

/* The base of an integer literal and where its digits begin; 0 when it is none (60: digits with colons). */
static int integer_base(const char *text, const char **digits) {
    const char *p = text;
    if (*p == '+' || *p == '-') p++;
    int base = 10;
    const char *set = "0123456789_";
    if (p[0] == '0' && (p[1] == 'b' || p[1] == 'x')) {
        base = p[1] == 'b' ? 2 : 16;
        set = base == 2 ? "01_" : "0123456789abcdefABCDEF_";
        p += 2;
    } else if (p[0] == '0' && p[1] != '\0') {
        base = 8;
        set = "01234567_";
        p++;
    } else if (!digit(*p)) {
        return 0;
    }
    *digits = p;
    size_t length = strspn(p, set);
    if (length == 0) return 0;
    if (p[length] == '\0') return base;
    if (base != 10 || p[0] == '0') return 0;
    for (p += length; *p == ':'; p += length) {
        length = digit(p[1]) ? (digit(p[2]) ? 3 : 2) : 0;
        if (length == 0 || (length == 3 && p[1] > '5')) return 0;
    }
    return *p == '\0' ? 60 : 0;
}

static int digit_value(char c) {
    if (digit(c)) return c - '0';
    return (c | 0x20) - 'a' + 10;
}

/* Accumulates downwards, so that the smallest int64 is read too. */
static bool integer_value(const char *text, const char *digits, int base, int64_t *value) {
    int64_t sum = 0, part = 0;
    for (const char *p = digits; *p; p++) {
        if (*p == '_') continue;
        if (*p == ':') {
            part = 0;
            if (__builtin_mul_overflow(sum, 60, &sum)) return false;
            continue;
        }
        int d = digit_value(*p);
        if (base != 60) {
            if (__builtin_mul_overflow(sum, base, &sum) || __builtin_sub_overflow(sum, d, &sum)) return false;
            continue;
        }
        /* Within a base-60 place the digits are decimal: undo the place so far, then add it tenfold. */
        if (__builtin_add_overflow(sum, part, &sum) || __builtin_mul_overflow(part, 10, &part) ||
            __builtin_add_overflow(part, d, &part) || __builtin_sub_overflow(sum, part, &sum))
            return false;
    }
    if (text[0] != '-' && sum == INT64_MIN) return false;
    *value = text[0] == '-' ? sum : -sum;
    return true;
}

static double float_value(const char *text) {
    char clean[LONGEST_NUMBER];
    size_t length = 0;
    for (const char *p = text; *p; p++)
        if (*p != '_') clean[length++] = *p;
    clean[length] = '\0';
    return strtod(clean, NULL);
}

static bool special_float(const char *text, double *value) {
    static const char *const nans[] = {".nan", ".NaN", ".NAN", NULL};
    static const char *const infinities[] = {".inf", ".Inf", ".INF", NULL};
    *value = (double)NAN;
    if (one_of(text, nans)) return true;
    *value = text[0] == '-' ? -(double)INFINITY : (double)INFINITY;
    return one_of(text + (text[0] == '-' || text[0] == '+'), infinities);
}

static bool is_bool(const char *text, bool *value) {
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", NULL};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", NULL};
    *value = one_of(text, yes);
    return *value || one_of(text, no);
}

/* Fills `node` (type and value); a string is left to the caller. */
static dppo_status classify(const char *text, dppo_config *node) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    const char *digits = NULL;
    node->type = DPPO_CONFIG_NULL;
    if (one_of(text, nulls)) return DPPO_OK;
    node->type = DPPO_CONFIG_BOOL;
    if (is_bool(text, &node->boolean)) return DPPO_OK;
    node->type = DPPO_CONFIG_FLOAT;
    if (special_float(text, &node->number)) return DPPO_OK;
    if (looks_float(text)) {
        node->number = float_value(text);
        return DPPO_OK;
    }
    node->type = DPPO_CONFIG_INT;
    int base = integer_base(text, &digits);
    if (base == 0)
        node->type = DPPO_CONFIG_STRING;
    else if (!integer_value(text, digits, base, &node->integer))
        return dppo_fail(DPPO_INVALID, "the integer %s does not fit in 64 bits", text);
    return DPPO_OK;
}

dppo_status dppo_config_plain(const char *text, size_t length, int line, dppo_config **node) {
    char word[LONGEST_NUMBER];
    dppo_config value = {.type = DPPO_CONFIG_STRING};
    *node = NULL;
    if (length < sizeof word) {
        memcpy(word, text, length);
        word[length] = '\0';
        DPPO_TRY(classify(word, &value));
    }
    if (value.type == DPPO_CONFIG_STRING) {
        *node = dppo_config_new_string(text, length, line);
    } else if ((*node = dppo_config_new(value.type, line))) {
        (*node)->boolean = value.boolean;
        (*node)->integer = value.integer;
        (*node)->number = value.number;
    }
    return *node ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration");
}

bool dppo_config_is_plain_string(const char *text, size_t length) {
    char word[LONGEST_NUMBER];
    dppo_config value;
    if (length >= sizeof word) return true;
    memcpy(word, text, length);
    word[length] = '\0';
    return classify(word, &value) == DPPO_OK && value.type == DPPO_CONFIG_STRING;
}

/* Shortest %e form that reads back, then laid out as Python does: an exponent below 1e-4 and from 1e16 on. */
void dppo_config_float_text(double value, char text[DPPO_NUMBER_TEXT]) {
    char scientific[DPPO_NUMBER_TEXT];
    int precision = 0;
    if (!isfinite(value)) {
        (void)snprintf(text, DPPO_NUMBER_TEXT, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    do {
        (void)snprintf(scientific, sizeof scientific, "%.*e", precision, value);
    } while (precision++ < 17 && strtod(scientific, NULL) != value);
    long exponent = strtol(strchr(scientific, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        (void)snprintf(text, DPPO_NUMBER_TEXT, "%s", scientific);
        return;
    }
    long decimals = precision - 1 - exponent;
    (void)snprintf(text, DPPO_NUMBER_TEXT, "%.*f", decimals < 1 ? 1 : (int)decimals, value);
}

bool dppo_config_scalar_text(const dppo_config *node, dppo_text *text) {
    char number[DPPO_NUMBER_TEXT];
    switch (node->type) {
    case DPPO_CONFIG_NULL:
        dppo_text_add(text, "None");
        return true;
    case DPPO_CONFIG_BOOL:
        dppo_text_add(text, node->boolean ? "True" : "False");
        return true;
    case DPPO_CONFIG_INT:
        dppo_text_format(text, "%lld", (long long)node->integer);
        return true;
    case DPPO_CONFIG_FLOAT:
        dppo_config_float_text(node->number, number);
        dppo_text_add(text, number);
        return true;
    case DPPO_CONFIG_STRING:
        dppo_text_add(text, node->string);
        return true;
    case DPPO_CONFIG_LIST:
    case DPPO_CONFIG_MAP:
        break;
    }
    return false;
}
