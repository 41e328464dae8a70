/* Door entries of torch's pointwise functions, reductions, products of matrices and torch.nn layers. */
#include "autograd/functions.h"
#include "nn/sequential.h"
#include "parity/door.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const dppo_config *args_of(dppo_call *call) {
    return dppo_call_case(call)->args;
}

static const dppo_config *init_of(dppo_call *call) {
    return dppo_call_case(call)->init;
}

static dppo_status result(dppo_call *call, dppo_tensor *tensor) {
    return dppo_call_output(call, "result", tensor);
}

/* -- pointwise
 * ------------------------------------------------------------------------------------------------- */

#define UNARY(name)                                                                                          \
    static dppo_status call_##name(dppo_call *call) {                                                        \
        dppo_tensor *input;                                                                                  \
        DPPO_TRY(dppo_call_input(call, "input", &input));                                                    \
        return result(call, dppo_##name(dppo_call_context(call), input));                                    \
    }

/* in/other, or a number in args. */
static dppo_status other_operand(dppo_call *call, dppo_tensor **other) {
    double number;
    *other = dppo_call_input_or_null(call, "other");
    if (*other) return DPPO_OK;
    DPPO_TRY(dppo_config_float(args_of(call), "other", &number));
    *other = dppo_scalar(dppo_call_context(call), number);
    return DPPO_OK;
}

#define BINARY(name)                                                                                         \
    static dppo_status call_##name(dppo_call *call) {                                                        \
        dppo_tensor *input, *other;                                                                          \
        DPPO_TRY(dppo_call_input(call, "input", &input));                                                    \
        DPPO_TRY(other_operand(call, &other));                                                               \
        return result(call, dppo_##name(dppo_call_context(call), input, other));                             \
    }

#define UNARY_FUNCTIONS(X)                                                                                   \
    X(neg)                                                                                                   \
    X(abs)                                                                                                   \
    X(sign)                                                                                                  \
    X(exp)                                                                                                   \
    X(log)                                                                                                   \
    X(log1p)                                                                                                 \
    X(sqrt)                                                                                                  \
    X(square)                                                                                                \
    X(sin)                                                                                                   \
    X(cos)                                                                                                   \
    X(tanh)                                                                                                  \
    X(atanh)                                                                                                 \
    X(sigmoid)                                                                                               \
    X(erf)                                                                                                   \
    X(isnan)
#define BINARY_FUNCTIONS(X)                                                                                  \
    X(add)                                                                                                   \
    X(sub)                                                                                                   \
    X(mul)                                                                                                   \
    X(div)                                                                                                   \
    X(maximum)                                                                                               \
    X(minimum)                                                                                               \
    X(gt)                                                                                                    \
    X(ge)                                                                                                    \
    X(lt)                                                                                                    \
    X(le)                                                                                                    \
    X(eq)                                                                                                    \
    X(matmul)
UNARY_FUNCTIONS(UNARY)
BINARY_FUNCTIONS(BINARY)
UNARY(relu)
UNARY(mish)

static dppo_status call_gelu(dppo_call *call) {
    dppo_tensor *input;
    const char *approximate;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_string_or(dppo_call_settings(call), "approximate", "none", &approximate));
    if (strcmp(approximate, "tanh") == 0) return result(call, dppo_gelu_tanh(dppo_call_context(call), input));
    if (strcmp(approximate, "none") != 0)
        return dppo_fail(DPPO_INVALID, "torch.nn.GELU: approximate is none or tanh, not %s", approximate);
    return result(call, dppo_gelu(dppo_call_context(call), input));
}

static dppo_status call_round(dppo_call *call) {
    dppo_tensor *input;
    int64_t decimals;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_int_or(args_of(call), "decimals", 0, &decimals));
    dppo_context *cx = dppo_call_context(call);
    double tens = (double)(float)pow(10.0, (double)llabs(decimals)); /* shifted, rounded, shifted back */
    if (decimals == 0) return result(call, dppo_round(cx, input));
    if (decimals < 0)
        return result(call, dppo_mul_scalar(cx, dppo_round(cx, dppo_div_scalar(cx, input, tens)), tens));
    return result(call, dppo_div_scalar(cx, dppo_round(cx, dppo_mul_scalar(cx, input, tens)), tens));
}

static dppo_status call_pow(dppo_call *call) {
    dppo_tensor *input;
    double exponent;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_float(args_of(call), "exponent", &exponent));
    return result(call, dppo_pow_scalar(dppo_call_context(call), input, exponent));
}

