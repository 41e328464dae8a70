#include "base/save.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file behind links, as far as it exists: a link's target, else the path itself. */
static dppo_status real_path(const char *path, char real[DPPO_PATH_TEXT]) {
    char resolved[PATH_MAX];
    const char *target = realpath(path, resolved) ? resolved : path;
    if (snprintf(real, DPPO_PATH_TEXT, "%s", target) < DPPO_PATH_TEXT) return DPPO_OK;
    return dppo_fail(DPPO_INVALID, "%s: path too long", path);
}

static bool is_special(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && !S_ISREG(about.st_mode);
}

dppo_status dppo_temporary_path(const char *path, char temporary[DPPO_PATH_TEXT]) {
    char real[DPPO_PATH_TEXT];
    DPPO_TRY(real_path(path, real));
    if (snprintf(temporary, DPPO_PATH_TEXT, "%s.tmp%ld", real, (long)getpid()) >= DPPO_PATH_TEXT)
        return dppo_fail(DPPO_INVALID, "%s: path too long", path);
    return DPPO_OK;
}

static bool sync_path(const char *path, int flags) {
    int file = open(path, flags | O_CLOEXEC);
    if (file < 0) return false;
    bool synced = fsync(file) == 0;
    int saved = errno;
    (void)close(file);
    errno = saved;
    return synced;
}

/* A rename lasts only once its folder is on disk. */
static bool sync_folder_of(const char *path) {
    char folder[DPPO_PATH_TEXT];
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;
    if (!slash) return sync_path(".", O_RDONLY | O_DIRECTORY);
    if (length == 0) return sync_path("/", O_RDONLY | O_DIRECTORY);
    memcpy(folder, path, length);
    folder[length] = '\0';
    return sync_path(folder, O_RDONLY | O_DIRECTORY);
}

static dppo_status give_up(const char *temporary, const char *path, int reason) {
    (void)unlink(temporary);
    return dppo_fail(DPPO_IO, "%s: %s", path, strerror(reason));
}

dppo_status dppo_publish(const char *temporary, const char *path) {
    char real[DPPO_PATH_TEXT];
    DPPO_TRY(real_path(path, real));
    if (is_special(real)) {
        (void)unlink(temporary);
        return dppo_fail(DPPO_IO, "%s: not a regular file", path);
    }
    if (!sync_path(temporary, O_RDONLY) || rename(temporary, real) != 0)
        return give_up(temporary, path, errno);
    if (sync_folder_of(real)) return DPPO_OK;
    return dppo_fail(DPPO_IO, "%s: cannot sync its folder: %s", path, strerror(errno));
}

static bool write_bytes(int file, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

/* Opens with `flags`, writes, closes; the first error in *reason. */
static bool write_file(const char *path, int flags, const void *bytes, size_t length, int *reason) {
    int file = open(path, O_WRONLY | O_CLOEXEC | flags, 0666);
    bool good = file >= 0 && write_bytes(file, bytes, length);
    *reason = errno;
    if (file < 0 || close(file) == 0 || !good) return good;
    *reason = errno;
    return false;
}

dppo_status dppo_save_bytes(const char *path, const void *bytes, size_t length) {
    char temporary[DPPO_PATH_TEXT];
    int reason;
    if (is_special(path)) {
        if (write_file(path, 0, bytes, length, &reason)) return DPPO_OK;
        return dppo_fail(DPPO_IO, "%s: %s", path, strerror(reason));
    }
    DPPO_TRY(dppo_temporary_path(path, temporary));
    if (write_file(temporary, O_CREAT | O_TRUNC, bytes, length, &reason))
        return dppo_publish(temporary, path);
    return give_up(temporary, path, reason);
}
