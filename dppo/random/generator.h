/* Random numbers: torch's CPU streams (mt19937), bit for bit where torch's are integers or uniform.
 *
 * After dppo_generator_new(seed) or dppo_manual_seed() the functions below return what torch returns after
 * torch.manual_seed(seed) on the CPU: rand, randint, randperm, multinomial bit for bit, randn to the last
 * unit or two. In replay mode they hand out recorded draws instead and fail (DPPO_INVALID, with the draw's
 * index, kind and shapes) when a draw is missing, or of another kind or shape. */
#ifndef DPPO_RANDOM_GENERATOR_H
#define DPPO_RANDOM_GENERATOR_H

#include "base/status.h"
#include "tensor/named.h"

typedef struct dppo_generator dppo_generator;

/* Owned by the caller; NULL when memory is exhausted. */
dppo_generator *dppo_generator_new(uint64_t seed);
void dppo_generator_free(dppo_generator *generator);
void dppo_manual_seed(dppo_generator *generator, uint64_t seed);

/* Everything that determines the draws to come, as tensors under `prefix` ("generator/state", ...). */
dppo_status dppo_generator_save(const dppo_generator *generator, const char *prefix, dppo_named *into);
dppo_status dppo_generator_load(dppo_generator *generator, const char *prefix, const dppo_named *from);

/* Hands out the entries of `draws` in the order of their numeric names "0", "1", ... (borrowed until
 * dppo_generator_end_replay(), which fails if draws are left over). */
dppo_status dppo_generator_replay(dppo_generator *generator, const dppo_named *draws);
dppo_status dppo_generator_end_replay(dppo_generator *generator);

/* Records every draw into `into` as "0", "1", ... with its kind, until called with NULL. */
void dppo_generator_record(dppo_generator *generator, dppo_named *into);

/* Fills a contiguous tensor of the right dtype; the tensor's shape is the draw's shape. */
dppo_status dppo_draw_randn(dppo_generator *generator, dppo_tensor *out); /* float32 */
dppo_status dppo_draw_rand(dppo_generator *generator, dppo_tensor *out);  /* float32, [0,1) */
dppo_status dppo_draw_uniform(dppo_generator *generator, dppo_tensor *out, double from,
                              double to); /* uniform_ */
dppo_status dppo_draw_normal(dppo_generator *generator, dppo_tensor *out, double mean,
                             double std); /* normal_ */
/* int64, or float32 as torch.randint(..., dtype=torch.float32). */
dppo_status dppo_draw_randint(dppo_generator *generator, dppo_tensor *out, int64_t low, int64_t high);
dppo_status dppo_draw_randperm(dppo_generator *generator, dppo_tensor *out); /* int64 (n): of 0..n-1 */
/* probabilities (rows, n) or (n) float32, out int64 (rows, samples) or (samples). */
dppo_status dppo_draw_multinomial(dppo_generator *generator, const dppo_tensor *probabilities,
                                  bool replacement, dppo_tensor *out);
/* One float64 in [0, 1) of kind "np.uniform", where the original asks numpy, whose stream is not torch's.
 * Live it is dppo_random_double(). */
dppo_status dppo_draw_np_uniform(dppo_generator *generator, double *value);

/* The next raw numbers of the stream. */
uint32_t dppo_random32(dppo_generator *generator);
uint64_t dppo_random64(dppo_generator *generator);
/* Uniform in [0, 1) with 53 bits, from one random64 (as torch's uniform_real_distribution<double>). */
double dppo_random_double(dppo_generator *generator);

#endif
