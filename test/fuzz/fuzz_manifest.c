/* fuzz_manifest.c - any bytes may be a manifest, and any line may be CURRENT.
 *
 * The first byte of the input says what the rest is:
 *   even  the bytes of a file as they are
 *   odd   the same, with every checksum made right where a reader will look, so that the fields
 *         behind them are reached
 * What is read must be a sound state, and written out and read again it must be the same. */
#include "fuzz.h"

#include "base/error.h"
#include "base/hash.h"
#include "manifest/manifest_priv.h"

/* Make the header and each record from `at` on valid, lengths clamped, edits numbered and
 * chained. */
static void restamp(uint8_t *file, size_t len)
{
    struct manifest_header h = {0};
    uint64_t chain, at = MANIFEST_HEADER_BYTES, edit_no = 0;

    if (len < MANIFEST_HEADER_BYTES)
        return;
    h.store_id = get_u64le(file + 24);
    h.manifest_no = get_u64le(file + 32);
    h.salt = get_u64le(file + 40);
    chain = manifest_header_put(file, &h);
    while (at + RECORD_HEAD_BYTES + 8 <= len) {
        uint64_t room = (len - at - RECORD_HEAD_BYTES) & ~UINT64_C(7);
        uint64_t length = get_u32le(file + at + 8) % (room + 1);
        bool mark = edit_no != 0 && file[at + 12] % 4 == RECORD_MARK;
        struct record rec = {RECORD_MARK, edit_no, 0, edit_no, {NULL, 0}};

        if (!mark) {
            edit_no++;
            length = length < 8 ? 8 : length;
            rec = (struct record){RECORD_EDIT, edit_no, 1, edit_no - 1, {NULL, length}};
            put_u64le(file + at + RECORD_HEAD_BYTES, chain);
        }
        record_seal(file + at, &rec, h.salt, at);
        if (!mark)
            chain = get_u64le(file + at);
        at += record_bytes(rec.payload.len);
        at = mark ? record_start(at) : round_up(at, RECORD_PAGE_BYTES);
    }
}

static void check_order(const struct manifest_state *s)
{
    for (size_t i = 1; i < s->table_count; i++) {
        const struct manifest_table *a = &s->tables[i - 1], *b = &s->tables[i];

        if (a->tier == b->tier && a->run_no == b->run_no)
            must(key_compare(buf_slice(&a->meta.largest), buf_slice(&b->meta.smallest)) < 0);
        else
            must(a->tier < b->tier || (a->tier == b->tier && a->run_no > b->run_no));
    }
}

static bool same_table(const struct manifest_table *a, const struct manifest_table *b)
{
    return a->tier == b->tier && a->run_no == b->run_no && a->cut_seq == b->cut_seq &&
           memcmp(&a->meta, &b->meta, offsetof(struct table_meta, smallest)) == 0 &&
           key_equal(buf_slice(&a->meta.smallest), buf_slice(&b->meta.smallest)) &&
           key_equal(buf_slice(&a->meta.largest), buf_slice(&b->meta.largest));
}

static bool same_cuts(const struct cuts *a, const struct cuts *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    for (size_t i = 0; i < a->count && a->count == b->count; i++)
        if (!key_equal(a->piece[i].start, b->piece[i].start) ||
            !key_equal(a->piece[i].end, b->piece[i].end) || a->piece[i].seq != b->piece[i].seq)
            return false;
    return a->count == b->count;
}

static void check_cuts(const struct cuts *c)
{
    for (size_t i = 0; c != NULL && i < c->count; i++) {
        must(!cut_is_empty(&c->piece[i]));
        must(i == 0 || (c->piece[i - 1].end.len != 0 &&
                        key_compare(c->piece[i - 1].end, c->piece[i].start) <= 0));
    }
}

/* Write `image` as a new file and read that. */
static void check_round_trip(const struct manifest_image *image)
{
    const struct manifest_state *s = &image->state;
    struct manifest_edit all = {.add = s->tables,
                                .add_count = s->table_count,
                                .set_log_first = true,
                                .log_first = s->log_first,
                                .set_log_last = true,
                                .log_last = s->log_last,
                                .set_flushed_seq = true,
                                .flushed_seq = s->flushed_seq,
                                .set_cuts = s->cuts != NULL,
                                .cuts = s->cuts};
    struct edit_frame frame = {
        .snapshot = true, .created_ms = s->created_ms, .next_file_no = image->next_file_no};
    struct buf file OWNED_BUF = {0};
    uint8_t head[MANIFEST_HEADER_BYTES + RECORD_HEAD_BYTES] = {0};
    struct record rec = {RECORD_EDIT, 1, 1, 0, {NULL, 0}};
    struct manifest_image again;
    struct quern_error err;

    frame.chain = manifest_header_put(head, &image->header);
    must(buf_append(&file, head, sizeof(head), &err) == QUERN_OK);
    must(edit_encode(&file, &frame, &all, &err) == QUERN_OK);
    rec.payload.len = file.len - sizeof(head);
    must(buf_reserve(&file, 8, &err) == QUERN_OK);
    record_seal(file.data + MANIFEST_HEADER_BYTES, &rec, image->header.salt, MANIFEST_HEADER_BYTES);
    file.len = MANIFEST_HEADER_BYTES + record_bytes(rec.payload.len);
    must(manifest_replay(buf_slice(&file), &again, &err) == QUERN_OK);
    must(again.next_file_no == image->next_file_no);
    must(again.state.log_first == s->log_first && again.state.log_last == s->log_last);
    must(again.state.flushed_seq == s->flushed_seq && again.state.created_ms == s->created_ms);
    must(again.state.table_count == s->table_count);
    must(same_cuts(again.state.cuts, s->cuts));
    for (size_t i = 0; i < s->table_count; i++)
        must(same_table(&again.state.tables[i], &s->tables[i]));
    state_done(&again.state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest_image image;
    struct manifest_current current;
    struct quern_error err;
    uint8_t *file;

    if (size == 0)
        return 0;
    if (current_parse(slice_of(data + 1, size - 1), &current, &err) == QUERN_OK) {
        char line[CURRENT_BYTES_MAX];
        size_t len = current_format(line, &current);

        must(len == size - 1 && memcmp(line, data + 1, len) == 0);
    }
    file = malloc(size); /* of its own size, so that a read beyond it is seen */
    must(file != NULL);
    memcpy(file, data + 1, size - 1);
    if (data[0] % 2 == 1)
        restamp(file, size - 1);
    if (manifest_replay(slice_of(file, size - 1), &image, &err) == QUERN_OK) {
        must(image.bytes <= size - 1);
        check_order(&image.state);
        check_cuts(image.state.cuts);
        check_round_trip(&image);
        state_done(&image.state);
    } else {
        must(err.code == QUERN_CORRUPT || err.code == QUERN_UNSUPPORTED);
    }
    free(file);
    return 0;
}
