/* Convolutions as products of matrices, in the order of libtorch's own kernels (those it uses without
 * oneDNN): for each sample the windows of the image become columns, and the weight multiplies them.
 *
 * A transposed convolution is the gradient of one: the same three operations serve both.
 *     gather:  places = weight columns(image) [+ bias]
 *     scatter: image = sum of columns weight' places over the windows that overlap
 *     weights: sum over samples of places columns(image)' */
#include "autograd/dims.h"
#include "autograd/map.h"

#include "base/pool.h"

#include <string.h>

enum { FRAME_CHUNKS = 16 };

/* Windows (kh, kw) over images of C channels (H, W), at (oh, ow) places, O channels there; B samples. In one
 * dimension H, kh and oh are 1. */
typedef struct windows {
    int64_t B, C, H, W, O, kh, kw, oh, ow, stride[2], padding[2], dilation[2];
} windows;

static int64_t depth(const windows *w) {
    return w->C * w->kh * w->kw;
}
static int64_t places(const windows *w) {
    return w->oh * w->ow;
}
static int64_t pixels(const windows *w) {
    return w->C * w->H * w->W;
}

/* A window of one pixel at every pixel: the image is its own columns. */
static bool image_is_columns(const windows *w) {
    return w->kh == 1 && w->kw == 1 && w->stride[0] == 1 && w->stride[1] == 1 && w->padding[0] == 0 &&
           w->padding[1] == 0;
}

/* -- images and columns
 * --------------------------------------------------------------------------------------------- */

/* The pixels that a tap `x` pixels into the window sees in an image row: columns [*first, *last) are inside.
 */
static void inside(const windows *w, int64_t x, int64_t *first, int64_t *last) {
    int64_t s = w->stride[1], start = w->padding[1] - x; /* ow s >= start */
    *first = start > 0 ? (start + s - 1) / s : 0;
    int64_t end = w->W + w->padding[1] - x; /* ow s < end */
    *last = end > 0 ? (end + s - 1) / s : 0;
    if (*first > w->ow) *first = w->ow;
    if (*last > w->ow) *last = w->ow;
    if (*last < *first) *last = *first;
}

/* image (C, H, W) -> columns (C kh kw, oh ow), zero outside of the image. */
static void to_columns(const windows *w, const float *image, float *columns) {
    int64_t first, last;
    for (int64_t row = 0, rows = depth(w); row < rows; row++) {
        int64_t x = row % w->kw * w->dilation[1], y = row / w->kw % w->kh * w->dilation[0];
        int64_t c = row / (w->kw * w->kh);
        inside(w, x, &first, &last);
        for (int64_t i = 0; i < w->oh; i++, columns += w->ow) {
            int64_t h = i * w->stride[0] - w->padding[0] + y;
            if (h < 0 || h >= w->H) {
                memset(columns, 0, (size_t)w->ow * sizeof *columns);
                continue;
            }
            const float *from = image + (c * w->H + h) * w->W + x - w->padding[1];
            memset(columns, 0, (size_t)first * sizeof *columns);
            for (int64_t j = first; j < last; j++)
                columns[j] = from[j * w->stride[1]];
            memset(columns + last, 0, (size_t)(w->ow - last) * sizeof *columns);
        }
    }
}

/* The transpose: adds columns to the pixels they came from, tap after tap. */
static void from_columns(const windows *w, const float *columns, float *image) {
    int64_t first, last;
    memset(image, 0, (size_t)pixels(w) * sizeof *image);
    for (int64_t row = 0, rows = depth(w); row < rows; row++) {
        int64_t x = row % w->kw * w->dilation[1], y = row / w->kw % w->kh * w->dilation[0];
        int64_t c = row / (w->kw * w->kh);
        inside(w, x, &first, &last);
        for (int64_t i = 0; i < w->oh; i++, columns += w->ow) {
            int64_t h = i * w->stride[0] - w->padding[0] + y;
            if (h < 0 || h >= w->H) continue;
            float *to = image + (c * w->H + h) * w->W + x - w->padding[1];
            for (int64_t j = first; j < last; j++)
                to[j * w->stride[1]] += columns[j];
        }
    }
}

/* -- the three operations
 * ------------------------------------------------------------------------------------------ */

