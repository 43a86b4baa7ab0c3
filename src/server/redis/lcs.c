/* lcs.c - LCS: the longest letters that two values have in common, in order but not side by side.
 *
 *     table[i][j]: how long it is of the first i and the first j letters
 *       the same letter: one more than at [i-1][j-1]; else the larger one of [i-1][j] and [i][j-1]
 *
 * From [a][b] back to the origin each diagonal step is a letter; steps in a row are a range. Of two
 * ways the one that Redis goes is taken. The table has four bytes for each pair of letters, and may be
 * as large as a value: 16 million pairs, which takes some 50 ms.
 *
 * No writer waits for that. Inside a transaction both values are read, as of that moment, and left where
 * the reply is to stand; they are compared behind the commit, aside (transaction_walk()). */
#include "server/redis/handlers.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/error.h"

struct lcs {
    bool length_only, ranges, with_length;
    int64_t shortest;
    struct quern_slice a, b;
    uint32_t *table;
    struct buf letters; /* the last one first */
    struct buf list;    /* the ranges, as replies */
    size_t range_count;
};

static bool read_options(struct call *k, struct lcs *l)
{
    for (size_t i = 3; i < k->argc; i++) {
        if (call_arg_is(k, i, "IDX")) {
            l->ranges = true;
        } else if (call_arg_is(k, i, "LEN")) {
            l->length_only = true;
        } else if (call_arg_is(k, i, "WITHMATCHLEN")) {
            l->with_length = true;
        } else if (call_arg_is(k, i, "MINMATCHLEN") && i + 1 < k->argc) {
            if (!call_integer(k, ++i, &l->shortest))
                return false;
        } else {
            (void)call_syntax_error(k);
            return false;
        }
    }
    if (l->ranges && l->length_only) {
        (void)call_error(k, "ERR If you want both the length and indexes, please just use IDX.");
        return false;
    }
    return true;
}

static uint32_t *at(const struct lcs *l, size_t i, size_t j)
{
    return &l->table[i * (l->b.len + 1) + j];
}

static bool same_letter(const struct lcs *l, size_t i, size_t j)
{
    return ((const uint8_t *)l->a.data)[i - 1] == ((const uint8_t *)l->b.data)[j - 1];
}

static void fill_table(struct lcs *l)
{
    for (size_t i = 1; i <= l->a.len; i++) {
        for (size_t j = 1; j <= l->b.len; j++) {
            uint32_t up = *at(l, i - 1, j), left = *at(l, i, j - 1);

            *at(l, i, j) = same_letter(l, i, j) ? *at(l, i - 1, j - 1) + 1 : up > left ? up : left;
        }
    }
}

/* `len` letters behind a and b places. */
static void put_range(struct lcs *l, struct resp_out *out, size_t a, size_t b, size_t len)
{
    if (len == 0 || (l->shortest > 0 && (int64_t)len < l->shortest))
        return;
    l->range_count++;
    resp_put_array(out, l->with_length ? 3 : 2);
    resp_put_array(out, 2);
    resp_put_int(out, (int64_t)a);
    resp_put_int(out, (int64_t)(a + len - 1));
    resp_put_array(out, 2);
    resp_put_int(out, (int64_t)b);
    resp_put_int(out, (int64_t)(b + len - 1));
    if (l->with_length)
        resp_put_int(out, (int64_t)len);
}

static void walk_back(struct lcs *l, struct resp_out *ranges, struct resp_out *letters)
{
    size_t i = l->a.len, j = l->b.len, len = 0;

    while (i > 0 && j > 0) {
        if (same_letter(l, i, j)) {
            i--;
            j--;
            len++;
            resp_put_raw(letters, (const uint8_t *)l->a.data + i, 1);
            continue;
        }
        put_range(l, ranges, i, j, len);
        len = 0;
        if (*at(l, i - 1, j) > *at(l, i, j - 1))
            i--;
        else
            j--;
    }
    put_range(l, ranges, i, j, len);
}

static void reply(struct call *k, struct lcs *l)
{
    struct resp_out ranges = {&l->list, k->out.proto, false};
    struct resp_out letters = {&l->letters, k->out.proto, false};
    uint32_t length = *at(l, l->a.len, l->b.len);

    if (l->length_only) {
        resp_put_int(&k->out, length);
        return;
    }
    walk_back(l, &ranges, &letters);
    if (l->ranges) {
        resp_put_map(&k->out, 2);
        resp_put_text(&k->out, "matches");
        resp_put_array(&k->out, l->range_count);
        resp_put_raw(&k->out, l->list.data, l->list.len);
        resp_put_text(&k->out, "len");
        resp_put_int(&k->out, length);
    } else {
        resp_put_bulk_head(&k->out, l->letters.len);
        for (size_t n = l->letters.len; n > 0; n--)
            resp_put_raw(&k->out, l->letters.data + n - 1, 1);
        resp_put_raw(&k->out, "\r\n", 2);
    }
    k->out.failed |= ranges.failed || letters.failed;
}

#define LENGTH_BYTES 8u /* of the first value, before the two */

static enum quern_code leave(struct call *k, const struct lcs *l)
{
    uint8_t length[LENGTH_BYTES];

    put_u64le(length, l->a.len);
    resp_put_raw(&k->out, length, sizeof(length));
    resp_put_raw(&k->out, l->a.data, l->a.len);
    resp_put_raw(&k->out, l->b.data, l->b.len);
    k->unfinished = true;
    return QUERN_OK;
}

static void take_left(const struct call *k, struct lcs *l)
{
    const uint8_t *at = k->left.data;

    l->a = (struct quern_slice){at + LENGTH_BYTES, (size_t)get_u64le(at)};
    l->b =
        (struct quern_slice){at + LENGTH_BYTES + l->a.len, k->left.len - LENGTH_BYTES - l->a.len};
}

static enum quern_code compare(struct call *k, struct lcs *l)
{
    uint64_t places = (uint64_t)(l->a.len + 1) * (l->b.len + 1);

    if (!read_options(k, l))
        return QUERN_OK;
    if (places > k->server->options->value_bytes_max / sizeof(*l->table))
        return call_error(k, "ERR Insufficient memory, transient memory for LCS exceeds "
                             "proto-max-bulk-len");
    if (k->update != NULL)
        return leave(k, l);
    l->table = alloc_array((size_t)places, sizeof(*l->table));
    if (l->table == NULL)
        return call_error(k, "ERR Insufficient memory, failed allocating transient memory for LCS");
    fill_table(l);
    reply(k, l);
    alloc_free(l->table);
    buf_done(&l->letters);
    buf_done(&l->list);
    return QUERN_OK;
}

enum quern_code cmd_lcs(struct call *k)
{
    struct quern_value first = {0}, *kept = k->value;
    struct lcs l = {.shortest = 0};
    enum quern_code code;

    if (k->left.len > 0) {
        take_left(k, &l);
        return compare(k, &l);
    }
    k->value = &first;
    code = call_get(k, k->args[1]);
    if (code == QUERN_OK)
        l.a = call_value(k); /* where it was read to, which may be elsewhere */
    k->value = kept;
    if (code == QUERN_OK || code == QUERN_NOT_FOUND)
        code = call_get(k, k->args[2]);
    if (code == QUERN_OK)
        l.b = call_value(k);
    if (code == QUERN_OK || code == QUERN_NOT_FOUND)
        code = compare(k, &l);
    quern_value_done(&first);
    return code;
}
