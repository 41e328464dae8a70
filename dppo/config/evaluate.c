/* Python's arithmetic on ints and floats, and nothing else: no names but the functions below, no code.
 *
 *   sum     := product (('+' | '-') product)*
 *   product := unary (('*' | '/' | '//' | '%') unary)*
 *   unary   := ('+' | '-') unary | power
 *   power   := atom ['**' unary]
 *   atom    := number | '(' sum ')' | function '(' sum (',' sum)* ')'
 */
#include "config/tree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 100, MOST_ARGUMENTS = 16 };

typedef struct number {
    bool is_int;
    int64_t i;
    double f; /* valid when not is_int */
} number;

typedef struct parser {
    const char *at;
    int depth;
} parser;

static dppo_status sum(parser *p, number *out);

static double real(number a) {
    return a.is_int ? (double)a.i : a.f;
}

static number from_int(int64_t i) {
    return (number){.is_int = true, .i = i};
}

static number from_real(double f) {
    return (number){.f = f};
}

static dppo_status overflow(void) {
    return dppo_fail(DPPO_INVALID, "the result does not fit in 64 bits");
}

static void skip_space(parser *p) {
    while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n')
        p->at++;
}

static bool take(parser *p, const char *token) {
    size_t length = strlen(token);
    skip_space(p);
    if (strncmp(p->at, token, length) != 0) return false;
    p->at += length;
    return true;
}

/* -- operations -- */
static dppo_status float_to_int(double value, number *out) {
    if (!(value >= -0x1p63 && value < 0x1p63)) return overflow();
    *out = from_int((int64_t)value);
    return DPPO_OK;
}

/* Floor division and its remainder, which has the divisor's sign. */
static dppo_status floor_divide(char operation, number a, number b, number *out) {
    if (real(b) == 0.0) return dppo_fail(DPPO_INVALID, "division by zero");
    if (a.is_int && b.is_int) {
        if (a.i == INT64_MIN && b.i == -1) return overflow();
        int64_t quotient = a.i / b.i, remainder = a.i % b.i;
        if (remainder != 0 && (remainder < 0) != (b.i < 0)) {
            quotient--;
            remainder += b.i;
        }
        *out = from_int(operation == '%' ? remainder : quotient);
        return DPPO_OK;
    }
    double x = real(a), y = real(b), remainder = fmod(x, y), quotient = (x - remainder) / y;
    if (remainder != 0.0 && (remainder < 0.0) != (y < 0.0)) {
        remainder += y;
        quotient -= 1.0;
    } else if (remainder == 0.0) {
        remainder = copysign(0.0, y);
    }
    double down = floor(quotient);
    if (quotient - down > 0.5) down += 1.0;
    *out = from_real(operation == '%' ? remainder : quotient == 0.0 ? copysign(0.0, x / y) : down);
    return DPPO_OK;
}

static dppo_status integer_power(int64_t base, int64_t exponent, number *out) {
    int64_t result = 1;
    if (base == 0 || base == 1 || base == -1) {
        *out = from_int(exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base);
        return DPPO_OK;
    }
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(result, base, &result)) return overflow();
    *out = from_int(result);
    return DPPO_OK;
}

static dppo_status power_of(number a, number b, number *out) {
    if (a.is_int && b.is_int && b.i >= 0) return integer_power(a.i, b.i, out);
    double x = real(a), y = real(b);
    if (x == 0.0 && y < 0.0) return dppo_fail(DPPO_INVALID, "division by zero");
    if (x < 0.0 && y != floor(y)) return dppo_fail(DPPO_INVALID, "a root of a negative number");
    *out = from_real(pow(x, y));
    if (isinf(out->f) && isfinite(x) && isfinite(y)) return dppo_fail(DPPO_INVALID, "the power is too large");
    return DPPO_OK;
}

