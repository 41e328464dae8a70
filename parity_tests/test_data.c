/* Files: what is written comes back, what is damaged or hostile is refused with its name, and an old file
 * survives a failed write. */
#include "data/dataset.h"
#include "envs/scaling.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>
#include <hdf5.h>
#include <zip.h>

static char folder[] = "/tmp/dppo-test-data-XXXXXX";

static const char *in_folder(const char *name) {
    static char paths[8][1024];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void assert_ok(dppo_status status) {
    if (status != DPPO_OK) fail_msg("%s: %s", dppo_status_name(status), dppo_message());
}

/* Refused, in one line that says where and what. */
static void assert_refused(dppo_status status, const char *where, const char *what) {
    assert_int_not_equal(status, DPPO_OK);
    if (!strstr(dppo_message(), where) || !strstr(dppo_message(), what))
        fail_msg("'%s' and '%s' are not in '%s'", where, what, dppo_message());
    assert_null(strchr(dppo_message(), '\n'));
}

static void test_messages_name_a_file_once(void **unused) {
    (void)unused;
    (void)dppo_fail(DPPO_IO, "a.h5: torn");
    assert_int_equal(dppo_fail_in(DPPO_IO, "%s", "a.h5"), DPPO_IO);
    assert_string_equal(dppo_message(), "a.h5: torn");
    (void)dppo_fail_in(DPPO_IO, "%s", "a.h");
    assert_string_equal(dppo_message(), "a.h: a.h5: torn");
}

static int set_up(void **unused) {
    (void)unused;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **unused) {
    (void)unused;
    DIR *listing = opendir(folder);
    for (struct dirent *entry; listing && (entry = readdir(listing));)
        if (entry->d_name[0] != '.') (void)unlink(in_folder(entry->d_name));
    if (listing) (void)closedir(listing);
    return rmdir(folder);
}

static size_t files_in_folder(void) {
    size_t count = 0;
    DIR *listing = opendir(folder);
    assert_non_null(listing);
    for (struct dirent *entry; (entry = readdir(listing));)
        count += entry->d_name[0] != '.';
    (void)closedir(listing);
    return count;
}

/* -- every dtype, rank 0 to 3, an empty one, values at the edges -- */
static dppo_named sample(void) {
    dppo_named map = {0};
    float *f = dppo_f32(dppo_named_add(&map, "net/weight", DPPO_F32, 2, (int64_t[]){40, 50}));
    for (int i = 0; i < 2000; i++)
        f[i] = (float)sin(i) * 1e-30F;
    double *d = dppo_f64(dppo_named_add(&map, "net/deep/moments", DPPO_F64, 3, (int64_t[]){2, 1, 3}));
    const double moments[] = {-0.0, 5e-324, 1.7976931348623157e308, (double)INFINITY, (double)NAN, 1.0 / 3.0};
    memcpy(d, moments, sizeof moments);
    int64_t *i = dppo_i64(dppo_named_add(&map, "steps", DPPO_I64, 1, (int64_t[]){3}));
    i[0] = INT64_MIN;
    i[1] = INT64_MAX;
    uint8_t *b = dppo_bool(dppo_named_add(&map, "flags", DPPO_BOOL, 1, (int64_t[]){5}));
    b[1] = b[4] = 1;
    (void)dppo_named_add(&map, "empty", DPPO_F32, 2, (int64_t[]){0, 4});
    assert_ok(dppo_named_put_f64(&map, "scalar", 0.1));
    return map;
}

/* Same names, dtypes, shapes and bits; the order may differ (HDF5 lists by name). */
static void assert_same(const dppo_named *a, const dppo_named *b) {
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const dppo_tensor *x = a->entries[i].tensor, *y = dppo_named_get(b, a->entries[i].name);
        if (!y) fail_msg("%s is missing", a->entries[i].name);
        assert_int_equal(x->dtype, y->dtype);
        assert_true(dppo_same_shape(x, y));
        assert_memory_equal(x->data, y->data, (size_t)dppo_numel(x) * dppo_dtype_size(x->dtype));
    }
}

static void test_hdf5_round_trip(void **unused) {
    (void)unused;
    const char *path = in_folder("a.h5"), *attributes[] = {"source", "a test", "empty", "", NULL};
    dppo_named map = sample(), again = {0}, part = {0};
    char *value;
    assert_ok(dppo_hdf5_write(path, &map, attributes));
    assert_ok(dppo_hdf5_read(path, NULL, &again));
    assert_same(&map, &again);
    assert_ok(dppo_hdf5_read(path, "net", &part));
    assert_int_equal(part.count, 2);
    assert_non_null(dppo_named_get(&part, "deep/moments"));
    assert_ok(dppo_hdf5_attribute(path, "source", &value));
    assert_string_equal(value, "a test");
    free(value);
    assert_int_equal(dppo_hdf5_attribute(path, "none", &value), DPPO_MISSING);
    assert_refused(dppo_hdf5_read(path, "nowhere", &part), path, "nowhere");
    assert_refused(dppo_hdf5_read(in_folder("none.h5"), NULL, &part), "none.h5", "No such file");
    dppo_named_free(&map);
    dppo_named_free(&again);
    dppo_named_free(&part);
}

