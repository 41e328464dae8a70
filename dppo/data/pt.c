/* torch.save's two formats: a pickle that describes tensors, and their storages as raw bytes; in a zip
 * archive, or (before 1.6, and on demand after) in one file one after the other.
 *
 * A pickle is a program for a stack machine that may call anything in Python. This machine knows the opcodes
 * that torch.save emits (protocol 2), and can call exactly three functions, all of its own: OrderedDict(),
 * torch._utils._rebuild_tensor_v2 and _rebuild_parameter. Everything else is refused by name. */
#include "data/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32, MAX_ENTRIES = 20000, MAX_VALUES = 1 << 22, MAX_NAME = 1024 };

typedef enum kind {
    NONE,
    BOOLEAN,
    INTEGER,
    REAL,
    STRING,
    MARK,
    GLOBAL,
    STORAGE,
    TENSOR,
    TUPLE,
    LIST,
    DICT
} kind;

static const char *const kind_names[] = {"None",    "a bool",    "an int",   "a float", "a string", "a mark",
                                         "a class", "a storage", "a tensor", "a tuple", "a list",   "a dict"};

typedef struct value value;

/* A tuple, list or dict (keys and values alternate); shared by all values that refer to it. */
typedef struct sequence {
    value *items;
    size_t count, capacity;
} sequence;

typedef struct storage {
    const char *key;
    int type; /* index into storage_types */
    int64_t numel;
    uint8_t *bytes;       /* owned by the reader, of a legacy file a part of it; NULL until used */
    struct storage *next; /* of all storages read */
} storage;

typedef struct tensor {
    storage *storage;
    int64_t offset; /* in elements, as the strides */
    int ndim;
    int64_t shape[DPPO_MAX_DIMS], stride[DPPO_MAX_DIMS];
} tensor;

struct value {
    kind kind;
    union {
        int64_t integer; /* also BOOLEAN */
        double real;
        const char *string;
        int global; /* index into globals */
        storage *storage;
        tensor *tensor;
        sequence *sequence;
    };
};

/* How a storage's elements are read: copied, widened to int64, or half precision to float32. */
typedef enum encoding { PLAIN, SIGNED_INTEGER, UNSIGNED_BYTE, HALF, BFLOAT16 } encoding;

static const struct {
    const char *name;
    size_t size;
    dppo_dtype dtype;
    encoding encoding;
} storage_types[] = {{"FloatStorage", 4, DPPO_F32, PLAIN},
                     {"DoubleStorage", 8, DPPO_F64, PLAIN},
                     {"LongStorage", 8, DPPO_I64, PLAIN},
                     {"IntStorage", 4, DPPO_I64, SIGNED_INTEGER},
                     {"ShortStorage", 2, DPPO_I64, SIGNED_INTEGER},
                     {"CharStorage", 1, DPPO_I64, SIGNED_INTEGER},
                     {"ByteStorage", 1, DPPO_I64, UNSIGNED_BYTE},
                     {"BoolStorage", 1, DPPO_BOOL, PLAIN},
                     {"HalfStorage", 2, DPPO_F32, HALF},
                     {"BFloat16Storage", 2, DPPO_F32, BFLOAT16}};
enum { STORAGE_TYPES = sizeof storage_types / sizeof *storage_types };

/* Numbers of the whitelisted globals; a storage type is FIRST_STORAGE + its index. */
enum { ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, FIRST_STORAGE };

typedef struct machine {
    const char *path, *prefix; /* "archive/" */
    const char *part;          /* what of the file the pickle is, for messages */
    zip_t *archive;            /* NULL: the legacy format */
    dppo_arena *arena;         /* all values; gone at the end, whatever happened */
    const uint8_t *at, *end;
    value *stack, *memo;
    size_t depth, capacity, memo_size;
    size_t values; /* made so far, a bound on memory */
    storage *storages;
    uint64_t budget; /* bytes of tensors still believable */
    dppo_named *into;
} machine;

static dppo_status broken(const machine *m, const char *what) {
    return dppo_fail(DPPO_FORMAT, "%s: %s: %s", m->path, m->part, what);
}

static dppo_status out_of_memory(const machine *m) {
    return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", m->path);
}

/* -- the stack -- */
/* Room for one more value; arena arrays grow by copying. */
static bool grow(machine *m, value **items, size_t count, size_t *capacity) {
    if (count < *capacity) return true;
    size_t larger = *capacity ? 2 * *capacity : 8;
    value *moved = dppo_arena_alloc(m->arena, larger * sizeof *moved);
    if (!moved) return false;
    if (count > 0) memcpy(moved, *items, count * sizeof *moved);
    *items = moved;
    *capacity = larger;
    return true;
}

