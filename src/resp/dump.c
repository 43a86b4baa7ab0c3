/* dump.c - a string as DUMP tells it and RESTORE takes it: one entry of Redis' snapshot files.
 *
 *     00                     a string; other types are not known here
 *     length, bytes          or one of the forms below
 *     u16 version            of the format, little-endian; 10 is Redis 7.0's
 *     u64 sum                CRC-64 (Jones) of all before it, little-endian
 *
 *     length  00xxxxxx                    up to 63
 *             01xxxxxx xxxxxxxx           up to 16383, big-endian
 *             80 u32, 81 u64              big-endian
 *     forms   c0 i8, c1 i16, c2 i32       a number, little-endian
 *             c3 length length bytes      compressed (LZF): how many bytes there are, and were
 *
 * What is written here is never compressed: every Redis reads it. */
#include "resp/resp_priv.h"

#include <inttypes.h>
#include <stdio.h>

#define TYPE_STRING 0x00
#define LEN_14 0x40
#define LEN_32 0x80
#define LEN_64 0x81
#define FORM_I8 0xc0
#define FORM_I16 0xc1
#define FORM_I32 0xc2
#define FORM_LZF 0xc3
#define VERSION 10u
#define FOOT_BYTES 10u
#define NUMBER_BYTES_MAX 11u /* "-2147483648" */
#define LZF_RATIO_MAX 88u    /* three bytes stand for 264 at most */

/* ------------------------------------------------------------------ to write -- */

static size_t put_le(uint8_t *to, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(v >> 8 * i);
    return bytes;
}

static size_t put_be(uint8_t *to, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
    return bytes;
}

static size_t put_number(uint8_t *to, int32_t v)
{
    size_t bytes = v >= INT8_MIN && v <= INT8_MAX ? 1 : v >= INT16_MIN && v <= INT16_MAX ? 2 : 4;

    *to = bytes == 1 ? FORM_I8 : bytes == 2 ? FORM_I16 : FORM_I32;
    return 1 + put_le(to + 1, (uint64_t)v, bytes);
}

static size_t put_length(uint8_t *to, uint64_t len)
{
    if (len < 64) {
        *to = (uint8_t)len;
        return 1;
    }
    if (len < 16384)
        return put_be(to, (uint64_t)LEN_14 << 8 | len, 2);
    *to = len <= UINT32_MAX ? LEN_32 : LEN_64;
    return 1 + put_be(to + 1, len, len <= UINT32_MAX ? 4 : 8);
}

enum quern_code resp_dump_write(struct quern_slice value, struct buf *out, struct quern_error *err)
{
    uint8_t head[16] = {TYPE_STRING}, foot[FOOT_BYTES];
    size_t len = 1;
    int64_t v;

    if (value.len <= NUMBER_BYTES_MAX && resp_integer(value, &v) && v >= INT32_MIN &&
        v <= INT32_MAX) {
        len += put_number(head + 1, (int32_t)v);
        value.len = 0;
    } else {
        len += put_length(head + 1, value.len);
    }
    if (buf_append(out, head, len, err) || buf_append(out, value.data, value.len, err) ||
        buf_reserve(out, FOOT_BYTES, err))
        return err->code;
    (void)put_le(foot, VERSION, 2);
    if (buf_append(out, foot, 2, err))
        return err->code;
    (void)put_le(foot, resp_crc64(buf_slice(out)), 8);
    return buf_append(out, foot, 8, err);
}

/* ------------------------------------------------------------------ to read -- */

struct reader {
    const uint8_t *at, *end;
};

static uint64_t get_le(const uint8_t *at, size_t bytes)
{
    uint64_t v = 0;

    while (bytes-- > 0)
        v = v << 8 | at[bytes];
    return v;
}

static bool take_be(struct reader *r, size_t bytes, uint64_t *out)
{
    if ((size_t)(r->end - r->at) < bytes)
        return false;
    for (*out = 0; bytes > 0; bytes--)
        *out = *out << 8 | *r->at++;
    return true;
}

/* False: it ends too early, or is one of the forms. */
static bool take_length(struct reader *r, uint64_t *out)
{
    uint8_t first;

    if (r->at == r->end)
        return false;
    first = *r->at;
    if (first < LEN_14)
        return take_be(r, 1, out);
    if (first < LEN_32) {
        if (!take_be(r, 2, out))
            return false;
        *out &= 0x3fff;
        return true;
    }
    r->at++;
    return (first == LEN_32 && take_be(r, 4, out)) || (first == LEN_64 && take_be(r, 8, out));
}

