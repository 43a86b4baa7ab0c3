/* squeeze.c - see squeeze.h. Each page is flushed, so that nothing of it waits for the next; the
 * window goes on over all pages, so that later ones profit from the earlier. */
#include "server/squeeze.h"

#include "base/alloc.h"
#include "base/error.h"

#include <zlib.h>
#include <zstd.h>

#define ROOM_BYTES 16384u

struct squeeze {
    z_stream gzip;
    ZSTD_CCtx *zstd; /* NULL: gzip */
};

struct squeeze *squeeze_new(enum http_encoding encoding)
{
    struct squeeze *s = encoding != HTTP_IDENTITY ? NEW(struct squeeze) : NULL;

    if (s == NULL)
        return NULL;
    if (encoding == HTTP_ZSTD) {
        s->zstd = ZSTD_createCCtx();
        if (s->zstd != NULL && !ZSTD_isError(ZSTD_CCtx_setParameter(
                                   s->zstd, ZSTD_c_compressionLevel, SQUEEZE_ZSTD_LEVEL)))
            return s;
    } else if (deflateInit2(&s->gzip, SQUEEZE_GZIP_LEVEL, Z_DEFLATED, SQUEEZE_GZIP_WINDOW, 8,
                            Z_DEFAULT_STRATEGY) == Z_OK) {
        return s;
    }
    squeeze_free(s);
    return NULL;
}

void squeeze_free(struct squeeze *s)
{
    if (s == NULL)
        return;
    if (s->gzip.state != NULL)
        (void)deflateEnd(&s->gzip);
    (void)ZSTD_freeCCtx(s->zstd);
    alloc_free(s);
}

static enum quern_code add_gzip(struct squeeze *s, struct quern_slice page, bool last,
                                struct buf *out, struct quern_error *err)
{
    z_stream *z = &s->gzip;

    z->next_in = (Bytef *)(uintptr_t)page.data;
    z->avail_in = (uInt)page.len;
    do { /* room left over is its word that all is out */
        if (buf_reserve(out, ROOM_BYTES, err))
            return err->code;
        z->next_out = out->data + out->len;
        z->avail_out = (uInt)(out->capacity - out->len);
        if (deflate(z, last ? Z_FINISH : Z_SYNC_FLUSH) == Z_STREAM_ERROR)
            return err_set(err, QUERN_IO, "gzip does not go on");
        out->len = out->capacity - z->avail_out;
    } while (z->avail_out == 0);
    return QUERN_OK;
}

static enum quern_code add_zstd(struct squeeze *s, struct quern_slice page, bool last,
                                struct buf *out, struct quern_error *err)
{
    ZSTD_inBuffer in = {page.data, page.len, 0};
    size_t left;

    do {
        ZSTD_outBuffer to;

        if (buf_reserve(out, ROOM_BYTES, err))
            return err->code;
        to = (ZSTD_outBuffer){out->data, out->capacity, out->len};
        left = ZSTD_compressStream2(s->zstd, &to, &in, last ? ZSTD_e_end : ZSTD_e_flush);
        out->len = to.pos;
        if (ZSTD_isError(left))
            return err_set(err, QUERN_NO_MEMORY, "zstd: %s", ZSTD_getErrorName(left));
    } while (left > 0);
    return QUERN_OK;
}

enum quern_code squeeze_add(struct squeeze *s, struct quern_slice page, bool last, struct buf *out,
                            struct quern_error *err)
{
    return s->zstd != NULL ? add_zstd(s, page, last, out, err) : add_gzip(s, page, last, out, err);
}
