/* The worker pool: every index once, however many threads there are and however late they come. */
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { MOST = 256, JOBS = 20000 };

static _Atomic int hits[MOST];

static void hit(void *context, int64_t begin, int64_t end) {
    int64_t offset = *(const int64_t *)context;
    for (int64_t i = begin; i < end; i++)
        atomic_fetch_add(&hits[offset + i], 1);
}

/* Jobs of all sizes in quick succession: a worker that is late for one must not touch the next. */
static void test_every_index_once(void **unused) {
    (void)unused;
    for (int threads = 1; threads <= 8; threads *= 2) {
        dppo_set_threads(threads);
        uint32_t random = 1;
        for (int job = 0; job < JOBS; job++) {
            random = random * 1664525u + 1013904223u;
            int64_t offset = (random >> 8) % 50, count = 1 + (random >> 12) % (MOST - 50);
            int64_t grain = 1 + (random >> 24) % 9;
            for (int i = 0; i < MOST; i++)
                atomic_store(&hits[i], 0);
            dppo_parallel_for(count, grain, hit, &offset);
            for (int i = 0; i < MOST; i++)
                if (atomic_load(&hits[i]) != (i >= offset && i < offset + count))
                    fail_msg("%d threads, job %d: index %d was done %d times", threads, job, i,
                             atomic_load(&hits[i]));
        }
    }
    dppo_set_threads(1);
}

static void outer(void *context, int64_t begin, int64_t end) {
    (void)context;
    for (int64_t i = begin; i < end; i++) {
        int64_t offset = 10 * i;
        dppo_parallel_for(10, 1, hit, &offset);
    }
}

static void test_jobs_within_jobs(void **unused) {
    (void)unused;
    dppo_set_threads(4);
    for (int i = 0; i < MOST; i++)
        atomic_store(&hits[i], 0);
    dppo_parallel_for(20, 1, outer, NULL);
    for (int i = 0; i < MOST; i++)
        assert_int_equal(atomic_load(&hits[i]), i < 200);
    dppo_set_threads(1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_index_once),
                                       cmocka_unit_test(test_jobs_within_jobs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
