/* What the file formats of this room share; for its files only. */
#ifndef DPPO_DATA_FILES_H
#define DPPO_DATA_FILES_H

#include "base/save.h"
#include "data/dataset.h"

#include <zip.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read and written as little-endian");

/* The largest array a file may ask us to hold, and the most that `stored` bytes can expand to: deflate packs
 * at most 1032 bytes into one. What claims more is not what it says, and is refused before memory is taken.
 */
bool dppo_size_believable(uint64_t bytes, uint64_t stored);

/* Adds a tensor read as `dtype`; like dppo_named_add(), with the reason for a failure in the message. */
dppo_status dppo_file_add(const char *path, const char *name, dppo_dtype dtype, int ndim,
                          const int64_t *shape, dppo_named *into, dppo_tensor **tensor);
/* An unsigned byte array: bool when all values are 0 or 1, else int64. */
dppo_status dppo_file_add_bytes(const char *path, const char *name, const uint8_t *bytes, int ndim,
                                const int64_t *shape, dppo_named *into);

/* Writes like dppo_hdf5_write(), gzip-compressed on demand. */
dppo_status dppo_hdf5_write_as(const char *path, const dppo_named *entries, const char *const *attributes,
                               bool compressed);

/* A zip archive for reading, and one of its entries as bytes (owned, free()). */
dppo_status dppo_zip_open(const char *path, zip_t **archive);
dppo_status dppo_zip_read(const char *path, zip_t *archive, zip_uint64_t index, uint8_t **bytes,
                          size_t *length);

#endif
