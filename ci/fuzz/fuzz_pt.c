/* A torch.save archive whose pickle is the input, or the input as the file itself, archive or legacy (first
 * byte odd). */
#include "fuzz.h"

#include "data/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dppo_named map = {0};
    if (size < 2) return 0;
    const char *path =
        data[0] & 1 ? fuzz_file(data + 1, size - 1) : fuzz_zip("x/data.pkl", data + 1, size - 1, "x/data/0");
    fuzz_check(dppo_pt_read(path, &map), dppo_message());
    dppo_named_free(&map);
    return 0;
}
