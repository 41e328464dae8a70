/* The sections of a run's page, each in the file of its name. */
#ifndef DPPO_REPORT_RUN_SECTIONS_H
#define DPPO_REPORT_RUN_SECTIONS_H

#include "report/page.h"
#include "report/run_data.h"

void dppo_run_write_verdict(const dppo_run_data *data, dppo_text *html); /* run_verdict.c */
void dppo_run_write_figures(const dppo_run_data *data, dppo_text *html); /* run_figures.c */
void dppo_run_write_charts(const dppo_run_data *data, dppo_text *html);  /* run_charts.c */
void dppo_run_write_finals(const dppo_run_data *data, dppo_text *html);  /* run_tables.c */
void dppo_run_write_forced(const dppo_run_data *data, dppo_text *html);
void dppo_run_write_phases(const dppo_run_data *data, dppo_text *html);
void dppo_run_write_parity(const dppo_run_data *data, dppo_text *html);     /* run_parity.c */
void dppo_run_write_provenance(const dppo_run_data *data, dppo_text *html); /* run_provenance.c */

/* Pieces the sections share. */
const char *dppo_run_rounds(const dppo_run_data *data, int64_t count); /* "iteration(s)", "epoch(s)" */
void dppo_run_write_metric_name(const dppo_run_metric *metric, dppo_text *html);
/* The median of a metric's finite values on one side; NaN without any. */
double dppo_run_median(const double *values, size_t count);

#endif
