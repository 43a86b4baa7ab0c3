/* wal_aside.c - segments that are not replayed: do they hold anything, and a copy of what they
 * hold.
 *
 *     0 +--------------------------+
 *       | the segment's first page |  its header: with the salt in it every record can be checked
 *  4096 +--------------------------+
 *       | bytes of the segment     |  from the place named on
 *       +--------------------------+
 *
 * A copy changes nothing in the log. It is durable at return, its name after the next sync of the
 * directory. Done again after a crash it comes out the same, since the log is still there. */
#include "wal/wal_priv.h"

#include "base/alloc.h"
#include "base/error.h"

#include <inttypes.h>

#define COPY_BYTES (256u << 10)

enum quern_code wal_holds_groups(struct os_dir *dir, uint64_t store_id, uint64_t segment_no,
                                 bool *holds, struct quern_error *err)
{
    struct wal_reader r;
    struct wal_stray stray = {0};
    enum quern_code code = wal_reader_open(&r, dir, segment_no, store_id, err);

    *holds = false;
    if (code == QUERN_OK)
        code = wal_reader_search(&r, WAL_START, 0, UINT64_MAX, &stray, err);
    wal_reader_done(&r);
    *holds = stray.groups != 0;
    if (code != QUERN_CORRUPT)
        return code;
    err_clear(
        err); /* its first pages are no segment's of this store: nothing was put behind them */
    return QUERN_OK;
}

/* Where the records of a segment end, as far as anything of this life can be found; the end of the
 * file when its first pages are damaged. */
static enum quern_code find_end(struct os_dir *dir, uint64_t store_id, uint64_t segment_no,
                                uint64_t from, uint64_t *end, struct quern_error *err)
{
    struct wal_reader r;
    struct wal_stray stray = {0};
    enum quern_code code = wal_reader_open(&r, dir, segment_no, store_id, err);

    *end = r.bytes;
    if (code == QUERN_OK && from != 0) {
        code = wal_reader_search(&r, from, 0, UINT64_MAX, &stray, err);
        *end = stray.end;
    } else if (code == QUERN_CORRUPT) {
        err_clear(err);
        code = QUERN_OK;
    }
    wal_reader_done(&r);
    return code;
}

static enum quern_code copy(struct os_file *from, uint64_t at, uint64_t bytes, struct os_file *to,
                            uint64_t to_at, struct quern_error *err)
{
    uint8_t *piece OWNED(alloc_free) = alloc_bytes(COPY_BYTES);

    if (piece == NULL)
        return err_memory(err, "a copy");
    while (bytes != 0) {
        size_t len = bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES;
        struct iovec out = {piece, len};

        if (os_file_read(from, piece, len, at, err) || os_file_write(to, &out, 1, to_at, err))
            return err->code;
        at += len;
        to_at += len;
        bytes -= len;
    }
    return QUERN_OK;
}

static enum quern_code copy_segment(struct os_dir *dir, const char *segment, uint64_t at,
                                    uint64_t bytes, const char *name, struct quern_error *err)
{
    struct os_file *from OWNED(os_file_drop) = NULL;
    struct os_file *to OWNED(os_file_drop) = NULL;

    if (os_file_open(dir, segment, OS_READ, &from, err) ||
        os_file_open(dir, name, OS_WRITE | OS_CREATE, &to, err) ||
        copy(from, 0, RECORD_PAGE_BYTES, to, 0, err) ||
        copy(from, at, bytes, to, RECORD_PAGE_BYTES, err) || os_file_sync(to, err))
        return err->code;
    return os_file_close(GIVE(to), err);
}

enum quern_code wal_copy_aside(struct os_dir *dir, uint64_t store_id, const struct wal_piece *piece,
                               uint64_t bytes_max, const char *name, uint64_t *copied,
                               struct quern_error *err)
{
    uint64_t bytes = piece->bytes, file_bytes, end;
    char segment[WAL_NAME_BYTES];
    struct quern_error ignored;

    *copied = 0;
    wal_name(segment, piece->segment_no);
    if (os_dir_stat(dir, segment, &file_bytes, err))
        return err->code == QUERN_NO_STORE ? QUERN_OK : err->code; /* lost: there is nothing */
    if (bytes == 0) {
        if (find_end(dir, store_id, piece->segment_no, piece->offset, &end, err))
            return err->code;
        bytes = end > piece->offset ? end - piece->offset : 0;
    }
    if (bytes > bytes_max)
        bytes = bytes_max;
    if (bytes == 0 || file_bytes < RECORD_PAGE_BYTES || piece->offset + bytes > file_bytes)
        return QUERN_OK;
    IGNORE(os_dir_remove(dir, name, &ignored)); /* of a recovery that was cut short */
    if (copy_segment(dir, segment, piece->offset, bytes, name, err)) {
        IGNORE(os_dir_remove(dir, name, &ignored));
        return err_in(err, "copy log segment %s to %s", segment, name);
    }
    *copied = bytes;
    return QUERN_OK;
}
