/* test_crash.c - the power goes at every change a short history makes to the disk; what is there
 * afterwards must be what was promised.
 *
 * A history is a word; each letter is a step:
 *
 *     p P  put, synced put        b B  batch, synced batch      d D  delete, synced delete
 *     L    put of 40 000 bytes    s    quern_sync               f    flush
 *     c    compact                r    close and open again     k    checkpoint
 *
 * Writes are numbered 1, 2, 3, ... and what each does follows from its number alone, so the store
 * after the first p writes is known for every p. After a crash the contents must be those of some
 * p:
 *
 *     durable <= p <= issued     power cut: all that a returned sync, flush or close covers
 *     acked   <= p <= issued     kill -9: all that was acknowledged
 *
 * Being exactly one of those states means: nothing lost, no hole, every batch whole. Then the store
 * must verify, take writes, and bear a second crash at any point of its recovery. The worker thread
 * makes the number of operations vary between runs; a crash point that is never reached is a run
 * without a crash, and the checks hold for it as well.
 *
 *     CRASH_FULL=1     every point instead of a sample
 *     TEST_SEED=n      the same sample and the same half-written sectors again */
#include "sim.h"
#include "tap.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEYS 24
#define WRITES_MAX 400
#define OPS_MAX 6
#define VALUE_MAX 40000
#define SAMPLE_POINTS 24 /* of one history, when not all are wanted */
#define SHARES 6         /* processes at once */
#define PATH "/db"
#define COPY "/copy"

/* ---- what a write does ---- */

struct write {
    unsigned count;
    struct {
        unsigned key;
        bool gone;
        size_t len;
    } op[OPS_MAX];
};

static unsigned mix(unsigned a, unsigned b)
{
    uint64_t x = ((uint64_t)a << 20) + b + 1;

    x *= UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned)(x >> 40);
}

static bool is_write(char step)
{
    return strchr("pPbBdDL", step) != NULL;
}

static bool is_synced(char step)
{
    return strchr("PBD", step) != NULL;
}

static struct write write_of(char step, unsigned n)
{
    struct write w = {.count = step == 'b' || step == 'B' ? 2 + mix(n, 0) % (OPS_MAX - 1) : 1};

    for (unsigned i = 0; i < w.count; i++) {
        unsigned r = mix(n, i + 1);

        w.op[i].key = r % KEYS;
        w.op[i].gone = step == 'd' || step == 'D' || (w.count > 1 && r / KEYS % 4 == 0);
        w.op[i].len = step == 'L' ? VALUE_MAX : 12 + r / KEYS % (r % 7 == 0 ? 3000 : 300);
    }
    return w;
}

static struct quern_slice key_of(unsigned key)
{
    static char names[KEYS][40];

    (void)snprintf(names[key], sizeof(names[key]), "key-%02u%.*s", key, (int)(key % 5) * 5,
                   "........................");
    return QUERN_STR(names[key]);
}

/* The value of write n under a key: its number, then bytes that follow from both. */
static struct quern_slice value_of(uint8_t *room, unsigned n, unsigned key, size_t len)
{
    (void)snprintf((char *)room, 12, "%010u:", n);
    for (size_t i = 11; i < len; i++)
        room[i] = (uint8_t)(n * 31 + key * 7 + i * (1 + n % 3));
    return (struct quern_slice){room, len};
}

/* ---- the states a history goes through ---- */

struct cell {
    unsigned n; /* the write it comes from; 0: no such key */
    size_t len;
};

struct history {
    const char *steps;
    unsigned writes;
    char step_of[WRITES_MAX];            /* from 1 */
    struct cell state[WRITES_MAX][KEYS]; /* after the first p writes */
    struct quern_options options;
    bool mapping, direct;
};

