#include "parity/case.h"

#include <errno.h>
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 16, MAX_PATH = 1024 };
/* A shape is only a claim: a file of a few bytes may announce terabytes. */
static const double max_bytes = 0x1p32;

struct dppo_case_file {
    char *path, *source;
    int64_t seed;
    hid_t id;
    char **names; /* "function/case" */
    size_t count, capacity;
};

/* The groups of a case and where they land. */
static const struct {
    const char *name;
    size_t offset;
} groups[] = {
    {"in", offsetof(dppo_case, in)},
    {"state", offsetof(dppo_case, state)},
    {"draws", offsetof(dppo_case, draws)},
    {"out", offsetof(dppo_case, out)},
    {"cotangent", offsetof(dppo_case, cotangent)},
    {"grad", offsetof(dppo_case, grad)},
    {"state_after", offsetof(dppo_case, state_after)},
};
enum { GROUPS = sizeof groups / sizeof groups[0] };

static const char *const draw_kinds[] = {"randn",       "rand",       "randint", "randperm",
                                         "multinomial", "np.uniform", NULL};
static const char *const file_attributes[] = {"schema", "source", "seed", "command", NULL};
static const char *const case_attributes[] = {"init", "method", "args",   "manual_seed",
                                              "rtol", "atol",   "reason", NULL};
static const char *const draw_attributes[] = {"kind", NULL};

static bool listed(const char *const *list, const char *word) {
    for (; *list; list++)
        if (strcmp(*list, word) == 0) return true;
    return false;
}

/* HDF5 prints its error stack unless told not to; our own message is one line. */
static void quiet_hdf5(void) {
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* -- attributes ------------------------------------------------------------------------------------------ */

/* A scalar string attribute, of fixed or variable length; NULL in *value when it is absent. */
static dppo_status read_string(hid_t object, const char *where, const char *name, char **value) {
    *value = NULL;
    if (H5Aexists(object, name) <= 0) return DPPO_OK;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool good = attribute >= 0 && type >= 0 && H5Tget_class(type) == H5T_STRING &&
                H5Sget_simple_extent_npoints(space) == 1;
    if (good && H5Tis_variable_str(type) > 0) {
        char *borrowed = NULL;
        good = H5Aread(attribute, type, &borrowed) >= 0 && borrowed;
        if (good) *value = strdup(borrowed);
        if (borrowed) (void)H5free_memory(borrowed);
    } else if (good) {
        size_t size = H5Tget_size(type);
        *value = calloc(size + 1, 1);
        good = *value && H5Aread(attribute, type, *value) >= 0;
    }
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(attribute);
    if (good && *value) return DPPO_OK;
    free(*value);
    *value = NULL;
    return dppo_fail(DPPO_FORMAT, "%s: attribute %s is not a readable string", where, name);
}

/* A scalar number of the given class, converted to `memory`. *present tells whether it is there. */
static dppo_status read_number(hid_t object, const char *where, const char *name, hid_t memory, void *value,
                               bool *present) {
    *present = H5Aexists(object, name) > 0;
    if (!*present) return DPPO_OK;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    bool right = class == H5T_INTEGER || (class == H5T_FLOAT && H5Tget_class(memory) == H5T_FLOAT);
    bool good = attribute >= 0 && right && H5Sget_simple_extent_npoints(space) == 1 &&
                H5Aread(attribute, memory, value) >= 0;
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(attribute);
    if (good) return DPPO_OK;
    return dppo_fail(DPPO_FORMAT, "%s: attribute %s is not a number of the schema's type", where, name);
}

struct attribute_check {
    const char *where;
    const char *const *allowed;
};

static herr_t check_attribute(hid_t object, const char *name, const H5A_info_t *info, void *data) {
    const struct attribute_check *check = data;
    (void)object;
    (void)info;
    if (listed(check->allowed, name)) return 0;
    (void)dppo_fail(DPPO_FORMAT, "%s: unknown attribute %s", check->where, name);
    return 1;
}

/* A misspelt attribute would silently change what a case means, so every name must be known. */
static dppo_status check_attributes(hid_t object, const char *where, const char *const *allowed) {
    struct attribute_check check = {where, allowed};
    herr_t found = H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, check_attribute, &check);
    if (found > 0) return DPPO_FORMAT;
    if (found < 0) return dppo_fail(DPPO_FORMAT, "%s: attributes cannot be read", where);
    return DPPO_OK;
}