static dppo_status push(machine *m, value v) {
    if (++m->values > MAX_VALUES) return broken(m, "more values than any checkpoint has");
    if (!grow(m, &m->stack, m->depth, &m->capacity)) return out_of_memory(m);
    m->stack[m->depth++] = v;
    return DPPO_OK;
}

static dppo_status pop(machine *m, value *v) {
    if (m->depth == 0 || m->stack[m->depth - 1].kind == MARK) return broken(m, "the stack is empty");
    *v = m->stack[--m->depth];
    return DPPO_OK;
}

static dppo_status push_sequence(machine *m, kind k, const value *items, size_t count) {
    sequence *s = dppo_arena_alloc(m->arena, sizeof *s);
    value *copy = count ? dppo_arena_alloc(m->arena, count * sizeof *copy) : NULL;
    if (!s || (count && !copy)) return out_of_memory(m);
    if (count) memcpy(copy, items, count * sizeof *copy);
    *s = (sequence){copy, count, count};
    return push(m, (value){.kind = k, .sequence = s});
}

static dppo_status append(machine *m, sequence *s, value v) {
    if (!grow(m, &s->items, s->count, &s->capacity)) return out_of_memory(m);
    s->items[s->count++] = v;
    return DPPO_OK;
}

/* Where the values above the last mark begin. */
static dppo_status above_mark(const machine *m, size_t *first) {
    *first = 0;
    for (size_t i = m->depth; i-- > 0;)
        if (m->stack[i].kind == MARK) {
            *first = i + 1;
            return DPPO_OK;
        }
    return broken(m, "a mark is missing");
}

/* -- operands -- */
static dppo_status take(machine *m, size_t count, const uint8_t **bytes) {
    *bytes = m->at;
    if ((size_t)(m->end - m->at) < count) return broken(m, "truncated");
    m->at += count;
    return DPPO_OK;
}

/* A little-endian unsigned operand of up to 4 bytes. */
static dppo_status take_number(machine *m, size_t size, uint32_t *number) {
    const uint8_t *bytes;
    *number = 0;
    DPPO_TRY(take(m, size, &bytes));
    for (size_t i = size; i-- > 0;)
        *number = *number << 8 | bytes[i];
    return DPPO_OK;
}

static dppo_status push_integer(machine *m, int64_t integer) {
    return push(m, (value){.kind = INTEGER, .integer = integer});
}

/* LONG1: two's complement of at most 8 bytes. */
static dppo_status op_long(machine *m) {
    uint32_t size;
    const uint8_t *bytes;
    uint64_t bits = 0;
    DPPO_TRY(take_number(m, 1, &size));
    if (size > 8) return broken(m, "an integer beyond 64 bits");
    DPPO_TRY(take(m, size, &bytes));
    for (size_t i = size; i-- > 0;)
        bits = bits << 8 | bytes[i];
    if (size > 0 && size < 8 && bytes[size - 1] >= 0x80) bits |= ~(uint64_t)0 << (8 * size);
    return push_integer(m, (int64_t)bits);
}

static dppo_status op_float(machine *m) {
    const uint8_t *bytes;
    uint64_t bits = 0;
    value v = {.kind = REAL};
    DPPO_TRY(take(m, 8, &bytes));
    for (size_t i = 0; i < 8; i++)
        bits = bits << 8 | bytes[i];
    memcpy(&v.real, &bits, sizeof v.real);
    return push(m, v);
}

static dppo_status copy_string(machine *m, const uint8_t *bytes, size_t length, const char **string) {
    if (memchr(bytes, '\0', length)) return broken(m, "a string holds a NUL");
    char *copy = dppo_arena_alloc(m->arena, length + 1);
    if (!copy) return out_of_memory(m);
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    *string = copy;
    return DPPO_OK;
}

static dppo_status op_string(machine *m) {
    uint32_t length;
    const uint8_t *bytes;
    value v = {.kind = STRING};
    DPPO_TRY(take_number(m, 4, &length));
    DPPO_TRY(take(m, length, &bytes));
    DPPO_TRY(copy_string(m, bytes, length, &v.string));
    return push(m, v);
}

static dppo_status take_line(machine *m, char *line, size_t size) {
    const uint8_t *newline = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (!newline || (size_t)(newline - m->at) >= size) return broken(m, "truncated");
    size_t length = (size_t)(newline - m->at);
    memcpy(line, m->at, length);
    line[length] = '\0';
    for (size_t i = 0; i < length; i++) /* the name goes into a one-line message */
        if (line[i] < ' ' || line[i] > '~') line[i] = '?';
    m->at = newline + 1;
    return DPPO_OK;
}

