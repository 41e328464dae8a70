#include "base/log.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool quiet_mode, bar_shown;
static double last_shown;
static char last_what[64];
static long last_tenth;
static volatile sig_atomic_t interrupted;

double dppo_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void clear_bar(void) {
    if (bar_shown) (void)fputs("\r\033[K", stderr);
    bar_shown = false;
}

void dppo_log_quiet(bool quiet) {
    quiet_mode = quiet;
}

void dppo_log_line(const char *format, ...) {
    if (quiet_mode) return;
    clear_bar();
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

static void show_bar(const char *what, long done, long total, const char *note) {
    enum { WIDTH = 30 };
    double now = dppo_seconds();
    if (done < total && now - last_shown < 0.1) return;
    last_shown = now;
    long filled = total > 0 ? done * WIDTH / total : WIDTH;
    (void)fprintf(stderr, "\r\033[K%s [", what);
    for (long i = 0; i < WIDTH; i++)
        (void)fputc(i < filled ? '#' : '.', stderr);
    (void)fprintf(stderr, "] %ld/%ld %s", done, total, note ? note : "");
    bar_shown = true;
    if (done >= total) {
        (void)fputc('\n', stderr);
        bar_shown = false;
    }
    (void)fflush(stderr);
}

void dppo_progress(const char *what, long done, long total, const char *note) {
    if (quiet_mode) return;
    if (isatty(STDERR_FILENO)) {
        show_bar(what, done, total, note);
        return;
    }
    long tenth = total > 0 ? done * 10 / total : 10;
    if (strncmp(what, last_what, sizeof last_what - 1) != 0) {
        (void)snprintf(last_what, sizeof last_what, "%s", what);
        last_tenth = -1;
    }
    if (tenth == last_tenth) return;
    last_tenth = tenth;
    (void)fprintf(stderr, "%s %ld/%ld %s\n", what, done, total, note ? note : "");
}

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

void dppo_catch_interrupt(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool dppo_interrupted(void) {
    return interrupted != 0;
}
