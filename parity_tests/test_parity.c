/* Every case of the files in fixtures/ as a test of its own. CMocka only runs them; the judge is
 * dppo_parity_judge().
 */
#include "cli/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct item {
    dppo_case_file *file;
    size_t index;
} item;

static void judge_one(void **state) {
    const item *it = *state;
    dppo_parity_options options = {.c = dppo_c_side(), .torch = dppo_torch_side()};
    dppo_case parity_case;
    dppo_parity_answers answers = {0};
    dppo_parity_result result = {0};
    dppo_verdict verdict = DPPO_FAILED;
    dppo_status status = dppo_case_load(it->file, it->index, &parity_case);
    if (status == DPPO_OK) {
        dppo_parity_ask(&parity_case, &options, &answers);
        status = dppo_parity_judge(&parity_case, &options, &answers, &result);
    }
    if (status == DPPO_OK) verdict = result.verdict;
    if (status != DPPO_OK) print_error("%s\n", dppo_message());
    if (result.message[0])
        print_message("%s: %s\n", dppo_case_file_name(it->file, it->index), result.message);
    for (size_t i = 0; i < result.count; i++)
        if (result.rows[i].verdict == DPPO_FAILED)
            print_error("%s %s: %s\n", dppo_pair_name(result.rows[i].pair), result.rows[i].answer,
                        result.rows[i].numbers.message);
    /* CMocka leaves by longjmp: release first. */
    dppo_parity_result_free(&result);
    dppo_parity_answers_free(&answers);
    dppo_case_free(&parity_case);
    if (verdict == DPPO_SKIPPED) skip();
    assert_int_equal(verdict, DPPO_PASSED);
}

static bool add_file(dppo_case_file *file, struct CMUnitTest **tests, item ***items, size_t *count) {
    for (size_t i = 0; i < dppo_case_file_count(file); i++) {
        struct CMUnitTest *more = realloc(*tests, (*count + 1) * sizeof *more);
        if (more) *tests = more;
        item **grown = realloc(*items, (*count + 1) * sizeof(item *));
        if (grown) *items = grown;
        item *it = malloc(sizeof *it);
        if (!more || !grown || !it) return false;
        *it = (item){file, i};
        grown[*count] = it;
        more[(*count)++] = (struct CMUnitTest){dppo_case_file_name(file, i), judge_one, NULL, NULL, it};
    }
    return true;
}

int main(void) {
    dppo_file_list files;
    dppo_case_file **open_files = NULL;
    struct CMUnitTest *tests = NULL;
    item **items = NULL;
    size_t count = 0;
    char folder[] = FIXTURES, *given[] = {folder};
    bool good = dppo_fixture_files(1, given, &files) == DPPO_OK;
    if (good) open_files = calloc(files.count, sizeof(dppo_case_file *));
    for (size_t i = 0; good && i < files.count; i++)
        good = open_files && dppo_case_file_open(files.paths[i], &open_files[i]) == DPPO_OK &&
               add_file(open_files[i], &tests, &items, &count);
    if (!good) (void)fprintf(stderr, "%s\n", dppo_message());
    int failed = good && count > 0 ? _cmocka_run_group_tests("parity", tests, count, NULL, NULL) : 1;
    for (size_t i = 0; i < count; i++)
        free(items[i]);
    for (size_t i = 0; open_files && i < files.count; i++)
        dppo_case_file_close(open_files[i]);
    free(items);
    free(tests);
    free(open_files);
    dppo_file_list_free(&files);
    return failed ? 1 : 0;
}