static dppo_status bounds(dppo_call *call, double *min, double *max) {
    DPPO_TRY(dppo_config_float_or(args_of(call), "min", -INFINITY, min));
    return dppo_config_float_or(args_of(call), "max", INFINITY, max);
}

static dppo_status call_clamp(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *input, *low = dppo_call_input_or_null(call, "min"),
                        *high = dppo_call_input_or_null(call, "max");
    double min, max;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    if (low || high) return result(call, dppo_clamp_tensor(cx, input, low, high));
    DPPO_TRY(bounds(call, &min, &max));
    return result(call, dppo_clamp(cx, input, min, max));
}

/* On a clone, as a leaf that requires a gradient cannot be changed. */
static dppo_status call_clamp_inplace(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *input;
    double min, max;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(bounds(call, &min, &max));
    return result(call, dppo_clamp_inplace(cx, dppo_clone(cx, input), min, max));
}

/* -- reductions
 * ------------------------------------------------------------------------------------------------- */

typedef struct dim_args {
    dppo_tensor *input;
    int dims[DPPO_MAX_DIMS], count; /* count 0: all */
    bool keepdim;
} dim_args;

/* The input, converted first where a dtype is named. */
static dppo_status converted_input(dppo_call *call, dppo_tensor **input) {
    dppo_dtype dtype;
    DPPO_TRY(dppo_call_input(call, "input", input));
    DPPO_TRY(dppo_call_dtype(call, (*input)->dtype, &dtype));
    if (dtype == DPPO_F64 && (*input)->dtype != DPPO_F64)
        return dppo_fail(DPPO_MISSING, "args/dtype: float64 is not supported");
    if (dtype != (*input)->dtype) *input = dppo_to_dtype(dppo_call_context(call), *input, dtype);
    return *input ? DPPO_OK : dppo_context_status(dppo_call_context(call));
}

/* in/input; args dim (one, a list, or absent), keepdim and dtype. */
static dppo_status dim_arguments(dppo_call *call, dim_args *a) {
    const dppo_config *node = dppo_config_get(args_of(call), "dim");
    int64_t wide[DPPO_MAX_DIMS];
    size_t count = node ? 1 : 0;
    DPPO_TRY(converted_input(call, &a->input));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "keepdim", false, &a->keepdim));
    if (node && dppo_config_type_of(node) == DPPO_CONFIG_INT)
        DPPO_TRY(dppo_config_int(node, NULL, &wide[0]));
    else
        DPPO_TRY(dppo_config_ints(args_of(call), "dim", wide, DPPO_MAX_DIMS, &count));
    for (size_t i = 0; i < count; i++) {
        if (wide[i] < -DPPO_MAX_DIMS || wide[i] > DPPO_MAX_DIMS)
            return dppo_fail(DPPO_INVALID, "args/dim: %lld", (long long)wide[i]);
        a->dims[i] = (int)wide[i];
    }
    a->count = (int)count;
    return DPPO_OK;
}

/* Exactly one dim. */
static dppo_status one_dim(dppo_call *call, dim_args *a) {
    DPPO_TRY(dim_arguments(call, a));
    return a->count == 1 ? DPPO_OK : dppo_fail(DPPO_INVALID, "args/dim: one dim expected, got %d", a->count);
}

#define OVER_DIMS(name)                                                                                      \
    static dppo_status call_##name(dppo_call *call) {                                                        \
        dim_args a;                                                                                          \
        DPPO_TRY(dim_arguments(call, &a));                                                                   \
        return result(call, dppo_##name(dppo_call_context(call), a.input, a.count, a.dims, a.keepdim));      \
    }
OVER_DIMS(sum)
OVER_DIMS(mean)
OVER_DIMS(nanmean)
OVER_DIMS(logsumexp)

#define ALONG_DIM(name)                                                                                      \
    static dppo_status call_##name(dppo_call *call) {                                                        \
        dim_args a;                                                                                          \
        DPPO_TRY(one_dim(call, &a));                                                                         \
        return result(call, dppo_##name(dppo_call_context(call), a.input, a.dims[0]));                       \
    }
ALONG_DIM(cumprod)
ALONG_DIM(cumsum)
ALONG_DIM(softmax)
ALONG_DIM(log_softmax)

/* correction, or unbiased (1 or 0), or 1. */
static dppo_status correction_arg(dppo_call *call, int *correction) {
    bool unbiased;
    int64_t wide;
    DPPO_TRY(dppo_config_bool_or(args_of(call), "unbiased", true, &unbiased));
    DPPO_TRY(dppo_config_int_or(args_of(call), "correction", unbiased ? 1 : 0, &wide));
    if (wide < 0 || wide > 1000000) return dppo_fail(DPPO_INVALID, "args/correction: %lld", (long long)wide);
    *correction = (int)wide;
    return DPPO_OK;
}

