/* HDF5 files as named tensors. A file may come from anywhere: every size is checked against the bytes behind
 * it, and nothing outside the file is followed. */
#include "data/files.h"

#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Hard links can form cycles and a small file can name a million data sets. */
enum { MAX_DEPTH = 16, MAX_DATASETS = 20000 };

typedef struct reader {
    const char *path;
    uint64_t file_bytes;
    dppo_named *into;
    char name[1024]; /* of the current object, from the root group */
    int depth;
    size_t datasets;
    dppo_status status;
} reader;

/* HDF5 prints its error stack unless told not to, and loads filter plugins from disk. */
static void quiet(void) {
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    (void)H5PLset_loading_state(0);
}

static dppo_status fail_at(const reader *r, const char *reason) {
    return dppo_fail(DPPO_FORMAT, "%s: %s: %s", r->path, r->name, reason);
}

/* numpy's bool as h5py stores it: an enumeration FALSE, TRUE of one byte. */
static bool is_bool_enum(hid_t type) {
    char *first = NULL, *second = NULL;
    if (H5Tget_size(type) != 1 || H5Tget_nmembers(type) != 2) return false;
    first = H5Tget_member_name(type, 0);
    second = H5Tget_member_name(type, 1);
    bool both = first && second && strcmp(first, "FALSE") == 0 && strcmp(second, "TRUE") == 0;
    (void)H5free_memory(first);
    (void)H5free_memory(second);
    return both;
}

typedef enum element { FLOATS, DOUBLES, INTEGERS, BYTES, BOOLS, SKIP, UNKNOWN } element;

/* Half precision is read as float32, strings are passed over (D4RL keeps remarks among its data). */
static element element_of(hid_t type) {
    size_t size = H5Tget_size(type);
    switch (H5Tget_class(type)) {
    case H5T_FLOAT:
        return size <= 4 ? FLOATS : size == 8 ? DOUBLES : UNKNOWN;
    case H5T_INTEGER:
        return size > 8 ? UNKNOWN : size == 1 && H5Tget_sign(type) == H5T_SGN_NONE ? BYTES : INTEGERS;
    case H5T_ENUM:
        return is_bool_enum(type) ? BOOLS : UNKNOWN;
    case H5T_STRING:
        return SKIP;
    default:
        return UNKNOWN;
    }
}

/* Data must lie in this file: not in external files, not in a view of others. */
static bool own_storage(hid_t dataset) {
    hid_t plist = H5Dget_create_plist(dataset);
    bool own = plist >= 0 && H5Pget_external_count(plist) == 0 && H5Pget_layout(plist) != H5D_VIRTUAL;
    if (plist >= 0) (void)H5Pclose(plist);
    return own;
}

/* Shape of a simple or scalar space; -1 for others, for too many dimensions and for sizes nobody can mean. */
static int shape_of(const reader *r, hid_t dataset, hid_t space, size_t element_size, int64_t *shape) {
    hsize_t sizes[DPPO_MAX_DIMS];
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int ndim = H5Sget_simple_extent_ndims(space);
    if ((class != H5S_SIMPLE && class != H5S_SCALAR) || ndim < 0 || ndim > DPPO_MAX_DIMS) return -1;
    if (ndim > 0 && H5Sget_simple_extent_dims(space, sizes, NULL) != ndim) return -1;
    uint64_t bytes = element_size, stored = H5Dget_storage_size(dataset);
    bool empty = false;
    for (int d = 0; d < ndim; d++) {
        if (sizes[d] > INT64_MAX || __builtin_mul_overflow(bytes, sizes[d] ? sizes[d] : 1, &bytes)) return -1;
        empty = empty || sizes[d] == 0;
        shape[d] = (int64_t)sizes[d];
    }
    if (stored > r->file_bytes) stored = r->file_bytes;
    return empty || dppo_size_believable(bytes, stored) ? ndim : -1;
}