/* -- the whitelist -- */
static dppo_status op_global(machine *m) {
    static const char *const functions[FIRST_STORAGE][2] = {
        [ORDERED_DICT] = {"collections", "OrderedDict"},
        [REBUILD_TENSOR] = {"torch._utils", "_rebuild_tensor_v2"},
        [REBUILD_PARAMETER] = {"torch._utils", "_rebuild_parameter"}};
    char module[200], name[200];
    DPPO_TRY(take_line(m, module, sizeof module));
    DPPO_TRY(take_line(m, name, sizeof name));
    for (int i = 0; i < FIRST_STORAGE; i++)
        if (strcmp(module, functions[i][0]) == 0 && strcmp(name, functions[i][1]) == 0)
            return push(m, (value){.kind = GLOBAL, .global = i});
    for (int i = 0; strcmp(module, "torch") == 0 && i < STORAGE_TYPES; i++)
        if (strcmp(name, storage_types[i].name) == 0)
            return push(m, (value){.kind = GLOBAL, .global = FIRST_STORAGE + i});
    return dppo_fail(DPPO_FORMAT, "%s: %s refers to %s.%s, which is not allowed", m->path, m->part, module,
                     name);
}

/* ('storage', type, key, location, number of elements) names an entry of the archive. The legacy format adds
 * what part of another storage it is: None since torch 0.4. */
static dppo_status op_persistent(machine *m) {
    value id;
    DPPO_TRY(pop(m, &id));
    const value *part = id.kind == TUPLE ? id.sequence->items : NULL;
    bool right = part && id.sequence->count == (m->archive ? 5 : 6) && part[0].kind == STRING &&
                 strcmp(part[0].string, "storage") == 0 && part[1].kind == GLOBAL &&
                 part[1].global >= FIRST_STORAGE && part[2].kind == STRING && part[4].kind == INTEGER &&
                 part[4].integer >= 0 && (m->archive || part[5].kind == NONE);
    if (!right) return broken(m, "a persistent id that is not a storage");
    int type = part[1].global - FIRST_STORAGE;
    for (storage *s = m->storages; s; s = s->next)
        if (strcmp(s->key, part[2].string) == 0) {
            if (s->type != type || s->numel != part[4].integer)
                return broken(m, "a storage described in two ways");
            return push(m, (value){.kind = STORAGE, .storage = s});
        }
    storage *s = dppo_arena_alloc(m->arena, sizeof *s);
    if (!s) return out_of_memory(m);
    *s = (storage){part[2].string, type, part[4].integer, NULL, m->storages};
    m->storages = s;
    return push(m, (value){.kind = STORAGE, .storage = s});
}

/* A tuple of non-negative ints into out; -1 when it is not one. */
static int small_ints(const value *v, int64_t *out) {
    if (v->kind != TUPLE || v->sequence->count > DPPO_MAX_DIMS) return -1;
    for (size_t i = 0; i < v->sequence->count; i++) {
        if (v->sequence->items[i].kind != INTEGER || v->sequence->items[i].integer < 0) return -1;
        out[i] = v->sequence->items[i].integer;
    }
    return (int)v->sequence->count;
}

/* The last element a view touches must lie in its storage. */
static bool view_fits(const tensor *t) {
    int64_t last = t->offset, step;
    for (int d = 0; d < t->ndim; d++) {
        if (t->shape[d] == 0) return t->offset <= t->storage->numel;
        if (__builtin_mul_overflow(t->shape[d] - 1, t->stride[d], &step) ||
            __builtin_add_overflow(last, step, &last))
            return false;
    }
    return last < t->storage->numel;
}

