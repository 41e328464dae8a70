/* Generators and files: regenerating our cases gives the committed numbers, and the manifest describes what
 * is there. */
#include "base/sha256.h"
#include "base/text.h"
#include "cli/cli.h"
#include "parity/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- regenerating
 * ------------------------------------------------------------------------------------------------- */

static void same_bits(const char *title, const dppo_named *drawn, const dppo_named *stored) {
    if (drawn->count != stored->count)
        print_error("%s: %zu tensors, not %zu\n", title, drawn->count, stored->count);
    assert_int_equal(drawn->count, stored->count);
    for (size_t i = 0; i < drawn->count; i++) {
        const dppo_tensor *a = drawn->entries[i].tensor, *b = dppo_named_get(stored, drawn->entries[i].name);
        bool same = b && a->dtype == b->dtype && dppo_same_shape(a, b) &&
                    memcmp(a->data, b->data, (size_t)dppo_numel(a) * dppo_dtype_size(a->dtype)) == 0;
        if (!same) print_error("%s %s differs from the file\n", title, drawn->entries[i].name);
        assert_true(same);
    }
}

static size_t index_of(const dppo_case_file *file, const char *title) {
    size_t i = 0;
    while (i < dppo_case_file_count(file) && strcmp(dppo_case_file_name(file, i), title) != 0)
        i++;
    if (i == dppo_case_file_count(file)) print_error("%s is described but not in the file\n", title);
    assert_true(i < dppo_case_file_count(file));
    return i;
}

/* The answers of this machine's libtorch against the recorded ones, by the comparator. */
static void same_answers(const dppo_case *drawn, const dppo_case *stored, bool gradients) {
    const dppo_parity_side *torch = dppo_torch_side();
    if (!torch) return;
    dppo_case again = *drawn; /* borrows everything but what recording replaces */
    again.out = again.grad = again.state_after = again.cotangent = (dppo_named){0};
    assert_int_equal(dppo_record_case(torch, gradients, &again), DPPO_OK);
    same_bits(stored->name, &again.cotangent, &stored->cotangent);
    dppo_parity_answers answers = {.asked_torch = true};
    answers.torch = (dppo_answer){again.out, again.grad, again.state_after};
    dppo_parity_options options = {.torch = torch};
    dppo_parity_result result;
    assert_int_equal(dppo_parity_judge(stored, &options, &answers, &result), DPPO_OK);
    assert_int_equal(result.verdict, DPPO_PASSED);
    dppo_parity_result_free(&result);
    dppo_parity_answers_free(&answers);
    dppo_named_free(&again.cotangent);
}

static void regenerate_file(const char *description) {
    char path[4096];
    const char *name = strrchr(description, '/') + 1;
    dppo_case_list list;
    dppo_case_file *file;
    (void)snprintf(path, sizeof path, FIXTURES "/own_%.*s.h5", (int)(strlen(name) - strlen(".yaml")), name);
    assert_int_equal(dppo_case_list_load(description, &list), DPPO_OK);
    assert_int_equal(dppo_case_file_open(path, &file), DPPO_OK);
    assert_int_equal(dppo_case_file_count(file), list.count);
    assert_int_equal(dppo_case_file_seed(file), list.seed);
    for (size_t i = 0; i < list.count; i++) {
        char title[1024];
        bool gradients;
        dppo_case drawn, stored;
        (void)snprintf(title, sizeof title, "%s/%s", list.specs[i].function, list.specs[i].name);
        assert_int_equal(dppo_generate_case(&list, i, &drawn), DPPO_OK);
        assert_int_equal(dppo_case_wants_grad(&list, i, &gradients), DPPO_OK);
        assert_int_equal(dppo_case_load(file, index_of(file, title), &stored), DPPO_OK);
        assert_int_equal(drawn.manual_seed, stored.manual_seed);
        same_bits(title, &drawn.in, &stored.in);
        same_bits(title, &drawn.state, &stored.state);
        same_bits(title, &drawn.draws, &stored.draws);
        same_answers(&drawn, &stored, gradients);
        dppo_case_free(&drawn);
        dppo_case_free(&stored);
    }
    dppo_case_file_close(file);
    dppo_case_list_free(&list);
}

static void regenerating_gives_the_same_numbers(void **state) {
    glob_t found;
    (void)state;
    assert_int_equal(glob(FIXTURES "/cases/*.yaml", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++)
        regenerate_file(found.gl_pathv[i]);
    globfree(&found);
}

/* -- descriptions
 * --------------------------------------------------------------------------------------------------- */

/* The one case that `text` describes, or the status of the failure. */
static dppo_status describe(const char *text, dppo_case *drawn) {
    char path[] = "/tmp/dppo_cases_XXXXXX";
    dppo_case_list list;
    int file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text, strlen(text)), strlen(text));
    (void)close(file);
    assert_int_equal(dppo_case_list_load(path, &list), DPPO_OK);
    dppo_status status = dppo_generate_case(&list, 0, drawn);
    dppo_case_list_free(&list);
    (void)unlink(path);
    return status;
}

