/* The other end of ci/original/measure.py: a socket in place of its standard input and output, a line each
 * way. */
#include "cli/bench_original.h"
#include "base/log.h"
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { ANSWER = 600 };

struct dppo_bench_original {
    pid_t process;
    int socket;
    bool busy;           /* it owes an answer */
    char answer[ANSWER]; /* the last line, without its end */
    char version[64];
};

static const char *python(void) {
    const char *named = getenv("DPPO_PYTHON");
    return named && named[0] ? named : "python3";
}

/* -- the process */

static dppo_status spawn(dppo_bench_original *o, char **arguments) {
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return dppo_fail(DPPO_IO, "original: socketpair: %s", strerror(errno));
    int error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        error = posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
        if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        if (error == 0) error = posix_spawnp(&o->process, arguments[0], &actions, NULL, arguments, environ);
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    (void)close(ends[1]);
    o->socket = ends[0];
    if (error == 0) return DPPO_OK;
    o->process = 0;
    return dppo_fail(DPPO_MISSING, "original: cannot start %s: %s", arguments[0], strerror(error));
}

/* How the process ended, once it closed its end of the socket. */
static dppo_status ended(dppo_bench_original *o) {
    int status = 0;
    if (o->process > 0) (void)waitpid(o->process, &status, 0);
    o->process = 0;
    if (WIFSIGNALED(status))
        return dppo_fail(DPPO_MISSING, "original: %s was ended by signal %d", python(), WTERMSIG(status));
    return dppo_fail(DPPO_MISSING, "original: %s ended with status %d", python(), WEXITSTATUS(status));
}

/* -- lines */

static dppo_status send_line(dppo_bench_original *o, const char *command) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s\n", command);
    if (o->process <= 0) return dppo_fail(DPPO_MISSING, "original: %s has ended", python());
    o->busy = true;
    if (send(o->socket, line, (size_t)length, MSG_NOSIGNAL) == length) return DPPO_OK;
    return ended(o);
}

/* Waits as long as it takes: a minibatch can be a minute on a slow machine. Ctrl-C ends the wait. */
static dppo_status receive_line(dppo_bench_original *o) {
    struct pollfd wait = {.fd = o->socket, .events = POLLIN};
    for (size_t length = 0; length < ANSWER; length++) {
        char *at = &o->answer[length];
        while (poll(&wait, 1, 200) <= 0)
            if (dppo_interrupted()) return dppo_fail(DPPO_INTERRUPTED, "bench: interrupted");
        if (recv(o->socket, at, 1, 0) != 1)
            return dppo_interrupted() ? dppo_fail(DPPO_INTERRUPTED, "bench: interrupted") : ended(o);
        if (*at == '\n') {
            *at = '\0';
            o->busy = false;
            return DPPO_OK;
        }
    }
    return dppo_fail(DPPO_MISSING, "original: %s: a line longer than %d bytes", python(), ANSWER - 1);
}

/* "error TEXT" is the other end's reason. */
static dppo_status unexpected(const dppo_bench_original *o, const char *command) {
    if (strncmp(o->answer, "error ", 6) == 0)
        return dppo_fail(DPPO_MISSING, "original: %s: %s", python(), o->answer + 6);
    return dppo_fail(DPPO_MISSING, "original: %s answers \"%.60s\" to %s", python(), o->answer, command);
}

/* -- for bench */

static dppo_status start(const char *checkout, int threads, int64_t batch, dppo_bench_original *o) {
    char script[4200], thread_text[16], batch_text[24];
    char *arguments[] = {(char *)python(), "-B",        "-W",      "ignore",   script, (char *)checkout,
                         "--threads",      thread_text, "--batch", batch_text, NULL};
    DPPO_TRY(dppo_original_script(script, sizeof script));
    (void)snprintf(thread_text, sizeof thread_text, "%d", threads);
    (void)snprintf(batch_text, sizeof batch_text, "%lld", (long long)batch);
    o->busy = true;
    DPPO_TRY(spawn(o, arguments));
    DPPO_TRY(receive_line(o));
    if (strncmp(o->answer, "ready ", 6) != 0) return unexpected(o, "its start");
    (void)snprintf(o->version, sizeof o->version, "%.63s", o->answer + 6);
    for (char *at = o->version; *at; at++) /* it goes into JSON */
        if (*at < ' ' || *at == '"' || *at == '\\') *at = '?';
    return DPPO_OK;
}

dppo_status dppo_bench_original_new(const char *checkout, int threads, int64_t batch,
                                    dppo_bench_original **original) {
    dppo_bench_original *o = *original = calloc(1, sizeof *o);
    if (!o) return dppo_fail(DPPO_NO_MEMORY, "bench: out of memory");
    o->socket = -1;
    dppo_status status = start(checkout, threads, batch, o);
    if (status == DPPO_OK) return DPPO_OK;
    dppo_bench_original_free(o);
    *original = NULL;
    return status;
}

void dppo_bench_original_free(dppo_bench_original *original) {
    if (!original) return;
    if (original->process > 0 && original->busy) (void)kill(original->process, SIGTERM);
    if (original->socket >= 0) (void)close(original->socket); /* the end of its input ends it otherwise */
    if (original->process > 0) (void)waitpid(original->process, NULL, 0);
    free(original);
}

const char *dppo_bench_original_version(const dppo_bench_original *original) {
    return original->version;
}

dppo_status dppo_bench_original_threads(dppo_bench_original *original, int threads) {
    char command[32];
    double unused;
    (void)snprintf(command, sizeof command, "threads %d", threads);
    return dppo_bench_original_run(original, command, 1, &unused);
}

dppo_status dppo_bench_original_run(dppo_bench_original *original, const char *command, int count,
                                    double *seconds) {
    DPPO_TRY(send_line(original, command));
    DPPO_TRY(receive_line(original));
    char *at = original->answer;
    for (int i = 0; i < count; i++) {
        char *end;
        seconds[i] = strtod(at, &end);
        if (end == at || !isfinite(seconds[i]) || seconds[i] < 0) return unexpected(original, command);
        at = end;
    }
    return *at == '\0' ? DPPO_OK : unexpected(original, command);
}
