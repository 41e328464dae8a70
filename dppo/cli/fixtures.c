/* `dppo fixtures` and `dppo parity record`: making cases. */
#include "cli/cli.h"

#include "base/pool.h"
#include "base/sha256.h"
#include "parity/generate.h"

#include <getopt.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What answers: libtorch, unless C is asked for. NULL when this build lacks it. */
static const dppo_parity_side *answering_side(const char *word) {
    if (word && strcmp(word, "c") == 0) return dppo_c_side();
    if (word && strcmp(word, "torch") != 0) {
        (void)fprintf(stderr, "dppo: --side is torch or c, not %s\n", word);
        return NULL;
    }
    if (!dppo_torch_side())
        (void)fputs("dppo: recording needs the libtorch side (built with DPPO_SHIM=ON)\n", stderr);
    return dppo_torch_side();
}

static void source_text(const dppo_parity_side *side, char *buffer, size_t size) {
    (void)snprintf(buffer, size, "dppo, answers of its %s side",
                   strcmp(side->name, "c") == 0 ? "C" : side->version);
}

/* -- fixtures generate
 * ----------------------------------------------------------------------------------------------- */

static dppo_status generate_into(const dppo_case_list *list, const dppo_parity_side *side,
                                 const char *pattern, dppo_case_writer *writer, size_t *written) {
    for (size_t i = 0; i < list->count; i++) {
        char title[1024];
        dppo_case parity_case;
        bool gradients;
        (void)snprintf(title, sizeof title, "%s/%s", list->specs[i].function, list->specs[i].name);
        if (!dppo_parity_selected(title, pattern)) continue;
        dppo_status status = dppo_generate_case(list, i, &parity_case);
        if (status == DPPO_OK) status = dppo_case_wants_grad(list, i, &gradients);
        if (status == DPPO_OK) status = dppo_record_case(side, gradients, &parity_case);
        if (status == DPPO_OK) status = dppo_case_writer_add(writer, &parity_case);
        dppo_case_free(&parity_case);
        DPPO_TRY(status);
        ++*written;
    }
    return DPPO_OK;
}

/* Cases of one description into one file, whole or not at all. */
static dppo_status generate_file(const char *cases, const char *path, const dppo_parity_side *side,
                                 const char *pattern, bool replace) {
    char source[256], command[1024];
    dppo_case_list list;
    dppo_case_writer *writer = NULL;
    size_t written = 0;
    source_text(side, source, sizeof source);
    const char *name = strrchr(cases, '/');
    (void)snprintf(command, sizeof command, "dppo fixtures generate   # from fixtures/cases/%s",
                   name ? name + 1 : cases);
    dppo_status status = dppo_case_list_load(cases, &list);
    if (status == DPPO_OK) status = dppo_case_writer_open(path, source, list.seed, command, replace, &writer);
    if (status == DPPO_OK) status = generate_into(&list, side, pattern, writer, &written);
    if (status == DPPO_OK && written == 0) status = dppo_fail(DPPO_MISSING, "%s: no case to write", cases);
    if (status == DPPO_OK)
        status = dppo_case_writer_finish(writer);
    else
        dppo_case_writer_abandon(writer);
    if (status == DPPO_OK) (void)printf("%s: %zu cases\n", path, written);
    dppo_case_list_free(&list);
    return status;
}

static dppo_status generate_all(const char *folder, const char *out, const dppo_parity_side *side) {
    char pattern[4096], path[4096];
    glob_t found;
    dppo_status status = DPPO_OK;
    (void)snprintf(pattern, sizeof pattern, "%s/*.yaml", folder);
    if (glob(pattern, 0, NULL, &found) != 0)
        return dppo_fail(DPPO_IO, "%s: no descriptions (*.yaml)", folder);
    for (size_t i = 0; status == DPPO_OK && i < found.gl_pathc; i++) {
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        (void)snprintf(path, sizeof path, "%s/own_%.*s.h5", out, (int)(strlen(name) - strlen(".yaml")), name);
        status = generate_file(found.gl_pathv[i], path, side, NULL, true);
    }
    globfree(&found);
    return status;
}

