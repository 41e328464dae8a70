/* Files appear whole or not at all: written under a temporary name in the same folder, then published
 * (synced, renamed, the folder synced). A symbolic link is followed, so that the file it names is replaced
 * and not the link; what is there and is no regular file (a device, a pipe) is written to by
 * dppo_save_bytes() and never replaced. */
#ifndef DPPO_BASE_SAVE_H
#define DPPO_BASE_SAVE_H

#include "base/status.h"

#include <stddef.h>

enum { DPPO_PATH_TEXT = 4096 };

/* The name to write to before dppo_publish(); DPPO_INVALID when the path is too long. */
dppo_status dppo_temporary_path(const char *path, char temporary[DPPO_PATH_TEXT]);
/* When publishing fails the temporary file is gone and an old file is untouched. */
dppo_status dppo_publish(const char *temporary, const char *path);
dppo_status dppo_save_bytes(const char *path, const void *bytes, size_t length);

#endif
