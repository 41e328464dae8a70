#include "base/save.h"
#include "parity/case.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dppo_case_writer {
    char *path, *temporary;
    hid_t id;
};

/* Larger data sets are compressed: below this a chunk's overhead outweighs what it saves. */
enum { COMPRESS_FROM = 4096 };

static dppo_status put_string(hid_t object, const char *name, const char *value) {
    if (!value) return DPPO_OK;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    (void)H5Tset_size(type, H5T_VARIABLE);
    (void)H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t written = attribute < 0 ? -1 : H5Awrite(attribute, type, &value);
    if (attribute >= 0) (void)H5Aclose(attribute);
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    return written < 0 ? dppo_fail(DPPO_IO, "attribute %s cannot be written", name) : DPPO_OK;
}

static dppo_status put_number(hid_t object, const char *name, hid_t type, const void *value) {
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    herr_t written = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
    if (attribute >= 0) (void)H5Aclose(attribute);
    (void)H5Sclose(space);
    return written < 0 ? dppo_fail(DPPO_IO, "attribute %s cannot be written", name) : DPPO_OK;
}

static dppo_status put_json(hid_t object, const char *name, const dppo_config *tree) {
    if (!tree) return DPPO_OK;
    dppo_text text = {0};
    dppo_config_write_json(tree, &text);
    dppo_status status = text.bytes ? put_string(object, name, text.bytes)
                                    : dppo_fail(DPPO_NO_MEMORY, "attribute %s: out of memory", name);
    dppo_text_free(&text);
    return status;
}

static hid_t stored_type(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return H5T_IEEE_F32LE;
    case DPPO_F64:
        return H5T_IEEE_F64LE;
    case DPPO_I64:
        return H5T_STD_I64LE;
    case DPPO_BOOL:
        break;
    }
    return H5T_STD_U8LE;
}

static hid_t memory_type(dppo_dtype dtype) {
    switch (dtype) {
    case DPPO_F32:
        return H5T_NATIVE_FLOAT;
    case DPPO_F64:
        return H5T_NATIVE_DOUBLE;
    case DPPO_I64:
        return H5T_NATIVE_INT64;
    case DPPO_BOOL:
        break;
    }
    return H5T_NATIVE_UINT8;
}

static hid_t creation_list(const dppo_tensor *tensor, const hsize_t *dims) {
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    /* Without times the same cases give the same bytes, so that a digest can be promised. */
    (void)H5Pset_obj_track_times(list, false);
    if (tensor->ndim > 0 && dppo_numel(tensor) >= COMPRESS_FROM) {
        (void)H5Pset_chunk(list, tensor->ndim, dims);
        (void)H5Pset_shuffle(list);
        (void)H5Pset_deflate(list, 9);
    }
    return list;
}

