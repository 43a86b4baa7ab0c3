/* fuzz_resp.c - requests of the Redis protocol: how the bytes are cut must not matter, and what is
 * found lies inside them. Then the globs, by another matcher; and the bytes as what RESTORE is
 * sent.
 *
 * The first byte chooses how a second reading is cut; the rest is what a client sends. */
#include "fuzz.h"

#include "resp/resp_priv.h"

#define GLOB_BYTES_MAX 12u /* the plain matcher takes two to the power of the stars */

static const struct resp_limits limits = {4096, 16384, false};

struct reading {
    size_t requests, args, taken;
    uint64_t sum;
    bool bad;
};

static void note(struct reading *all, const struct resp_request *r)
{
    all->requests++;
    all->args += r->count;
    for (size_t i = 0; i < r->count; i++) {
        for (size_t at = 0; at < r->args[i].len; at++)
            all->sum = all->sum * 31 + ((const uint8_t *)r->args[i].data)[at];
        all->sum = all->sum * 37 + r->args[i].len;
    }
}

/* All requests of the input, which arrives in pieces of `step` bytes; 0: at once. */
static struct reading read_all(const uint8_t *data, size_t size, size_t step)
{
    struct reading all = {.sum = 1};
    struct resp_request r = {0};
    size_t have = step == 0 || step > size ? size : step;

    for (;;) {
        uint8_t *copy = exact(data + all.taken, have - all.taken);
        enum resp_verdict verdict = resp_request_read(&r, &limits, copy, have - all.taken);

        must(verdict != RESP_NO_MEMORY);
        if (verdict == RESP_DONE) {
            must(r.bytes > 0 && r.bytes <= have - all.taken);
            must(r.count <= RESP_ARGS_MAX);
            note(&all, &r);
            all.taken += r.bytes;
            resp_request_next(&r);
        }
        free(copy);
        if (verdict == RESP_BAD) {
            must(strncmp(r.bad, "Protocol error: ", 16) == 0);
            all.bad = true;
            break;
        }
        if (verdict == RESP_MORE && have == size)
            break;
        if (verdict == RESP_MORE)
            have = size - have < step ? size : have + step;
    }
    resp_request_done(&r);
    return all;
}

/* The definition, with all its ways. */
static bool plain_match(const uint8_t *p, size_t n, const uint8_t *s, size_t len)
{
    struct quern_slice piece = {p, 1}, letter = {s, 1};

    if (n == 0)
        return len == 0;
    if (*p == '*')
        return plain_match(p + 1, n - 1, s, len) || (len > 0 && plain_match(p, n, s + 1, len - 1));
    if (len == 0)
        return false;
    if (*p == '[') { /* its end is found as a reader would, its meaning is the matcher's own */
        size_t end = 1;

        end += end < n && p[end] == '^';
        while (end < n && p[end] != ']')
            end += p[end] == '\\' && n - end >= 2 ? 2 : n - end >= 3 && p[end + 1] == '-' ? 3 : 1;
        piece.len = end < n ? end + 1 : n;
    } else if (*p == '\\' && n > 1) {
        piece.len = 2;
    }
    return resp_glob_matches(piece, letter) &&
           plain_match(p + piece.len, n - piece.len, s + 1, len - 1);
}

static void check_glob(const uint8_t *data, size_t size)
{
    size_t n = size < GLOB_BYTES_MAX ? size / 2 : GLOB_BYTES_MAX / 2 + data[0] % 3;
    size_t len = size - n < 10 ? size - n : 10;
    struct quern_slice pattern = {data, n}, text = {data + n, len};
    struct buf prefix = {0};
    struct quern_error err;
    bool matches = resp_glob_matches(pattern, text);

    must(matches == plain_match(data, n, data + n, len));
    must(resp_glob_prefix(pattern, &prefix, &err) == QUERN_OK);
    if (matches)
        must(prefix.len <= len &&
             (prefix.len == 0 || memcmp(prefix.data, text.data, prefix.len) == 0));
    buf_done(&prefix);
}

#define VALUE_BYTES_MAX 65536u

static void check_restored(struct quern_slice payload, const struct quern_slice *wanted)
{
    struct buf value = {0};
    enum resp_dump how = resp_dump_read(payload, VALUE_BYTES_MAX, &value);

    must(how == RESP_DUMP_WELL || (wanted == NULL && how != RESP_DUMP_NO_MEMORY));
    must(value.len <= VALUE_BYTES_MAX);
    if (wanted != NULL)
        must(value.len == wanted->len && memcmp(value.data, wanted->data, value.len) == 0);
    buf_done(&value);
}

/* Any bytes with the sum that belongs to them may be what a client sends; and as a value they come
 * back. */
static void check_dump(const uint8_t *data, size_t size)
{
    struct quern_slice bytes = {data, size < VALUE_BYTES_MAX ? size : VALUE_BYTES_MAX};
    struct buf dumped = {0}, sent = {0};
    struct quern_error err;
    uint64_t sum;
    uint8_t foot[8];

    must(resp_dump_write(bytes, &dumped, &err) == QUERN_OK);
    check_restored(buf_slice(&dumped), &bytes);
    must(buf_append(&sent, data, size, &err) == QUERN_OK);
    must(buf_append(&sent, "\x0a", 2, &err) == QUERN_OK);
    sum = resp_crc64(buf_slice(&sent));
    for (unsigned i = 0; i < 8; i++)
        foot[i] = (uint8_t)(sum >> 8 * i);
    must(buf_append(&sent, foot, 8, &err) == QUERN_OK);
    check_restored(buf_slice(&sent), NULL);
    buf_done(&dumped);
    buf_done(&sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reading once, cut;
    size_t step;

    if (size < 2 || size > 70000)
        return 0;
    step = data[0] % 17 + 1;
    data++;
    size--;
    if (size / step > 2048)
        step = size / 2048 + 1;
    once = read_all(data, size, 0);
    cut = read_all(data, size, step);
    must(once.requests == cut.requests && once.args == cut.args && once.sum == cut.sum);
    must(once.bad == cut.bad && once.taken == cut.taken);
    check_glob(data, size);
    check_dump(data, size);
    return 0;
}