#define SAC(state)                                                                                           \
    "seed: 1\ncases: {SAC_Gaussian.loss_actor: {one: {state: " state ", init: {_target_: SAC_Gaussian, "     \
    "actor: {_target_: Gaussian_MLP, action_dim: 1, horizon_steps: 2, cond_dim: 3, mlp_dims: [4]}, "         \
    "critic: {_target_: CriticObsAct, cond_dim: 3, mlp_dims: [4], action_dim: 1, action_steps: 2}, "         \
    "horizon_steps: 2}}}}\n"

static bool target_is_a_copy(const char *text) {
    dppo_case drawn;
    assert_int_equal(describe(text, &drawn), DPPO_OK);
    const char *name = "critic.Q1.moduleList.0.linear_1.weight";
    const dppo_tensor *critic = dppo_named_get(&drawn.state, name);
    const dppo_tensor *target = dppo_named_get(&drawn.state, "target_critic.Q1.moduleList.0.linear_1.weight");
    assert_non_null(critic);
    assert_non_null(target);
    bool same = memcmp(critic->data, target->data, (size_t)dppo_numel(critic) * sizeof(float)) == 0;
    dppo_case_free(&drawn);
    return same;
}

static void copies_differ_only_when_perturbed(void **state) {
    dppo_case drawn;
    (void)state;
    assert_true(target_is_a_copy(SAC("built")));
    assert_false(target_is_a_copy(SAC("perturbed")));
    assert_int_equal(describe(SAC("shaken"), &drawn), DPPO_INVALID);
    dppo_case_free(&drawn);
}

static void draws_are_recorded_with_their_kinds(void **state) {
    dppo_case drawn;
    (void)state;
    assert_int_equal(describe("seed: 1\ncases: {torch.randn: {one: {draws: [[randn, [2]], [np.uniform, [], "
                              "0.5, 1], [multinomial, [3, 1], 2, 4]]}}}\n",
                              &drawn),
                     DPPO_OK);
    assert_true(drawn.has_draws);
    assert_int_equal(drawn.draws.count, 3);
    assert_string_equal(drawn.draws.entries[0].kind, "randn");
    assert_string_equal(drawn.draws.entries[1].kind, "np.uniform");
    assert_string_equal(drawn.draws.entries[2].kind, "multinomial");
    assert_int_equal(drawn.draws.entries[1].tensor->dtype, DPPO_F64);
    assert_true(dppo_f64(drawn.draws.entries[1].tensor)[0] >= 0.5);
    assert_true(dppo_i64(drawn.draws.entries[2].tensor)[0] >= 2);
    dppo_case_free(&drawn);
    assert_int_equal(describe("seed: 1\ncases: {torch.randn: {one: {draws: [[poisson, [2]]]}}}\n", &drawn),
                     DPPO_INVALID);
    dppo_case_free(&drawn);
}

/* -- the manifest
 * --------------------------------------------------------------------------------------------------- */

static void sha256_follows_the_standard(void **state) {
    (void)state;
    char text[DPPO_SHA256_TEXT];
    /* FIPS 180-4's examples: one block, two blocks. */
    dppo_sha256("abc", 3, text);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    dppo_sha256(two, strlen(two), text);
    assert_string_equal(text, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    dppo_sha256("", 0, text);
    assert_string_equal(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void manifest_matches_the_files(void **state) {
    glob_t found;
    char *manifest;
    (void)state;
    assert_int_equal(dppo_read_file(FIXTURES "/manifest.csv", &manifest, NULL), DPPO_OK);
    assert_int_equal(glob(FIXTURES "/*.h5", 0, NULL, &found), 0);
    size_t lines = 0;
    for (const char *c = manifest; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, found.gl_pathc + 1);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char digest[DPPO_SHA256_TEXT], line[4096];
        size_t bytes;
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        assert_int_equal(dppo_sha256_file(found.gl_pathv[i], digest, &bytes), DPPO_OK);
        (void)snprintf(line, sizeof line, "\n%s,%s,%zu,", name, digest, bytes);
        if (!strstr(manifest, line)) print_error("manifest.csv has no line%s\n", line);
        assert_non_null(strstr(manifest, line));
    }
    free(manifest);
    globfree(&found);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_follows_the_standard),
        cmocka_unit_test(manifest_matches_the_files),
        cmocka_unit_test(copies_differ_only_when_perturbed),
        cmocka_unit_test(draws_are_recorded_with_their_kinds),
        cmocka_unit_test(regenerating_gives_the_same_numbers),
    };
    return cmocka_run_group_tests_name("fixtures", tests, NULL, NULL);
}