static void history_init(struct history *h, const char *steps)
{
    memset(h, 0, sizeof(*h));
    h->steps = steps;
    h->mapping = h->direct = true;
    h->options = (struct quern_options){
        .memory_bytes = 1 << 20,
        .memdb_bytes = 16 * 1024,
        .log_segment_bytes = 64 * 1024,
        .table_bytes = 4096,
        .block_bytes = 256,
        .tier_runs = 3,
    };
    for (const char *s = steps; *s != '\0'; s++) {
        struct write w;

        if (!is_write(*s))
            continue;
        h->writes++;
        h->step_of[h->writes] = *s;
        memcpy(h->state[h->writes], h->state[h->writes - 1], sizeof(h->state[0]));
        w = write_of(*s, h->writes);
        for (unsigned i = 0; i < w.count; i++)
            h->state[h->writes][w.op[i].key] =
                w.op[i].gone ? (struct cell){0, 0} : (struct cell){h->writes, w.op[i].len};
    }
}

/* ---- running it ---- */

struct trial {
    const struct history *h;
    struct sim *sim;
    struct quern *db;
    uint64_t seed, cut; /* for messages */
    const char *mode;
    unsigned issued, acked, durable; /* numbers of writes */
    unsigned copied;                 /* what the checkpoint shows; 0: none was finished */
};

static void fail(const struct trial *r, const char *what, const char *why)
{
    tap_fail(__FILE__, __LINE__,
             "%s: %s\n#   history %s, power cut at change %llu, %s; issued %u, acknowledged %u, "
             "durable %u",
             what, why, r->h->steps, (unsigned long long)r->cut, r->mode, r->issued, r->acked,
             r->durable);
}

static enum quern_code do_write(struct trial *r, char step, struct quern_error *err)
{
    static uint8_t room[VALUE_MAX];
    unsigned n = ++r->issued;
    struct write w = write_of(step, n);
    struct quern_write_opts opts = {.sync = is_synced(step)};
    struct quern_batch *batch;
    enum quern_code code = QUERN_OK;

    if (w.count == 1 && w.op[0].gone)
        return quern_delete(r->db, key_of(w.op[0].key), &opts, err);
    if (w.count == 1)
        return quern_put(r->db, key_of(w.op[0].key), value_of(room, n, w.op[0].key, w.op[0].len),
                         &opts, err);
    batch = quern_batch_new();
    for (unsigned i = 0; code == QUERN_OK && i < w.count; i++)
        code = w.op[i].gone ? quern_batch_delete(batch, key_of(w.op[i].key), err)
                            : quern_batch_put(batch, key_of(w.op[i].key),
                                              value_of(room, n, w.op[i].key, w.op[i].len), err);
    if (code == QUERN_OK)
        code = quern_write(r->db, batch, &opts, err);
    quern_batch_free(batch);
    return code;
}

static enum quern_code do_step(struct trial *r, char step, struct quern_error *err)
{
    enum quern_code code;

    switch (step) {
    case 's':
        return quern_sync(r->db, err);
    case 'f':
        return quern_flush(r->db, err);
    case 'c':
        return quern_compact(r->db, NULL, NULL, NULL, err);
    case 'k':
        return quern_checkpoint(r->db, COPY, err);
    case 'r':
        code = quern_close(r->db, err);
        r->db = NULL;
        return code == QUERN_OK ? engine_open(sim_os(r->sim), PATH, &r->h->options, &r->db, err)
                                : code;
    default:
        return do_write(r, step, err);
    }
}

/* Run the history until it ends or the power goes. What returned before the power went counts. */
static void run_history(struct trial *r)
{
    struct quern_error err = {0};
    enum quern_code code = engine_open(sim_os(r->sim), PATH, &r->h->options, &r->db, &err);

    for (const char *s = r->h->steps; code == QUERN_OK && *s != '\0'; s++) {
        code = do_step(r, *s, &err);
        if (sim_is_off(r->sim) || code != QUERN_OK)
            break;
        if (is_write(*s))
            r->acked = r->issued;
        if (!is_write(*s) || is_synced(*s))
            r->durable = r->acked;
        if (*s == 'k')
            r->copied = r->acked;
    }
    if (code != QUERN_OK && !sim_is_off(r->sim))
        fail(r, "a step failed without cause", err.text);
    if (r->db != NULL) {
        code = quern_close(r->db, &err);
        if (!sim_is_off(r->sim)) {
            if (code != QUERN_OK)
                fail(r, "close failed without cause", err.text);
            r->durable = r->acked;
        }
    }
    r->db = NULL;
}

