/* files.c - what is in the directory, and what of it belongs to the store.
 *
 * Orphans are what a crash left: tables, segments and manifests that were begun and never named.
 * They go once all that does belong was found sound; until then an orphan may be what a repair
 * needs. Foreign files stay. */
#include "engine/work_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "000042.sst" and "000012.wal.tmp" begin with digits; foreign names that end alike do not. */
static bool number_of(const char *name, const char *suffix, uint64_t *number)
{
    const char *at = name;

    *number = 0;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*at - '0'), number))
            return false;
    return at - name >= 6 && strcmp(at, suffix) == 0;
}

static bool state_has_table(const struct manifest_state *state, uint64_t table_no)
{
    for (size_t i = 0; i < state->table_count; i++)
        if (state->tables[i].meta.table_no == table_no)
            return true;
    return false;
}

static bool is_orphan(struct store_files *c, const char *name)
{
    const struct manifest_state *state = manifest_state(c->db->manifest);
    uint64_t number;

    if (number_of(name, ".sst", &number)) {
        if (number > c->file_no_max)
            c->file_no_max = number;
        return !state_has_table(state, number);
    }
    if (wal_name_parse(name, &number)) {
        if (number > state->log_last && number >= state->log_first)
            return true; /* made, but never begun: nothing acknowledged can be in it */
        if (number < c->log_min)
            c->log_min = number;
        if (number > c->log_max)
            c->log_max = number;
        return false;
    }
    if (number_of(name, ".sst.tmp", &number) || number_of(name, ".wal.tmp", &number) ||
        strcmp(name, "CURRENT.tmp") == 0)
        return true;
    if (strncmp(name, "MANIFEST-", 9) == 0)
        return number_of(name + 9, ".tmp", &number) ||
               (number_of(name + 9, "", &number) && !manifest_owns_name(c->db->manifest, name));
    return false;
}

static enum quern_code see_file(void *arg, const char *name, struct quern_error *err)
{
    struct store_files *c = arg;

    if (strlen(name) >= OS_NAME_BYTES_MAX || !is_orphan(c, name))
        return QUERN_OK;
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        void *more = alloc_resize(c->names, capacity * sizeof(*c->names));

        if (more == NULL)
            return err_memory(err, "a list of files");
        c->names = more;
        c->capacity = capacity;
    }
    (void)snprintf(c->names[c->count++], OS_NAME_BYTES_MAX, "%s", name);
    return QUERN_OK;
}

enum quern_code files_look(struct quern *db, struct store_files *c, struct quern_error *err)
{
    *c = (struct store_files){.db = db, .log_min = UINT64_MAX};
    if (os_dir_list(db->dir, see_file, c, err))
        return err->code;
    manifest_skip_file_no(db->manifest, c->file_no_max + 1);
    return QUERN_OK;
}

/* A segment above those that the manifest names was begun and never recorded: that is what a crash
 * leaves, and there are no groups in it, since none is written before the edit is durable. Groups
 * tell that there was an edit, and that the manifest has lost it since. */
enum quern_code files_check_lost(struct quern *db, struct store_files *c, struct quern_error *err)
{
    const struct manifest_state *state = manifest_state(db->manifest);

    for (size_t i = 0; i < c->count; i++) {
        uint64_t no;
        bool holds = false;

        if (!wal_name_parse(c->names[i], &no))
            continue;
        if (wal_holds_groups(db->dir, state->store_id, no, &holds, err))
            return err->code;
        if (!holds)
            continue;
        if (db->options.recover != QUERN_RECOVER_POINT_IN_TIME)
            return err_set(
                err, QUERN_CORRUPT,
                "log segment %s holds writes, but the manifest names none after %06" PRIu64
                ": its last edit was lost; recovery to a point in time would lose these writes",
                c->names[i], state->log_last);
        if (db->lost_last == 0 || no < db->lost_first)
            db->lost_first = no;
        if (no > db->lost_last)
            db->lost_last = no;
    }
    return QUERN_OK;
}

enum quern_code files_clean(struct quern *db, struct store_files *c, struct quern_error *err)
{
    if (db->options.read_only)
        return QUERN_OK;
    for (; c->count > 0; c->count--) /* so that it can be tried again */
        if (os_dir_remove(db->dir, c->names[c->count - 1], err))
            return err->code;
    return QUERN_OK;
}

void files_done(struct store_files *c)
{
    alloc_free(c->names);
}
