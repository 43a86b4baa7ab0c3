/* engines.c - who takes part, under which names, and what each name means.
 *
 * `variant` means what the adapter takes it for: a compression of quern's, RocksDB's (0 none, 4
 * LZ4) or LevelDB's (0 none, 1 Snappy), further flags of LMDB's, or WiredTiger's (0 none,
 * 1 Snappy). */
#include "bench.h"

#include "sets.h"

#include <quern/quern.h>

#ifdef WITH_LMDB
#include <lmdb.h>
#endif

#include <string.h>

const struct engine engines[] = {
    {"quern-plain", &adapter_quern, QUERN_COMPRESS_NONE, true,
     "no compression, as its peers here; budget = cache + 2 write buffers, indexes and filters in "
     "it",
     true, true},
    {"quern", &adapter_quern, QUERN_COMPRESS_DEFAULT, true,
     "the same with its default: LZ4 for the bottom run", false, false},
    {"quern-lz4", &adapter_quern, QUERN_COMPRESS_LZ4, true, "the same, LZ4 for every table", false,
     false},
    {"quern-zstd", &adapter_quern, QUERN_COMPRESS_ZSTD, true,
     "the same, zstd for the bottom run, LZ4 above", false, false},
#ifdef WITH_ROCKSDB
    {"rocksdb", &adapter_rocksdb, 0, false,
     "no compression; Bloom 10, 2 background jobs, dynamic levels, hash index in blocks, recycled "
     "logs, pinned reads",
     true, true},
    {"rocksdb-lz4", &adapter_rocksdb, 4, false, "the same, LZ4", false, false},
#endif
#ifdef WITH_LEVELDB
    {"leveldb", &adapter_leveldb, 0, false, "no compression; Bloom 10", true, true},
    {"leveldb-snappy", &adapter_leveldb, 1, false, "the same, Snappy", false, false},
#endif
#ifdef WITH_LMDB
    {"lmdb", &adapter_lmdb, 0, false,
     "NOSYNC (weaker than a log) save for fillsync; NORDAHEAD; one transaction a put", true, true},
    {"lmdb-writemap", &adapter_lmdb, MDB_WRITEMAP, false, "the same, WRITEMAP", false, false},
#endif
#ifdef WITH_WIREDTIGER
    {"wiredtiger", &adapter_wiredtiger, 0, false,
     "no compression; row-store B-tree; cache = cache + 2 write buffers; log written at each "
     "commit; checkpoint each minute",
     true, true},
#endif
#ifdef WITH_WIREDTIGER_SNAPPY
    {"wiredtiger-snappy", &adapter_wiredtiger, 1, false, "the same, Snappy", false, false},
#endif
};
const unsigned engine_count = sizeof(engines) / sizeof(engines[0]);

const struct engine *engine_by_name(const char *name)
{
    for (unsigned i = 0; i < engine_count; i++)
        if (strcmp(engines[i].name, name) == 0)
            return &engines[i];
    return NULL;
}

/* ------------------------------------------------------------------ not like the others -- */

/* By the first word of an engine's name, so for all its variants. */
static bool is_a(const struct engine *engine, const char *family)
{
    size_t len = strlen(family);

    return strncmp(engine->name, family, len) == 0 &&
           (engine->name[len] == '\0' || engine->name[len] == '-');
}

struct apart apart_in(const struct engine *engine, const struct set *set, enum workload_no workload)
{
    const struct workload *w = &workloads[workload];
    bool writes = w->writes || workload == W_LOAD || workload == W_BESIDE_WRITER ||
                  workload == W_BESIDE_4_WRITER;
    bool many = w->op == workloads[W_MULTIGET_8].op;

    if (is_a(engine, "lmdb") && workload == W_RECOVERY)
        return (struct apart){"lmdb has no log, so nothing is replayed", true};
    if (is_a(engine, "lmdb") && writes && w->needs != S_EMPTY_SYNCED && w->runner != RUN_BESIDE)
        return (struct apart){
            "lmdb has no log: with NOSYNC a loss of power may break the whole file", true};
    if ((is_a(engine, "leveldb") || is_a(engine, "wiredtiger")) && many)
        return (struct apart){"it has no multi-get: the keys are got one by one", false};
    if (engine->adapter->count == NULL && workload == W_COUNTRANGE)
        return (struct apart){"it cannot count: the bench walks over the range", false};
    if (engine->adapter->batch == NULL && (workload == W_FILLBATCH || workload == W_DELETERANGE))
        return (struct apart){"it has no batches: written one by one", true};
    if (is_a(engine, "leveldb") && set->cold && !writes)
        return (struct apart){"by its default leveldb does not check what it reads", false};
    if (is_a(engine, "lmdb") && set->cold && !writes)
        return (struct apart){"lmdb has no checksums", false};
    return (struct apart){NULL, false};
}
