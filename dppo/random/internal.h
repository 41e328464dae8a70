/* What the files of random/ share: the engine's state and the bookkeeping of replay and record. */
#ifndef DPPO_RANDOM_INTERNAL_H
#define DPPO_RANDOM_INTERNAL_H

#include "random/generator.h"

enum { DPPO_MT_WORDS = 624, DPPO_NORMAL_BLOCK = 16 };

struct dppo_generator {
    uint32_t words[DPPO_MT_WORDS]; /* mt19937 */
    int64_t position;              /* of the next word; DPPO_MT_WORDS: all are used up */
    bool has_normal;               /* the second half of a scalar Box-Muller pair is waiting */
    double normal;
    const dppo_named *replay; /* borrowed; NULL when drawing */
    size_t replayed;
    dppo_named *record; /* borrowed; NULL when not recording */
    size_t recorded;
    void *scratch; /* owned, kept from draw to draw */
    size_t scratch_size;
};

/* Draws in place, `data[16]` uniform in [0, 1) -> normal: Box-Muller on lanes (i, i + 8), for every whole
 * block of the `count` values. The plain twin returns the same bits on any machine. */
void dppo_normal_blocks(float *data, int64_t count, float mean, float std);
void dppo_normal_blocks_plain(float *data, int64_t count, float mean, float std);

#endif