typedef struct frames {
    const windows *w;
    const float *in, *weight, *bias;
    float *out;
    float *columns; /* room for one sample's in each chunk */
    int64_t grain;
} frames;

static float *chunk_columns(const frames *f, int64_t begin) {
    return f->columns + begin / f->grain * depth(f->w) * places(f->w);
}

static void gather_frames(void *context, int64_t begin, int64_t end) {
    const frames *f = context;
    const windows *w = f->w;
    int64_t K = depth(w), L = places(w);
    for (int64_t b = begin; b < end; b++) {
        const float *image = f->in + b * pixels(w), *columns = image;
        float *out = f->out + b * w->O * L;
        if (!image_is_columns(w)) {
            float *made = chunk_columns(f, begin);
            to_columns(w, image, made);
            columns = made;
        }
        /* The product is added to the bias, not the bias to the product. */
        for (int64_t i = 0; f->bias && i < w->O * L; i++)
            out[i] = f->bias[i / L];
        dppo_kernel_gemm(false, false, w->O, L, K, f->weight, K, columns, L, f->bias ? 1.0f : 0.0f, out, L);
    }
}

static void scatter_frames(void *context, int64_t begin, int64_t end) {
    const frames *f = context;
    const windows *w = f->w;
    int64_t K = depth(w), L = places(w);
    for (int64_t b = begin; b < end; b++) {
        float *columns = chunk_columns(f, begin), *out = f->out + b * pixels(w);
        dppo_kernel_gemm(true, false, K, L, w->O, f->weight, K, f->in + b * w->O * L, L, 0.0f, columns, L);
        from_columns(w, columns, out);
        for (int64_t i = 0; f->bias && i < pixels(w); i++)
            out[i] += f->bias[i / (w->H * w->W)];
    }
}

/* Samples are independent: they are cut by their number alone, and each chunk has its own columns. */
static bool run_frames(dppo_cx *cx, frames f, void (*body)(void *context, int64_t begin, int64_t end)) {
    int64_t B = f.w->B;
    f.grain = B > FRAME_CHUNKS ? (B + FRAME_CHUNKS - 1) / FRAME_CHUNKS : 1;
    int64_t chunks = B > FRAME_CHUNKS ? FRAME_CHUNKS : B;
    dppo_context_mark mark = dppo_context_position(cx);
    f.columns =
        dppo_arena_alloc(dppo_context_arena(cx), (size_t)(chunks * depth(f.w) * places(f.w)) * sizeof(float));
    if (!f.columns) {
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "convolution: no memory for the columns");
        return false;
    }
    dppo_parallel_for(B, f.grain, body, &f);
    dppo_context_rewind(cx, mark);
    return true;
}

/* weight_gradient (O, C kh kw), sample after sample. */
static bool sum_weights(dppo_cx *cx, const windows *w, const float *images, const float *at_places,
                        float *weight_gradient) {
    int64_t K = depth(w), L = places(w);
    dppo_context_mark mark = dppo_context_position(cx);
    float *columns = dppo_arena_alloc(dppo_context_arena(cx), (size_t)(K * L) * sizeof *columns);
    if (!columns) {
        (void)dppo_context_fail(cx, DPPO_NO_MEMORY, "convolution: no memory for the columns");
        return false;
    }
    memset(weight_gradient, 0, (size_t)(w->O * K) * sizeof *weight_gradient);
    for (int64_t b = 0; b < w->B; b++) {
        const float *image = images + b * pixels(w);
        if (!image_is_columns(w)) to_columns(w, image, columns);
        dppo_kernel_gemm(false, true, w->O, K, L, at_places + b * w->O * L, L,
                         image_is_columns(w) ? image : columns, L, 1.0f, weight_gradient, K);
    }
    dppo_context_rewind(cx, mark);
    return true;
}

/* -- on the tape
 * ------------------------------------------------------------------------------------------------- */

/* What a convolution relates, in the order of a node's inputs. */
typedef enum part { IMAGE, WEIGHT, PLACES } part;

/* <places, gather(image, weight)> is linear in each of the three: the derivative after one of them is an
 * operation on the other two, scatter, weights or gather, and its own derivatives are the other operations
 * again, as often as wanted. */
