/* dppo bench: C against libtorch as ratios, measured in pairs within one run. */
#include "cli/bench.h"
#include "base/log.h"
#include "base/pool.h"
#include "cli/bench_original.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#ifdef DPPO_WITH_SHIM
#include "timing.h"
#endif

/* Those whose memory is seen come before libtorch takes any. */
static const bench_spec *const specs[] = {&dppo_bench_gemm,  &dppo_bench_iteration, &dppo_bench_update,
                                          &dppo_bench_act,   &dppo_bench_act1,      &dppo_bench_pretrain,
                                          &dppo_bench_hopper};
enum { SPECS = sizeof specs / sizeof *specs, MAX_COUNT = 100000 };

/* Both lists: these, then the networks. */
static size_t spec_count(void) {
    return SPECS + dppo_bench_network_count;
}
static const bench_spec *spec_at(size_t k) {
    return k < SPECS ? specs[k] : &dppo_bench_networks[k - SPECS];
}

/* -- arguments */

typedef struct arguments {
    settings settings;
    const char *json, *out, *original;
    bool wanted[DPPO_BENCH_MOST][DPPO_BENCH_PARTS];
    bool scaling, frozen;
} arguments;

static dppo_status read_count(const char *name, const char *text, int64_t *value) {
    char *end = NULL;
    errno = 0;
    long long number = text ? strtoll(text, &end, 10) : 0;
    if (!text || errno != 0 || end == text || *end != '\0' || number < 1 || number > MAX_COUNT)
        return dppo_fail(DPPO_INVALID, "%s: wants a number from 1 to %d", name, MAX_COUNT);
    *value = number;
    return DPPO_OK;
}

static dppo_status read_what(arguments *a, const char *word) {
    bool networks = strcmp(word, "networks") == 0, found = false;
    if (strcmp(word, "scaling") == 0) {
        a->scaling = true;
        return DPPO_OK;
    }
    for (size_t k = 0; k < spec_count(); k++)
        for (int part = 0; part < DPPO_BENCH_PARTS && spec_at(k)->parts[part].name; part++)
            if (networks ? k >= SPECS : strcmp(word, spec_at(k)->parts[part].name) == 0)
                a->wanted[k][part] = found = true;
    return found ? DPPO_OK : dppo_fail(DPPO_INVALID, "bench: no benchmark %s (dppo bench --help)", word);
}

/* An option with a value, which is NULL at the end of the line; *taken says whether it was one. */
static dppo_status read_option(arguments *a, const char *name, const char *value, bool *taken) {
    int64_t threads = 0;
    const struct {
        const char *name;
        int64_t *count;
    } counts[] = {
        {"--threads", &threads}, {"--batch", &a->settings.batch}, {"--repeats", &a->settings.repeats}};
    *taken = true;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (strcmp(name, counts[i].name) == 0) {
            DPPO_TRY(read_count(name, value, counts[i].count));
            if (threads > 0) a->settings.threads = (int)threads;
            return DPPO_OK;
        }
    const char **path = strcmp(name, "--json") == 0       ? &a->json
                        : strcmp(name, "--out") == 0      ? &a->out
                        : strcmp(name, "--original") == 0 ? &a->original
                                                          : NULL;
    *taken = path;
    if (!path) return DPPO_OK;
    *path = value;
    return value ? DPPO_OK : dppo_fail(DPPO_INVALID, "%s: wants a path", name);
}

static dppo_status parse(int argc, char **argv, arguments *a) {
    bool any = false, taken;
    for (int i = 1; i < argc; i++) {
        DPPO_TRY(read_option(a, argv[i], argv[i + 1], &taken)); /* argv ends in NULL */
        if (taken) {
            i++;
        } else if (strcmp(argv[i], "--full") == 0) {
            a->settings.full = true;
        } else if (strcmp(argv[i], "--frozen") == 0) {
            a->frozen = true;
        } else {
            DPPO_TRY(read_what(a, argv[i]));
            any = true;
        }
    }
    for (size_t k = 0; k < SPECS && !any; k++)
        for (int part = 0; part < DPPO_BENCH_PARTS; part++)
            a->wanted[k][part] = true;
    return DPPO_OK;
}

/* -- running */

/* A benchmark of what one side does not have is said and passed over. */
static dppo_status run_spec(const arguments *a, size_t k, FILE *out, dppo_text *json, bool *more,
                            bool *missing) {
    const bench_spec *spec = spec_at(k);
    bench_result results[DPPO_BENCH_PARTS];
    bool any = false;
    for (int part = 0; part < DPPO_BENCH_PARTS; part++)
        any = any || a->wanted[k][part];
    if (!any) return DPPO_OK;
    dppo_status status = dppo_bench_measure(spec, &a->settings, results);
    if (status == DPPO_MISSING) {
        *missing = true;
        (void)fprintf(out, "missing %s\n", dppo_message());
        return DPPO_OK;
    }
    DPPO_TRY(status);
    for (int part = 0; part < DPPO_BENCH_PARTS && spec->parts[part].name; part++) {
        if (!a->wanted[k][part]) continue;
        dppo_bench_print(out, spec, &results[part]);
        dppo_bench_add_result(json, spec, &results[part], *more);
        *more = true;
    }
    return DPPO_OK;
}