static dppo_status call_std(dppo_call *call) {
    dim_args a;
    int correction;
    DPPO_TRY(dim_arguments(call, &a));
    DPPO_TRY(correction_arg(call, &correction));
    return result(call, dppo_std(dppo_call_context(call), a.input, a.count, a.dims, correction, a.keepdim));
}

static dppo_status call_var(dppo_call *call) {
    dim_args a;
    int correction;
    DPPO_TRY(dim_arguments(call, &a));
    DPPO_TRY(correction_arg(call, &correction));
    return result(call, dppo_var(dppo_call_context(call), a.input, a.count, a.dims, correction, a.keepdim));
}

static dppo_status call_prod(dppo_call *call) {
    dim_args a;
    DPPO_TRY(dim_arguments(call, &a));
    return result(call,
                  dppo_prod(dppo_call_context(call), a.input, a.count ? a.dims[0] : DPPO_ALL, a.keepdim));
}

static dppo_status call_argmax(dppo_call *call) {
    dim_args a;
    DPPO_TRY(dim_arguments(call, &a));
    return result(call,
                  dppo_argmax(dppo_call_context(call), a.input, a.count ? a.dims[0] : DPPO_ALL, a.keepdim));
}

/* torch.max and torch.min: of all, along a dim (values and indices), or of two tensors. */
static dppo_status extreme(dppo_call *call, bool largest) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *other = dppo_call_input_or_null(call, "other"), *indices = NULL;
    dim_args a;
    DPPO_TRY(dim_arguments(call, &a));
    if (other) return result(call, (largest ? dppo_maximum : dppo_minimum)(cx, a.input, other));
    if (a.count == 0) return result(call, (largest ? dppo_max_all : dppo_min_all)(cx, a.input));
    dppo_tensor *values =
        (largest ? dppo_max_dim : dppo_min_dim)(cx, a.input, a.dims[0], a.keepdim, &indices);
    DPPO_TRY(dppo_call_output(call, "values", values));
    return dppo_call_output(call, "indices", indices);
}

static dppo_status call_max(dppo_call *call) {
    return extreme(call, true);
}

static dppo_status call_min(dppo_call *call) {
    return extreme(call, false);
}

static dppo_status interpolation_arg(dppo_call *call, dppo_interpolation *how) {
    static const char *const names[] = {"linear", "lower", "higher", "nearest", "midpoint"};
    const char *name;
    DPPO_TRY(dppo_config_string_or(args_of(call), "interpolation", names[0], &name));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return *how = (dppo_interpolation)i, DPPO_OK;
    return dppo_fail(DPPO_INVALID,
                     "args/interpolation: %s is none of linear, lower, higher, nearest, midpoint", name);
}

/* in/q, or args q: a number, or a list that stands for a tensor. */
static dppo_status quantile_ranks(dppo_call *call, dppo_tensor **q) {
    enum { MOST = 256 };
    const dppo_config *node = dppo_config_get(args_of(call), "q");
    int64_t count = (int64_t)dppo_config_count(node);
    float values[MOST];
    double value;
    *q = dppo_call_input_or_null(call, "q");
    if (*q) return DPPO_OK;
    bool list = dppo_config_type_of(node) == DPPO_CONFIG_LIST;
    if (count > MOST) return dppo_fail(DPPO_INVALID, "args/q: more than %d", MOST);
    for (int64_t i = 0; i < (list ? count : 1); i++) {
        const dppo_config *one = list ? dppo_config_item(node, (size_t)i) : node;
        if (!one) return dppo_fail(DPPO_INVALID, "args: q is missing");
        DPPO_TRY(dppo_config_float(one, NULL, &value));
        values[i] = (float)value;
    }
    *q = dppo_from_f32(dppo_call_context(call), list, &count, values);
    return *q ? DPPO_OK : dppo_context_status(dppo_call_context(call));
}

static dppo_status call_quantile(dppo_call *call) {
    dppo_interpolation how = DPPO_QUANTILE_LINEAR;
    dim_args a;
    dppo_tensor *q;
    DPPO_TRY(dim_arguments(call, &a));
    DPPO_TRY(quantile_ranks(call, &q));
    DPPO_TRY(interpolation_arg(call, &how));
    int dim = a.count ? a.dims[0] : DPPO_ALL;
    return result(call, dppo_quantiles(dppo_call_context(call), a.input, q, dim, a.keepdim, how));
}