/* Equal contents give equal bytes, so that a manifest of digests can be kept. */
static void test_files_are_reproducible(void **unused) {
    (void)unused;
    dppo_named map = sample();
    const char *paths[] = {in_folder("r1.h5"), in_folder("r2.h5"), in_folder("r1.npz"), in_folder("r2.npz")};
    assert_ok(dppo_hdf5_write(paths[0], &map, NULL));
    assert_ok(dppo_npz_write(paths[2], &map, true));
    (void)usleep(1100000); /* time stamps in these formats count seconds */
    assert_ok(dppo_hdf5_write(paths[1], &map, NULL));
    assert_ok(dppo_npz_write(paths[3], &map, true));
    for (int i = 0; i < 4; i += 2) {
        char *a, *b;
        size_t length_a, length_b;
        assert_ok(dppo_read_file(paths[i], &a, &length_a));
        assert_ok(dppo_read_file(paths[i + 1], &b, &length_b));
        assert_int_equal(length_a, length_b);
        assert_memory_equal(a, b, length_a);
        free(a);
        free(b);
    }
    dppo_named_free(&map);
}

/* Types that others write: small and unsigned integers, bytes, h5py's bool, strings (passed over). */
static void test_hdf5_foreign_types(void **unused) {
    (void)unused;
    const char *path = in_folder("foreign.h5");
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hsize_t size = 2;
    hid_t space = H5Screate_simple(1, &size, NULL), string = H5Tcopy(H5T_C_S1);
    const int32_t values[] = {-1, 1};
    static const struct {
        const char *name;
        int32_t first, second;
    } types[] = {{"i1", -1, 1}, {"u2", 0, 1}, {"flags", 0, 1}, {"bytes", 200, 1}, {"u8", 0, 1}};
    const hid_t ids[] = {H5T_STD_I8BE, H5T_STD_U16LE, H5T_STD_U8LE, H5T_STD_U8LE, H5T_STD_U64LE};
    for (size_t i = 0; i < 5; i++) {
        const int32_t v[] = {types[i].first, types[i].second};
        hid_t d = H5Dcreate2(file, types[i].name, ids[i], space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, v) >= 0);
        (void)H5Dclose(d);
    }
    hid_t half = H5Tcopy(H5T_IEEE_F32BE);
    hid_t d = H5Dcreate2(file, "big_endian", half, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(d, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    (void)H5Dclose(d);
    (void)H5Dclose(H5Dcreate2(file, "text", string, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    (void)H5Tclose(half);
    (void)H5Tclose(string);
    (void)H5Sclose(space);
    (void)H5Fclose(file);
    dppo_named map = {0};
    assert_ok(dppo_hdf5_read(path, NULL, &map));
    assert_int_equal(map.count, 6);
    assert_int_equal(dppo_named_get(&map, "i1")->dtype, DPPO_I64);
    assert_int_equal(dppo_i64(dppo_named_get(&map, "i1"))[0], -1);
    assert_int_equal(dppo_named_get(&map, "u2")->dtype, DPPO_I64);
    assert_int_equal(dppo_named_get(&map, "flags")->dtype, DPPO_BOOL);
    assert_int_equal(dppo_named_get(&map, "bytes")->dtype, DPPO_I64);
    assert_int_equal(dppo_i64(dppo_named_get(&map, "bytes"))[0], 200);
    assert_true(dppo_f32(dppo_named_get(&map, "big_endian"))[0] == -1.0F);
    dppo_named_free(&map);
}

/* A few bytes that claim eight gigabytes, a link to another file, a cycle of groups, a compound type. */
static void test_hdf5_hostile(void **unused) {
    (void)unused;
    for (int i = 0; i < 4; i++) {
        static const char *const what[] = {"too large", "not followed", "nested too deeply",
                                           "neither numbers"};
        static const char *const where[] = {"huge", "away", "self", "pair"};
        const char *path = in_folder("hostile.h5");
        hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        hsize_t size = i == 0 ? (hsize_t)1 << 31 : 2, chunk = 1024;
        hid_t space = H5Screate_simple(1, &size, NULL), plist = H5Pcreate(H5P_DATASET_CREATE);
        hid_t pair = H5Tcreate(H5T_COMPOUND, 8);
        (void)H5Pset_chunk(plist, 1, &chunk);
        (void)H5Tinsert(pair, "x", 0, H5T_NATIVE_FLOAT);
        if (i == 0)
            (void)H5Dclose(
                H5Dcreate2(file, "huge", H5T_NATIVE_FLOAT, space, H5P_DEFAULT, plist, H5P_DEFAULT));
        if (i == 1) (void)H5Lcreate_external("/etc/passwd", "/", file, "away", H5P_DEFAULT, H5P_DEFAULT);
        if (i == 2) (void)H5Lcreate_hard(file, "/", file, "self", H5P_DEFAULT, H5P_DEFAULT);
        if (i == 3)
            (void)H5Dclose(H5Dcreate2(file, "pair", pair, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        (void)H5Tclose(pair);
        (void)H5Pclose(plist);
        (void)H5Sclose(space);
        (void)H5Fclose(file);
        dppo_named map = {0};
        assert_refused(dppo_hdf5_read(path, NULL, &map), where[i], what[i]);
        dppo_named_free(&map);
    }
}

static void test_npz_round_trip(void **unused) {
    (void)unused;
    for (int compressed = 0; compressed < 2; compressed++) {
        const char *path = in_folder("a.npz");
        dppo_named map = sample(), again = {0};
        assert_ok(dppo_npz_write(path, &map, compressed));
        assert_ok(dppo_npz_read(path, &again));
        assert_same(&map, &again);
        dppo_named_free(&map);
        dppo_named_free(&again);
    }
    dppo_named none = {0};
    assert_refused(dppo_npz_write(in_folder("none.npz"), &none, true), "none.npz", "no arrays");
    assert_refused(dppo_npz_read(in_folder("none.npz"), &none), "none.npz", "");
}

/* Headers as numpy writes them, and ones it never would. */
static void test_npz_headers(void **unused) {
    (void)unused;
    static const struct {
        const char *header, *data;
        size_t length;
        const char *refusal; /* NULL: accepted */
    } cases[] = {
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2,), }", "\x01\x00\xfe\xff", 4, NULL},
        {"{'shape': (2, ), 'descr': '<i2', 'fortran_order': True}", "\x01\x00\xfe\xff", 4, NULL},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (3,), }", "\x01\x00\xfe\xff", 4,
         "4 bytes of data for shape (3"},
        {"{'descr': '<i2', 'fortran_order': True, 'shape': (1, 2), }", "\x01\x00\xfe\xff", 4, "Fortran"},
        {"{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }", "\x01\x00\xfe\xff", 4, "type '>i2'"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", "\x01\x00\xfe\xff", 4, "type '|O'"},
        {"{'descr': '<i2', 'fortran_order': False}", "\x01\x00\xfe\xff", 4, "makes no sense"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (2", "\x01\x00\xfe\xff", 4, "makes no sense"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (-2,), }", "\x01\x00\xfe\xff", 4,
         "makes no sense"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (9223372036854775807, 4), }", "\x01\x00\xfe\xff",
         4, "bytes"},
        {"{'descr': '<i2', 'fortran_order': False, 'shape': (4611686018427387905, 2), }", "\x01\x00\xfe\xff",
         4, "bytes"},
        {"{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }", "\x01\x00\x02\x00", 4, "as a bool"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = in_folder("header.npz");
        dppo_text text = {0};
        size_t length = strlen(cases[i].header) + 1;
        const char lead[] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)length, 0};
        dppo_text_append(&text, lead, sizeof lead);
        dppo_text_add(&text, cases[i].header);
        dppo_text_add(&text, "\n");
        dppo_text_append(&text, cases[i].data, cases[i].length);
        zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
        (void)zip_file_add(archive, "x.npy", zip_source_buffer(archive, text.bytes, text.length, 0), 0);
        assert_int_equal(zip_close(archive), 0);
        dppo_text_free(&text);
        dppo_named map = {0};
        dppo_status status = dppo_npz_read(path, &map);
        if (cases[i].refusal) {
            assert_refused(status, "header.npz: x", cases[i].refusal);
        } else {
            assert_ok(status);
            assert_int_equal(dppo_i64(dppo_named_get(&map, "x"))[0], 1);
            assert_int_equal(dppo_i64(dppo_named_get(&map, "x"))[1], -2);
        }
        dppo_named_free(&map);
    }
}

/* Whatever is cut off or flipped, a reader says so or reads what the file still says; it neither crashes nor
 * leaks (the sanitizer build runs this test too). Truncation must always be noticed. */
static void test_damaged_files(void **unused) {
    (void)unused;
    static dppo_status (*const readers[])(const char *, dppo_named *) = {dppo_npz_read, dppo_checkpoint_read,
                                                                         dppo_pt_read, dppo_pt_read};
    const char *const paths[] = {in_folder("d.npz"), in_folder("d.ckpt"), FIXTURES "/data/checkpoint.pt",
                                 FIXTURES "/data/checkpoint_legacy.pt"};
    dppo_named map = sample();
    assert_ok(dppo_npz_write(paths[0], &map, true));
    assert_ok(dppo_checkpoint_write(paths[1], &map, "a: 1\n"));
    dppo_named_free(&map);
    const char *damaged = in_folder("damaged");
    for (size_t k = 0; k < sizeof paths / sizeof *paths; k++) {
        char *bytes;
        size_t length;
        assert_ok(dppo_read_file(paths[k], &bytes, &length));
        for (size_t i = 0; i < 300; i++) {
            bool cut = i % 3 == 0;
            size_t at = length * i / 300;
            dppo_text text = {0};
            dppo_text_append(&text, bytes, cut ? at : length);
            if (!cut) text.bytes[at] = (char)(text.bytes[at] ^ (1 << i % 8));
            assert_ok(dppo_text_save(&text, damaged));
            dppo_text_free(&text);
            dppo_status status = readers[k](damaged, &map);
            if (cut) assert_refused(status, "damaged", "");
            dppo_named_free(&map);
        }
        free(bytes);
    }
}

static void check_pt_values(const char *path) {
    dppo_named map = {0};
    assert_ok(dppo_pt_read(path, &map));
    static const float weight[] = {0.5F, -1.25F, 3, 4, 5, 6}, transposed[] = {0.5F, 4, -1.25F, 5, 3, 6};
    static const float ema[] = {0.5F, 3, 4, 6}, bias[] = {5, 6};
    assert_memory_equal(dppo_f32(dppo_named_get(&map, "model/network.weight")), weight, sizeof weight);
    assert_memory_equal(dppo_f32(dppo_named_get(&map, "model/network.transposed")), transposed,
                        sizeof transposed);
    assert_memory_equal(dppo_f32(dppo_named_get(&map, "model/network.bias")), bias, sizeof bias);
    assert_memory_equal(dppo_f32(dppo_named_get(&map, "ema/network.weight")), ema, sizeof ema);
    assert_true(*dppo_f64(dppo_named_get(&map, "model/network.scalar")) == 1e-300);
    assert_int_equal(dppo_named_get(&map, "model/network.empty")->shape[1], 3);
    static const struct {
        const char *name;
        int64_t index, value;
    } integers[] = {{"epoch", 0, 7},
                    {"model/steps", 0, -((int64_t)1 << 62)},
                    {"model/steps", 1, 7},
                    {"model/int", 0, -5},
                    {"model/int", 1, 2147483647},
                    {"model/short", 0, -300},
                    {"model/char", 0, -128},
                    {"model/byte", 1, 255},
                    {"list/0", 0, 1},
                    {"list/1/0", 0, -2},
                    {"list/1/1", 0, 70000},
                    {"list/2", 0, (int64_t)1 << 40}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        dppo_tensor *tensor;
        assert_ok(dppo_named_require(&map, integers[i].name, DPPO_I64, &tensor));
        assert_true(dppo_i64(tensor)[integers[i].index] == integers[i].value);
    }
    assert_memory_equal(dppo_bool(dppo_named_get(&map, "model/bool")), "\1\0\1", 3);
    const float *half = dppo_f32(dppo_named_get(&map, "model/half"));
    assert_true(half[0] == 1.5F && half[1] == -0x1p-24F && isinf(half[2]) && half[2] > 0);
    const float *bfloat = dppo_f32(dppo_named_get(&map, "model/bfloat16"));
    assert_true(bfloat[0] == 1.0F && bfloat[1] == -10.0F);
    assert_true(*dppo_f64(dppo_named_get(&map, "lr")) == 1e-3);
    assert_int_equal(*dppo_bool(dppo_named_get(&map, "on")), 1);
    assert_null(dppo_named_get(&map, "note"));
    assert_null(dppo_named_get(&map, "off"));
    dppo_named_free(&map);
}

/* The same values in both formats; make_pt.py tells who wrote them. */
static void test_pt_values(void **unused) {
    (void)unused;
    check_pt_values(FIXTURES "/data/checkpoint.pt");
    check_pt_values(FIXTURES "/data/checkpoint_legacy.pt");
}

/* A zip archive with one data.pkl and one storage "0" of 16 bytes. */
static const char *pickled(const void *pickle, size_t length) {
    const char *path = in_folder("made.pt");
    zip_t *archive = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, NULL);
    (void)zip_file_add(archive, "x/data.pkl", zip_source_buffer(archive, pickle, length, 0), 0);
    (void)zip_file_add(archive, "x/data/0", zip_source_buffer(archive, "0123456789abcdef", 16, 0), 0);
    for (zip_uint64_t i = 0; i < 2; i++)
        (void)zip_set_file_compression(archive, i, ZIP_CM_STORE, 0);
    assert_int_equal(zip_close(archive), 0);
    return path;
}

