#include "nn/convolution.h"

#include "nn/init.h"

#include <inttypes.h>
#include <math.h>

static const char *const type_names[] = {"Conv1d", "Conv2d", "ConvTranspose1d"};

/* torch draws the weight, then the bias. */
static bool initialise(dppo_generator *generator, dppo_conv_layer *layer) {
    if (!generator) return true;
    return dppo_init_kaiming_uniform(generator, layer->weight, sqrt(5.0)) == DPPO_OK &&
           (!layer->bias || dppo_init_bias(generator, layer->bias, layer->weight) == DPPO_OK);
}

dppo_conv_layer *dppo_conv_layer_new(dppo_generator *generator, dppo_conv_kind kind,
                                     const dppo_conv_options *o) {
    bool transposed = kind == DPPO_CONV_TRANSPOSE1D;
    int dims = kind == DPPO_CONV2D ? 2 : 1;
    int64_t in = o->in_channels, out = o->out_channels, groups = o->groups > 0 ? o->groups : 1;
    int64_t shape[4] = {transposed ? in : out, (transposed ? out : in) / groups, o->kernel_size[0],
                        o->kernel_size[1]};
    if (in % groups != 0 || out % groups != 0) {
        dppo_fail(DPPO_INVALID,
                  "%s: groups %" PRId64 " must divide in_channels %" PRId64 " and out_channels %" PRId64,
                  type_names[kind], groups, in, out);
        return NULL;
    }
    for (int d = 0; d < dims + 2; d++)
        if (shape[d] < 1) {
            dppo_fail(DPPO_INVALID, "%s: channels and kernel sizes must be positive, one is %" PRId64,
                      type_names[kind], shape[d]);
            return NULL;
        }
    dppo_conv_layer *layer = dppo_module_new(sizeof *layer, type_names[kind]);
    if (!layer) return NULL;
    layer->kind = kind;
    layer->options = *o;
    layer->weight = dppo_module_parameter(&layer->module, "weight", dims + 2, shape);
    if (o->bias && layer->weight) layer->bias = dppo_module_parameter(&layer->module, "bias", 1, &out);
    bool whole = layer->weight && (layer->bias || !o->bias);
    if (whole && initialise(generator, layer)) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

static int64_t or_one(int64_t value) {
    return value > 0 ? value : 1;
}

dppo_tensor *dppo_conv_layer_forward(dppo_cx *cx, const dppo_conv_layer *layer, dppo_tensor *x) {
    const dppo_conv_options *o = &layer->options;
    dppo_convolution options = {.stride = {o->stride[0], o->stride[1]},
                                .padding = {o->padding[0], o->padding[1]},
                                .dilation = {or_one(o->dilation[0]), or_one(o->dilation[1])},
                                .output_padding = o->output_padding,
                                .groups = or_one(o->groups)};
    return dppo_convolve(cx, layer->kind, x, layer->weight, layer->bias, &options);
}

dppo_group_norm_layer *dppo_group_norm_layer_new(int64_t num_groups, int64_t num_channels, double eps,
                                                 bool affine) {
    if (num_groups < 1 || num_channels < 1 || num_channels % num_groups != 0) {
        dppo_fail(DPPO_INVALID, "GroupNorm: %" PRId64 " channels cannot be cut into %" PRId64 " groups",
                  num_channels, num_groups);
        return NULL;
    }
    dppo_group_norm_layer *layer = dppo_module_new(sizeof *layer, "GroupNorm");
    if (!layer) return NULL;
    layer->num_groups = num_groups;
    layer->eps = eps;
    if (!affine) return layer;
    layer->weight = dppo_module_parameter(&layer->module, "weight", 1, &num_channels);
    if (layer->weight) layer->bias = dppo_module_parameter(&layer->module, "bias", 1, &num_channels);
    if (layer->bias && dppo_init_ones(layer->weight) == DPPO_OK) return layer;
    dppo_module_free(&layer->module);
    return NULL;
}

dppo_tensor *dppo_group_norm_layer_forward(dppo_cx *cx, const dppo_group_norm_layer *layer, dppo_tensor *x) {
    return dppo_group_norm(cx, x, layer->num_groups, layer->weight, layer->bias, layer->eps);
}
