/* mem_node.c - one node: finding a key in it, and changing it under the eyes of readers.
 *
 *      0 +----------------------------------+
 *        | version | count, prefix | link   |   one line: all that a search needs first
 *     16 | the prefix all its keys share    |
 *     64 +----------------------------------+
 *        | heads: 8 bytes after the prefix  |   binary search, no keys touched
 *    576 +----------------------------------+
 *        | refs: entries                    |   touched at the end, and where heads tie
 *    832 +----------------------------------+
 *        | children (inner nodes only)      |
 *        +----------------------------------+
 *
 * The prefix is what all keys of the node share, cut at NODE_PREFIX_BYTES_MAX; it may be shorter
 * than that. A new key that does not share it shortens it, and then the heads follow from the old
 * prefix and the old heads alone. It grows back when a node splits, where the heads have to be
 * read anew from the keys; so it does only when at least half of every head has become common.
 *
 * What readers may rely on even in the middle of a change: a slot below a count they have
 * seen has a ref that leads to an entry or node, because slots are stored before the count. */
#include "mem/mem_priv.h"

#include <sched.h>

#define SPINS_BEFORE_YIELD 128
/* Bytes of the heads that have to be common before a split lengthens the prefix. */
#define TIGHTEN_BYTES 4

uint64_t node_begin(const struct node *n)
{
    uint64_t version = LOAD(n->version);

    for (int spins = 0; UNLIKELY(version & 1); version = LOAD(n->version)) {
        /* The writer may have lost its core in the middle: give it ours. */
        if (++spins > SPINS_BEFORE_YIELD)
            (void)sched_yield();
    }
    return version;
}

/* ---- search ---- */

/* The order of `key` against all keys that begin with the node's prefix; 0: it begins so too. */
static int prefix_compare_long(const struct node *n, uint32_t prefix_len, struct quern_slice key)
{
    for (uint32_t at = 0; at < prefix_len; at += 8) {
        uint64_t want = LOAD(n->prefix[at / 8]), got = key_head(key, at);

        if (prefix_len - at < 8)
            got &= ~UINT64_C(0) << (64 - 8 * (prefix_len - at));
        if (got != want)
            return got < want ? -1 : 1;
    }
    return key.len < prefix_len ? -1 : 0;
}

/* The same; nearly all prefixes are short, as every key begins with the number of a database. */
static inline int prefix_compare(const struct node *n, uint32_t prefix_len, struct quern_slice key)
{
    uint32_t word = (prefix_len - 1) / 8;

    if (prefix_len == 0)
        return 0;
    if (LIKELY(word < 2 && key.len >= 8 * (size_t)word + 8)) {
        const uint8_t *last = (const uint8_t *)key.data + 8 * (size_t)word;
        uint64_t differ = get_u64be(last) ^ LOAD(n->prefix[word]);

        if (LIKELY(differ >> (8 * (-prefix_len & 7)) == 0 &&
                   (word == 0 || get_u64be(key.data) == LOAD(n->prefix[0]))))
            return 0;
    }
    return prefix_compare_long(n, prefix_len, key);
}

/* How many of the first `count` heads are below `head`. No branch depends on the data. */
static uint32_t heads_below(const struct node *n, uint32_t count, uint64_t head)
{
    uint32_t at = 0;

    if (count == 0)
        return 0;
    while (count > 1) {
        uint32_t half = count / 2;

        at += half & -(uint32_t)(LOAD(n->heads[at + half - 1]) < head);
        count -= half;
    }
    return at + (LOAD(n->heads[at]) < head);
}

/* Slots at, at + 1, ... have the key's head: only the keys themselves can tell. */
static uint32_t find_among_ties(const struct mem *m, const struct node *n, uint32_t at,
                                uint32_t count, uint64_t head, struct quern_slice key, bool *found)
{
    uint32_t end = at + 1;

    while (end < count && LOAD(n->heads[end]) == head)
        end++;
    while (at < end) {
        uint32_t middle = at + (end - at) / 2;
        int order = key_compare(mem_entry_key(mem_entry(m, LOAD(n->refs[middle]))), key);

        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            at = middle + 1;
        else
            end = middle;
    }
    return at;
}

uint32_t node_find(const struct mem *m, const struct node *n, struct quern_slice key, bool *found)
{
    uint32_t shape = LOAD(n->shape), count = shape_count(shape);
    uint32_t prefix_len = shape_prefix_len(shape), at;
    int order = prefix_compare(n, prefix_len, key);
    uint64_t head;

    *found = false;
    if (order != 0)
        return order < 0 ? 0 : count;
    head = key_head(key, prefix_len);
    at = heads_below(n, count, head);
    if (at == count || LOAD(n->heads[at]) != head)
        return at;
    return find_among_ties(m, n, at, count, head, key, found);
}

/* ---- prefix ---- */

