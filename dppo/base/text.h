/* Growing text, for writers of CSV, JSON, HTML and messages. After a failed allocation `bytes` is NULL and
 * further appends do nothing, so that a writer checks once, at the end. */
#ifndef DPPO_BASE_TEXT_H
#define DPPO_BASE_TEXT_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct dppo_text {
    char *bytes; /* NUL-terminated, owned; NULL while empty or after a failed allocation */
    size_t length, capacity;
    bool failed;
} dppo_text;

void dppo_text_append(dppo_text *text, const char *bytes, size_t length);
void dppo_text_add(dppo_text *text, const char *string);
void dppo_text_format(dppo_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void dppo_text_free(dppo_text *text);

/* Writes `text` to `path` through a temporary file in the same folder, synced and renamed: the old file stays
 * whole whatever goes wrong. DPPO_IO names the path. */
dppo_status dppo_text_save(const dppo_text *text, const char *path);

/* The whole file as a NUL-terminated string (owned by the caller, free()); `length` may be NULL. */
dppo_status dppo_read_file(const char *path, char **bytes, size_t *length);

/* Makes a folder and its parents; an existing folder is success. */
dppo_status dppo_make_folder(const char *path);

#endif
