/* The C entries of what training stands on: optimizers, the learning rate schedule, initialisers, random
 * sampling and distributions. */
#include "autograd/functions.h"
#include "distributions/categorical.h"
#include "distributions/mixture_same_family.h"
#include "distributions/normal.h"
#include "nn/init.h"
#include "optim/optim.h"
#include "parity/door.h"

#include <stdio.h>
#include <string.h>

static const dppo_config *args_of(const dppo_call *call) {
    return dppo_call_case(call)->args;
}

/* -- torch.optim
 * ---------------------------------------------------------------------------------------------- */

static dppo_status optimizer_options(const dppo_config *init, dppo_optimizer_options *o) {
    static const char *const keys[] = {"lr",      "betas",    "eps",        "weight_decay",   "amsgrad",
                                       "foreach", "maximize", "capturable", "differentiable", NULL};
    DPPO_TRY(dppo_call_refuse(init, keys + 4));
    if (init) DPPO_TRY(dppo_config_allow(init, "init", keys));
    DPPO_TRY(dppo_config_float_or(init, "lr", o->lr, &o->lr));
    DPPO_TRY(dppo_config_float_or(init, "betas.0", o->beta1, &o->beta1));
    DPPO_TRY(dppo_config_float_or(init, "betas.1", o->beta2, &o->beta2));
    DPPO_TRY(dppo_config_float_or(init, "eps", o->eps, &o->eps));
    return dppo_config_float_or(init, "weight_decay", o->weight_decay, &o->weight_decay);
}

/* parameter (P) and gradients (steps, P) -> after (steps, P) */
static void run_steps(dppo_optimizer *optimizer, dppo_tensor *parameter, const dppo_tensor *gradients,
                      float *after) {
    int64_t steps = gradients->shape[0], size = dppo_numel(parameter);
    for (int64_t step = 0; step < steps; step++) {
        memcpy(dppo_f32(parameter->grad), dppo_f32(gradients) + step * size, (size_t)size * sizeof(float));
        dppo_optimizer_step(optimizer);
        memcpy(after + step * size, dppo_f32(parameter), (size_t)size * sizeof(float));
    }
}

/* The parameter that is stepped is a copy of the input: its gradient is the case's, not the tape's. */
static dppo_status call_optimizer(dppo_call *call, dppo_optimizer_kind kind) {
    dppo_tensor *start, *gradients;
    DPPO_TRY(dppo_call_input(call, "params", &start));
    DPPO_TRY(dppo_call_input(call, "grads", &gradients));
    bool fits = start->dtype == DPPO_F32 && gradients->dtype == DPPO_F32 &&
                gradients->ndim == start->ndim + 1 &&
                dppo_numel(gradients) == gradients->shape[0] * dppo_numel(start);
    if (!fits)
        return dppo_fail(DPPO_INVALID, "in/grads must be in/params with a dimension of steps in front");
    dppo_optimizer_options options = dppo_optimizer_defaults(kind);
    DPPO_TRY(optimizer_options(dppo_call_settings(call), &options));
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *after = dppo_result(cx, DPPO_F32, gradients->ndim, gradients->shape);
    dppo_tensor *parameter = dppo_result(cx, DPPO_F32, start->ndim, start->shape);
    dppo_tensor *grad = dppo_result(cx, DPPO_F32, start->ndim, start->shape);
    DPPO_TRY(dppo_context_status(cx));
    DPPO_TRY(dppo_tensor_copy(parameter, start));
    parameter->grad = grad;
    dppo_optimizer *optimizer = dppo_optimizer_new(kind, options, 1, &parameter);
    if (!optimizer) return dppo_fail(DPPO_NO_MEMORY, "optimizer: out of memory");
    run_steps(optimizer, parameter, gradients, dppo_f32(after));
    dppo_optimizer_free(optimizer);
    return dppo_call_output(call, "params", after);
}

static dppo_status call_adam(dppo_call *call) {
    return call_optimizer(call, DPPO_ADAM);
}

static dppo_status call_adamw(dppo_call *call) {
    return call_optimizer(call, DPPO_ADAMW);
}

