/* numpy's .npz: a zip archive of .npy files. */
#include "data/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ENTRIES = 20000, MAX_NAME = 1024 };
static const char magic[] = "\x93NUMPY";

/* Element types by numpy's name. WIDE ones are converted to int64. */
typedef enum element { F4, F8, B1, U1, I1, I2, I4, I8, U2, U4, ELEMENTS } element;

static const struct {
    const char *name;
    size_t size;
    dppo_dtype dtype;
} elements[ELEMENTS] = {
    [F4] = {"<f4", 4, DPPO_F32}, [F8] = {"<f8", 8, DPPO_F64}, [B1] = {"|b1", 1, DPPO_BOOL},
    [U1] = {"|u1", 1, DPPO_I64}, [I1] = {"|i1", 1, DPPO_I64}, [I2] = {"<i2", 2, DPPO_I64},
    [I4] = {"<i4", 4, DPPO_I64}, [I8] = {"<i8", 8, DPPO_I64}, [U2] = {"<u2", 2, DPPO_I64},
    [U4] = {"<u4", 4, DPPO_I64}};

typedef struct array {
    element kind;
    bool fortran;
    int ndim;
    int64_t shape[DPPO_MAX_DIMS];
    const uint8_t *data;
    size_t bytes; /* from data to the end of the entry */
} array;

/* -- the header: a Python dict of three items in any order -- */
static void skip_space(const char **p) {
    while (**p == ' ' || **p == '\n')
        (*p)++;
}

static bool take(const char **p, const char *token) {
    skip_space(p);
    size_t length = strlen(token);
    if (strncmp(*p, token, length) != 0) return false;
    *p += length;
    return true;
}

/* 'text', into `out`. */
static bool quoted(const char **p, char *out, size_t size) {
    skip_space(p);
    char quote = **p;
    if (quote != '\'' && quote != '"') return false;
    const char *end = strchr(*p + 1, quote);
    size_t length = end ? (size_t)(end - *p - 1) : size;
    if (length >= size) return false;
    memcpy(out, *p + 1, length);
    out[length] = '\0';
    *p = end + 1;
    return true;
}

/* "(3, 4)", "(3,)", "()" */
static bool tuple(const char **p, array *a) {
    a->ndim = 0;
    if (!take(p, "(")) return false;
    while (!take(p, ")")) {
        int64_t size = 0;
        skip_space(p);
        if (**p < '0' || **p > '9' || a->ndim == DPPO_MAX_DIMS) return false;
        for (; **p >= '0' && **p <= '9'; (*p)++)
            if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, **p - '0', &size))
                return false;
        a->shape[a->ndim++] = size;
        if (!take(p, ",") && (skip_space(p), **p) != ')') return false;
    }
    return true;
}

/* False for something that is not a header; `descr` holds the type found. */
static bool header(const char *p, array *a, char descr[16]) {
    char key[16];
    bool has_descr = false, has_order = false, has_shape = false;
    if (!take(&p, "{")) return false;
    while (!take(&p, "}")) {
        if (!quoted(&p, key, sizeof key) || !take(&p, ":")) return false;
        if (strcmp(key, "descr") == 0 && !has_descr) {
            has_descr = quoted(&p, descr, 16);
        } else if (strcmp(key, "fortran_order") == 0 && !has_order) {
            a->fortran = take(&p, "True");
            has_order = a->fortran || take(&p, "False");
        } else if (strcmp(key, "shape") == 0 && !has_shape) {
            has_shape = tuple(&p, a);
        } else {
            return false;
        }
        if (!take(&p, ",") && (skip_space(&p), *p) != '}') return false;
    }
    return has_descr && has_order && has_shape;
}

/* Magic, version, length of the header (2 bytes in version 1, 4 later), header, data. */
static dppo_status parse(const char *where, uint8_t *bytes, size_t length, array *a) {
    char descr[16] = "";
    size_t start = 10, text = 0;
    if (length < 12 || memcmp(bytes, magic, 6) != 0)
        return dppo_fail(DPPO_FORMAT, "%s: not a .npy array", where);
    text = (size_t)(bytes[8] | bytes[9] << 8);
    if (bytes[6] > 1) {
        text |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
        start = 12;
    }
    if (bytes[6] < 1 || bytes[6] > 3 || text < 1 || text > length - start)
        return dppo_fail(DPPO_FORMAT, "%s: unknown .npy version or truncated header", where);
    bytes[start + text - 1] = '\0'; /* in the place of the final newline */
    if (!header((const char *)bytes + start, a, descr))
        return dppo_fail(DPPO_FORMAT, "%s: the .npy header makes no sense", where);
    for (a->kind = F4; a->kind < ELEMENTS; a->kind++)
        if (strcmp(elements[a->kind].name, descr) == 0) break;
    if (a->kind == ELEMENTS) return dppo_fail(DPPO_FORMAT, "%s: type '%s' is not supported", where, descr);
    if (a->fortran && a->ndim > 1) return dppo_fail(DPPO_FORMAT, "%s: Fortran order is not supported", where);
    a->data = bytes + start + text;
    a->bytes = length - start - text;
    return DPPO_OK;
}

