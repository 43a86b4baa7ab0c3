/* fuzz_wal.c - replay of any bytes at all: it ends, it reads nothing outside, it hands out only
 * operations that parse.
 *
 *     byte 0   bit 0: the rest is the file as it stands
 *              bits 1-2: how to recover
 *              bit 3: two segments; a record of type LINK begins the second
 *              bit 4: what the second's LINK tells of the first is wrong
 *     rest     or else a row of records to be sealed with a right checksum, each:
 *              u8 type | u8 first_seq step | u8 count | u8 durable_seq back | u16le length
 *              | payload
 *
 * Sealing is what lets the fuzzer get past the checksums. */
#include "fuzz.h"

#include "wal/wal.h"

#include "base/codec.h"
#include "base/error.h"
#include "base/hash.h"
#include "record/record.h"

#include <string.h>

#define STORE_ID 7u
#define SALT UINT64_C(0xabcdef)
#define FILE_BYTES (16u << 10)

static void seal_header(uint8_t *file, uint64_t segment_no)
{
    memcpy(file, "quernWAL", 8);
    put_u32le(file + 16, 3);
    put_u64le(file + 32, STORE_ID);
    put_u64le(file + 40, segment_no);
    put_u64le(file + 48, FILE_BYTES);
    put_u64le(file + 56, SALT);
    put_u64le(file + 8, hash_placed(file + 16, RECORD_PAGE_BYTES - 16, get_u64le(file), 0));
}

static uint64_t seal_one(uint8_t *file, uint64_t at, struct record r, const void *payload)
{
    size_t head = r.type == RECORD_BRIEF ? RECORD_BRIEF_HEAD_BYTES : RECORD_HEAD_BYTES;

    if (at + record_total(&r) > FILE_BYTES)
        return at;
    if (r.payload.len != 0)
        memcpy(file + at + head, payload, r.payload.len);
    record_seal(file + at, &r, SALT, at);
    return record_start(at + record_total(&r));
}

/* Where a segment ends; what the LINK of the next one tells. */
struct end {
    uint64_t segment_no, at, checksum;
    quern_seq last_seq;
};

/* Seal the records of *data into a segment that follows `before`, up to one that begins the next
 * segment. */
static struct end seal_file(uint8_t *file, const struct end *before, const uint8_t **data,
                            size_t *size)
{
    struct end end = {before->segment_no + 1, RECORD_PAGE_BYTES, 0, before->last_seq};
    uint8_t link[RECORD_PAGE_BYTES] = {0};

    put_u64le(link, before->segment_no);
    put_u64le(link + 8, before->at);
    put_u64le(link + 16, before->checksum);
    put_u64le(link + 24, before->last_seq);
    seal_header(file, end.segment_no);
    end.at = seal_one(file, end.at,
                      (struct record){RECORD_LINK, before->last_seq, 0, 0, {NULL, 32}}, link);
    memset(link, 0, sizeof(link));
    end.at = seal_one(
        file, end.at,
        (struct record){RECORD_PAD, before->last_seq, 0, 0, {NULL, RECORD_PAGE_BYTES - 72 - 40}},
        link);
    end.checksum = get_u64le(file + RECORD_PAGE_BYTES + 72);
    while (*size >= 6) {
        const uint8_t *from = *data;
        size_t len = get_u16le(from + 4);
        struct record r = {
            (enum record_type)from[0], end.last_seq + from[1], from[2], 0, {NULL, 0}};
        uint64_t at = end.at;

        if (len > *size - 6)
            len = *size - 6;
        *data += 6 + len;
        *size -= 6 + len;
        if (r.type == RECORD_LINK)
            break;
        r.durable_seq = r.first_seq - from[3];
        r.payload.len = len;
        end.at = seal_one(file, at, r, from + 6);
        if (end.at == at)
            continue; /* no room for it */
        end.checksum = get_u64le(file + at);
        if (r.type == RECORD_BRIEF)
            end.last_seq = r.first_seq;
        else if (r.type == RECORD_GROUP && r.count != 0)
            end.last_seq = r.first_seq + r.count - 1;
    }
    return end;
}

/* ---- a world of two files in memory, which can be read and nothing else ---- */

struct held {
    struct os_file file; /* first, so that one casts to the other */
    const uint8_t *bytes;
    size_t len;
};
static struct held held[2];

static enum quern_code held_open(struct os_dir *dir, const char *name, unsigned how,
                                 struct os_file **out, struct quern_error *err)
{
    uint64_t no;

    ensure(how == OS_READ && wal_name_parse(name, &no));
    if (no > ARRAY_LEN(held) || held[no - 1].bytes == NULL)
        return err_set(err, QUERN_NO_STORE, "%s is not there", name);
    held[no - 1].file.os = dir->os;
    *out = &held[no - 1].file;
    return QUERN_OK;
}

static enum quern_code held_close(struct os_file *file, struct quern_error *err)
{
    (void)file;
    (void)err;
    return QUERN_OK;
}

static enum quern_code held_read(struct os_file *file, void *to, size_t len, uint64_t at,
                                 struct quern_error *err)
{
    const struct held *h = (const struct held *)file;

    (void)err;
    ensure(at <= h->len && len <= h->len - at); /* replay knows the size */
    if (len != 0)
        memcpy(to, h->bytes + at, len);
    return QUERN_OK;
}

static enum quern_code held_size(struct os_file *file, uint64_t *bytes, struct quern_error *err)
{
    (void)err;
    *bytes = ((const struct held *)file)->len;
    return QUERN_OK;
}

static enum quern_code held_list(struct os_dir *dir, os_see_fn seen, void *arg,
                                 struct quern_error *err)
{
    (void)dir;
    return seen(arg, "000001.wal", err);
}

static const struct os_ops held_ops = {.dir_list = held_list,
                                       .file_open = held_open,
                                       .file_close = held_close,
                                       .file_read = held_read,
                                       .file_size = held_size};

static enum quern_code see(void *arg, const struct batch_ref *batch, quern_seq seq,
                           uint64_t segment_no, struct quern_error *err)
{
    struct op_cursor c = op_cursor_of(batch);
    quern_seq *last = arg;
    struct entry e;
    uint32_t n = 0;

    (void)segment_no;
    (void)err;
    while (op_next(&c, &e))
        n++;
    ensure(!c.bad && n == batch->op_count && seq > *last);
    *last = seq;
    return QUERN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t files[2][FILE_BYTES];
    struct os os = {&held_ops};
    struct os_dir dir = {.os = &os};
    struct quern_error err = {0};
    struct wal_replay out;
    struct end end = {0};
    quern_seq last = 0;
    bool raw, two;

    if (size == 0)
        return 0;
    raw = data[0] & 1;
    two = data[0] & 8;
    memset(held, 0, sizeof(held));
    if (raw) {
        held[0].bytes = data + 1;
        held[0].len = size - 1;
    } else {
        const uint8_t *rest = data + 1;
        size_t left = size - 1;

        memset(files, 0, sizeof(files));
        for (size_t i = 0; i < (two ? 2 : 1); i++) {
            end = seal_file(files[i], &end, &rest, &left);
            end.at ^= data[0] & 16;
            held[i].bytes = files[i];
            held[i].len = FILE_BYTES;
        }
    }
    if (wal_replay(&dir, STORE_ID, 1, two ? 2 : 1, 0,
                   (enum wal_recover)((data[0] >> 1 & 3) % (WAL_POINT_IN_TIME + 1)), see, &last,
                   &out, &err) == QUERN_OK)
        ensure(out.last_seq == last);
    return 0;
}