static dppo_status read_json(hid_t object, const char *where, const char *name, dppo_config **tree) {
    char *text, place[MAX_PATH];
    DPPO_TRY(read_string(object, where, name, &text));
    if (!text) return DPPO_OK;
    (void)snprintf(place, sizeof place, "%s: attribute %s", where, name);
    dppo_status status = dppo_config_parse_json(text, place, tree);
    free(text);
    return status == DPPO_OK || status == DPPO_NO_MEMORY ? status : DPPO_FORMAT;
}

static dppo_status read_tolerance(hid_t object, const char *where, const char *name, double *value,
                                  bool *present) {
    DPPO_TRY(read_number(object, where, name, H5T_NATIVE_DOUBLE, value, present));
    if (*present && !(*value >= 0 && isfinite(*value)))
        return dppo_fail(DPPO_FORMAT, "%s: attribute %s is %g, not a finite number >= 0", where, name,
                         *value);
    return DPPO_OK;
}

/* -- data sets --------------------------------------------------------------------------------------------
 */

/* The schema's element types. Booleans are uint8, or the enumeration h5py makes of them. */
static bool element_type(hid_t type, dppo_dtype *dtype, hid_t *memory) {
    H5T_class_t class = H5Tget_class(type);
    size_t size = H5Tget_size(type);
    if (class == H5T_FLOAT && size == 4) {
        *dtype = DPPO_F32;
        *memory = H5T_NATIVE_FLOAT;
    } else if (class == H5T_FLOAT && size == 8) {
        *dtype = DPPO_F64;
        *memory = H5T_NATIVE_DOUBLE;
    } else if (class == H5T_INTEGER && size == 8 && H5Tget_sign(type) == H5T_SGN_2) {
        *dtype = DPPO_I64;
        *memory = H5T_NATIVE_INT64;
    } else if (class == H5T_INTEGER && size == 1 && H5Tget_sign(type) == H5T_SGN_NONE) {
        *dtype = DPPO_BOOL;
        *memory = H5T_NATIVE_UINT8;
    } else if (class == H5T_ENUM && size == 1) {
        *dtype = DPPO_BOOL;
        *memory = type;
    } else {
        return false;
    }
    return true;
}

static dppo_status check_booleans(const char *where, const dppo_tensor *tensor) {
    if (tensor->dtype != DPPO_BOOL) return DPPO_OK;
    for (int64_t i = 0, count = dppo_numel(tensor); i < count; i++)
        if (dppo_bool(tensor)[i] > 1)
            return dppo_fail(DPPO_FORMAT, "%s: uint8 holds booleans, element %lld is %d", where, (long long)i,
                             dppo_bool(tensor)[i]);
    return DPPO_OK;
}

static dppo_status read_elements(hid_t set, hid_t type, hid_t space, const char *where, const char *name,
                                 dppo_named *into) {
    dppo_dtype dtype;
    hid_t memory;
    if (!element_type(type, &dtype, &memory))
        return dppo_fail(DPPO_FORMAT, "%s: element type is none of float32, float64, int64, uint8", where);
    int ndim = H5Sget_simple_extent_ndims(space);
    if (ndim < 0 || ndim > DPPO_MAX_DIMS || H5Sget_simple_extent_type(space) == H5S_NULL)
        return dppo_fail(DPPO_FORMAT, "%s: no shape of at most %d dimensions", where, DPPO_MAX_DIMS);
    hsize_t dims[DPPO_MAX_DIMS] = {0};
    int64_t shape[DPPO_MAX_DIMS];
    double bytes = (double)dppo_dtype_size(dtype);
    (void)H5Sget_simple_extent_dims(space, dims, NULL);
    for (int d = 0; d < ndim; d++) {
        shape[d] = (int64_t)dims[d];
        bytes *= (double)dims[d];
    }
    if (!(bytes <= max_bytes)) return dppo_fail(DPPO_FORMAT, "%s: claims %.3g bytes", where, bytes);
    dppo_tensor *tensor = dppo_named_add(into, name, dtype, ndim, shape);
    if (!tensor) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory for %.3g bytes", where, bytes);
    if (bytes > 0 && H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor->data) < 0)
        return dppo_fail(DPPO_FORMAT, "%s: cannot be read (truncated file?)", where);
    return check_booleans(where, tensor);
}