/* (storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static dppo_status rebuild_tensor(machine *m, const sequence *arguments) {
    const value *a = arguments->items;
    if (arguments->count < 6 || arguments->count > 7 || a[0].kind != STORAGE || a[1].kind != INTEGER ||
        a[1].integer < 0)
        return broken(m, "_rebuild_tensor_v2 with arguments of other kinds");
    tensor *t = dppo_arena_alloc(m->arena, sizeof *t);
    if (!t) return out_of_memory(m);
    *t = (tensor){.storage = a[0].storage, .offset = a[1].integer};
    t->ndim = small_ints(&a[2], t->shape);
    if (t->ndim < 0 || small_ints(&a[3], t->stride) != t->ndim || !view_fits(t))
        return dppo_fail(DPPO_FORMAT, "%s: %s: a tensor does not fit its storage %s of %lld elements",
                         m->path, m->part, t->storage->key, (long long)t->storage->numel);
    return push(m, (value){.kind = TENSOR, .tensor = t});
}

static dppo_status op_reduce(machine *m) {
    value arguments, function;
    DPPO_TRY(pop(m, &arguments));
    DPPO_TRY(pop(m, &function));
    if (arguments.kind != TUPLE || function.kind != GLOBAL)
        return broken(m, "a call of something that is no function");
    const sequence *a = arguments.sequence;
    if (function.global == ORDERED_DICT && a->count == 0) return push_sequence(m, DICT, NULL, 0);
    if (function.global == REBUILD_TENSOR) return rebuild_tensor(m, a);
    if (function.global == REBUILD_PARAMETER && a->count == 3 && a->items[0].kind == TENSOR)
        return push(m, a->items[0]);
    return broken(m, "a call with arguments it does not take");
}

/* Attributes of an object: state_dict()'s OrderedDict carries _metadata, which says nothing about values. */
static dppo_status op_build(machine *m) {
    value state;
    DPPO_TRY(pop(m, &state));
    if (state.kind != DICT || m->depth == 0 || m->stack[m->depth - 1].kind != DICT)
        return broken(m, "attributes of something that is not an OrderedDict");
    return DPPO_OK;
}

/* -- containers and memo -- */
/* Moves the values from `first` on into the container below them (below the mark before them when `marked`).
 */
static dppo_status fill(machine *m, kind k, size_t first, bool marked) {
    size_t below = marked ? first - 1 : first;
    if (below == 0 || m->stack[below - 1].kind != k) return broken(m, "items of something that holds none");
    if (k == DICT && (m->depth - first) % 2 != 0) return broken(m, "a key without a value");
    sequence *container = m->stack[below - 1].sequence;
    for (size_t i = first; i < m->depth; i++) {
        if (m->stack[i].kind == MARK) return broken(m, "the stack is empty");
        DPPO_TRY(append(m, container, m->stack[i]));
    }
    m->depth = below;
    return DPPO_OK;
}

static dppo_status fill_marked(machine *m, kind k) {
    size_t first;
    DPPO_TRY(above_mark(m, &first));
    return fill(m, k, first, true);
}

static dppo_status fill_last(machine *m, kind k, size_t count) {
    if (m->depth < count) return broken(m, "the stack is empty");
    return fill(m, k, m->depth - count, false);
}

static dppo_status tuple_of(machine *m, size_t count) {
    if (m->depth < count) return broken(m, "the stack is empty");
    m->depth -= count;
    for (size_t i = 0; i < count; i++)
        if (m->stack[m->depth + i].kind == MARK) return broken(m, "the stack is empty");
    return push_sequence(m, TUPLE, m->stack + m->depth, count);
}

static dppo_status tuple_marked(machine *m) {
    size_t first;
    DPPO_TRY(above_mark(m, &first));
    size_t count = m->depth - first;
    m->depth = first - 1;
    return push_sequence(m, TUPLE, m->stack + first, count);
}

static dppo_status op_put(machine *m, size_t size) {
    uint32_t index;
    DPPO_TRY(take_number(m, size, &index));
    if (m->depth == 0 || m->stack[m->depth - 1].kind == MARK) return broken(m, "the stack is empty");
    if (index > m->values) return broken(m, "a memo number beyond all values");
    if (index >= m->memo_size) {
        size_t larger = 2 * (size_t)index + 64;
        value *memo = dppo_arena_alloc(m->arena, larger * sizeof *memo);
        if (!memo) return out_of_memory(m);
        if (m->memo_size) memcpy(memo, m->memo, m->memo_size * sizeof *memo);
        for (size_t i = m->memo_size; i < larger; i++)
            memo[i] = (value){.kind = MARK}; /* not put yet */
        m->memo = memo;
        m->memo_size = larger;
    }
    m->memo[index] = m->stack[m->depth - 1];
    return DPPO_OK;
}

static dppo_status op_get(machine *m, size_t size) {
    uint32_t index;
    DPPO_TRY(take_number(m, size, &index));
    if (index >= m->memo_size || m->memo[index].kind == MARK)
        return broken(m, "a memo number that was never put");
    return push(m, m->memo[index]);
}

/* -- the loop -- */
static dppo_status op_integer(machine *m, size_t size) {
    uint32_t number;
    DPPO_TRY(take_number(m, size, &number));
    return push_integer(m, size == 4 ? (int32_t)number : (int64_t)number);
}

