/* scan_build.c - what a user's iterator walks: one merged cursor over all MemDBs and runs of a view,
 * and the bounds that it never leaves. */
#include "engine/scan_priv.h"

#include "base/prefix.h"
#include "engine/inner.h"

/* Cursors of an iterator that are gathered without memory of their own. */
#define INPUTS_FEW 16

/* A MemDB that is empty now holds nothing that the iterator's number can see, and never will. Who
 * wants to know of newer entries too builds again (enter_walk). */
static enum quern_code add_mem(const struct quern_iter *it, struct mem *mem, struct iter **inputs,
                               size_t *count, struct quern_error *err)
{
    struct mem_info info;

    mem_info(mem, &info);
    if (info.entry_count == 0)
        return QUERN_OK;
    if (mem_iter(mem, it->pin.seq, &inputs[*count], err))
        return err->code;
    (*count)++;
    return QUERN_OK;
}

/* One cursor for every MemDB and run of the view, newest first. */
static enum quern_code collect_inputs(struct quern_iter *it, struct iter **inputs, size_t *count,
                                      struct quern_error *err)
{
    const struct view *view = it->view;

    if (view->mem != NULL && add_mem(it, view->mem, inputs, count, err))
        return err->code;
    it->has_active = *count != 0;
    for (size_t i = view->sealed_count; i-- > 0;)
        if (add_mem(it, view->sealed[i], inputs, count, err))
            return err->code;
    for (size_t r = 0; r < view->version->run_count; r++, (*count)++)
        if (run_iter(&view->version->runs[r], it->bulk ? SST_BULK : SST_CACHED, &inputs[*count],
                     err))
            return err->code;
    return QUERN_OK;
}

enum quern_code iter_build(struct quern_iter *it, struct quern_error *err)
{
    size_t count = 0, most = 2 + it->view->sealed_count + it->view->version->run_count;
    struct iter *few[INPUTS_FEW], **inputs = few;
    enum quern_code code;

    if (most > INPUTS_FEW)
        inputs = alloc_array(most, sizeof(struct iter *));
    if (inputs == NULL)
        return err_memory(err, "an iterator");
    code = collect_inputs(it, inputs, &count, err);
    if (code != QUERN_OK) {
        while (count-- > 0)
            iter_free(inputs[count]);
    } else if (count == 0) {
        code = iter_empty(&it->in, err);
    } else {
        code = iter_merge(inputs, count, &it->in, err); /* takes or frees the inputs */
    }
    if (inputs != few)
        alloc_free(inputs);
    if (code == QUERN_OK) { /* what was known of another view is nothing now */
        it->cuts = it->view->cuts_count != 0;
        it->cut_known = false;
    }
    return code;
}

enum quern_code iter_bound(struct quern_iter *it, struct quern_slice upper, struct quern_error *err)
{
    it->upper_head = key_head(upper, 0);
    return upper.data == it->upper.data ? QUERN_OK : buf_assign(&it->upper, upper, err);
}

enum quern_code iter_set_bounds(struct quern_iter *it, const struct quern_iter_opts *opts,
                                struct quern_error *err)
{
    struct buf prefix OWNED_BUF = {0}, after OWNED_BUF = {0};
    uint8_t database = db_map_get(it->pin.map, opts->database);
    struct quern_slice lower, upper;

    if (inner_assign(&prefix, database, opts->prefix, err) ||
        inner_assign(&it->lower, database, opts->range.start, err) ||
        inner_assign(&it->upper, database, opts->range.end, err))
        return err->code;
    lower = buf_slice(&it->lower);
    upper = opts->range.end.len != 0 ? buf_slice(&it->upper) : slice_of(NULL, 0);
    if (prefix_narrow(buf_slice(&prefix), &lower, &upper, &after, err) ||
        (lower.data != it->lower.data && buf_assign(&it->lower, lower, err)))
        return err->code;
    return iter_bound(it, upper, err);
}
