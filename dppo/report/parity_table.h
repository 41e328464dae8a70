/* The table of functions, worst first: on the parity page and, out of parity.csv, on a run's page. */
#ifndef DPPO_REPORT_PARITY_TABLE_H
#define DPPO_REPORT_PARITY_TABLE_H

#include "parity/results.h"
#include "report/table.h"

/* Failed first, then by distance in units in the last place; what was skipped last. */
void dppo_functions_worst_first(dppo_function_summary *functions, size_t count);
/* `share` says of what the bitwise share is one: HTML of that column's heading. */
void dppo_parity_table_write(const dppo_function_summary *functions, size_t count, const char *share,
                             dppo_text *html);

typedef struct dppo_function_counts {
    size_t failed, skipped, equal; /* functions with a failed case, without one but with a skipped one, and
                                      those that are equal in every bit */
} dppo_function_counts;
dppo_function_counts dppo_count_functions(const dppo_function_summary *functions, size_t count);

/* The summary of every function of a CSV of `dppo parity run --csv`. The share is the lowest of its answers
 * (the file does not say how many elements they have). Names are borrowed from the table; the array is the
 * caller's, free(). DPPO_FORMAT names file and line. */
dppo_status dppo_functions_of_csv(const dppo_table *table, dppo_function_summary **functions, size_t *count);

#endif
