/* fuzz_squeeze.c - a reply compressed page by page: after each page a reader has all of it that was
 * given so far, and after the last the end. The first byte says by what and in pages of which size. */
#include "server/squeeze.h"

#include "fuzz.h"

#include <zlib.h>
#include <zstd.h>

struct reader {
    z_stream gzip;
    ZSTD_DCtx *zstd;
    uint8_t *to;
    size_t len, room;
    bool ended;
};

static void read_gzip(struct reader *r, struct quern_slice in)
{
    int code = Z_OK;

    r->gzip.next_in = (Bytef *)(uintptr_t)in.data;
    r->gzip.avail_in = (uInt)in.len;
    r->gzip.next_out = r->to + r->len;
    r->gzip.avail_out = (uInt)(r->room - r->len);
    while (r->gzip.avail_in > 0 && code == Z_OK)
        code = inflate(&r->gzip, Z_SYNC_FLUSH);
    must(code == Z_OK || code == Z_STREAM_END);
    r->len = r->room - r->gzip.avail_out;
    r->ended = code == Z_STREAM_END;
}

static void read_zstd(struct reader *r, struct quern_slice in)
{
    ZSTD_inBuffer from = {in.data, in.len, 0};
    ZSTD_outBuffer to = {r->to, r->room, r->len};
    size_t left = 1;

    while (from.pos < from.size) {
        left = ZSTD_decompressStream(r->zstd, &to, &from);
        must(!ZSTD_isError(left));
    }
    r->len = to.pos;
    r->ended = left == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool by_zstd = size > 0 && data[0] & 1;
    size_t step = size > 0 ? 1 + (size_t)(data[0] >> 1) * 37 : 1, at = 1;
    struct reader r = {.room = size + 64, .to = calloc(1, size + 64)};
    struct squeeze *s = squeeze_new(by_zstd ? HTTP_ZSTD : HTTP_GZIP);
    struct buf out = {0};
    struct quern_error err;

    must(s != NULL && r.to != NULL && inflateInit2(&r.gzip, 15 + 16) == Z_OK);
    r.zstd = ZSTD_createDCtx();
    must(r.zstd != NULL && squeeze_new(HTTP_IDENTITY) == NULL);
    while (!r.ended && size > 0) {
        size_t n = size - at < step ? size - at : step;

        buf_clear(&out);
        must(squeeze_add(s, (struct quern_slice){data + at, n}, at + n == size, &out, &err) ==
             QUERN_OK);
        at += n;
        by_zstd ? read_zstd(&r, buf_slice(&out)) : read_gzip(&r, buf_slice(&out));
        must(r.len == at - 1 && r.ended == (at == size));
        must(memcmp(r.to, data + 1, r.len) == 0);
    }
    squeeze_free(s);
    buf_done(&out);
    (void)inflateEnd(&r.gzip);
    (void)ZSTD_freeDCtx(r.zstd);
    free(r.to);
    return 0;
}
