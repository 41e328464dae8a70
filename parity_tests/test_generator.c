#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "random/generator.h"
#include "random/internal.h"

#include <stdlib.h>
#include <string.h>

static dppo_tensor *made(dppo_dtype dtype, int64_t count) {
    dppo_tensor *tensor = dppo_tensor_heap(dtype, 1, &count);
    assert_non_null(tensor);
    return tensor;
}

/* Recorded with libtorch 1.13, ATEN_CPU_CAPABILITY=avx2, after torch::manual_seed(42), one draw after the
 * other. */
static const float randn5[] = {0x1.58c55cp-2f, 0x1.07cd3ap-3f, 0x1.e02dcep-3f, 0x1.d7b8d8p-3f,
                               -0x1.1f7384p+0f};
static const float rand4[] = {0x1.bd2294p-1f, 0x1.22ab94p-1f, 0x1.7b70aep-1f, 0x1.b7b5dp-2f};
static const float randn18[] = {
    0x1.a46ee2p+0f,  -0x1.46db0ap-3f, -0x1.c97412p-3f, 0x1.b7a5p+0f,    0x1.46889p-2f,   -0x1.b2b51ap-2f,
    0x1.390ee8p-2f,  -0x1.8c9764p-1f, 0x1.1e007ep-5f,  0x1.48cf3ap-2f,  -0x1.c2734ap-1f, -0x1.33c8e4p-1f,
    -0x1.462ec6p+0f, 0x1.0fb76cp+1f,  -0x1.3c123ap+0f, -0x1.f39fb2p-2f, -0x1.6b05fap+0f, 0x1.cae3aep-1f};
static const int64_t randint6[] = {7, 6, 7, 16, 3, 16};
static const int64_t wide3[] = {272587671032, 562039164388, 217670263430};
static const int64_t randperm8[] = {4, 6, 2, 0, 7, 1, 3, 5};
static const int64_t with_replacement6[] = {2, 1, 2, 3, 2, 1};
static const int64_t without_replacement3[] = {2, 1, 0};
static const float uniform3[] = {0x1.218f7ap+0f, 0x1.03a682p+0f, 0x1.b9a71ep-2f}; /* uniform_(-0.5, 2) */
static const float normal2[] = {0x1.d04ccap-1f, 0x1.a88684p-1f}; /* normal_(1, 0.5): the first was waiting */
static const float after1[] = {0x1.ea68d2p-1f};
static const float probabilities[] = {0.1f, 0.5f, 0.2f, 0.2f};

#define EXPECT(dtype, expected, draw)                                                                        \
    do {                                                                                                     \
        dppo_tensor *out = made(dtype, (int64_t)(sizeof(expected) / sizeof(expected[0])));                   \
        assert_int_equal(draw, DPPO_OK);                                                                     \
        assert_memory_equal(out->data, expected, sizeof(expected));                                          \
        dppo_tensor_free(out);                                                                               \
    } while (0)

static void draws_are_torch_s(void **unused) {
    (void)unused;
    dppo_generator *g = dppo_generator_new(42);
    dppo_tensor *p = made(DPPO_F32, 4);
    memcpy(p->data, probabilities, sizeof probabilities);
    EXPECT(DPPO_F32, randn5, dppo_draw_randn(g, out));
    EXPECT(DPPO_F32, rand4, dppo_draw_rand(g, out));
    EXPECT(DPPO_F32, randn18, dppo_draw_randn(g, out));
    EXPECT(DPPO_I64, randint6, dppo_draw_randint(g, out, -3, 17));
    EXPECT(DPPO_I64, wide3, dppo_draw_randint(g, out, 0, (int64_t)1 << 40));
    EXPECT(DPPO_I64, randperm8, dppo_draw_randperm(g, out));
    EXPECT(DPPO_I64, with_replacement6, dppo_draw_multinomial(g, p, true, out));
    EXPECT(DPPO_I64, without_replacement3, dppo_draw_multinomial(g, p, false, out));
    EXPECT(DPPO_F32, uniform3, dppo_draw_uniform(g, out, -0.5, 2));
    EXPECT(DPPO_F32, normal2, dppo_draw_normal(g, out, 1, 0.5));
    EXPECT(DPPO_F32, after1, dppo_draw_rand(g, out));
    dppo_manual_seed(g, ((uint64_t)1 << 32) + 42); /* torch keeps 32 bits of the seed */
    EXPECT(DPPO_F32, randn5, dppo_draw_randn(g, out));
    dppo_tensor_free(p);
    dppo_generator_free(g);
}