/* {"t": tensor of n float elements in storage "0", at offset, with one shape and stride} */
#define STORED(n)                                                                                            \
    "\x80\2}X\1\0\0\0tctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"  \
    "0X\3\0\0\0cpuK" n "tQ"
#define VIEW(offset, shape, stride) "K" offset "K" shape "\x85K" stride "\x85\x89NtRs."

static void test_pt_refused(void **unused) {
    (void)unused;
    dppo_named map = {0};
    assert_refused(dppo_pt_read(FIXTURES "/data/malicious.pt", &map), "malicious.pt", "posix.system");
#define PICKLE(text) text, sizeof(text) - 1
    static const struct {
        const char *pickle;
        size_t length;
        const char *refusal; /* NULL: accepted */
    } cases[] = {
        {PICKLE(STORED("\4") VIEW("\0", "\4", "\1")), NULL},
        {PICKLE(STORED("\4") VIEW("\2", "\2", "\1")), NULL},
        {PICKLE(STORED("\4") VIEW("\1", "\4", "\1")), "does not fit"},
        {PICKLE(STORED("\4") VIEW("\0", "\2", "\4")), "does not fit"},
        {PICKLE(STORED("\5") VIEW("\0", "\4", "\1")), "16 bytes for 5 elements"},
        {PICKLE(STORED("\4") "K\0\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85\x8a\10\xff\xff\xff\xff\xff\xff"
                             "\xff\x7f\x85\x89NtRs."),
         "does not fit"},
        {PICKLE(STORED("\4") "K\0\x8a\10\xff\xff\xff\xff\xff\xff\xff\x7f\x85K\0\x85\x89NtRs."),
         "much larger"},
        {PICKLE(STORED("\4") "K\0J\xff\xff\xff\xff\x85K\1\x85\x89NtRs."), "does not fit"},
        {PICKLE("\x80\4}."), "protocol 4"},
        {PICKLE("\x80\2cbuiltins\neval\n."), "builtins.eval"},
        {PICKLE("\x80\2ctorch\nload\n."), "torch.load"},
        {PICKLE("\x80\2ccollections\nOrderedDict\n."), "a class"},
        {PICKLE("\x80\2ccollections\nOrderedDict\nK\1\x85R."), "arguments"},
        {PICKLE("\x80\2K\1."), "an int, not a dict"},
        {PICKLE("\x80\2}K\1"), "truncated"},
        {PICKLE("\x80\2}X\xff\xff\xff\x7f"
                "a"),
         "truncated"},
        {PICKLE("\x80\2}h\1."), "never put"},
        {PICKLE("\x80\2."), "stack is empty"},
        {PICKLE("\x80\2}(K\1u."), "key without a value"},
        {PICKLE("\x80\2}(NNu."), "a key that is None"},
        {PICKLE("\x80\2}(K\1K\2K\1K\3u."), "appears twice"},
        {PICKLE("\x80\2}q\0(X\1\0\0\0ah\0u."), "nested too deeply"},
        {PICKLE("\x80\2}r\xff\xff\xff\x00."), "memo number"},
        {PICKLE("\x80\2"
                "0."),
         "opcode 0x30"},
        {PICKLE("\x80\2}\x81."), "opcode 0x81"},
        {PICKLE("\x80\2K\1Q."), "not a storage"},
        {PICKLE("\x80\2K\1N\x86R."), ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_status status = dppo_pt_read(pickled(cases[i].pickle, cases[i].length), &map);
        if (cases[i].refusal)
            assert_refused(status, "made.pt", cases[i].refusal);
        else
            assert_ok(status);
        dppo_named_free(&map);
    }
}

/* A legacy file: the number it begins with, then `rest`. */
static const char *legacy_file(const char *rest, size_t length) {
    dppo_text text = {0};
    const char *path = in_folder("old.pt");
    dppo_text_append(&text, "\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\x19.", 15);
    dppo_text_append(&text, rest, length);
    assert_ok(dppo_text_save(&text, path));
    dppo_text_free(&text);
    return path;
}

/* One tensor of two floats in storage "0", then the list of storages. */
#define LITTLE "\x80\2M\xe9\x03.\x80\2}X\r\0\0\0little_endian\x88s."
#define SAVED(part)                                                                                          \
    LITTLE "\x80\2}X\1\0\0\0tctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storagectorch\n"                  \
           "FloatStorage\nX\1\0\0\0"                                                                         \
           "0X\3\0\0\0cpuK\2" part "tQK\0K\2\x85K\1\x85\x89NtRs."
#define KEYS(key) "\x80\2]X\1\0\0\0" key "a."
#define TWO "\2\0\0\0\0\0\0\0"

static void test_pt_legacy_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *rest;
        size_t length;
        const char *refusal; /* NULL: accepted */
    } cases[] = {
        {PICKLE(SAVED("N") KEYS("0") TWO "01234567"), NULL},
        {PICKLE(SAVED("N") KEYS("0") TWO "0123456"), "truncated"},
        {PICKLE(SAVED("N") KEYS("0") "\3\0\0\0\0\0\0\0"
                                     "0123456789ab"),
         "two ways"},
        {PICKLE(SAVED("N") KEYS("1") TWO "01234567"), "of no tensor"},
        {PICKLE(SAVED("N") "\x80\2]."), "missing"},
        {PICKLE(SAVED("N") "\x80\2}."), "not a list"},
        {PICKLE(SAVED("K\1") KEYS("0") TWO "01234567"), "not a storage"},
        {PICKLE(SAVED("") KEYS("0") TWO "01234567"), "not a storage"},
        {PICKLE(LITTLE "\x80\2cposix\nsystem\n."), "posix.system"},
        {PICKLE("\x80\2M\xe8\x03."), "1001"},
        {PICKLE("\x80\2M\xe9\x03.\x80\2}X\r\0\0\0little_endian\x89s."), "big-endian"},
        {PICKLE(""), "truncated"},
    };
    dppo_named map = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dppo_status status = dppo_pt_read(legacy_file(cases[i].rest, cases[i].length), &map);
        if (cases[i].refusal)
            assert_refused(status, "old.pt", cases[i].refusal);
        else
            assert_ok(status);
        dppo_named_free(&map);
    }
}

