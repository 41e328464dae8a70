/* CSV files as the reports read them: a header, then rows of as many cells. */
#ifndef DPPO_REPORT_TABLE_H
#define DPPO_REPORT_TABLE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct dppo_table {
    char *path, *bytes; /* owned; the cells point into bytes */
    char **cells;       /* (rows + 1, columns), the header first */
    size_t *lines;      /* (rows + 1) where a row begins in the file, counted from 1 */
    size_t rows, columns;
} dppo_table;

/* Reads `path`; fields may be quoted, a quote inside is doubled. DPPO_FORMAT names file and line: no header,
 * a row with another number of cells, a quote that is never closed, a NUL. Free with dppo_table_free(). */
dppo_status dppo_table_read(const char *path, dppo_table *table);
void dppo_table_free(dppo_table *table);

/* The column of that name; -1 without one. */
int dppo_table_column(const dppo_table *table, const char *name);
/* The same, but DPPO_FORMAT when it is missing. */
dppo_status dppo_table_require(const dppo_table *table, const char *name, int *column);

const char *dppo_table_cell(const dppo_table *table, size_t row,
                            int column); /* row 0 is the first below the header */
/* An empty cell is NaN; "nan" and "inf" are read; anything else that is no number is DPPO_FORMAT. */
dppo_status dppo_table_number(const dppo_table *table, size_t row, int column, double *value);
dppo_status dppo_table_integer(const dppo_table *table, size_t row, int column, int64_t *value);

#endif
