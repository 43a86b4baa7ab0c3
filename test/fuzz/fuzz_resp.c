/* fuzz_resp.c - requests of the Redis protocol: how the bytes are cut must not matter, and what is
 * found lies inside them. Then the globs, by another matcher.
 *
 * The first byte chooses how a second reading is cut; the rest is what a client sends. */
#include "fuzz.h"

#include "resp/resp.h"

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
    return 0;
}
