#include "parity/door.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const dppo_entry *const lists[] = {
#define LIST(topic) dppo_entries_##topic,
    DPPO_ENTRY_LISTS(LIST)
#undef LIST
};

enum { LISTS = sizeof lists / sizeof lists[0], MAX_ENTRIES = 1024 };
static dppo_entry merged[MAX_ENTRIES];
static size_t merged_count;

static int by_name(const void *a, const void *b) {
    return strcmp(((const dppo_entry *)a)->function, ((const dppo_entry *)b)->function);
}

static void merge(void) {
    for (size_t i = 0; i < LISTS; i++)
        for (const dppo_entry *entry = lists[i]; entry->function; entry++)
            if (merged_count < MAX_ENTRIES) merged[merged_count++] = *entry;
    qsort(merged, merged_count, sizeof merged[0], by_name);
}

const dppo_entry *dppo_c_entries(size_t *count) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, merge);
    *count = merged_count;
    return merged;
}
