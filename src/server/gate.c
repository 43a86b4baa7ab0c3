/* gate.c - a queue per stripe; the first pass with a hash holds the key, those behind wait in
 * order. */
#include "server/gate.h"

#include <stddef.h>

static struct gate_stripe *stripe_of(struct gate *g, uint64_t hash)
{
    return &g->stripes[hash % GATE_STRIPES];
}

void gate_init(struct gate *g)
{
    for (unsigned i = 0; i < GATE_STRIPES; i++) {
        mutex_init(&g->stripes[i].mu);
        g->stripes[i].first = NULL;
        g->stripes[i].last_next = &g->stripes[i].first;
    }
}

void gate_done(struct gate *g)
{
    for (unsigned i = 0; i < GATE_STRIPES; i++)
        mutex_done(&g->stripes[i].mu);
}

bool gate_enter(struct gate *g, struct gate_pass *pass, uint64_t hash)
{
    struct gate_stripe *s = stripe_of(g, hash);
    bool free_now = true;

    pass->hash = hash;
    pass->next = NULL;
    mutex_lock(&s->mu);
    for (struct gate_pass *p = s->first; p != NULL; p = p->next) {
        if (p->hash == hash) {
            free_now = false;
            break;
        }
    }
    *s->last_next = pass;
    s->last_next = &pass->next;
    mutex_unlock(&s->mu);
    return free_now;
}

struct gate_pass *gate_leave(struct gate *g, struct gate_pass *pass)
{
    struct gate_stripe *s = stripe_of(g, pass->hash);
    struct gate_pass **at, *heir = NULL;

    mutex_lock(&s->mu);
    for (at = &s->first; *at != pass; at = &(*at)->next)
        assert(*at != NULL);
    *at = pass->next;
    if (pass->next == NULL)
        s->last_next = at;
    for (struct gate_pass *p = *at; p != NULL; p = p->next) {
        if (p->hash == pass->hash) {
            heir = p;
            break;
        }
    }
    mutex_unlock(&s->mu);
    return heir;
}
