/* table_meta.c - what is known of one sorted table; see table_meta.h. */
#include "base/table_meta.h"

#include <inttypes.h>
#include <stdio.h>

enum quern_code table_meta_copy(struct table_meta *to, const struct table_meta *from,
                                struct quern_error *err)
{
    struct table_meta copy = *from;

    copy.smallest = (struct buf){0};
    copy.largest = (struct buf){0};
    if (buf_append(&copy.smallest, from->smallest.data, from->smallest.len, err) ||
        buf_append(&copy.largest, from->largest.data, from->largest.len, err)) {
        table_meta_done(&copy);
        return err->code;
    }
    *to = copy;
    return QUERN_OK;
}

void table_meta_done(struct table_meta *m)
{
    buf_done(&m->smallest);
    buf_done(&m->largest);
}

void table_name(char name[TABLE_NAME_BYTES], uint64_t table_no)
{
    (void)snprintf(name, TABLE_NAME_BYTES, "%06" PRIu64 ".sst", table_no);
}
