/* item.c - writes what item.h says. */
#include "server/rest/item.h"

#include "base/when.h"
#include "http/http.h"

#include <inttypes.h>
#include <stdio.h>

enum quern_code item_text(struct buf *out, const struct item *item, bool values,
                          struct quern_error *err)
{
    static const char omitted[] = ",\"value_omitted\":true";
    char text[128], moment[WHEN_BYTES + 1];
    int n = snprintf(text, sizeof(text), ",\"size\":%zu,\"rev\":%" PRIu64, item->value.len,
                     item->revision);

    if (item->expires_ms != 0) {
        (void)when_write(item->expires_ms, moment);
        n += snprintf(text + n, sizeof(text) - (size_t)n, ",\"expires_at\":\"%s\"", moment);
    }
    if (buf_append(out, "{", 1, err) || http_json_bytes(out, "key", item->key, err) ||
        buf_append(out, text, (size_t)n, err))
        return err->code;
    if (values && item->value.len > ITEM_VALUE_BYTES_MAX) {
        if (buf_append(out, omitted, sizeof(omitted) - 1, err))
            return err->code;
    } else if (values &&
               (buf_append(out, ",", 1, err) || http_json_bytes(out, "value", item->value, err))) {
        return err->code;
    }
    return buf_append(out, "}", 1, err);
}
