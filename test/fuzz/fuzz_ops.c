/* fuzz_ops.c - the operations of a batch, as the log hands them back: any bytes are walked inside
 * their bounds, and what is understood is written again to what means the same.
 *
 *     byte 0   how many bytes at the end are the `tail`, the value that lies apart
 *     rest     operations */
#include "fuzz.h"

#include "base/batch.h"

static bool same_entry(const struct entry *a, const struct entry *b)
{
    return a->kind == b->kind && a->expires_ms == b->expires_ms && key_equal(a->key, b->key) &&
           key_equal(a->value, b->value);
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
        must(op_append(&again, e.kind, e.key, e.value, e.expires_ms, &err) == QUERN_OK);
    }
    plain = (struct batch_ref){buf_slice(&again), {NULL, 0}, 0};
    c = op_cursor_of(&batch);
    d = op_cursor_of(&plain);
    while (op_next(&c, &e))
        must(op_next(&d, &f) && same_entry(&e, &f));
    must(!op_next(&d, &f) && !d.bad);
    must(again.len <= size + tail_len);
    free(ops);
    free(tail);
    return 0;
}
