/* mem.c - the MemDB as others see it: its arena and filter, batches in, versions out.
 *
 * The filter is a blocked Bloom filter: a key's bits all lie in one cache line. It is sized for
 * the arena full of 100-byte values; it only ever says "not here" or "perhaps", so a reader that
 * runs beside the writer may miss a key whose batch it was not told of, and no other. */
#include "mem/mem_priv.h"

#include "base/alloc.h"
#include "base/hash.h"

#define FILTER_BLOCK_BYTES 64u
#define FILTER_PROBES 6
/* An entry with a 100-byte value takes some 160 bytes with its share of nodes: 10 bits for each. */
#define ARENA_BYTES_PER_FILTER_BYTE 128u
#define FILTER_BYTES_MAX (UINT64_C(16) << 20)

/* ---- filter ---- */

static _Atomic uint64_t *filter_block(const struct mem *m, uint64_t hash)
{
    uint64_t block = (hash >> 32) * m->filter_blocks >> 32;

    return (_Atomic uint64_t *)(void *)(m->base + block * FILTER_BLOCK_BYTES);
}

/* Nine bits at a time choose a bit of the block. */
static uint64_t filter_bits(uint64_t hash)
{
    return (hash & UINT32_MAX) * UINT64_C(0x9E3779B97F4A7C15);
}

static void filter_add(struct mem *m, uint64_t hash)
{
    _Atomic uint64_t *block = filter_block(m, hash);
    uint64_t bits = filter_bits(hash);

    for (int i = 0; i < FILTER_PROBES; i++, bits <<= 9) {
        _Atomic uint64_t *word = &block[bits >> 61];

        COUNTER_SET(*word, COUNTER(*word) | UINT64_C(1) << (bits >> 55 & 63));
    }
}

static bool filter_may_have(const struct mem *m, uint64_t hash)
{
    _Atomic uint64_t *block = filter_block(m, hash);
    uint64_t bits = filter_bits(hash);

    for (int i = 0; i < FILTER_PROBES; i++, bits <<= 9)
        if ((COUNTER(block[bits >> 61]) >> (bits >> 55 & 63) & 1) == 0)
            return false;
    return true;
}

void mem_prefetch(const struct mem *m, uint64_t hash)
{
    __builtin_prefetch((const void *)filter_block(m, hash));
}

/* ---- life ---- */

/* Blocks of the filter of a MemDB for so many bytes. */
static uint64_t filter_blocks_for(uint64_t arena_bytes_max)
{
    uint64_t bytes = arena_bytes_max / ARENA_BYTES_PER_FILTER_BYTE;

    return (bytes < FILTER_BYTES_MAX ? bytes : FILTER_BYTES_MAX) / FILTER_BLOCK_BYTES + 1;
}

/* Filter and one block more: ref 0 is none, even for the first entry. */
static uint64_t head_bytes(uint64_t filter_blocks)
{
    return (filter_blocks + 1) * FILTER_BLOCK_BYTES;
}

static uint64_t arena_bytes(uint64_t arena_bytes_max)
{
    return head_bytes(filter_blocks_for(arena_bytes_max)) + round_up(arena_bytes_max, 64) +
           round_up(NODE_BYTES_BASE, 64);
}

void mem_spare_init(struct mem_spare *s)
{
    mutex_init(&s->mu);
    s->wanted = s->arenas = 0;
    s->base = NULL;
}

void mem_spare_want(struct mem_spare *s, uint64_t arena_bytes_max)
{
    uint64_t wanted = arena_bytes_max != 0 ? arena_bytes(arena_bytes_max) : 0, had = 0;
    void *base = NULL;

    mutex_lock(&s->mu);
    if (s->wanted != wanted) {
        base = GIVE(s->base);
        had = s->wanted;
        s->arenas -= base != NULL ? had : 0;
        s->wanted = wanted;
    }
    mutex_unlock(&s->mu);
    alloc_pages_free(base, had);
}

uint64_t mem_spare_bytes(struct mem_spare *s, uint64_t in_use)
{
    uint64_t bytes;

    mutex_lock(&s->mu);
    bytes = s->arenas > in_use ? s->arenas - in_use : 0;
    if (bytes > s->wanted)
        bytes = s->wanted;
    mutex_unlock(&s->mu);
    return bytes;
}

void mem_spare_done(struct mem_spare *s)
{
    mem_spare_want(s, 0);
    mutex_done(&s->mu);
}

