#include "random/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random
 * number generator" (1998), with the parameters of mt19937. */
enum { SHIFT = 397 };
static const uint32_t UPPER = 0x80000000u, LOWER = 0x7fffffffu, TWIST = 0x9908b0dfu;

dppo_generator *dppo_generator_new(uint64_t seed) {
    dppo_generator *generator = calloc(1, sizeof *generator);
    if (generator) dppo_manual_seed(generator, seed);
    return generator;
}

void dppo_generator_free(dppo_generator *generator) {
    if (generator) free(generator->scratch);
    free(generator);
}

/* torch keeps the low 32 bits of the seed and forgets a waiting normal. */
void dppo_manual_seed(dppo_generator *generator, uint64_t seed) {
    uint32_t *w = generator->words;
    w[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < DPPO_MT_WORDS; i++)
        w[i] = 1812433253u * (w[i - 1] ^ (w[i - 1] >> 30)) + i;
    generator->position = DPPO_MT_WORDS;
    generator->has_normal = false;
    generator->normal = 0;
}

static inline uint32_t twist(uint32_t first, uint32_t second) {
    uint32_t mixed = (first & UPPER) | (second & LOWER);
    return (mixed >> 1) ^ (TWIST & (0 - (mixed & 1)));
}

/* w[i] = w[i + 397] ^ twist(w[i], w[i + 1]), indices modulo 624; two loops, so that none needs a remainder.
 */
static void regenerate(dppo_generator *generator) {
    uint32_t *w = generator->words;
    for (size_t i = 0; i < DPPO_MT_WORDS - SHIFT; i++)
        w[i] = w[i + SHIFT] ^ twist(w[i], w[i + 1]);
    for (size_t i = DPPO_MT_WORDS - SHIFT; i < DPPO_MT_WORDS - 1; i++)
        w[i] = w[i + SHIFT - DPPO_MT_WORDS] ^ twist(w[i], w[i + 1]);
    w[DPPO_MT_WORDS - 1] = w[SHIFT - 1] ^ twist(w[DPPO_MT_WORDS - 1], w[0]);
    generator->position = 0;
}

uint32_t dppo_random32(dppo_generator *generator) {
    if (generator->position >= DPPO_MT_WORDS) regenerate(generator);
    uint32_t y = generator->words[generator->position++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* torch takes the high half first. */
uint64_t dppo_random64(dppo_generator *generator) {
    uint64_t high = dppo_random32(generator);
    return high << 32 | dppo_random32(generator);
}

double dppo_random_double(dppo_generator *generator) {
    return (double)(dppo_random64(generator) & (((uint64_t)1 << 53) - 1)) * 0x1p-53;
}

/* -- state ------------------------------------------------------------------------------------------------
 */

static const char *const STATE = "state", *const NORMAL = "normal";

static dppo_status state_name(char *buffer, size_t size, const char *prefix, const char *name) {
    int written = snprintf(buffer, size, "%s%s", prefix, name);
    if (written < 0 || (size_t)written >= size)
        return dppo_fail(DPPO_INVALID, "generator: prefix '%.40s...' is too long", prefix);
    return DPPO_OK;
}

/* "state" int64 (625): the words and the position; "normal" float64 (2): whether a normal is waiting, and it.
 */
dppo_status dppo_generator_save(const dppo_generator *generator, const char *prefix, dppo_named *into) {
    char state_key[512], normal_key[512];
    DPPO_TRY(state_name(state_key, sizeof state_key, prefix, STATE));
    DPPO_TRY(state_name(normal_key, sizeof normal_key, prefix, NORMAL));
    int64_t words[DPPO_MT_WORDS + 1];
    for (size_t i = 0; i < DPPO_MT_WORDS; i++)
        words[i] = generator->words[i];
    words[DPPO_MT_WORDS] = generator->position;
    double waiting[2] = {generator->has_normal, generator->normal};
    dppo_tensor state = {
        .dtype = DPPO_I64, .ndim = 1, .shape = {DPPO_MT_WORDS + 1}, .stride = {1}, .data = words};
    dppo_tensor normal = {.dtype = DPPO_F64, .ndim = 1, .shape = {2}, .stride = {1}, .data = waiting};
    DPPO_TRY(dppo_named_put(into, state_key, &state));
    return dppo_named_put(into, normal_key, &normal);
}

dppo_status dppo_generator_load(dppo_generator *generator, const char *prefix, const dppo_named *from) {
    char state_key[512], normal_key[512];
    DPPO_TRY(state_name(state_key, sizeof state_key, prefix, STATE));
    DPPO_TRY(state_name(normal_key, sizeof normal_key, prefix, NORMAL));
    dppo_tensor *state, *normal;
    DPPO_TRY(dppo_named_require(from, state_key, DPPO_I64, &state));
    DPPO_TRY(dppo_named_require(from, normal_key, DPPO_F64, &normal));
    if (dppo_numel(state) != DPPO_MT_WORDS + 1 || dppo_numel(normal) != 2)
        return dppo_fail(DPPO_INVALID, "%s: %" PRId64 " values and %" PRId64 " for the normal, not %d and 2",
                         state_key, dppo_numel(state), dppo_numel(normal), DPPO_MT_WORDS + 1);
    const int64_t *words = dppo_i64(state);
    for (size_t i = 0; i < DPPO_MT_WORDS; i++)
        if (words[i] < 0 || words[i] > UINT32_MAX)
            return dppo_fail(DPPO_INVALID, "%s[%zu] is %" PRId64 ", not a 32-bit word", state_key, i,
                             words[i]);
    if (words[DPPO_MT_WORDS] < 0 || words[DPPO_MT_WORDS] > DPPO_MT_WORDS)
        return dppo_fail(DPPO_INVALID, "%s: position %" PRId64 " is not in 0..%d", state_key,
                         words[DPPO_MT_WORDS], DPPO_MT_WORDS);
    for (size_t i = 0; i < DPPO_MT_WORDS; i++)
        generator->words[i] = (uint32_t)words[i];
    generator->position = words[DPPO_MT_WORDS];
    generator->has_normal = dppo_f64(normal)[0] != 0;
    generator->normal = dppo_f64(normal)[1];
    return DPPO_OK;
}

/* -- replay and record --------------------------------------------------------------------------------------
 */

dppo_status dppo_generator_replay(dppo_generator *generator, const dppo_named *draws) {
    if (generator->replay) return dppo_fail(DPPO_INVALID, "a replay of draws is running already");
    generator->replay = draws;
    generator->replayed = 0;
    return DPPO_OK;
}

dppo_status dppo_generator_end_replay(dppo_generator *generator) {
    const dppo_named *draws = generator->replay;
    generator->replay = NULL;
    if (draws && generator->replayed < draws->count)
        return dppo_fail(DPPO_INVALID, "%zu of %zu recorded draws were not consumed, the first is draws/%zu",
                         draws->count - generator->replayed, draws->count, generator->replayed);
    return DPPO_OK;
}

void dppo_generator_record(dppo_generator *generator, dppo_named *into) {
    generator->record = into;
    generator->recorded = 0;
}
