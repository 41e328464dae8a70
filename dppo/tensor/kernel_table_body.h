/* The table of one build; no include guard: the end of kernel_plain.c and kernel_avx2.c. */
static const dppo_kernels table = {
    .map =
        {
#define X(name, arity, cost) map_##name,
            DPPO_MAP_OPS(X)
#undef X
        },
    .sum = sum_two_dims,
    .continue_column_sums = continue_column_sums,
    .moments = moments_of_rows,
    .layer_norm = layer_norm_rows,
    .layer_norm_dx = layer_norm_dx_rows,
    .layer_norm_dweight = layer_norm_dweight_columns,
    .softmax = softmax_rows,
    .softmax_columns = softmax_columns,
    .softmax_grad = softmax_grad_rows,
};