typedef struct saved_convolution {
    windows w;
    part result;
    int64_t shape[3][4]; /* of the three as tensors with `ndim` dims */
    int ndim;
} saved_convolution;

static dppo_tensor *bias_gradient(dppo_cx *cx, dppo_tensor *g) {
    int dims[] = {0, 2, 3};
    return dppo_sum(cx, g, g->ndim - 1, dims, false);
}

static dppo_tensor *convolution(dppo_cx *cx, const char *name, const saved_convolution *s,
                                dppo_tensor *const *parts, dppo_tensor *bias);

/* Inputs: the image, the weight, the places, of which the result is absent; then the bias or NULL. */
static void convolution_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                 dppo_tensor **gradients) {
    const saved_convolution *s = node->saved;
    dppo_tensor *parts[3] = {node->inputs[IMAGE], node->inputs[WEIGHT], node->inputs[PLACES]};
    parts[s->result] = g;
    for (int i = 0; i < 3; i++) {
        if (!dppo_needs_grad(node, i)) continue;
        saved_convolution derivative = *s;
        derivative.result = (part)i;
        gradients[i] = convolution(cx, node->name, &derivative, parts, NULL);
    }
    if (dppo_needs_grad(node, 3)) gradients[3] = bias_gradient(cx, g);
}

/* s->result of the two other `parts` (all sizes checked), the bias added to images or places. */
static dppo_tensor *convolution(dppo_cx *cx, const char *name, const saved_convolution *s,
                                dppo_tensor *const *parts, dppo_tensor *bias) {
    const float *data[3] = {NULL, NULL, NULL}, *shift = bias ? dppo_packed(cx, name, bias) : NULL;
    dppo_tensor *inputs[4] = {NULL, NULL, NULL, bias};
    for (int i = 0; i < 3; i++) {
        if (i == (int)s->result) continue;
        inputs[i] = parts[i];
        data[i] = dppo_packed(cx, name, parts[i]);
        if (!data[i]) return NULL;
    }
    dppo_tensor *out = dppo_result(cx, DPPO_F32, s->ndim, s->shape[s->result]);
    if (!out || (bias && !shift)) return NULL;
    bool done;
    if (s->result == WEIGHT) {
        done = sum_weights(cx, &s->w, data[IMAGE], data[PLACES], dppo_f32(out));
    } else {
        bool gather = s->result == PLACES;
        frames f = {.w = &s->w, .weight = data[WEIGHT], .bias = shift, .out = dppo_f32(out)};
        f.in = data[gather ? IMAGE : PLACES];
        done = run_frames(cx, f, gather ? gather_frames : scatter_frames);
    }
    dppo_node *node = done ? dppo_record(cx, name, out, 4, inputs, convolution_backward) : NULL;
    if (!node) return done ? out : NULL;
    saved_convolution *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "%s: no memory for the tape", name);
    *saved = *s;
    node->saved = saved;
    return out;
}

/* Of an input and a weight; the result is the part that is left, of `shape`. */
static dppo_tensor *convolution_of(dppo_cx *cx, const char *name, const windows *w, part result,
                                   const int64_t *shape, dppo_tensor *input, dppo_tensor *weight,
                                   dppo_tensor *bias) {
    saved_convolution s = {.w = *w, .result = result, .ndim = input->ndim};
    dppo_tensor *parts[3] = {input, weight, input}; /* the result's is not looked at */
    size_t size = (size_t)s.ndim * sizeof *shape;
    for (int i = 0; i < 3; i++)
        memcpy(s.shape[i], i == (int)result ? shape : parts[i]->shape, size);
    return convolution(cx, name, &s, parts, bias);
}

/* -- sizes
 * -----------------------------------------------------------------------------------------------------------
 */

/* input (B, channels, spatial..), weight (a, b, kernel..), of which weight[which] are the input's channels;
 * the bias has the other. */
