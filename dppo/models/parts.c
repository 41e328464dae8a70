#include "models/parts.h"

dppo_status dppo_add_container(dppo_module *parent, const char *name, const char *type,
                               dppo_module **container) {
    *container = dppo_module_new(sizeof **container, type);
    return *container ? dppo_module_child(parent, name, *container) : DPPO_NO_MEMORY;
}

dppo_status dppo_add_linear(dppo_module *parent, const char *name, dppo_generator *generator, int64_t in,
                            int64_t out, dppo_linear_layer **layer) {
    *layer = dppo_linear_layer_new(generator, in, out, true);
    return dppo_module_child(parent, name, *layer ? &(*layer)->module : NULL);
}

dppo_status dppo_add_layer_norm(dppo_module *parent, const char *name, int64_t size, double eps,
                                dppo_layer_norm_layer **layer) {
    *layer = dppo_layer_norm_layer_new(size, eps);
    return dppo_module_child(parent, name, *layer ? &(*layer)->module : NULL);
}

dppo_status dppo_add_conv(dppo_module *parent, const char *name, dppo_generator *generator,
                          dppo_conv_kind kind, const dppo_conv_options *options, dppo_conv_layer **layer) {
    *layer = dppo_conv_layer_new(generator, kind, options);
    return dppo_module_child(parent, name, *layer ? &(*layer)->module : NULL);
}

dppo_status dppo_add_group_norm(dppo_module *parent, const char *name, int64_t num_groups,
                                int64_t num_channels, double eps, dppo_group_norm_layer **layer) {
    *layer = dppo_group_norm_layer_new(num_groups, num_channels, eps, true);
    return dppo_module_child(parent, name, *layer ? &(*layer)->module : NULL);
}