static dppo_status read_draw_kind(hid_t set, const char *where, dppo_named *into) {
    char **kind = &into->entries[into->count - 1].kind;
    DPPO_TRY(read_string(set, where, "kind", kind));
    if (!*kind) return dppo_fail(DPPO_FORMAT, "%s: a draw needs the attribute kind", where);
    if (!listed(draw_kinds, *kind))
        return dppo_fail(DPPO_FORMAT, "%s: unknown kind of draw %s", where, *kind);
    return DPPO_OK;
}

/* What a walk through one group of a case carries along. */
struct walk {
    const char *file_path, *case_name, *group;
    char path[MAX_PATH]; /* inside the group, "cond/state" */
    int depth;
    bool is_draws;
    dppo_named *into;
    dppo_status status;
};

static dppo_status read_set(struct walk *walk, hid_t set) {
    static const char *const none[] = {NULL};
    char where[2 * MAX_PATH];
    (void)snprintf(where, sizeof where, "%s: /%s/%s/%s", walk->file_path, walk->case_name, walk->group,
                   walk->path);
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    dppo_status status = read_elements(set, type, space, where, walk->path, walk->into);
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    if (status == DPPO_OK) status = check_attributes(set, where, walk->is_draws ? draw_attributes : none);
    if (status == DPPO_OK && walk->is_draws) status = read_draw_kind(set, where, walk->into);
    return status;
}

static herr_t visit(hid_t parent, const char *name, const H5L_info_t *info, void *data);

static dppo_status walk_group(struct walk *walk, hid_t group) {
    if (++walk->depth > MAX_DEPTH)
        return dppo_fail(DPPO_FORMAT, "%s: /%s/%s/%s: nested deeper than %d", walk->file_path,
                         walk->case_name, walk->group, walk->path, MAX_DEPTH);
    herr_t stopped = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, visit, walk);
    walk->depth--;
    if (walk->status != DPPO_OK) return walk->status;
    if (stopped < 0)
        return dppo_fail(DPPO_FORMAT, "%s: /%s/%s/%s: cannot be listed", walk->file_path, walk->case_name,
                         walk->group, walk->path);
    return DPPO_OK;
}

static herr_t visit(hid_t parent, const char *name, const H5L_info_t *info, void *data) {
    struct walk *walk = data;
    size_t length = strlen(walk->path);
    (void)info;
    int added = snprintf(walk->path + length, MAX_PATH - length, "%s%s", length ? "/" : "", name);
    hid_t object = H5Oopen(parent, name, H5P_DEFAULT);
    H5I_type_t type = object < 0 ? H5I_BADID : H5Iget_type(object);
    if (added < 0 || (size_t)added >= MAX_PATH - length)
        walk->status =
            dppo_fail(DPPO_FORMAT, "%s: /%s: a name is too long", walk->file_path, walk->case_name);
    else if (type == H5I_DATASET)
        walk->status = read_set(walk, object);
    else if (type == H5I_GROUP)
        walk->status = walk_group(walk, object);
    else
        walk->status = dppo_fail(DPPO_FORMAT, "%s: /%s/%s/%s: neither a group nor a data set",
                                 walk->file_path, walk->case_name, walk->group, walk->path);
    if (object >= 0) (void)H5Oclose(object);
    walk->path[length] = '\0';
    return walk->status != DPPO_OK;
}

/* -- cases --------------------------------------------------------------------------------------------------
 */

struct members {
    const char *file_path, *case_name;
    dppo_case *parity_case;
    dppo_status status;
};

