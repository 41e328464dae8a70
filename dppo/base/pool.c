#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum { MAX_THREADS = 256 };

/* One job at a time. Workers wait for it, take chunks from the atomic counter, and the last to leave signals
 * `idle`. A generation number tells a new job from a spurious wake-up. Whoever waits looks for a moment
 * before it sleeps on `wake` or `idle`: in a network one job follows another within microseconds, less than
 * it takes to wake a thread. */
static struct {
    pthread_mutex_t lock;
    pthread_mutex_t submit; /* held by the thread whose job is running */
    pthread_cond_t wake, idle;
    pthread_t threads[MAX_THREADS];
    int running, wanted;
    bool stop;
    _Atomic uint64_t generation;
    _Atomic int busy;
    void (*body)(void *, int64_t, int64_t);
    void *context;
    int64_t count, grain;
    _Atomic int64_t next;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .submit = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .idle = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside;

static void take_chunks(void) {
    inside = true;
    for (;;) {
        int64_t begin = atomic_fetch_add(&pool.next, pool.grain);
        if (begin >= pool.count) break;
        int64_t end = begin + pool.grain < pool.count ? begin + pool.grain : pool.count;
        pool.body(pool.context, begin, end);
    }
    inside = false;
}

enum { LOOKS = 2000 }; /* some tens of microseconds */

static void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void look_for_job(uint64_t seen) {
    for (int i = 0; i < LOOKS && atomic_load(&pool.generation) == seen; i++)
        pause_a_little();
}

static void look_for_end(void) {
    for (int i = 0; i < LOOKS && atomic_load(&pool.busy) > 0; i++)
        pause_a_little();
}

static void *worker(void *unused) {
    (void)unused;
    uint64_t seen =
        0; /* not the generation found on starting: a job that counts on this thread may be there already */
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (!pool.stop && pool.generation == seen)
            pthread_cond_wait(&pool.wake, &pool.lock);
        if (pool.stop) break;
        seen = pool.generation;
        pthread_mutex_unlock(&pool.lock);
        take_chunks();
        if (atomic_fetch_sub(&pool.busy, 1) == 1) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.idle);
            pthread_mutex_unlock(&pool.lock);
        }
        look_for_job(seen);
        pthread_mutex_lock(&pool.lock);
    }
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

static void stop_workers(void) {
    pthread_mutex_lock(&pool.lock);
    pool.stop = true;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 0; i < pool.running; i++)
        pthread_join(pool.threads[i], NULL);
    pool.running = 0;
    pool.stop = false;
    pool.generation = 0;
}

extern void openblas_set_num_threads(int count);

void dppo_set_threads(int count) {
    if (count <= 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        count = cores > 0 ? (int)cores : 1;
    }
    if (count > MAX_THREADS) count = MAX_THREADS;
    openblas_set_num_threads(1);
    if (pool.wanted == count) return;
    stop_workers();
    pool.wanted = count;
    for (int i = 0; i < count - 1; i++) {
        if (pthread_create(&pool.threads[pool.running], NULL, worker, NULL) != 0) break;
        pool.running++;
    }
}

int dppo_threads(void) {
    return pool.wanted > 0 ? pool.wanted : 1;
}

void dppo_parallel_for(int64_t count, int64_t grain, void (*body)(void *, int64_t, int64_t), void *context) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    if (inside || pool.running == 0 || count <= grain) {
        for (int64_t begin = 0; begin < count; begin += grain)
            body(context, begin, begin + grain < count ? begin + grain : count);
        return;
    }
    pthread_mutex_lock(&pool.submit);
    pthread_mutex_lock(&pool.lock);
    pool.body = body;
    pool.context = context;
    pool.count = count;
    pool.grain = grain;
    atomic_store(&pool.next, 0);
    pool.busy = pool.running;
    pool.generation++;
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    take_chunks();
    look_for_end();
    pthread_mutex_lock(&pool.lock);
    while (pool.busy > 0)
        pthread_cond_wait(&pool.idle, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    pthread_mutex_unlock(&pool.submit);
}