/* ---- looking at what is left ---- */

static bool value_is_whole(struct quern_slice value, unsigned key, struct cell *out)
{
    static uint8_t room[VALUE_MAX];
    char digits[12];

    if (value.len < 11 || value.len > VALUE_MAX)
        return false;
    memcpy(digits, value.data, 11);
    digits[11] = '\0';
    out->n = (unsigned)strtoul(digits, NULL, 10);
    out->len = value.len;
    return memcmp(value_of(room, out->n, key, value.len).data, value.data, value.len) == 0;
}

/* All keys by a scan, which must agree with point reads. */
static bool read_state(struct trial *r, struct quern *db, struct cell state[KEYS])
{
    struct quern_iter *it = NULL;
    struct quern_value value = {0};
    struct quern_error err = {0};
    size_t seen = 0, there = 0;
    bool fine = true;

    memset(state, 0, KEYS * sizeof(*state));
    for (unsigned k = 0; fine && k < KEYS; k++) {
        enum quern_code code = quern_get(db, key_of(k), NULL, &value, &err);

        fine = code == QUERN_NOT_FOUND ||
               (code == QUERN_OK &&
                value_is_whole((struct quern_slice){value.data, value.len}, k, &state[k]));
        there += code == QUERN_OK;
        if (!fine)
            fail(r, "a key cannot be read", code == QUERN_OK ? "wrong bytes" : err.text);
    }
    quern_value_done(&value);
    if (!fine || quern_iter_new(db, NULL, &it, &err)) {
        if (fine)
            fail(r, "no cursor", err.text);
        return false;
    }
    for (bool more = quern_iter_first(it); more; more = quern_iter_next(it))
        seen++;
    fine = quern_iter_error(it, &err) == QUERN_OK && seen == there;
    quern_iter_free(it);
    if (!fine)
        fail(r, "a scan does not agree with point reads", err.text);
    return fine;
}

static bool same_state(const struct cell *a, const struct cell *b)
{
    for (unsigned k = 0; k < KEYS; k++)
        if (a[k].n != b[k].n || a[k].len != b[k].len)
            return false;
    return true;
}

/* The contents are those after p writes, low <= p <= high: then *p tells which. */
static bool is_prefix(struct trial *r, struct quern *db, unsigned low, unsigned high, unsigned *p)
{
    struct cell state[KEYS];
    char text[200];
    int at = 0;

    if (!read_state(r, db, state))
        return false;
    for (*p = low; *p <= high; (*p)++)
        if (same_state(state, r->h->state[*p]))
            return true;
    for (unsigned k = 0; k < KEYS; k++)
        at += snprintf(text + at, sizeof(text) - (size_t)at, " %u", state[k].n);
    fail(r, "the contents are no prefix of what was written; writes by key:", text);
    return false;
}

static bool open_after(struct trial *r, struct sim *sim, const char *path, struct quern **db)
{
    struct quern_error err = {0};

    if (engine_open(sim_os(sim), path, &r->h->options, db, &err) == QUERN_OK)
        return true;
    fail(r, "cannot open after the crash", err.text);
    return false;
}

static bool close_after(struct trial *r, struct quern *db)
{
    struct quern_error err = {0};

    if (quern_close(db, &err) == QUERN_OK)
        return true;
    fail(r, "cannot close after the crash", err.text);
    return false;
}

/* Sound, and as good as new: it verifies and keeps what is written now. */
static bool goes_on(struct trial *r, struct quern *db)
{
    struct quern_write_opts sync = {.sync = true};
    struct quern_error err = {0};
    enum quern_code code = quern_verify(db, NULL, NULL, &err);

    if (code == QUERN_OK)
        code = quern_put(db, QUERN_STR("zz-after"), QUERN_STR("1"), NULL, &err);
    if (code == QUERN_OK)
        code = quern_delete(db, QUERN_STR("zz-after"), &sync, &err);
    if (code == QUERN_OK)
        code = quern_flush(db, &err);
    if (code == QUERN_OK)
        return true;
    fail(r, "the recovered store does not work", err.text);
    return false;
}