/* NULL: none waits, and the caller makes one of its own. */
static void *spare_take(struct mem_spare *s, uint64_t bytes)
{
    void *base = NULL;

    if (s == NULL)
        return NULL;
    mutex_lock(&s->mu);
    if (s->wanted == bytes)
        base = GIVE(s->base);
    s->arenas += base == NULL ? bytes : 0;
    mutex_unlock(&s->mu);
    return base;
}

/* `base` may be NULL: the caller got none. True: it is kept. */
static bool spare_put(struct mem_spare *s, void *base, uint64_t bytes)
{
    bool kept;

    if (s == NULL)
        return false;
    mutex_lock(&s->mu);
    kept = base != NULL && s->wanted == bytes && s->base == NULL;
    if (kept)
        s->base = base;
    else
        s->arenas -= bytes;
    mutex_unlock(&s->mu);
    return kept;
}

enum quern_code mem_new(uint64_t arena_bytes_max, struct mem_spare *spare, struct mem **out,
                        struct quern_error *err)
{
    struct mem *m;

    if (arena_bytes_max / UNIT_BYTES > UINT32_MAX - (UINT32_C(1) << 24))
        return err_memory(err, "MemDB above 31 GiB");
    m = alloc_aligned(64, sizeof(*m));
    if (m == NULL)
        return err_memory(err, "MemDB");
    memset(m, 0, sizeof(*m));
    m->spare = spare;
    m->capacity = arena_bytes(arena_bytes_max);
    m->filter_blocks = filter_blocks_for(arena_bytes_max);
    m->base = spare_take(spare, m->capacity);
    m->used_before = m->base != NULL;
    if (m->used_before)
        memset(m->base, 0, head_bytes(m->filter_blocks));
    else
        m->base = alloc_pages(m->capacity);
    if (m->base == NULL) {
        IGNORE(spare_put(spare, NULL, m->capacity));
        alloc_free(m);
        return err_memory(err, "MemDB arena");
    }
    m->entries_begin = m->entries_end = head_bytes(m->filter_blocks);
    m->nodes_begin = m->capacity;
    COUNTER_SET(m->references, 1);
    tree_init(m);
    *out = m;
    return QUERN_OK;
}

void mem_ref(struct mem *m)
{
    atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
}

void mem_unref(struct mem *m)
{
    if (m == NULL || atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) != 1)
        return;
    if (!spare_put(m->spare, m->base, m->capacity))
        alloc_pages_free(m->base, m->capacity);
    alloc_free(m);
}

/* ---- room ---- */

uint64_t mem_bytes_needed(const struct batch_ref *batch)
{
    /* An op is no shorter than its key and value. */
    return batch_bytes(batch) +
           (uint64_t)batch->op_count * (ENTRY_HEAD_BYTES + 8 + UNIT_BYTES - 1 + NODE_BYTES_PER_KEY);
}

/* Nodes are charged at their worst for the keys there are, not as they stand: what a further key
 * takes is then bounded, though one insert may split a node on every level. */
bool mem_fits(const struct mem *m, uint64_t needed)
{
    uint64_t charged = COUNTER(m->entry_bytes) + COUNTER(m->key_count) * NODE_BYTES_PER_KEY;
    uint64_t room = m->capacity - (m->filter_blocks + 1) * FILTER_BLOCK_BYTES - NODE_BYTES_BASE;

    return charged <= room && needed <= room - charged;
}

/* ---- in ---- */

static uint64_t entry_bytes(size_t expiry, size_t key_len, size_t value_len)
{
    return round_up(ENTRY_HEAD_BYTES + expiry + key_len + value_len, UNIT_BYTES);
}

static arena_ref entry_write(struct mem *m, const struct entry *e, quern_seq seq)
{
    size_t expiry = e->expires_ms != 0 ? 8 : 0;
    uint64_t bytes = entry_bytes(expiry, e->key.len, e->value.len);
    struct mem_entry *to = (struct mem_entry *)(void *)(m->base + m->entries_end);
    arena_ref ref = (arena_ref)(m->entries_end / UNIT_BYTES);
    uint8_t *at = to->bytes;

    ensure(m->nodes_begin - m->entries_end >= bytes); /* mem_fits() was asked */
    m->entries_end += bytes;
    to->seq = seq;
    to->older = 0;
    to->value_len = (uint32_t)e->value.len;
    to->key_len_kind =
        (uint32_t)e->key.len | (uint32_t)e->kind << 24 | (expiry ? ENTRY_EXPIRES : 0);
    if (expiry) {
        put_u64le(at, e->expires_ms);
        at += 8;
        COUNTER_SET(m->expiring_count, COUNTER(m->expiring_count) + 1);
    }
    if (e->key.len != 0)
        memcpy(at, e->key.data, e->key.len);
    if (e->value.len != 0)
        memcpy(at + e->key.len, e->value.data, e->value.len);
    return ref;
}

