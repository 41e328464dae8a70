/* An archive with the input as an array, or the input as the archive itself (first byte odd). */
#include "fuzz.h"

#include "data/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dppo_named map = {0};
    if (size < 2) return 0;
    const char *path =
        data[0] & 1 ? fuzz_file(data + 1, size - 1) : fuzz_zip("x.npy", data + 1, size - 1, NULL);
    fuzz_check(dppo_npz_read(path, &map), dppo_message());
    dppo_named_free(&map);
    return 0;
}