static dppo_status put_tensor(hid_t group, const dppo_named_entry *entry) {
    const dppo_tensor *tensor = entry->tensor; /* of a map: contiguous */
    hsize_t dims[DPPO_MAX_DIMS];
    for (int d = 0; d < tensor->ndim; d++)
        dims[d] = (hsize_t)tensor->shape[d];
    hid_t space = tensor->ndim ? H5Screate_simple(tensor->ndim, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t list = creation_list(tensor, dims), links = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(group, entry->name, stored_type(tensor->dtype), space, links, list, H5P_DEFAULT);
    herr_t written = set < 0 ? -1 : 0;
    if (written == 0 && dppo_numel(tensor) > 0)
        written = H5Dwrite(set, memory_type(tensor->dtype), H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor->data);
    dppo_status status = written < 0 ? dppo_fail(DPPO_IO, "%s: cannot be written", entry->name)
                                     : put_string(set, "kind", entry->kind);
    if (set >= 0) (void)H5Dclose(set);
    (void)H5Pclose(links);
    (void)H5Pclose(list);
    (void)H5Sclose(space);
    return status;
}

static dppo_status put_group(hid_t parent, const char *name, const dppo_named *map, bool even_if_empty) {
    if (map->count == 0 && !even_if_empty) return DPPO_OK;
    hid_t group = H5Gcreate2(parent, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0) return dppo_fail(DPPO_IO, "%s: cannot be made", name);
    dppo_status status = DPPO_OK;
    for (size_t i = 0; status == DPPO_OK && i < map->count; i++)
        status = put_tensor(group, &map->entries[i]);
    (void)H5Gclose(group);
    return status == DPPO_OK ? DPPO_OK : dppo_fail_in(status, "%s", name);
}

static dppo_status put_attributes(hid_t group, const dppo_case *parity_case) {
    DPPO_TRY(put_json(group, "init", parity_case->init));
    DPPO_TRY(put_string(group, "method", parity_case->method));
    DPPO_TRY(put_json(group, "args", parity_case->args));
    DPPO_TRY(put_string(group, "reason", parity_case->reason));
    if (parity_case->has_seed)
        DPPO_TRY(put_number(group, "manual_seed", H5T_NATIVE_INT64, &parity_case->manual_seed));
    if (parity_case->has_rtol) DPPO_TRY(put_number(group, "rtol", H5T_NATIVE_DOUBLE, &parity_case->rtol));
    if (parity_case->has_atol) DPPO_TRY(put_number(group, "atol", H5T_NATIVE_DOUBLE, &parity_case->atol));
    return DPPO_OK;
}

static dppo_status put_case(hid_t group, const dppo_case *parity_case) {
    DPPO_TRY(put_attributes(group, parity_case));
    DPPO_TRY(put_group(group, "in", &parity_case->in, false));
    DPPO_TRY(put_group(group, "state", &parity_case->state, false));
    DPPO_TRY(put_group(group, "draws", &parity_case->draws, parity_case->has_draws));
    DPPO_TRY(put_group(group, "out", &parity_case->out, false));
    DPPO_TRY(put_group(group, "cotangent", &parity_case->cotangent, false));
    DPPO_TRY(put_group(group, "grad", &parity_case->grad, false));
    return put_group(group, "state_after", &parity_case->state_after, false);
}

dppo_status dppo_case_writer_add(dppo_case_writer *writer, const dppo_case *parity_case) {
    char title[1024];
    dppo_case_title(parity_case, title, sizeof title);
    if (strchr(parity_case->function, '/') || strchr(parity_case->name, '/') || !parity_case->function[0] ||
        !parity_case->name[0])
        return dppo_fail(DPPO_INVALID, "%s: a function and a case have names without '/'", title);
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    hid_t group = H5Gcreate2(writer->id, title, links, H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Pclose(links);
    if (group < 0) return dppo_fail(DPPO_INVALID, "%s: /%s: is there already", writer->path, title);
    dppo_status status = put_case(group, parity_case);
    (void)H5Gclose(group);
    return status == DPPO_OK ? DPPO_OK : dppo_fail_in(status, "%s: /%s", writer->path, title);
}

static dppo_status put_header(hid_t file, const char *source, int64_t seed, const char *command) {
    DPPO_TRY(put_string(file, "schema", DPPO_SCHEMA));
    DPPO_TRY(put_string(file, "source", source));
    DPPO_TRY(put_string(file, "command", command));
    return put_number(file, "seed", H5T_NATIVE_INT64, &seed);
}

static void free_writer(dppo_case_writer *writer) {
    free(writer->path);
    free(writer->temporary);
    free(writer);
}

dppo_status dppo_case_writer_open(const char *path, const char *source, int64_t seed, const char *command,
                                  bool replace, dppo_case_writer **result) {
    *result = NULL;
    if (!replace && access(path, F_OK) == 0) return dppo_fail(DPPO_INVALID, "%s: exists already", path);
    dppo_case_writer *writer = calloc(1, sizeof *writer);
    size_t size = strlen(path) + 32;
    if (writer) {
        writer->path = strdup(path);
        writer->temporary = malloc(size);
    }
    if (!writer || !writer->path || !writer->temporary) {
        if (writer) free_writer(writer);
        return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    }
    (void)snprintf(writer->temporary, size, "%s.tmp%ld", path, (long)getpid());
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    writer->id = H5Fcreate(writer->temporary, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (writer->id < 0) {
        dppo_status status = dppo_fail(DPPO_IO, "%s: cannot be created", path);
        free_writer(writer);
        return status;
    }
    dppo_status status = put_header(writer->id, source, seed, command);
    if (status != DPPO_OK) {
        dppo_case_writer_abandon(writer);
        return status;
    }
    *result = writer;
    return DPPO_OK;
}

dppo_status dppo_case_writer_finish(dppo_case_writer *writer) {
    dppo_status status = DPPO_OK;
    if (H5Fclose(writer->id) >= 0) {
        status = dppo_publish(writer->temporary, writer->path);
    } else {
        status = dppo_fail(DPPO_IO, "%s: cannot be written: %s", writer->path, strerror(errno));
        (void)unlink(writer->temporary);
    }
    free_writer(writer);
    return status;
}

void dppo_case_writer_abandon(dppo_case_writer *writer) {
    if (!writer) return;
    (void)H5Fclose(writer->id);
    (void)unlink(writer->temporary);
    free_writer(writer);
}
