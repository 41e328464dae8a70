/* Status codes and the message that goes with them.
 *
 * Every function that a user's input can make fail returns a dppo_status. Whoever detects the failure
 * calls dppo_fail() once, with one line that names the file, key or index at fault and the value found;
 * callers pass the status on unchanged (DPPO_TRY). The message belongs to the thread that failed. */
#ifndef DPPO_BASE_STATUS_H
#define DPPO_BASE_STATUS_H

typedef enum dppo_status {
    DPPO_OK = 0,
    DPPO_INVALID,     /* an argument, key or value that makes no sense: shapes, ranges, unknown names */
    DPPO_IO,          /* the system refused: open, read, write, disk full */
    DPPO_FORMAT,      /* a file that is not what it claims to be: truncated, wrong type, wrong schema */
    DPPO_NO_MEMORY,   /* an allocation failed */
    DPPO_MISSING,     /* something the project does not have: an unknown function, an absent environment */
    DPPO_INTERRUPTED, /* the user asked to stop (SIGINT, SIGTERM) */
} dppo_status;

/* Stores a one-line message for this thread (printf format, cut at 1023 bytes) and returns `status`. */
dppo_status dppo_fail(dppo_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message of the last dppo_fail() in this thread; "" when there was none. Borrowed, valid until the next
 * dppo_fail() of the thread. */
const char *dppo_message(void);

/* Puts "prefix: " in front of the thread's message (a file or key known only further up); returns `status`.
 */
dppo_status dppo_fail_in(dppo_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "invalid", "io", ...: for machine-readable output. */
const char *dppo_status_name(dppo_status status);

/* Returns from the calling function when `expression` is not DPPO_OK. */
#define DPPO_TRY(expression)                                                                                 \
    do {                                                                                                     \
        dppo_status dppo_try_status = (expression);                                                          \
        if (dppo_try_status != DPPO_OK) return dppo_try_status;                                              \
    } while (0)

#endif
