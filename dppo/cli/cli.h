/* The verbs of `dppo`. Each lives in a file of its own and exports one dppo_verb; main.c has the table. */
#ifndef DPPO_CLI_CLI_H
#define DPPO_CLI_CLI_H

#include "base/status.h"
#include "parity/runner.h"

enum { DPPO_EXIT_OK = 0, DPPO_EXIT_MISMATCH = 1, DPPO_EXIT_USAGE = 2, DPPO_EXIT_MISSING = 3 };

typedef struct dppo_verb {
    const char *name, *summary; /* "parity", one line for the list of verbs */
    const char *usage;          /* the whole help text, printed for --help */
    /* argv[0] is the verb; returns an exit status. NULL when it has `children`. */
    int (*run)(int argc, char **argv);
    const struct dppo_verb *const *children; /* sub-verbs, NULL-terminated, or NULL */
} dppo_verb;

/* One line a verb: to add one, write its file, declare it here and list it in main.c. */
extern const dppo_verb dppo_verb_parity, dppo_verb_fixtures, dppo_verb_collect;
extern const dppo_verb dppo_verb_train, dppo_verb_pretrain, dppo_verb_eval;
extern const dppo_verb dppo_verb_parity_show, dppo_verb_parity_bisect,
    dppo_verb_parity_record; /* below parity */
extern const dppo_verb dppo_verb_report;
extern const dppo_verb dppo_verb_convert, dppo_verb_doctor, dppo_verb_bench;

/* Runs the verb argv[1] names; answers --help on every level, and prints the usage and returns 2 on anything
 * else. */
int dppo_dispatch(const dppo_verb *parent, int argc, char **argv);

/* Versions of libraries and machine as YAML lines (owned by the caller), NULL when memory is exhausted. */
char *dppo_versions_yaml(void);

/* Prints dppo_message() to standard error and returns 2: what a bad argument or file ends with. */
int dppo_cli_error(void);

/* The libtorch side, NULL in a build without it. */
const dppo_parity_side *dppo_torch_side(void);

/* Where the fixtures are: $DPPO_FIXTURES, else share/dppo/fixtures beside the program's bin, else the source
 * tree. */
const char *dppo_fixture_folder(char *buffer, size_t size);

/* The script that times the original code, into buffer; looked for as the fixtures are. */
dppo_status dppo_original_script(char *buffer, size_t size);

/* The files to judge: those given, else every .h5 of dppo_fixture_folder(). */
typedef struct dppo_file_list {
    char **paths; /* owned */
    size_t count;
} dppo_file_list;
dppo_status dppo_fixture_files(int count, char **given, dppo_file_list *list);
void dppo_file_list_free(dppo_file_list *list);

#endif
