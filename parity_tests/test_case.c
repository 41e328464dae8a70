/* Case files: what is written comes back, and what is not of the schema is refused with its name. */
#include "parity/case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *path(void) {
    static char name[256];
    (void)snprintf(name, sizeof name, "test_case_%ld.h5", (long)getpid());
    return name;
}

static void write_one(void) {
    static const int64_t shape[] = {2, 3};
    dppo_case_writer *writer;
    dppo_case c = {.has_seed = true, .manual_seed = 7, .has_rtol = true, .rtol = 1e-3, .has_draws = true};
    c.function = strdup("torch.clamp");
    c.name = strdup("bounds");
    c.reason = strdup("a test");
    assert_int_equal(dppo_config_parse_json("{\"min\": -1, \"max\": 0.5}", "test", &c.args), DPPO_OK);
    dppo_tensor *input = dppo_named_add(&c.in, "cond/state", DPPO_F32, 2, shape);
    for (int i = 0; i < 6; i++)
        dppo_f32(input)[i] = (float)i - 2.5F;
    assert_non_null(dppo_named_add(&c.draws, "0", DPPO_F64, 0, NULL));
    c.draws.entries[0].kind = strdup("randn");
    assert_non_null(dppo_named_add(&c.out, "result", DPPO_BOOL, 1, shape));
    assert_int_equal(dppo_case_writer_open(path(), "a test", 3, NULL, true, &writer), DPPO_OK);
    assert_int_equal(dppo_case_writer_add(writer, &c), DPPO_OK);
    assert_int_equal(dppo_case_writer_add(writer, &c), DPPO_INVALID); /* the same name twice */
    assert_int_equal(dppo_case_writer_finish(writer), DPPO_OK);
    dppo_case_free(&c);
}

static void comes_back(void **state) {
    (void)state;
    dppo_case_file *file;
    dppo_case c;
    double max;
    write_one();
    assert_int_equal(dppo_case_file_open(path(), &file), DPPO_OK);
    assert_int_equal(dppo_case_file_count(file), 1);
    assert_int_equal(dppo_case_file_seed(file), 3);
    assert_string_equal(dppo_case_file_name(file, 0), "torch.clamp/bounds");
    assert_int_equal(dppo_case_load(file, 0, &c), DPPO_OK);
    assert_string_equal(c.reason, "a test");
    assert_true(c.has_seed && c.manual_seed == 7 && c.has_rtol && c.rtol == 1e-3 && !c.has_atol);
    assert_int_equal(dppo_config_float(c.args, "max", &max), DPPO_OK);
    assert_true(max == 0.5);
    assert_true(dppo_tensor_at(dppo_named_get(&c.in, "cond/state"), 5) == 2.5);
    assert_int_equal(dppo_named_get(&c.draws, "0")->dtype, DPPO_F64);
    assert_string_equal(c.draws.entries[0].kind, "randn");
    assert_int_equal(dppo_named_get(&c.out, "result")->dtype, DPPO_BOOL);
    dppo_case_free(&c);
    dppo_case_file_close(file);
}

static void nothing_is_overwritten_silently(void **state) {
    (void)state;
    dppo_case_writer *writer;
    write_one();
    assert_int_equal(dppo_case_writer_open(path(), "other", 1, NULL, false, &writer), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), path()));
}

/* Opens and loads the first case; the message must name the file and `key`. */
static void refused(const char *key) {
    dppo_case_file *file;
    dppo_case c;
    dppo_status status = dppo_case_file_open(path(), &file);
    if (status == DPPO_OK) {
        status = dppo_case_load(file, 0, &c);
        dppo_case_free(&c);
    }
    dppo_case_file_close(file);
    assert_int_equal(status, DPPO_FORMAT);
    assert_non_null(strstr(dppo_message(), path()));
    assert_non_null(strstr(dppo_message(), key));
}

