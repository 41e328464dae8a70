/* dppo train, dppo pretrain: run a configuration, on one side or on both. */
#include "algorithms/driver.h"
#include "base/log.h"
#include "base/pool.h"
#include "cli/cli.h"
#include "cli/run_config.h"
#include "report/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DPPO_WITH_SHIM
#include "shim.h"
#endif

typedef struct arguments {
    const char *config, *folder, *resume, *side;
    bool compare, overwrite;
    int64_t stop_after, threads;
    char **overrides; /* borrowed words, array owned */
    int override_count;
} arguments;

#define OPTIONS                                                                                              \
    "  key=value          override a key of the configuration (+key=value adds one, ~key removes one)\n"     \
    "  --out DIR          run folder (default: the configuration's logdir)\n"                                \
    "  --overwrite        replace the run that DIR already holds (refused otherwise)\n"                      \
    "  --compare torch    run libtorch too, from the same seed, and compare (levels 1 and 2)\n"              \
    "  --side c|torch     which side learns (default c)\n"                                                   \
    "  --resume FILE      continue a checkpoint of this configuration, bit for bit; the number of\n"         \
    "                     iterations, paths and what is logged may differ\n"                                 \
    "  --stop-after N     stop after N more iterations (epochs), with a checkpoint\n"                        \
    "  --threads N        worker threads of the C side (default: one a core)\n"                              \
    "\nWrites config.yaml, metrics.csv, run.yaml, checkpoint/ and report/index.html into the run folder.\n"  \
    "Exit status: 0, or with --compare 1 when the sides disagree; 2 usage or bad input; 3 something is "     \
    "missing.\n"

static dppo_status read_count(const char *name, const char *text, int64_t *value) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end || number < 0)
        return dppo_fail(DPPO_INVALID, "%s: %s is not a count", name, text);
    *value = number;
    return DPPO_OK;
}

static dppo_status read_side(const char *name, const char *value, arguments *a) {
    bool torch = strcmp(value, "torch") == 0, compare = strcmp(name, "--compare") == 0;
    if (!torch && (compare || strcmp(value, "c") != 0))
        return dppo_fail(DPPO_INVALID, "%s %s: %s", name, value,
                         compare ? "torch is the only other side" : "c or torch");
    if (compare)
        a->compare = true;
    else
        a->side = value;
    return DPPO_OK;
}

static dppo_status read_option(arguments *a, int argc, char **argv, int *i) {
    static const char *const names[] = {"--out",     "--resume", "--stop-after",
                                        "--threads", "--side",   "--compare"};
    const char *name = argv[*i];
    size_t which = 0;
    if (strcmp(name, "--overwrite") == 0) return a->overwrite = true, DPPO_OK;
    while (which < sizeof names / sizeof *names && strcmp(names[which], name) != 0)
        which++;
    if (which == sizeof names / sizeof *names)
        return dppo_fail(DPPO_INVALID, "%s: unknown option (--help lists them)", name);
    if (*i + 1 >= argc) return dppo_fail(DPPO_INVALID, "%s: needs a value", name);
    const char *value = argv[++*i];
    switch (which) {
    case 0:
        a->folder = value;
        return DPPO_OK;
    case 1:
        a->resume = value;
        return DPPO_OK;
    case 2:
        return read_count(name, value, &a->stop_after);
    case 3:
        return read_count(name, value, &a->threads);
    default:
        return read_side(name, value, a);
    }
}

static dppo_status read_arguments(arguments *a, int argc, char **argv) {
    *a = (arguments){.side = "c", .stop_after = -1, .overrides = calloc((size_t)argc + 1, sizeof(char *))};
    if (!a->overrides) return dppo_fail(DPPO_NO_MEMORY, "out of memory");
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-')
            DPPO_TRY(read_option(a, argc, argv, &i));
        else if (dppo_is_override(argv[i]))
            a->overrides[a->override_count++] = argv[i];
        else if (!a->config)
            a->config = argv[i];
        else
            return dppo_fail(DPPO_INVALID, "%s: a second configuration", argv[i]);
    }
    if (!a->config) return dppo_fail(DPPO_INVALID, "which configuration? (--help)");
    if (a->overwrite && a->resume)
        return dppo_fail(DPPO_INVALID, "--overwrite and --resume exclude each other");
    if (a->compare && strcmp(a->side, "torch") == 0)
        return dppo_fail(DPPO_INVALID, "--compare torch: the first side must be c");
    return DPPO_OK;
}