/* One flipped bit among the numbers of a stored array: only the checksum can tell. */
static void test_npz_checksum(void **unused) {
    (void)unused;
    const char *path = in_folder("crc.npz");
    dppo_named map = {0};
    float *values = dppo_f32(dppo_named_add(&map, "x", DPPO_F32, 1, (int64_t[]){1000}));
    for (int i = 0; i < 1000; i++)
        values[i] = (float)i;
    assert_ok(dppo_npz_write(path, &map, false));
    char *bytes;
    size_t length;
    assert_ok(dppo_read_file(path, &bytes, &length));
    bytes[2000] = (char)(bytes[2000] ^ 1);
    dppo_text text = {0};
    dppo_text_append(&text, bytes, length);
    assert_ok(dppo_text_save(&text, path));
    dppo_named_free(&map);
    assert_refused(dppo_npz_read(path, &map), "crc.npz", "x.npy: truncated or damaged");
    dppo_named_free(&map);
    dppo_text_free(&text);
    free(bytes);
}

/* -- checkpoints -- */
static void test_checkpoint(void **unused) {
    (void)unused;
    const char *path = in_folder("state.h5");
    dppo_named map = sample(), again = {0}, pt = {0};
    char *config;
    assert_ok(dppo_checkpoint_write(path, &map, "seed: 42\n"));
    assert_ok(dppo_checkpoint_read(path, &again));
    assert_same(&map, &again);
    assert_ok(dppo_hdf5_attribute(path, "config", &config));
    assert_string_equal(config, "seed: 42\n");
    free(config);
    assert_ok(dppo_checkpoint_read(FIXTURES "/data/checkpoint.pt", &pt));
    assert_non_null(dppo_named_get(&pt, "ema/network.weight"));
    assert_ok(dppo_hdf5_write(in_folder("other.h5"), &map, NULL));
    dppo_named_free(&again);
    assert_refused(dppo_checkpoint_read(in_folder("other.h5"), &again), "other.h5", "not a checkpoint");
    assert_refused(dppo_checkpoint_read(FIXTURES "/data/make_pt.py", &again), "make_pt.py", "neither");
    assert_refused(dppo_checkpoint_read(in_folder("none"), &again), "none", "No such file");
    dppo_named_free(&map);
    dppo_named_free(&again);
    dppo_named_free(&pt);
}

