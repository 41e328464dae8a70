/* Asks both sides for the answers of a case and judges them against each other and the record. */
#ifndef DPPO_PARITY_RUNNER_H
#define DPPO_PARITY_RUNNER_H

#include "parity/case.h"
#include "parity/results.h"

/* One side of the door. `names` lists its functions, sorted. */
typedef struct dppo_parity_side {
    const char *name;    /* "c", "torch" */
    const char *version; /* for people: "libtorch 1.13.0"; NULL for ours */
    dppo_side_call *call;
    dppo_side_call *truth; /* the same in float64, or NULL */
    const char *const *names;
    size_t count;
} dppo_parity_side;

bool dppo_side_has(const dppo_parity_side *side, const char *function);

/* The C side; its list of names is static. */
const dppo_parity_side *dppo_c_side(void);

typedef struct dppo_parity_options {
    const dppo_parity_side *c, *torch; /* NULL: does not take part */
    const char *pattern;               /* substring or glob over "function/case"; NULL: every case */
    void (*each)(void *context, const dppo_parity_result *result); /* after every case; may be NULL */
    void *context;
} dppo_parity_options;

/* Does "function/case" contain the pattern, or match it as a glob? */
bool dppo_parity_selected(const char *title, const char *pattern);

/* Runs the selected cases of a file and adds what they gave. A file or case that cannot be read becomes a
 * line in results->errors; the rest still runs. The status is not DPPO_OK only when memory is exhausted or
 * the user interrupted. */
dppo_status dppo_parity_run_file(const char *path, const dppo_parity_options *options,
                                 dppo_parity_results *results);

/* What the sides said of one case. */
typedef struct dppo_parity_answers {
    dppo_answer c, torch, truth;
    bool asked_c, asked_torch, has_truth; /* whether the side took part and knows the function */
    dppo_status c_status, torch_status;
    char c_message[400], torch_message[400];
    double c_seconds, torch_seconds;
} dppo_parity_answers;
void dppo_parity_ask(const dppo_case *parity_case, const dppo_parity_options *options,
                     dppo_parity_answers *answers);
dppo_status dppo_parity_judge(const dppo_case *parity_case, const dppo_parity_options *options,
                              const dppo_parity_answers *answers, dppo_parity_result *result);
void dppo_parity_answers_free(dppo_parity_answers *answers);

#endif