static hid_t reopen(void) {
    write_one();
    hid_t file = H5Fopen(path(), H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static void put_attribute(hid_t file, const char *object, const char *name, hid_t type, const void *value) {
    hid_t space = H5Screate(H5S_SCALAR), where = H5Oopen(file, object, H5P_DEFAULT);
    hid_t attribute = H5Acreate2(where, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, value) >= 0);
    (void)H5Aclose(attribute);
    (void)H5Oclose(where);
    (void)H5Sclose(space);
}

static void put_set(hid_t file, const char *name, hid_t type) {
    hsize_t dims[] = {2};
    hid_t space = H5Screate_simple(1, dims, NULL), links = H5Pcreate(H5P_LINK_CREATE);
    (void)H5Pset_create_intermediate_group(links, 1);
    hid_t set = H5Dcreate2(file, name, type, space, links, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(set >= 0);
    (void)H5Dclose(set);
    (void)H5Pclose(links);
    (void)H5Sclose(space);
}

static void unknown_names_are_refused(void **state) {
    (void)state;
    double number = 1;
    hid_t file = reopen();
    put_set(file, "torch.clamp/bounds/inputs/x", H5T_IEEE_F32LE);
    (void)H5Fclose(file);
    refused("inputs");
    file = reopen();
    put_attribute(file, "torch.clamp/bounds", "tolerance", H5T_NATIVE_DOUBLE, &number);
    (void)H5Fclose(file);
    refused("tolerance");
}

static void wrong_types_are_refused(void **state) {
    (void)state;
    hid_t file = reopen();
    put_set(file, "torch.clamp/bounds/in/half", H5T_STD_I32LE);
    (void)H5Fclose(file);
    refused("in/half");
    file = reopen();
    put_set(file, "torch.clamp/bounds/draws/1", H5T_IEEE_F32LE); /* a draw without its kind */
    (void)H5Fclose(file);
    refused("draws/1");
}

static void nan_tolerance_is_refused(void **state) {
    (void)state;
    double number = 0.0 / 0.0;
    hid_t file = reopen();
    put_attribute(file, "torch.clamp/bounds", "atol", H5T_NATIVE_DOUBLE, &number);
    (void)H5Fclose(file);
    refused("atol");
}

static void truncated_and_foreign_files_are_refused(void **state) {
    (void)state;
    write_one();
    assert_int_equal(truncate(path(), 1500), 0);
    refused("truncated");
    FILE *text = fopen(path(), "w");
    assert_non_null(text);
    (void)fputs("not HDF5", text);
    (void)fclose(text);
    refused("not HDF5");
    hid_t file = H5Fcreate(path(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    (void)H5Fclose(file);
    refused("schema");
}

static void shapes_are_only_claims(void **state) {
    (void)state;
    hid_t file = reopen();
    hsize_t dims[] = {(hsize_t)1 << 40}, chunk[] = {1024};
    hid_t space = H5Screate_simple(1, dims, NULL), list = H5Pcreate(H5P_DATASET_CREATE);
    (void)H5Pset_chunk(list, 1, chunk);
    hid_t set =
        H5Dcreate2(file, "torch.clamp/bounds/in/huge", H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    (void)H5Dclose(set);
    (void)H5Pclose(list);
    (void)H5Sclose(space);
    (void)H5Fclose(file);
    refused("in/huge");
}

static int remove_file(void **state) {
    (void)state;
    (void)unlink(path());
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(comes_back, remove_file),
        cmocka_unit_test_teardown(nothing_is_overwritten_silently, remove_file),
        cmocka_unit_test_teardown(unknown_names_are_refused, remove_file),
        cmocka_unit_test_teardown(wrong_types_are_refused, remove_file),
        cmocka_unit_test_teardown(nan_tolerance_is_refused, remove_file),
        cmocka_unit_test_teardown(truncated_and_foreign_files_are_refused, remove_file),
        cmocka_unit_test_teardown(shapes_are_only_claims, remove_file),
    };
    return cmocka_run_group_tests_name("case", tests, NULL, NULL);
}