static dppo_status op_protocol(machine *m) {
    uint32_t version;
    DPPO_TRY(take_number(m, 1, &version));
    return version == 2
               ? DPPO_OK
               : dppo_fail(DPPO_FORMAT, "%s: %s: pickle protocol %u, not 2", m->path, m->part, version);
}

/* Opcodes by their letters in Python's pickle.py. */
static dppo_status execute(machine *m, uint8_t opcode) {
    switch (opcode) {
    case 0x80:
        return op_protocol(m); /* PROTO */
    case '}':
        return push_sequence(m, DICT, NULL, 0); /* EMPTY_DICT */
    case ']':
        return push_sequence(m, LIST, NULL, 0); /* EMPTY_LIST */
    case ')':
        return push_sequence(m, TUPLE, NULL, 0); /* EMPTY_TUPLE */
    case '(':
        return push(m, (value){.kind = MARK}); /* MARK */
    case 'N':
        return push(m, (value){.kind = NONE}); /* NONE */
    case 0x88:
        return push(m, (value){.kind = BOOLEAN, .integer = 1}); /* NEWTRUE */
    case 0x89:
        return push(m, (value){.kind = BOOLEAN, .integer = 0}); /* NEWFALSE */
    case 'K':
        return op_integer(m, 1); /* BININT1 */
    case 'M':
        return op_integer(m, 2); /* BININT2 */
    case 'J':
        return op_integer(m, 4); /* BININT */
    case 0x8a:
        return op_long(m); /* LONG1 */
    case 'G':
        return op_float(m); /* BINFLOAT */
    case 'X':
        return op_string(m); /* BINUNICODE */
    case 'c':
        return op_global(m); /* GLOBAL */
    case 'Q':
        return op_persistent(m); /* BINPERSID */
    case 'R':
        return op_reduce(m); /* REDUCE */
    case 'b':
        return op_build(m); /* BUILD */
    case 'q':
        return op_put(m, 1); /* BINPUT */
    case 'r':
        return op_put(m, 4); /* LONG_BINPUT */
    case 'h':
        return op_get(m, 1); /* BINGET */
    case 'j':
        return op_get(m, 4); /* LONG_BINGET */
    case 't':
        return tuple_marked(m); /* TUPLE */
    case 0x85:
        return tuple_of(m, 1); /* TUPLE1 */
    case 0x86:
        return tuple_of(m, 2); /* TUPLE2 */
    case 0x87:
        return tuple_of(m, 3); /* TUPLE3 */
    case 's':
        return fill_last(m, DICT, 2); /* SETITEM */
    case 'u':
        return fill_marked(m, DICT); /* SETITEMS */
    case 'a':
        return fill_last(m, LIST, 1); /* APPEND */
    case 'e':
        return fill_marked(m, LIST); /* APPENDS */
    default:
        return dppo_fail(DPPO_FORMAT, "%s: %s: opcode 0x%02x is not allowed", m->path, m->part, opcode);
    }
}

/* The pickle at m->at; what an earlier one left is forgotten. */
static dppo_status run(machine *m, value *result) {
    const uint8_t *opcode;
    m->depth = m->memo_size = 0;
    for (;;) {
        DPPO_TRY(take(m, 1, &opcode));
        if (*opcode == '.') return pop(m, result);
        DPPO_TRY(execute(m, *opcode));
    }
}

/* -- results -- */
static dppo_status load_storage(machine *m, storage *s) {
    char name[DPPO_PATH_TEXT];
    size_t length;
    uint64_t wanted;
    if (s->bytes) return DPPO_OK;
    (void)snprintf(name, sizeof name, "%sdata/%s", m->prefix, s->key);
    zip_int64_t index = zip_name_locate(m->archive, name, 0);
    if (index < 0) return dppo_fail(DPPO_FORMAT, "%s: %s: missing", m->path, name);
    DPPO_TRY(dppo_zip_read(m->path, m->archive, (zip_uint64_t)index, &s->bytes, &length));
    if (!__builtin_mul_overflow((uint64_t)s->numel, storage_types[s->type].size, &wanted) && length == wanted)
        return DPPO_OK;
    return dppo_fail(DPPO_FORMAT, "%s: %s: %zu bytes for %lld elements of %s", m->path, name, length,
                     (long long)s->numel, storage_types[s->type].name);
}

