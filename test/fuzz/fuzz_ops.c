/* fuzz_ops.c - the operations of a batch, as the log hands them back: any bytes are walked inside
 * their bounds, and what is understood is written again to what means the same.
 *
 * The range deletes among them make a list that hides what they hide, and the MemDB takes the rest.
 *
 *     byte 0   how many bytes at the end are the `tail`, the value that lies apart
 *     rest     operations */
#include "fuzz.h"

#include "base/cuts.h"
#include "base/hash.h"
#include "mem/mem.h"

static bool same_entry(const struct entry *a, const struct entry *b)
{
    return a->kind == b->kind && a->expires_ms == b->expires_ms && key_equal(a->key, b->key) &&
           key_equal(a->value, b->value);
}

/* Is the operation at `place` before a range delete that covers its key? */
static bool is_cut(const struct batch_ref *batch, const struct entry *e, uint64_t place)
{
    struct op_cursor c = op_cursor_of(batch);
    struct entry r;
    bool found = false;

    for (uint64_t n = 1; !found && op_next(&c, &r); n++) {
        struct cut cut = {r.key, r.value, n};

        found = r.kind == ENTRY_RANGE_DELETE && n > place && cut_covers(&cut, e->key) &&
                !cut_is_empty(&cut);
    }
    return found;
}

static void check_cuts(struct batch_ref *batch)
{
    struct op_cursor c = op_cursor_of(batch);
    struct cuts *own;
    struct mem *mem;
    struct mem_info info;
    struct quern_error err;
    struct entry e;
    uint64_t left = 0;

    must(cuts_own(batch, &own, &err) == QUERN_OK);
    for (uint64_t place = 1; op_next(&c, &e); place++) {
        bool cut = is_cut(batch, &e, place);

        must(cut == (own != NULL && cuts_newest(own, e.key, UINT64_MAX) > place));
        left += !cut && e.kind != ENTRY_RANGE_DELETE;
        batch->op_count++;
    }
    must(mem_new(mem_bytes_needed(batch), NULL, &mem, &err) == QUERN_OK);
    mem_apply_cut(mem, batch, 1, own);
    mem_info(mem, &info);
    must(info.entry_count == left);
    mem_unref(mem);
    cuts_unref(own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf again OWNED_BUF = {0};
    struct quern_error err;
    struct batch_ref batch, plain;
    struct op_cursor c, d;
    struct entry e, f;
    size_t tail_len;
    uint8_t *ops, *tail;
    bool named = true; /* every key has its byte of the database */

    if (size == 0 || size > 1 << 20)
        return 0;
    tail_len = data[0] < size - 1 ? data[0] : size - 1;
    size -= 1 + tail_len;
    ops = exact(data + 1, size);
    tail = exact(data + 1 + size, tail_len);
    batch = (struct batch_ref){{ops, size}, {tail, tail_len}, 0};
    c = op_cursor_of(&batch);
    while (op_next(&c, &e)) {
        must(e.key.len <= ENTRY_KEY_BYTES_MAX && e.value.len <= size + tail_len);
        must(e.kind != ENTRY_RANGE_DELETE || e.value.len <= ENTRY_KEY_BYTES_MAX);
        must(e.kind != ENTRY_DATABASES || db_map_is_valid(op_db_map(&e)));
        named &= e.key.len > 0;
        must(op_append(&again, e.kind, e.key, e.value, e.expires_ms, &err) == QUERN_OK);
    }
    plain = (struct batch_ref){buf_slice(&again), {NULL, 0}, 0};
    c = op_cursor_of(&batch);
    d = op_cursor_of(&plain);
    while (op_next(&c, &e))
        must(op_next(&d, &f) && same_entry(&e, &f));
    must(!op_next(&d, &f) && !d.bad);
    must(again.len <= size + tail_len);
    if (named && plain.ops.len < 4096)
        check_cuts(&plain);
    free(ops);
    free(tail);
    return 0;
}