static dppo_status read_bytes(reader *r, hid_t dataset, int ndim, const int64_t *shape) {
    size_t count = 1;
    for (int d = 0; d < ndim; d++)
        count *= (size_t)shape[d];
    uint8_t *bytes = malloc(count ? count : 1);
    if (!bytes) return dppo_fail(DPPO_NO_MEMORY, "%s: %s: out of memory", r->path, r->name);
    dppo_status status = DPPO_OK;
    if (H5Dread(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0)
        status = fail_at(r, "cannot be read (truncated or damaged)");
    if (status == DPPO_OK) status = dppo_file_add_bytes(r->path, r->name, bytes, ndim, shape, r->into);
    free(bytes);
    return status;
}

/* HDF5 converts to the type in memory; unsigned values beyond int64 arrive clipped, which is no answer. */
static dppo_status read_values(reader *r, hid_t dataset, hid_t type, element kind, int ndim,
                               const int64_t *shape) {
    static const dppo_dtype dtypes[] = {DPPO_F32, DPPO_F64, DPPO_I64, DPPO_BOOL, DPPO_BOOL};
    const hid_t memory = kind == FLOATS    ? H5T_NATIVE_FLOAT
                         : kind == DOUBLES ? H5T_NATIVE_DOUBLE
                                           : H5T_NATIVE_INT64;
    dppo_tensor *tensor;
    if (kind == BYTES) return read_bytes(r, dataset, ndim, shape);
    DPPO_TRY(dppo_file_add(r->path, r->name, dtypes[kind], ndim, shape, r->into, &tensor));
    if (H5Dread(dataset, kind == BOOLS ? type : memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor->data) < 0)
        return fail_at(r, "cannot be read (truncated or damaged)");
    int64_t count = dppo_numel(tensor);
    for (int64_t i = 0; kind == BOOLS && i < count; i++)
        if (dppo_bool(tensor)[i] > 1) return fail_at(r, "holds a bool that is neither true nor false");
    if (kind == INTEGERS && H5Tget_size(type) == 8 && H5Tget_sign(type) == H5T_SGN_NONE)
        for (int64_t i = 0; i < count; i++)
            if (dppo_i64(tensor)[i] == INT64_MAX) return fail_at(r, "holds an unsigned value beyond int64");
    return DPPO_OK;
}

static dppo_status read_dataset(reader *r, hid_t dataset) {
    int64_t shape[DPPO_MAX_DIMS];
    if (++r->datasets > MAX_DATASETS) return fail_at(r, "more data sets than any of our files has");
    hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    element kind = type < 0 || space < 0 ? UNKNOWN : element_of(type);
    dppo_status status = DPPO_OK;
    if (kind == UNKNOWN) {
        status = fail_at(r, "neither numbers nor bools");
    } else if (!own_storage(dataset)) {
        status = fail_at(r, "its data lie in another file");
    } else if (kind != SKIP) {
        size_t size = kind == FLOATS ? 4 : kind == BYTES || kind == BOOLS ? 1 : 8;
        int ndim = shape_of(r, dataset, space, size, shape);
        if (ndim < 0)
            status = fail_at(r, "its shape is too large for the file, or not one of ours");
        else
            status = read_values(r, dataset, type, kind, ndim, shape);
    }
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    return status;
}

static dppo_status read_group(reader *r, hid_t group);

/* One link of a group; returns non-zero to stop, the reason is in r->status. */
static herr_t visit(hid_t group, const char *name, const H5L_info_t *link, void *context) {
    reader *r = context;
    size_t before = strlen(r->name);
    int length = snprintf(r->name + before, sizeof r->name - before, "%s%s", before ? "/" : "", name);
    if (length < 0 || (size_t)length >= sizeof r->name - before) {
        r->status = fail_at(r, "name too long");
    } else if (link->type != H5L_TYPE_HARD) {
        r->status = fail_at(r, "links to other places are not followed");
    } else {
        hid_t object = H5Oopen(group, name, H5P_DEFAULT);
        H5I_type_t type = object < 0 ? H5I_BADID : H5Iget_type(object);
        if (type == H5I_GROUP)
            r->status = read_group(r, object);
        else if (type == H5I_DATASET)
            r->status = read_dataset(r, object);
        else if (type != H5I_DATATYPE)
            r->status = fail_at(r, "cannot be opened (damaged)");
        if (object >= 0) (void)H5Oclose(object);
    }
    r->name[before] = '\0';
    return r->status != DPPO_OK;
}

static dppo_status read_group(reader *r, hid_t group) {
    if (r->depth >= MAX_DEPTH) return fail_at(r, "nested too deeply");
    r->depth++;
    herr_t result = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, r);
    r->depth--;
    if (r->status != DPPO_OK) return r->status;
    return result < 0 ? fail_at(r, "cannot be listed (damaged)") : DPPO_OK;
}