/* A disk that is full (a file size limit stands in for it) leaves the old checkpoint whole and no temporary
 * file. */
static void test_failed_write_keeps_the_old_file(void **unused) {
    (void)unused;
    const char *path = in_folder("kept.h5"), *npz = in_folder("kept.npz");
    dppo_named map = sample(), large = {0}, again = {0};
    assert_non_null(dppo_named_add(&large, "large", DPPO_F64, 1, (int64_t[]){1 << 20}));
    assert_ok(dppo_checkpoint_write(path, &map, "a: 1\n"));
    assert_ok(dppo_npz_write(npz, &map, false));
    size_t files = files_in_folder();
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 1 << 20;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    dppo_status hdf5_status = dppo_checkpoint_write(path, &large, "a: 2\n");
    dppo_status npz_status = dppo_npz_write(npz, &large, false);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, handler);
    assert_int_equal(hdf5_status, DPPO_IO);
    assert_int_equal(npz_status, DPPO_IO);
    assert_refused(npz_status, "kept.npz", "");
    assert_int_equal(files_in_folder(), files);
    assert_ok(dppo_checkpoint_read(path, &again));
    assert_same(&map, &again);
    dppo_named_free(&again);
    assert_ok(dppo_npz_read(npz, &again));
    assert_same(&map, &again);
    assert_refused(dppo_checkpoint_write("/nonexistent/x.h5", &map, ""), "/nonexistent/x.h5", "");
    dppo_named_free(&map);
    dppo_named_free(&large);
    dppo_named_free(&again);
}

