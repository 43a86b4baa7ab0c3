/* remains_count.c - the numbers of keys that the manifest of a closed store keeps, against its tables.
 *
 * What is kept is as of flushed_seq (live.h), and so are tables and cuts, without the log: one walk over all
 * runs, in which of each key the newest version counts if it is a put and no cut is newer, expired
 * or not. It is made only where some number is known and all that it goes by was found to be sound. */
#include "engine/remains_priv.h"

#include "base/alloc.h"
#include "engine/inner.h"
#include "engine/version.h"
#include "iter/iter.h"

#include <inttypes.h>
#include <stdio.h>

void findings_add_count(struct findings *f, uint8_t database, uint64_t kept, uint64_t there)
{
    const struct quern_slice none = {0};
    char what[128];

    (void)snprintf(what, sizeof(what),
                   "the number of keys kept of database %u is %" PRIu64 "; there are %" PRIu64,
                   database, kept, there);
    findings_add(f, "MANIFEST", 0, none, none, what, false);
}

/* One cursor over all runs. The version outlives it. */
static enum quern_code open_runs(const struct version *version, struct iter **out,
                                 struct quern_error *err)
{
    struct iter **inputs = alloc_array(version->run_count + 1, sizeof(struct iter *));
    enum quern_code code = QUERN_OK;
    size_t n = 0;

    if (inputs == NULL)
        return err_memory(err, "a count");
    while (code == QUERN_OK && n < version->run_count) {
        code = run_iter(&version->runs[n], SST_BULK, &inputs[n], err);
        n += code == QUERN_OK;
    }
    if (code == QUERN_OK)
        code = n == 0 ? iter_empty(out, err) : iter_merge(inputs, n, out, err);
    else
        while (n-- > 0)
            iter_free(inputs[n]);
    alloc_free(inputs);
    return code;
}

static bool lives(const struct cuts *cuts, const struct entry *e)
{
    return e->kind == ENTRY_PUT &&
           (cuts == NULL || cuts_newest(cuts, e->key, UINT64_MAX) <= e->seq);
}

static enum quern_code count_runs(const struct version *version, uint64_t keys[QUERN_DATABASES],
                                  struct quern_error *err)
{
    struct iter *it OWNED(iter_free) = NULL;
    struct quern_slice before = {0}; /* readable still: the next move was a step from it */

    if (open_runs(version, &it, err))
        return err->code;
    for (iter_first(it); it->valid; iter_next(it)) {
        bool newest = before.data == NULL || !key_equal(before, it->at.key);

        before = it->at.key;
        if (newest && inner_database(it->at.key) < QUERN_DATABASES)
            keys[inner_database(it->at.key)] += lives(version->cuts, &it->at);
    }
    if (it->err.code != QUERN_OK)
        *err = it->err;
    return it->err.code;
}

static bool any_kept(const struct manifest_state *state)
{
    for (size_t d = 0; d < QUERN_DATABASES; d++)
        if (state->live[d] != 0)
            return true;
    return false;
}

enum quern_code remains_check_counts(const struct remains *r, struct sst_cache *cache,
                                     struct findings *f, struct quern_error *err)
{
    const struct manifest_state *state = &r->manifest.state;
    struct version *version OWNED(version_unref) = NULL;
    uint64_t keys[QUERN_DATABASES] = {0};

    if (!r->manifest.whole || f->damages != 0 || !any_kept(state))
        return QUERN_OK;
    if (version_build(r->dir, cache, state, NULL, (struct open_tables){0}, &version, err) ||
        count_runs(version, keys, err))
        return err->code;
    for (uint8_t d = 0; d < QUERN_DATABASES; d++) {
        uint8_t inside = db_map_get(state->map, d);
        uint64_t kept = state->live[inside]; /* and one */

        if (kept != 0 && kept - 1 != keys[inside])
            findings_add_count(f, d, kept - 1, keys[inside]);
    }
    return QUERN_OK;
}
