/* What a parity run found, and its writers: CSV for programs, JUnit for CI, Markdown and annotations for
 * reviews. */
#ifndef DPPO_PARITY_RESULTS_H
#define DPPO_PARITY_RESULTS_H

#include "base/text.h"
#include "parity/compare.h"

typedef enum dppo_verdict { DPPO_PASSED, DPPO_FAILED, DPPO_SKIPPED } dppo_verdict;
const char *dppo_verdict_name(dppo_verdict verdict); /* "passed", "failed", "skipped" */

typedef enum dppo_pair { DPPO_C_TORCH, DPPO_C_RECORD, DPPO_TORCH_RECORD } dppo_pair;
const char *dppo_pair_name(dppo_pair pair); /* "c_torch", ... */

/* One answer of one pair of sides; the first of the pair is judged against the second. */
typedef struct dppo_parity_row {
    char *answer; /* owned: "out/result", "grad/in/x", "state_after/weight"; "" for a pair that could not be
                     formed */
    dppo_pair pair;
    dppo_verdict verdict;
    dppo_comparison numbers; /* `message` says what is wrong; meaningless when skipped */
    double truth_ratio;      /* NAN when there is no truth */
} dppo_parity_row;

typedef struct dppo_parity_result {
    char *file, *function, *name; /* owned */
    dppo_verdict verdict;
    char message[512]; /* why it was skipped, or what a side said when it failed; "" otherwise; or
                        * that near_truth is not 0 */
    dppo_parity_row *rows;
    size_t count, capacity;
    size_t near_truth; /* answers outside the tolerance of a record that pass by the criterion of truth */
    double c_seconds, torch_seconds; /* of the calls; 0 where there was none */
} dppo_parity_result;

typedef struct dppo_parity_results {
    dppo_parity_result *cases;
    size_t count, capacity;
    size_t passed, failed, skipped;
    char **errors;     /* owned: one line a file or case that could not be read */
    char **unreadable; /* (error_count), owned: their CSV rows */
    size_t error_count;
    bool with_torch;
} dppo_parity_results;

dppo_status dppo_parity_results_add(dppo_parity_results *results,
                                    dppo_parity_result *result); /* takes its contents */
/* What could not be read: a case, or with an empty name the file `function`. A row of the CSV, failed. */
dppo_status dppo_parity_results_error(dppo_parity_results *results, const char *function, const char *name,
                                      const char *line);
dppo_status dppo_parity_result_row(dppo_parity_result *result,
                                   const dppo_parity_row *row); /* copies row->answer */
void dppo_parity_result_free(dppo_parity_result *result);
void dppo_parity_results_free(dppo_parity_results *results);

/* Worst numbers of one case over the rows of `pair` that have numbers; false when there are none. */
typedef struct dppo_parity_summary {
    double max_abs, max_ulp, bitwise_share,
        truth_ratio; /* share over all elements; ratio NAN without truth */
    size_t answers;
} dppo_parity_summary;
bool dppo_parity_summarise(const dppo_parity_result *result, dppo_pair pair, dppo_parity_summary *summary);

/* The same over every case of a function; `cases` counts them. */
typedef struct dppo_function_summary {
    const char *function; /* borrowed from the results */
    size_t cases, passed, failed, skipped;
    bool has_numbers;
    dppo_pair pair; /* c_torch where there is one, else c_record, else torch_record */
    dppo_parity_summary numbers;
} dppo_function_summary;
/* One a function, in the order of its name; owned by the caller, free(). NULL when memory is exhausted. */
dppo_function_summary *dppo_parity_functions(const dppo_parity_results *results, size_t *count);

#define DPPO_CSV_HEADER                                                                                      \
    "function,case,answer,pair,status,max_abs,max_rel,max_ulp,p99_ulp,bitwise_share,truth_ratio,worst_index"

void dppo_parity_csv(const dppo_parity_results *results, dppo_text *text);
void dppo_parity_junit(const dppo_parity_results *results, dppo_text *text);
void dppo_parity_markdown(const dppo_parity_results *results, dppo_text *text);
/* GitHub's ::error lines, one a failed case. */
void dppo_parity_annotations(const dppo_parity_results *results, dppo_text *text);
/* The table of functions: cases, worst ULP, bitwise share, truth ratio. */
void dppo_parity_function_table(const dppo_parity_results *results, dppo_text *text);

#endif