/* Pieces: 000LLLLL and L + 1 bytes as they are; LLLooooo oooooooo, or 111ooooo LLLLLLLL oooooooo:
 * L + 2 (or 9) bytes again from o + 1 bytes before. `to` has room for what is announced. */
static bool expand(struct reader *r, uint8_t *to, size_t room)
{
    size_t done = 0;

    while (r->at < r->end) {
        size_t control = *r->at++, count = control >> 5, back;

        if (count == 0) {
            count = control + 1;
            if ((size_t)(r->end - r->at) < count || room - done < count)
                return false;
            memcpy(to + done, r->at, count);
            r->at += count;
            done += count;
            continue;
        }
        if (count == 7) {
            if (r->at == r->end)
                return false;
            count += *r->at++;
        }
        if (r->at == r->end)
            return false;
        back = ((control & 0x1f) << 8 | *r->at++) + 1;
        count += 2;
        if (back > done || room - done < count)
            return false;
        for (size_t i = 0; i < count; i++, done++) /* may overlap: it repeats what it writes */
            to[done] = to[done - back];
    }
    return done == room;
}

static enum resp_dump read_compressed(struct reader *r, uint64_t bytes_max, struct buf *out)
{
    struct quern_error err;
    uint64_t compressed, bytes;

    if (!take_length(r, &compressed) || !take_length(r, &bytes) ||
        compressed != (uint64_t)(r->end - r->at) || bytes == 0 || bytes > bytes_max ||
        bytes / LZF_RATIO_MAX > compressed)
        return RESP_DUMP_FORMAT;
    if (buf_reserve(out, (size_t)bytes, &err) != QUERN_OK)
        return RESP_DUMP_NO_MEMORY;
    if (!expand(r, out->data + out->len, (size_t)bytes))
        return RESP_DUMP_FORMAT;
    out->len += (size_t)bytes;
    return RESP_DUMP_WELL;
}

static enum resp_dump read_number(struct reader *r, size_t bytes, struct buf *out)
{
    struct quern_error err;
    uint64_t sign = UINT64_C(1) << (8 * bytes - 1), v;
    char text[24];
    int len;

    if ((size_t)(r->end - r->at) != bytes)
        return RESP_DUMP_FORMAT;
    v = get_le(r->at, bytes);
    len = snprintf(text, sizeof(text), "%" PRId64, (int64_t)(v ^ sign) - (int64_t)sign);
    return buf_append(out, text, (size_t)len, &err) == QUERN_OK ? RESP_DUMP_WELL
                                                                : RESP_DUMP_NO_MEMORY;
}

static enum resp_dump read_plain(struct reader *r, uint64_t bytes_max, struct buf *out)
{
    struct quern_error err;
    uint64_t bytes;

    if (!take_length(r, &bytes) || bytes != (uint64_t)(r->end - r->at) || bytes > bytes_max)
        return RESP_DUMP_FORMAT;
    return buf_append(out, r->at, (size_t)bytes, &err) == QUERN_OK ? RESP_DUMP_WELL
                                                                   : RESP_DUMP_NO_MEMORY;
}

enum resp_dump resp_dump_read(struct quern_slice payload, uint64_t bytes_max, struct buf *out)
{
    const uint8_t *data = payload.data;
    struct reader r;

    if (payload.len < FOOT_BYTES)
        return RESP_DUMP_SUM;
    r = (struct reader){data, data + payload.len - FOOT_BYTES};
    if (get_le(r.end, 2) > VERSION ||
        get_le(r.end + 2, 8) != resp_crc64((struct quern_slice){data, payload.len - 8}))
        return RESP_DUMP_SUM;
    if (r.end - r.at < 2 || *r.at++ != TYPE_STRING)
        return RESP_DUMP_FORMAT;
    switch (*r.at) {
    case FORM_I8:
        r.at++;
        return read_number(&r, 1, out);
    case FORM_I16:
        r.at++;
        return read_number(&r, 2, out);
    case FORM_I32:
        r.at++;
        return read_number(&r, 4, out);
    case FORM_LZF:
        r.at++;
        return read_compressed(&r, bytes_max, out);
    default:
        return read_plain(&r, bytes_max, out);
    }
}