static dppo_status combine(char operation, number a, number b, number *out) {
    bool ints = a.is_int && b.is_int, over;
    if (operation == '%' || operation == 'f') return floor_divide(operation, a, b, out);
    if (operation == '/') {
        if (real(b) == 0.0) return dppo_fail(DPPO_INVALID, "division by zero");
        *out = from_real(real(a) / real(b));
        return DPPO_OK;
    }
    *out = from_int(0);
    if (operation == '+')
        over = __builtin_add_overflow(a.i, b.i, &out->i);
    else if (operation == '-')
        over = __builtin_sub_overflow(a.i, b.i, &out->i);
    else
        over = __builtin_mul_overflow(a.i, b.i, &out->i);
    if (ints) return over ? overflow() : DPPO_OK;
    double x = real(a), y = real(b);
    *out = from_real(operation == '+' ? x + y : operation == '-' ? x - y : x * y);
    return DPPO_OK;
}

/* -- functions -- */
static dppo_status call_min(size_t count, const number *x, number *out) {
    *out = x[0];
    for (size_t i = 1; i < count; i++)
        if (real(x[i]) < real(*out)) *out = x[i];
    return DPPO_OK;
}

static dppo_status call_max(size_t count, const number *x, number *out) {
    *out = x[0];
    for (size_t i = 1; i < count; i++)
        if (real(x[i]) > real(*out)) *out = x[i];
    return DPPO_OK;
}

static dppo_status call_int(size_t count, const number *x, number *out) {
    (void)count;
    *out = x[0];
    return x[0].is_int ? DPPO_OK : float_to_int(trunc(x[0].f), out);
}

static dppo_status call_float(size_t count, const number *x, number *out) {
    (void)count;
    *out = from_real(real(x[0]));
    return DPPO_OK;
}

static dppo_status call_abs(size_t count, const number *x, number *out) {
    (void)count;
    *out = x[0].is_int ? from_int(x[0].i) : from_real(fabs(x[0].f));
    if (!out->is_int || out->i >= 0) return DPPO_OK;
    return __builtin_sub_overflow((int64_t)0, out->i, &out->i) ? overflow() : DPPO_OK;
}

/* Half to even; with a number of decimals the result stays a float (printf rounds the exact value, as Python
 * does). */
static dppo_status call_round(size_t count, const number *x, number *out) {
    *out = x[0];
    if (count == 1) return x[0].is_int ? DPPO_OK : float_to_int(nearbyint(x[0].f), out);
    if (!x[1].is_int || x[1].i < 0 || x[1].i > 300)
        return dppo_fail(DPPO_INVALID, "round() takes 0 to 300 decimals");
    if (x[0].is_int || !isfinite(x[0].f)) return DPPO_OK;
    char text[700];
    (void)snprintf(text, sizeof text, "%.*f", (int)x[1].i, x[0].f);
    *out = from_real(strtod(text, NULL));
    return DPPO_OK;
}

static const struct {
    const char *name;
    size_t fewest, most;
    dppo_status (*call)(size_t count, const number *x, number *out);
} functions[] = {{"min", 2, MOST_ARGUMENTS, call_min},
                 {"max", 2, MOST_ARGUMENTS, call_max},
                 {"int", 1, 1, call_int},
                 {"float", 1, 1, call_float},
                 {"abs", 1, 1, call_abs},
                 {"round", 1, 2, call_round}};

static dppo_status arguments(parser *p, size_t most, number *values, size_t *count) {
    for (*count = 0; *count < most;) {
        DPPO_TRY(sum(p, &values[*count]));
        ++*count;
        if (take(p, ")")) return DPPO_OK;
        if (!take(p, ",")) return dppo_fail(DPPO_INVALID, "expected ',' or ')' at '%.20s'", p->at);
    }
    return dppo_fail(DPPO_INVALID, "more than %zu arguments at '%.20s'", most, p->at);
}

static dppo_status call(parser *p, number *out) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789.";
    const char *name = p->at;
    size_t length = strspn(name, letters), count;
    number values[MOST_ARGUMENTS];
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (strlen(functions[i].name) != length || strncmp(functions[i].name, name, length) != 0) continue;
        p->at += length;
        if (!take(p, "(")) return dppo_fail(DPPO_INVALID, "expected '(' after '%s'", functions[i].name);
        DPPO_TRY(arguments(p, functions[i].most, values, &count));
        if (count < functions[i].fewest)
            return dppo_fail(DPPO_INVALID, "%s() needs %zu arguments", functions[i].name,
                             functions[i].fewest);
        return functions[i].call(count, values, out);
    }
    return dppo_fail(DPPO_INVALID, "'%.*s' is not arithmetic", length > 40 ? 40 : (int)length, name);
}

