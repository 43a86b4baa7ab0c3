/* ballast.c - space set aside for the day when the disk is full.
 *
 * The file BALLAST holds nothing. When a flush, an open, or the first write after one meets a full
 * disk, it is given up and that tried again: the MemDB becomes tables, its log segments are free
 * for new writes, and deletes and merges can make room. It is written anew, in an idle moment, once
 * there is plenty of space. A store without it works the same, with less to fall back on, so no
 * failure here is passed on. */
#include "engine/work_priv.h"

#define BALLAST_NAME "BALLAST"
#define BALLAST_BYTES_MAX (UINT64_C(16) << 20)
/* Set aside only where this many times as much is free. */
#define PLENTY 8

static uint64_t ballast_bytes(const struct quern *db)
{
    return db->options.memdb_bytes < BALLAST_BYTES_MAX ? db->options.memdb_bytes
                                                       : BALLAST_BYTES_MAX;
}

static bool write_zeros(struct quern *db, uint64_t bytes, struct quern_error *err)
{
    enum { PIECE = 1 << 20 };
    void *zeros OWNED(alloc_free) = alloc_zeroed(PIECE);
    struct os_file *file OWNED(os_file_drop) = NULL;

    if (zeros == NULL || os_file_open(db->dir, BALLAST_NAME, OS_WRITE | OS_CREATE, &file, err))
        return false;
    for (uint64_t at = 0; at < bytes; at += PIECE) {
        struct iovec piece = {zeros, bytes - at < PIECE ? (size_t)(bytes - at) : PIECE};

        if (os_file_write(file, &piece, 1, at, err))
            return false;
    }
    return os_file_sync(file, err) == QUERN_OK;
}

void ballast_keep(struct quern *db)
{
    uint64_t have, free_bytes, want = ballast_bytes(db);
    struct quern_error err;

    if (os_dir_stat(db->dir, BALLAST_NAME, &have, &err) == QUERN_OK && have >= want)
        return;
    IGNORE(os_dir_remove(db->dir, BALLAST_NAME, &err)); /* cut short by a crash, or not there */
    if (os_dir_free_bytes(db->dir, &free_bytes, &err) || free_bytes < PLENTY * want)
        return;
    if (!write_zeros(db, want, &err))
        IGNORE(os_dir_remove(db->dir, BALLAST_NAME, &err)); /* half of it helps nobody */
}

bool ballast_give_up(struct quern *db)
{
    struct quern_error err;

    return os_dir_remove(db->dir, BALLAST_NAME, &err) == QUERN_OK;
}
