/* Reports for people: one self-contained HTML file, no network. */
#ifndef DPPO_REPORT_REPORT_H
#define DPPO_REPORT_REPORT_H

#include "parity/results.h"

/* Writes folder/index.html (the folder is made): the verdict, the table of functions with the worst first,
 * and every failed answer. DPPO_IO names the path. */
dppo_status dppo_report_parity(const dppo_parity_results *results, const char *folder);

/* Writes folder/report/index.html of a run folder (algorithms/driver.h): reads config.yaml and metrics.csv,
 * and teacher_forced.csv, run.yaml and parity.csv where they are. Errors name file and line; an old report
 * stays. */
dppo_status dppo_report_run(const char *folder);

#endif
