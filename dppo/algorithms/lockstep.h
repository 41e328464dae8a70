/* Two sides on the same data: how far their traces and states are apart. */
#ifndef DPPO_ALGORITHMS_LOCKSTEP_H
#define DPPO_ALGORITHMS_LOCKSTEP_H

#include "algorithms/agent.h"
#include "base/text.h"

/* Tolerances of training comparisons. Losses, norms and parameter changes of one minibatch pass within
 * |c - torch| <= atol + rtol |torch|. */
typedef struct dppo_training_tolerance {
    double rtol, atol;
} dppo_training_tolerance;

/* One compared quantity of an iteration. */
typedef struct dppo_gap {
    double max_abs, max_rel;
    int64_t worst;   /* minibatch (traces) or element (states) */
    double c, torch; /* the two values there */
    double bitwise_share;
    bool within; /* of the tolerance, everywhere; NaN fails */
} dppo_gap;

/* Element by element, in float64; NaN fails, on both sides too. */
dppo_gap dppo_gap_of(int64_t count, const double *c, const double *torch, dppo_training_tolerance tolerance);

/* Appends rows "itr,quantity,count,max_abs,max_rel,worst,c,torch,bitwise_share,status" for every trace
 * column. *within becomes false when one leaves the tolerance, or when the numbers of minibatches differ. */
dppo_status dppo_compare_traces(dppo_text *csv, int64_t itr, const dppo_trace *c, const dppo_trace *torch,
                                dppo_training_tolerance tolerance, bool *within);
/* The same for "parameter change": model/ entries that differ from `before`, changes of both sides against
 * each other. The tolerance is for changes relative to the largest change of the tensor. */
dppo_status dppo_compare_changes(dppo_text *csv, int64_t itr, const dppo_named *before, const dppo_named *c,
                                 const dppo_named *torch, dppo_training_tolerance tolerance, bool *within);

/* True when both hold the same names and the same bits. */
bool dppo_states_equal(const dppo_named *a, const dppo_named *b);

#endif
