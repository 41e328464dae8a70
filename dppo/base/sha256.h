/* SHA-256 (FIPS 180-4) of files: content digests of what a run used. */
#ifndef DPPO_BASE_SHA256_H
#define DPPO_BASE_SHA256_H

#include "base/status.h"

#include <stddef.h>

enum { DPPO_SHA256_TEXT = 65 };

/* 64 lower-case hexadecimal digits and a NUL into `text`. */
void dppo_sha256(const void *bytes, size_t length, char text[DPPO_SHA256_TEXT]);

/* The same of a whole file; its size into *length (may be NULL). DPPO_IO names the path. */
dppo_status dppo_sha256_file(const char *path, char text[DPPO_SHA256_TEXT], size_t *length);

#endif