void mem_apply_cut(struct mem *m, const struct batch_ref *batch, quern_seq seq,
                   const struct cuts *own)
{
    struct op_cursor ops = op_cursor_of(batch);
    uint64_t applied = 0, tombstones = 0, place = 0;
    struct entry e;

    while (op_next(&ops, &e)) {
        uint64_t hash;
        arena_ref ref;

        place++;
        if (UNLIKELY(e.kind >= ENTRY_RANGE_DELETE) ||
            UNLIKELY(own != NULL && cuts_newest(own, e.key, UINT64_MAX) > place))
            continue;
        hash = hash_key(e.key);
        mem_prefetch(m, hash);
        ref = entry_write(m, &e, seq);
        tree_insert(m, ref);
        filter_add(m, hash); /* its line has come by now */
        applied++;
        tombstones += e.kind != ENTRY_PUT;
    }
    ensure(!ops.bad);
    if (applied == 0)
        return;
    if (COUNTER(m->seq_min) == 0)
        COUNTER_SET(m->seq_min, seq);
    COUNTER_SET(m->seq_max, seq);
    COUNTER_SET(m->entry_count, COUNTER(m->entry_count) + applied);
    COUNTER_SET(m->tombstone_count, COUNTER(m->tombstone_count) + tombstones);
    STORE(m->entry_bytes, m->entries_end - m->entries_begin); /* mem_written() */
}

void mem_apply(struct mem *m, const struct batch_ref *batch, quern_seq seq)
{
    mem_apply_cut(m, batch, seq, NULL);
}

/* ---- out ---- */

bool mem_get(const struct mem *m, struct quern_slice key, uint64_t hash, quern_seq seq,
             struct entry *out)
{
    arena_ref ref;

    if (!filter_may_have(m, hash))
        return false;
    for (;;) {
        uint64_t version;
        const struct node *leaf = tree_descend(m, TO_KEY, key, &version);
        bool found;
        uint32_t at = node_find(m, leaf, key, &found);

        ref = found ? LOAD(leaf->refs[at]) : 0;
        if (node_unchanged(leaf, version))
            break;
    }
    for (; ref != 0; ref = mem_entry(m, ref)->older) {
        const struct mem_entry *e = mem_entry(m, ref);

        if (e->seq <= seq) {
            mem_entry_read(e, out);
            return true;
        }
    }
    return false;
}

/* The end is stored with release when a batch is whole, so what lies before it can be read: nothing
 * of an entry changes afterwards. It may be of a batch that the caller was not told of. */
uint64_t mem_written_bytes(const struct mem *m)
{
    return LOAD(m->entry_bytes);
}

bool mem_written(const struct mem *m, uint64_t *at, quern_seq seq, struct mem_written *out)
{
    const struct mem_entry *e;
    struct entry over;

    if (*at >= mem_written_bytes(m))
        return false;
    e = mem_entry(m, (arena_ref)((m->entries_begin + *at) / UNIT_BYTES));
    if (e->seq > seq)
        return false;
    *at += entry_bytes(e->key_len_kind & ENTRY_EXPIRES ? 8 : 0, e->key_len_kind & ENTRY_KEY_LEN,
                       e->value_len);
    mem_entry_read(e, &out->at);
    out->over = e->older != 0;
    if (out->over) {
        e = mem_entry(m, e->older);
        mem_entry_read(e, &over);
        out->over_seq = over.seq;
        out->over_expires_ms = over.expires_ms;
        out->over_kind = over.kind;
    }
    return true;
}

void mem_info(const struct mem *m, struct mem_info *out)
{
    *out = (struct mem_info){
        .entry_count = COUNTER(m->entry_count),
        .tombstone_count = COUNTER(m->tombstone_count),
        .expiring_count = COUNTER(m->expiring_count),
        .arena_bytes = COUNTER(m->entry_bytes) + COUNTER(m->node_bytes),
        .seq_min = COUNTER(m->seq_min),
        .seq_max = COUNTER(m->seq_max),
    };
}
