/* bench.h - what the parts of quern-bench share: one store as the bench sees it, one run's
 * settings, one result.
 *
 * The bench knows every store through `struct adapter` alone. A failure of a store ends the child
 * process that measures it (die()), since a figure from a store that failed is worth nothing. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ a store -- */

struct bytes {
    const void *data; /* NULL: there is none */
    size_t len;
};

struct pair {
    struct bytes key, value;
};

/* What every engine is given alike. */
struct setup {
    uint64_t cache_bytes;        /* block cache */
    uint64_t write_buffer_bytes; /* one memtable */
    uint64_t data_bytes;         /* keys and values to come, for those that must know beforehand */
    bool durable;                /* this store will see synced writes */
    int variant;                 /* of `struct engine`: compression and the like */
};

/* How one engine's API is called. A session belongs to one thread; what a read hands out is
 * borrowed until the session's next call. */
struct adapter {
    const char *(*version)(void);
    void *(*open)(const char *dir, const struct setup *setup); /* creates what is missing */
    void (*close)(void *db);
    void (*settle)(void *db); /* the engine's own full compaction, to its end */

    void *(*session_new)(void *db);
    void (*session_free)(void *session);
    void (*put)(void *session, struct bytes key, struct bytes value, bool sync);
    void (*del)(void *session, struct bytes key);
    struct bytes (*get)(void *session, struct bytes key); /* data NULL: not there */
    void (*multi_get)(void *session, const struct bytes *keys, size_t n, struct bytes *values);

    /* All of it or nothing, not synced; a pair whose value has no data deletes its key. NULL: the
     * engine has no such call, and the bench writes one by one. */
    void (*batch)(void *session, const struct pair *pairs, size_t n);
    /* Keys from `from` to before `to`. NULL: no such call, and the bench walks over them. */
    uint64_t (*count)(void *session, struct bytes from, struct bytes to);

    /* One scan at a time in a session; begin takes a view as of now. */
    void (*scan_begin)(void *session);
    bool (*scan_first)(void *session, struct pair *out);
    bool (*scan_last)(void *session, struct pair *out);
    bool (*scan_seek)(void *session, struct bytes key, struct pair *out); /* first >= key */
    bool (*scan_next)(void *session, struct pair *out);
    bool (*scan_prev)(void *session, struct pair *out);
    void (*scan_end)(void *session);
};

struct engine {
    const char *name;
    const struct adapter *adapter;
    int variant;
    bool ours;               /* a quern: ratios have it above the line */
    const char *what;        /* the tuning, in a line */
    bool in_bench, in_quick; /* measured unless --engines says otherwise */
};

extern const struct engine engines[]; /* engines.c */
extern const unsigned engine_count;
const struct engine *engine_by_name(const char *name); /* NULL: no such */

extern const struct adapter adapter_quern;
#ifdef WITH_ROCKSDB
extern const struct adapter adapter_rocksdb;
#endif
#ifdef WITH_LEVELDB
extern const struct adapter adapter_leveldb;
#endif
#ifdef WITH_LMDB
extern const struct adapter adapter_lmdb;
#endif
#ifdef WITH_WIREDTIGER
extern const struct adapter adapter_wiredtiger;
#endif

/* Print the program's name and the text to standard error, and exit 1. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern void (*before_death)(void); /* what die() does first; NULL: nothing */
void *must_alloc(size_t bytes);    /* zeroed, or die(); free() frees it */

/* ------------------------------------------------------------------ a run -- */