/* The data must be exactly what the shape says: neither cut off nor followed by something else. */
static dppo_status check_size(const char *where, const array *a) {
    char text[128];
    size_t wanted = elements[a->kind].size;
    bool overflow = false, empty = false;
    for (int d = 0; d < a->ndim; d++) {
        empty = empty || a->shape[d] == 0;
        overflow = overflow || __builtin_mul_overflow(wanted, (size_t)a->shape[d], &wanted);
    }
    if (!overflow && a->bytes == (empty ? 0 : wanted)) return DPPO_OK;
    return dppo_fail(DPPO_FORMAT, "%s: %zu bytes of data for shape %s of %s", where, a->bytes,
                     dppo_shape_text(a->ndim, a->shape, text, sizeof text), elements[a->kind].name);
}

static int64_t integer_at(const array *a, int64_t i) {
    const uint8_t *p = a->data + (size_t)i * elements[a->kind].size;
    int16_t i2;
    int32_t i4;
    uint16_t u2;
    uint32_t u4;
    switch (a->kind) {
    case I1:
        return (int8_t)*p;
    case I2:
        memcpy(&i2, p, 2);
        return i2;
    case I4:
        memcpy(&i4, p, 4);
        return i4;
    case U2:
        memcpy(&u2, p, 2);
        return u2;
    case U4:
        memcpy(&u4, p, 4);
        return u4;
    default:
        return *p;
    }
}

static dppo_status add_array(const char *path, const char *name, const array *a, dppo_named *into) {
    dppo_tensor *tensor;
    if (a->kind == U1) return dppo_file_add_bytes(path, name, a->data, a->ndim, a->shape, into);
    DPPO_TRY(dppo_file_add(path, name, elements[a->kind].dtype, a->ndim, a->shape, into, &tensor));
    int64_t count = dppo_numel(tensor);
    if (a->kind == F4 || a->kind == F8 || a->kind == I8 || a->kind == B1) {
        if (a->bytes > 0) memcpy(tensor->data, a->data, a->bytes);
        for (int64_t i = 0; a->kind == B1 && i < count; i++)
            if (a->data[i] > 1)
                return dppo_fail(DPPO_FORMAT, "%s: %s: byte %u as a bool", path, name, a->data[i]);
        return DPPO_OK;
    }
    for (int64_t i = 0; i < count; i++)
        dppo_i64(tensor)[i] = integer_at(a, i);
    return DPPO_OK;
}

/* What is in an .npz under another name than *.npy is refused rather than passed over: it would be missed
 * later. */
static dppo_status read_entry(const char *path, zip_t *archive, zip_uint64_t index, dppo_named *into) {
    const char *entry = zip_get_name(archive, index, 0);
    size_t length = entry ? strlen(entry) : 0, size;
    char name[MAX_NAME], where[DPPO_PATH_TEXT + MAX_NAME];
    if (length < 5 || length >= sizeof name || strcmp(entry + length - 4, ".npy") != 0)
        return dppo_fail(DPPO_FORMAT, "%s: entry '%.100s' is not a .npy array", path, entry ? entry : "?");
    memcpy(name, entry, length - 4);
    name[length - 4] = '\0';
    (void)snprintf(where, sizeof where, "%s: %s", path, name);
    uint8_t *bytes;
    array a = {.ndim = 0};
    DPPO_TRY(dppo_zip_read(path, archive, index, &bytes, &size));
    dppo_status status = parse(where, bytes, size, &a);
    if (status == DPPO_OK) status = check_size(where, &a);
    if (status == DPPO_OK) status = add_array(path, name, &a, into);
    free(bytes);
    return status;
}

