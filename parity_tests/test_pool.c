/* The worker pool: every index once, however many threads there are and however late they come. */
#include "base/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#ifdef __linux__
#include <sched.h>
#include <time.h>
#endif

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

#ifdef __linux__
typedef struct meeting {
    _Atomic int present, narrow; /* threads that are here; those that may not run everywhere */
    cpu_set_t everywhere;
} meeting;

/* Two threads meet, so that the worker is one of them; each says where it may run. */
static void meet(void *context, int64_t begin, int64_t end) {
    meeting *m = context;
    cpu_set_t mine;
    (void)begin, (void)end;
    atomic_fetch_add(&m->present, 1);
    while (atomic_load(&m->present) % 2 != 0)
        (void)sched_yield();
    if (sched_getaffinity(0, sizeof mine, &mine) != 0 || !CPU_EQUAL(&mine, &m->everywhere))
        atomic_fetch_add(&m->narrow, 1);
}

/* Waking keeps a worker off one processor; it does its work without that limit. */
static void test_woken_workers_are_free(void **unused) {
    (void)unused;
    const struct timespec rest = {.tv_nsec = 2 * 1000 * 1000}; /* the worker falls asleep */
    meeting m = {0};
    assert_int_equal(sched_getaffinity(0, sizeof m.everywhere, &m.everywhere), 0);
    dppo_set_threads(2);
    for (int job = 0; job < 20; job++) {
        (void)nanosleep(&rest, NULL);
        dppo_parallel_for(2, 1, meet, &m);
    }
    dppo_set_threads(1);
    assert_int_equal(atomic_load(&m.present), 40);
    assert_int_equal(atomic_load(&m.narrow), 0);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#ifdef __linux__
        cmocka_unit_test(test_woken_workers_are_free),
#endif
        cmocka_unit_test(test_every_index_once),
        cmocka_unit_test(test_jobs_within_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