static int generate_verb(int argc, char **argv) {
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"from", required_argument, NULL, 'f'},
                                            {"side", required_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    const char *out = DPPO_SOURCE_FIXTURES, *from = DPPO_SOURCE_FIXTURES "/cases", *side_name = NULL;
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'o')
            out = optarg;
        else if (option == 'f')
            from = optarg;
        else if (option == 's')
            side_name = optarg;
        else
            return DPPO_EXIT_USAGE;
    }
    const dppo_parity_side *side = answering_side(side_name);
    if (!side) return side_name && strcmp(side_name, "torch") != 0 ? DPPO_EXIT_USAGE : DPPO_EXIT_MISSING;
    dppo_set_threads(1);
    dppo_status status = dppo_make_folder(out);
    if (status == DPPO_OK) status = generate_all(from, out, side);
    return status == DPPO_OK ? DPPO_EXIT_OK : dppo_cli_error();
}

static const dppo_verb generate_leaf = {
    .name = "generate",
    .summary = "draw our own cases from their descriptions and record libtorch's answers",
    .usage = "usage: dppo fixtures generate [--out DIR] [--from DIR] [--side torch|c]\n\n"
             "For every DIR/NAME.yaml (default: fixtures/cases of the source tree; fixtures/README.md "
             "documents the\n"
             "format) writes own_NAME.h5 into --out (default: fixtures). Seeds are fixed: the same "
             "descriptions give\n"
             "the same inputs everywhere. Afterwards run `dppo fixtures manifest`.\n",
    .run = generate_verb,
};

/* -- fixtures manifest
 * ------------------------------------------------------------------------------------------------ */

/* One line a file: name, digest, bytes, what recorded it. */
static dppo_status manifest_text(const char *folder, dppo_text *text) {
    char pattern[4096];
    glob_t found;
    dppo_status status = DPPO_OK;
    (void)snprintf(pattern, sizeof pattern, "%s/*.h5", folder);
    if (glob(pattern, 0, NULL, &found) != 0) return dppo_fail(DPPO_IO, "%s: no .h5 files", folder);
    dppo_text_add(text, "file,sha256,bytes,cases,source\n");
    for (size_t i = 0; status == DPPO_OK && i < found.gl_pathc; i++) {
        char digest[DPPO_SHA256_TEXT];
        size_t bytes;
        dppo_case_file *file = NULL;
        status = dppo_sha256_file(found.gl_pathv[i], digest, &bytes);
        if (status == DPPO_OK) status = dppo_case_file_open(found.gl_pathv[i], &file);
        if (status != DPPO_OK) break;
        dppo_text_format(text, "%s,%s,%zu,%zu,\"%s\"\n", strrchr(found.gl_pathv[i], '/') + 1, digest, bytes,
                         dppo_case_file_count(file), dppo_case_file_source(file));
        dppo_case_file_close(file);
    }
    globfree(&found);
    return status;
}

static int check_manifest(const dppo_text *text, const char *path) {
    char *committed;
    if (dppo_read_file(path, &committed, NULL) != DPPO_OK) return dppo_cli_error();
    bool same = text->bytes && strcmp(committed, text->bytes) == 0;
    free(committed);
    if (same) return DPPO_EXIT_OK;
    (void)fprintf(stderr, "dppo: %s does not describe the files beside it; they are:\n%s", path,
                  text->bytes ? text->bytes : "");
    return DPPO_EXIT_MISMATCH;
}

static int manifest_verb(int argc, char **argv) {
    static const struct option options[] = {{"check", no_argument, NULL, 'c'}, {NULL, 0, NULL, 0}};
    char path[4096];
    bool check = false;
    int option, code;
    optind = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'c') return DPPO_EXIT_USAGE;
        check = true;
    }
    const char *folder = optind < argc ? argv[optind] : DPPO_SOURCE_FIXTURES;
    dppo_text text = {0};
    (void)snprintf(path, sizeof path, "%s/manifest.csv", folder);
    dppo_status status = manifest_text(folder, &text);
    if (status == DPPO_OK && !check) status = dppo_text_save(&text, path);
    code = status != DPPO_OK ? dppo_cli_error() : check ? check_manifest(&text, path) : DPPO_EXIT_OK;
    dppo_text_free(&text);
    return code;
}

static const dppo_verb manifest_leaf = {
    .name = "manifest",
    .summary = "write or check the list of fixture files and their digests",
    .usage =
        "usage: dppo fixtures manifest [--check] [DIR]\n\n"
        "Writes DIR/manifest.csv (default: fixtures of the source tree): file, SHA-256, bytes, cases, "
        "source.\n"
        "With --check compares instead: exit status 1 when a file is not the one the manifest promises.\n",
    .run = manifest_verb,
};

static const dppo_verb *const verbs[] = {&generate_leaf, &manifest_leaf, NULL};

const dppo_verb dppo_verb_fixtures = {
    .name = "fixtures",
    .summary = "make our own parity cases, and the manifest of all",
    .usage = "usage: dppo fixtures VERB [ARGUMENTS]\n\n",
    .children = verbs,
};