dppo_status dppo_npz_read(const char *path, dppo_named *into) {
    zip_t *archive;
    DPPO_TRY(dppo_zip_open(path, &archive));
    zip_int64_t count = zip_get_num_entries(archive, 0);
    dppo_status status = DPPO_OK;
    if (count > MAX_ENTRIES)
        status = dppo_fail(DPPO_FORMAT, "%s: more arrays than any of our files has", path);
    for (zip_int64_t i = 0; status == DPPO_OK && i < count; i++)
        status = read_entry(path, archive, (zip_uint64_t)i, into);
    zip_discard(archive);
    return status;
}

/* -- writing -- */
static void add_header(dppo_text *text, const dppo_tensor *tensor) {
    static const char *const names[] = {
        [DPPO_F32] = "<f4", [DPPO_F64] = "<f8", [DPPO_I64] = "<i8", [DPPO_BOOL] = "|b1"};
    dppo_text dict = {0};
    dppo_text_format(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", names[tensor->dtype]);
    for (int d = 0; d < tensor->ndim; d++)
        dppo_text_format(&dict, "%s%lld%s", d ? ", " : "", (long long)tensor->shape[d],
                         tensor->ndim == 1 ? "," : "");
    dppo_text_add(&dict, "), }");
    /* magic, version and length are 10 bytes; the data begin at a multiple of 64 */
    while ((10 + dict.length + 1) % 64 != 0 && !dict.failed)
        dppo_text_add(&dict, " ");
    dppo_text_add(&dict, "\n");
    const char lead[] = {1, 0, (char)(dict.length & 0xFF), (char)(dict.length >> 8)};
    dppo_text_append(text, magic, 6);
    dppo_text_append(text, lead, sizeof lead);
    if (!dict.failed) dppo_text_append(text, dict.bytes, dict.length);
    text->failed = text->failed || dict.failed;
    dppo_text_free(&dict);
}

static dppo_status add_entry(const char *path, zip_t *archive, const dppo_named_entry *entry,
                             bool compressed) {
    char name[MAX_NAME];
    dppo_text text = {0};
    size_t bytes = (size_t)dppo_numel(entry->tensor) * dppo_dtype_size(entry->tensor->dtype);
    if (snprintf(name, sizeof name, "%s.npy", entry->name) >= (int)sizeof name)
        return dppo_fail(DPPO_INVALID, "%s: %s: name too long", path, entry->name);
    add_header(&text, entry->tensor);
    dppo_text_append(&text, entry->tensor->data, bytes);
    if (text.failed) {
        dppo_text_free(&text);
        return dppo_fail(DPPO_NO_MEMORY, "%s: %s: out of memory", path, entry->name);
    }
    zip_source_t *source = zip_source_buffer(archive, text.bytes, text.length, 1);
    if (!source) {
        dppo_text_free(&text);
        return dppo_fail(DPPO_NO_MEMORY, "%s: %s: %s", path, entry->name, zip_strerror(archive));
    }
    zip_int64_t index = zip_file_add(archive, name, source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
        zip_source_free(source);
        return dppo_fail(DPPO_IO, "%s: %s: %s", path, entry->name, zip_strerror(archive));
    }
    /* The first moment zip knows (1980-01-01), as numpy writes it: equal contents give equal files. */
    if (zip_set_file_compression(archive, (zip_uint64_t)index, compressed ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                                 0) != 0 ||
        zip_file_set_dostime(archive, (zip_uint64_t)index, 0, 0x21, 0) != 0)
        return dppo_fail(DPPO_IO, "%s: %s: %s", path, entry->name, zip_strerror(archive));
    return DPPO_OK;
}

dppo_status dppo_npz_write(const char *path, const dppo_named *entries, bool compressed) {
    char temporary[DPPO_PATH_TEXT];
    int code;
    if (entries->count == 0) return dppo_fail(DPPO_INVALID, "%s: an archive of no arrays", path);
    DPPO_TRY(dppo_temporary_path(path, temporary));
    zip_t *archive = zip_open(temporary, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!archive) return dppo_fail(DPPO_IO, "%s: cannot be created", path);
    dppo_status status = DPPO_OK;
    for (size_t i = 0; status == DPPO_OK && i < entries->count; i++)
        status = add_entry(path, archive, &entries->entries[i], compressed);
    if (status == DPPO_OK && zip_close(archive) != 0)
        status = dppo_fail(DPPO_IO, "%s: %s", path, zip_strerror(archive));
    else if (status == DPPO_OK)
        return dppo_publish(temporary, path);
    zip_discard(archive);
    (void)unlink(temporary);
    return status;
}
