/* wal_format.c - the bytes of a segment that are not groups: names, header, LINK, PAD.
 *
 *      0 +--------------------------------------------+
 *        | header: magic, checksum, version, features, |  one page, written once per life
 *        | store id, segment number, size, salt        |
 *   4096 +--------------------------------------------+
 *        | LINK, PAD to the end of the page            |  where the segment before ended
 *   8192 +--------------------------------------------+
 *        | GROUP, MARK and PAD records                 |
 *        | stale bytes of an earlier life, or zeros    |
 *        +--------------------------------------------+
 *
 * Magic, checksum, version and features keep their places for ever, so that an older
 * reader can tell "newer" from "damaged". Every byte: docs/design/20-wal.md. */
#include "wal/wal_priv.h"

#include "base/codec.h"
#include "base/error.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>

#define HEADER_MAGIC UINT64_C(0x4c41576e72657571) /* "quernWAL" */
#define HEADER_VERSION 4u
#define HEADER_VERSION_OLDEST 3u    /* in 3, databases could not change places */
#define HEADER_FEATURES UINT64_C(0) /* those this reader understands */
#define HEADER_SUM_FROM 16u
#define LINK_BYTES 32u

void wal_name(char name[WAL_NAME_BYTES], uint64_t segment_no)
{
    snprintf(name, WAL_NAME_BYTES, "%06" PRIu64 ".wal", segment_no);
}

bool wal_name_parse(const char *name, uint64_t *segment_no)
{
    char again[WAL_NAME_BYTES];
    uint64_t no = 0;
    const char *at = name;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(no, UINT64_C(10), &no) ||
            __builtin_add_overflow(no, (uint64_t)(*at - '0'), &no))
            return false;
    }
    wal_name(again, no);
    if (no == 0 || no > WAL_NO_MAX || strcmp(again, name) != 0)
        return false; /* "12.wal" and "000012.wal.tmp" are not ours */
    *segment_no = no;
    return true;
}

static uint64_t header_checksum(const uint8_t *page)
{
    return hash_placed(page + HEADER_SUM_FROM, RECORD_PAGE_BYTES - HEADER_SUM_FROM, HEADER_MAGIC,
                       0);
}

void wal_header_write(uint8_t page[RECORD_PAGE_BYTES], const struct wal_header *h)
{
    memset(page, 0, RECORD_PAGE_BYTES);
    put_u64le(page, HEADER_MAGIC);
    put_u32le(page + 16, HEADER_VERSION);
    put_u64le(page + 24, HEADER_FEATURES);
    put_u64le(page + 32, h->store_id);
    put_u64le(page + 40, h->segment_no);
    put_u64le(page + 48, h->segment_bytes);
    put_u64le(page + 56, h->salt);
    put_u64le(page + 8, header_checksum(page));
}

enum quern_code wal_header_read(const uint8_t page[RECORD_PAGE_BYTES], struct wal_header *h,
                                struct quern_error *err)
{
    uint32_t version = get_u32le(page + 16);
    uint64_t features = get_u64le(page + 24);

    if (get_u64le(page) != HEADER_MAGIC)
        return err_set(err, QUERN_CORRUPT, "header at 0: not a log segment");
    if (get_u64le(page + 8) != header_checksum(page))
        return err_set(err, QUERN_CORRUPT, "header at 0: bad checksum");
    if (version < HEADER_VERSION_OLDEST)
        return err_set(err, QUERN_UNSUPPORTED, "log format %" PRIu32 ", " ERR_OLD_FORMAT, version);
    if (version > HEADER_VERSION)
        return err_set(err, QUERN_UNSUPPORTED, "log format %" PRIu32 " is newer than this quern",
                       version);
    if ((features & ~HEADER_FEATURES) != 0)
        return err_set(err, QUERN_UNSUPPORTED,
                       "log features %#" PRIx64 " are newer than this quern",
                       features & ~HEADER_FEATURES);
    h->store_id = get_u64le(page + 32);
    h->segment_no = get_u64le(page + 40);
    h->segment_bytes = get_u64le(page + 48);
    h->salt = get_u64le(page + 56);
    return QUERN_OK;
}

uint64_t wal_pad_write(uint8_t *at, uint64_t offset, quern_seq last_seq, quern_seq durable_seq,
                       uint64_t salt)
{
    size_t payload = RECORD_PAGE_BYTES - offset % RECORD_PAGE_BYTES - RECORD_HEAD_BYTES;
    struct record pad = {RECORD_PAD, last_seq, 0, durable_seq, {at + RECORD_HEAD_BYTES, payload}};

    memset(at + RECORD_HEAD_BYTES, 0, payload);
    record_seal(at, &pad, salt, offset);
    return get_u64le(at);
}

uint64_t wal_link_write(uint8_t page[RECORD_PAGE_BYTES], const struct wal_link *link,
                        quern_seq durable_seq, uint64_t salt)
{
    uint8_t *payload = page + RECORD_HEAD_BYTES;
    struct record r = {RECORD_LINK, link->prev_last_seq, 0, durable_seq, {payload, LINK_BYTES}};
    size_t bytes = record_bytes(LINK_BYTES);

    put_u64le(payload, link->prev_segment);
    put_u64le(payload + 8, link->prev_end);
    put_u64le(payload + 16, link->prev_checksum);
    put_u64le(payload + 24, link->prev_last_seq);
    record_seal(page, &r, salt, WAL_LINK_AT);
    return wal_pad_write(page + bytes, WAL_LINK_AT + bytes, link->prev_last_seq, durable_seq, salt);
}

bool wal_link_read(const struct record *r, struct wal_link *link)
{
    const uint8_t *payload = r->payload.data;

    if (r->type != RECORD_LINK || r->payload.len != LINK_BYTES)
        return false;
    link->prev_segment = get_u64le(payload);
    link->prev_end = get_u64le(payload + 8);
    link->prev_checksum = get_u64le(payload + 16);
    link->prev_last_seq = get_u64le(payload + 24);
    return true;
}
