/* Door entries of the torch functions that create, index, slice, join and reshape. Arguments by PyTorch's
 * names; sizes are called size, shape, sizes or repeats, as the function does. */
#include "autograd/functions.h"
#include "parity/door.h"

#include <stdio.h>
#include <string.h>

static const dppo_config *args_of(dppo_call *call) {
    return dppo_call_case(call)->args;
}

static dppo_status result(dppo_call *call, dppo_tensor *tensor) {
    return dppo_call_output(call, "result", tensor);
}

/* -- arguments
 * ------------------------------------------------------------------------------------------------- */

static dppo_status int_arg(dppo_call *call, const char *name, int *value) {
    int64_t wide;
    DPPO_TRY(dppo_config_int(args_of(call), name, &wide));
    if (wide < -1000 || wide > 1000)
        return dppo_fail(DPPO_INVALID, "args: %s is %lld", name, (long long)wide);
    *value = (int)wide;
    return DPPO_OK;
}

static dppo_status int_arg_or(dppo_call *call, const char *name, int fallback, int *value) {
    *value = fallback;
    return dppo_config_get(args_of(call), name) ? int_arg(call, name, value) : DPPO_OK;
}

static bool is_int_or_absent(dppo_call *call, const char *name) {
    const dppo_config *node = dppo_config_get(args_of(call), name);
    return !node || dppo_config_type_of(node) == DPPO_CONFIG_INT;
}

/* -- creation
 * ----------------------------------------------------------------------------------------------------- */

static dppo_status call_arange(dppo_call *call) {
    double start, end, step;
    dppo_dtype dtype;
    bool whole =
        is_int_or_absent(call, "start") && is_int_or_absent(call, "end") && is_int_or_absent(call, "step");
    DPPO_TRY(dppo_config_float_or(args_of(call), "start", 0, &start));
    DPPO_TRY(dppo_config_float(args_of(call), "end", &end));
    DPPO_TRY(dppo_config_float_or(args_of(call), "step", 1, &step));
    DPPO_TRY(dppo_call_dtype(call, whole ? DPPO_I64 : DPPO_F32, &dtype));
    return result(call, dppo_arange(dppo_call_context(call), dtype, start, end, step));
}

static dppo_status call_linspace(dppo_call *call) {
    double start, end;
    int64_t steps;
    DPPO_TRY(dppo_config_float(args_of(call), "start", &start));
    DPPO_TRY(dppo_config_float(args_of(call), "end", &end));
    DPPO_TRY(dppo_config_int(args_of(call), "steps", &steps));
    return result(call, dppo_linspace(dppo_call_context(call), start, end, steps));
}

static dppo_status filled(dppo_call *call, double value, dppo_dtype fallback) {
    dppo_int_list size;
    dppo_dtype dtype;
    DPPO_TRY(dppo_call_sizes(call, &size));
    DPPO_TRY(dppo_call_dtype(call, fallback, &dtype));
    return result(call, dppo_full(dppo_call_context(call), dtype, (int)size.count, size.values, value));
}

static dppo_status call_zeros(dppo_call *call) {
    return filled(call, 0, DPPO_F32);
}

static dppo_status call_ones(dppo_call *call) {
    return filled(call, 1, DPPO_F32);
}

/* The type of the value decides, as in Python. */
static dppo_status call_full(dppo_call *call) {
    const dppo_config *value = dppo_config_get(args_of(call), "fill_value");
    double number = 0;
    bool truth = false;
    if (dppo_config_type_of(value) == DPPO_CONFIG_BOOL) {
        DPPO_TRY(dppo_config_bool(value, NULL, &truth));
        return filled(call, truth, DPPO_BOOL);
    }
    DPPO_TRY(dppo_config_float(args_of(call), "fill_value", &number));
    return filled(call, number, dppo_config_type_of(value) == DPPO_CONFIG_INT ? DPPO_I64 : DPPO_F32);
}

static dppo_status like(dppo_call *call, double value) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return result(call, dppo_full_like(dppo_call_context(call), input, value));
}

static dppo_status call_zeros_like(dppo_call *call) {
    return like(call, 0);
}

static dppo_status call_ones_like(dppo_call *call) {
    return like(call, 1);
}

static dppo_status call_full_like(dppo_call *call) {
    double value;
    DPPO_TRY(dppo_config_float(args_of(call), "fill_value", &value));
    return like(call, value);
}

/* -- joining and splitting
 * -------------------------------------------------------------------------------------------- */

enum { MOST = 64 };

typedef dppo_tensor *joiner(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim);

static dppo_tensor *hstack_any(dppo_cx *cx, int count, dppo_tensor *const *tensors, int dim) {
    (void)dim;
    return dppo_hstack(cx, count, tensors);
}

