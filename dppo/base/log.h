/* What a run says to a person: log lines, and a one-line progress bar on a terminal (plain lines elsewhere).
 */
#ifndef DPPO_BASE_LOG_H
#define DPPO_BASE_LOG_H

#include <stdbool.h>

/* One line on standard error, after clearing a progress bar. */
void dppo_log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
void dppo_log_quiet(bool quiet);

/* `done` of `total` of `what`, with a short note; rewrites its line on a terminal, at most ten times a
 * second; elsewhere prints a line at each tenth of the way. */
void dppo_progress(const char *what, long done, long total, const char *note);

/* Wall-clock seconds from an arbitrary origin. */
double dppo_seconds(void);

/* Installs handlers for SIGINT and SIGTERM; true once either arrived. Loops ask and stop at a safe place. */
void dppo_catch_interrupt(void);
bool dppo_interrupted(void);

#endif