/* A finished checkpoint holds what it held, whatever became of its origin. */
static bool check_copy(struct trial *r, struct sim *sim)
{
    struct quern *db = NULL;
    unsigned p;
    bool fine;

    if (r->copied == 0)
        return true;
    if (!open_after(r, sim, COPY, &db))
        return false;
    fine = is_prefix(r, db, r->copied, r->copied, &p);
    return close_after(r, db) && fine;
}

/* The recovery of `disk` is cut short at its k-th change; the next one finds no less. When the
 * first had finished and shown p writes, the next shows the same. */
static bool check_second_crash(struct trial *r, struct sim *disk, uint64_t k,
                               enum sim_crash_mode mode, unsigned low)
{
    struct sim *first OWNED(sim_free) = sim_crash(disk, r->seed + k, SIM_KEEP_ALL);
    struct sim *second OWNED(sim_free) = NULL;
    struct quern *db = NULL;
    struct quern_error err;
    unsigned high = r->issued, p;
    bool fine = true;

    sim_crash_at_of(first, SIM_CHANGES, k);
    if (engine_open(sim_os(first), PATH, &r->h->options, &db, &err) == QUERN_OK) {
        sim_crash_at(first, 0); /* not while we read */
        if (!sim_is_off(first)) {
            fine = is_prefix(r, db, low, high, &p);
            low = high = p;
        }
        (void)quern_close(db, &err);
    } else if (!sim_is_off(first)) {
        fail(r, "cannot open after the crash", err.text);
        fine = false;
    }
    if (!fine)
        return false;
    second = sim_crash(first, r->seed + k, mode);
    if (!open_after(r, second, PATH, &db))
        return false;
    fine = is_prefix(r, db, low, high, &p) && goes_on(r, db);
    return close_after(r, db) && fine;
}

static uint64_t crash_points, recoveries; /* of this process, for `make stress` */

/* What a crash in this mode leaves of the run. */
static bool check_crash(struct trial *r, enum sim_crash_mode mode, uint64_t random, bool full)
{
    static const char *const names[] = {"all unsynced lost", "all kept", "unsynced at random"};
    struct sim *disk OWNED(sim_free) = NULL;
    struct quern *db = NULL;
    unsigned low = mode == SIM_KEEP_ALL ? r->acked : r->durable, p;
    uint64_t changes, step;
    bool fine;

    r->mode = names[mode];
    disk = sim_crash(r->sim, r->seed + r->cut, mode);
    { /* one undisturbed recovery, on a copy, so that the disk stays as the crash left it */
        struct sim *calm OWNED(sim_free) = sim_crash(disk, r->seed, SIM_KEEP_ALL);

        if (!open_after(r, calm, PATH, &db))
            return false;
        changes = sim_op_count_of(calm, SIM_CHANGES);
        fine = is_prefix(r, db, low, r->issued, &p) && goes_on(r, db);
        fine = close_after(r, db) && fine && check_copy(r, calm);
        if (!fine)
            return false;
    }
    step = full ? 1 : changes;
    crash_points++;
    recoveries++;
    for (uint64_t k = full ? 1 : 1 + random % changes; k <= changes; k += step) {
        crash_points++;
        recoveries += 2;
        if (!check_second_crash(r, disk, k, mode == SIM_KEEP_ALL ? SIM_DROP_ALL : mode,
                                mode == SIM_KEEP_ALL ? r->durable : low))
            return false;
    }
    return true;
}

/* ---- enumeration ---- */

/* Run with the power cut at change `cut` (0: never); true while all promises hold. */
static bool run_cut(const struct history *h, uint64_t seed, uint64_t cut, bool full, bool *ended,
                    uint64_t *changes)
{
    struct sim *sim OWNED(sim_free) = sim_new(seed + cut);
    struct trial r = {.h = h, .sim = sim, .seed = seed, .cut = cut, .mode = "no crash yet"};
    bool fine = true;

    sim_set_mapping(sim, h->mapping);
    sim_set_direct(sim, h->direct);
    sim_crash_at_of(sim, SIM_CHANGES, cut);
    run_history(&r);
    *ended = !sim_is_off(sim);
    *changes = sim_op_count_of(sim, SIM_CHANGES);
    for (int mode = SIM_DROP_ALL; fine && mode <= SIM_RANDOM; mode++)
        fine = check_crash(&r, (enum sim_crash_mode)mode, mix((unsigned)seed, (unsigned)cut), full);
    if (fine && full) {
        r.seed++;
        fine = check_crash(&r, SIM_RANDOM, seed, false);
    }
    return fine;
}

