/* torch.nn.functional.pad: every element of the result knows the element it came from. */
#include "autograd/dims.h"
#include "autograd/map.h"

#include <string.h>

typedef struct saved_pad {
    dppo_pad_mode mode;
    int64_t before[DPPO_MAX_DIMS], after[DPPO_MAX_DIMS]; /* negative: cut off */
} saved_pad;

/* Where the coordinate of a result lies in a dim of `size`; -1: outside of it. */
static int64_t source(dppo_pad_mode mode, int64_t at, int64_t size) {
    bool in = at >= 0 && at < size;
    if (in || mode == DPPO_PAD_CONSTANT) return in ? at : -1;
    if (mode == DPPO_PAD_REPLICATE) return at < 0 ? 0 : size - 1;
    return at < 0 ? -at : 2 * (size - 1) - at;
}

/* The element of `input` (contiguous) from which element `i` of `out` comes, or -1. */
static int64_t origin(const saved_pad *s, const dppo_tensor *input, const dppo_tensor *out, int64_t i) {
    int64_t place = 0, step = 1;
    for (int d = out->ndim - 1; d >= 0; d--) {
        int64_t at = source(s->mode, i % out->shape[d] - s->before[d], input->shape[d]);
        if (at < 0) return -1;
        place += at * step;
        step *= input->shape[d];
        i /= out->shape[d];
    }
    return place;
}

static dppo_tensor *pad_with(dppo_cx *cx, dppo_tensor *input, const saved_pad *s, double value);

/* Gathering is the transpose of repeating: its gradient is padded. */
static void unpad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    gradients[0] = pad_with(cx, g, node->saved, 0.0);
}

/* Constants give way again; elements that were repeated gather their gradients in the order of the result. */
static void pad_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g, dppo_tensor **gradients) {
    const saved_pad *s = node->saved;
    dppo_tensor *input = node->inputs[0];
    if (s->mode == DPPO_PAD_CONSTANT) {
        saved_pad back = {.mode = s->mode};
        for (int d = 0; d < input->ndim; d++)
            back.before[d] = -s->before[d], back.after[d] = -s->after[d];
        gradients[0] = pad_with(cx, g, &back, 0.0);
        return;
    }
    dppo_tensor *sum = dppo_zeros(cx, DPPO_F32, input->ndim, input->shape);
    dppo_tensor *from = dppo_contiguous(cx, g);
    if (!sum || !from) return;
    for (int64_t i = 0, n = dppo_numel(from); i < n; i++)
        dppo_f32(sum)[origin(s, input, from, i)] += dppo_f32(from)[i];
    dppo_node *again = dppo_record(cx, node->name, sum, 1, &from, unpad_backward);
    if (again) again->saved = node->saved;
    gradients[0] = sum;
}

static bool sizes_fit(dppo_cx *cx, const dppo_tensor *input, const saved_pad *s, int64_t *shape) {
    for (int d = 0; d < input->ndim; d++) {
        int64_t size = input->shape[d], before = s->before[d], after = s->after[d];
        shape[d] = before + size + after;
        bool fit = shape[d] >= 0;
        if (s->mode != DPPO_PAD_CONSTANT && (before || after))
            fit = before >= 0 && after >= 0 && size > 0 &&
                  (s->mode == DPPO_PAD_REPLICATE || (before < size && after < size));
        if (fit) continue;
        (void)dppo_context_fail(cx, DPPO_INVALID, "pad: %lld and %lld around %lld elements",
                                (long long)before, (long long)after, (long long)size);
        return false;
    }
    return true;
}

static dppo_tensor *pad_with(dppo_cx *cx, dppo_tensor *input, const saved_pad *s, double value) {
    int64_t shape[DPPO_MAX_DIMS];
    dppo_tensor *from = dppo_contiguous(cx, input);
    if (!from || !sizes_fit(cx, from, s, shape)) return NULL;
    dppo_tensor *out = dppo_full(cx, from->dtype, from->ndim, shape, value);
    if (!out) return NULL;
    size_t size = dppo_dtype_size(out->dtype);
    for (int64_t i = 0, n = dppo_numel(out); i < n; i++) {
        int64_t place = origin(s, from, out, i);
        if (place >= 0)
            memcpy((char *)out->data + (size_t)i * size, (const char *)from->data + (size_t)place * size,
                   size);
    }
    dppo_node *node = dppo_record(cx, "pad", out, 1, &from, pad_backward);
    if (!node) return out;
    saved_pad *saved = dppo_arena_alloc(dppo_context_arena(cx), sizeof *saved);
    if (!saved) return dppo_context_fail(cx, DPPO_NO_MEMORY, "pad: no memory for the tape");
    *saved = *s;
    node->saved = saved;
    return out;
}

dppo_tensor *dppo_pad(dppo_cx *cx, dppo_tensor *input, int count, const int64_t *pad, dppo_pad_mode mode,
                      double value) {
    saved_pad s = {.mode = mode};
    if (!input) return NULL;
    if (count % 2 != 0 || count / 2 > input->ndim)
        return dppo_context_fail(cx, DPPO_INVALID, "pad: %d sizes for %d dims", count, input->ndim);
    for (int i = 0; i < count / 2; i++) {
        s.before[input->ndim - 1 - i] = pad[2 * i];
        s.after[input->ndim - 1 - i] = pad[2 * i + 1];
    }
    return pad_with(cx, input, &s, value);
}