/* in/grads/0, /1, ...; args max_norm -> total_norm, grads/0, ... */
static dppo_status call_clip_grad_norm(dppo_call *call) {
    enum { MAX_GRADS = 64 };
    dppo_tensor *grads[MAX_GRADS], leaves[MAX_GRADS] = {0}, *parameters[MAX_GRADS];
    size_t count = dppo_call_sequence(call, "grads", grads, MAX_GRADS);
    double max_norm, norm_type;
    DPPO_TRY(dppo_config_float(args_of(call), "max_norm", &max_norm));
    DPPO_TRY(dppo_config_float_or(args_of(call), "norm_type", 2, &norm_type));
    DPPO_TRY(dppo_call_refuse(args_of(call), (const char *const[]){"error_if_nonfinite", NULL}));
    if (norm_type != 2) return dppo_fail(DPPO_MISSING, "args/norm_type: only 2 is supported");
    for (size_t i = 0; i < count; i++) {
        leaves[i].grad = grads[i];
        parameters[i] = &leaves[i];
    }
    dppo_context *cx = dppo_call_context(call);
    DPPO_TRY(dppo_call_output(call, "total_norm",
                              dppo_scalar(cx, dppo_clip_grad_norm(count, parameters, max_norm))));
    for (size_t i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "grads/%zu", i);
        DPPO_TRY(dppo_call_output_copy(call, name, grads[i]));
    }
    return DPPO_OK;
}

/* The rate before the first step and after each of the n - 1 that follow. */
static dppo_status call_lr_schedule(dppo_call *call) {
    const dppo_config *args = dppo_call_settings(call);
    int64_t n, first, warmup;
    double mult, max_lr, min_lr, gamma, lr;
    DPPO_TRY(dppo_config_int(args_of(call), "n", &n));
    DPPO_TRY(dppo_config_int(args, "first_cycle_steps", &first));
    DPPO_TRY(dppo_config_int_or(args, "warmup_steps", 0, &warmup));
    DPPO_TRY(dppo_config_float_or(args, "cycle_mult", 1, &mult));
    DPPO_TRY(dppo_config_float_or(args, "max_lr", 0.1, &max_lr));
    DPPO_TRY(dppo_config_float_or(args, "min_lr", 0.001, &min_lr));
    DPPO_TRY(dppo_config_float_or(args, "gamma", 1, &gamma));
    dppo_lr_schedule schedule;
    DPPO_TRY(dppo_lr_schedule_init(&schedule, first, mult, max_lr, min_lr, warmup, gamma, &lr));
    dppo_tensor *rates = dppo_result(dppo_call_context(call), DPPO_F64, 1, &n);
    if (!rates) return dppo_context_status(dppo_call_context(call));
    for (int64_t i = 0; i < n; i++) {
        dppo_f64(rates)[i] = lr;
        lr = dppo_lr_schedule_step(&schedule);
    }
    return dppo_call_output(call, "result", rates);
}

/* -- torch.nn.init: the shape of in/tensor, or args size
 * ------------------------------------------------------- */

static dppo_status init_target(dppo_call *call, dppo_tensor **target) {
    const dppo_tensor *like = dppo_call_input_or_null(call, "tensor");
    if (!like) like = dppo_call_input_or_null(call, "input");
    dppo_int_list size = {0};
    if (!like) DPPO_TRY(dppo_call_sizes(call, &size));
    *target = dppo_result(dppo_call_context(call), DPPO_F32, like ? like->ndim : (int)size.count,
                          like ? like->shape : size.values);
    return *target ? DPPO_OK : dppo_context_status(dppo_call_context(call));
}

static dppo_status number(const dppo_call *call, const char *key, double *value) {
    return key ? dppo_config_float_or(args_of(call), key, *value, value) : DPPO_OK;
}

/* The defaults of kaiming_uniform_, which may be spelled out. */
static dppo_status check_kaiming(const dppo_call *call) {
    const char *mode, *nonlinearity;
    DPPO_TRY(dppo_config_string_or(args_of(call), "mode", "fan_in", &mode));
    DPPO_TRY(dppo_config_string_or(args_of(call), "nonlinearity", "leaky_relu", &nonlinearity));
    if (strcmp(mode, "fan_in") == 0 && strcmp(nonlinearity, "leaky_relu") == 0) return DPPO_OK;
    return dppo_fail(DPPO_MISSING, "kaiming_uniform_: only fan_in and leaky_relu");
}

/* Name, the arguments a and b with their defaults, and what fills `t`. */
#define INITIALISERS(X)                                                                                      \
    X(normal_, "mean", 0, "std", 1, dppo_init_normal(generator, t, a, b))                                    \
    X(uniform_, "a", 0, "b", 1, dppo_init_uniform(generator, t, a, b))                                       \
    X(ones_, NULL, 0, NULL, 0, dppo_init_ones(t))                                                            \
    X(zeros_, NULL, 0, NULL, 0, dppo_init_zeros(t))                                                          \
    X(constant_, "val", 0, NULL, 0, dppo_init_constant(t, a))                                                \
    X(xavier_normal_, "gain", 1, NULL, 0, dppo_init_xavier_normal(generator, t, a))                          \
    X(xavier_uniform_, "gain", 1, NULL, 0, dppo_init_xavier_uniform(generator, t, a))                        \
    X(kaiming_uniform_, "a", 0, NULL, 0, dppo_init_kaiming_uniform(generator, t, a))                         \
    X(orthogonal_, "gain", 1, NULL, 0, dppo_init_orthogonal(generator, t, a))

