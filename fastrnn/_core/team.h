/* Several threads on one run, which has too few rows to be cut by rows: they share the panels of a phase (the
 * input product of a block of steps, a stage of a step) and meet at its end.
 *
 * Each member takes chunks of panels from its own part, the same at every step, so that half of R stays in each
 * core's L2; then from the others' parts. Nobody waits for a member that has not begun: one that comes late
 * finds the phases behind it taken and done, and catches up. So a busy machine delays, but never blocks.
 * Who computed a chunk changes no bit.
 */
#ifndef FR_TEAM_H
#define FR_TEAM_H

#include "pool.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct FrTeam {
    _Alignas(64) atomic_ptrdiff_t done;  /* chunks, of all phases so far          */
    _Alignas(64) atomic_int finished;    /* somebody has reached the end          */
    struct {
        _Alignas(64) atomic_uint_fast64_t next; /* phase << 32 | chunks taken     */
    } part[];
} FrTeam;

static inline size_t fr_team_size(int members)
{
    return members > 1 ? sizeof(FrTeam) + members * sizeof(((FrTeam *)0)->part[0]) : 0;
}

/* Before any member begins. */
static inline void fr_team_begin(FrTeam *team, int members)
{
    atomic_init(&team->done, 0);
    atomic_init(&team->finished, 0);
    for (int i = 0; i < members; i++)
        atomic_init(&team->part[i].next, 0);
}

/* One thread's view; a run without a team has one member and no atomic. */
typedef struct FrMember {
    FrTeam *team;
    int members, rank, chunks; /* chunks of the phase at hand                     */
    uint64_t phase;
    ptrdiff_t expected;        /* chunks done once the phase at hand is           */
    int taken, part;           /* chunks taken here; the part being taken from    */
    int backwards;             /* from the last chunk of a part to the first      */
} FrMember;

static inline FrMember fr_member(FrTeam *team, int members, int rank)
{
    return (FrMember){.team = members > 1 ? team : NULL, .members = members, .rank = rank};
}

static inline void fr_phase_begin(FrMember *m, int chunks)
{
    m->chunks = chunks;
    m->expected += chunks;
    m->phase++;
    m->taken = m->part = 0;
}

/* The next chunk for this member, or -1 when all are taken. */
static inline int fr_phase_next(FrMember *m)
{
    if (!m->team) {
        const int chunk = m->backwards ? m->chunks - 1 - m->taken : m->taken;
        return m->taken++ < m->chunks ? chunk : -1;
    }
    for (; m->part < m->members; m->part++) {
        const int part = (m->rank + m->part) % m->members;
        const int first = m->chunks * part / m->members, last = m->chunks * (part + 1) / m->members;
        atomic_uint_fast64_t *next = &m->team->part[part].next;
        uint_fast64_t seen = atomic_load_explicit(next, memory_order_relaxed);
        for (;;) {
            const int taken = seen >> 32 == m->phase ? (int)(uint32_t)seen : 0;
            if (seen >> 32 > m->phase || first + taken == last)
                break;
            if (atomic_compare_exchange_weak_explicit(next, &seen, m->phase << 32 | (uint32_t)(taken + 1),
                                                      memory_order_relaxed, memory_order_relaxed)) {
                m->taken++;
                return m->backwards ? last - 1 - taken : first + taken;
            }
        }
    }
    return -1;
}

/* Returns when all chunks of the phase are done. */
static inline void fr_phase_end(FrMember *m)
{
    if (!m->team)
        return;
    if (m->taken)
        atomic_fetch_add_explicit(&m->team->done, m->taken, memory_order_acq_rel);
    for (unsigned spins = 0; atomic_load_explicit(&m->team->done, memory_order_acquire) < m->expected; spins++)
        fr_pause(spins);
}

/* Whether there is nothing left to do for a member that comes late. */
static inline int fr_finished(const FrMember *m)
{
    return m->team && atomic_load_explicit(&m->team->finished, memory_order_acquire);
}

static inline void fr_finish(const FrMember *m)
{
    if (m->team)
        atomic_store_explicit(&m->team->finished, 1, memory_order_release);
}

#endif