/* -- D4RL, its conversion and the sequences -- */
/* Rows 0-3 end terminal, 4-5 time out without reward, 6-12 end both ways at once, 13-14 never end. Do = 2, Da
 * = 1. */
enum { ROWS = 15 };
static float observations[ROWS * 2], actions[ROWS], rewards[ROWS];
static uint8_t terminals[ROWS], timeouts[ROWS];
static double qpos[ROWS * 3];

static dppo_d4rl made(void) {
    for (int i = 0; i < ROWS; i++) {
        observations[2 * i] = (float)i;
        observations[2 * i + 1] = (float)(100 - 3 * i);
        actions[i] = 0.1F * (float)(i % 5);
        rewards[i] = i == 4 || i == 5 ? 0.0F : 1.0F;
        qpos[3 * i] = 0.5 * i;
    }
    terminals[3] = terminals[12] = 1;
    timeouts[5] = timeouts[12] = 1;
    return (dppo_d4rl){.rows = ROWS,
                       .obs_dim = 2,
                       .action_dim = 1,
                       .observations = observations,
                       .actions = actions,
                       .rewards = rewards,
                       .terminals = terminals,
                       .timeouts = timeouts,
                       .qpos = qpos,
                       .nq = 3};
}

static void test_d4rl_round_trip(void **unused) {
    (void)unused;
    const char *path = in_folder("d4rl.hdf5"), *attributes[] = {"env", "Hopper", NULL};
    dppo_d4rl data = made(), again;
    assert_ok(dppo_d4rl_write(path, &data, attributes));
    assert_ok(dppo_d4rl_read(path, &again));
    assert_int_equal(again.rows, ROWS);
    assert_int_equal(again.obs_dim, 2);
    assert_int_equal(again.nq, 3);
    assert_null(again.next_observations);
    assert_null(again.qvel);
    assert_memory_equal(again.observations, observations, sizeof observations);
    assert_memory_equal(again.actions, actions, sizeof actions);
    assert_memory_equal(again.terminals, terminals, sizeof terminals);
    assert_memory_equal(again.timeouts, timeouts, sizeof timeouts);
    assert_memory_equal(again.qpos, qpos, sizeof qpos);
    dppo_d4rl_free(&again);
    dppo_named map = {0};
    assert_ok(dppo_hdf5_read(path, NULL, &map));
    assert_non_null(dppo_named_add(&map, "infos/qvel", DPPO_F64, 2, (int64_t[]){ROWS - 1, 3}));
    assert_ok(dppo_hdf5_write(path, &map, NULL));
    assert_refused(dppo_d4rl_read(path, &again), "infos/qvel", "(14, 3)");
    dppo_named_free(&map);
}