/* -- grammar -- */
static dppo_status literal(parser *p, number *out) {
    size_t length = strspn(p->at, "0123456789.");
    if (p->at[length] == 'e' || p->at[length] == 'E') {
        length++;
        if (p->at[length] == '+' || p->at[length] == '-') length++;
        length += strspn(p->at + length, "0123456789");
    }
    dppo_config *node;
    DPPO_TRY(dppo_config_plain(p->at, length, 0, &node));
    dppo_config_type type = node->type;
    *out = type == DPPO_CONFIG_INT ? from_int(node->integer) : from_real(node->number);
    dppo_config_free(node);
    bool octal = type == DPPO_CONFIG_INT && p->at[0] == '0' && length > 1;
    if ((type != DPPO_CONFIG_INT && type != DPPO_CONFIG_FLOAT) || octal)
        return dppo_fail(DPPO_INVALID, "'%.*s' is not a number", length > 40 ? 40 : (int)length, p->at);
    p->at += length;
    return DPPO_OK;
}

static dppo_status atom(parser *p, number *out) {
    if (take(p, "(")) {
        DPPO_TRY(sum(p, out));
        return take(p, ")") ? DPPO_OK : dppo_fail(DPPO_INVALID, "expected ')' at '%.20s'", p->at);
    }
    if ((*p->at >= '0' && *p->at <= '9') || *p->at == '.') return literal(p, out);
    if ((*p->at >= 'a' && *p->at <= 'z') || (*p->at >= 'A' && *p->at <= 'Z') || *p->at == '_')
        return call(p, out);
    return dppo_fail(DPPO_INVALID, "expected a number at '%.20s'", p->at);
}

static dppo_status unary(parser *p, number *out) {
    number exponent;
    if (++p->depth > DEEPEST) return dppo_fail(DPPO_INVALID, "nested too deeply");
    bool minus = take(p, "-");
    if (minus || take(p, "+")) {
        DPPO_TRY(unary(p, out));
        if (minus && !out->is_int) out->f = -out->f;
        if (minus && out->is_int && __builtin_sub_overflow((int64_t)0, out->i, &out->i)) return overflow();
    } else {
        DPPO_TRY(atom(p, out));
        if (take(p, "**")) {
            DPPO_TRY(unary(p, &exponent));
            DPPO_TRY(power_of(*out, exponent, out));
        }
    }
    p->depth--;
    return DPPO_OK;
}

static dppo_status product(parser *p, number *out) {
    number right;
    DPPO_TRY(unary(p, out));
    for (;;) {
        char operation = take(p, "//")  ? 'f'
                         : take(p, "*") ? '*'
                         : take(p, "/") ? '/'
                         : take(p, "%") ? '%'
                                        : '\0';
        if (!operation) return DPPO_OK;
        DPPO_TRY(unary(p, &right));
        DPPO_TRY(combine(operation, *out, right, out));
    }
}

static dppo_status sum(parser *p, number *out) {
    number right;
    DPPO_TRY(product(p, out));
    for (;;) {
        char operation = take(p, "+") ? '+' : take(p, "-") ? '-' : '\0';
        if (!operation) return DPPO_OK;
        DPPO_TRY(product(p, &right));
        DPPO_TRY(combine(operation, *out, right, out));
    }
}

dppo_status dppo_config_evaluate(const char *expression, dppo_config **value) {
    parser p = {expression, 0};
    number result;
    *value = NULL;
    DPPO_TRY(sum(&p, &result));
    skip_space(&p);
    if (*p.at) return dppo_fail(DPPO_INVALID, "'%.40s' is not arithmetic", p.at);
    *value = dppo_config_new(result.is_int ? DPPO_CONFIG_INT : DPPO_CONFIG_FLOAT, 0);
    if (!*value) return dppo_fail(DPPO_NO_MEMORY, "out of memory in a configuration");
    (*value)->integer = result.i;
    (*value)->number = result.f;
    return DPPO_OK;
}