/* "-" is standard output, and what people read goes to standard error then. */
static dppo_status write_json(const char *path, dppo_text *json) {
    dppo_text_add(json, "\n  ]\n}\n");
    if (!path) return DPPO_OK;
    if (strcmp(path, "-") != 0) return dppo_text_save(json, path);
    if (!json->bytes || fputs(json->bytes, stdout) < 0 || fflush(stdout) != 0)
        return dppo_fail(DPPO_IO, "bench: standard output: cannot write");
    return DPPO_OK;
}

static int run(int argc, char **argv) {
    arguments a = {.settings = {.envs = 40}};
    dppo_text json = {0};
    if (parse(argc, argv, &a) != DPPO_OK) return dppo_cli_error();
    dppo_catch_interrupt();
    dppo_set_threads(a.settings.threads);
    a.settings.threads = dppo_threads();
    if (a.original && dppo_bench_original_new(a.original, a.settings.threads, a.settings.batch,
                                              &a.settings.original) != DPPO_OK) {
        (void)dppo_cli_error();
        return DPPO_EXIT_MISSING;
    }
#ifdef DPPO_WITH_SHIM
    shim_skip_frozen(!a.frozen);
#endif
    FILE *out = a.json && strcmp(a.json, "-") == 0 ? stderr : stdout;
    dppo_bench_print_machine(out, &a.settings);
    dppo_bench_add_head(&json, &a.settings);
    bool more = false, missing = false;
    dppo_status status = DPPO_OK;
    for (size_t k = 0; k < spec_count() && status == DPPO_OK; k++)
        status = run_spec(&a, k, out, &json, &more, &missing);
    if (status == DPPO_OK && a.scaling) status = dppo_bench_scaling(&a.settings, a.out, out);
    if (status == DPPO_OK) status = write_json(a.json, &json);
    dppo_text_free(&json);
    dppo_bench_original_free(a.settings.original);
    if (status != DPPO_OK) return dppo_cli_error();
    return missing ? DPPO_EXIT_MISSING : DPPO_EXIT_OK;
}

const dppo_verb dppo_verb_bench = {
    .name = "bench",
    .summary = "time C against libtorch, in pairs",
    .usage =
        "usage: dppo bench [gemm] [iteration] [update] [prepare] [act40] [act1] [pretrain] [hopper]\n"
        "                  [networks] [NETWORK..] [scaling [--out FOLDER]]\n"
        "                  [--batch B] [--threads N] [--repeats R] [--full] [--frozen] [--json F]\n"
        "                  [--original CHECKOUT]\n\n"
        "Measures in pairs, the sides taking turns, and prints the median and the 99th percentile of\n"
        "each and the median of the pairs' ratios (above 1: the first is faster) [and their quartiles].\n"
        "libtorch gets as many threads, or one where it is faster with one. Where operations can be\n"
        "counted, the matrix product takes turns too, and the share of it is the median over the turns.\n\n"
        "  gemm       our product and cblas_sgemm on the same threads: the faster is what the machine can "
        "do\n"
        "  iteration  a whole iteration of training in C against the sum of its parts measured one by one:\n"
        "             acting, stepping, `prepare`, and `update` for each minibatch\n"
        "  update     a minibatch of DPPO's update: loss, backward, AdamW; actor 3 x 512 residual ReLU,\n"
        "             critic 3 x 256 residual Mish; random pairs of four times as many\n"
        "  prepare    what precedes it once an iteration: values, log-probabilities, advantages\n"
        "  act40      actions with chains for 40 environments, 20 denoising steps\n"
        "  act1       actions for one environment: the latency of a deployed policy\n"
        "  pretrain   a pre-training step on 128 sequences\n"
        "  hopper     an env step of 40 Hoppers in DPPO's wrappers on all threads, against a bare\n"
        "             mj_step() loop on one, with the same actions and frame skip; loops: such on all "
        "threads\n"
        "  networks   forward and backward of each network, of the sizes of the original's configurations;\n"
        "             NETWORK: one of them by its class, Unet1D\n"
        "  scaling    update over minibatches of 1 to 100 000, acting and stepping over 1 to 400\n"
        "             environments\n"
        "  Without any of them: all but the networks and scaling.\n\n"
        "  --batch B     pairs of the update's minibatch (50000; iteration: 10000); the largest size of "
        "scaling\n"
        "  --full        an iteration of training's size: 500 steps, minibatches of 50000\n"
        "  --frozen      libtorch evaluates the frozen network also where the fine-tuned one replaces it,\n"
        "                as the original does; else neither side does\n"
        "  --threads N   at most, of each side (one a core); hopper's second side has one\n"
        "  --repeats R   pairs of each benchmark, after one to warm up (its own)\n"
        "  --original CHECKOUT\n"
        "                the original's Python code as a third side of update, prepare, act40, act1 and\n"
        "                pretrain: CHECKOUT is a copy of its repository; python3 ($DPPO_PYTHON) needs torch "
        "and\n"
        "                omegaconf\n"
        "  --out FOLDER  scaling.csv, scaling.md and the plots in index.html\n"
        "  --json F      writes the numbers and the versions to F, - to standard output\n",
    .run = run,
};
