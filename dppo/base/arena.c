#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64 };
static const size_t SMALLEST_BLOCK = (size_t)1 << 20, HUGE_PAGE = (size_t)2 << 20;

typedef struct block {
    unsigned char *bytes;
    size_t size;
} block;

struct dppo_arena {
    block *blocks;
    size_t count, capacity; /* of blocks */
    dppo_arena_mark at;
    size_t total, system_allocations;
};

dppo_arena *dppo_arena_new(void) {
    return calloc(1, sizeof(dppo_arena));
}

void dppo_arena_free(dppo_arena *arena) {
    if (!arena) return;
    for (size_t i = 0; i < arena->count; i++)
        free(arena->blocks[i].bytes);
    free(arena->blocks);
    free(arena);
}

/* Large blocks lie in huge pages, where the system has them: a batch's tensors would want many thousands of
 * the small ones, more than the processor keeps addresses of. */
static unsigned char *allocate(size_t *size) {
    size_t alignment = *size >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    *size = (*size + alignment - 1) / alignment * alignment;
    unsigned char *bytes = aligned_alloc(alignment, *size);
#ifdef MADV_HUGEPAGE
    if (bytes && alignment == HUGE_PAGE) (void)madvise(bytes, *size, MADV_HUGEPAGE); /* or without */
#endif
    return bytes;
}

static int add_block(dppo_arena *arena, size_t size) {
    if (arena->count == arena->capacity) {
        size_t capacity = arena->capacity ? 2 * arena->capacity : 16;
        block *blocks = realloc(arena->blocks, capacity * sizeof *blocks);
        if (!blocks) return 0;
        arena->blocks = blocks;
        arena->capacity = capacity;
    }
    size_t doubled = arena->total < ((size_t)64 << 20) ? arena->total : (size_t)64 << 20;
    size_t wanted = size > doubled ? size : doubled;
    if (wanted < SMALLEST_BLOCK) wanted = SMALLEST_BLOCK;
    unsigned char *bytes = allocate(&wanted);
    if (!bytes) return 0;
    arena->blocks[arena->count++] = (block){bytes, wanted};
    arena->total += wanted;
    arena->system_allocations++;
    return 1;
}

void *dppo_arena_alloc(dppo_arena *arena, size_t size) {
    if (size > SIZE_MAX - ALIGNMENT) return NULL;
    size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (size == 0) size = ALIGNMENT;
    while (arena->at.block < arena->count) {
        block *b = &arena->blocks[arena->at.block];
        if (size <= b->size - arena->at.used) {
            void *p = b->bytes + arena->at.used;
            arena->at.used += size;
            return p;
        }
        arena->at.block++;
        arena->at.used = 0;
    }
    if (!add_block(arena, size)) return NULL;
    arena->at.block = arena->count - 1;
    arena->at.used = size;
    return arena->blocks[arena->at.block].bytes;
}

dppo_arena_mark dppo_arena_position(const dppo_arena *arena) {
    return arena->at;
}

void dppo_arena_rewind(dppo_arena *arena, dppo_arena_mark mark) {
    arena->at = mark;
}

void dppo_arena_reset(dppo_arena *arena) {
    arena->at = (dppo_arena_mark){0, 0};
}

size_t dppo_arena_capacity(const dppo_arena *arena) {
    return arena->total;
}

size_t dppo_arena_system_allocations(const dppo_arena *arena) {
    return arena->system_allocations;
}
