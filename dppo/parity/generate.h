/* Our own cases: described in a few lines of YAML (fixtures/cases/), drawn by our generator from fixed seeds,
 * answered by the libtorch side.
 *
 *     seed: 1
 *     cases:
 *       torch.clamp:
 *         scalar_bounds:
 *           args: {min: -1, max: 1}
 *           in: {input: [randn, [3, 4], 2]}
 *
 * A tensor is [KIND, [shape], parameters..]: randn (scale = 1, shift = 0), uniform (low = 0, high = 1),
 * randint (low, high), randperm, bool (share of ones = 0.5), float32, float64, int64 or mask (a list of
 * values, repeated to fill the shape); "float64 randn" and "float64 uniform" give float64. `state` is a map
 * of tensors, or `built`: what the constructor of `init` draws, or `perturbed`: the same with noise, so that
 * a network and its copies differ. `draws` lists the recorded draws in order as [KIND, [shape],
 * parameters..]: randn, rand, randint (low, high), randperm, multinomial (low, high) or np.uniform. Other
 * keys: init, method, args, rtol, atol, reason, and `grad: false` for a function without gradients. The seed
 * of a case follows from the file's seed and the case's name, so that adding one case changes no other. */
#ifndef DPPO_PARITY_GENERATE_H
#define DPPO_PARITY_GENERATE_H

#include "parity/runner.h"

typedef struct dppo_case_list {
    dppo_config *tree; /* owned */
    int64_t seed;
    char *path;
    const struct dppo_case_spec *specs; /* owned */
    size_t count;
} dppo_case_list;

typedef struct dppo_case_spec {
    const char *function, *name; /* borrowed from the tree */
    const dppo_config *node;
} dppo_case_spec;

/* Reads the file, or the same text. Messages name the file and the key. */
dppo_status dppo_case_list_load(const char *path, dppo_case_list *list);
void dppo_case_list_free(dppo_case_list *list);

/* The question: inputs, state and seed drawn, no answers. The caller dppo_case_free()s it whatever the
 * status. */
dppo_status dppo_generate_case(const dppo_case_list *list, size_t index, dppo_case *parity_case);

/* Does the description ask for gradients? */
dppo_status dppo_case_wants_grad(const dppo_case_list *list, size_t index, bool *wanted);

/* Replaces out, grad and state_after by the answers of `side`. With `gradients`, a case that has no
 * cotangents gets random ones for its float32 results first. */
dppo_status dppo_record_case(const dppo_parity_side *side, bool gradients, dppo_case *parity_case);

#endif
