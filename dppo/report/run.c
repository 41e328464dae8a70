/* The page of a training run: what a person wants first stands first. */
#include "report/report.h"
#include "report/run_sections.h"

#include <stdio.h>
#include <string.h>

static const char *config_word(const dppo_config *config, const char *path) {
    const char *word = NULL;
    return dppo_config_string_or(config, path, NULL, &word) == DPPO_OK ? word : NULL;
}

/* "name, written when" out of run.yaml and the configuration, as far as they say. */
static void write_heading(const dppo_run_data *data, const char *folder, dppo_text *html) {
    dppo_text subtitle = {0};
    dppo_config *config = NULL;
    const char *name = NULL, *written = data->run ? config_word(data->run, "written") : NULL;
    if (dppo_config_parse_yaml(data->config_text, "config.yaml", &config) == DPPO_OK)
        name = config_word(config, "name");
    dppo_text_add(&subtitle, name ? name : folder);
    if (written) dppo_text_format(&subtitle, " · %s", written);
    dppo_page_begin(html, data->pretraining ? "Pre-training run" : "Training run", subtitle.bytes);
    dppo_text_free(&subtitle);
    dppo_config_free(config);
}

static void write_page(const dppo_run_data *data, const char *folder, dppo_text *html) {
    write_heading(data, folder, html);
    dppo_run_write_verdict(data, html);
    dppo_run_write_figures(data, html);
    dppo_run_write_charts(data, html);
    dppo_run_write_finals(data, html);
    dppo_run_write_forced(data, html);
    dppo_run_write_phases(data, html);
    dppo_run_write_parity(data, html);
    dppo_run_write_provenance(data, html);
    dppo_page_end(html);
}

dppo_status dppo_report_run(const char *folder) {
    char report[4096];
    dppo_run_data data;
    dppo_text html = {0};
    if (snprintf(report, sizeof report, "%s/report", folder) >= (int)sizeof report)
        return dppo_fail(DPPO_INVALID, "%s: path too long", folder);
    dppo_status status = dppo_run_data_read(folder, &data);
    if (status == DPPO_OK) {
        write_page(&data, folder, &html);
        status = dppo_page_save(&html, report);
    }
    dppo_text_free(&html);
    dppo_run_data_free(&data);
    return status;
}
