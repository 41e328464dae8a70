/* Arena memory: allocate freely, release all at once. Blocks are kept over a reset, so that a loop that
 * resets its arena every step stops allocating from the system after the first. Not thread-safe. */
#ifndef DPPO_BASE_ARENA_H
#define DPPO_BASE_ARENA_H

#include <stddef.h>

typedef struct dppo_arena dppo_arena;

typedef struct dppo_arena_mark {
    size_t block, used;
} dppo_arena_mark;

/* Owned by the caller, freed by dppo_arena_free(); NULL when memory is exhausted. */
dppo_arena *dppo_arena_new(void);
void dppo_arena_free(dppo_arena *arena);

/* `size` bytes aligned to 64, uninitialised; NULL when memory is exhausted. Lives until a reset. */
void *dppo_arena_alloc(dppo_arena *arena, size_t size);

/* A position to come back to, and the return to it: what was allocated since is gone. */
dppo_arena_mark dppo_arena_position(const dppo_arena *arena);
void dppo_arena_rewind(dppo_arena *arena, dppo_arena_mark mark);
void dppo_arena_reset(dppo_arena *arena);

/* Bytes obtained from the system so far, and how many system allocations that took. */
size_t dppo_arena_capacity(const dppo_arena *arena);
size_t dppo_arena_system_allocations(const dppo_arena *arena);

#endif
