/* entry.h - one entry, the same all the way from the door to the lowest level; and how keys
 * compare: as bytes, a prefix before what it begins. */
#ifndef BASE_ENTRY_H
#define BASE_ENTRY_H

#include "base/codec.h"

#include <quern/types.h>

/* On disk, do not renumber. */
enum entry_kind {
    ENTRY_PUT = 1,
    ENTRY_DELETE = 2,       /* a tombstone: value is empty */
    ENTRY_RANGE_DELETE = 3, /* in a batch only: from key up to but without `value` (base/cuts.h) */
    ENTRY_DATABASES = 4,    /* in a batch only: databases change places (op_db_map()) */
};

/* Keys inside are a little longer than a user's (QUERN_KEY_BYTES_MAX): one byte stands before it,
 * the number of its database (engine/inner.h). */
#define ENTRY_KEY_BYTES_MAX (65536u + 64u)
#define ENTRY_VALUE_BYTES_MAX (UINT32_C(1) << 30)
/* Numbers of writes stop here, so that "one more" never wraps, whatever a file says. */
#define ENTRY_SEQ_MAX (UINT64_MAX / 2)

struct entry {
    struct quern_slice key;
    struct quern_slice value;
    quern_seq seq;
    uint64_t expires_ms; /* wall clock, milliseconds since 1970; 0: never */
    enum entry_kind kind;
};

static inline struct quern_slice slice_of(const void *data, size_t len)
{
    return (struct quern_slice){data, len};
}

static inline int key_compare(struct quern_slice a, struct quern_slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order;

    if (LIKELY(shorter >= 8 && shorter <= 24)) { /* a few loads of each, where a call costs more */
        uint64_t x = get_u64be(a.data), y = get_u64be(b.data);

        if (x == y && shorter > 16) {
            x = get_u64be((const uint8_t *)a.data + 8);
            y = get_u64be((const uint8_t *)b.data + 8);
        }
        if (x == y) {
            x = get_u64be((const uint8_t *)a.data + shorter - 8);
            y = get_u64be((const uint8_t *)b.data + shorter - 8);
        }
        order = (x > y) - (x < y);
    } else {
        order = shorter == 0 ? 0 : memcmp(a.data, b.data, shorter);
    }
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

/* False: the keys differ, as their lengths or last bytes tell. Those of neighbours in sorted order
 * nearly always do. */
static inline bool key_ends_equal(struct quern_slice a, struct quern_slice b)
{
    return a.len == b.len && (a.len < 8 || get_u64le((const uint8_t *)a.data + a.len - 8) ==
                                               get_u64le((const uint8_t *)b.data + b.len - 8));
}

/* Are `len` bytes the same? Neighbours in sorted order differ at their ends, so the last bytes are
 * looked at first; of a short key or prefix a few loads then say all, where a call would cost more. */
static inline bool bytes_equal(const void *a, const void *b, size_t len)
{
    const uint8_t *x = a, *y = b;

    if (LIKELY(len >= 8)) {
        if (get_u64le(x + len - 8) != get_u64le(y + len - 8))
            return false;
        if (LIKELY(len <= 24))
            return get_u64le(x) == get_u64le(y) &&
                   (len <= 16 || get_u64le(x + 8) == get_u64le(y + 8));
    }
    if (len <= 1) /* a database's number, where the keys share no more */
        return len == 0 || *x == *y;
    return memcmp(a, b, len) == 0;
}

static inline bool key_equal(struct quern_slice a, struct quern_slice b)
{
    return a.len == b.len && bytes_equal(a.data, b.data, a.len);
}

static inline bool key_begins(struct quern_slice key, const void *prefix, size_t len)
{
    return key.len >= len && bytes_equal(key.data, prefix, len);
}

/* The head of a key: the 8 bytes from `skip` on as one big-endian number, zeros where the key
 * ends sooner. For keys that share their first `skip` bytes, unequal heads order the keys;
 * equal heads decide nothing: compare the keys. */
static inline uint64_t key_head(struct quern_slice key, size_t skip)
{
    const uint8_t *bytes = key.data;
    uint64_t head = 0;

    if (LIKELY(key.len >= skip + 8))
        return get_u64be(bytes + skip);
    if (key.len <= skip)
        return 0;
    if (LIKELY(key.len >= 8)) /* its last 8 bytes, without those that are to be skipped */
        return get_u64be(bytes + key.len - 8) << (8 * (skip + 8 - key.len));
    for (size_t i = skip; i < key.len; i++)
        head = head << 8 | bytes[i];
    return head << (8 * (skip + 8 - key.len));
}

static inline size_t key_common_prefix(struct quern_slice a, struct quern_slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    const uint8_t *x = a.data, *y = b.data;
    size_t n = 0;

    while (n < shorter && x[n] == y[n])
        n++;
    return n;
}

/* Is there a value to be seen at time `time_ms`? Exact to the millisecond; never (0) is the largest
 * number when 1 is taken off. */
static inline bool entry_lives(const struct entry *e, uint64_t time_ms)
{
    return e->kind == ENTRY_PUT && e->expires_ms - 1 >= time_ms;
}

/* The order of entries inside the store: keys rise; of one key the newest comes first. */
static inline int entry_compare(const struct entry *a, const struct entry *b)
{
    int order = key_compare(a->key, b->key);

    if (order != 0)
        return order;
    return (a->seq < b->seq) - (a->seq > b->seq);
}

#endif
