/* The door between the sides: one call, entered the same way on either side.
 *
 * A case (FIXTURES.md, schema dppo-parity/1) is one call of one function. Each side has a table from function
 * names to entries; a new function costs one entry a side, a new case costs nothing but data. */
#ifndef DPPO_PARITY_DOOR_H
#define DPPO_PARITY_DOOR_H

#include "base/status.h"
#include "config/config.h"
#include "random/generator.h"
#include "tensor/named.h"

/* Names inside the maps are without the group's own name: in: "cond/state"; state: "network.logvar";
 * draws: "0" with kind; out: "result"; cotangent: "result"; grad: "in/x" and "state/weight". */
typedef struct dppo_case {
    char *file, *function, *name; /* owned */
    dppo_config *init, *args;     /* owned; NULL when absent */
    char *method, *reason;        /* owned; NULL when absent */
    bool has_seed, has_rtol, has_atol, has_draws;
    int64_t manual_seed;
    double rtol, atol;
    dppo_named in, state, draws;
    dppo_named out, cotangent, grad, state_after; /* the record; out and grad may be empty */
} dppo_case;

/* What a side answers: the same groups as the record. */
typedef struct dppo_answer {
    dppo_named out, grad, state_after;
} dppo_answer;
void dppo_answer_free(dppo_answer *answer);

/* Calls the case on one side. `answer` is filled (owned by the caller even after a failure). DPPO_MISSING:
 * the side has no such function. Gradients are computed for every case that has cotangents, with respect to
 * every float input and every parameter that requires one; a tensor the objective does not depend on has no
 * gradient entry. */
typedef dppo_status dppo_side_call(const dppo_case *parity_case, dppo_answer *answer);

/* For both sides, around a call: whatever args and init say and nobody read is DPPO_INVALID, except what is
 * neutral (device, obs_dim, obs_shape, null); so is a method that neither ends the function's name nor was
 * asked for. */
void dppo_case_forget(const dppo_case *parity_case);
dppo_status dppo_case_all_read(const dppo_case *parity_case, bool method_used);

/* A function of the C side. cx has the case's generator (replaying draws, or seeded) and gradients on when
 * there are cotangents; state and inputs are leaves. */
typedef struct dppo_call dppo_call;
typedef struct dppo_entry {
    const char *function; /* "torch.clamp", "PPODiffusion.loss" */
    dppo_status (*call)(dppo_call *call);
} dppo_entry;

/* Helpers for entries (parity/call.c). */
struct dppo_context;
const dppo_case *dppo_call_case(const dppo_call *call);
struct dppo_context *dppo_call_context(dppo_call *call);
/* Input `name` as a leaf of the context (requires_grad when float and the case has cotangents); the plain
 * form fails when it is absent, naming it. The same tensor is returned each time. "input" may be
 * recorded as in/self. */
dppo_status dppo_call_input(dppo_call *call, const char *name, dppo_tensor **tensor);
dppo_tensor *dppo_call_input_or_null(dppo_call *call, const char *name);
/* The inputs as recorded, for an entry that reads those whose names start with `prefix` itself. An input that
 * was asked for by none of these three fails the call, as unread keys do. */
const dppo_named *dppo_call_inputs(dppo_call *call, const char *prefix);
const char *dppo_call_method(dppo_call *call); /* NULL when the case names none */
/* Arguments shared by entries. Lists of ints may be one int. */
typedef struct dppo_int_list {
    int64_t values[DPPO_MAX_DIMS];
    size_t count;
} dppo_int_list;
/* The list under the first of `names` (ended by NULL) that is given; DPPO_INVALID names the first if none is.
 */
dppo_status dppo_call_ints(const dppo_call *call, const char *const *names, dppo_int_list *list);
/* size, sizes, shape or repeats, as the function calls it. */
dppo_status dppo_call_sizes(const dppo_call *call, dppo_int_list *list);
/* Settings of a class come with the constructor; a recording of its function has them among the arguments. */
const dppo_config *dppo_call_settings(const dppo_call *call);
/* Options that this side knows only switched off: each of `names` (ended by NULL) is absent, null or false,
 * or the function is DPPO_MISSING. */
dppo_status dppo_call_refuse(const dppo_config *settings, const char *const *names);
/* "torch.int64" or "int64"; absent: `fallback`. */
dppo_status dppo_call_dtype(const dppo_call *call, dppo_dtype fallback, dppo_dtype *dtype);
/* How many of "tensors/0", "tensors/1", ... there are. */
size_t dppo_call_sequence(dppo_call *call, const char *name, dppo_tensor **tensors, size_t capacity);
/* What the entry of another function answers for this call: its only result. */
dppo_status dppo_call_result_of(dppo_call *call, const char *function, dppo_tensor **result);
/* Gives the result `name` (differentiable if recorded). NULL tensor: fails with the context's message. */
dppo_status dppo_call_output(dppo_call *call, const char *name, dppo_tensor *tensor);
dppo_status dppo_call_output_f64(dppo_call *call, const char *name, double value);
dppo_status dppo_call_output_i64(dppo_call *call, const char *name, int64_t value);
/* Any contiguous tensor (float64 answers of gae, ...), copied. */
dppo_status dppo_call_output_copy(dppo_call *call, const char *name, const dppo_tensor *tensor);
/* Registers the module under test: loads the case's state into it (strictly), makes its parameters those
 * whose gradients are reported as grad/state/<name>; after the call its state_dict is reported as state_after
 * when `after`. The module is freed with the call. */
struct dppo_module;
dppo_status dppo_call_module(dppo_call *call, struct dppo_module *module, bool after);
/* Reports state_after of the registered module after all. */
dppo_status dppo_call_report_state(dppo_call *call);

/* All entries of the C side, sorted by name. */
const dppo_entry *dppo_c_entries(size_t *count);
dppo_status dppo_c_call(const dppo_case *parity_case, dppo_answer *answer);

/* The C entries are spread over files by topic, parity/entries_<topic>.c; each exports one list,
 * dppo_entries_<topic>, ended by {NULL, NULL}. */
#define DPPO_ENTRY_LISTS(X)                                                                                  \
    X(shape)                                                                                                 \
    X(math)                                                                                                  \
    X(nn)                                                                                                    \
    X(optim)                                                                                                 \
    X(models)                                                                                                \
    X(gmm)                                                                                                   \
    X(vision)                                                                                                \
    X(diffusion)                                                                                             \
    X(envs)                                                                                                  \
    X(algorithms)                                                                                            \
    X(offpolicy)                                                                                             \
    X(agents)
#define DPPO_DECLARE_ENTRIES(topic) extern const dppo_entry dppo_entries_##topic[];
DPPO_ENTRY_LISTS(DPPO_DECLARE_ENTRIES)
#undef DPPO_DECLARE_ENTRIES

#endif
