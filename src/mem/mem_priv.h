/* mem_priv.h - what the files of mem/ share: the arena, an entry in it, a node, and the rules by
 * which readers look at nodes while the writer changes them.
 *
 *     base                                                                    base + capacity
 *     | filter | (64 bytes: ref 0 is none) | entries, upwards ->    <- nodes, downwards |
 *
 * A ref counts units of 8 bytes from `base`. Page: docs/design/30-memtable.md.
 *
 * Every word of a node is atomic. Readers load with acquire, the writer stores with release, so
 *   - a ref that was read leads to an entry that is whole (entries are never changed afterwards);
 *   - a reader that saw one word of a change made after node_open() sees the odd or a later version
 *     when it looks again, which is all a seqlock needs, and no fence is involved.
 * On x86 both are plain moves. */
#ifndef MEM_PRIV_H
#define MEM_PRIV_H

#include "mem/mem.h"

#include <assert.h>
#include <stdatomic.h>

/* Slots of a node. Measured with 16, 32 and 64 (docs/design/30-memtable.md). */
#define NODE_SLOTS 64u
#define NODE_HALF (NODE_SLOTS / 2)
#define NODE_PREFIX_BYTES_MAX 48u
/* With NODE_HALF children a node, 2^32 units of nodes stack far lower. */
#define TREE_LEVELS_MAX 12u

typedef uint32_t arena_ref; /* units of 8 bytes from the arena's base; 0: none */
#define UNIT_BYTES 8u

struct node {
    _Atomic uint64_t version; /* odd: being changed */
    _Atomic uint32_t shape;   /* see shape_of(); the level of a node never changes */
    _Atomic arena_ref link;   /* leaf: the next leaf or none; inner: the child before slot 0 */
    _Atomic uint64_t prefix[NODE_PREFIX_BYTES_MAX / 8]; /* big-endian numbers, zeros at the end */
    _Atomic uint64_t heads[NODE_SLOTS];                 /* key_head(key, prefix length), rising */
    _Atomic arena_ref refs[NODE_SLOTS];     /* leaf: newest version; inner: an entry with the key */
    _Atomic arena_ref children[NODE_SLOTS]; /* inner nodes only: the keys from refs[i] on */
};
#define LEAF_BYTES offsetof(struct node, children)
#define INNER_BYTES sizeof(struct node)
_Static_assert(LEAF_BYTES % 64 == 0 && INNER_BYTES % 64 == 0, "nodes begin on cache lines");

/* An entry: this head, [u64 expires_ms], key, value. */
struct mem_entry {
    quern_seq seq;
    arena_ref older; /* the version before, or none */
    uint32_t value_len;
    uint32_t key_len_kind; /* key length | kind << 24 | ENTRY_EXPIRES */
    uint8_t bytes[];
};
#define ENTRY_HEAD_BYTES offsetof(struct mem_entry, bytes)
#define ENTRY_EXPIRES UINT32_C(0x80000000)
#define ENTRY_KEY_LEN UINT32_C(0x00ffffff)

struct mem {
    /* Constant after mem_new(). */
    uint8_t *base;
    uint64_t capacity;
    uint64_t filter_blocks;
    uint64_t entries_begin; /* bytes from base */
    struct mem_spare *spare;
    bool used_before; /* the arena is not zeros */

    _Atomic arena_ref root; /* replaced while the old root is open */
    _Atomic uint32_t references;

    /* The writer's alone; readers do not fetch this line. */
    _Alignas(64) uint64_t entries_end, nodes_begin; /* bytes from base */
    struct node *last_leaf;                         /* where the last new key went */

    /* Stored by the writer, relaxed; loaded by any thread. entry_bytes with release, at the end of each
     * batch: what lies before is whole. */
    _Atomic uint64_t entry_bytes, node_bytes, key_count;
    _Atomic uint64_t entry_count, tombstone_count, expiring_count, seq_min, seq_max;
};

/* ---- words ---- */

#define LOAD(word) atomic_load_explicit(&(word), memory_order_acquire)
#define STORE(word, v) atomic_store_explicit(&(word), (v), memory_order_release)
#define COUNTER(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define COUNTER_SET(word, v) atomic_store_explicit(&(word), (v), memory_order_relaxed)

static inline uint32_t shape_of(uint32_t level, uint32_t prefix_len, uint32_t count)
{
    return level << 16 | prefix_len << 8 | count;
}

static inline uint32_t shape_level(uint32_t shape)
{
    return shape >> 16;
}

static inline uint32_t shape_prefix_len(uint32_t shape)
{
    return shape >> 8 & 0xff;
}

static inline uint32_t shape_count(uint32_t shape)
{
    return shape & 0xff;
}