static dppo_status join(dppo_call *call, joiner *function) {
    dppo_tensor *tensors[MOST];
    int dim;
    size_t count = dppo_call_sequence(call, "tensors", tensors, MOST);
    DPPO_TRY(int_arg_or(call, "dim", 0, &dim));
    return result(call, function(dppo_call_context(call), (int)count, tensors, dim));
}

static dppo_status call_cat(dppo_call *call) {
    return join(call, dppo_cat);
}

static dppo_status call_stack(dppo_call *call) {
    return join(call, dppo_stack);
}

static dppo_status call_hstack(dppo_call *call) {
    return join(call, hstack_any);
}

static dppo_status outputs(dppo_call *call, int count, dppo_tensor *const *tensors) {
    char name[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        DPPO_TRY(dppo_call_output(call, name, tensors[i]));
    }
    return count > 0 ? DPPO_OK : dppo_context_status(dppo_call_context(call));
}

static dppo_status call_split(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *input, *pieces[MOST];
    dppo_int_list sections;
    int dim;
    bool equal = is_int_or_absent(call, "split_size_or_sections") && is_int_or_absent(call, "split_size");
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(
        dppo_call_ints(call, (const char *const[]){"split_size_or_sections", "split_size", NULL}, &sections));
    DPPO_TRY(int_arg_or(call, "dim", 0, &dim));
    if (equal) return outputs(call, dppo_split(cx, input, sections.values[0], dim, pieces, MOST), pieces);
    int64_t start = 0;
    for (size_t i = 0; i < sections.count; start += sections.values[i++])
        pieces[i] = dppo_narrow(cx, input, dim, start, sections.values[i]);
    return outputs(call, (int)sections.count, pieces);
}

static dppo_status call_meshgrid(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *tensors[MOST], *grids[DPPO_MAX_DIMS];
    int64_t shape[DPPO_MAX_DIMS], flat[DPPO_MAX_DIMS];
    const char *indexing;
    int count = (int)dppo_call_sequence(call, "tensors", tensors, MOST);
    DPPO_TRY(dppo_config_string_or(args_of(call), "indexing", "ij", &indexing));
    bool swap = strcmp(indexing, "xy") == 0 && count >= 2; /* the first two dims change places */
    if (count < 1 || count > DPPO_MAX_DIMS) return dppo_fail(DPPO_INVALID, "in/tensors: %d of them", count);
    for (int i = 0; i < count; i++)
        shape[i] = dppo_numel(tensors[swap && i < 2 ? 1 - i : i]);
    for (int i = 0; i < count; i++) {
        for (int d = 0; d < count; d++)
            flat[d] = d == (swap && i < 2 ? 1 - i : i) ? -1 : 1;
        grids[i] = dppo_expand(cx, dppo_reshape(cx, tensors[i], count, flat), count, shape);
    }
    return outputs(call, count, grids);
}

/* -- indexing
 * ------------------------------------------------------------------------------------------------------------
 */

static dppo_status call_gather(dppo_call *call) {
    dppo_tensor *input, *index;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_input(call, "index", &index));
    DPPO_TRY(int_arg(call, "dim", &dim));
    return result(call, dppo_gather(dppo_call_context(call), input, dim, index));
}

static dppo_status call_index_select(dppo_call *call) {
    dppo_tensor *input, *index;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_input(call, "index", &index));
    DPPO_TRY(int_arg(call, "dim", &dim));
    return result(call, dppo_index_select(dppo_call_context(call), input, dim, index));
}

static dppo_status call_narrow(dppo_call *call) {
    dppo_tensor *input;
    int64_t start, length;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(int_arg(call, "dim", &dim));
    DPPO_TRY(dppo_config_int(args_of(call), "start", &start));
    DPPO_TRY(dppo_config_int(args_of(call), "length", &length));
    return result(call, dppo_narrow(dppo_call_context(call), input, dim, start, length));
}

static dppo_status call_select(dppo_call *call) {
    dppo_tensor *input;
    int64_t index;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(int_arg(call, "dim", &dim));
    DPPO_TRY(dppo_config_int(args_of(call), "index", &index));
    return result(call, dppo_select(dppo_call_context(call), input, dim, index));
}

/* Operand `name` or `other_name`, a tensor or a number of the arguments. */
static dppo_status operand(dppo_call *call, const char *name, const char *other_name, dppo_tensor **tensor) {
    double value;
    *tensor = dppo_call_input_or_null(call, name);
    if (!*tensor) *tensor = dppo_call_input_or_null(call, other_name);
    if (*tensor) return DPPO_OK;
    const char *key = dppo_config_get(args_of(call), name) ? name : other_name;
    DPPO_TRY(dppo_config_float(args_of(call), key, &value));
    *tensor = dppo_scalar(dppo_call_context(call), value);
    return DPPO_OK;
}

