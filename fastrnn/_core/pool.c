#ifdef __linux__
#define _GNU_SOURCE
#endif
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

/* Pauses before going to sleep: some 50 us, longer than the serial parts of a training step between
 * two parallel ones; a spinning worker on a busy machine would take the CPU from who holds the work. */
enum { SPINS = 1000, MOST_WORKERS = 1023 };

static struct {
    pthread_mutex_t use;    /* held by the caller whose job runs                */
    pthread_mutex_t lock;   /* guards sleeping and waking                       */
    pthread_cond_t work, done;
    int workers;            /* started                                          */
    FrTask task;
    void *context;
    int count;
    atomic_uint job;        /* number of the job                                */
    atomic_int next, left;  /* next index to take; indices not finished yet     */
    atomic_int busy;        /* workers that are looking at the job              */
    int open;               /* under lock: the job takes workers                */
    int cpu;                /* where its caller runs                            */
} pool = {.use = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER,
          .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static atomic_int threads = 1;

void fr_set_threads(int n) { atomic_store(&threads, n < 1 ? 1 : n); }
int fr_get_threads(void) { return atomic_load(&threads); }

/* Some kernels wake a worker on the CPU of who wakes it, or move it there, and leave it beside an idle one. So a
 * worker keeps off the CPU on which its job's caller began. */
#ifdef __linux__
typedef struct Cpus {
    cpu_set_t all;
    int avoided;
} Cpus;

static int current_cpu(void) { return sched_getcpu(); }

static Cpus cpus(void)
{
    Cpus c = {.avoided = -1};
    if (sched_getaffinity(0, sizeof c.all, &c.all))
        CPU_ZERO(&c.all);
    return c;
}

static void avoid(Cpus *c, int cpu)
{
    if (c->avoided == cpu)
        return;
    cpu_set_t others = c->all;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others))
        sched_setaffinity(0, sizeof others, &others);
    c->avoided = cpu;
}
#else
typedef int Cpus;
static int current_cpu(void) { return 0; }
static Cpus cpus(void) { return 0; }
static void avoid(Cpus *c, int cpu) { (void)c, (void)cpu; }
#endif

/* Takes indices until there are none. */
static void work(void)
{
    for (int i; (i = atomic_fetch_add(&pool.next, 1)) < pool.count;) {
        pool.task(pool.context, i);
        if (atomic_fetch_sub(&pool.left, 1) == 1) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.lock);
        }
    }
}

static void *worker(void *seen_)
{
    unsigned seen = (unsigned)(size_t)seen_;
    Cpus mine = cpus();
    for (;;) {
        for (int spin = 0; spin < SPINS && atomic_load(&pool.job) == seen; spin++)
            fr_pause(0);
        pthread_mutex_lock(&pool.lock);
        while (atomic_load(&pool.job) == seen)
            pthread_cond_wait(&pool.work, &pool.lock);
        seen = atomic_load(&pool.job);
        const int open = pool.open;
        if (open)
            atomic_fetch_add(&pool.busy, 1);
        pthread_mutex_unlock(&pool.lock);
        if (open) {
            avoid(&mine, pool.cpu);
            work();
            atomic_fetch_sub(&pool.busy, 1);
        }
    }
    return NULL;
}

/* In a forked child the workers are gone, and so is whoever held a lock. */
static void after_fork(void)
{
    pthread_mutex_init(&pool.use, NULL);
    pthread_mutex_init(&pool.lock, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.workers = 0;
    pool.open = 0;
    atomic_store(&pool.busy, 0);
}

static void start_workers(int wanted)
{
    static int registered;
    if (!registered) {
        pthread_atfork(NULL, NULL, after_fork);
        registered = 1;
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (pool.workers < wanted && pool.workers < MOST_WORKERS) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, worker, (void *)(size_t)atomic_load(&pool.job)))
            break;
        pool.workers++;
    }
    pthread_attr_destroy(&attributes);
}

void fr_parallel(FrTask task, void *context, int count)
{
    const int most = fr_get_threads();
    if (count < 2 || most < 2 || pthread_mutex_trylock(&pool.use)) {
        for (int i = 0; i < count; i++)
            task(context, i);
        return;
    }
    start_workers((count < most ? count : most) - 1);
    pool.task = task;
    pool.context = context;
    pool.count = count;
    pool.cpu = current_cpu();
    atomic_store(&pool.left, count);
    atomic_store(&pool.next, 0);
    pthread_mutex_lock(&pool.lock);
    pool.open = 1;
    atomic_fetch_add(&pool.job, 1);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);

    work();
    for (int spin = 0; spin < SPINS && atomic_load(&pool.left); spin++)
        fr_pause(0);
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&pool.left))
        pthread_cond_wait(&pool.done, &pool.lock);
    pool.open = 0;
    pthread_mutex_unlock(&pool.lock);
    for (unsigned spins = 0; atomic_load(&pool.busy); spins++) /* they have found no index left and are on their way out */
        fr_pause(spins);
    pthread_mutex_unlock(&pool.use);
}
