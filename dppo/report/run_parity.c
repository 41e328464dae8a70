/* Function parity on a run's page, when the folder has parity.csv. */
#include "report/run_sections.h"

void dppo_run_write_parity(const dppo_run_data *data, dppo_text *html) {
    if (!data->has_parity) return;
    dppo_function_counts counts = dppo_count_functions(data->functions, data->function_count);
    dppo_text_format(
        html,
        "<section id=\"parity\"><h2>Function parity</h2>\n<p>%zu functions, %zu of them equal in "
        "every bit, <b>%zu failed</b>, %zu skipped.</p>\n",
        data->function_count, counts.equal, counts.failed, counts.skipped);
    dppo_parity_table_write(data->functions, data->function_count, "equal in every bit (lowest answer)",
                            html);
    dppo_text_add(html, "</section>\n");
}