static dppo_status call_where(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *condition, *input, *other;
    DPPO_TRY(dppo_call_input(call, "condition", &condition));
    DPPO_TRY(operand(call, "input", "x", &input));
    DPPO_TRY(operand(call, "other", "y", &other));
    return result(call, dppo_where(cx, dppo_to_dtype(cx, condition, DPPO_BOOL), input, other));
}

/* The value is a number, or a tensor that has a gradient of its own. */
static dppo_status call_masked_fill(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *input, *mask, *filling = dppo_call_input_or_null(call, "value");
    double value;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_input(call, "mask", &mask));
    mask = dppo_to_dtype(cx, mask, DPPO_BOOL);
    if (filling) return result(call, dppo_where(cx, mask, dppo_to_dtype(cx, filling, input->dtype), input));
    DPPO_TRY(dppo_config_float(args_of(call), "value", &value));
    return result(call, dppo_masked_fill(cx, input, mask, value));
}

static dppo_status call_unravel_index(dppo_call *call) {
    dppo_tensor *parts[DPPO_MAX_DIMS], *index = dppo_call_input_or_null(call, "indices");
    dppo_int_list shape;
    if (!index) DPPO_TRY(dppo_call_input(call, "input", &index));
    DPPO_TRY(dppo_call_ints(call, (const char *const[]){"shape", NULL}, &shape));
    if (!dppo_unravel_index(dppo_call_context(call), index, (int)shape.count, shape.values, parts))
        return dppo_context_status(dppo_call_context(call));
    return outputs(call, (int)shape.count, parts);
}

static dppo_status call_triu(dppo_call *call) {
    dppo_tensor *input;
    int64_t diagonal;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_config_int_or(args_of(call), "diagonal", 0, &diagonal));
    return result(call, dppo_triu(dppo_call_context(call), input, diagonal));
}

/* -- shapes
 * ------------------------------------------------------------------------------------------------------------------
 */

typedef dppo_tensor *reshaper(dppo_cx *cx, dppo_tensor *input, int ndim, const int64_t *shape);

static dppo_status with_sizes(dppo_call *call, reshaper *function) {
    dppo_tensor *input;
    dppo_int_list size;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_sizes(call, &size));
    return result(call, function(dppo_call_context(call), input, (int)size.count, size.values));
}

static dppo_status call_reshape(dppo_call *call) {
    return with_sizes(call, dppo_reshape);
}

static dppo_status call_view(dppo_call *call) {
    return with_sizes(call, dppo_view);
}

static dppo_status call_expand(dppo_call *call) {
    return with_sizes(call, dppo_expand);
}

static dppo_status call_repeat(dppo_call *call) {
    return with_sizes(call, dppo_repeat);
}

static dppo_status call_expand_as(dppo_call *call) {
    dppo_tensor *input, *other;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_input(call, "other", &other));
    return result(call, dppo_expand_as(dppo_call_context(call), input, other));
}

/* in/repeats, or a number or a list of the arguments. */
static dppo_status call_repeat_interleave(dppo_call *call) {
    dppo_context *cx = dppo_call_context(call);
    dppo_tensor *input, *repeats = dppo_call_input_or_null(call, "repeats");
    dppo_int_list list;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(int_arg_or(call, "dim", DPPO_ALL, &dim));
    if (!repeats) {
        DPPO_TRY(dppo_call_ints(call, (const char *const[]){"repeats", NULL}, &list));
        if (list.count == 1) return result(call, dppo_repeat_interleave(cx, input, list.values[0], dim));
        repeats = dppo_from_i64(cx, 1, (int64_t[]){(int64_t)list.count}, list.values);
    }
    return result(call, dppo_repeat_interleave_each(cx, input, repeats, dim));
}

static dppo_status call_flatten(dppo_call *call) {
    dppo_tensor *input;
    int start_dim, end_dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(int_arg_or(call, "start_dim", 0, &start_dim));
    DPPO_TRY(int_arg_or(call, "end_dim", -1, &end_dim));
    return result(call, dppo_flatten(dppo_call_context(call), input, start_dim, end_dim));
}

typedef dppo_tensor *by_dims(dppo_cx *cx, dppo_tensor *input, int ndim, const int *dims);

