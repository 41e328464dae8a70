/* The kernels in plain C, for processors without AVX2 and as the twin that tests compare with. */
#include "tensor/kernel_set.h"

#include "tensor/kernel_lanes.h"

#include "tensor/kernel_map_body.h"
#include "tensor/kernel_reduce_body.h"
#include "tensor/kernel_norm_body.h"
#include "tensor/kernel_table_body.h"

const dppo_kernels *dppo_kernels_plain(void) {
    return &table;
}
