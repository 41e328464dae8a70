#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

enum { MAX_THREADS = 256 };

/* One job at a time, numbered. The ticket is the job's number and its next chunk in one word: whoever moves
 * it on owns that chunk, and the job lasts until all chunks are done. So a worker that comes late finds
 * either a chunk or another job, and nobody waits for it: a job with too little work to wake anybody is done
 * by the thread that brought it. Whoever waits looks for a moment before it sleeps on `wake` or `idle`: in a
 * network one job follows another within microseconds, less than it takes to wake a thread. */
static struct {
    pthread_mutex_t lock;
    pthread_mutex_t submit; /* held by the thread whose job is running */
    pthread_cond_t wake, idle;
    pthread_t threads[MAX_THREADS];
    bool sleeps[MAX_THREADS]; /* on `wake` */
    int running, wanted;
    _Atomic bool stop, waiting; /* the submitter sleeps on `idle` */
    _Atomic int asleep;         /* workers on `wake` */
    _Atomic uint64_t ticket;    /* job << 32 | next chunk */
    _Atomic int64_t chunks, done;
    void (*body)(void *, int64_t, int64_t);
    void *context;
    int64_t count, grain;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .submit = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER,
          .idle = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside;

static uint32_t present_job(void) {
    return (uint32_t)(atomic_load(&pool.ticket) >> 32);
}

/* The job's fields are read while one of its chunks is not done: they are its own. */
static void do_chunk(int64_t chunk) {
    int64_t begin = chunk * pool.grain, all = atomic_load(&pool.chunks);
    int64_t end = begin + pool.grain < pool.count ? begin + pool.grain : pool.count;
    pool.body(pool.context, begin, end);
    if (atomic_fetch_add(&pool.done, 1) + 1 < all || !atomic_load(&pool.waiting)) return;
    pthread_mutex_lock(&pool.lock);
    pthread_cond_signal(&pool.idle);
    pthread_mutex_unlock(&pool.lock);
}

static void take_chunks(uint32_t job) {
    uint64_t ticket = atomic_load(&pool.ticket);
    inside = true;
    while (ticket >> 32 == job && (int64_t)(ticket & UINT32_MAX) < atomic_load(&pool.chunks)) {
        if (!atomic_compare_exchange_weak(&pool.ticket, &ticket, ticket + 1)) continue;
        do_chunk((int64_t)(ticket & UINT32_MAX));
        ticket = atomic_load(&pool.ticket);
    }
    inside = false;
}

enum { LOOKS = 2000 }; /* some tens of microseconds */

static void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static bool all_done(void) {
    return atomic_load(&pool.done) == atomic_load(&pool.chunks);
}

static void wait_for_end(void) {
    for (int i = 0; i < LOOKS && !all_done(); i++)
        pause_a_little();
    if (all_done()) return;
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.waiting, true);
    while (!all_done())
        pthread_cond_wait(&pool.idle, &pool.lock);
    atomic_store(&pool.waiting, false);
    pthread_mutex_unlock(&pool.lock);
}

/* Another job than `seen`, or the order to stop. */
static bool something_new(uint32_t seen) {
    return present_job() != seen || atomic_load(&pool.stop);
}

/* Where a worker may run, while it is kept off the processor of whoever wakes it: Linux may wake it there
 * though another is idle, and then the two take turns for milliseconds before they are parted. */
#ifdef __linux__
static struct {
    cpu_set_t all;
    bool kept_off;
} places[MAX_THREADS];

/* The worker sleeps. It is free to be moved again as soon as it runs. */
static void keep_off(int which, int cpu) {
    pthread_t thread = pool.threads[which];
    cpu_set_t *all = &places[which].all, others;
    if (places[which].kept_off || cpu < 0 || pthread_getaffinity_np(thread, sizeof *all, all) != 0) return;
    if (CPU_COUNT(all) <= pool.running) return; /* not a processor for each */
    others = *all;
    CPU_CLR((size_t)cpu, &others);
    places[which].kept_off = pthread_setaffinity_np(thread, sizeof others, &others) == 0;
}

static void let_go(int which) {
    if (places[which].kept_off) (void)sched_setaffinity(0, sizeof(cpu_set_t), &places[which].all);
    places[which].kept_off = false;
}

static int present_cpu(void) {
    return sched_getcpu();
}
#else
static void keep_off(int which, int cpu) {
    (void)which, (void)cpu;
}
static void let_go(int which) {
    (void)which;
}
static int present_cpu(void) {
    return -1;
}
#endif

static void wait_for_job(int which, uint32_t seen) {
    for (int i = 0; i < LOOKS && !something_new(seen); i++)
        pause_a_little();
    if (something_new(seen)) return;
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.asleep, 1);
    pool.sleeps[which] = true;
    while (!something_new(seen))
        pthread_cond_wait(&pool.wake, &pool.lock);
    pool.sleeps[which] = false;
    atomic_fetch_sub(&pool.asleep, 1);
    let_go(which);
    pthread_mutex_unlock(&pool.lock);
}

static void *worker(void *context) {
    int which = (int)(intptr_t)context;
    uint32_t seen = 0; /* not the job found on starting: it may count on this thread already */
    for (;;) {
        wait_for_job(which, seen);
        if (atomic_load(&pool.stop)) return NULL;
        seen = present_job();
        take_chunks(seen);
    }
}

static void wake_workers(void) {
    if (atomic_load(&pool.asleep) == 0) return;
    int cpu = present_cpu();
    pthread_mutex_lock(&pool.lock);
    for (int i = 0; i < pool.running; i++)
        if (pool.sleeps[i]) keep_off(i, cpu);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

static void stop_workers(void) {
    atomic_store(&pool.stop, true);
    wake_workers();
    for (int i = 0; i < pool.running; i++)
        pthread_join(pool.threads[i], NULL);
    pool.running = 0;
    atomic_store(&pool.stop, false);
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
        if (pthread_create(&pool.threads[pool.running], NULL, worker, (void *)(intptr_t)pool.running) != 0)
            break;
        pool.running++;
    }
}

int dppo_threads(void) {
    return pool.wanted > 0 ? pool.wanted : 1;
}

void dppo_parallel_for(int64_t count, int64_t grain, void (*body)(void *, int64_t, int64_t), void *context) {
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    if (inside || pool.running == 0 || count <= grain || count / grain >= UINT32_MAX) {
        for (int64_t begin = 0; begin < count; begin += grain)
            body(context, begin, begin + grain < count ? begin + grain : count);
        return;
    }
    pthread_mutex_lock(&pool.submit);
    uint64_t job = present_job();
    atomic_store(&pool.ticket, job << 32 | UINT32_MAX); /* nobody takes a chunk of the last job any more */
    pool.body = body;
    pool.context = context;
    pool.count = count;
    pool.grain = grain;
    atomic_store(&pool.chunks, (count - 1) / grain + 1);
    atomic_store(&pool.done, 0);
    job = (job + 1) & UINT32_MAX;
    atomic_store(&pool.ticket, job << 32);
    wake_workers();
    take_chunks((uint32_t)job);
    wait_for_end();
    pthread_mutex_unlock(&pool.submit);
}
