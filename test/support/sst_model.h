/* sst_model.h - entries in memory that stand beside a table: what it should answer. */
#ifndef TEST_SST_MODEL_H
#define TEST_SST_MODEL_H

#include "base/alloc.h"
#include "base/entry.h"
#include "base/error.h"
#include "base/hash.h"
#include "sst/sst.h"
#include "tap.h"

#include <quern/quern.h>

#include <stdlib.h>

struct model {
    struct entry *entries; /* in entry order; keys and values owned */
    size_t n, capacity;
};

static inline void model_add(struct model *m, struct quern_slice key, quern_seq seq,
                             enum entry_kind kind, uint64_t expires_ms, size_t value_len)
{
    struct entry *e;
    uint8_t *k = malloc(key.len), *v = malloc(value_len + 1);

    if (m->n == m->capacity) {
        m->capacity = m->capacity * 2 + 16;
        m->entries = realloc(m->entries, m->capacity * sizeof(*m->entries));
    }
    if (k == NULL || v == NULL || m->entries == NULL)
        abort();
    memcpy(k, key.data, key.len);
    for (size_t i = 0; i < value_len; i++) /* half compressible */
        v[i] = (uint8_t)(i % 2 ? 'v' : (hash_key(key) + seq * 7 + i * i) >> 3);
    e = &m->entries[m->n++];
    *e = (struct entry){slice_of(k, key.len), slice_of(v, value_len), seq, expires_ms, kind};
}

static inline int model_order(const void *a, const void *b)
{
    return entry_compare(a, b);
}

/* Sort, and drop doubles of (key, seq). */
static inline void model_settle(struct model *m)
{
    size_t kept = 0;

    qsort(m->entries, m->n, sizeof(*m->entries), model_order);
    for (size_t i = 0; i < m->n; i++) {
        if (kept > 0 && entry_compare(&m->entries[kept - 1], &m->entries[i]) == 0) {
            free((void *)(uintptr_t)m->entries[i].key.data);
            free((void *)(uintptr_t)m->entries[i].value.data);
        } else {
            m->entries[kept++] = m->entries[i];
        }
    }
    m->n = kept;
}

static inline void model_done(struct model *m)
{
    for (size_t i = 0; i < m->n; i++) {
        free((void *)(uintptr_t)m->entries[i].key.data);
        free((void *)(uintptr_t)m->entries[i].value.data);
    }
    free(m->entries);
    *m = (struct model){0};
}
#define OWNED_MODEL __attribute__((cleanup(model_done)))

/* The first entry at or after (key, seq); n: none. */
static inline size_t model_search(const struct model *m, struct quern_slice key, quern_seq seq)
{
    struct entry probe = {.key = key, .seq = seq};
    size_t low = 0, high = m->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (entry_compare(&m->entries[middle], &probe) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What a read of `key` at `seq` must find; NULL: nothing. */
static inline const struct entry *model_get(const struct model *m, struct quern_slice key,
                                            quern_seq seq)
{
    size_t i = model_search(m, key, seq);

    return i < m->n && key_equal(m->entries[i].key, key) ? &m->entries[i] : NULL;
}

static inline bool entry_same(const struct entry *a, const struct entry *b)
{
    return key_equal(a->key, b->key) && key_equal(a->value, b->value) && a->seq == b->seq &&
           a->kind == b->kind && a->expires_ms == b->expires_ms;
}

/* Numbers as keys: 16 digits. */
static inline struct quern_slice decimal_key(char room[24], uint64_t v)
{
    for (int i = 15; i >= 0; i--, v /= 10)
        room[i] = (char)('0' + v % 10);
    return slice_of(room, 16);
}

static inline enum quern_code model_write(const struct model *m, struct os_dir *dir,
                                          const struct sst_write_config *config,
                                          struct sst_cache *cache, struct table_meta *meta,
                                          struct quern_error *err)
{
    struct sst_writer *w = NULL;

    if (sst_writer_open(dir, config, &w, err))
        return err->code;
    for (size_t i = 0; i < m->n; i++)
        if (sst_writer_add(w, &m->entries[i], sst_entry_hash(&m->entries[i]), err)) {
            sst_writer_drop(w);
            return err->code;
        }
    return sst_writer_finish(w, cache, meta, NULL, err);
}

#endif
