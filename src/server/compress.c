/* compress.c - gzip and zstd of whole replies.
 *
 * What is compressed: text that the server made itself (JSON, its lines, problems, metrics). Values
 * are not: they are bytes that the client stored, with a tag, ranges and a length of their own, and
 * whoever wants them small stores them small. Nor is what is under 1 KiB, which fits a packet anyway,
 * nor what is over BYTES_MAX, since a loop does nothing else meanwhile.
 *
 * The fast levels: a page of keys shrinks to a fifth at either, and slower ones gain little more. The
 * states are kept with the loop, so that a reply allocates nothing once they are warm.
 *
 * Length tells: where one reply holds a secret beside text that an attacker chooses, its compressed
 * length tells whether they are alike (BREACH). So what a page of a foreign site asks for is never
 * compressed (manner_of()); see docs/security.md. */
#include "server/compress.h"

#include "server/pool.h"
#include "server/squeeze.h"

#include "base/alloc.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define BYTES_MIN 1024u
#define BYTES_MAX (2u << 20)

struct compressor {
    z_stream gzip; /* state NULL: not used yet */
    ZSTD_CCtx *zstd;
    struct buf out;
};

void compressor_free(struct compressor *c)
{
    if (c == NULL)
        return;
    if (c->gzip.state != NULL)
        (void)deflateEnd(&c->gzip);
    (void)ZSTD_freeCCtx(c->zstd);
    buf_done(&c->out);
    alloc_free(c);
}

bool compress_concerns(const char *type, size_t len)
{
    static const char *const begins[] = {"application/json", "application/problem+json",
                                         "application/x-ndjson", "application/openmetrics-text",
                                         "text/"};

    if (type == NULL || len < BYTES_MIN || len > BYTES_MAX)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
        if (strncmp(type, begins[i], strlen(begins[i])) == 0)
            return true;
    }
    return false;
}

/* Both write at most so much as is less than what there was: bigger is no use. Returns the length, or
 * 0. */
static size_t by_gzip(struct compressor *c, struct quern_slice body)
{
    z_stream *z = &c->gzip;

    if (z->state != NULL ? deflateReset(z) != Z_OK
                         : deflateInit2(z, SQUEEZE_GZIP_LEVEL, Z_DEFLATED, SQUEEZE_GZIP_WINDOW, 8,
                                        Z_DEFAULT_STRATEGY) != Z_OK)
        return 0;
    z->next_in = (Bytef *)(uintptr_t)body.data;
    z->avail_in = (uInt)body.len;
    z->next_out = c->out.data;
    z->avail_out = (uInt)body.len - 1;
    return deflate(z, Z_FINISH) == Z_STREAM_END ? z->total_out : 0;
}

static size_t by_zstd(struct compressor *c, struct quern_slice body)
{
    size_t n;

    if (c->zstd == NULL)
        c->zstd = ZSTD_createCCtx();
    if (c->zstd == NULL)
        return 0;
    n = ZSTD_compressCCtx(c->zstd, c->out.data, body.len - 1, body.data, body.len,
                          SQUEEZE_ZSTD_LEVEL);
    return ZSTD_isError(n) ? 0 : n;
}

bool compress_text(struct loop *loop, enum http_encoding encoding, struct quern_slice *body)
{
    struct compressor *c = loop->compressor;
    struct quern_error err;
    size_t n = 0;

    if (c == NULL)
        c = loop->compressor = NEW(struct compressor);
    if (c == NULL)
        return false;
    pool_give_back(&c->out);
    if (buf_reserve(&c->out, body->len, &err) == QUERN_OK)
        n = encoding == HTTP_ZSTD ? by_zstd(c, *body) : by_gzip(c, *body);
    if (n == 0)
        return false;
    *body = (struct quern_slice){c->out.data, n};
    return true;
}
