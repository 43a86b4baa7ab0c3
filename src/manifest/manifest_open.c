/* manifest_open.c - CURRENT and the file it names become a manifest that takes edits.
 *
 *     read, replay --> ends with a mark: settled    appended to as it is      nothing is written
 *                  \-> anything else                written anew, then CURRENT, or, on a full disk,
 *                                                   synced; the new file is owed
 *
 * The mark behind the last edit was written after that edit's sync, and the first mark of a file
 * after the sync of CURRENT's move to it. So a file that ends with one is known to be durable,
 * whether or not the mark itself ever reached the disk: while the machine runs on, its memory shows
 * what the last process wrote; after a crash, the disk does. What does not end so may be what a
 * failed sync left: a page that the kernel shows and the disk does not have. Names of log segments
 * that change, and files that are removed, must not rest on that. */
#include "manifest/manifest_priv.h"

#include "base/error.h"

#include <inttypes.h>

static enum quern_code read_file(struct os_dir *dir, const char *name, struct buf *out,
                                 struct quern_error *err)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    uint64_t bytes;

    if (os_file_open(dir, name, OS_READ, &file, err)) {
        if (err->code == QUERN_NO_STORE)
            return err_set(err, QUERN_CORRUPT, "named by " CURRENT_NAME ", is missing");
        return err->code;
    }
    if (os_file_size(file, &bytes, err) || buf_reserve(out, bytes, err) ||
        os_file_read(file, out->data, bytes, 0, err))
        return err->code;
    out->len = bytes;
    return QUERN_OK;
}

/* Read the file that CURRENT names and check that it is that file. */
static enum quern_code read_image(struct os_dir *dir, const struct manifest_current *current,
                                  struct manifest_image *image, struct quern_error *err)
{
    struct buf bytes OWNED_BUF = {0};
    char name[MANIFEST_NAME_BYTES];

    manifest_name(name, current->manifest_no);
    if (read_file(dir, name, &bytes, err) || manifest_replay(buf_slice(&bytes), image, err))
        return err_in(err, "%s", name);
    if (image->header.manifest_no == current->manifest_no &&
        image->header.store_id == current->store_id)
        return QUERN_OK;
    state_done(&image->state);
    return err_set(err, QUERN_CORRUPT,
                   "%s: says that it is manifest %" PRIu64 " of store %016" PRIx64
                   ", not of store %016" PRIx64 " which " CURRENT_NAME " names",
                   name, image->header.manifest_no, image->header.store_id, current->store_id);
}

static enum quern_code list_manifest(void *arg, const char *name, struct quern_error *err)
{
    uint64_t manifest_no;

    if (!manifest_name_parse(name, &manifest_no))
        return QUERN_OK;
    return buf_append(arg, &manifest_no, sizeof(manifest_no), err);
}

/* The old file serves on. A process that was killed may have left its last edit, or the move of
 * CURRENT, in the kernel's memory alone; what rests on them from now on (names of log segments that
 * change, files that are removed) must not outlive them. */
static enum quern_code keep_old(struct manifest *m, struct quern_error *err)
{
    struct os_file *file OWNED(os_file_drop) = NULL;
    char name[MANIFEST_NAME_BYTES];

    manifest_name(name, atomic_load(&m->manifest_no));
    if (os_file_open(m->dir, name, OS_WRITE, &file, err) || os_file_sync(file, err))
        return err->code;
    return os_dir_sync(m->dir, err);
}

/* The number of a new file is above every number that is there. */
static enum quern_code list_manifests(struct manifest *m, struct buf *list, struct quern_error *err)
{
    const uint64_t *numbers;

    if (os_dir_list(m->dir, list_manifest, list, err))
        return err->code;
    numbers = (const uint64_t *)(const void *)list->data;
    for (size_t i = 0; i < list->len / sizeof(*numbers); i++)
        if (numbers[i] > m->manifest_no_last)
            m->manifest_no_last = numbers[i];
    return QUERN_OK;
}

/* Those that CURRENT does not name. */
static void remove_others(struct manifest *m, const struct buf *list)
{
    const uint64_t *numbers = (const uint64_t *)(const void *)list->data;

    for (size_t i = 0; i < list->len / sizeof(*numbers); i++)
        if (numbers[i] != atomic_load(&m->manifest_no))
            manifest_remove(m->dir, numbers[i]);
}

/* Append to the file that is there. */
static enum quern_code go_on(struct manifest *m, const struct manifest_image *image,
                             struct quern_error *err)
{
    char name[MANIFEST_NAME_BYTES];

    manifest_name(name, image->header.manifest_no);
    if (os_file_open(m->dir, name, OS_WRITE, &m->file, err))
        return err_in(err, "%s", name);
    m->salt = image->header.salt;
    m->chain = image->chain;
    m->edit_no = image->edit_count;
    m->end = image->bytes;
    m->rewrite_bytes = manifest_rewrite_bytes(image->snapshot_bytes);
    return QUERN_OK;
}

static enum quern_code start_anew(struct manifest *m, struct quern_error *err)
{
    if (manifest_rewrite(m, err) == QUERN_OK)
        return QUERN_OK;
    /* A full disk is no reason not to be read. The new file is owed: manifest_apply(). */
    if (err->code != QUERN_NO_SPACE || m->failed.code != QUERN_OK)
        return err->code;
    return keep_old(m, err);
}

/* Make it ready for edits. */
static enum quern_code ready(struct manifest *m, const struct manifest_image *image,
                             struct quern_error *err)
{
    struct buf list OWNED_BUF = {0};

    if (list_manifests(m, &list, err) ||
        (image->settled ? go_on(m, image, err) : start_anew(m, err)))
        return err->code;
    remove_others(m, &list);
    return QUERN_OK;
}

static enum quern_code read_current(struct os_dir *dir, struct manifest_current *current,
                                    struct quern_error *err)
{
    enum quern_code code = current_read(dir, current, err);
    bool found;

    if (code != QUERN_NO_STORE)
        return code;
    if (manifest_find(dir, &found, err))
        return err->code;
    return err_set(err, QUERN_NO_STORE, "there is no store here");
}

enum quern_code manifest_open(struct os_dir *dir, bool read_only, struct manifest **out,
                              struct quern_error *err)
{
    struct manifest *m OWNED(manifest_close) = NULL;
    struct manifest_current current;
    struct manifest_image image;

    if (read_current(dir, &current, err) || manifest_new(dir, &m, err) ||
        read_image(dir, &current, &image, err))
        return err->code;
    m->read_only = read_only;
    m->state = image.state;
    m->manifest_no_last = current.manifest_no;
    atomic_store(&m->manifest_no, current.manifest_no);
    atomic_store(&m->bytes, image.bytes);
    atomic_store(&m->next_file_no, image.next_file_no);
    if (!read_only && ready(m, &image, err))
        return err->code;
    *out = GIVE(m);
    return QUERN_OK;
}