static herr_t read_member(hid_t parent, const char *name, const H5L_info_t *info, void *data) {
    struct members *members = data;
    (void)info;
    size_t i = 0;
    while (i < GROUPS && strcmp(groups[i].name, name) != 0)
        i++;
    hid_t group = i < GROUPS ? H5Gopen2(parent, name, H5P_DEFAULT) : -1;
    if (group < 0) {
        members->status = dppo_fail(DPPO_FORMAT, "%s: /%s/%s: not a group of %s", members->file_path,
                                    members->case_name, name, DPPO_SCHEMA);
        return 1;
    }
    struct walk walk = {.file_path = members->file_path, .case_name = members->case_name, .group = name};
    walk.into = (dppo_named *)(void *)((char *)members->parity_case + groups[i].offset);
    walk.is_draws = strcmp(name, "draws") == 0;
    if (walk.is_draws) members->parity_case->has_draws = true;
    members->status = walk_group(&walk, group);
    (void)H5Gclose(group);
    return members->status != DPPO_OK;
}

static dppo_status read_attributes(hid_t group, const char *where, dppo_case *parity_case) {
    DPPO_TRY(check_attributes(group, where, case_attributes));
    DPPO_TRY(read_json(group, where, "init", &parity_case->init));
    DPPO_TRY(read_json(group, where, "args", &parity_case->args));
    DPPO_TRY(read_string(group, where, "method", &parity_case->method));
    DPPO_TRY(read_string(group, where, "reason", &parity_case->reason));
    DPPO_TRY(read_number(group, where, "manual_seed", H5T_NATIVE_INT64, &parity_case->manual_seed,
                         &parity_case->has_seed));
    DPPO_TRY(read_tolerance(group, where, "rtol", &parity_case->rtol, &parity_case->has_rtol));
    return read_tolerance(group, where, "atol", &parity_case->atol, &parity_case->has_atol);
}

dppo_status dppo_case_load(dppo_case_file *file, size_t index, dppo_case *parity_case) {
    const char *name = file->names[index];
    size_t function_length = (size_t)(strchr(name, '/') - name);
    char where[MAX_PATH];
    *parity_case = (dppo_case){0};
    quiet_hdf5();
    (void)snprintf(where, sizeof where, "%s: /%s", file->path, name);
    parity_case->file = strdup(file->path);
    parity_case->function = strndup(name, function_length);
    parity_case->name = strdup(name + function_length + 1);
    if (!parity_case->file || !parity_case->function || !parity_case->name)
        return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", where);
    hid_t group = H5Gopen2(file->id, name, H5P_DEFAULT);
    if (group < 0) return dppo_fail(DPPO_FORMAT, "%s: not a group", where);
    dppo_status status = read_attributes(group, where, parity_case);
    struct members members = {file->path, name, parity_case, DPPO_OK};
    if (status == DPPO_OK) {
        herr_t stopped = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, read_member, &members);
        status = members.status;
        if (stopped < 0 && status == DPPO_OK) status = dppo_fail(DPPO_FORMAT, "%s: cannot be listed", where);
    }
    (void)H5Gclose(group);
    return status;
}

void dppo_case_free(dppo_case *parity_case) {
    free(parity_case->file);
    free(parity_case->function);
    free(parity_case->name);
    free(parity_case->method);
    free(parity_case->reason);
    dppo_config_free(parity_case->init);
    dppo_config_free(parity_case->args);
    for (size_t i = 0; i < GROUPS; i++)
        dppo_named_free((dppo_named *)(void *)((char *)parity_case + groups[i].offset));
    *parity_case = (dppo_case){0};
}

void dppo_case_title(const dppo_case *parity_case, char *title, size_t size) {
    (void)snprintf(title, size, "%s/%s", parity_case->function, parity_case->name);
}

/* -- the list of a file -------------------------------------------------------------------------------------
 */

struct listing {
    dppo_case_file *file;
    const char *function; /* NULL at the root */
    dppo_status status;
};

