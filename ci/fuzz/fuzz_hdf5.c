/* An HDF5 file: as named tensors and as a checkpoint. */
#include "fuzz.h"

#include "data/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dppo_named map = {0};
    const char *path = fuzz_file(data, size);
    fuzz_check(dppo_hdf5_read(path, NULL, &map), dppo_message());
    dppo_named_free(&map);
    fuzz_check(dppo_checkpoint_read(path, &map), dppo_message());
    dppo_named_free(&map);
    return 0;
}