static bool operands_fit(dppo_cx *cx, const char *name, int dims, int which, const dppo_tensor *input,
                         const dppo_tensor *weight, const dppo_tensor *bias) {
    char a[128], b[128];
    bool fit = input->ndim == dims + 2 && weight->ndim == dims + 2 &&
               input->shape[1] == weight->shape[which] &&
               (!bias || (bias->ndim == 1 && bias->shape[0] == weight->shape[1 - which]));
    for (int d = 0; fit && d < dims; d++)
        fit = weight->shape[d + 2] > 0;
    if (!fit)
        (void)dppo_context_fail(cx, DPPO_INVALID, "%s: input %s, weight %s and bias do not go together", name,
                                dppo_shape_text(input->ndim, input->shape, a, sizeof a),
                                dppo_shape_text(weight->ndim, weight->shape, b, sizeof b));
    return fit;
}

static bool options_fit(dppo_cx *cx, const char *name, int dims, const dppo_convolution *o) {
    for (int d = 0; d < dims; d++)
        if (o->stride[d] < 1 || o->padding[d] < 0 || o->dilation[d] < 1) {
            (void)dppo_context_fail(cx, DPPO_INVALID, "%s: stride %lld, padding %lld, dilation %lld", name,
                                    (long long)o->stride[d], (long long)o->padding[d],
                                    (long long)o->dilation[d]);
            return false;
        }
    return true;
}

/* Pixels from the first to the last tap of a window. */
static int64_t extent(const dppo_tensor *weight, const dppo_convolution *o, int d) {
    return o->dilation[d] * (weight->shape[d + 2] - 1) + 1;
}

static dppo_tensor *convolve(dppo_cx *cx, const char *name, int dims, dppo_tensor *input, dppo_tensor *weight,
                             dppo_tensor *bias, const dppo_convolution *o) {
    if (!operands_fit(cx, name, dims, 1, input, weight, bias) || !options_fit(cx, name, dims, o)) return NULL;
    int64_t shape[4] = {input->shape[0], weight->shape[0]};
    for (int d = 0; d < dims; d++) {
        int64_t room = input->shape[d + 2] + 2 * o->padding[d] - extent(weight, o, d);
        if (room < 0)
            return dppo_context_fail(cx, DPPO_INVALID, "%s: a kernel of %lld on %lld padded pixels", name,
                                     (long long)extent(weight, o, d),
                                     (long long)(input->shape[d + 2] + 2 * o->padding[d]));
        shape[d + 2] = room / o->stride[d] + 1;
    }
    int last = dims + 1;
    bool flat = dims == 1;
    windows w = {.B = shape[0],
                 .C = input->shape[1],
                 .H = flat ? 1 : input->shape[2],
                 .W = input->shape[last],
                 .O = shape[1],
                 .kh = flat ? 1 : weight->shape[2],
                 .kw = weight->shape[last],
                 .oh = flat ? 1 : shape[2],
                 .ow = shape[last],
                 .stride = {flat ? 1 : o->stride[0], o->stride[dims - 1]},
                 .padding = {flat ? 0 : o->padding[0], o->padding[dims - 1]},
                 .dilation = {flat ? 1 : o->dilation[0], o->dilation[dims - 1]}};
    return convolution_of(cx, name, &w, PLACES, shape, input, weight, bias);
}

static dppo_tensor *convolve_transposed(dppo_cx *cx, const char *name, int dims, dppo_tensor *input,
                                        dppo_tensor *weight, dppo_tensor *bias, const dppo_convolution *o) {
    (void)dims; /* there is one dimensional only */
    if (!operands_fit(cx, name, 1, 0, input, weight, bias) || !options_fit(cx, name, 1, o)) return NULL;
    int64_t places_in = input->shape[2], stride = o->stride[0];
    int64_t length = (places_in - 1) * stride - 2 * o->padding[0] + extent(weight, o, 0) + o->output_padding;
    if (places_in < 1 || length < 1 || o->output_padding < 0 ||
        (o->output_padding >= stride && o->output_padding >= o->dilation[0]))
        return dppo_context_fail(cx, DPPO_INVALID, "%s: output padding %lld, result of %lld pixels", name,
                                 (long long)o->output_padding, (long long)length);
    windows w = {.B = input->shape[0],
                 .C = weight->shape[1],
                 .H = 1,
                 .W = length,
                 .O = input->shape[1],
                 .kh = 1,
                 .kw = weight->shape[2],
                 .oh = 1,
                 .ow = places_in,
                 .stride = {1, stride},
                 .padding = {0, o->padding[0]},
                 .dilation = {1, o->dilation[0]}};
    return convolution_of(cx, name, &w, IMAGE, (int64_t[]){w.B, w.C, length}, input, weight, bias);
}

