/* live.c - pages that tell how many keys live.
 *
 * The store counts what was written since somebody asked last. That is little on the loop of a server
 * that is looked at often and idles; under load it may be a MemDB full of entries, and is done aside. */
#include "server/rest/live.h"

#include "server/aside.h"
#include "server/loop.h"
#include "server/rest/reply.h"
#include "server/writes.h"

#include "base/alloc.h"
#include "base/error.h"

struct live_page {
    live_page_fn write;
    unsigned form;
    uint64_t keys[QUERN_DATABASES];
};

static void look(struct server *server, bool cached, uint64_t *keys, enum quern_code *code)
{
    struct quern_error ignored; /* damage was told as an event */

    *code = quern_live_keys(server->db, cached, keys, &ignored);
    for (unsigned d = 0; *code != QUERN_OK && d < QUERN_DATABASES; d++)
        keys[d] = QUERN_KEYS_UNKNOWN;
}

static void work(struct write_op *op)
{
    struct live_page *p = op->about;
    enum quern_code ignored;

    look(op->conn->loop->server, false, p->keys, &ignored);
    op->completion.code = QUERN_OK;
}

static void then_finish(struct write_op *op)
{
    write_finish(op, op->completion.code);
}

static void answer(struct write_op *op)
{
    struct live_page *p = op->about;

    if (!op->conn->closing)
        p->write(op->conn, op->manner, p->form, p->keys);
    alloc_free(p);
}

void live_reply(struct conn *c, struct manner manner, unsigned form, live_page_fn page)
{
    uint64_t keys[QUERN_DATABASES];
    struct live_page *p;
    struct write_op *op;
    enum quern_code code;

    look(c->loop->server, true, keys, &code);
    if (code != QUERN_BUSY) {
        page(c, manner, form, keys);
        return;
    }
    p = NEW(struct live_page);
    op = p != NULL ? write_new(c, manner, 0, false) : NULL;
    if (op == NULL) {
        conn_cut(c);
        alloc_free(p);
        return;
    }
    p->write = page;
    p->form = form;
    op->is_read = true;
    op->about = p;
    op->answer = answer;
    aside_submit(op, work, then_finish);
}
