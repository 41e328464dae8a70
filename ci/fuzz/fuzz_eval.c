/* The text of one value with interpolations, next to keys it can refer to. */
#include "fuzz.h"

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    dppo_config *root = dppo_config_new_map();
    if (!root) abort();
    if (dppo_config_set_int(root, "a", 4) == DPPO_OK && dppo_config_set_float(root, "m.b", 0.5) == DPPO_OK &&
        dppo_config_set_string(root, "m.s", "${a}") == DPPO_OK &&
        dppo_config_set_string(root, "m.x", text) == DPPO_OK)
        fuzz_check(dppo_config_resolve(root), dppo_message());
    dppo_config_free(root);
    free(text);
    return 0;
}