static dppo_status call_dot(dppo_call *call) {
    dppo_tensor *input, *tensor = dppo_call_input_or_null(call, "tensor");
    DPPO_TRY(dppo_call_input(call, "input", &input));
    if (!tensor) DPPO_TRY(dppo_call_input(call, "other", &tensor));
    return result(call, dppo_dot(dppo_call_context(call), input, tensor));
}

/* -- torch.nn
 * ----------------------------------------------------------------------------------------------------- */

static dppo_status call_identity(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return result(call, input);
}

static dppo_status call_elu(dppo_call *call) {
    dppo_tensor *input;
    double alpha;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_float_or(dppo_call_settings(call), "alpha", 1.0, &alpha));
    return result(call, dppo_elu(dppo_call_context(call), input, alpha));
}

static dppo_status call_softplus(dppo_call *call) {
    dppo_tensor *input;
    double beta, threshold;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_float_or(dppo_call_settings(call), "beta", 1.0, &beta));
    DPPO_TRY(dppo_config_float_or(dppo_call_settings(call), "threshold", 20.0, &threshold));
    return result(call, dppo_softplus(dppo_call_context(call), input, beta, threshold));
}

static dppo_status call_dropout(dppo_call *call) {
    dppo_tensor *input;
    double p;
    bool training;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_float_or(dppo_call_settings(call), "p", 0.5, &p));
    DPPO_TRY(dppo_config_bool_or(init_of(call), "training", true, &training));
    DPPO_TRY(dppo_config_bool_or(args_of(call), "training", training, &training));
    return result(call, dppo_dropout(dppo_call_context(call), input, p, training));
}

static dppo_status call_mse_loss(dppo_call *call) {
    dppo_tensor *input, *target;
    const char *reduction;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_input(call, "target", &target));
    DPPO_TRY(dppo_config_string_or(args_of(call), "reduction", "mean", &reduction));
    dppo_context *cx = dppo_call_context(call);
    if (strcmp(reduction, "mean") == 0) return result(call, dppo_mse_loss(cx, input, target));
    dppo_tensor *squares = dppo_square(cx, dppo_sub(cx, input, target));
    if (strcmp(reduction, "none") == 0) return result(call, squares);
    if (strcmp(reduction, "sum") == 0) return result(call, dppo_sum(cx, squares, 0, NULL, false));
    return dppo_fail(DPPO_INVALID, "args/reduction: %s is none of none, mean, sum", reduction);
}

/* A module whose parameters the case's state replaces; its initial draws come from a generator of their own.
 */
static dppo_status call_linear(dppo_call *call) {
    dppo_tensor *input;
    int64_t in, out;
    bool bias;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_int(init_of(call), "in_features", &in));
    DPPO_TRY(dppo_config_int(init_of(call), "out_features", &out));
    DPPO_TRY(dppo_config_bool_or(init_of(call), "bias", true, &bias));
    dppo_generator *generator = dppo_generator_new(0);
    if (!generator) return dppo_fail(DPPO_NO_MEMORY, "torch.nn.Linear: no memory");
    dppo_linear_layer *layer = dppo_linear_layer_new(generator, in, out, bias);
    dppo_generator_free(generator);
    if (!layer) return DPPO_INVALID;
    DPPO_TRY(dppo_call_module(call, &layer->module, false));
    return result(call, dppo_linear_layer_forward(dppo_call_context(call), layer, input));
}

static dppo_status call_layer_norm(dppo_call *call) {
    dppo_layer_norm_layer *layer;
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_layer_norm_layer_from_config(init_of(call), &layer));
    DPPO_TRY(dppo_call_module(call, &layer->module, false));
    return result(call, dppo_layer_norm_layer_forward(dppo_call_context(call), layer, input));
}

/* -1 without padding; counted from the end where negative. */
static dppo_status padding_of(const dppo_config *init, int64_t rows, int64_t *padding_idx) {
    *padding_idx = -1;
    const dppo_config *given = dppo_config_get(init, "padding_idx");
    if (dppo_config_type_of(given) == DPPO_CONFIG_NULL) return DPPO_OK;
    DPPO_TRY(dppo_config_int(given, NULL, padding_idx));
    if (*padding_idx < -rows || *padding_idx >= rows)
        return dppo_fail(DPPO_INVALID, "init/padding_idx: %lld is none of %lld rows", (long long)*padding_idx,
                         (long long)rows);
    if (*padding_idx < 0) *padding_idx += rows;
    return DPPO_OK;
}