static float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h >> 15) << 31, exponent = (h >> 10) & 0x1F, fraction = h & 0x3FF, bits;
    float out;
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 */
        out = (float)fraction * 0x1p-24F;
        return sign ? -out : out;
    }
    if (exponent == 31)
        bits = sign | 0x7F800000U | fraction << 13;
    else
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    memcpy(&out, &bits, sizeof out);
    return out;
}

/* Element `index` of the storage into element i of `out`. */
static void put_element(const storage *s, int64_t index, dppo_tensor *out, int64_t i) {
    size_t size = storage_types[s->type].size;
    const uint8_t *p = s->bytes + (size_t)index * size;
    int16_t i2 = 0;
    int32_t i4 = 0;
    uint16_t h = 0;
    if (size == 2) memcpy(&h, p, 2);
    switch (storage_types[s->type].encoding) {
    case PLAIN:
        memcpy((uint8_t *)out->data + (size_t)i * size, p, size);
        break;
    case UNSIGNED_BYTE:
        dppo_i64(out)[i] = *p;
        break;
    case HALF:
        dppo_f32(out)[i] = half_to_float(h);
        break;
    case BFLOAT16:
        memset(&dppo_f32(out)[i], 0, 2);
        memcpy((uint8_t *)&dppo_f32(out)[i] + 2, p, 2);
        break;
    case SIGNED_INTEGER:
        memcpy(&i2, p, size == 2 ? 2 : 0);
        memcpy(&i4, p, size == 4 ? 4 : 0);
        dppo_i64(out)[i] = size == 1 ? (int8_t)*p : size == 2 ? i2 : i4;
        break;
    }
}

static dppo_status add_tensor(machine *m, const char *name, const tensor *t) {
    dppo_tensor *out;
    dppo_dtype dtype = storage_types[t->storage->type].dtype;
    uint64_t bytes = dppo_dtype_size(dtype);
    bool too_large = false;
    for (int d = 0; d < t->ndim; d++)
        too_large = __builtin_mul_overflow(bytes, (uint64_t)t->shape[d], &bytes) || too_large;
    if (too_large || bytes > m->budget)
        return dppo_fail(DPPO_FORMAT, "%s: %s: tensors much larger than the file", m->path, name);
    m->budget -= bytes;
    DPPO_TRY(load_storage(m, t->storage));
    DPPO_TRY(dppo_file_add(m->path, name, dtype, t->ndim, t->shape, m->into, &out));
    int64_t count = dppo_numel(out), index[DPPO_MAX_DIMS] = {0}, at = t->offset;
    for (int64_t i = 0; i < count; i++) {
        put_element(t->storage, at, out, i);
        for (int d = t->ndim - 1; d >= 0; d--) {
            at += t->stride[d];
            if (++index[d] < t->shape[d]) break;
            at -= t->stride[d] * t->shape[d];
            index[d] = 0;
        }
    }
    for (int64_t i = 0; dtype == DPPO_BOOL && i < count; i++)
        if (dppo_bool(out)[i] > 1)
            return dppo_fail(DPPO_FORMAT, "%s: %s: a bool of another value", m->path, name);
    return DPPO_OK;
}

static dppo_status add_value(machine *m, dppo_text *name, const value *v, int depth);

/* The child `key` (or number `index`) under "name/key". */
static dppo_status add_child(machine *m, dppo_text *name, const value *key, size_t index, const value *v,
                             int depth) {
    size_t length = name->length;
    if (length > 0) dppo_text_add(name, "/");
    if (!key)
        dppo_text_format(name, "%zu", index);
    else if (key->kind == STRING)
        dppo_text_add(name, key->string);
    else if (key->kind == INTEGER)
        dppo_text_format(name, "%lld", (long long)key->integer);
    else
        return dppo_fail(DPPO_FORMAT, "%s: a key that is %s", m->path, kind_names[key->kind]);
    if (name->failed) return out_of_memory(m);
    if (name->length > MAX_NAME) return broken(m, "a name longer than any of ours");
    DPPO_TRY(add_value(m, name, v, depth + 1));
    name->length = length;
    name->bytes[length] = '\0';
    return DPPO_OK;
}