/* One child's share of the crash points; true while all promises hold. */
static bool enumerate_share(const struct history *h, uint64_t seed, unsigned share)
{
    bool full = getenv("CRASH_FULL") != NULL, ended;
    uint64_t changes, unused, stride;

    if (!run_cut(h, seed + share, 0, false, &ended, &changes))
        return false;
    stride = full || changes < SAMPLE_POINTS ? 1 : changes / SAMPLE_POINTS;
    for (uint64_t cut = 1 + seed % stride + share * stride; cut <= changes; cut += SHARES * stride)
        if (!run_cut(h, seed, cut, full, &ended, &unused))
            return false;
    return true;
}

/* Closing a store waits for a grace period of RCU, so most of the time is spent waiting: processes
 * side by side. The parent itself never opens a store, so that nothing is lost in a fork. */
static void enumerate(struct history *h)
{
    uint64_t seed = tap_seed();
    pid_t child[SHARES];

    (void)fflush(stdout);
    for (unsigned i = 0; i < SHARES; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            bool fine = enumerate_share(h, seed, i);

            tap_note("stress: crash points %" PRIu64 ", restarts %" PRIu64, crash_points,
                     recoveries);
            (void)fflush(stdout);
            _exit(fine ? 0 : 1);
        }
        CHECK(child[i] > 0);
    }
    for (unsigned i = 0; i < SHARES; i++) {
        int status = 0;

        CHECK_EQ(waitpid(child[i], &status, 0), child[i]);
        EXPECT(status == 0);
    }
}

static void enumerate_word(const char *steps)
{
    static struct history h;

    history_init(&h, steps);
    enumerate(&h);
}

TEST(a_crash_keeps_what_was_synced_and_leaves_a_prefix)
{
    enumerate_word("pPppbPdppBpDsbppPpp");
}

TEST(a_crash_around_flushes_loses_nothing)
{
    enumerate_word("ppbfpPdfbbspfddpBfpp");
}

TEST(a_crash_around_compactions_loses_nothing)
{
    enumerate_word("ppbbfpbdfpbbfcdddpfcbPpdcpp");
}

TEST(a_crash_around_reopens_loses_nothing)
{
    enumerate_word("ppPrpbdrrbBpfrppr");
}

TEST(a_crash_while_segments_and_memdbs_change_loses_nothing)
{
    enumerate_word("pLpLPbLLdLsLLpBLLLp");
}

TEST(a_crash_around_a_checkpoint_spares_both_stores)
{
    enumerate_word("ppbfpPdkpbfcpPd");
}

TEST(a_long_mixed_history_survives_crashes)
{
    enumerate_word("bbbbbbbbbbbbpppppPbbbbbbbbbbbbddddBbbbbbbbbbbbbfpppbbbbbbbbbbbbbbcbbbbbbrbbbbbb"
                   "bbbbbbLbbbbbbPbbbbbbbsbbbbb");
}

/* The worker settles all the time beside the writer. */
TEST(a_crash_while_the_store_settles_by_itself_loses_nothing)
{
    static struct history h;

    history_init(&h, "bbfbPbfbbfbdfbBbfbbfbDfbbfpsf");
    h.options.compact_interval_ms = 1;
    h.options.flush_interval_ms = 4;
    h.options.tier_runs = 2;
    enumerate(&h);
}

TEST(a_disk_without_mappings_and_direct_writes_is_as_safe)
{
    static struct history h;

    history_init(&h, "pPbfLpBsdLPrpcbb");
    h.mapping = h.direct = false;
    enumerate(&h);
}

TEST(a_disk_without_direct_writes_is_as_safe)
{
    static struct history h;

    history_init(&h, "pPbfLpBsdLPrpcbb");
    h.direct = false;
    enumerate(&h);
}
