/* prefix.c - turns a prefix into bounds. */
#include "base/prefix.h"

#include "base/entry.h"

enum quern_code prefix_end(struct quern_slice prefix, struct buf *out, struct quern_error *err)
{
    const uint8_t *bytes = prefix.data;
    size_t len = prefix.len, before = out->len;

    while (len != 0 && bytes[len - 1] == 0xff)
        len--;
    if (len == 0)
        return QUERN_OK;
    if (buf_append(out, bytes, len, err))
        return err->code;
    out->data[before + len - 1]++;
    return QUERN_OK;
}

enum quern_code prefix_narrow(struct quern_slice prefix, struct quern_slice *start,
                              struct quern_slice *end, struct buf *after, struct quern_error *err)
{
    if (prefix.len == 0)
        return QUERN_OK;
    if (prefix_end(prefix, after, err))
        return err->code;
    if (key_compare(prefix, *start) > 0)
        *start = prefix;
    if (after->len != 0 && (end->len == 0 || key_compare(buf_slice(after), *end) < 0))
        *end = buf_slice(after);
    return QUERN_OK;
}