static dppo_status add_name(dppo_case_file *file, const char *function, const char *name) {
    if (file->count == file->capacity) {
        size_t capacity = file->capacity ? 2 * file->capacity : 64;
        char **names = realloc(file->names, capacity * sizeof *names);
        if (!names) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", file->path);
        file->names = names;
        file->capacity = capacity;
    }
    size_t size = strlen(function) + strlen(name) + 2;
    char *whole = malloc(size);
    if (!whole) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", file->path);
    (void)snprintf(whole, size, "%s/%s", function, name);
    file->names[file->count++] = whole;
    return DPPO_OK;
}

/* Both levels, functions and their cases, hold groups only. */
static herr_t list_level(hid_t parent, const char *name, const H5L_info_t *info, void *data) {
    struct listing *listing = data;
    (void)info;
    hid_t group = H5Gopen2(parent, name, H5P_DEFAULT);
    if (group < 0) {
        listing->status =
            dppo_fail(DPPO_FORMAT, "%s: /%s%s%s: not a group", listing->file->path,
                      listing->function ? listing->function : "", listing->function ? "/" : "", name);
    } else if (listing->function) {
        listing->status = add_name(listing->file, listing->function, name);
    } else {
        struct listing inner = {listing->file, name, DPPO_OK};
        herr_t stopped = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, list_level, &inner);
        listing->status = inner.status;
        if (stopped < 0 && inner.status == DPPO_OK)
            listing->status = dppo_fail(DPPO_FORMAT, "%s: /%s: cannot be listed", listing->file->path, name);
    }
    if (group >= 0) (void)H5Gclose(group);
    return listing->status != DPPO_OK;
}

static dppo_status read_header(dppo_case_file *file) {
    char *schema = NULL;
    bool present;
    DPPO_TRY(read_string(file->id, file->path, "schema", &schema));
    if (!schema) return dppo_fail(DPPO_FORMAT, "%s: no attribute schema: not a fixture file", file->path);
    bool known = strcmp(schema, DPPO_SCHEMA) == 0;
    dppo_status status =
        known ? DPPO_OK
              : dppo_fail(DPPO_FORMAT, "%s: attribute schema is \"%s\", this program reads \"%s\"",
                          file->path, schema, DPPO_SCHEMA);
    free(schema);
    DPPO_TRY(status);
    DPPO_TRY(check_attributes(file->id, file->path, file_attributes));
    DPPO_TRY(read_string(file->id, file->path, "source", &file->source));
    return read_number(file->id, file->path, "seed", H5T_NATIVE_INT64, &file->seed, &present);
}

dppo_status dppo_case_file_open(const char *path, dppo_case_file **result) {
    *result = NULL;
    quiet_hdf5();
    if (access(path, R_OK) != 0) return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    dppo_case_file *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    }
    file->id = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    dppo_status status =
        file->id >= 0 ? read_header(file) : dppo_fail(DPPO_FORMAT, "%s: not HDF5, or truncated", path);
    if (status == DPPO_OK) {
        struct listing listing = {file, NULL, DPPO_OK};
        herr_t stopped = H5Literate(file->id, H5_INDEX_NAME, H5_ITER_INC, NULL, list_level, &listing);
        status = listing.status;
        if (stopped < 0 && status == DPPO_OK) status = dppo_fail(DPPO_FORMAT, "%s: cannot be listed", path);
    }
    if (status != DPPO_OK) {
        dppo_case_file_close(file);
        return status;
    }
    *result = file;
    return DPPO_OK;
}

void dppo_case_file_close(dppo_case_file *file) {
    if (!file) return;
    if (file->id >= 0) (void)H5Fclose(file->id);
    for (size_t i = 0; i < file->count; i++)
        free(file->names[i]);
    free(file->names);
    free(file->source);
    free(file->path);
    free(file);
}

size_t dppo_case_file_count(const dppo_case_file *file) {
    return file->count;
}

const char *dppo_case_file_name(const dppo_case_file *file, size_t index) {
    return file->names[index];
}

const char *dppo_case_file_source(const dppo_case_file *file) {
    return file->source ? file->source : "";
}

int64_t dppo_case_file_seed(const dppo_case_file *file) {
    return file->seed;
}
