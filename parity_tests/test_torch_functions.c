/* The library of PyTorch functions: every name of fixtures/torch_functions.txt has an entry on each side and
 * at least four cases among the fixtures. That the cases pass is test_parity's business. */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 512, NAME = 128, ENOUGH = 4 };

typedef struct library {
    size_t count;
    char names[MAX_NAMES][NAME];
    size_t cases[MAX_NAMES];
} library;

/* -- the list
 * -----------------------------------------------------------------------------------------------------------
 */

static int read_names(void **state) {
    library *all = calloc(1, sizeof *all);
    FILE *file = fopen(FIXTURES "/torch_functions.txt", "r");
    while (all && file && all->count < MAX_NAMES && fgets(all->names[all->count], NAME, file)) {
        char *name = all->names[all->count];
        name[strcspn(name, "\r\n")] = '\0';
        if (name[0]) all->count++;
    }
    if (file) fclose(file);
    *state = all;
    return all && file && all->count > 0 ? 0 : -1;
}

static int drop_names(void **state) {
    free(*state);
    return 0;
}

static void test_names_are_distinct(void **state) {
    const library *all = *state;
    assert_int_equal(all->count, 105);
    for (size_t i = 0; i < all->count; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(all->names[i], all->names[j]);
}

/* -- the sides
 * ----------------------------------------------------------------------------------------------------------
 */

static void check_side(const library *all, const dppo_parity_side *side, const char *title) {
    size_t missing = 0;
    for (size_t i = 0; i < all->count; i++)
        if (!dppo_side_has(side, all->names[i])) {
            print_error("%s has no entry on the %s side\n", all->names[i], title);
            missing++;
        }
    assert_int_equal(missing, 0);
}

static void test_c_side_is_complete(void **state) {
    check_side(*state, dppo_c_side(), "C");
}

static void test_torch_side_is_complete(void **state) {
    if (!dppo_torch_side()) skip();
    check_side(*state, dppo_torch_side(), "torch");
}

/* -- the cases
 * ----------------------------------------------------------------------------------------------------------
 */

static void count_cases(library *all, const char *path) {
    dppo_case_file *file;
    assert_int_equal(dppo_case_file_open(path, &file), DPPO_OK);
    for (size_t i = 0; i < dppo_case_file_count(file); i++) {
        const char *title = dppo_case_file_name(file, i);
        size_t length = strcspn(title, "/");
        for (size_t k = 0; k < all->count; k++)
            if (strlen(all->names[k]) == length && strncmp(title, all->names[k], length) == 0)
                all->cases[k]++;
    }
    dppo_case_file_close(file);
}

static void test_every_function_has_cases(void **state) {
    library *all = *state;
    glob_t files;
    size_t few = 0;
    assert_int_equal(glob(FIXTURES "/*.h5", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++)
        count_cases(all, files.gl_pathv[i]);
    globfree(&files);
    for (size_t k = 0; k < all->count; k++)
        if (all->cases[k] < ENOUGH) {
            print_error("%s has %zu cases, not %d\n", all->names[k], all->cases[k], ENOUGH);
            few++;
        }
    assert_int_equal(few, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_distinct),
        cmocka_unit_test(test_c_side_is_complete),
        cmocka_unit_test(test_torch_side_is_complete),
        cmocka_unit_test(test_every_function_has_cases),
    };
    return cmocka_run_group_tests(tests, read_names, drop_names);
}
