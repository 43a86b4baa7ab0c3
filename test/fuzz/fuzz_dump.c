/* fuzz_dump.c - any bytes as a line of a dump: refused, or understood and written back to a line
 * that means the same. */
#include "fuzz.h"

#include "dump/line.h"

#include "base/entry.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dump_line line OWNED_DUMP_LINE = {0}, again OWNED_DUMP_LINE = {0};
    struct buf text OWNED_BUF = {0};
    struct quern_error err;
    struct quern_slice value;

    if (dump_line_parse(slice_of(data, size), &line, &err) != QUERN_OK)
        return 0;
    value = buf_slice(&line.value);
    if (line.end)
        ensure(dump_line_end(line.count, line.hash, line.rev, &text, &err) == QUERN_OK);
    else
        ensure(dump_line_entry(line.database, buf_slice(&line.key), &value, line.expires_ms, &text,
                               &err) == QUERN_OK);
    ensure(dump_line_parse(slice_of(text.data, text.len - 1), &again, &err) == QUERN_OK);
    ensure(again.end == line.end);
    if (line.end)
        ensure(again.count == line.count && again.hash == line.hash);
    else
        ensure(key_equal(buf_slice(&again.key), buf_slice(&line.key)) &&
               key_equal(buf_slice(&again.value), value) && again.expires_ms == line.expires_ms &&
               again.database == line.database);
    return 0;
}
