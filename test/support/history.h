/* history.h - short histories of a store, written as words; what every write in them does follows
 * from its number alone, so the right contents are known at each moment.
 *
 *     p P  put, synced put        b B  batch, synced batch      d D  delete, synced delete
 *     e E  put that may expire, synced one; or a batch of such
 *     i I  write that depends on what is there, synced: a batch with two checks, or an update
 *     g G  range delete, synced one: alone, or in a batch with puts before and behind it
 *     o O  a database is emptied, synced: likewise; or all are
 *     w W  two databases change places, synced: likewise
 *     L    put of 40 000 bytes    s    quern_sync               f    flush
 *     c    compact                r    close and open again     k    checkpoint
 *     C    compact of some keys   x    take a snapshot          X    free it
 *
 * Writes are numbered 1, 2, 3, ... in the order of the word. The clock stands still: whoever does
 * write n sets it to tick n, and what expires does so at a tick from that of its write on. The same
 * few keys are in three databases. */
#ifndef TEST_HISTORY_H
#define TEST_HISTORY_H

#include <quern/quern.h>

#define HISTORY_KEYS 24
#define HISTORY_WRITES_MAX 400
#define HISTORY_BEGAN_MS UINT64_C(1800000000000) /* tick 0; each is a millisecond */
#define HISTORY_ENDED 10000u                     /* by this tick all has expired that ever does */
#define HISTORY_PATH "/db"
#define HISTORY_COPY "/copy"

struct os;

struct cell {
    unsigned n; /* the write it comes from; 0: no such key */
    size_t len;
    unsigned until; /* the tick at which it expires; 0: never */
    quern_seq seq;  /* what the store numbered the write with */
};
struct contents {
    quern_seq seq; /* of the last write */
    struct cell cell[HISTORY_KEYS];
};

/* Words that between them take every way a store can change. */
#define HISTORY_SYNCS "pPppbPdppBpDsbppPpp"
#define HISTORY_FLUSHES "ppbfpPdfbbspfddpBfpp"
#define HISTORY_MERGES "ppbbfpbdfpbbfcdddpfcbPpdcpp"
#define HISTORY_REOPENS "ppPrpbdrrbBpfrppr"
#define HISTORY_SEGMENTS "pLpLPbLLdLsLLpBLLLp"
#define HISTORY_CHECKPOINT "ppbfpPdkpbfcpPd"
#define HISTORY_RANGES "bbfpBCbfPdCpfbbCfdddpCfPbC"
#define HISTORY_PINNED "bbfcxbdBfcddbfpcXsbfPxdddfcXpsbf"
#define HISTORY_CUTS "bbgfpGbgfcbxgbfpcgXbfcGgfprbgsbfgcPg"
#define HISTORY_EXPIRIES "eebefEpebfeexebfEecgeXefecErpeeskefecbeEf"
#define HISTORY_CONDITIONS "beiicIIXiixfbgbsiXeeiIbiiIffIisrikiIIIPf"
#define HISTORY_DATABASES "bbwbfpObwfcxboipfdcwXobfcWwfOerbwskbfwoPw"
#define HISTORY_LONG                                                                               \
    "bbbbbbbbbbbbpppppPbbbbbbbbbbbbddddBbbbbbbbbbbbbfpppbbbbbbbbbbbbbbcbbbbbbrbbbbbb"              \
    "bbbbbbLbbbbbbPbbbbbbbsbbbbb"

/* Options under which little data makes much happen. */
struct quern_options history_options(void);

bool history_is_write(char step);
bool history_is_synced(char step);
/* What write n, of this kind, makes of the contents. False: it is refused, by what it depends on. */
bool history_apply(char step, unsigned n, struct contents *c);
/* What a reader sees at that tick: all zeros where something has expired. */
void history_at(const struct contents *c, unsigned tick, struct contents *out);
bool history_same_cell(const struct cell *a, const struct cell *b);
bool history_same(const struct contents *a, const struct contents *b); /* in all cells */

/* Do one step on the store in `path` of this world; `n` is its number if it is a write, and `before`
 * what is there. After a failed reopen *db is NULL. CONFLICT: it was refused, as it had to be; where
 * it was not, or wrongly, INVALID. */
enum quern_code history_step(struct quern **db, struct os *os, const struct quern_options *options,
                             char step, unsigned n, const struct contents *before,
                             struct quern_error *err);

/* Free the snapshot of the word, if one is held: before the store is closed. */
void history_let_go(void);

/* What the store shows, by point reads and a scan, which must agree. Of a key that cannot be read
 * n is HISTORY_UNREADABLE. QUERN_OK: all was read; another code: something could not be read, and
 * the rest is right. *wrong tells of an answer that cannot be right, in words; else it is "". */
#define HISTORY_UNREADABLE UINT32_MAX
enum quern_code history_read(struct quern *db, struct contents *seen, char wrong[200]);

/* Is it sound, and as good as new? It verifies and takes what is written now: two writes. */
enum quern_code history_goes_on(struct quern *db, struct quern_error *err);
/* The clock stands at HISTORY_ENDED: a compaction leaves nothing that expires. */
enum quern_code history_clears_up(struct quern *db, struct quern_error *err);

/* ---- many runs side by side ---- */

/* The runs are shared out to processes: a store's threads wait more than they work. Calls
 * body(arg, share) in each; true when every share was. The calling process must not have opened a
 * store before: its threads would be lost in the fork. */
#define HISTORY_SHARES 6u
bool history_in_shares(bool (*body)(void *arg, unsigned share), void *arg);
void history_tried(void);     /* one more was tried, in whichever process */
uint64_t history_count(void); /* how many so far */
/* The number in an environment variable, or `otherwise`. */
uint64_t history_env(const char *name, uint64_t otherwise);

#endif