/* Strings and None carry nothing a tensor could hold and are passed over. */
static dppo_status add_value(machine *m, dppo_text *name, const value *v, int depth) {
    if (depth > MAX_DEPTH) return broken(m, "nested too deeply");
    if (++m->values > MAX_VALUES || m->into->count > MAX_ENTRIES)
        return broken(m, "more values than any checkpoint has");
    const char *path = name->bytes;
    dppo_tensor *out;
    switch (v->kind) {
    case TENSOR:
        return add_tensor(m, path, v->tensor);
    case INTEGER:
        DPPO_TRY(dppo_file_add(m->path, path, DPPO_I64, 0, NULL, m->into, &out));
        *dppo_i64(out) = v->integer;
        return DPPO_OK;
    case REAL:
        DPPO_TRY(dppo_file_add(m->path, path, DPPO_F64, 0, NULL, m->into, &out));
        *dppo_f64(out) = v->real;
        return DPPO_OK;
    case BOOLEAN:
        DPPO_TRY(dppo_file_add(m->path, path, DPPO_BOOL, 0, NULL, m->into, &out));
        *dppo_bool(out) = (uint8_t)v->integer;
        return DPPO_OK;
    case NONE:
    case STRING:
        return DPPO_OK;
    case DICT:
        for (size_t i = 0; i + 1 < v->sequence->count; i += 2)
            DPPO_TRY(add_child(m, name, &v->sequence->items[i], 0, &v->sequence->items[i + 1], depth));
        return DPPO_OK;
    case LIST:
    case TUPLE:
        for (size_t i = 0; i < v->sequence->count; i++)
            DPPO_TRY(add_child(m, name, NULL, i, &v->sequence->items[i], depth));
        return DPPO_OK;
    default:
        return dppo_fail(DPPO_FORMAT, "%s: %s is %s", m->path, path, kind_names[v->kind]);
    }
}

static dppo_status run_for_dict(machine *m, value *result) {
    DPPO_TRY(run(m, result));
    if (result->kind == DICT) return DPPO_OK;
    return dppo_fail(DPPO_FORMAT, "%s: holds %s, not a dict", m->path, kind_names[result->kind]);
}

static dppo_status add_all(machine *m, const value *dict) {
    dppo_text name = {0};
    dppo_text_add(&name, "");
    dppo_status status = name.failed ? out_of_memory(m) : add_value(m, &name, dict, 0);
    dppo_text_free(&name);
    return status;
}

