/* The sections of a run's page, each in the file of its name. */
#ifndef DPPO_REPORT_RUN_SECTIONS_H
#define DPPO_REPORT_RUN_SECTIONS_H

#include "report/page.h"
#include "report/run_data.h"

void dppo_run_write_verdict(const dppo_run_data *data, dppo_text *html);    /* run_verdict.c */
void dppo_run_write_provenance(const dppo_run_data *data, dppo_text *html); /* run_provenance.c */

#endif