static void prefix_store(struct node *n, struct quern_slice key, uint32_t prefix_len)
{
    for (uint32_t at = 0; at < prefix_len; at += 8)
        STORE(n->prefix[at / 8], key_head(slice_of(key.data, prefix_len), at));
}

static void prefix_load(const struct node *n, uint8_t bytes[NODE_PREFIX_BYTES_MAX])
{
    for (uint32_t i = 0; i < NODE_PREFIX_BYTES_MAX / 8; i++) {
        uint64_t word = htobe64(COUNTER(n->prefix[i]));

        memcpy(bytes + 8 * i, &word, 8);
    }
}

/* Cut the prefix down to what `key` shares with it; returns its length. What leaves the prefix
 * enters the heads in front. */
static uint32_t prefix_share(struct node *n, uint32_t prefix_len, uint32_t count,
                             struct quern_slice key)
{
    uint8_t bytes[NODE_PREFIX_BYTES_MAX];
    struct quern_slice prefix = {bytes, prefix_len};
    uint32_t shared, less;
    uint64_t front;

    if (prefix_compare(n, prefix_len, key) == 0)
        return prefix_len;
    prefix_load(n, bytes);
    shared = (uint32_t)key_common_prefix(prefix, key);
    less = prefix_len - shared;
    front = key_head(prefix, shared);
    for (uint32_t i = 0; i < count; i++)
        STORE(n->heads[i], less < 8 ? front | COUNTER(n->heads[i]) >> 8 * less : front);
    prefix_store(n, prefix, shared);
    return shared;
}

/* Lengthen the prefix again where the heads have too much in common. */
static void node_tighten(const struct mem *m, struct node *n)
{
    uint32_t shape = COUNTER(n->shape), count = shape_count(shape), longer;
    uint64_t differ;
    struct quern_slice first;

    if (count < 2)
        return;
    differ = COUNTER(n->heads[0]) ^ COUNTER(n->heads[count - 1]);
    if (differ >> (64 - 8 * TIGHTEN_BYTES) != 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        mem_entry_prefetch(m, COUNTER(n->refs[i]));
    first = mem_entry_key(mem_entry(m, COUNTER(n->refs[0])));
    longer = (uint32_t)key_common_prefix(first,
                                         mem_entry_key(mem_entry(m, COUNTER(n->refs[count - 1]))));
    if (longer > NODE_PREFIX_BYTES_MAX)
        longer = NODE_PREFIX_BYTES_MAX;
    if (longer <= shape_prefix_len(shape))
        return;
    for (uint32_t i = 0; i < count; i++)
        STORE(n->heads[i], key_head(mem_entry_key(mem_entry(m, COUNTER(n->refs[i]))), longer));
    prefix_store(n, first, longer);
    STORE(n->shape, shape_of(shape_level(shape), longer, count));
}

/* ---- change ---- */

void node_insert(struct node *n, uint32_t at, struct quern_slice key, arena_ref ref,
                 arena_ref child)
{
    uint32_t shape = COUNTER(n->shape), count = shape_count(shape);
    uint32_t level = shape_level(shape), prefix_len = shape_prefix_len(shape);

    assert(count < NODE_SLOTS && at <= count);
    if (count == 0) {
        prefix_len = (uint32_t)(key.len < NODE_PREFIX_BYTES_MAX ? key.len : NODE_PREFIX_BYTES_MAX);
        prefix_store(n, key, prefix_len);
    } else {
        prefix_len = prefix_share(n, prefix_len, count, key);
    }
    for (uint32_t i = count; i > at; i--) {
        STORE(n->heads[i], COUNTER(n->heads[i - 1]));
        STORE(n->refs[i], COUNTER(n->refs[i - 1]));
    }
    STORE(n->heads[at], key_head(key, prefix_len));
    STORE(n->refs[at], ref);
    if (level > 0) {
        for (uint32_t i = count; i > at; i--)
            STORE(n->children[i], COUNTER(n->children[i - 1]));
        STORE(n->children[at], child);
    }
    STORE(n->shape, shape_of(level, prefix_len, count + 1));
}

void node_split(const struct mem *m, struct node *n, uint32_t at, struct node *to)
{
    uint32_t shape = COUNTER(n->shape), count = shape_count(shape);
    uint32_t level = shape_level(shape), prefix_len = shape_prefix_len(shape);

    assert(shape_count(COUNTER(to->shape)) == 0);
    for (uint32_t i = 0; i < NODE_PREFIX_BYTES_MAX / 8; i++)
        STORE(to->prefix[i], COUNTER(n->prefix[i]));
    for (uint32_t i = at; i < count; i++) {
        STORE(to->heads[i - at], COUNTER(n->heads[i]));
        STORE(to->refs[i - at], COUNTER(n->refs[i]));
        if (level > 0)
            STORE(to->children[i - at], COUNTER(n->children[i]));
    }
    STORE(to->shape, shape_of(level, prefix_len, count - at));
    STORE(n->shape, shape_of(level, prefix_len, at));
    node_tighten(m, n);
    node_tighten(m, to);
}