static dppo_config *dataset_config(int horizon, int cond, int episodes) {
    dppo_config *config = dppo_config_new_map();
    assert_ok(dppo_config_set_string(config, "_target_", "agent.dataset.sequence.StitchedSequenceDataset"));
    assert_ok(dppo_config_set_string(config, "dataset_path", in_folder("train.npz")));
    assert_ok(dppo_config_set_int(config, "horizon_steps", horizon));
    assert_ok(dppo_config_set_int(config, "cond_steps", cond));
    assert_ok(dppo_config_set_string(config, "device", "cpu"));
    if (episodes) assert_ok(dppo_config_set_int(config, "max_n_episodes", episodes));
    return config;
}

/* Kept are rows 0-3 and 6-12, as rows 0-3 and 4-10 of train.npz. */
static void test_d4rl_to_sequences(void **unused) {
    (void)unused;
    dppo_d4rl data = made();
    const char *path = in_folder("convert.hdf5");
    assert_ok(dppo_d4rl_write(path, &data, NULL));
    assert_ok(dppo_d4rl_convert(path, folder, 0));
    dppo_named map = {0};
    assert_ok(dppo_npz_read(in_folder("train.npz"), &map));
    const dppo_tensor *lengths = dppo_named_get(&map, "traj_lengths"),
                      *states = dppo_named_get(&map, "states");
    assert_int_equal(lengths->shape[0], 2);
    assert_int_equal(dppo_i64(lengths)[0], 4);
    assert_int_equal(dppo_i64(lengths)[1], 7);
    assert_int_equal(states->shape[0], 11);
    assert_int_equal(dppo_named_get(&map, "terminals")->dtype, DPPO_BOOL);
    assert_int_equal(dppo_bool(dppo_named_get(&map, "terminals"))[10], 1);
    /* min and max are over all 15 rows: 0..14 */
    float denominator = 14.0F + 1e-6F, six = 2.0F * 6.0F / denominator;
    assert_true(dppo_f32(states)[8] == six - 1.0F);
    dppo_named_free(&map);
    dppo_normalization n;
    assert_ok(dppo_normalization_read(in_folder("normalization.npz"), &n));
    assert_true(n.obs_dim == 2 && n.action_dim == 1 && n.obs_min[1] == 58.0 && n.obs_max[1] == 100.0);
    assert_true(n.action_max[0] == (double)(0.1F * 4.0F));
    dppo_normalization_free(&n);

    dppo_config *config = dataset_config(3, 2, 0);
    dppo_sequence_dataset *dataset;
    assert_ok(dppo_sequence_dataset_new(config, &dataset));
    assert_int_equal(dppo_sequence_dataset_count(dataset), 2 + 5);
    assert_int_equal(dppo_sequence_dataset_obs_dim(dataset), 2);
    assert_int_equal(dppo_sequence_dataset_action_dim(dataset), 1);
    dppo_sequence_dataset_free(dataset);
    dppo_config_free(config);
    assert_ok(dppo_d4rl_convert(path, folder, 1));
    assert_ok(dppo_npz_read(in_folder("train.npz"), &map));
    assert_int_equal(dppo_named_get(&map, "traj_lengths")->shape[0], 1);
    dppo_named_free(&map);

    /* An end that is terminal and timeout counts twice: of the first three ends two are row 3, one is row 5.
     */
    data.timeouts[3] = 1;
    assert_ok(dppo_d4rl_write(path, &data, NULL));
    data.timeouts[3] = 0;
    assert_ok(dppo_d4rl_convert(path, folder, 3));
    assert_ok(dppo_npz_read(in_folder("train.npz"), &map));
    assert_int_equal(dppo_named_get(&map, "traj_lengths")->shape[0], 1);
    dppo_named_free(&map);
}

/* Lengths 3, 1, 5 with horizon 2: starts 0 1 | - | 4 5 6 7. states[i] = (i), actions[i] = (10 i). */
static void test_sequences(void **unused) {
    (void)unused;
    dppo_named map = {0};
    double *states = dppo_f64(dppo_named_add(&map, "states", DPPO_F64, 2, (int64_t[]){9, 1}));
    float *acts = dppo_f32(dppo_named_add(&map, "actions", DPPO_F32, 2, (int64_t[]){9, 1}));
    int64_t *lengths = dppo_i64(dppo_named_add(&map, "traj_lengths", DPPO_I64, 1, (int64_t[]){3}));
    for (int i = 0; i < 9; i++) {
        states[i] = i;
        acts[i] = (float)(10 * i);
    }
    lengths[0] = 3;
    lengths[1] = 1;
    lengths[2] = 5;
    assert_ok(dppo_npz_write(in_folder("train.npz"), &map, true));
    static const float expected[6][5] = {/* states t-2, t-1, t; actions t, t+1 */
                                         {0, 0, 0, 0, 10},  {0, 0, 1, 10, 20}, {4, 4, 4, 40, 50},
                                         {4, 4, 5, 50, 60}, {4, 5, 6, 60, 70}, {5, 6, 7, 70, 80}};
    dppo_config *config = dataset_config(2, 3, 0);
    dppo_sequence_dataset *dataset;
    assert_ok(dppo_sequence_dataset_new(config, &dataset));
    assert_int_equal(dppo_sequence_dataset_count(dataset), 6);
    for (int64_t i = 0; i < 6; i++) {
        float got[5];
        dppo_sequence_dataset_get(dataset, i, got + 3, got);
        assert_memory_equal(got, expected[i], sizeof got);
    }
    dppo_sequence_dataset_free(dataset);
    dppo_config_free(config);

    config = dataset_config(3, 1, 2); /* the first two trajectories only: one start */
    assert_ok(dppo_sequence_dataset_new(config, &dataset));
    assert_int_equal(dppo_sequence_dataset_count(dataset), 1);
    dppo_sequence_dataset_free(dataset);
    dppo_config_free(config);

    config = dataset_config(6, 1, 0);
    assert_refused(dppo_sequence_dataset_new(config, &dataset), "train.npz", "horizon_steps = 6");
    assert_ok(dppo_config_set_int(config, "horizon", 6));
    assert_refused(dppo_sequence_dataset_new(config, &dataset), "horizon",
                   "StitchedSequenceDataset has no 'horizon'");
    dppo_config_free(config);
    config = dataset_config(2, 1, 0);
    lengths[1] = 2;
    assert_ok(dppo_npz_write(in_folder("train.npz"), &map, true));
    assert_refused(dppo_sequence_dataset_new(config, &dataset), "states: shape (9, 1)", "10 rows");
    lengths[1] = -1;
    assert_ok(dppo_npz_write(in_folder("train.npz"), &map, true));
    assert_refused(dppo_sequence_dataset_new(config, &dataset), "traj_lengths[1]", "-1");
    dppo_config_free(config);
    dppo_named_free(&map);
}

