/* Any YAML: parsed, resolved, overridden, written and read back equal. */
#include "fuzz.h"

#include "config/config.h"

static void round_trip(const dppo_config *root) {
    dppo_text yaml = {0}, json = {0}, again_json = {0};
    dppo_config *again = NULL;
    dppo_config_write_yaml(root, &yaml);
    dppo_config_write_json(root, &json);
    if (dppo_config_parse_yaml(yaml.bytes, "again", &again) != DPPO_OK) {
        /* interpolations may nest deeper than a file may */
        if (!strstr(dppo_message(), "deep") && !strstr(dppo_message(), "control characters") &&
            !strstr(dppo_message(), "UTF-8"))
            abort();
    } else {
        dppo_config_write_json(again, &again_json);
        if (strcmp(json.bytes, again_json.bytes) != 0) abort();
    }
    dppo_config_free(again);
    dppo_text_free(&yaml);
    dppo_text_free(&json);
    dppo_text_free(&again_json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    dppo_config *root = NULL;
    dppo_status status = dppo_config_parse_yaml(text, "fuzz", &root);
    fuzz_check(status, dppo_message());
    if (status == DPPO_OK) {
        round_trip(root);
        fuzz_check(dppo_config_resolve(root), dppo_message());
        round_trip(root);
        fuzz_check(dppo_config_override(root, text), dppo_message());
    }
    dppo_config_free(root);
    free(text);
    return 0;
}
