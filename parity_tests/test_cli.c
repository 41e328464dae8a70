/* `dppo parity` as scripts see it: exit status, last line, CSV. */
#include "base/text.h"
#include "parity/case.h"
#include "parity/results.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/dppo_test_cli_XXXXXX";

static const char *in_folder(const char *name) {
    static char path[4][256];
    static int turn;
    turn = (turn + 1) % 4;
    (void)snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

/* Runs the command, keeps the last line of its standard output; returns the exit status. */
static int run(const char *arguments, char last[256]) {
    char command[4096], line[4096];
    (void)snprintf(command, sizeof command, "%s parity %s 2>%s", DPPO_COMMAND, arguments,
                   in_folder("stderr"));
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    last[0] = '\0';
    while (fgets(line, sizeof line, pipe))
        (void)snprintf(last, 256, "%.*s", (int)strcspn(line, "\n"), line);
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool file_says(const char *name, const char *what) {
    char *bytes;
    assert_int_equal(dppo_read_file(in_folder(name), &bytes, NULL), DPPO_OK);
    bool found = strstr(bytes, what) != NULL;
    free(bytes);
    return found;
}

/* The advantages of one step of one environment: reward 1 + 0.5 * 2 - value 0.25 = 1.75. */
static void write_case(const char *name, const char *function, double recorded) {
    static const int64_t shape[] = {1, 1};
    dppo_case c = {.function = strdup(function), .name = strdup("one")};
    dppo_case_writer *writer;
    assert_int_equal(dppo_config_parse_json("{\"gamma\": 0.5, \"gae_lambda\": 0.9}", name, &c.args), DPPO_OK);
    *dppo_f64(dppo_named_add(&c.in, "reward", DPPO_F64, 2, shape)) = 1;
    *dppo_f64(dppo_named_add(&c.in, "value", DPPO_F64, 2, shape)) = 0.25;
    *dppo_f64(dppo_named_add(&c.in, "terminated", DPPO_F64, 2, shape)) = 0;
    *dppo_f64(dppo_named_add(&c.in, "next_value", DPPO_F64, 1, shape)) = 2;
    *dppo_f64(dppo_named_add(&c.out, "advantages", DPPO_F64, 2, shape)) = recorded;
    *dppo_f64(dppo_named_add(&c.out, "returns", DPPO_F64, 2, shape)) = 2;
    assert_int_equal(dppo_case_writer_open(in_folder(name), "test", 0, NULL, true, &writer), DPPO_OK);
    assert_int_equal(dppo_case_writer_add(writer, &c), DPPO_OK);
    assert_int_equal(dppo_case_writer_finish(writer), DPPO_OK);
    dppo_case_free(&c);
}

/* torch.clamp of [0, 1] between -1 and 1, as a recording may misspell it. */
static void write_clamp(const char *name, const char *args, const char *init, const char *method,
                        const char *input) {
    static const int64_t shape[] = {2};
    dppo_case c = {.function = strdup("torch.clamp"), .name = strdup("one")};
    dppo_case_writer *writer;
    assert_int_equal(dppo_config_parse_json(args, name, &c.args), DPPO_OK);
    if (init) assert_int_equal(dppo_config_parse_json(init, name, &c.init), DPPO_OK);
    if (method) c.method = strdup(method);
    dppo_f32(dppo_named_add(&c.in, "input", DPPO_F32, 1, shape))[1] = 1;
    if (input) assert_non_null(dppo_named_add(&c.in, input, DPPO_F32, 1, shape));
    dppo_f32(dppo_named_add(&c.out, "result", DPPO_F32, 1, shape))[1] = 1;
    assert_int_equal(dppo_case_writer_open(in_folder(name), "test", 0, NULL, true, &writer), DPPO_OK);
    assert_int_equal(dppo_case_writer_add(writer, &c), DPPO_OK);
    assert_int_equal(dppo_case_writer_finish(writer), DPPO_OK);
    dppo_case_free(&c);
}

static int make_files(void **state) {
    (void)state;
    assert_non_null(mkdtemp(folder));
    write_case("good.h5", "gae", 1.75);
    write_case("wrong.h5", "gae", 1.76);
    write_case("unknown.h5", "no.such.function", 0);
    FILE *text = fopen(in_folder("text.h5"), "w");
    assert_non_null(text);
    (void)fputs("not HDF5", text);
    return fclose(text);
}

static int remove_files(void **state) {
    char command[256];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void expect(const char *files, int status, const char *last_line) {
    char arguments[1024], last[256];
    (void)snprintf(arguments, sizeof arguments, "run --csv %s %s", in_folder("out.csv"), files);
    int found = run(arguments, last);
    assert_string_equal(last, last_line);
    assert_int_equal(found, status);
    assert_true(file_says("out.csv", DPPO_CSV_HEADER "\n"));
}

static void parity_exits_0(void **state) {
    (void)state;
    expect(in_folder("good.h5"), 0, "1 passed, 0 failed, 0 skipped");
    assert_true(file_says("out.csv", "gae,one,out/advantages,c_record,passed,0,0,0,0,1,,\"(0, 0)\""));
}

static void mismatch_exits_1(void **state) {
    (void)state;
    expect(in_folder("wrong.h5"), 1, "0 passed, 1 failed, 0 skipped");
    assert_true(file_says("out.csv", "gae,one,out/advantages,c_record,failed,0.01,"));
    assert_true(file_says("out.csv", "gae,one,out/returns,c_record,passed,0,"));
}

static void unreadable_file_exits_2_and_the_others_run(void **state) {
    char files[1024], last[256];
    (void)state;
    (void)snprintf(files, sizeof files, "%s %s", in_folder("text.h5"), in_folder("good.h5"));
    expect(files, 2, "1 passed, 0 failed, 0 skipped");
    assert_true(file_says("stderr", "text.h5"));
    assert_int_equal(run("run /no/such/file.h5", last), 2);
    assert_true(file_says("stderr", "/no/such/file.h5"));
    assert_int_equal(run("run --no-such-option", last), 2);
    assert_int_equal(run("walk", last), 2);
}

static void unknown_function_exits_3(void **state) {
    char files[1024];
    (void)state;
    expect(in_folder("unknown.h5"), 3, "0 passed, 0 failed, 1 skipped");
    assert_true(file_says("out.csv", "no.such.function,one,,c_record,skipped,,,,,,,\n"));
    (void)snprintf(files, sizeof files, "%s %s", in_folder("unknown.h5"), in_folder("wrong.h5"));
    expect(files, 1, "0 passed, 1 failed, 1 skipped");
}

/* A case that cannot be read has its row; a table that cannot be written costs its file only. */
static void nothing_is_lost_from_the_tables(void **state) {
    char arguments[1024], last[256];
    (void)state;
    write_clamp("strange.h5", "{\"min\": 0}", NULL, NULL, NULL);
    hid_t file = H5Fopen(in_folder("strange.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t group = H5Gcreate2(file, "torch.clamp/one/inn", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(group >= 0);
    (void)H5Gclose(group);
    (void)H5Fclose(file);
    expect(in_folder("strange.h5"), 2, "0 passed, 0 failed, 0 skipped");
    assert_true(file_says("out.csv", "\ntorch.clamp,one,,c_"));
    assert_true(file_says("out.csv", ",failed,,,,,,,\n"));
    (void)snprintf(arguments, sizeof arguments, "run --csv /no/such/folder.csv %s", in_folder("good.h5"));
    assert_int_equal(run(arguments, last), 2);
    assert_string_equal(last, "1 passed, 0 failed, 0 skipped");
    assert_true(file_says("stderr", "/no/such/folder.csv"));
}

/* A name that no one asks for fails the case on each side and is named: it could change nothing, silently. */
static void misspelt_names_fail(void **state) {
    static const char good[] = "{\"min\": -1, \"max\": 1}";
    static const struct {
        const char *args, *init, *method, *input, *named;
    } cases[] = {
        {good, NULL, NULL, NULL, NULL},
        {"{\"min\": -1, \"max\": 1, \"maxx\": 0}", NULL, NULL, NULL, "args/maxx: "},
        {good, "{\"inplace\": {\"deep\": 1}}", NULL, NULL, "init/inplace: "},
        {good, NULL, "clump", NULL, "method: clump "},
        {good, NULL, NULL, "other", "in/other: "},
        {"{\"min\": \"-1\", \"max\": 1}", NULL, NULL, NULL, "min: must be a float"},
    };
    static const char *const sides[] = {"c", "torch"};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const char *side = sides[i % 2], *named = cases[i / 2].named;
        char arguments[1024], last[256];
        write_clamp("clamp.h5", cases[i / 2].args, cases[i / 2].init, cases[i / 2].method,
                    cases[i / 2].input);
        (void)snprintf(arguments, sizeof arguments, "run --side %s --junit %s %s", side,
                       in_folder("clamp.xml"), in_folder("clamp.h5"));
        int status = run(arguments, last);
        if (i % 2 == 1 && file_says("stderr", "no libtorch")) return;
        assert_int_equal(status, named ? 1 : 0);
        if (named) assert_true(file_says("clamp.xml", named));
    }
}

static void patterns_select(void **state) {
    char arguments[1024], last[256];
    (void)state;
    (void)snprintf(arguments, sizeof arguments, "run -k gae/o %s %s", in_folder("good.h5"),
                   in_folder("unknown.h5"));
    assert_int_equal(run(arguments, last), 0);
    (void)snprintf(arguments, sizeof arguments, "run -k nothing %s", in_folder("good.h5"));
    assert_int_equal(run(arguments, last), 3); /* nothing ran, nothing is proved */
}

static void help_is_everywhere(void **state) {
    static const char *const verbs[] = {"--help",      "list --help",   "run --help",
                                        "show --help", "record --help", "bisect --help"};
    char last[256];
    (void)state;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        assert_int_equal(run(verbs[i], last), 0);
}

static void show_and_bisect_find_the_place(void **state) {
    char arguments[1024], last[256];
    (void)state;
    (void)snprintf(arguments, sizeof arguments, "show gae/one %s", in_folder("good.h5"));
    assert_int_equal(run(arguments, last), 0);
    (void)snprintf(arguments, sizeof arguments, "bisect gae/one %s | grep c_record", in_folder("wrong.h5"));
    (void)run(arguments, last);
    assert_non_null(strstr(last, "out/advantages, first at (0, 0)"));
}

static void reports_are_written(void **state) {
    char arguments[1024], last[256];
    (void)state;
    (void)snprintf(arguments, sizeof arguments, "run %s --junit %s --markdown %s --report %s",
                   in_folder("wrong.h5"), in_folder("junit.xml"), in_folder("summary.md"),
                   in_folder("report"));
    assert_int_equal(run(arguments, last), 1);
    assert_true(file_says("junit.xml", "failures=\"1\""));
    assert_true(file_says("junit.xml", "max abs 0.01"));
    assert_true(file_says("summary.md", "**gae/one**"));
    assert_true(file_says("report/index.html", "gae"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parity_exits_0),
        cmocka_unit_test(mismatch_exits_1),
        cmocka_unit_test(unreadable_file_exits_2_and_the_others_run),
        cmocka_unit_test(unknown_function_exits_3),
        cmocka_unit_test(misspelt_names_fail),
        cmocka_unit_test(nothing_is_lost_from_the_tables),
        cmocka_unit_test(patterns_select),
        cmocka_unit_test(help_is_everywhere),
        cmocka_unit_test(show_and_bisect_find_the_place),
        cmocka_unit_test(reports_are_written),
    };
    return cmocka_run_group_tests_name("cli", tests, make_files, remove_files);
}
