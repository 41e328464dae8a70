/* Writes a few valid inputs for each target: fuzz_seeds FOLDER. */
#include "fuzz.h"

#include "base/text.h"
#include "data/dataset.h"

static const char *folder;

static void save(const char *target, const char *name, const char *lead, const void *bytes, size_t length) {
    char path[4096];
    dppo_text text = {0};
    (void)snprintf(path, sizeof path, "%s/%s", folder, target);
    if (dppo_make_folder(path) != DPPO_OK) abort();
    (void)snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    dppo_text_add(&text, lead);
    dppo_text_append(&text, bytes, length);
    if (dppo_text_save(&text, path) != DPPO_OK) abort();
    dppo_text_free(&text);
}

/* The bytes of `from`, or of one entry of it when it is an archive and `entry` is given. */
static void copy(const char *target, const char *name, const char *lead, const char *from,
                 const char *entry) {
    char *bytes;
    size_t length;
    if (dppo_read_file(from, &bytes, &length) != DPPO_OK) abort();
    if (entry) {
        zip_t *archive = zip_open(from, ZIP_RDONLY, NULL);
        zip_file_t *file = zip_fopen(archive, entry, 0);
        length = (size_t)zip_fread(file, bytes, length);
        (void)zip_fclose(file);
        zip_discard(archive);
    }
    save(target, name, lead, bytes, length);
    free(bytes);
}

int main(int count, char **arguments) {
    static const char *const expressions[] = {
        "${eval:'${a} * (1 + 2) ** 2 // 3 % 5 - -1.5e3 / ${m.b}'}",
        "${eval:'round(max(1, ${a}) / 3, 2) + int(min(2.5, 1)) + abs(-1)'}",
        "x${now:%Y-%m}${oc.env:HOME,no}\\${a}${.b}${..a}",
        "${m.${m.s}}",
        "${round_up:${eval:'${a} / 3'}}",
        "${m[b]}"};
    static const char json[] =
        "{\"a\": [1, -2.5e3, true, null, NaN, -Infinity], \"b\": {\"c\": \"\\u00e9\\n\"}}";
    static const char yaml[] =
        "a: &x {b: 1e-3, c: [~, 'q', \"\\x41\"]}\nd: {<<: *x, e: 0x1F}\nf: ${a.b}\ng: !!str 1\n";
    static const char *const configs[] = {"pre_diffusion_mlp", "ppo_gaussian_mlp"};
    char path[4096], name[16];
    if (count != 2) return 2;
    folder = arguments[1];
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        (void)snprintf(name, sizeof name, "%zu", i);
        save("eval", name, "", expressions[i], strlen(expressions[i]));
    }
    save("json", "small", "", json, strlen(json));
    save("yaml", "small", "", yaml, strlen(yaml));
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/configs/%s.yaml", FIXTURES, configs[i]);
        copy("yaml", configs[i], "", path, NULL);
    }
    copy("pt", "pickle", "0", FIXTURES "/data/checkpoint.pt", "archive/data.pkl");
    copy("pt", "archive", "1", FIXTURES "/data/checkpoint.pt", NULL);
    copy("pt", "legacy", "1", FIXTURES "/data/checkpoint_legacy.pt", NULL);
    dppo_named map = {0};
    (void)dppo_named_add(&map, "x/y", DPPO_F32, 2, (int64_t[]){3, 2});
    (void)dppo_named_add(&map, "flags", DPPO_BOOL, 1, (int64_t[]){3});
    (void)dppo_named_put_i64(&map, "steps", 7);
    (void)snprintf(path, sizeof path, "%s/seed", folder);
    if (dppo_npz_write(path, &map, true) != DPPO_OK) abort();
    copy("npz", "archive", "1", path, NULL);
    copy("npz", "array", "0", path, "x/y.npy");
    if (dppo_checkpoint_write(path, &map, "a: 1\n") != DPPO_OK) abort();
    copy("hdf5", "checkpoint", "", path, NULL);
    dppo_named_free(&map);
    (void)unlink(path);
    return 0;
}
