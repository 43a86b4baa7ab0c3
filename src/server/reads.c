/* reads.c - see reads.h.
 *
 *     GET a | GET b, GET c | MGET d e | GET /v1/kv/f      what four connections sent, in one turn
 *          a b c d e f  --> one quern_multi_get(), in memory alone: the cache misses overlap
 *     each is answered, in the order in which they came
 *
 * Nothing is read from a socket before the batch has run, so what was sent need not be copied. Where
 * a read has no company it does not wait: a batch of one would cost more than a get. What is longer
 * than VALUE_BYTES_MAX is BUSY as what is not in memory is, so that the memory that values keep stays
 * small: both doors then ask for it alone. */
#include "server/reads.h"

#include "server/loop.h"

#include "base/alloc.h"
#include "base/error.h"

#define READS_MAX 256u
#define KEYS_MAX 256u
#define ARGS_MAX 1024u
#define TEXT_BYTES_MAX 16384u
#define VALUE_BYTES_MAX 4096u /* what values keep as their memory, times KEYS_MAX */

struct reads {
    unsigned count, arg_count, key_count, text_bytes;
    uint8_t database;
    struct read each[READS_MAX];
    struct quern_slice args[ARGS_MAX], keys[KEYS_MAX];
    struct quern_value values[KEYS_MAX];
    enum quern_code codes[KEYS_MAX];
    uint8_t text[TEXT_BYTES_MAX];
};

struct reads *reads_new(void)
{
    return NEW(struct reads);
}

void reads_free(struct reads *reads)
{
    if (reads == NULL)
        return;
    for (unsigned i = 0; i < KEYS_MAX; i++)
        quern_value_done(&reads->values[i]);
    alloc_free(reads);
}

bool reads_have_company(const struct conn *c)
{
    return c->loop->reads->count > 0 || c->loop->dirty != NULL;
}

bool reads_have_room(const struct loop *loop, uint8_t database, size_t argc, size_t keys)
{
    const struct reads *r = loop->reads;

    return (r->count == 0 || r->database == database) && r->count < READS_MAX &&
           r->key_count + keys <= KEYS_MAX && r->arg_count + argc <= ARGS_MAX;
}

struct quern_slice reads_keep(struct loop *loop, struct quern_slice key)
{
    struct reads *r = loop->reads;
    uint8_t *to = &r->text[r->text_bytes];

    if (key.len > TEXT_BYTES_MAX - r->text_bytes)
        return (struct quern_slice){NULL, 0};
    memcpy(to, key.data, key.len);
    r->text_bytes += (unsigned)key.len;
    return (struct quern_slice){to, key.len};
}

struct read *reads_take(struct conn *c, uint8_t database, const struct quern_slice *args,
                        size_t argc, size_t first, size_t keys)
{
    struct reads *r = c->loop->reads;
    struct read *read = &r->each[r->count++];

    r->database = database;
    read->conn = c;
    read->args = &r->args[r->arg_count];
    read->argc = (unsigned)argc;
    read->first_key = r->key_count;
    read->key_count = (unsigned)keys;
    memcpy(&r->args[r->arg_count], args, argc * sizeof(*args));
    memcpy(&r->keys[r->key_count], &args[first], keys * sizeof(*args));
    r->arg_count += (unsigned)argc;
    r->key_count += (unsigned)keys;
    c->gathered++;
    return read;
}

bool found_all(const struct found *found)
{
    for (size_t i = 0; i < found->count; i++) {
        if (found->codes[i] != QUERN_OK && found->codes[i] != QUERN_NOT_FOUND)
            return false;
    }
    return true;
}

static void answer(struct reads *r, struct read *read)
{
    struct found found = {&r->keys[read->first_key], &r->values[read->first_key],
                          &r->codes[read->first_key], read->key_count};
    struct measure *m = &read->conn->loop->measure;

    read->conn->gathered--;
    if (read->conn->closing)
        return;
    if (m->handed_count == HANDED_MAX)
        measure_handed(m);
    read->answer(read, &found);
}

void reads_run(struct loop *loop)
{
    struct reads *r = loop->reads;
    struct quern_read_opts opts = {
        .cached = true, .bytes_max = VALUE_BYTES_MAX, .database = r->database};
    struct quern_error ignored;

    if (r->count == 0)
        return;
    for (unsigned i = 0; i < r->key_count; i++)
        r->codes[i] = QUERN_BUSY; /* should the call fail as a whole */
    IGNORE(quern_multi_get(loop->server->db, r->keys, r->key_count, &opts, r->values, r->codes,
                           &ignored));
    count(&loop->server->counters.read_batches, 1);
    count(&loop->server->counters.reads_in_batches, r->count);
    for (unsigned i = 0; i < r->count; i++)
        answer(r, &r->each[i]);
    r->count = r->arg_count = r->key_count = r->text_bytes = 0;
}