/* -- kinds
 * -----------------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    int dims;
    dppo_tensor *(*of_group)(dppo_cx *cx, const char *name, int dims, dppo_tensor *input, dppo_tensor *weight,
                             dppo_tensor *bias, const dppo_convolution *o);
} kinds[] = {[DPPO_CONV1D] = {"conv1d", 1, convolve},
             [DPPO_CONV2D] = {"conv2d", 2, convolve},
             [DPPO_CONV_TRANSPOSE1D] = {"conv_transpose1d", 1, convolve_transposed}};

/* Each group of input channels has a slice of the weight (its first dim) and of the bias for itself. */
static dppo_tensor *grouped(dppo_cx *cx, dppo_conv_kind kind, dppo_tensor *input, dppo_tensor *weight,
                            dppo_tensor *bias, const dppo_convolution *o) {
    enum { MOST = 256 };
    dppo_tensor *parts[MOST];
    int64_t groups = o->groups;
    if (groups < 1 || groups > MOST || input->shape[1] % groups != 0 || weight->shape[0] % groups != 0 ||
        (bias && bias->shape[0] % groups != 0))
        return dppo_context_fail(cx, DPPO_INVALID, "%s: %lld groups do not divide the channels",
                                 kinds[kind].name, (long long)groups);
    int64_t in = input->shape[1] / groups, rows = weight->shape[0] / groups;
    int64_t out = bias ? bias->shape[0] / groups : 0;
    for (int64_t i = 0; i < groups; i++) {
        parts[i] = kinds[kind].of_group(cx, kinds[kind].name, kinds[kind].dims,
                                        dppo_narrow(cx, input, 1, i * in, in),
                                        dppo_narrow(cx, weight, 0, i * rows, rows),
                                        bias ? dppo_narrow(cx, bias, 0, i * out, out) : NULL, o);
        if (!parts[i]) return NULL;
    }
    return dppo_cat(cx, (int)groups, parts, 1);
}

dppo_tensor *dppo_convolve(dppo_cx *cx, dppo_conv_kind kind, dppo_tensor *input, dppo_tensor *weight,
                           dppo_tensor *bias, const dppo_convolution *o) {
    int dims = kinds[kind].dims;
    if (!input || !weight) return NULL;
    if (input->ndim == dims + 1) /* one sample without a batch */
        return dppo_squeeze_dim(cx, dppo_convolve(cx, kind, dppo_unsqueeze(cx, input, 0), weight, bias, o),
                                0);
    if (o->groups != 1 && input->ndim == dims + 2 && weight->ndim == dims + 2)
        return grouped(cx, kind, input, weight, bias, o);
    return kinds[kind].of_group(cx, kinds[kind].name, dims, input, weight, bias, o);
}

dppo_tensor *dppo_conv1d(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                         int64_t stride, int64_t padding) {
    dppo_convolution o = {.stride = {stride}, .padding = {padding}, .dilation = {1}, .groups = 1};
    return dppo_convolve(cx, DPPO_CONV1D, input, weight, bias, &o);
}

dppo_tensor *dppo_conv2d(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                         const int64_t stride[2], const int64_t padding[2]) {
    dppo_convolution o = {.stride = {stride[0], stride[1]},
                          .padding = {padding[0], padding[1]},
                          .dilation = {1, 1},
                          .groups = 1};
    return dppo_convolve(cx, DPPO_CONV2D, input, weight, bias, &o);
}

dppo_tensor *dppo_conv_transpose1d(dppo_cx *cx, dppo_tensor *input, dppo_tensor *weight, dppo_tensor *bias,
                                   int64_t stride, int64_t padding, int64_t output_padding) {
    dppo_convolution o = {.stride = {stride},
                          .padding = {padding},
                          .dilation = {1},
                          .output_padding = output_padding,
                          .groups = 1};
    return dppo_convolve(cx, DPPO_CONV_TRANSPOSE1D, input, weight, bias, &o);
}
