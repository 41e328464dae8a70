/* What a measurement says: lines for people, JSON for machines. */
#include "cli/bench.h"
#include "cli/bench_original.h"
#include "cli/cli.h"
#include "config/config.h"

#include <stdlib.h>

/* -- for people */

static void print_seconds(FILE *out, const char *name, double seconds) {
    bool small = seconds < 0.1;
    (void)fprintf(out, "  %s %10.*f %s", name, small ? 4 : 3, small ? 1e3 * seconds : seconds,
                  small ? "ms" : "s ");
}

static void print_side(FILE *out, const bench_spec *spec, const bench_result *r, int k) {
    (void)fprintf(out, "  %-9s", spec->sides[k]);
    print_seconds(out, "p50", r->seconds[k].median);
    print_seconds(out, "p99", r->p99[k]);
    if (r->gflops[k] > 0) (void)fprintf(out, "  %7.1f GFLOP/s", r->gflops[k]);
    const bench_spread *share = &r->share[k];
    if (share->median > 0)
        (void)fprintf(out, "  %5.1f %% of gemm [%.1f to %.1f]", 100 * share->median, 100 * share->low,
                      100 * share->high);
    if (k == 0 && r->executed < share->median)
        (void)fprintf(out, " (%.1f %% executed, the rest spared)", 100 * r->executed);
    (void)fprintf(out, "\n");
}

void dppo_bench_print(FILE *out, const bench_spec *spec, const bench_result *r) {
    (void)fprintf(out, "%s: %s, %lld repeats\n", r->part->name, r->part->summary, (long long)r->repeats);
    for (int k = 0; k < DPPO_BENCH_SIDES; k++)
        if (r->present[k]) print_side(out, spec, r, k);
    for (int k = 1; k < DPPO_BENCH_SIDES; k++) {
        if (!r->present[k]) continue;
        (void)fprintf(out, "  %s / %s %.3f [%.3f to %.3f]", spec->sides[k], spec->sides[0],
                      r->ratio[k].median, r->ratio[k].low, r->ratio[k].high);
        if (r->torch_threads > 0 && k == 1) (void)fprintf(out, "  (libtorch on %d)", r->torch_threads);
        if (r->original_threads > 0 && k == 2) (void)fprintf(out, "  (original on %d)", r->original_threads);
        (void)fprintf(out, "\n");
    }
    if (r->peak > 0) (void)fprintf(out, "  gemm beside it %.1f GFLOP/s\n", r->peak);
    if (r->memory > 0)
        (void)fprintf(out, "  peak memory of %s %.3f GiB\n", spec->sides[spec->memory - 1],
                      (double)r->memory / (1 << 30));
    (void)fflush(out);
}

/* The versions are YAML lines "key: 'value'": all of them in one line. */
void dppo_bench_print_machine(FILE *out, const settings *options) {
    char *yaml = dppo_versions_yaml();
    (void)fprintf(out, "machine: ");
    for (const char *at = yaml; at && *at; at++)
        if (*at == '\n')
            (void)fputs(at[1] ? "; " : "\n", out);
        else if (*at != '\'')
            (void)fputc(*at, out);
    (void)fprintf(out, "%d threads%s\n", options->threads,
                  dppo_torch_side() ? "" : "; built without libtorch, C alone is measured");
    if (options->original)
        (void)fprintf(out, "original: %s\n", dppo_bench_original_version(options->original));
    free(yaml);
}

/* -- for machines */

static void add_versions(dppo_text *json) {
    char *yaml = dppo_versions_yaml();
    dppo_config *node = NULL;
    if (yaml && dppo_config_parse_yaml(yaml, "versions", &node) == DPPO_OK) {
        dppo_text_add(json, "  \"versions\": ");
        dppo_config_write_json(node, json);
        dppo_text_add(json, ",\n");
    }
    dppo_config_free(node);
    free(yaml);
}

void dppo_bench_add_head(dppo_text *json, const settings *options) {
    dppo_text_add(json, "{\n");
    add_versions(json);
    if (options->original)
        dppo_text_format(json, "  \"original\": \"%s\",\n", dppo_bench_original_version(options->original));
    dppo_text_format(json, "  \"threads\": %d,\n  \"results\": [", options->threads);
}

static void add_spread(dppo_text *json, const char *name, const bench_spread *s) {
    dppo_text_format(json, ", \"%s\": %.6g, \"%s_quartiles\": [%.6g, %.6g]", name, s->median, name, s->low,
                     s->high);
}

static void add_side(dppo_text *json, const bench_spec *spec, const bench_result *r, int k) {
    dppo_text_format(json, "\"%s\": {\"median_s\": %.9g, \"p99_s\": %.9g", spec->sides[k],
                     r->seconds[k].median, r->p99[k]);
    if (r->gflops[k] > 0) dppo_text_format(json, ", \"gflops\": %.6g", r->gflops[k]);
    if (r->share[k].median > 0) add_spread(json, "gemm_share", &r->share[k]);
    if (k == 0 && r->share[k].median > 0) dppo_text_format(json, ", \"executed_share\": %.6g", r->executed);
    if (k > 0) add_spread(json, "ratio", &r->ratio[k]);
    dppo_text_add(json, "}, ");
}

void dppo_bench_add_result(dppo_text *json, const bench_spec *spec, const bench_result *r, bool more) {
    dppo_text_format(json, "%s\n    {\"name\": \"%s\", ", more ? "," : "", r->part->name);
    for (int k = 0; k < DPPO_BENCH_SIDES; k++)
        if (r->present[k]) add_side(json, spec, r, k);
    if (r->torch_threads > 0) dppo_text_format(json, "\"torch_threads\": %d, ", r->torch_threads);
    if (r->original_threads > 0) dppo_text_format(json, "\"original_threads\": %d, ", r->original_threads);
    if (r->peak > 0) dppo_text_format(json, "\"gemm_gflops\": %.6g, ", r->peak);
    if (r->memory > 0) dppo_text_format(json, "\"peak_bytes\": %lld, ", (long long)r->memory);
    dppo_text_format(json, "\"repeats\": %lld}", (long long)r->repeats);
}
