/* Differentiable functions, named as in torch and grouped as in its documentation.
 *
 * Semantics are PyTorch 1.13's on the CPU for float32 (indices int64, masks bool): broadcasting, negative
 * dims, keepdim, NaN and inf, gradients at kinks and ties. `cx` is the context, results live in its arena,
 * NULL means failure (autograd.h). Where torch's order of rounding is known it is followed, so that results
 * are equal to single-threaded libtorch's (ATEN_CPU_CAPABILITY=avx2) bit for bit; `dppo parity list` says
 * where they are. */
#ifndef DPPO_AUTOGRAD_FUNCTIONS_H
#define DPPO_AUTOGRAD_FUNCTIONS_H

#include "autograd/autograd.h"

typedef dppo_context dppo_cx;

enum { DPPO_ALL = 1 << 20 }; /* as a dim: all elements, flattened */

/* -- creation -------------------------------------------------------------------------------------------- */
dppo_tensor *dppo_full(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape, double value);
dppo_tensor *dppo_zeros(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape);
dppo_tensor *dppo_ones(dppo_cx *cx, dppo_dtype dtype, int ndim, const int64_t *shape);
dppo_tensor *dppo_full_like(dppo_cx *cx, dppo_tensor *input, double value);
dppo_tensor *dppo_zeros_like(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_ones_like(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_arange(dppo_cx *cx, dppo_dtype dtype, double start, double end, double step);
dppo_tensor *dppo_linspace(dppo_cx *cx, double start, double end, int64_t steps);
/* A contiguous copy of `count` values. */
dppo_tensor *dppo_from_f32(dppo_cx *cx, int ndim, const int64_t *shape, const float *values);
dppo_tensor *dppo_from_i64(dppo_cx *cx, int ndim, const int64_t *shape, const int64_t *values);
dppo_tensor *dppo_scalar(dppo_cx *cx, double value); /* rank 0, float32 */

/* -- random sampling, from the context's generator --------------------------------------------------------
 */
dppo_tensor *dppo_randn(dppo_cx *cx, int ndim, const int64_t *shape);
dppo_tensor *dppo_rand(dppo_cx *cx, int ndim, const int64_t *shape);
dppo_tensor *dppo_randn_like(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_randint(dppo_cx *cx, int64_t low, int64_t high, int ndim, const int64_t *shape);
dppo_tensor *dppo_randperm(dppo_cx *cx, int64_t n);
dppo_tensor *dppo_multinomial(dppo_cx *cx, dppo_tensor *input, int64_t num_samples, bool replacement);

/* -- indexing, slicing, joining, mutating ------------------------------------------------------------------
 */
dppo_tensor *dppo_reshape(dppo_cx *cx, dppo_tensor *input, int ndim,
                          const int64_t *shape); /* one -1 allowed */
dppo_tensor *dppo_view(dppo_cx *cx, dppo_tensor *input, int ndim,
                       const int64_t *shape); /* fails if not viewable */
dppo_tensor *dppo_flatten(dppo_cx *cx, dppo_tensor *input, int start_dim, int end_dim);
dppo_tensor *dppo_unsqueeze(dppo_cx *cx, dppo_tensor *input, int dim);
dppo_tensor *dppo_squeeze(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_squeeze_dim(dppo_cx *cx, dppo_tensor *input, int dim);
dppo_tensor *dppo_transpose(dppo_cx *cx, dppo_tensor *input, int dim0, int dim1);
dppo_tensor *dppo_permute(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims);
dppo_tensor *dppo_expand(dppo_cx *cx, dppo_tensor *input, int ndim,
                         const int64_t *shape); /* -1 keeps a size */
dppo_tensor *dppo_expand_as(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
/* The sum over the dims along which `shape` was expanded to the input's: the backward of broadcasting. */
dppo_tensor *dppo_sum_to_size(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape);
dppo_tensor *dppo_repeat(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *repeats);
dppo_tensor *dppo_repeat_interleave(dppo_cx *cx, dppo_tensor *input, int64_t repeats,
                                    int dim); /* or DPPO_ALL */
/* repeats (n): how often each of the n entries along `dim` appears; (1) or rank 0: all as often. */
dppo_tensor *dppo_repeat_interleave_each(dppo_cx *cx, dppo_tensor *input, dppo_tensor *repeats, int dim);
dppo_tensor *dppo_contiguous(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_clone(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_detach(dppo_cx *cx, dppo_tensor *input);                     /* a view without history */
dppo_tensor *dppo_to_dtype(dppo_cx *cx, dppo_tensor *input, dppo_dtype dtype); /* .float(), .long(), ... */
dppo_tensor *dppo_narrow(dppo_cx *cx, dppo_tensor *input, int dim, int64_t start,
                         int64_t length);                                          /* x[:, a:b] */
dppo_tensor *dppo_select(dppo_cx *cx, dppo_tensor *input, int dim, int64_t index); /* x[:, i] */
dppo_tensor *dppo_cat(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim);
dppo_tensor *dppo_stack(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim);
dppo_tensor *dppo_hstack(dppo_cx *cx, int count, dppo_tensor *const *tensors);
/* torch.split: pieces of `size` along dim (the last may be smaller); returns how many, at most `capacity`. */
int dppo_split(dppo_cx *cx, dppo_tensor *input, int64_t size, int dim, dppo_tensor **pieces, int capacity);
dppo_tensor *dppo_gather(dppo_cx *cx, dppo_tensor *input, int dim, dppo_tensor *index);
dppo_tensor *dppo_index_select(dppo_cx *cx, dppo_tensor *input, int dim,
                               dppo_tensor *index); /* x[index]: int64 (n) */
dppo_tensor *dppo_index_put_rows(dppo_cx *cx, dppo_tensor *input, dppo_tensor *index, dppo_tensor *rows);
dppo_tensor *dppo_flip(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims);
dppo_tensor *dppo_where(dppo_cx *cx, dppo_tensor *condition, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_masked_fill(dppo_cx *cx, dppo_tensor *input, dppo_tensor *mask, double value);
dppo_tensor *dppo_triu(dppo_cx *cx, dppo_tensor *input, int64_t diagonal);
/* indices of flat `index` (int64) in `shape`: out[i] for each dim. */
bool dppo_unravel_index(dppo_cx *cx, dppo_tensor *index, int ndim, const int64_t *shape, dppo_tensor **out);

/* -- pointwise ---------------------------------------------------------------------------------------------
 */
dppo_tensor *dppo_add(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
/* In place: the sum takes the memory of input, a result that its own backward does not read (as that of a
 * linear layer or a sum) and that nobody looks at again. */
dppo_tensor *dppo_add_inplace(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_sub(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_mul(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_div(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_add_scalar(dppo_cx *cx, dppo_tensor *input, double other);
dppo_tensor *dppo_sub_scalar(dppo_cx *cx, dppo_tensor *input, double other);
dppo_tensor *dppo_rsub_scalar(dppo_cx *cx, dppo_tensor *input, double other); /* other - input */
dppo_tensor *dppo_mul_scalar(dppo_cx *cx, dppo_tensor *input, double other);
dppo_tensor *dppo_div_scalar(dppo_cx *cx, dppo_tensor *input, double other);
dppo_tensor *dppo_rdiv_scalar(dppo_cx *cx, dppo_tensor *input,
                              double other); /* other / input: reciprocal * other */
dppo_tensor *dppo_pow_scalar(dppo_cx *cx, dppo_tensor *input, double exponent);
dppo_tensor *dppo_neg(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_abs(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_sign(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_exp(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_log(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_log1p(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_sqrt(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_square(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_sin(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_cos(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_tanh(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_atanh(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_sigmoid(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_erf(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_round(dppo_cx *cx, dppo_tensor *input);
/* Bounds: +-INFINITY for "none". Gradient passes where min <= x <= max. */
dppo_tensor *dppo_clamp(dppo_cx *cx, dppo_tensor *input, double min, double max);
dppo_tensor *dppo_clamp_tensor(dppo_cx *cx, dppo_tensor *input, dppo_tensor *min,
                               dppo_tensor *max);                                         /* NULL: none */
dppo_tensor *dppo_clamp_inplace(dppo_cx *cx, dppo_tensor *input, double min, double max); /* clamp_ */
dppo_tensor *dppo_maximum(dppo_cx *cx, dppo_tensor *input,
                          dppo_tensor *other); /* ties share the gradient equally */
dppo_tensor *dppo_minimum(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
/* comparisons, bool results, no gradient */
dppo_tensor *dppo_gt(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_ge(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_lt(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_le(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_eq(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
dppo_tensor *dppo_isnan(dppo_cx *cx, dppo_tensor *input);

/* -- reductions: dims may be negative; ndim 0 reduces all
 * ----------------------------------------------------- */
dppo_tensor *dppo_sum(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim);
dppo_tensor *dppo_mean(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim);
dppo_tensor *dppo_var(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, int correction,
                      bool keepdim);
dppo_tensor *dppo_std(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, int correction,
                      bool keepdim);
dppo_tensor *dppo_nanmean(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim);
dppo_tensor *dppo_prod(dppo_cx *cx, dppo_tensor *input, int dim,
                       bool keepdim); /* dim DPPO_ALL: of all elements */
dppo_tensor *dppo_max_all(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_min_all(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_max_dim(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim, dppo_tensor **indices);
dppo_tensor *dppo_min_dim(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim, dppo_tensor **indices);
dppo_tensor *dppo_argmax(dppo_cx *cx, dppo_tensor *input, int dim, bool keepdim);
dppo_tensor *dppo_logsumexp(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims, bool keepdim);
dppo_tensor *dppo_cumprod(dppo_cx *cx, dppo_tensor *input, int dim);
dppo_tensor *dppo_cumsum(dppo_cx *cx, dppo_tensor *input, int dim);
dppo_tensor *dppo_quantile(dppo_cx *cx, dppo_tensor *input,
                           double q); /* over all elements, linear interpolation */
dppo_tensor *dppo_quantile_dim(dppo_cx *cx, dppo_tensor *input, double q, int dim, bool keepdim);
/* What is taken where the rank falls between two elements. */
typedef enum dppo_interpolation {
    DPPO_QUANTILE_LINEAR,
    DPPO_QUANTILE_LOWER,
    DPPO_QUANTILE_HIGHER,
    DPPO_QUANTILE_NEAREST,
    DPPO_QUANTILE_MIDPOINT
} dppo_interpolation;
/* q: rank 0, or (Q), whose dim comes first in the result. */
dppo_tensor *dppo_quantiles(dppo_cx *cx, dppo_tensor *input, dppo_tensor *q, int dim, bool keepdim,
                            dppo_interpolation how);
double dppo_item(dppo_cx *cx, dppo_tensor *input); /* of one element; NaN after a failure */

/* -- matrices -----------------------------------------------------------------------------------------------
 */
dppo_tensor *dppo_matmul(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other); /* 1-D, 2-D and batched */
dppo_tensor *dppo_dot(dppo_cx *cx, dppo_tensor *input, dppo_tensor *other);
/* input (..., in), weight (out, in), bias (out) or NULL -> (..., out) */
dppo_tensor *dppo_linear(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias);
/* x = linear 0 of input (N, in); then for pairs of layers x + l2(relu(l1(relu(x)))): (N, hidden). Bit for bit
 * what these functions give one by one, but in one walk over few rows. NULL, which is no failure, where that
 * cannot be: gradients are recorded, rows are many, or the processor has no AVX-512. */
dppo_tensor *dppo_residual_layers(dppo_cx *cx, const dppo_tensor *input, size_t count,
                                  const dppo_tensor *const *weights, const dppo_tensor *const *biases);

/* -- torch.nn.functional
 * ------------------------------------------------------------------------------------- */
dppo_tensor *dppo_relu(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_relu_inplace(dppo_cx *cx, dppo_tensor *input); /* in place: see dppo_add_inplace */
dppo_tensor *dppo_elu(dppo_cx *cx, dppo_tensor *input, double alpha);
dppo_tensor *dppo_gelu(dppo_cx *cx, dppo_tensor *input); /* exact, erf */
/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
dppo_tensor *dppo_gelu_tanh(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_mish(dppo_cx *cx, dppo_tensor *input);
dppo_tensor *dppo_softplus(dppo_cx *cx, dppo_tensor *input, double beta, double threshold);
dppo_tensor *dppo_softmax(dppo_cx *cx, dppo_tensor *input, int dim);
dppo_tensor *dppo_log_softmax(dppo_cx *cx, dppo_tensor *input, int dim);
/* Over the last dim; weight and bias of that size, or NULL. */
dppo_tensor *dppo_layer_norm(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                             double eps);
dppo_tensor *dppo_mse_loss(dppo_cx *cx, dppo_tensor *input, dppo_tensor *target); /* mean */
dppo_tensor *dppo_dropout(dppo_cx *cx, dppo_tensor *input, double p, bool training);
dppo_tensor *dppo_embedding(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight);

/* -- convolutions: one sample without the batch dim is taken, too
 * ------------------------------------------------------------------------------------- */
typedef enum dppo_conv_kind { DPPO_CONV1D, DPPO_CONV2D, DPPO_CONV_TRANSPOSE1D } dppo_conv_kind;
/* One-dimensional kinds use the first of two sizes. */
typedef struct dppo_convolution {
    int64_t stride[2], padding[2], dilation[2], output_padding, groups;
} dppo_convolution;
/* With all options: a window's taps are `dilation` pixels apart; each of `groups` sees its share of the input
 * channels only, weight (O, C / groups, ..), transposed (C, O / groups, ..). */
dppo_tensor *dppo_convolve(dppo_cx *cx, dppo_conv_kind kind, dppo_tensor *input, dppo_tensor *weight,
                           dppo_tensor *bias, const dppo_convolution *options);
/* input (B, C, L), weight (O, C, K), bias (O) or NULL -> (B, O, (L + 2 padding - K) / stride + 1) */
dppo_tensor *dppo_conv1d(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                         int64_t stride, int64_t padding);
/* input (B, C, H, W), weight (O, C, Kh, Kw) */
dppo_tensor *dppo_conv2d(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                         const int64_t stride[2], const int64_t padding[2]);
/* input (B, C, L), weight (C, O, K) -> (B, O, (L - 1) stride - 2 padding + K + output_padding) */
dppo_tensor *dppo_conv_transpose1d(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                                   int64_t stride, int64_t padding, int64_t output_padding);
/* input (B, C, ..); weight and bias (C), or NULL. */
dppo_tensor *dppo_group_norm(dppo_cx *cx, dppo_tensor *input, int64_t num_groups, dppo_tensor *weight,
                             dppo_tensor *bias, double eps);

typedef enum dppo_pad_mode { DPPO_PAD_CONSTANT, DPPO_PAD_REPLICATE, DPPO_PAD_REFLECT } dppo_pad_mode;
/* `count` sizes: before and after the last dim, then the one before it, ...; negative ones cut off (constant
 * mode only). `value` fills in constant mode. */
dppo_tensor *dppo_pad(dppo_cx *cx, dppo_tensor *input, int count, const int64_t *pad, dppo_pad_mode mode,
                      double value);

/* input (N, C, H, W), grid (N, Ho, Wo, 2) of (x, y) in [-1, 1] -> (N, C, Ho, Wo): bilinear, zeros outside,
 * align_corners false. */
dppo_tensor *dppo_grid_sample(dppo_cx *cx, dppo_tensor *input, dppo_tensor *grid);

/* -- attention
 * ------------------------------------------------------------------------------------- */
/* What torch.nn.MultiheadAttention holds and is told; tensors borrowed. */
typedef struct dppo_attention {
    dppo_tensor *in_proj_weight, *in_proj_bias;   /* (3 E, E); (3 E) or NULL */
    dppo_tensor *out_proj_weight, *out_proj_bias; /* (E, E); (E) or NULL */
    dppo_tensor *attn_mask; /* (T, S), (B H, T, S) or NULL: bool (true: may not be seen), or float (added) */
    dppo_tensor *key_padding_mask; /* (B, S) bool, (S) without B, or NULL */
    int64_t num_heads;
    double dropout; /* of the attention weights, when training */
    bool training, batch_first;
    bool average_weights; /* over the heads */
} dppo_attention;
/* query (T, B, E), key and value (S, B, E); or (B, T, E) with batch_first; or without B. Returns a tensor of
 * the query's shape; *weights (unless NULL) is (B, T, S), or (B, H, T, S) when not averaged. */
dppo_tensor *dppo_multi_head_attention(dppo_cx *cx, const dppo_attention *a, dppo_tensor *query,
                                       dppo_tensor *key, dppo_tensor *value, dppo_tensor **weights);

#endif
