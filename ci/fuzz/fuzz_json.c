/* Any JSON: what is accepted is written as JSON and YAML that read back equal. */
#include "fuzz.h"

#include "config/config.h"

static void must_equal(dppo_status status, dppo_config *again, const char *expected) {
    dppo_text json = {0};
    if (status != DPPO_OK) abort();
    dppo_config_write_json(again, &json);
    if (strcmp(json.bytes, expected) != 0) abort();
    dppo_text_free(&json);
    dppo_config_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    dppo_config *root = NULL, *again = NULL;
    dppo_status status = dppo_config_parse_json(text, "fuzz", &root);
    fuzz_check(status, dppo_message());
    if (status == DPPO_OK) {
        dppo_text json = {0}, yaml = {0};
        dppo_config_write_json(root, &json);
        dppo_config_write_yaml(root, &yaml);
        status = dppo_config_parse_json(json.bytes, "again", &again);
        must_equal(status, again, json.bytes);
        status = dppo_config_parse_yaml(yaml.bytes, "again", &again);
        must_equal(status, again, json.bytes);
        dppo_text_free(&json);
        dppo_text_free(&yaml);
    }
    dppo_config_free(root);
    free(text);
    return 0;
}