static dppo_status with_dims(dppo_call *call, by_dims *function) {
    dppo_tensor *input;
    dppo_int_list list;
    int dims[DPPO_MAX_DIMS];
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(dppo_call_ints(call, (const char *const[]){"dims", "dim", NULL}, &list));
    for (size_t i = 0; i < list.count; i++)
        dims[i] = (int)list.values[i];
    return result(call, function(dppo_call_context(call), input, (int)list.count, dims));
}

static dppo_status call_permute(dppo_call *call) {
    return with_dims(call, dppo_permute);
}

static dppo_status call_flip(dppo_call *call) {
    return with_dims(call, dppo_flip);
}

static dppo_status call_transpose(dppo_call *call) {
    dppo_tensor *input;
    int dim0, dim1;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(int_arg(call, "dim0", &dim0));
    DPPO_TRY(int_arg(call, "dim1", &dim1));
    return result(call, dppo_transpose(dppo_call_context(call), input, dim0, dim1));
}

static dppo_status call_squeeze(dppo_call *call) {
    dppo_tensor *input;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    if (!dppo_config_get(args_of(call), "dim"))
        return result(call, dppo_squeeze(dppo_call_context(call), input));
    DPPO_TRY(int_arg(call, "dim", &dim));
    return result(call, dppo_squeeze_dim(dppo_call_context(call), input, dim));
}

static dppo_status call_unsqueeze(dppo_call *call) {
    dppo_tensor *input;
    int dim;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    DPPO_TRY(int_arg(call, "dim", &dim));
    return result(call, dppo_unsqueeze(dppo_call_context(call), input, dim));
}

/* -- copies and types
 * ------------------------------------------------------------------------------------------------------------
 */

static dppo_status call_clone(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return result(call, dppo_clone(dppo_call_context(call), input));
}

static dppo_status call_detach(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return result(call, dppo_detach(dppo_call_context(call), input));
}

static dppo_status call_float(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return result(call, dppo_to_dtype(dppo_call_context(call), input, DPPO_F32));
}

static dppo_status call_long(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    return result(call, dppo_to_dtype(dppo_call_context(call), input, DPPO_I64));
}

/* A float is a Python float (float64), an integer a Python int. */
static dppo_status call_item(dppo_call *call) {
    dppo_tensor *input;
    DPPO_TRY(dppo_call_input(call, "input", &input));
    if (dppo_numel(input) != 1)
        return dppo_fail(DPPO_INVALID, "item: %lld elements, not 1", (long long)dppo_numel(input));
    if (input->dtype == DPPO_I64) return dppo_call_output_i64(call, "result", *dppo_i64(input));
    return dppo_call_output_f64(call, "result", dppo_tensor_at(input, 0));
}

const dppo_entry dppo_entries_shape[] = {{"torch.arange", call_arange},
                                         {"torch.linspace", call_linspace},
                                         {"torch.zeros", call_zeros},
                                         {"torch.ones", call_ones},
                                         {"torch.full", call_full},
                                         {"torch.zeros_like", call_zeros_like},
                                         {"torch.ones_like", call_ones_like},
                                         {"torch.full_like", call_full_like},
                                         {"torch.cat", call_cat},
                                         {"torch.stack", call_stack},
                                         {"torch.hstack", call_hstack},
                                         {"torch.split", call_split},
                                         {"torch.meshgrid", call_meshgrid},
                                         {"torch.gather", call_gather},
                                         {"torch.index_select", call_index_select},
                                         {"torch.narrow", call_narrow},
                                         {"torch.select", call_select},
                                         {"torch.where", call_where},
                                         {"torch.Tensor.masked_fill", call_masked_fill},
                                         {"torch.unravel_index", call_unravel_index},
                                         {"torch.triu", call_triu},
                                         {"torch.reshape", call_reshape},
                                         {"torch.Tensor.reshape", call_reshape},
                                         {"torch.Tensor.view", call_view},
                                         {"torch.Tensor.expand", call_expand},
                                         {"torch.Tensor.expand_as", call_expand_as},
                                         {"torch.Tensor.repeat", call_repeat},
                                         {"torch.repeat_interleave", call_repeat_interleave},
                                         {"torch.flatten", call_flatten},
                                         {"torch.permute", call_permute},
                                         {"torch.flip", call_flip},
                                         {"torch.transpose", call_transpose},
                                         {"torch.Tensor.transpose", call_transpose},
                                         {"torch.squeeze", call_squeeze},
                                         {"torch.unsqueeze", call_unsqueeze},
                                         {"torch.Tensor.clone", call_clone},
                                         {"torch.from_numpy", call_clone},
                                         {"torch.Tensor.detach", call_detach},
                                         {"torch.Tensor.float", call_float},
                                         {"torch.Tensor.long", call_long},
                                         {"torch.Tensor.item", call_item},
                                         {NULL, NULL}};