static dppo_status call_embedding(dppo_call *call) {
    dppo_tensor *input;
    int64_t rows, size;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_int(init_of(call), "num_embeddings", &rows));
    DPPO_TRY(dppo_config_int(init_of(call), "embedding_dim", &size));
    dppo_generator *generator = dppo_generator_new(0);
    if (!generator) return dppo_fail(DPPO_NO_MEMORY, "torch.nn.Embedding: no memory");
    dppo_embedding_layer *layer = dppo_embedding_layer_new(generator, rows, size);
    dppo_generator_free(generator);
    if (!layer) return DPPO_INVALID;
    DPPO_TRY(dppo_call_module(call, &layer->module, false));
    DPPO_TRY(padding_of(init_of(call), rows, &layer->padding_idx));
    return result(call, dppo_embedding_layer_forward(dppo_call_context(call), layer, input));
}

#define ENTRY(name) {"torch." #name, call_##name},
/* -- torch.autograd
 * -------------------------------------------------------------------------------------------- */

/* With create_graph, of any function that has an entry: args `function` and that function's own; in: its
 * inputs, and `grad_output` for its result. The gradients of its float inputs are the results. */
static dppo_status call_autograd_grad(dppo_call *call) {
    enum { MOST = 16 };
    const dppo_named *in = &dppo_call_case(call)->in;
    const char *function, *names[MOST];
    dppo_tensor *y, *grad_output, *inputs[MOST], *gradients[MOST];
    int count = 0;
    DPPO_TRY(dppo_config_string(args_of(call), "function", &function));
    DPPO_TRY(dppo_call_input(call, "grad_output", &grad_output));
    for (size_t i = 0; i < in->count && count < MOST; i++) {
        const char *name = in->entries[i].name;
        DPPO_TRY(dppo_call_input(call, name, &inputs[count]));
        if (strcmp(name, "grad_output") == 0 || inputs[count]->dtype != DPPO_F32) continue;
        inputs[count]->requires_grad = true; /* also where nobody asks for second derivatives */
        names[count++] = name;
    }
    DPPO_TRY(dppo_call_result_of(call, function, &y));
    DPPO_TRY(dppo_grad(dppo_call_context(call), 1, &y, &grad_output, count, inputs, true, gradients));
    for (int i = 0; i < count; i++)
        DPPO_TRY(dppo_call_output(call, names[i], gradients[i]));
    return DPPO_OK;
}

const dppo_entry dppo_entries_math[] = {UNARY_FUNCTIONS(ENTRY)
                                            BINARY_FUNCTIONS(ENTRY){"torch.round", call_round},
                                        {"torch.pow", call_pow},
                                        {"torch.clamp", call_clamp},
                                        {"torch.clip", call_clamp},
                                        {"torch.clamp_", call_clamp_inplace},
                                        {"torch.Tensor.clamp_", call_clamp_inplace},
                                        {"torch.sum", call_sum},
                                        {"torch.mean", call_mean},
                                        {"torch.nanmean", call_nanmean},
                                        {"torch.std", call_std},
                                        {"torch.var", call_var},
                                        {"torch.prod", call_prod},
                                        {"torch.cumprod", call_cumprod},
                                        {"torch.cumsum", call_cumsum},
                                        {"torch.max", call_max},
                                        {"torch.min", call_min},
                                        {"torch.argmax", call_argmax},
                                        {"torch.logsumexp", call_logsumexp},
                                        {"torch.softmax", call_softmax},
                                        {"torch.log_softmax", call_log_softmax},
                                        {"torch.quantile", call_quantile},
                                        {"torch.dot", call_dot},
                                        {"torch.nn.Linear", call_linear},
                                        {"torch.nn.LayerNorm", call_layer_norm},
                                        {"torch.nn.Embedding", call_embedding},
                                        {"torch.nn.ReLU", call_relu},
                                        {"torch.nn.ELU", call_elu},
                                        {"torch.nn.GELU", call_gelu},
                                        {"torch.nn.Mish", call_mish},
                                        {"torch.nn.Softplus", call_softplus},
                                        {"torch.nn.Sigmoid", call_sigmoid},
                                        {"torch.nn.Tanh", call_tanh},
                                        {"torch.nn.Identity", call_identity},
                                        {"torch.nn.Dropout", call_dropout},
                                        {"torch.nn.functional.mse_loss", call_mse_loss},
                                        {"torch.autograd.grad", call_autograd_grad},
                                        {NULL, NULL}};
