/* torch.nn.functional.grid_sample: bilinear, zeros outside of the image, align_corners false.
 *
 * A place of the grid (gx, gy) in [-1, 1] is the pixel
 *     x = (gx + 1) W / 2 - 1/2,  y = (gy + 1) H / 2 - 1/2
 * between the columns x0 = floor(x) and x0 + 1 and the rows y0 and y0 + 1. With w = x - x0, e = 1 - w,
 * n = y - y0, s = 1 - n and the pixels a b / c d around it
 *     out = a e s + b w s + c e n + d w n
 * so that for an upstream gradient g of out
 *     da = g e s   db = g w s   dc = g e n   dd = g w n
 *     dgx = W/2 sum over channels of g ((b - a) s + (d - c) n)
 *     dgy = H/2 sum over channels of g ((c - a) e + (d - b) w) */
#include "autograd/map.h"

#include "base/pool.h"

#include <math.h>
#include <string.h>

typedef struct sampling {
    int64_t N, C, H, W, places; /* places of the grid in one sample */
    const float *image, *grid, *g;
    float *out, *image_gradient, *grid_gradient; /* the gradients may be NULL */
} sampling;

/* One place: where its four pixels are in a channel (-1: outside), and their weights, as a b c d. */
typedef struct place {
    int64_t at[4];
    float weight[4];
    float e, w, s, n;
} place;

/* Rounded once after the product, as libtorch's kernel is. */
static float pixel(float coordinate, int64_t size) {
    return fmaf(coordinate + 1, (float)size / 2, -0.5f);
}

static place locate(const sampling *t, const float *grid) {
    float x = pixel(grid[0], t->W), y = pixel(grid[1], t->H), x0 = floorf(x), y0 = floorf(y);
    place p = {.w = x - x0, .n = y - y0};
    p.e = 1 - p.w;
    p.s = 1 - p.n;
    const float weights[4] = {p.e * p.s, p.w * p.s, p.e * p.n, p.w * p.n};
    memcpy(p.weight, weights, sizeof weights);
    for (int i = 0; i < 4; i++) {
        float column = x0 + (float)(i % 2), row = y0 + (float)(i / 2);
        bool in = column >= 0 && column < (float)t->W && row >= 0 && row < (float)t->H;
        p.at[i] = in ? (int64_t)row * t->W + (int64_t)column : -1;
    }
    return p;
}

static void pixels_of(const place *p, const float *channel, float *values) {
    for (int i = 0; i < 4; i++)
        values[i] = p->at[i] < 0 ? 0 : channel[p->at[i]];
}

static void sample_images(void *context, int64_t begin, int64_t end) {
    const sampling *t = context;
    int64_t size = t->H * t->W;
    for (int64_t i = begin * t->places; i < end * t->places; i++) {
        int64_t image = i / t->places;
        place p = locate(t, t->grid + 2 * i);
        float v[4], *out = t->out + image * t->C * t->places + i % t->places;
        for (int64_t c = 0; c < t->C; c++, out += t->places) {
            pixels_of(&p, t->image + (image * t->C + c) * size, v);
            /* the order of libtorch's kernel: products added one after the other, each rounded once */
            *out =
                fmaf(v[3], p.weight[3], fmaf(v[2], p.weight[2], fmaf(v[1], p.weight[1], v[0] * p.weight[0])));
        }
    }
}

static void differentiate_images(void *context, int64_t begin, int64_t end) {
    const sampling *t = context;
    int64_t size = t->H * t->W;
    for (int64_t i = begin * t->places; i < end * t->places; i++) {
        int64_t image = i / t->places;
        place p = locate(t, t->grid + 2 * i);
        const float *g = t->g + image * t->C * t->places + i % t->places;
        float v[4], dx = 0, dy = 0;
        for (int64_t c = 0; c < t->C; c++, g += t->places) {
            int64_t channel = (image * t->C + c) * size;
            for (int k = 0; k < 4 && t->image_gradient; k++)
                if (p.at[k] >= 0) t->image_gradient[channel + p.at[k]] += p.weight[k] * *g;
            pixels_of(&p, t->image + channel, v);
            dx += *g * ((v[1] - v[0]) * p.s + (v[3] - v[2]) * p.n);
            dy += *g * ((v[2] - v[0]) * p.e + (v[3] - v[1]) * p.w);
        }
        if (!t->grid_gradient) continue;
        t->grid_gradient[2 * i] = (float)t->W / 2 * dx;
        t->grid_gradient[2 * i + 1] = (float)t->H / 2 * dy;
    }
}

static bool prepare(dppo_cx *cx, dppo_tensor *input, dppo_tensor *grid, sampling *t) {
    *t = (sampling){.N = input->shape[0],
                    .C = input->shape[1],
                    .H = input->shape[2],
                    .W = input->shape[3],
                    .places = grid->shape[1] * grid->shape[2],
                    .image = dppo_packed(cx, "grid_sample", input),
                    .grid = dppo_packed(cx, "grid_sample", grid)};
    return t->image && t->grid;
}

static void grid_sample_backward(dppo_cx *cx, const dppo_node *node, dppo_tensor *g,
                                 dppo_tensor **gradients) {
    dppo_tensor *input = node->inputs[0], *grid = node->inputs[1];
    sampling t;
    float *to[2] = {NULL, NULL};
    if (!prepare(cx, input, grid, &t) || !dppo_gradient_buffers(cx, node, 2, gradients, to)) return;
    t.g = dppo_packed(cx, "grid_sample", g);
    if (!t.g) return;
    t.image_gradient = to[0];
    t.grid_gradient = to[1];
    if (to[0]) memset(to[0], 0, (size_t)dppo_numel(input) * sizeof *to[0]);
    dppo_parallel_for(t.N, 1, differentiate_images, &t); /* a sample's gradients are its own */
    for (int i = 0; i < 2; i++)
        if (gradients[i])
            (void)dppo_record(cx, node->name, gradients[i], 3, (dppo_tensor *[]){g, input, grid},
                              dppo_no_second_derivative);
}

dppo_tensor *dppo_grid_sample(dppo_cx *cx, dppo_tensor *input, dppo_tensor *grid) {
    char a[128], b[128];
    sampling t;
    if (!input || !grid) return NULL;
    if (input->ndim != 4 || grid->ndim != 4 || grid->shape[3] != 2 || grid->shape[0] != input->shape[0])
        return dppo_context_fail(cx, DPPO_INVALID, "grid_sample: input %s and grid %s do not go together",
                                 dppo_shape_text(input->ndim, input->shape, a, sizeof a),
                                 dppo_shape_text(grid->ndim, grid->shape, b, sizeof b));
    if (!prepare(cx, input, grid, &t)) return NULL;
    const int64_t shape[] = {t.N, t.C, grid->shape[1], grid->shape[2]};
    dppo_tensor *out = dppo_result(cx, DPPO_F32, 4, shape);
    if (!out) return NULL;
    t.out = dppo_f32(out);
    dppo_parallel_for(t.N, 1, sample_images, &t);
    (void)dppo_record(cx, "grid_sample", out, 2, (dppo_tensor *[]){input, grid}, grid_sample_backward);
    return out;
}
