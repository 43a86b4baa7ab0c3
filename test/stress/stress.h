/* stress.h - quern-stress: a store under many threads, killed again and again, and what must be in
 * it afterwards.
 *
 *   main.c     rounds: start a child, kill it at a random moment, look how it ended
 *   child.c    one life of the store: open with random options, verify, let threads loose
 *   work.c     what a thread does: reads, and care
 *   write.c    its writes
 *   whole.c    what concerns whole databases, and all threads: they change places, or are emptied
 *   look.c     what is read against what is expected
 *   expect.c   the expected state, in a mapped file beside the store: it survives the child
 *   cut.c      the end of the process inside a call of the system, at the k-th change to a file */
#ifndef STRESS_H
#define STRESS_H

#include <quern/quern.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THREADS_MAX 64
#define BATCH_MAX 16
#define DATABASES 4u /* that are used; each has an equal share of the keys, under the same names */
#define BLOCK_KEYS 64u /* neighbours that belong to one thread */
#define VALUE_BYTES_MAX 20000u

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a ^ (b + 0x632be59bd9b4e019u)) * 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    return x ^ x >> 29;
}

/* A sequence of its own for each seed. */
static inline uint64_t draw(uint64_t *state, uint64_t n)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state, 7) % n;
}

/* ---- expect.c ---- */

/* Versions of a key rise with each write, by one but where a range delete needs one that is a
 * delete. What a version is (a value of which bytes, one that expires, or a delete) follows from key
 * and version, so the expectation is two numbers. They differ while a write is under way. Only the
 * key's owner writes them, or who has all databases for itself.
 *
 * When a version expires is not to be told from its number: it is kept for the last two. It is
 * written behind `next` and read before it, so who finds `next` above both knows that it may be of
 * another version. */
struct cell {
    _Atomic uint32_t now;      /* the store holds this one or a later one */
    _Atomic uint32_t next;     /* the store holds this one or an earlier one */
    _Atomic uint64_t until[2]; /* of the version of this parity, if it expires */
};

/* The write that a thread has under way: after a kill all of it is there or nothing. */
struct intent {
    _Atomic uint32_t state;
    uint32_t count;
    uint32_t key[BLOCK_KEYS], old[BLOCK_KEYS], version[BLOCK_KEYS];
    uint64_t until[BLOCK_KEYS]; /* 0: never */
};
enum { INTENT_NONE, INTENT_BEGUN, INTENT_DONE };

/* What is under way with whole databases; no thread has a write under way then. */
struct whole {
    _Atomic uint32_t state;
    uint32_t a, b;      /* they change places; a == b: that one is emptied */
    uint8_t at_a, at_b; /* where they were */
};

struct tally {
    _Atomic uint64_t operations, verified, opens, checkpoints, refused, whole;
};

struct expected {
    uint64_t magic;
    uint32_t keys, threads;
    _Atomic bool failed;
    struct tally tally;
    struct whole whole;
    _Atomic uint8_t place[DATABASES]; /* which of the store's databases each one is in */
    struct intent intent[THREADS_MAX];
    struct cell cell[];
};

/* Map the file, making it if it is not there. NULL: it cannot be, and that has been said. */
struct expected *expected_open(const char *path, uint32_t keys, uint32_t threads);
void expected_close(struct expected *x);

