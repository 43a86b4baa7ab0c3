/* record.c - the checksummed framing; see record.h. */
#include "record/record.h"

#include "base/codec.h"
#include "base/hash.h"

uint64_t record_start(uint64_t offset)
{
    uint64_t left;

    offset = round_up(offset, 8);
    left = RECORD_PAGE_BYTES - offset % RECORD_PAGE_BYTES;
    return left < RECORD_HEAD_BYTES ? offset + left : offset;
}

uint64_t record_claims(const uint8_t head[RECORD_BRIEF_HEAD_BYTES])
{
    uint64_t length = get_u32le(head + 8);

    return head[12] == RECORD_BRIEF ? record_brief_bytes(length) : record_bytes(length);
}

static void seal_brief(uint8_t *at, const struct record *r, uint64_t salt, uint64_t offset)
{
    size_t sealed = RECORD_BRIEF_HEAD_BYTES - 8 + r->payload.len; /* all but the checksum */
    quern_seq lag = r->first_seq - 1 - r->durable_seq;

    if (lag > RECORD_LAG_UNTOLD)
        lag = RECORD_LAG_UNTOLD;
    put_u32le(at + 8, (uint32_t)r->payload.len);
    put_u32le(at + 12, (uint32_t)lag << 8 | RECORD_BRIEF);
    put_u64le(at + 16, r->first_seq);
    memset(at + 8 + sealed, 0, record_brief_bytes(r->payload.len) - 8 - sealed);
    put_u64le(at, hash_placed(at + 8, sealed, salt, offset));
}

void record_seal(uint8_t *at, const struct record *r, uint64_t salt, uint64_t offset)
{
    size_t end = RECORD_HEAD_BYTES + r->payload.len;

    if (r->type == RECORD_BRIEF) {
        seal_brief(at, r, salt, offset);
        return;
    }
    put_u32le(at + 8, (uint32_t)r->payload.len);
    put_u32le(at + 12, (uint32_t)r->type);
    put_u64le(at + 16, r->first_seq);
    put_u64le(at + 24, r->count);
    put_u64le(at + 32, r->durable_seq);
    memset(at + end, 0, record_bytes(r->payload.len) - end);
    put_u64le(at, hash_placed(at + 8, end - 8, salt, offset));
}

static bool read_brief(const uint8_t *at, uint64_t avail, uint64_t salt, uint64_t offset,
                       struct record *r)
{
    uint64_t length = get_u32le(at + 8), lag = get_u32le(at + 12) >> 8;
    quern_seq first_seq = get_u64le(at + 16);

    if (record_brief_bytes(length) > avail || first_seq <= lag % RECORD_LAG_UNTOLD)
        return false;
    if (get_u64le(at) !=
        hash_placed(at + 8, RECORD_BRIEF_HEAD_BYTES - 8 + (size_t)length, salt, offset))
        return false;
    *r = (struct record){RECORD_BRIEF,
                         first_seq,
                         1,
                         lag == RECORD_LAG_UNTOLD ? 0 : first_seq - 1 - lag,
                         {at + RECORD_BRIEF_HEAD_BYTES, length}};
    return true;
}

bool record_read(const uint8_t *at, uint64_t avail, uint64_t salt, uint64_t offset,
                 struct record *r)
{
    uint32_t length, type;

    if (avail < RECORD_BRIEF_HEAD_BYTES)
        return false;
    if (at[12] == RECORD_BRIEF)
        return read_brief(at, avail, salt, offset, r);
    if (avail < RECORD_HEAD_BYTES)
        return false;
    length = get_u32le(at + 8);
    type = get_u32le(at + 12);
    if (length > avail - RECORD_HEAD_BYTES || record_bytes(length) > avail)
        return false;
    if (type < RECORD_GROUP || type > RECORD_EDIT)
        return false;
    if (get_u64le(at) != hash_placed(at + 8, RECORD_HEAD_BYTES - 8 + (size_t)length, salt, offset))
        return false;
    r->type = (enum record_type)type;
    r->first_seq = get_u64le(at + 16);
    r->count = get_u32le(at + 24);
    r->durable_seq = get_u64le(at + 32);
    r->payload = (struct quern_slice){at + RECORD_HEAD_BYTES, length};
    return true;
}
