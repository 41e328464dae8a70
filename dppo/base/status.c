#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

/* Values quoted from a file may hold line breaks and terminal escapes; a message is one line of plain text.
 */
static void make_one_line(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7F) *text = ' ';
}

dppo_status dppo_fail(dppo_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    make_one_line(message);
    return status;
}

dppo_status dppo_fail_in(dppo_status status, const char *format, ...) {
    char prefix[512];
    char whole[sizeof message];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    size_t length = strlen(prefix);
    /* What failed further in may have named the file already. */
    if (strncmp(message, prefix, length) == 0 && message[length] == ':') return status;
    if (snprintf(whole, sizeof whole, "%s: %s", prefix, message) < 0) return status;
    memcpy(message, whole, sizeof message);
    make_one_line(message);
    return status;
}

const char *dppo_message(void) {
    return message;
}

const char *dppo_status_name(dppo_status status) {
    switch (status) {
    case DPPO_OK:
        return "ok";
    case DPPO_INVALID:
        return "invalid";
    case DPPO_IO:
        return "io";
    case DPPO_FORMAT:
        return "format";
    case DPPO_NO_MEMORY:
        return "no_memory";
    case DPPO_MISSING:
        return "missing";
    case DPPO_INTERRUPTED:
        return "interrupted";
    }
    return "unknown";
}
