#include "data/files.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool dppo_size_believable(uint64_t bytes, uint64_t stored) {
    const uint64_t most = (uint64_t)1 << 33, ratio = 1032, small = (uint64_t)1 << 20;
    return bytes <= most && (bytes <= small || bytes / ratio <= stored);
}

dppo_status dppo_file_add(const char *path, const char *name, dppo_dtype dtype, int ndim,
                          const int64_t *shape, dppo_named *into, dppo_tensor **tensor) {
    if (dppo_named_get(into, name)) return dppo_fail(DPPO_FORMAT, "%s: %s: appears twice", path, name);
    *tensor = dppo_named_add(into, name, dtype, ndim, shape);
    if (*tensor) return DPPO_OK;
    char text[128];
    return dppo_fail(DPPO_NO_MEMORY, "%s: %s: no memory for shape %s", path, name,
                     dppo_shape_text(ndim, shape, text, sizeof text));
}

dppo_status dppo_file_add_bytes(const char *path, const char *name, const uint8_t *bytes, int ndim,
                                const int64_t *shape, dppo_named *into) {
    dppo_tensor *tensor;
    int64_t count = 1;
    bool is_bool = true;
    for (int d = 0; d < ndim; d++)
        count *= shape[d];
    for (int64_t i = 0; i < count; i++)
        is_bool = is_bool && bytes[i] <= 1;
    DPPO_TRY(dppo_file_add(path, name, is_bool ? DPPO_BOOL : DPPO_I64, ndim, shape, into, &tensor));
    if (is_bool && count > 0) memcpy(tensor->data, bytes, (size_t)count);
    for (int64_t i = 0; !is_bool && i < count; i++)
        dppo_i64(tensor)[i] = bytes[i];
    return DPPO_OK;
}

dppo_status dppo_check_finite(const char *path, const char *name, const dppo_tensor *array) {
    if (array->dtype != DPPO_F32 && array->dtype != DPPO_F64) return DPPO_OK;
    for (int64_t i = 0, count = dppo_numel(array); i < count; i++) {
        double value = dppo_tensor_at(array, i);
        if (isfinite(value)) continue;
        char place[128];
        int64_t index[DPPO_MAX_DIMS] = {0}, rest = i;
        for (int d = array->ndim - 1; d >= 0; rest /= array->shape[d--])
            index[d] = rest % array->shape[d];
        return dppo_fail(DPPO_FORMAT, "%s: %s: element %s is %g", path, name,
                         dppo_shape_text(array->ndim, index, place, sizeof place), value);
    }
    return DPPO_OK;
}

/* -- zip -- */
dppo_status dppo_zip_open(const char *path, zip_t **archive) {
    int code = 0;
    *archive = zip_open(path, ZIP_RDONLY, &code);
    if (*archive) return DPPO_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    dppo_status status =
        dppo_fail(code == ZIP_ER_OPEN || code == ZIP_ER_NOENT || code == ZIP_ER_READ ? DPPO_IO : DPPO_FORMAT,
                  "%s: %s", path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return status;
}

/* Reads to the end of the entry, which is where libzip checks the CRC. */
static bool read_entry(zip_file_t *file, uint8_t *bytes, uint64_t size) {
    uint64_t have = 0;
    while (have < size) {
        zip_int64_t got = zip_fread(file, bytes + have, size - have);
        if (got <= 0) return false;
        have += (uint64_t)got;
    }
    char extra;
    return zip_fread(file, &extra, 1) == 0;
}

dppo_status dppo_zip_read(const char *path, zip_t *archive, zip_uint64_t index, uint8_t **bytes,
                          size_t *length) {
    zip_stat_t about;
    *bytes = NULL;
    if (zip_stat_index(archive, index, 0, &about) != 0 || !(about.valid & ZIP_STAT_NAME) ||
        !(about.valid & ZIP_STAT_SIZE) || !(about.valid & ZIP_STAT_COMP_SIZE))
        return dppo_fail(DPPO_FORMAT, "%s: entry %llu is damaged", path, (unsigned long long)index);
    if (!dppo_size_believable(about.size, about.comp_size))
        return dppo_fail(DPPO_FORMAT, "%s: %s: claims %llu bytes in %llu", path, about.name,
                         (unsigned long long)about.size, (unsigned long long)about.comp_size);
    zip_file_t *file = zip_fopen_index(archive, index, 0);
    if (!file) return dppo_fail(DPPO_FORMAT, "%s: %s: %s", path, about.name, zip_strerror(archive));
    *bytes = malloc(about.size + 1);
    bool good = *bytes && read_entry(file, *bytes, about.size);
    (void)zip_fclose(file);
    *length = (size_t)about.size;
    if (good) return DPPO_OK;
    bool memory = !*bytes;
    free(*bytes);
    *bytes = NULL;
    if (memory) return dppo_fail(DPPO_NO_MEMORY, "%s: %s: out of memory", path, about.name);
    return dppo_fail(DPPO_FORMAT, "%s: %s: truncated or damaged", path, about.name);
}
