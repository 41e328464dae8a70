/* Gaussian_MLP: mean and standard deviation of an action chunk. The std is fixed, learned but the same in
 * every state, or a second head on a shared base. */
#include "models/build.h"
#include "models/networks.h"
#include "models/parts.h"

#include <math.h>

typedef struct gaussian_mlp {
    dppo_module module;
    bool tanh_output;
    dppo_gaussian_std std;
    dppo_module *mlp_base, *mlp_logvar; /* NULL with a fixed std */
    dppo_module *mlp_mean;
} gaussian_mlp;

typedef struct gaussian_mlp_arguments {
    int64_t cond_dim;
    dppo_mlp_options trunk; /* dims: input and hidden */
    bool residual_style;
} gaussian_mlp_arguments;

/* A head from the last hidden layer: one linear layer. */
static dppo_status add_head(gaussian_mlp *self, const char *name, const dppo_mlp_options *trunk,
                            dppo_generator *generator, dppo_module **head) {
    dppo_mlp_options options = {.activation_type = "Tanh", .out_activation_type = "Identity"};
    DPPO_TRY(dppo_mlp_options_add(&options, trunk->dims[trunk->dim_count - 1]));
    DPPO_TRY(dppo_mlp_options_add(&options, self->std.action_dim * self->std.horizon_steps));
    DPPO_TRY(dppo_mlp_new(&options, generator, head));
    return dppo_module_child(&self->module, name, *head);
}

/* The base ends in an activation, normalised where layers are; the heads see features. */
static dppo_status add_base_and_heads(gaussian_mlp *self, const gaussian_mlp_arguments *a,
                                      dppo_generator *generator) {
    dppo_mlp_options base = a->trunk;
    base.out_activation_type = base.activation_type;
    base.use_layernorm_final = base.use_layernorm;
    DPPO_TRY(dppo_any_mlp_new(a->residual_style, &base, generator, &self->mlp_base));
    DPPO_TRY(dppo_module_child(&self->module, "mlp_base", self->mlp_base));
    DPPO_TRY(add_head(self, "mlp_mean", &base, generator, &self->mlp_mean));
    return add_head(self, "mlp_logvar", &base, generator, &self->mlp_logvar);
}

static dppo_status fill(gaussian_mlp *self, const gaussian_mlp_arguments *a, dppo_generator *generator) {
    if (isnan(self->std.fixed_std)) return add_base_and_heads(self, a, generator);
    dppo_mlp_options mean = a->trunk;
    mean.out_activation_type = "Identity";
    DPPO_TRY(dppo_mlp_options_add(&mean, self->std.action_dim * self->std.horizon_steps));
    DPPO_TRY(dppo_any_mlp_new(a->residual_style, &mean, generator, &self->mlp_mean));
    return dppo_module_child(&self->module, "mlp_mean", self->mlp_mean);
}

static dppo_status read_arguments(const dppo_config *config, gaussian_mlp *self, gaussian_mlp_arguments *a) {
    DPPO_TRY(dppo_config_int(config, "cond_dim", &a->cond_dim));
    DPPO_TRY(dppo_mlp_options_add(&a->trunk, a->cond_dim));
    DPPO_TRY(dppo_mlp_options_add_hidden(&a->trunk, config, (const int64_t[]){256, 256, 256}, 3));
    DPPO_TRY(dppo_config_string_or(config, "activation_type", "Mish", &a->trunk.activation_type));
    DPPO_TRY(dppo_config_bool_or(config, "tanh_output", true, &self->tanh_output));
    DPPO_TRY(dppo_config_bool_or(config, "residual_style", false, &a->residual_style));
    DPPO_TRY(dppo_config_bool_or(config, "use_layernorm", false, &a->trunk.use_layernorm));
    DPPO_TRY(dppo_config_float_or(config, "dropout", 0, &a->trunk.dropout));
    return dppo_add_gaussian_std(&self->module, config, &self->std);
}

dppo_status dppo_build_gaussian_mlp(const dppo_config *config, dppo_generator *generator,
                                    dppo_module **module) {
    static const char *const keys[] = {
        "cond_dim",      "mlp_dims", "activation_type",      "tanh_output", "residual_style",
        "use_layernorm", "dropout",  DPPO_GAUSSIAN_STD_KEYS, NULL};
    gaussian_mlp_arguments arguments = {0};
    DPPO_TRY(dppo_config_allow(config, "Gaussian_MLP", keys));
    gaussian_mlp *self = dppo_module_new(sizeof *self, "Gaussian_MLP");
    if (!self) return DPPO_NO_MEMORY;
    dppo_status status = read_arguments(config, self, &arguments);
    if (status == DPPO_OK) status = fill(self, &arguments, generator);
    return dppo_build_finish(status, &self->module, module);
}

/* A head's output in [-1, 1] mapped to [min, max]: min + (max - min) / 2 (tanh(h) + 1) */
static dppo_tensor *head_std(dppo_cx *cx, const gaussian_mlp *self, dppo_tensor *features) {
    dppo_tensor *h = dppo_tanh(cx, dppo_mlp_forward(cx, self->mlp_logvar, features, NULL));
    dppo_tensor *half = dppo_mul_scalar(cx, dppo_sub(cx, self->std.logvar_max, self->std.logvar_min), 0.5);
    dppo_tensor *offset = dppo_mul(cx, half, dppo_add_scalar(cx, h, 1));
    return dppo_gaussian_std_of(cx, dppo_add(cx, self->std.logvar_min, offset));
}

dppo_tensor *dppo_gaussian_mlp_forward(dppo_cx *cx, const dppo_module *module, dppo_cond cond,
                                       dppo_tensor **mean, dppo_tensor **scale) {
    const gaussian_mlp *self = (const gaussian_mlp *)module;
    dppo_tensor *features = dppo_flatten_rows(cx, cond.state);
    if (self->mlp_base) features = dppo_any_mlp_forward(cx, self->mlp_base, features);
    *mean = dppo_any_mlp_forward(cx, self->mlp_mean, features);
    if (self->tanh_output) *mean = dppo_tanh(cx, *mean);
    *scale =
        self->mlp_logvar ? head_std(cx, self, features) : dppo_gaussian_std_constant(cx, &self->std, *mean);
    return *scale ? *mean : NULL;
}