/* Say what is wrong, once, and stop everything. Returns false. */
bool failed(struct expected *x, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint32_t owner_of(const struct expected *x, uint32_t key)
{
    return key / BLOCK_KEYS % x->threads;
}
static inline uint32_t lowest(const struct expected *x, uint32_t key)
{
    return atomic_load_explicit(&x->cell[key].now, memory_order_acquire);
}
static inline uint32_t highest(const struct expected *x, uint32_t key)
{
    return atomic_load_explicit(&x->cell[key].next, memory_order_acquire);
}

static inline uint32_t database_keys(const struct expected *x)
{
    return x->keys / DATABASES;
}
static inline uint8_t place_of(const struct expected *x, uint32_t key)
{
    return atomic_load_explicit(&x->place[key / database_keys(x)], memory_order_relaxed);
}

/* By the machine's clock, as the store. */
uint64_t wall_ms(void);
/* Something was read as of a moment that was not before `from` and not after `to`. */
struct moment {
    uint64_t from, to;
};

bool is_gone(uint32_t key, uint32_t version);       /* this version is a delete; version 0 too */
bool may_expire(uint32_t key, uint32_t version);    /* it is a value with an expiry */
uint32_t next_gone(uint32_t key, uint32_t version); /* the first delete behind this version */
enum life { LIFE_NO, LIFE_YES, LIFE_UNKNOWN };
/* Did this version of the key show at that moment? */
enum life lives(const struct expected *x, uint32_t key, uint32_t version, struct moment at);
struct quern_slice key_text(const struct expected *x, char room[16], uint32_t key);
/* The key of this name in a database, of which `any` is one. */
bool key_number(const struct expected *x, struct quern_slice text, uint32_t any, uint32_t *key);
struct quern_slice value_of(uint8_t *room, uint32_t key, uint32_t version);
/* The store shows this under the key (NULL: nothing). Is it a version from low to high? */
bool shows(struct expected *x, uint32_t key, const struct quern_value *value, uint32_t low,
           uint32_t high, struct moment at, const char *how);

/* Before and after a write of the keys in the intent. */
void intent_begin(struct expected *x, uint32_t thread);
void intent_done(struct expected *x, uint32_t thread);

/* ---- child.c ---- */

struct plan { /* of one round; all of it follows from the seed */
    uint64_t seed;
    unsigned run_ms;      /* then it closes, if nobody has killed it */
    uint64_t cut_at;      /* kill itself at this change to a file; 0: not */
    unsigned sync_one_in; /* writes; 0: none */
    bool look_only;       /* verify, change nothing */
};
/* Exit status of the child: 0 all is well, 1 a failure was said. */
int child_run(struct expected *x, const char *dir, const struct plan *plan);
void remove_tree(const char *path);

/* ---- look.c ---- */

#define RANGE_MAX 200u
#define MANY_MAX 40u

/* Keys from `from` on, and what is expected of them: the bounds of their versions (low and high
 * begin at `from`), when that is so, and where their databases are then. */
struct stretch {
    uint32_t from, count;
    uint32_t *low, *high;
    struct moment at;
    uint8_t place[DATABASES];
};
void bounds_before(const struct expected *x, struct stretch *s);
void bounds_after(const struct expected *x, struct stretch *s);

struct quern_range range_of(const struct expected *x, const struct stretch *s, char from[16],
                            char to[16]);
bool fine(struct expected *x, enum quern_code code, const struct quern_error *err, const char *how);
/* A cursor over the stretch; without a snapshot the upper bounds are taken once it is there. */
bool scan(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
          struct stretch *s, uint64_t how);
/* Exact bounds are needed. */
bool count(struct expected *x, struct quern *db, const struct quern_snapshot *snapshot,
           const struct stretch *s);
/* Everything in the store against the expectation: way % 4 is batched gets, gets, a cursor going
 * back, a cursor; with 0x10 the tables' checksums too. Of `all` the moment is not looked at. */
bool verify_all(struct expected *x, struct quern *db, uint64_t way, struct stretch *all);

/* ---- work.c, write.c, whole.c ---- */

struct worker {
    struct expected *x;
    struct quern *db;
    const char *dir;
    const struct plan *plan;
    uint32_t no;
    uint64_t random;
    _Atomic bool *stop;
};
void *worker_run(void *arg);          /* a struct worker */
uint32_t own_block(struct worker *w); /* the first key of one of its blocks */
bool do_write(struct worker *w);
bool do_range_delete(struct worker *w);

/* Whoever reads or writes keys stays with the databases meanwhile: they keep their places. */
void whole_stay(void);
void whole_leave(void);
bool do_whole(struct worker *w);
/* After a kill: where the databases are, and what is left of the one that was being emptied. */
bool whole_settle(struct expected *x, struct quern *db, uint8_t place[DATABASES], bool look_only);
/* Is this version of the key there after a kill, or that? Clears what is not so. */
bool fits(struct expected *x, struct quern *db, const uint8_t place[DATABASES], uint32_t key,
          uint32_t old, uint32_t fresh, bool *is_old, bool *is_fresh);

/* ---- cut.c ---- */
void cut_at(uint64_t change, uint64_t seed); /* 0: never */

#endif
