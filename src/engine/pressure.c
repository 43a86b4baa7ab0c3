/* pressure.c - writers are slowed a little, early, rather than stopped for long, late.
 *
 * Debt is what the worker has not done yet: MemDBs waiting to be flushed, and runs of tier 0 beyond
 * those that a merge wants. Writers owe time in proportion to their bytes: at the pace of the last
 * flushes when one MemDB waits and the next is half full, somewhat slower when all places are
 * taken, and up to four times slower when runs pile up. What is owed is slept off in pieces of half
 * a millisecond or more, since shorter sleeps cost more than they give. */
#include "engine/engine_priv.h"

#define SLEEP_NS_MIN 500000.0
#define SLEEP_NS_MAX 20000000.0
#define SAY_NS UINT64_C(10000000000) /* an event at most this often */

/* How many times the flush pace a byte should take now; 0: no delay. */
static double slowness(struct quern *db)
{
    uint32_t runs = atomic_load_explicit(&db->tier0_runs, memory_order_relaxed);
    uint32_t fine = 2 * db->options.tier_runs;
    uint64_t over = atomic_load_explicit(&db->over_bytes, memory_order_relaxed);
    size_t sealed = engine_sealed_count(db);
    double slow = 0;

    if (sealed != 0) {
        struct mem_info info;

        mem_info(db->active.mem, &info);
        if (sealed == SEALED_MAX)
            slow = 1.2;
        else if (info.arena_bytes > db->active.capacity / 2)
            slow = 0.8;
    }
    if (runs > fine) {
        double more = 1.0 + (double)(runs - fine) / fine;

        slow += more < 4.0 ? more : 4.0;
    }
    if (over != 0) {
        double more = 8.0 * (double)over / (double)db->options.memdb_bytes;

        slow += more < 12.0 ? more : 12.0;
    }
    return slow;
}

bool pressure_is_on(struct quern *db)
{
    return atomic_load_explicit(&db->flush_rate, memory_order_relaxed) != 0 && slowness(db) > 0;
}

unsigned quern_pressure(struct quern *db)
{
    return atomic_load_explicit(&db->pressure, memory_order_relaxed);
}

void pressure_wait(struct quern *db, uint64_t bytes)
{
    uint64_t rate = atomic_load_explicit(&db->flush_rate, memory_order_relaxed);
    double slow = rate != 0 ? slowness(db) : 0;
    uint32_t percent = slow <= 0 ? 0 : (uint32_t)(100 * slow / (1 + slow));
    uint64_t began, slept;

    if (UNLIKELY(atomic_load_explicit(&db->pressure, memory_order_relaxed) != percent))
        atomic_store_explicit(&db->pressure, percent, memory_order_relaxed);
    if (LIKELY(slow <= 0)) {
        db->slow_debt_ns = 0;
        return;
    }
    db->slow_debt_ns += slow * (double)bytes * 1e9 / (double)rate;
    if (db->slow_debt_ns < SLEEP_NS_MIN)
        return;
    if (db->slow_debt_ns > SLEEP_NS_MAX)
        db->slow_debt_ns = SLEEP_NS_MAX;
    began = os_now_ns(db->os);
    thread_sleep_ns((uint64_t)db->slow_debt_ns);
    slept = os_now_ns(db->os) - began;
    db->slow_debt_ns -= (double)slept; /* a sleep that took too long is credited */
    db->was_slowed = true;
    atomic_fetch_add_explicit(&db->slowed_writes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->slowed_ns, slept, memory_order_relaxed);
    if (began - db->slow_said_ns >= SAY_NS || db->slow_said_ns == 0) {
        db->slow_said_ns = began;
        engine_event(db, QUERN_EVENT_SLOWED, 0, 0, slept,
                     "writers wait for the background: %.1f times the time a flush takes", slow);
    }
}