/* ---- refs ---- */

static inline struct node *mem_node(const struct mem *m, arena_ref ref)
{
    return (struct node *)(void *)(m->base + (uint64_t)ref * UNIT_BYTES);
}

static inline arena_ref mem_node_ref(const struct mem *m, const struct node *n)
{
    return (arena_ref)((uint64_t)((const uint8_t *)n - m->base) / UNIT_BYTES);
}

static inline struct mem_entry *mem_entry(const struct mem *m, arena_ref ref)
{
    return (struct mem_entry *)(void *)(m->base + (uint64_t)ref * UNIT_BYTES);
}

static inline struct quern_slice mem_entry_key(const struct mem_entry *e)
{
    return slice_of(e->bytes + (e->key_len_kind & ENTRY_EXPIRES ? 8 : 0),
                    e->key_len_kind & ENTRY_KEY_LEN);
}

static inline enum entry_kind mem_entry_kind(const struct mem_entry *e)
{
    return (enum entry_kind)((e->key_len_kind & ~ENTRY_EXPIRES) >> 24);
}

static inline void mem_entry_read(const struct mem_entry *e, struct entry *out)
{
    const uint8_t *at = e->bytes;

    out->expires_ms = 0;
    if (UNLIKELY(e->key_len_kind & ENTRY_EXPIRES)) {
        out->expires_ms = get_u64le(at);
        at += 8;
    }
    out->key = slice_of(at, e->key_len_kind & ENTRY_KEY_LEN);
    out->value = slice_of(at + out->key.len, e->value_len);
    out->seq = e->seq;
    out->kind = mem_entry_kind(e);
}

/* Head and key of an entry straddle a line more often than not. */
static inline void mem_entry_prefetch(const struct mem *m, arena_ref ref)
{
    const uint8_t *at = (const uint8_t *)mem_entry(m, ref);

    __builtin_prefetch(at);
    __builtin_prefetch(at + 40);
}

static inline void node_prefetch(const struct node *n)
{
    const uint8_t *at = (const uint8_t *)n;

    for (size_t i = 0; i < LEAF_BYTES; i += 64)
        __builtin_prefetch(at + i);
}

/* ---- mem_node.c: one node ---- */

/* Readers: the version to check later; waits while the writer is at work on the node. */
uint64_t node_begin(const struct node *n);

static inline bool node_unchanged(const struct node *n, uint64_t version)
{
    return LOAD(n->version) == version;
}

/* The number of slots with keys below `key`; *found tells whether the slot there has this very
 * key. Any thread; the answer holds only if the node is unchanged afterwards. */
uint32_t node_find(const struct mem *m, const struct node *n, struct quern_slice key, bool *found);

/* Child number 0..count of an inner node. */
static inline arena_ref node_child(const struct node *n, uint32_t at)
{
    return at == 0 ? LOAD(n->link) : LOAD(n->children[at - 1]);
}

/* Writer: the node is odd in between. */
static inline void node_open(struct node *n)
{
    STORE(n->version, COUNTER(n->version) + 1);
}

static inline void node_close(struct node *n)
{
    STORE(n->version, COUNTER(n->version) + 1);
}

/* Writer, node open or not yet reachable. The node has a free slot; `child` only for inner ones. */
void node_insert(struct node *n, uint32_t at, struct quern_slice key, arena_ref ref,
                 arena_ref child);
/* Slots from `at` on go to the empty node `to`, the rest stay;
 * both get the longest useful prefix. */
void node_split(const struct mem *m, struct node *n, uint32_t at, struct node *to);

/* ---- mem_tree.c: the tree ---- */

enum descent {
    TO_KEY,   /* the leaf where `key` is or would be */
    TO_BELOW, /* the leaf that holds the greatest key below `key` */
    TO_FIRST,
    TO_LAST,
};

/* The leaf for readers: *version was even when the leaf was the right one. */
struct node *tree_descend(const struct mem *m, enum descent how, struct quern_slice key,
                          uint64_t *version);

void tree_init(struct mem *m);
/* Writer: publish the entry `ref`, whose `older` is still to be set. */
void tree_insert(struct mem *m, arena_ref ref);

/* What the nodes take at most: per key, and beyond that. Every leaf but the last has at least
 * NODE_HALF keys, every inner node but the last of its level as many children. */
#define NODE_BYTES_PER_KEY (LEAF_BYTES / NODE_HALF + 2 * INNER_BYTES / (NODE_HALF * NODE_HALF) + 1)
#define NODE_BYTES_BASE (2 * LEAF_BYTES + 2 * TREE_LEVELS_MAX * INNER_BYTES)

#endif