#define X(name, key_a, default_a, key_b, default_b, fill)                                                    \
    static dppo_status init_##name(dppo_call *call) {                                                        \
        double a = default_a, b = default_b;                                                                 \
        dppo_generator *generator = dppo_context_generator(dppo_call_context(call));                         \
        dppo_tensor *t;                                                                                      \
        DPPO_TRY(number(call, key_a, &a));                                                                   \
        DPPO_TRY(number(call, key_b, &b));                                                                   \
        if (strcmp(#name, "kaiming_uniform_") == 0) DPPO_TRY(check_kaiming(call));                           \
        DPPO_TRY(init_target(call, &t));                                                                     \
        (void)generator;                                                                                     \
        DPPO_TRY(fill);                                                                                      \
        return dppo_call_output(call, "result", t);                                                          \
    }
INITIALISERS(X)
#undef X

/* -- random sampling
 * --------------------------------------------------------------------------------------------- */

static dppo_status call_rand(dppo_call *call) {
    dppo_int_list size;
    DPPO_TRY(dppo_call_sizes(call, &size));
    return dppo_call_output(call, "result", dppo_rand(dppo_call_context(call), (int)size.count, size.values));
}

static dppo_status call_randn(dppo_call *call) {
    dppo_int_list size;
    DPPO_TRY(dppo_call_sizes(call, &size));
    return dppo_call_output(call, "result",
                            dppo_randn(dppo_call_context(call), (int)size.count, size.values));
}

static dppo_status call_randn_like(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return dppo_call_output(call, "result", dppo_randn_like(dppo_call_context(call), input));
}

static dppo_status call_randint(dppo_call *call) {
    dppo_int_list size;
    int64_t low, high;
    DPPO_TRY(dppo_call_sizes(call, &size));
    DPPO_TRY(dppo_config_int_or(args_of(call), "low", 0, &low));
    DPPO_TRY(dppo_config_int(args_of(call), "high", &high));
    return dppo_call_output(call, "result",
                            dppo_randint(dppo_call_context(call), low, high, (int)size.count, size.values));
}

static dppo_status call_randperm(dppo_call *call) {
    int64_t n;
    DPPO_TRY(dppo_config_int(args_of(call), "n", &n));
    return dppo_call_output(call, "result", dppo_randperm(dppo_call_context(call), n));
}

static dppo_status call_multinomial(dppo_call *call) {
    dppo_tensor *input;
    int64_t samples;
    bool replacement;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_int(args_of(call), "num_samples", &samples));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "replacement", false, &replacement));
    dppo_context *cx = dppo_call_context(call);
    return dppo_call_output(call, "result", dppo_multinomial(cx, input, samples, replacement));
}

/* -- torch.distributions
 * ------------------------------------------------------------------------------------------ */

/* What a distribution's method may ask for. */
typedef struct asked {
    dppo_context *cx;
    dppo_tensor *loc, *scale, *value, *logits, *probs;
    int64_t event_dims;         /* of Independent */
    dppo_int_list sample_shape; /* of the draws */
} asked;

static dppo_status ask(dppo_call *call, asked *q) {
    *q = (asked){.cx = dppo_call_context(call),
                 .loc = dppo_call_input_or_null(call, "loc"),
                 .scale = dppo_call_input_or_null(call, "scale"),
                 .value = dppo_call_input_or_null(call, "value"),
                 .logits = dppo_call_input_or_null(call, "logits"),
                 .probs = dppo_call_input_or_null(call, "probs")};
    const dppo_config *init = dppo_call_settings(call);
    DPPO_TRY(dppo_config_int_or(init, "reinterpreted_batch_ndims", 1, &q->event_dims));
    if (q->event_dims < 0 || q->event_dims > DPPO_MAX_DIMS)
        return dppo_fail(DPPO_INVALID, "init.reinterpreted_batch_ndims must be in 0..%d", DPPO_MAX_DIMS);
    if (!dppo_config_get(args_of(call), "sample_shape")) return DPPO_OK; /* no dims: one draw */
    return dppo_call_ints(call, (const char *const[]){"sample_shape", NULL}, &q->sample_shape);
}