/* -- parity record
 * ---------------------------------------------------------------------------------------------------- */

static dppo_status answer_again(const char *template, const char *pattern, const dppo_parity_side *side,
                                dppo_case_writer *writer, size_t *written) {
    dppo_case_file *file;
    DPPO_TRY(dppo_case_file_open(template, &file));
    dppo_status status = DPPO_OK;
    for (size_t i = 0; status == DPPO_OK && i < dppo_case_file_count(file); i++) {
        dppo_case parity_case;
        if (!dppo_parity_selected(dppo_case_file_name(file, i), pattern)) continue;
        status = dppo_case_load(file, i, &parity_case);
        if (status == DPPO_OK) status = dppo_record_case(side, true, &parity_case);
        if (status == DPPO_OK) status = dppo_case_writer_add(writer, &parity_case);
        dppo_case_free(&parity_case);
        ++*written;
    }
    dppo_case_file_close(file);
    return status;
}

/* From a template file of the schema: its questions, our answers. */
static dppo_status record_template(const char *template, const char *path, const char *pattern,
                                   const dppo_parity_side *side, bool replace) {
    char source[256], command[1024];
    dppo_case_writer *writer;
    size_t written = 0;
    source_text(side, source, sizeof source);
    (void)snprintf(command, sizeof command, "dppo parity record --from TEMPLATE --side %s", side->name);
    DPPO_TRY(dppo_case_writer_open(path, source, 0, command, replace, &writer));
    dppo_status status = answer_again(template, pattern, side, writer, &written);
    if (status == DPPO_OK && written == 0)
        status = dppo_fail(DPPO_MISSING, "%s: no case to record", template);
    if (status != DPPO_OK) {
        dppo_case_writer_abandon(writer);
        return status;
    }
    (void)printf("%s: %zu cases\n", path, written);
    return dppo_case_writer_finish(writer);
}

static int record_verb(int argc, char **argv) {
    static const struct option options[] = {
        {"from", required_argument, NULL, 'f'}, {"function", required_argument, NULL, 'n'},
        {"case", required_argument, NULL, 'c'}, {"side", required_argument, NULL, 's'},
        {"replace", no_argument, NULL, 'r'},    {NULL, 0, NULL, 0}};
    const char *from = NULL, *function = "*", *name = "*", *pattern = NULL, *side_name = NULL;
    char title[1024];
    bool replace = false;
    int option;
    optind = 0;
    while ((option = getopt_long(argc, argv, "k:", options, NULL)) != -1) {
        switch (option) {
        case 'f':
            from = optarg;
            break;
        case 'n':
            function = optarg;
            break;
        case 'c':
            name = optarg;
            break;
        case 'k':
            pattern = optarg;
            break;
        case 's':
            side_name = optarg;
            break;
        case 'r':
            replace = true;
            break;
        default:
            return DPPO_EXIT_USAGE;
        }
    }
    if (!from || optind + 1 != argc) {
        (void)fputs(dppo_verb_parity_record.usage, stderr);
        return DPPO_EXIT_USAGE;
    }
    const dppo_parity_side *side = answering_side(side_name);
    if (!side) return side_name && strcmp(side_name, "torch") != 0 ? DPPO_EXIT_USAGE : DPPO_EXIT_MISSING;
    (void)snprintf(title, sizeof title, "%s/%s", function, name);
    if (!pattern) pattern = title;
    size_t length = strlen(from);
    bool described = length > 5 && strcmp(from + length - 5, ".yaml") == 0;
    dppo_set_threads(1);
    dppo_status status = described ? generate_file(from, argv[optind], side, pattern, replace)
                                   : record_template(from, argv[optind], pattern, side, replace);
    return status == DPPO_OK ? DPPO_EXIT_OK : dppo_cli_error();
}

const dppo_verb dppo_verb_parity_record = {
    .name = "record",
    .summary = "write a case file: questions from a template, answers from libtorch",
    .usage =
        "usage: dppo parity record FILE --from TEMPLATE [--function F] [--case C] [-k PATTERN]\n"
        "                              [--side torch|c] [--replace]\n\n"
        "TEMPLATE is a fixture file, of which out, grad and state_after are ignored, or a .yaml description "
        "of\n"
        "cases (fixtures/README.md). Its cases (all, or those selected) are called on the libtorch side; "
        "FILE\n"
        "gets them with the answers, and random cotangents where the template has none. An existing FILE is\n"
        "kept unless --replace is given.\n",
    .run = record_verb,
};
