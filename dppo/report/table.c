/* Strict on purpose: a report that guesses what a torn or edited file meant is worse than none. */
#include "report/table.h"

#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* One pass over the bytes: fields are unquoted in place and ended with NUL. */
typedef struct scanner {
    dppo_table *table;
    char *in, *out;
    size_t line, cells, capacity, line_capacity;
} scanner;

static dppo_status out_of_memory(const dppo_table *table) {
    return dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", table->path);
}

static dppo_status add_cell(scanner *s, char *cell) {
    if (s->cells == s->capacity) {
        size_t larger = s->capacity ? 2 * s->capacity : 256;
        char **cells = realloc(s->table->cells, larger * sizeof *cells);
        if (!cells) return out_of_memory(s->table);
        s->table->cells = cells;
        s->capacity = larger;
    }
    s->table->cells[s->cells++] = cell;
    return DPPO_OK;
}

static dppo_status add_line(scanner *s, size_t row) {
    if (row == s->line_capacity) {
        size_t larger = row ? 2 * row : 64;
        size_t *lines = realloc(s->table->lines, larger * sizeof *lines);
        if (!lines) return out_of_memory(s->table);
        s->table->lines = lines;
        s->line_capacity = larger;
    }
    s->table->lines[row] = s->line;
    return DPPO_OK;
}

static dppo_status scan_quoted(scanner *s) {
    size_t start = s->line;
    for (s->in++;; s->in++) {
        if (!*s->in)
            return dppo_fail(DPPO_FORMAT, "%s:%zu: a quote that is never closed", s->table->path, start);
        if (*s->in == '"' && s->in[1] != '"') break;
        if (*s->in == '"') s->in++;
        if (*s->in == '\n') s->line++;
        *s->out++ = *s->in;
    }
    s->in++;
    return DPPO_OK;
}

/* The next field; *end is the character it stopped at (',', '\n' or NUL). Writing trails reading, so that the
 * NUL behind a field never covers a byte that is still to be read. */
static dppo_status scan_field(scanner *s, char *end) {
    char *cell = s->out;
    if (*s->in == '"') DPPO_TRY(scan_quoted(s));
    while (*s->in && *s->in != ',' && *s->in != '\n') {
        if (!(*s->in == '\r' && (s->in[1] == '\n' || !s->in[1]))) *s->out++ = *s->in;
        s->in++;
    }
    *end = *s->in;
    if (*s->in) s->in++;
    *s->out++ = '\0';
    return add_cell(s, cell);
}

static dppo_status scan_row(scanner *s, size_t row) {
    size_t before = s->cells;
    char end;
    DPPO_TRY(add_line(s, row));
    do {
        DPPO_TRY(scan_field(s, &end));
    } while (end == ',');
    size_t count = s->cells - before;
    if (row == 0) s->table->columns = count;
    if (count != s->table->columns)
        return dppo_fail(DPPO_FORMAT, "%s:%zu: %zu cells where the header has %zu", s->table->path,
                         s->table->lines[row], count, s->table->columns);
    s->line++;
    return DPPO_OK;
}

static dppo_status scan(dppo_table *table) {
    scanner s = {.table = table, .in = table->bytes, .out = table->bytes, .line = 1};
    if (strncmp(s.in, "\xEF\xBB\xBF", 3) == 0) s.in += 3;
    size_t row = 0;
    while (*s.in) {
        if (*s.in == '\n' || (*s.in == '\r' && s.in[1] == '\n')) { /* an empty line is no row */
            s.in += *s.in == '\r' ? 2 : 1;
            s.line++;
            continue;
        }
        DPPO_TRY(scan_row(&s, row));
        row++;
    }
    if (row == 0) return dppo_fail(DPPO_FORMAT, "%s:1: empty, no header", table->path);
    table->rows = row - 1;
    return DPPO_OK;
}

dppo_status dppo_table_read(const char *path, dppo_table *table) {
    size_t length;
    *table = (dppo_table){0};
    DPPO_TRY(dppo_read_file(path, &table->bytes, &length));
    table->path = strdup(path);
    dppo_status status = table->path ? DPPO_OK : dppo_fail(DPPO_NO_MEMORY, "%s: out of memory", path);
    if (status == DPPO_OK && strlen(table->bytes) != length)
        status = dppo_fail(DPPO_FORMAT, "%s: not text, byte %zu is NUL", path, strlen(table->bytes));
    if (status == DPPO_OK) status = scan(table);
    if (status != DPPO_OK) dppo_table_free(table);
    return status;
}

void dppo_table_free(dppo_table *table) {
    free(table->path);
    free(table->bytes);
    free(table->cells);
    free(table->lines);
    *table = (dppo_table){0};
}

int dppo_table_column(const dppo_table *table, const char *name) {
    for (size_t i = 0; i < table->columns; i++)
        if (strcmp(table->cells[i], name) == 0) return (int)i;
    return -1;
}

dppo_status dppo_table_require(const dppo_table *table, const char *name, int *column) {
    *column = dppo_table_column(table, name);
    if (*column < 0)
        return dppo_fail(DPPO_FORMAT, "%s:%zu: no column '%s'", table->path, table->lines[0], name);
    return DPPO_OK;
}

const char *dppo_table_cell(const dppo_table *table, size_t row, int column) {
    return table->cells[(row + 1) * table->columns + (size_t)column];
}

static dppo_status bad_cell(const dppo_table *table, size_t row, int column, const char *wanted) {
    return dppo_fail(DPPO_FORMAT, "%s:%zu: %s: '%.60s' is not %s", table->path, table->lines[row + 1],
                     table->cells[column], dppo_table_cell(table, row, column), wanted);
}

dppo_status dppo_table_number(const dppo_table *table, size_t row, int column, double *value) {
    const char *cell = dppo_table_cell(table, row, column);
    char *end;
    *value = NAN;
    if (!*cell) return DPPO_OK;
    *value = strtod(cell, &end);
    return end == cell || *end ? bad_cell(table, row, column, "a number") : DPPO_OK;
}

dppo_status dppo_table_integer(const dppo_table *table, size_t row, int column, int64_t *value) {
    const char *cell = dppo_table_cell(table, row, column);
    char *end;
    errno = 0;
    *value = strtoll(cell, &end, 10);
    return end == cell || *end || errno ? bad_cell(table, row, column, "an integer") : DPPO_OK;
}
