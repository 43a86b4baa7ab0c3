/* torn.c - what recovery drops from the log is copied aside first: TORN-SEGMENT-OFFSET.
 *
 * A torn tail was never acknowledged as durable, so the store is whole without it. But it may be
 * the last that somebody has of some work, or the only trace of what went wrong. Nothing reads
 * these files; whoever runs the store may remove them at any time. They stay bounded: those of one
 * recovery take KEPT_BYTES_MAX together at most, and older ones go to make room for them. What
 * cannot be kept is told, and stops nothing: a store on a full disk must recover as well. */
#include "engine/work_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES_MAX (UINT64_C(16) << 20)
#define KEPT_FILES_MAX 8u
#define PREFIX "TORN-"

struct kept_file {
    uint64_t segment_no, offset, bytes;
};

struct kept_files {
    struct os_dir *dir;
    struct kept_file *files;
    size_t count, capacity;
};

static void kept_name(char name[OS_NAME_BYTES_MAX], uint64_t segment_no, uint64_t offset)
{
    (void)snprintf(name, OS_NAME_BYTES_MAX, PREFIX "%06" PRIu64 "-%" PRIu64, segment_no, offset);
}

static bool kept_name_parse(const char *name, struct kept_file *f)
{
    char again[OS_NAME_BYTES_MAX];

    if (sscanf(name, PREFIX "%" SCNu64 "-%" SCNu64, &f->segment_no, &f->offset) != 2)
        return false;
    kept_name(again, f->segment_no, f->offset);
    return strcmp(again, name) == 0;
}

static enum quern_code see_kept(void *arg, const char *name, struct quern_error *err)
{
    struct kept_files *k = arg;
    struct kept_file f = {0};

    if (!kept_name_parse(name, &f))
        return QUERN_OK;
    if (os_dir_stat(k->dir, name, &f.bytes, err))
        return err->code;
    if (k->count == k->capacity) {
        size_t capacity = k->capacity != 0 ? 2 * k->capacity : 16;
        void *more = alloc_resize(k->files, capacity * sizeof(*k->files));

        if (more == NULL)
            return err_memory(err, "a list of files");
        k->files = more;
        k->capacity = capacity;
    }
    k->files[k->count++] = f;
    return QUERN_OK;
}

static int newest_first(const void *a, const void *b)
{
    const struct kept_file *x = a, *y = b;

    if (x->segment_no != y->segment_no)
        return x->segment_no < y->segment_no ? 1 : -1;
    return (x->offset < y->offset) - (x->offset > y->offset);
}

/* Remove old ones until they are few and small enough. */
static void remove_old(struct quern *db)
{
    struct kept_files k = {.dir = db->dir};
    struct quern_error ignored;
    uint64_t bytes = 0;

    if (os_dir_list(db->dir, see_kept, &k, &ignored) == QUERN_OK) {
        if (k.count != 0)
            qsort(k.files, k.count, sizeof(*k.files), newest_first);
        for (size_t i = 0; i < k.count; i++) {
            char name[OS_NAME_BYTES_MAX];

            bytes += k.files[i].bytes;
            if (i < KEPT_FILES_MAX && bytes <= KEPT_BYTES_MAX)
                continue;
            kept_name(name, k.files[i].segment_no, k.files[i].offset);
            IGNORE(os_dir_remove(db->dir, name, &ignored));
        }
    }
    alloc_free(k.files);
}

/* One piece; `kept` counts what this recovery has kept so far. */
static enum quern_code keep(struct quern *db, const struct wal_piece *piece, struct torn_kept *kept,
                            struct quern_error *err)
{
    uint64_t left = KEPT_BYTES_MAX - kept->bytes, copied;
    char name[OS_NAME_BYTES_MAX];

    /* Each has a page before it. */
    if (kept->files == KEPT_FILES_MAX || left <= OS_DIRECT_BYTES) {
        kept->cut = true;
        return QUERN_OK;
    }
    kept_name(name, piece->segment_no, piece->offset);
    if (wal_copy_aside(db->dir, manifest_state(db->manifest)->store_id, piece,
                       left - OS_DIRECT_BYTES, name, &copied, err))
        return err->code;
    if (copied == 0)
        return QUERN_OK;
    if (kept->files++ == 0)
        (void)snprintf(kept->first, sizeof(kept->first), "%s", name);
    kept->bytes += copied + OS_DIRECT_BYTES;
    kept->cut |= kept->bytes >= KEPT_BYTES_MAX;
    return QUERN_OK;
}

void torn_keep(struct quern *db, const struct wal_piece *first, uint64_t last_segment,
               struct torn_kept *kept)
{
    struct quern_error err;
    enum quern_code code = keep(db, first, kept, &err);

    for (uint64_t no = first->segment_no + 1; code == QUERN_OK && !kept->cut && no <= last_segment;
         no++) {
        struct wal_piece all = {.segment_no = no, .offset = WAL_FIRST_RECORD_AT};

        code = keep(db, &all, kept, &err);
    }
    if (code == QUERN_OK && kept->files != 0) {
        remove_old(db);
        code = os_dir_sync(db->dir, &err);
    }
    if (code != QUERN_OK)
        (void)snprintf(kept->text, sizeof(kept->text), "; %s could not be kept: %s",
                       kept->files != 0 ? "all of it" : "it", err.text);
    else if (kept->files != 0)
        (void)snprintf(kept->text, sizeof(kept->text), "; %s in %s%s",
                       kept->cut ? "the first part of it is" : "it is", kept->first,
                       kept->files > 1 ? " and the files after it" : "");
}
