/* engines.c - who takes part, under which names, and what each name means.
 *
 * `variant` means what the adapter takes it for: a compression of quern's, RocksDB's (0 none, 4
 * LZ4) or LevelDB's (0 none, 1 Snappy), further flags of LMDB's, or WiredTiger's (0 none,
 * 1 Snappy). */
#include "bench.h"

#include <quern/quern.h>

#ifdef WITH_LMDB
#include <lmdb.h>
#endif

#include <string.h>

const struct engine engines[] = {
    {"quern", &adapter_quern, QUERN_COMPRESS_DEFAULT, true,
     "defaults: LZ4 for the bottom run; budget = cache + 2 write buffers, indexes and filters in "
     "it",
     true, true},
    {"quern-plain", &adapter_quern, QUERN_COMPRESS_NONE, true, "the same, no compression", true,
     false},
    {"quern-lz4", &adapter_quern, QUERN_COMPRESS_LZ4, true, "the same, LZ4 for every table", false,
     false},
    {"quern-zstd", &adapter_quern, QUERN_COMPRESS_ZSTD, true,
     "the same, zstd for the bottom run, LZ4 above", false, false},
#ifdef WITH_ROCKSDB
    {"rocksdb", &adapter_rocksdb, 0, false,
     "no compression; Bloom 10, 2 background jobs, dynamic levels, hash index in blocks, recycled "
     "logs, pinned reads",
     true, true},
    {"rocksdb-lz4", &adapter_rocksdb, 4, false, "the same, LZ4", true, false},
#endif
#ifdef WITH_LEVELDB
    {"leveldb", &adapter_leveldb, 0, false, "no compression; Bloom 10", true, true},
    {"leveldb-snappy", &adapter_leveldb, 1, false, "the same, Snappy", true, false},
#endif
#ifdef WITH_LMDB
    {"lmdb", &adapter_lmdb, 0, false,
     "NOSYNC (weaker than a log) save for fillsync; NORDAHEAD; one transaction a put", true, true},
    {"lmdb-writemap", &adapter_lmdb, MDB_WRITEMAP, false, "the same, WRITEMAP", true, false},
#endif
#ifdef WITH_WIREDTIGER
    {"wiredtiger", &adapter_wiredtiger, 0, false,
     "no compression; row-store B-tree; cache = cache + 2 write buffers; log written at each "
     "commit; checkpoint each minute",
     true, true},
#endif
#ifdef WITH_WIREDTIGER_SNAPPY
    {"wiredtiger-snappy", &adapter_wiredtiger, 1, false, "the same, Snappy", true, false},
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
