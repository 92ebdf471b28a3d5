/* The threads of the compiled kernels: they wait for work without the interpreter, awake for a moment, then asleep.
 *
 * A job is a number of tickets, taken one by one by the caller and by as many workers as come in time: a worker that wakes
 * late costs nothing but its waking. Callers in several threads have a job each; workers go where tickets are left. */
#ifndef FASTSOFTMAX_POOL_H
#define FASTSOFTMAX_POOL_H

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "storage.h"

#define SPIN_NS 50000                  /* a sleeper takes 30 to 60 us to wake: spinning as long costs at most that again */
#define PATIENCE_NS 2000000            /* another library's threads spin for some milliseconds */
#define POLL_NS 10000000               /* the caller looks after signals so often, but between tickets only */

typedef struct fs_work {
    void (*run)(void *arg, Py_ssize_t ticket, void *room);
    int (*poll)(void);                 /* nonzero stops the job; may be NULL */
    void *arg;
    Py_ssize_t n_tickets;
    size_t room_bytes;                 /* memory of each thread's own */
    int helpers;                       /* workers that may still come */
    int came;                          /* workers that have */
    int is_short;                      /* over before the system would move a worker to a free CPU */
    int cpu;                           /* the caller's */
    atomic_int inside;                 /* workers that are at it */
    atomic_long next;
    struct fs_work *link;
} fs_work;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t posted, left;
    fs_work *open;                     /* jobs that workers may come to */
    atomic_int n_workers, n_asleep;    /* changed under the lock, read without it */
    int n_cpus;
    atomic_uint n_posted;
    atomic_llong last;                 /* when a job that was not worth waking anyone had its end */
    atomic_llong in_vain;              /* when somebody was last called and nobody came in time */
    unsigned n_forks;                  /* of which this process is the child */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .posted = PTHREAD_COND_INITIALIZER, .left = PTHREAD_COND_INITIALIZER};

INLINE int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}
INLINE void pause_briefly(void) {
#if defined(__SSE2__)
    for (int i = 0; i < 16; i++) _mm_pause();
#endif
}
INLINE int this_cpu(void) {
#ifdef __linux__
    return sched_getcpu();
#else
    return -1;
#endif
}
INLINE int usable_cpus(void) {
#ifdef CPU_COUNT
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}
/* From its caller's CPU to another, where a worker wakes while another library's threads spin on all the others, or because the
 * system thinks that its data are there: it would wait for the caller, some milliseconds. (20,000 classes in float32, 64 rows:
 * the loss takes 0.09 ms so after a call of PyTorch, not 0.13.) Not where the threads are more than the CPUs. */
static void pool_leave(int cpu) {
#ifdef CPU_COUNT
    cpu_set_t all, others;
    if (cpu < 0 || cpu != this_cpu() || pool.n_workers >= pool.n_cpus || sched_getaffinity(0, sizeof all, &all)) return;
    others = all;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others)) sched_setaffinity(0, sizeof all, &all);
#else
    (void)cpu;
#endif
}
/* until when to wait awake: not where the threads are more than the CPUs */
INLINE int64_t spin_end(void) { return pool.n_workers < pool.n_cpus ? now_ns() + SPIN_NS : 0; }

/* Take tickets until there are none. 0, or what `poll` says, which only the caller of a job asks. */
static int pool_drain(fs_work *work, int (*poll)(void), void *room) {
    int64_t polled = poll ? now_ns() : 0;
    for (;;) {
        Py_ssize_t ticket = atomic_fetch_add_explicit(&work->next, 1, memory_order_relaxed);
        if (ticket >= work->n_tickets) return 0;
        work->run(work->arg, ticket, room);
        if (poll && now_ns() - polled > POLL_NS) {
            int stop = poll();
            if (stop) {
                atomic_store_explicit(&work->next, work->n_tickets, memory_order_relaxed);
                return stop;
            }
            polled = now_ns();
        }
    }
}

/* Under the lock: a job that has tickets and wants another worker, or NULL. A worker on the caller's own CPU, where the
 * system puts it while another library's threads spin on all the others, would only be in the way of a short job: it sleeps. */
static fs_work *pool_choose(int *spins) {
    int cpu = this_cpu();
    *spins = 1;
    for (fs_work *work = pool.open; work; work = work->link)
        if (work->is_short && work->cpu == cpu && cpu >= 0) *spins = 0;
        else if (work->helpers > 0 && atomic_load_explicit(&work->next, memory_order_relaxed) < work->n_tickets) return work;
    return NULL;
}