/* The 10000th output of mt19937 from seed 5489, as the C++ standard states it. */
static void the_engine_is_mt19937(void **unused) {
    (void)unused;
    dppo_generator *g = dppo_generator_new(5489);
    uint32_t last = 0;
    for (int i = 0; i < 10000; i++)
        last = dppo_random32(g);
    assert_int_equal(last, 4123659995u);
    dppo_generator_free(g);
}

static void both_normal_kernels_agree(void **unused) {
    (void)unused;
    enum { COUNT = 16384 };
    static float a[COUNT], b[COUNT];
    dppo_generator *g = dppo_generator_new(1);
    for (int i = 0; i < COUNT; i++)
        a[i] = (float)(dppo_random32(g) >> 8) * 0x1p-24f;
    a[0] = 0, a[1] = 0x1p-24f, a[2] = 1 - 0x1p-24f;
    memcpy(b, a, sizeof a);
    dppo_normal_blocks(a, COUNT, 0.5f, 2);
    dppo_normal_blocks_plain(b, COUNT, 0.5f, 2);
    assert_memory_equal(a, b, sizeof a);
    dppo_generator_free(g);
}

static void a_restored_generator_continues(void **unused) {
    (void)unused;
    dppo_generator *g = dppo_generator_new(9), *h = dppo_generator_new(0);
    dppo_tensor *three = made(DPPO_F32, 3), *a = made(DPPO_F32, 700), *b = made(DPPO_F32, 700);
    assert_int_equal(dppo_draw_randn(g, three), DPPO_OK); /* one normal is left waiting */
    dppo_named state = {0};
    assert_int_equal(dppo_generator_save(g, "rng/", &state), DPPO_OK);
    assert_int_equal(dppo_generator_load(h, "rng/", &state), DPPO_OK);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(dppo_draw_randn(g, three), DPPO_OK);
        memcpy(a->data, three->data, 3 * sizeof(float));
        assert_int_equal(dppo_draw_randn(h, three), DPPO_OK);
        assert_memory_equal(a->data, three->data, 3 * sizeof(float));
        assert_int_equal(dppo_draw_rand(g, a), DPPO_OK);
        assert_int_equal(dppo_draw_rand(h, b), DPPO_OK);
        assert_memory_equal(a->data, b->data, 700 * sizeof(float));
    }
    dppo_i64(dppo_named_get(&state, "rng/state"))[5] = -1;
    assert_int_equal(dppo_generator_load(h, "rng/", &state), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "rng/state[5]"));
    assert_int_equal(dppo_draw_rand(g, a), DPPO_OK); /* h is as it was */
    assert_int_equal(dppo_draw_rand(h, b), DPPO_OK);
    assert_memory_equal(a->data, b->data, 700 * sizeof(float));
    assert_int_equal(dppo_generator_load(h, "other/", &state), DPPO_INVALID);
    dppo_named_free(&state);
    dppo_tensor_free(three);
    dppo_tensor_free(a);
    dppo_tensor_free(b);
    dppo_generator_free(g);
    dppo_generator_free(h);
}