/* -- the archive -- */
/* A legacy file begins with a pickled number: protocol 2, LONG1 of 10 bytes. */
static const uint8_t legacy_start[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

/* Which of the two formats, by the first bytes. */
static dppo_status check_start(const char *path, bool *legacy, uint64_t *bytes) {
    uint8_t start[sizeof legacy_start] = {0};
    *bytes = 0;
    FILE *file = fopen(path, "rbe");
    if (!file) return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    size_t length = fread(start, 1, sizeof start, file);
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    (void)fclose(file);
    if (size < 0) return dppo_fail(DPPO_IO, "%s: not a regular file", path);
    *bytes = (uint64_t)size;
    *legacy = length == sizeof start && memcmp(start, legacy_start, length) == 0;
    if (*legacy) return DPPO_OK;
    if (length >= 4 && memcmp(start, "PK\3\4", 4) == 0) return DPPO_OK;
    return dppo_fail(DPPO_FORMAT, "%s: neither a checkpoint of ours nor a torch.save file", path);
}

/* "archive/" of "archive/data.pkl"; the folder is named after the file by newer versions. */
static dppo_status find_pickle(machine *m, zip_uint64_t *index, char *prefix, size_t size) {
    static const char name[] = "data.pkl";
    zip_int64_t count = zip_get_num_entries(m->archive, 0);
    *index = 0;
    for (zip_int64_t i = 0; i < count; i++) {
        const char *entry = zip_get_name(m->archive, (zip_uint64_t)i, 0);
        size_t length = entry ? strlen(entry) : 0, tail = sizeof name - 1;
        if (length <= tail || length - tail >= size || strcmp(entry + length - tail, name) != 0) continue;
        if (strchr(entry, '/') != entry + length - tail - 1) continue;
        *index = (zip_uint64_t)i;
        memcpy(prefix, entry, length - tail);
        prefix[length - tail] = '\0';
        return DPPO_OK;
    }
    return dppo_fail(DPPO_FORMAT, "%s: a zip archive without data.pkl, not a torch.save file", m->path);
}

/* Newer versions state the byte order of storages. */
static dppo_status check_byteorder(const machine *m) {
    char name[DPPO_PATH_TEXT];
    uint8_t *bytes;
    size_t length;
    (void)snprintf(name, sizeof name, "%sbyteorder", m->prefix);
    zip_int64_t index = zip_name_locate(m->archive, name, 0);
    if (index < 0) return DPPO_OK;
    DPPO_TRY(dppo_zip_read(m->path, m->archive, (zip_uint64_t)index, &bytes, &length));
    bool little = length == 6 && memcmp(bytes, "little", 6) == 0;
    free(bytes);
    return little ? DPPO_OK : dppo_fail(DPPO_FORMAT, "%s: written on a big-endian machine", m->path);
}

static dppo_status read_archive(machine *m) {
    char prefix[512];
    zip_uint64_t index;
    uint8_t *pickle;
    size_t length;
    value result;
    DPPO_TRY(find_pickle(m, &index, prefix, sizeof prefix));
    m->prefix = prefix;
    m->part = "data.pkl";
    DPPO_TRY(check_byteorder(m));
    DPPO_TRY(dppo_zip_read(m->path, m->archive, index, &pickle, &length));
    m->at = pickle;
    m->end = pickle + length;
    dppo_status status = run_for_dict(m, &result);
    if (status == DPPO_OK) status = add_all(m, &result);
    for (storage *s = m->storages; s; s = s->next)
        free(s->bytes);
    free(pickle);
    return status;
}

/* -- the legacy format: pickles of the number above, a version, the writer's machine, what was saved and the
 * list of storages, then each storage as its number of elements (int64) and their bytes. */
static storage *find_storage(const machine *m, const value *key) {
    for (storage *s = m->storages; s; s = s->next)
        if (key->kind == STRING && strcmp(s->key, key->string) == 0) return s;
    return NULL;
}

static dppo_status check_machine(machine *m) {
    value version, about;
    DPPO_TRY(run(m, &version));
    if (version.kind != INTEGER || version.integer != 1001)
        return broken(m, "a version of the format other than 1001");
    DPPO_TRY(run_for_dict(m, &about));
    for (size_t i = 0; i + 1 < about.sequence->count; i += 2) {
        const value *key = &about.sequence->items[i], *said = key + 1;
        if (key->kind == STRING && strcmp(key->string, "little_endian") == 0 && said->kind == BOOLEAN &&
            !said->integer)
            return dppo_fail(DPPO_FORMAT, "%s: written on a big-endian machine", m->path);
    }
    return DPPO_OK;
}

/* `file` (length) is where the storages' bytes stay. */
static dppo_status find_bytes(machine *m, uint8_t *file, const value *keys) {
    const uint8_t *bytes;
    for (size_t i = 0; i < keys->sequence->count; i++) {
        storage *s = find_storage(m, &keys->sequence->items[i]);
        int64_t numel;
        uint64_t size;
        if (!s || s->bytes) return broken(m, "a storage of no tensor, or one listed twice");
        DPPO_TRY(take(m, sizeof numel, &bytes));
        memcpy(&numel, bytes, sizeof numel);
        if (numel != s->numel || __builtin_mul_overflow((uint64_t)numel, storage_types[s->type].size, &size))
            return broken(m, "a storage described in two ways");
        DPPO_TRY(take(m, size, &bytes));
        s->bytes = file + (bytes - file);
    }
    for (const storage *s = m->storages; s; s = s->next)
        if (!s->bytes) return broken(m, "a storage is missing");
    return DPPO_OK;
}

static dppo_status read_legacy(machine *m) {
    value result, keys;
    char *file;
    size_t length;
    DPPO_TRY(dppo_read_file(m->path, &file, &length));
    m->part = "pickle";
    m->at = (uint8_t *)file + sizeof legacy_start;
    m->end = (uint8_t *)file + length;
    dppo_status status = check_machine(m);
    if (status == DPPO_OK) status = run_for_dict(m, &result);
    if (status == DPPO_OK) status = run(m, &keys);
    if (status == DPPO_OK && keys.kind != LIST) status = broken(m, "the storages are not a list");
    if (status == DPPO_OK) status = find_bytes(m, (uint8_t *)file, &keys);
    if (status == DPPO_OK) status = add_all(m, &result);
    free(file);
    return status;
}

dppo_status dppo_pt_read(const char *path, dppo_named *into) {
    machine m = {.path = path, .into = into};
    uint64_t bytes;
    bool legacy;
    DPPO_TRY(check_start(path, &legacy, &bytes));
    /* Weights appear several times under several names; more than this is an attack. */
    m.budget = ((uint64_t)16 << 20) + 64 * bytes;
    if (!legacy) DPPO_TRY(dppo_zip_open(path, &m.archive));
    m.arena = dppo_arena_new();
    dppo_status status = !m.arena ? out_of_memory(&m) : legacy ? read_legacy(&m) : read_archive(&m);
    if (m.arena) dppo_arena_free(m.arena);
    if (m.archive) zip_discard(m.archive);
    return status;
}