static dppo_categorical categorical(const asked *q) {
    return q->probs ? dppo_categorical_from_probs(q->cx, q->probs)
                    : dppo_categorical_from_logits(q->cx, q->logits);
}

#define EVENT (int)q->event_dims
#define SHAPE (int)q->sample_shape.count, q->sample_shape.values
#define NEEDS_NORMAL (q->loc && q->scale)
#define NEEDS_WEIGHTS (q->logits || q->probs)

/* Entry, function, the inputs it cannot do without, and the result. */
#define METHODS(X)                                                                                           \
    X("Normal.log_prob", normal_log_prob, NEEDS_NORMAL && q->value,                                          \
      dppo_normal_log_prob(q->cx, q->loc, q->scale, q->value))                                               \
    X("Normal.entropy", normal_entropy, NEEDS_NORMAL, dppo_normal_entropy(q->cx, q->loc, q->scale))          \
    X("Normal.cdf", normal_cdf, NEEDS_NORMAL && q->value,                                                    \
      dppo_normal_cdf(q->cx, q->loc, q->scale, q->value))                                                    \
    X("Normal.sample", normal_sample, NEEDS_NORMAL, dppo_normal_sample(q->cx, q->loc, q->scale, SHAPE))      \
    X("Normal.rsample", normal_rsample, NEEDS_NORMAL, dppo_normal_rsample(q->cx, q->loc, q->scale, SHAPE))   \
    X("Independent.log_prob", independent_log_prob, NEEDS_NORMAL && q->value,                                \
      dppo_independent_sum(q->cx, dppo_normal_log_prob(q->cx, q->loc, q->scale, q->value), EVENT))           \
    X("Independent.entropy", independent_entropy, NEEDS_NORMAL,                                              \
      dppo_independent_sum(q->cx, dppo_normal_entropy(q->cx, q->loc, q->scale), EVENT))                      \
    X("Independent.sample", independent_sample, NEEDS_NORMAL,                                                \
      dppo_normal_sample(q->cx, q->loc, q->scale, SHAPE))                                                    \
    X("Independent.rsample", independent_rsample, NEEDS_NORMAL,                                              \
      dppo_normal_rsample(q->cx, q->loc, q->scale, SHAPE))                                                   \
    X("Categorical.log_prob", categorical_log_prob, NEEDS_WEIGHTS && q->value,                               \
      dppo_categorical_log_prob(q->cx, categorical(q), q->value))                                            \
    X("Categorical.entropy", categorical_entropy, NEEDS_WEIGHTS,                                             \
      dppo_categorical_entropy(q->cx, categorical(q)))                                                       \
    X("Categorical.sample", categorical_sample, NEEDS_WEIGHTS,                                               \
      dppo_categorical_sample(q->cx, categorical(q), SHAPE))                                                 \
    X("MixtureSameFamily.log_prob", mixture_log_prob, NEEDS_NORMAL && q->logits && q->value,                 \
      dppo_mixture_log_prob(q->cx, q->logits, q->loc, q->scale, EVENT, q->value))                            \
    X("MixtureSameFamily.sample", mixture_sample, NEEDS_NORMAL && q->logits,                                 \
      dppo_mixture_sample(q->cx, q->logits, q->loc, q->scale, EVENT, SHAPE))

#define X(name, function, needs, result)                                                                     \
    static dppo_status function(dppo_call *call) {                                                           \
        asked question, *q = &question;                                                                      \
        DPPO_TRY(ask(call, q));                                                                              \
        if (!(needs)) return dppo_fail(DPPO_INVALID, name ": an input is missing");                          \
        return dppo_call_output(call, "result", result);                                                     \
    }
METHODS(X)
#undef X

const dppo_entry dppo_entries_optim[] = {
    {"torch.optim.Adam", call_adam},
    {"torch.optim.AdamW", call_adamw},
    {"torch.nn.utils.clip_grad_norm_", call_clip_grad_norm},
    {"CosineAnnealingWarmupRestarts", call_lr_schedule},
#define X(name, ...) {"torch.nn.init." #name, init_##name},
    INITIALISERS(X)
#undef X
        {"torch.rand", call_rand},
    {"torch.randn", call_randn},
    {"torch.randn_like", call_randn_like},
    {"torch.randint", call_randint},
    {"torch.randperm", call_randperm},
    {"torch.multinomial", call_multinomial},
#define X(name, function, ...) {"torch.distributions." name, function},
    METHODS(X)
#undef X
        {NULL, NULL},
};