static void records_are_replayed(void **unused) {
    (void)unused;
    dppo_generator *g = dppo_generator_new(3), *h = dppo_generator_new(4);
    dppo_tensor *a = made(DPPO_F32, 20), *b = made(DPPO_F32, 20);
    dppo_tensor *p = made(DPPO_I64, 6), *q = made(DPPO_I64, 6);
    double u, v;
    dppo_named draws = {0};
    dppo_generator_record(g, &draws);
    assert_int_equal(dppo_draw_randn(g, a), DPPO_OK);
    assert_int_equal(dppo_draw_randperm(g, p), DPPO_OK);
    assert_int_equal(dppo_draw_np_uniform(g, &u), DPPO_OK);
    dppo_generator_record(g, NULL);
    assert_int_equal(dppo_draw_randperm(g, q), DPPO_OK);
    assert_int_equal(draws.count, 3);
    assert_string_equal(draws.entries[1].kind, "randperm");

    assert_int_equal(dppo_generator_replay(h, &draws), DPPO_OK);
    assert_int_equal(dppo_draw_randn(h, b), DPPO_OK);
    assert_memory_equal(a->data, b->data, 20 * sizeof(float));
    assert_int_equal(dppo_draw_randperm(h, q), DPPO_OK);
    assert_memory_equal(p->data, q->data, 6 * sizeof(int64_t));
    assert_int_equal(dppo_draw_np_uniform(h, &v), DPPO_OK);
    assert_true(u == v);
    assert_int_equal(dppo_draw_rand(h, b), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "draws/3 is missing: rand (20,)"));
    assert_int_equal(dppo_generator_end_replay(h), DPPO_OK);
    assert_int_equal(dppo_draw_rand(h, b), DPPO_OK); /* its own stream again */
    dppo_named_free(&draws);
    dppo_tensor_free(a);
    dppo_tensor_free(b);
    dppo_tensor_free(p);
    dppo_tensor_free(q);
    dppo_generator_free(g);
    dppo_generator_free(h);
}

static void replay_checks_kind_shape_and_rest(void **unused) {
    (void)unused;
    dppo_generator *g = dppo_generator_new(3);
    dppo_tensor *five = made(DPPO_F32, 5), *six = made(DPPO_F32, 6);
    dppo_named draws = {0};
    dppo_generator_record(g, &draws);
    assert_int_equal(dppo_draw_randn(g, five), DPPO_OK);
    dppo_generator_record(g, NULL);
    assert_int_equal(dppo_generator_replay(g, &draws), DPPO_OK);
    assert_int_equal(dppo_draw_rand(g, five), DPPO_INVALID);
    assert_string_equal(dppo_message(), "draws/0 is randn (5,), asked for was rand (5,)");
    assert_int_equal(dppo_draw_randn(g, six), DPPO_INVALID);
    assert_string_equal(dppo_message(), "draws/0 is randn (5,), asked for was randn (6,)");
    assert_int_equal(dppo_generator_end_replay(g), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "1 of 1 recorded draws were not consumed"));
    assert_int_equal(dppo_generator_end_replay(g), DPPO_OK);
    dppo_named_free(&draws);
    dppo_tensor_free(five);
    dppo_tensor_free(six);
    dppo_generator_free(g);
}

static void nonsense_is_refused(void **unused) {
    (void)unused;
    dppo_generator *g = dppo_generator_new(0);
    dppo_tensor *f = made(DPPO_F32, 3), *i = made(DPPO_I64, 4);
    assert_int_equal(dppo_draw_randn(g, i), DPPO_INVALID);
    assert_int_equal(dppo_draw_randint(g, i, 2, 2), DPPO_INVALID);
    assert_int_equal(dppo_draw_uniform(g, f, 1, 0), DPPO_INVALID);
    assert_int_equal(dppo_draw_normal(g, f, 0, -1), DPPO_INVALID);
    assert_int_equal(dppo_draw_multinomial(g, f, true, i), DPPO_INVALID); /* all zero */
    assert_non_null(strstr(dppo_message(), "row 0 sum to 0"));
    dppo_f32(f)[1] = -1;
    assert_int_equal(dppo_draw_multinomial(g, f, true, i), DPPO_INVALID);
    assert_non_null(strstr(dppo_message(), "[0, 1] is -1"));
    assert_int_equal(dppo_draw_multinomial(g, f, false, i), DPPO_INVALID); /* 4 of 3 */
    dppo_tensor_free(f);
    dppo_tensor_free(i);
    dppo_generator_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_torch_s),         cmocka_unit_test(the_engine_is_mt19937),
        cmocka_unit_test(both_normal_kernels_agree), cmocka_unit_test(a_restored_generator_continues),
        cmocka_unit_test(records_are_replayed),      cmocka_unit_test(replay_checks_kind_shape_and_rest),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
