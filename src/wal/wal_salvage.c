/* wal_salvage.c - one segment as somebody reads it who takes what is sound and asks nobody.
 *
 *     |hdr|LINK|rec|rec| ## damage ## |rec|rec|.. stale bytes or zeros ..|
 *                      ^              ^ the next place where a record of this life reads
 *                      '- told, with the numbers between which groups are missing
 *
 * Replay stops where the chain of records breaks and judges (wal_replay.c); here the chain is taken
 * up again behind. Every record is under a checksum that is bound to the salt of this life and to
 * its offset, so what reads was written here. Of a damaged header the salt is tried all the same:
 * the checksums of the records say whether it is right. */
#include "wal/wal_priv.h"

#include "base/codec.h"
#include "base/error.h"

#include <inttypes.h>

#define SALT_AT 56u

struct salvage {
    struct wal_reader reader;
    wal_batch_fn see;
    void *arg;
    wal_damage_fn damage;
    void *damage_arg;
    struct wal_remains *out;
};

static void tell(struct salvage *s, uint64_t at, quern_seq behind, const char *what)
{
    if (s->damage != NULL)
        s->damage(s->damage_arg, at, s->out->last_seq, behind, what);
}

/* Header and LINK, if they are sound. Errors: UNSUPPORTED, IO, NO_MEMORY. */
static enum quern_code read_first_pages(struct salvage *s, uint64_t store_id, uint64_t segment_no,
                                        struct quern_error *err)
{
    struct wal_reader *r = &s->reader;
    uint8_t page[RECORD_PAGE_BYTES];
    struct record record;
    struct wal_link link;
    uint64_t checksum;
    bool found;

    if (os_file_size(r->file, &r->bytes, err))
        return err->code;
    if (r->bytes < WAL_START) {
        tell(s, 0, 0, "ends before its header does");
        r->bytes = 0;
        return QUERN_OK;
    }
    if (os_file_read(r->file, page, sizeof(page), 0, err))
        return err->code;
    if (wal_header_read(page, &r->header, err)) {
        if (err->code != QUERN_CORRUPT)
            return err->code;
        tell(s, 0, 0, err->text);
        r->header = (struct wal_header){.salt = get_u64le(page + SALT_AT)};
    } else if (r->header.segment_no != segment_no ||
               (store_id != 0 && r->header.store_id != store_id)) {
        tell(s, 0, 0, "holds another segment, or that of another store");
        r->bytes = 0;
        return QUERN_OK;
    } else {
        s->out->store_id = r->header.store_id;
    }
    if (wal_reader_record(r, WAL_LINK_AT, &record, &checksum, &found, err))
        return err->code;
    if (found && wal_link_read(&record, &link)) {
        s->out->linked = true;
        s->out->prev_segment = link.prev_segment;
        s->out->last_seq = s->out->prev_last_seq = link.prev_last_seq;
    } else {
        tell(s, WAL_LINK_AT, 0, "link is damaged");
    }
    return QUERN_OK;
}

/* All batches of a group, or none when it cannot be what was written. */
static enum quern_code give_group(struct salvage *s, uint64_t at, const struct record *r,
                                  struct quern_error *err)
{
    struct wal_batches left = wal_batches_of(r);
    struct batch_ref batch;

    if (wal_group_flaw(r, s->out->last_seq) != NULL) {
        tell(s, at, r->first_seq, "a group that cannot be, although its checksum is right");
        return QUERN_OK;
    }
    for (quern_seq seq = r->first_seq; wal_next_batch(&left, &batch); seq++)
        if (s->see != NULL && s->see(s->arg, &batch, seq, s->reader.header.segment_no, err))
            return err->code;
    s->out->last_seq = r->first_seq + r->count - 1;
    s->out->groups++;
    return QUERN_OK;
}

static enum quern_code walk(struct salvage *s, struct quern_error *err)
{
    uint64_t at = WAL_START, checksum, claimed;
    struct wal_stray stray;
    struct record record;
    bool found;

    while (at < s->reader.bytes) {
        if (wal_reader_record(&s->reader, at, &record, &checksum, &found, err))
            return err->code;
        if (!found) {
            if (wal_reader_torn_head(&s->reader, at, s->out->last_seq, &claimed, err) ||
                wal_reader_search(&s->reader, at + 8, s->out->last_seq, 1, &stray, err))
                return err->code;
            if (stray.records == 0 && claimed != 0)
                tell(s, at, 0, "damaged, or torn off by a crash; nothing stands behind");
            if (stray.records == 0)
                break;
            if (wal_reader_record(&s->reader, stray.first, &record, &checksum, &found, err))
                return err->code;
            ensure(found);
            tell(s, at, record.first_seq, "damaged; the log goes on behind");
            at = stray.first;
        }
        s->out->bytes += record_total(&record);
        if (record.durable_seq > s->out->durable_seq)
            s->out->durable_seq = record.durable_seq;
        if (record_is_group(&record) && give_group(s, at, &record, err))
            return err->code;
        at = record_start(at + record_total(&record));
    }
    if (s->out->durable_seq > s->out->last_seq)
        tell(s, at, s->out->durable_seq + 1, "its end is gone: more was durable");
    return QUERN_OK;
}

enum quern_code wal_salvage(struct os_dir *dir, uint64_t store_id, uint64_t segment_no,
                            wal_batch_fn see, void *arg, wal_damage_fn damage, void *damage_arg,
                            struct wal_remains *out, struct quern_error *err)
{
    struct salvage s = {
        .see = see, .arg = arg, .damage = damage, .damage_arg = damage_arg, .out = out};
    struct wal_reader *r = &s.reader;
    enum quern_code code;

    *out = (struct wal_remains){0};
    wal_name(r->name, segment_no);
    code = os_file_open(dir, r->name, OS_READ, &r->file, err);
    if (code == QUERN_OK)
        code = read_first_pages(&s, store_id, segment_no, err);
    if (code == QUERN_OK)
        code = walk(&s, err);
    wal_reader_done(r);
    return code == QUERN_OK ? code : err_in(err, "log segment %s", r->name);
}
