/* What the fuzz targets share. */
#ifndef DPPO_FUZZ_H
#define DPPO_FUZZ_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zip.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a NUL-terminated string, owned by the caller. */
static inline char *fuzz_text(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text) abort();
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

/* A file in memory under a path that readers can open. */
static inline const char *fuzz_file(const uint8_t *data, size_t size) {
    static int file = -1;
    static char path[64];
    if (file < 0) file = memfd_create("fuzz", 0);
    if (file < 0 || ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size) abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    return path;
}

/* A zip archive with the input as `name`, and 64 bytes as `other` unless it is NULL: mutations reach the
 * reader of the entry instead of failing at the archive's CRC. */
static inline const char *fuzz_zip(const char *name, const uint8_t *data, size_t size, const char *other) {
    static uint8_t stored[64];
    zip_error_t error;
    zip_source_t *buffer = zip_source_buffer_create(NULL, 0, 0, &error);
    if (!buffer) abort();
    zip_source_keep(buffer);
    zip_t *archive = zip_open_from_source(buffer, ZIP_TRUNCATE, &error);
    if (!archive) abort();
    (void)zip_file_add(archive, name, zip_source_buffer(archive, data, size, 0), 0);
    (void)zip_set_file_compression(archive, 0, ZIP_CM_STORE, 0);
    if (other) (void)zip_file_add(archive, other, zip_source_buffer(archive, stored, sizeof stored, 0), 0);
    zip_stat_t about;
    if (zip_close(archive) != 0 || zip_source_open(buffer) != 0 || zip_source_stat(buffer, &about) != 0)
        abort();
    uint8_t *bytes = malloc(about.size);
    if (!bytes || zip_source_read(buffer, bytes, about.size) != (zip_int64_t)about.size) abort();
    (void)zip_source_close(buffer);
    zip_source_free(buffer);
    const char *path = fuzz_file(bytes, about.size);
    free(bytes);
    return path;
}

/* A refusal has a message of one line. */
static inline void fuzz_check(dppo_status status, const char *message) {
    if (status != DPPO_OK && (*message == '\0' || strchr(message, '\n'))) abort();
}

#endif