static void test_normalization_refused(void **unused) {
    (void)unused;
    dppo_named map = {0};
    dppo_normalization n;
    (void)dppo_named_add(&map, "obs_min", DPPO_F32, 1, (int64_t[]){3});
    assert_ok(dppo_npz_write(in_folder("n.npz"), &map, false));
    assert_refused(dppo_normalization_read(in_folder("n.npz"), &n), "obs_max", "missing");
    (void)dppo_named_add(&map, "obs_max", DPPO_F32, 1, (int64_t[]){4});
    assert_ok(dppo_npz_write(in_folder("n.npz"), &map, false));
    assert_refused(dppo_normalization_read(in_folder("n.npz"), &n), "obs_max", "(4");
    assert_null(n.obs_min);
    dppo_named_free(&map);
}

/* One NaN would make a whole column of observations NaN, and then every weight: it is named where it is read.
 */
static void test_not_finite_is_refused(void **unused) {
    (void)unused;
    static const char *const names[] = {"obs_min", "obs_max", "action_min", "action_max"};
    dppo_named map = {0};
    dppo_normalization n;
    dppo_scaling scaling;
    for (size_t i = 0; i < 4; i++)
        (void)dppo_named_add(&map, names[i], i < 2 ? DPPO_F32 : DPPO_F64, 1, (int64_t[]){2});
    dppo_f32(dppo_named_get(&map, "obs_max"))[1] = NAN;
    assert_ok(dppo_npz_write(in_folder("nan.npz"), &map, false));
    assert_refused(dppo_normalization_read(in_folder("nan.npz"), &n), "nan.npz: obs_max", "(1,) is nan");
    assert_refused(dppo_scaling_read(in_folder("nan.npz"), 2, 2, &scaling), "nan.npz: obs_max",
                   "(1,) is nan");
    dppo_f32(dppo_named_get(&map, "obs_max"))[1] = 0;
    dppo_f64(dppo_named_get(&map, "action_min"))[0] = -INFINITY;
    assert_ok(dppo_npz_write(in_folder("nan.npz"), &map, false));
    assert_refused(dppo_normalization_read(in_folder("nan.npz"), &n), "nan.npz: action_min", "(0,) is -inf");
    dppo_named_free(&map);

    dppo_d4rl data = made(), again;
    observations[5] = NAN; /* row 2, column 1 */
    assert_ok(dppo_d4rl_write(in_folder("nan.hdf5"), &data, NULL));
    assert_refused(dppo_d4rl_read(in_folder("nan.hdf5"), &again), "nan.hdf5: observations", "(2, 1) is nan");
    data = made();

    (void)dppo_named_add(&map, "states", DPPO_F32, 2, (int64_t[]){3, 1});
    dppo_f32(dppo_named_add(&map, "actions", DPPO_F32, 2, (int64_t[]){3, 1}))[2] = INFINITY;
    *dppo_i64(dppo_named_add(&map, "traj_lengths", DPPO_I64, 1, (int64_t[]){1})) = 3;
    assert_ok(dppo_npz_write(in_folder("train.npz"), &map, false));
    dppo_config *config = dataset_config(2, 1, 0);
    dppo_sequence_dataset *dataset;
    assert_refused(dppo_sequence_dataset_new(config, &dataset), "train.npz: actions", "(2, 0) is inf");
    dppo_config_free(config);
    dppo_named_free(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hdf5_round_trip),
        cmocka_unit_test(test_files_are_reproducible),
        cmocka_unit_test(test_hdf5_foreign_types),
        cmocka_unit_test(test_hdf5_hostile),
        cmocka_unit_test(test_npz_round_trip),
        cmocka_unit_test(test_npz_headers),
        cmocka_unit_test(test_npz_checksum),
        cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_pt_values),
        cmocka_unit_test(test_pt_refused),
        cmocka_unit_test(test_pt_legacy_refused),
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_failed_write_keeps_the_old_file),
        cmocka_unit_test(test_d4rl_round_trip),
        cmocka_unit_test(test_d4rl_to_sequences),
        cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_normalization_refused),
        cmocka_unit_test(test_not_finite_is_refused),
        cmocka_unit_test(test_messages_name_a_file_once),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