static void *pool_worker(void *unused) {
    (void)unused;
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        unsigned seen = atomic_load(&pool.n_posted);
        int spins;
        fs_work *work = pool_choose(&spins);
        if (work) {
            work->helpers--, work->came++;
            atomic_fetch_add(&work->inside, 1);
            pthread_mutex_unlock(&pool.lock);
            pool_leave(work->cpu);
            void *room = work->room_bytes ? malloc(work->room_bytes) : NULL;
            if (room || !work->room_bytes) pool_drain(work, NULL, room); /* without memory the others do it */
            free(room);
            pthread_mutex_lock(&pool.lock);
            if (atomic_fetch_sub(&work->inside, 1) == 1) pthread_cond_broadcast(&pool.left); /* the job may be gone now */
            continue;
        }
        pthread_mutex_unlock(&pool.lock);
        for (int64_t end = spin_end(); spins && atomic_load(&pool.n_posted) == seen && now_ns() < end;) pause_briefly();
        pthread_mutex_lock(&pool.lock);
        pool.n_asleep++;
        while (atomic_load(&pool.n_posted) == seen) pthread_cond_wait(&pool.posted, &pool.lock);
        pool.n_asleep--;
    }
    return NULL;
}

/* Under the lock: workers up to n, or as many as the system gives. They take no signals: those are the interpreter's. */
static void pool_grow(int n) {
    sigset_t all, old;
    pthread_attr_t detached;
    pthread_t thread;
    if (pool.n_workers >= n || pthread_attr_init(&detached)) return;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (pool.n_workers < n && !pthread_create(&thread, &detached, pool_worker, NULL)) pool.n_workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&detached);
}

/* All tickets of the job, with up to n_threads - 1 workers beside the caller. 0; what `poll` said; POOL_NO_MEMORY; or
 * POOL_FORKED where `poll` forked and this is the child, which has no workers to wait for and not what they had begun. */
enum { POOL_NO_MEMORY = -2, POOL_FORKED = -3 };
static int pool_run(fs_work *work, int n_threads) {
    void *room = work->room_bytes ? malloc(work->room_bytes) : NULL;
    if (work->room_bytes && !room) return POOL_NO_MEMORY;
    atomic_init(&work->next, 0);
    atomic_init(&work->inside, 0);
    work->came = 0;
    work->cpu = this_cpu();
    work->helpers = (n_threads < work->n_tickets ? n_threads : (int)work->n_tickets) - 1;
    if (work->helpers <= 0) {
        int stopped = pool_drain(work, work->poll, room);
        free(room);
        return stopped;
    }
    pthread_mutex_lock(&pool.lock);
    unsigned forks = pool.n_forks;
    pool_grow(work->helpers);
    work->link = pool.open;
    pool.open = work;
    atomic_fetch_add(&pool.n_posted, 1);
    if (work->helpers >= pool.n_asleep) pthread_cond_broadcast(&pool.posted);
    else for (int i = 0; i < work->helpers; i++) pthread_cond_signal(&pool.posted);
    pthread_mutex_unlock(&pool.lock);

    int stopped = pool_drain(work, work->poll, room);
    free(room);

    pthread_mutex_lock(&pool.lock);
    if (pool.n_forks != forks) stopped = POOL_FORKED;
    else {
        fs_work **at = &pool.open;
        while (*at != work) at = &(*at)->link;
        *at = work->link;
        pthread_mutex_unlock(&pool.lock);
        for (int64_t end = spin_end(); atomic_load(&work->inside) && now_ns() < end;) pause_briefly();
        pthread_mutex_lock(&pool.lock);
        if (!work->came) atomic_store_explicit(&pool.in_vain, now_ns(), memory_order_relaxed);
        while (atomic_load(&work->inside)) pthread_cond_wait(&pool.left, &pool.lock);
    }
    pthread_mutex_unlock(&pool.lock);
    return stopped;
}

/* Whether a job too small for waking anyone is worth a second thread all the same: one is awake, or such jobs follow close
 * upon each other, when waking pays from the next one on, unless it was in vain a moment ago. Else pool_alone is to be told
 * when it has ended. */
static int pool_is_near(void) {
    if (pool.n_workers > pool.n_asleep) return 1;
    int64_t now = now_ns();
    return now - atomic_load_explicit(&pool.last, memory_order_relaxed) < SPIN_NS
        && now - atomic_load_explicit(&pool.in_vain, memory_order_relaxed) > PATIENCE_NS;
}
static void pool_alone(void) { atomic_store_explicit(&pool.last, now_ns(), memory_order_relaxed); }

static void pool_before_fork(void) { pthread_mutex_lock(&pool.lock); }
static void pool_in_parent(void) { pthread_mutex_unlock(&pool.lock); }
static void pool_in_child(void) { /* which has none of the threads */
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.posted, NULL);
    pthread_cond_init(&pool.left, NULL);
    pool.open = NULL;
    pool.n_workers = pool.n_asleep = 0;
    pool.n_forks++;
}

/* Once, before the first job. */
static void pool_start(void) {
    pool.n_cpus = usable_cpus();
    pthread_atfork(pool_before_fork, pool_in_parent, pool_in_child);
}

#endif
