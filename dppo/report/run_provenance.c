/* Where the run comes from: command, seed, versions, configuration. */
#include "report/run_sections.h"

#include <string.h>

static void write_value(const dppo_config *node, dppo_text *html) {
    const char *string;
    if (dppo_config_type_of(node) == DPPO_CONFIG_STRING &&
        dppo_config_string(node, NULL, &string) == DPPO_OK) {
        dppo_html_escape(html, string);
        return;
    }
    dppo_text json = {0};
    dppo_config_write_json(node, &json);
    dppo_html_escape(html, json.bytes ? json.bytes : "");
    dppo_text_free(&json);
}

/* Everything run.yaml says, in its order. */
static void write_run(const dppo_config *run, dppo_text *html) {
    dppo_text_add(html, "<div class=\"scroll\"><table><tbody>\n");
    for (size_t i = 0; i < dppo_config_count(run); i++) {
        const char *key = dppo_config_key(run, i);
        bool command = strcmp(key, "command") == 0;
        dppo_text_add(html, "<tr><th scope=\"row\">");
        for (const char *p = key; *p; p++) /* free_equal_iterations reads as words */
            dppo_html_escape(html, *p == '_' ? " " : (char[]){*p, '\0'});
        dppo_text_format(html, "</th><td class=\"left wide\">%s", command ? "<code>" : "");
        write_value(dppo_config_item(run, i), html);
        dppo_text_format(html, "%s</td></tr>\n", command ? "</code>" : "");
    }
    dppo_text_add(html, "</tbody></table></div>\n");
}

void dppo_run_write_provenance(const dppo_run_data *data, dppo_text *html) {
    dppo_text_add(html, "<section id=\"provenance\"><h2>Command, seed and versions</h2>\n");
    if (data->run)
        write_run(data->run, html);
    else
        dppo_text_add(html, "<p>run.yaml is missing.</p>\n");
    dppo_text_add(html, "<details><summary>Configuration (resolved)</summary><pre>");
    dppo_html_escape(html, data->config_text);
    dppo_text_add(html, "</pre></details></section>\n");
}