/* Why a file cannot be opened: the system's reason, or that it is something else. */
static dppo_status open_file(const char *path, hid_t *file, uint64_t *bytes) {
    struct stat about;
    quiet();
    if (stat(path, &about) != 0) return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    if (access(path, R_OK) != 0) return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    if (!S_ISREG(about.st_mode)) return dppo_fail(DPPO_IO, "%s: not a regular file", path);
    *bytes = (uint64_t)about.st_size;
    *file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    return *file >= 0 ? DPPO_OK : dppo_fail(DPPO_FORMAT, "%s: not an HDF5 file, or truncated", path);
}

dppo_status dppo_hdf5_read(const char *path, const char *root, dppo_named *into) {
    reader r = {.path = path, .into = into};
    hid_t file;
    DPPO_TRY(open_file(path, &file, &r.file_bytes));
    hid_t group = H5Gopen2(file, root && *root ? root : "/", H5P_DEFAULT);
    dppo_status status;
    if (group < 0)
        status = dppo_fail(DPPO_MISSING, "%s: there is no group %s", path, root ? root : "/");
    else
        status = read_group(&r, group);
    if (group >= 0) (void)H5Gclose(group);
    (void)H5Fclose(file);
    return status;
}

/* Fixed or variable length, one string. */
static bool attribute_text(hid_t attribute, hid_t type, char **value) {
    if (H5Tget_class(type) != H5T_STRING) return false;
    if (H5Tis_variable_str(type) > 0) {
        char *borrowed = NULL;
        if (H5Aread(attribute, type, &borrowed) >= 0 && borrowed) *value = strdup(borrowed);
        if (borrowed) (void)H5free_memory(borrowed);
        return *value != NULL;
    }
    size_t size = H5Tget_size(type);
    if (size > (size_t)1 << 26 || H5Aget_storage_size(attribute) != size || !(*value = calloc(size + 1, 1)))
        return false;
    if (H5Aread(attribute, type, *value) >= 0) return true;
    free(*value);
    *value = NULL;
    return false;
}

dppo_status dppo_hdf5_attribute(const char *path, const char *name, char **value) {
    hid_t file;
    uint64_t bytes;
    *value = NULL;
    DPPO_TRY(open_file(path, &file, &bytes));
    if (H5Aexists(file, name) <= 0) {
        (void)H5Fclose(file);
        return dppo_fail(DPPO_MISSING, "%s: no attribute '%s'", path, name);
    }
    hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute),
          space = attribute < 0 ? -1 : H5Aget_space(attribute);
    bool good = type >= 0 && space >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                attribute_text(attribute, type, value);
    if (space >= 0) (void)H5Sclose(space);
    if (type >= 0) (void)H5Tclose(type);
    if (attribute >= 0) (void)H5Aclose(attribute);
    (void)H5Fclose(file);
    return good ? DPPO_OK : dppo_fail(DPPO_FORMAT, "%s: attribute '%s' is not a string", path, name);
}

/* -- writing -- */
static hid_t file_type(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case DPPO_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    case DPPO_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case DPPO_BOOL:
        break;
    }
    int8_t no = 0, yes = 1;
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    if (H5Tenum_insert(type, "FALSE", &no) < 0 || H5Tenum_insert(type, "TRUE", &yes) < 0) return -1;
    return type;
}

/* No time stamps, so that equal contents give equal files; shuffled gzip in chunks of about 64 KiB of whole
 * rows. */
static hid_t creation_list(const dppo_tensor *tensor, bool compressed) {
    hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    int64_t numel = dppo_numel(tensor);
    if (plist < 0 || H5Pset_obj_track_times(plist, 0) < 0) return plist;
    if (!compressed || tensor->ndim == 0 || numel < 1024) return plist;
    hsize_t chunk[DPPO_MAX_DIMS];
    int64_t row = numel / tensor->shape[0] * (int64_t)dppo_dtype_size(tensor->dtype), rows = 65536 / row;
    for (int d = 0; d < tensor->ndim; d++)
        chunk[d] = (hsize_t)tensor->shape[d];
    chunk[0] = (hsize_t)(rows < 1 ? 1 : rows < tensor->shape[0] ? rows : tensor->shape[0]);
    if (H5Pset_chunk(plist, tensor->ndim, chunk) < 0 || H5Pset_shuffle(plist) < 0) return plist;
    (void)H5Pset_deflate(plist, 6);
    return plist;
}

