#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

int dppo_cli_error(void) {
    (void)fprintf(stderr, "dppo: %s\n", dppo_message());
    return DPPO_EXIT_USAGE;
}

static void print_verbs(const dppo_verb *const *verbs, FILE *stream) {
    for (; verbs && *verbs; verbs++)
        (void)fprintf(stream, "  %-10s %s\n", (*verbs)->name, (*verbs)->summary);
}

static void print_help(const dppo_verb *verb, FILE *stream) {
    (void)fputs(verb->usage, stream);
    print_verbs(verb->children, stream);
}

static bool is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* A verb without children parses its own arguments, but --help is answered here, for all alike. */
static int run_leaf(const dppo_verb *verb, int argc, char **argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!is_help(argv[i])) continue;
        print_help(verb, stdout);
        return DPPO_EXIT_OK;
    }
    return verb->run(argc, argv);
}

int dppo_dispatch(const dppo_verb *parent, int argc, char **argv) {
    if (!parent->children) return run_leaf(parent, argc, argv);
    if (argc >= 2 && (is_help(argv[1]) || strcmp(argv[1], "help") == 0)) {
        print_help(parent, stdout);
        return DPPO_EXIT_OK;
    }
    for (const dppo_verb *const *verb = parent->children; argc >= 2 && *verb; verb++)
        if (strcmp((*verb)->name, argv[1]) == 0) return dppo_dispatch(*verb, argc - 1, argv + 1);
    if (argc >= 2) (void)fprintf(stderr, "dppo: unknown verb %s\n", argv[1]);
    print_help(parent, stderr);
    return DPPO_EXIT_USAGE;
}

static const dppo_verb *const verbs[] = {
    &dppo_verb_parity,
    &dppo_verb_pretrain,
    &dppo_verb_train,
    &dppo_verb_eval,
    &dppo_verb_fixtures,
    &dppo_verb_collect,
    &dppo_verb_convert,
    &dppo_verb_report,
    &dppo_verb_bench,
    &dppo_verb_doctor,
    NULL,
};

int main(int argc, char **argv) {
    static const dppo_verb dppo = {
        .name = "dppo",
        .usage = "usage: dppo VERB [ARGUMENTS]     (dppo VERB --help for each)\n\n"
                 "Exit status: 0 parity or success, 1 mismatch, 2 usage or unreadable input, 3 missing "
                 "evidence.\n\n",
        .children = verbs,
    };
    int status = dppo_dispatch(&dppo, argc, argv);
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    (void)dppo_fail(DPPO_IO, "standard output: cannot be written");
    return dppo_cli_error();
}
