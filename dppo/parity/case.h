/* Fixture files, schema dppo-parity/1 (fixtures/README.md): reading and writing the cases of door.h.
 *
 *     dppo_case_file *file;
 *     DPPO_TRY(dppo_case_file_open("fixtures/dppo_reference.h5", &file));
 *     for (size_t i = 0; i < dppo_case_file_count(file); i++) {
 *         dppo_case parity_case;
 *         if (dppo_case_load(file, i, &parity_case) == DPPO_OK) ...
 *         dppo_case_free(&parity_case);
 *     }
 *     dppo_case_file_close(file);
 */
#ifndef DPPO_PARITY_CASE_H
#define DPPO_PARITY_CASE_H

#include "parity/door.h"

#define DPPO_SCHEMA "dppo-parity/1"

typedef struct dppo_case_file dppo_case_file;

/* Opens a file and lists its cases, sorted by name, without reading them. DPPO_IO: not there or unreadable.
 * DPPO_FORMAT: truncated, not HDF5, or of another schema. Messages name the file and the key at fault. */
dppo_status dppo_case_file_open(const char *path, dppo_case_file **file);
void dppo_case_file_close(dppo_case_file *file);

size_t dppo_case_file_count(const dppo_case_file *file);
const char *dppo_case_file_name(const dppo_case_file *file, size_t index); /* "torch.clamp/scalar_bounds" */
const char *dppo_case_file_source(const dppo_case_file *file); /* what recorded it; "" if unsaid */
int64_t dppo_case_file_seed(const dppo_case_file *file);

/* Reads and validates one case. `parity_case` needs no initialisation and is dppo_case_free()d by the caller
 * whatever the status. DPPO_FORMAT: an unknown group or attribute, an element type outside the schema, a NaN
 * tolerance, a tolerance that is not positive, a draw without a kind. */
dppo_status dppo_case_load(dppo_case_file *file, size_t index, dppo_case *parity_case);
void dppo_case_free(dppo_case *parity_case);

/* "function/name" of a loaded case. */
void dppo_case_title(const dppo_case *parity_case, char *title, size_t size);

/* Writing: cases gather in a temporary file beside `path`; finish() renames it into place, abandon() removes
 * it. `command` is what regenerates the file, NULL for none. `replace` false: fails when `path` exists. */
typedef struct dppo_case_writer dppo_case_writer;
dppo_status dppo_case_writer_open(const char *path, const char *source, int64_t seed, const char *command,
                                  bool replace, dppo_case_writer **writer);
dppo_status dppo_case_writer_add(dppo_case_writer *writer, const dppo_case *parity_case);
dppo_status dppo_case_writer_finish(dppo_case_writer *writer); /* frees the writer, also on failure */
void dppo_case_writer_abandon(dppo_case_writer *writer);

#endif
