#include "base/text.h"
#include "base/save.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool reserve(dppo_text *text, size_t more) {
    if (text->failed) return false;
    if (more > SIZE_MAX / 2 - text->length - 1) {
        text->failed = true;
        return false;
    }
    size_t needed = text->length + more + 1;
    if (needed <= text->capacity) return true;
    size_t capacity = text->capacity ? text->capacity : 256;
    while (capacity < needed)
        capacity *= 2;
    char *bytes = realloc(text->bytes, capacity);
    if (!bytes) {
        dppo_text_free(text);
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void dppo_text_append(dppo_text *text, const char *bytes, size_t length) {
    if (!reserve(text, length)) return;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void dppo_text_add(dppo_text *text, const char *string) {
    dppo_text_append(text, string, strlen(string));
}

void dppo_text_format(dppo_text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        (void)vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

void dppo_text_free(dppo_text *text) {
    free(text->bytes);
    *text = (dppo_text){0};
}

dppo_status dppo_text_save(const dppo_text *text, const char *path) {
    if (text->failed) return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory while writing", path);
    return dppo_save_bytes(path, text->bytes ? text->bytes : "", text->length);
}

dppo_status dppo_read_file(const char *path, char **bytes, size_t *length) {
    *bytes = NULL;
    FILE *file = fopen(path, "rbe");
    if (!file) return dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    dppo_text text = {0};
    char buffer[65536];
    size_t got;
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0)
        dppo_text_append(&text, buffer, got);
    dppo_status status = DPPO_OK;
    if (ferror(file)) status = dppo_fail(DPPO_IO, "%s: %s", path, strerror(errno));
    (void)fclose(file);
    if (status == DPPO_OK && !text.bytes) dppo_text_add(&text, "");
    if (status == DPPO_OK && text.failed)
        status = dppo_fail(DPPO_NO_MEMORY, "%s: out of memory while reading", path);
    if (status != DPPO_OK) {
        dppo_text_free(&text);
        return status;
    }
    *bytes = text.bytes;
    if (length) *length = text.length;
    return DPPO_OK;
}

dppo_status dppo_make_folder(const char *path) {
    char partial[4096];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof partial)
        return dppo_fail(DPPO_INVALID, "'%s': not a folder name", path);
    memcpy(partial, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (partial[i] != '/' && partial[i] != '\0') continue;
        char kept = partial[i];
        partial[i] = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            return dppo_fail(DPPO_IO, "%s: %s", partial, strerror(errno));
        partial[i] = kept;
    }
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode))
        return dppo_fail(DPPO_IO, "%s: not a folder", path);
    return DPPO_OK;
}