/* In the order of the tables. What each does stands in workloads[] of sets.c. */
enum workload_no {
    W_FILLSEQ,
    W_FILLBATCH,
    W_FILLSYNC,
    W_FILLSYNC_4,
    W_FILLSYNC_16,
    W_FILLRANDOM,
    W_OVERWRITE,
    W_LOAD, /* what of the last two was measured, and the settling after it, as one */
    W_READRANDOM,
    W_READMISSING,
    W_READHOT,
    W_MULTIGET_8,
    W_MULTIGET_32,
    W_MULTIGET_128,
    W_SEEK_10,
    W_SEEK_100,
    W_SEEKBACK_10,
    W_SEEKBACK_100,
    W_READSEQ,
    W_READREVERSE,
    W_COUNTRANGE,
    W_OPEN,
    W_BESIDE,
    W_BESIDE_WRITER, /* the writing side of the one above; so below */
    W_BESIDE_4,
    W_BESIDE_4_WRITER,
    W_YCSB_A,
    W_YCSB_B,
    W_YCSB_C,
    W_YCSB_D,
    W_YCSB_E,
    W_YCSB_F,
    W_DELETERANDOM,
    W_DELETERANGE,
    W_SCANDELETED,
    W_SEEKDELETED,
    W_QUEUE,
    W_RECOVERY,
    W_COUNT
};

#define ENGINES_MAX 16
#define ROUNDS_MAX 32
#define SETS_MAX 32

struct limits;

/* What the command line asks for. 0 leaves a number to the set. */
struct config {
    uint64_t num;         /* entries of the set `small`; the other sets' in proportion */
    unsigned threads;     /* of the rows whose name does not say */
    double seconds;       /* of each row that is bounded by time */
    double write_seconds; /* at most, of each row that is bounded by count */
    uint64_t ops;         /* at most, of each thread of a row that is bounded by time */
    uint64_t cache_bytes, write_buffer_bytes;
    bool quick; /* a quarter of the entries, half of the time */
    unsigned rounds;
    double limit_seconds; /* no new round is begun that would end later */
    double child_seconds; /* a child that takes longer is ended, and its round is void */
    uint64_t seed;
    const char *dir;       /* a directory of the run's own is made and removed in it */
    const char *json_path; /* NULL: no file */
    const char *commit;
    const struct limits *limits; /* what the machine can do at best; NULL: not known */
    bool only[W_COUNT], set[SETS_MAX];
    const struct engine *engine[ENGINES_MAX];
    unsigned engine_count;
};

/* What one workload gave on one engine in one round. A number below 0 does not apply. It goes from
 * child to parent through a pipe as it stands: both are the same program. */
struct row {
    uint32_t workload;
    uint32_t threads;
    uint32_t cut; /* 1: the time was over before all was done */
    uint64_t ops;
    double seconds, ops_per_s;
    double p50_us, p99_us, p999_us, max_us;
    double cpu_us_per_op; /* of all threads, the engine's own too, until they were quiet */
    double bytes_written_per_byte_put; /* until the background was quiet */
    double settle_seconds;             /* W_LOAD: from the last put to the end of compaction */
    double disk_bytes;                 /* after settling */
    double peak_disk_bytes;            /* at any moment, looked at ten times a second */
    double peak_rss_bytes, peak_anon_bytes;
    double log_bytes; /* W_RECOVERY: keys and values that had to be replayed */
};

void row_init(struct row *row, enum workload_no workload);

/* In what an engine's figure in a row is not like the others'. engines.c */
struct apart {
    const char *why; /* NULL: in nothing */
    bool weaker;     /* it promises less: no engine has to be compared with it */
};
struct set;
struct apart apart_in(const struct engine *engine, const struct set *set,
                      enum workload_no workload);

/* child.c: measure one engine with set `set_no` in the empty directory `dir`, a row to `out_fd` at
 * a time. */
void child_run(const struct config *config, unsigned set_no, const struct engine *engine,
               const char *dir, unsigned round, int out_fd);

/* rounds.c: all sets, all engines in turns. `argv` is the run's own, to start the children with.
 * Returns the exit status. */
int rounds_run(const struct config *config, int argc, char **argv);

/* big.c: the proof that a large store fits a small budget. Returns the exit status. */
struct big_config {
    uint64_t num;
    uint32_t value_bytes;
    uint64_t memory_bytes;
    bool in_order;
    const char *dir, *json_path, *commit;
};
int big_run(const struct big_config *config);

int selftest_run(void); /* selftest.c, in TAP */

#endif