/* The groups on the way to `name`, without time stamps as well. */
static bool make_groups(hid_t file, const char *name) {
    char group[1024];
    bool good = strlen(name) < sizeof group;
    hid_t plist = H5Pcreate(H5P_GROUP_CREATE);
    (void)H5Pset_obj_track_times(plist, 0);
    for (const char *slash = strchr(name, '/'); good && slash; slash = strchr(slash + 1, '/')) {
        size_t length = (size_t)(slash - name);
        memcpy(group, name, length);
        group[length] = '\0';
        if (length == 0 || H5Lexists(file, group, H5P_DEFAULT) > 0) continue;
        hid_t made = H5Gcreate2(file, group, H5P_DEFAULT, plist, H5P_DEFAULT);
        good = made >= 0 && H5Gclose(made) >= 0;
    }
    (void)H5Pclose(plist);
    return good;
}

static bool write_entry(hid_t file, const dppo_named_entry *entry, bool compressed) {
    const dppo_tensor *tensor = entry->tensor;
    hsize_t sizes[DPPO_MAX_DIMS];
    for (int d = 0; d < tensor->ndim; d++)
        sizes[d] = (hsize_t)tensor->shape[d];
    if (!make_groups(file, entry->name)) return false;
    hid_t type = file_type(tensor->dtype), plist = creation_list(tensor, compressed);
    hid_t space = tensor->ndim ? H5Screate_simple(tensor->ndim, sizes, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(file, entry->name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    bool good = dataset >= 0;
    if (good && dppo_numel(tensor) > 0)
        good = H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor->data) >= 0;
    if (dataset >= 0) good = H5Dclose(dataset) >= 0 && good;
    (void)H5Sclose(space);
    (void)H5Pclose(plist);
    (void)H5Tclose(type);
    return good;
}

static bool write_attribute(hid_t file, const char *key, const char *value) {
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    (void)H5Tset_size(type, H5T_VARIABLE); /* h5py reads it as str */
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(file, key, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && H5Awrite(attribute, type, &value) >= 0;
    if (attribute >= 0) good = H5Aclose(attribute) >= 0 && good;
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    return good;
}

/* A file in memory. HDF5 cannot give up a file whose last write failed (its exit handler crashes on it), so
 * it never sees the disk: the finished image is ours to write. (Images of the newer file formats have a wrong
 * checksum in 1.10.8: the default format it is, which limits an attribute to 64 KiB.) */
static hid_t create_image(void) {
    hid_t access = H5Pcreate(H5P_FILE_ACCESS), creation = H5Pcreate(H5P_FILE_CREATE);
    (void)H5Pset_fapl_core(access, (size_t)1 << 20, 0);
    (void)H5Pset_obj_track_times(creation, 0);
    hid_t file = H5Fcreate("image", H5F_ACC_TRUNC, creation, access);
    (void)H5Pclose(creation);
    (void)H5Pclose(access);
    return file;
}

static dppo_status fill_image(const char *path, hid_t file, const dppo_named *entries,
                              const char *const *attributes, bool compressed) {
    const char *at = NULL;
    for (; !at && attributes && attributes[0]; attributes += 2)
        if (!write_attribute(file, attributes[0], attributes[1])) at = attributes[0];
    for (size_t i = 0; !at && i < entries->count; i++)
        if (!write_entry(file, &entries->entries[i], compressed)) at = entries->entries[i].name;
    if (at) return dppo_fail(DPPO_INVALID, "%s: %s: HDF5 cannot hold it under this name", path, at);
    return H5Fflush(file, H5F_SCOPE_LOCAL) >= 0 ? DPPO_OK
                                                : dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
}

static dppo_status save_image(const char *path, hid_t file) {
    ssize_t length = H5Fget_file_image(file, NULL, 0);
    void *image = length > 0 ? malloc((size_t)length) : NULL;
    if (!image || H5Fget_file_image(file, image, (size_t)length) != length) {
        free(image);
        return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    }
    dppo_status status = dppo_save_bytes(path, image, (size_t)length);
    free(image);
    return status;
}

dppo_status dppo_hdf5_write_as(const char *path, const dppo_named *entries, const char *const *attributes,
                               bool compressed) {
    quiet();
    hid_t file = create_image();
    if (file < 0) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    dppo_status status = fill_image(path, file, entries, attributes, compressed);
    if (status == DPPO_OK) status = save_image(path, file);
    (void)H5Fclose(file);
    return status;
}

dppo_status dppo_hdf5_write(const char *path, const dppo_named *entries, const char *const *attributes) {
    return dppo_hdf5_write_as(path, entries, attributes, false);
}