static dppo_status choose_sides(const arguments *a, dppo_run_options *options) {
    bool torch_first = strcmp(a->side, "torch") == 0;
    options->first = &dppo_c_agent_class;
    if (!torch_first && !a->compare) return DPPO_OK;
#ifdef DPPO_WITH_SHIM
    if (torch_first)
        options->first = &shim_agent_class;
    else
        options->second = &shim_agent_class;
    return shim_init(1);
#else
    return dppo_fail(DPPO_MISSING, "this dppo was built without libtorch (DPPO_SHIM=OFF)");
#endif
}

static char *joined_command(int argc, char **argv) {
    dppo_text text = {0};
    dppo_text_add(&text, "dppo");
    for (int i = 0; i < argc; i++)
        dppo_text_format(&text, " %s", argv[i]);
    return text.bytes;
}

static int exit_status(dppo_status status, const dppo_run_options *options, const dppo_run_result *result) {
    if (status != DPPO_OK) {
        (void)dppo_cli_error();
        return status == DPPO_MISSING       ? DPPO_EXIT_MISSING
               : status == DPPO_INTERRUPTED ? 130
                                            : DPPO_EXIT_USAGE;
    }
    if (!options->second) return DPPO_EXIT_OK;
    (void)printf("level 1 (teacher-forced): %lld of %lld iterations within tolerance\n",
                 (long long)(result->teacher_forced_iterations - result->teacher_forced_failures),
                 (long long)result->teacher_forced_iterations);
    if (result->free_equal_iterations < 0)
        (void)printf("level 2 (free run): equal in every bit for all %lld iterations\n",
                     (long long)result->iterations);
    else
        (void)printf("level 2 (free run): first difference in a bit at iteration %lld\n",
                     (long long)result->free_equal_iterations);
    return result->teacher_forced_within ? DPPO_EXIT_OK : DPPO_EXIT_MISMATCH;
}

typedef dppo_status training(const dppo_config *, const dppo_run_options *, dppo_run_result *);

static dppo_status run_config(const arguments *a, training *train, dppo_run_options *options,
                              dppo_run_result *result) {
    dppo_config *config;
    DPPO_TRY(dppo_run_config(a->config, a->override_count, a->overrides, &config));
    dppo_status status = DPPO_OK;
    options->folder = a->folder;
    options->resume = a->resume;
    options->overwrite = a->overwrite;
    options->stop_after = a->stop_after;
    if (!a->folder) status = dppo_config_string(config, "logdir", &options->folder);
    if (status == DPPO_OK) status = choose_sides(a, options);
    if (status == DPPO_OK) {
        dppo_set_threads((int)a->threads);
        dppo_catch_interrupt();
        status = train(config, options, result);
    }
    if (status == DPPO_INTERRUPTED) (void)dppo_report_run(options->folder); /* of what there is */
    if (status == DPPO_OK) status = dppo_report_run(options->folder);
    if (status == DPPO_OK) (void)printf("%s/report/index.html\n", options->folder);
    options->folder = NULL; /* it may belong to the tree */
    dppo_config_free(config);
    return status;
}

static int run_training(int argc, char **argv, training *train) {
    arguments a;
    dppo_run_result result = {0};
    char *command = joined_command(argc, argv), *versions = dppo_versions_yaml();
    dppo_run_options options = {.command = command ? command : "", .versions = versions};
    dppo_status status = read_arguments(&a, argc, argv);
    if (status == DPPO_OK) status = run_config(&a, train, &options, &result);
    free(a.overrides);
    free(command);
    free(versions);
    return exit_status(status, &options, &result);
}

static int run_train(int argc, char **argv) {
    return run_training(argc, argv, dppo_train);
}

static int run_pretrain(int argc, char **argv) {
    return run_training(argc, argv, dppo_pretrain);
}

const dppo_verb dppo_verb_train = {
    .name = "train",
    .summary = "fine-tune a policy (or train one from scratch) as a configuration says",
    .usage = "usage: dppo train CONFIG [key=value ...] [OPTIONS]\n\n" OPTIONS,
    .run = run_train,
};

const dppo_verb dppo_verb_pretrain = {
    .name = "pretrain",
    .summary = "train a diffusion policy on demonstrations",
    .usage = "usage: dppo pretrain CONFIG [key=value ...] [OPTIONS]\n\n" OPTIONS,
    .run = run_pretrain,
};
