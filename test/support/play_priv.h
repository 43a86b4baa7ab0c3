/* play_priv.h - the state of a history that is played; see play.h. */
#ifndef TEST_PLAY_PRIV_H
#define TEST_PLAY_PRIV_H

#include "model.h"
#include "play.h"
#include "sim.h"

#include "base/error.h"
#include "engine/engine_priv.h"

#define PLAY_PATH "/db"
#define SNAPSHOTS_MAX 4
#define CURSORS_MAX 3
#define COPIES_MAX 2
#define VALUE_MAX 70000
#define DRAFT_MAX 32
#define CHANGES_MAX 4096

/* One operation of a write. */
struct change {
    size_t key,
        end; /* all keys from `key` on below `end`, of its database, are deleted; 0: `key` alone */
    struct model_cell cell; /* stamp 0: deleted */
    bool swap;              /* databases change places: all keys from `key` on below `end` */
    bool last;              /* of its write */
};

/* A write before it is known what became of it. */
struct draft {
    struct change change[DRAFT_MAX];
    size_t count;
};

/* A cursor, and where the model says it stands. */
struct walk {
    struct quern_iter *it;
    struct model want;
    uint8_t database;
    size_t from, to; /* key indexes: the bounds */
    size_t at;       /* MODEL_KEYS: nowhere */
};

struct play {
    const struct play_config *config;
    struct play_result *result;
    uint64_t random; /* of this step alone */
    unsigned drawn;  /* changes that it drew */
    struct sim *sim;
    struct quern_options options;
    struct quern *db; /* NULL only inside a window */

    /* What the store should hold when all windows are over, and what it shows now. They differ by
     * what a window refused. */
    struct model goal, real; /* of one time, the simulated clock's */
    /* What survives a power cut, and the writes since: [0, acked) were acknowledged, those behind
     * may have been done, in this order. base + [0, acked) = real. */
    struct model base;
    struct change log[CHANGES_MAX];
    size_t log_count, acked;

    struct quern_snapshot *snapshot[SNAPSHOTS_MAX];
    struct model seen[SNAPSHOTS_MAX];
    struct walk cursor[CURSORS_MAX];
    struct {
        unsigned no; /* 0: none */
        struct model shows;
    } copy[COPIES_MAX];
    unsigned copies; /* made so far */

    struct {
        unsigned until; /* the last step of the window; 0: none is open */
        bool cut, fault;
    } window;
    uint8_t room[VALUE_MAX];
    struct quern_value value;
};

/* ---- play.c ---- */

uint64_t play_pick(struct play *p, uint64_t below);
void play_options(struct play *p);
/* The history is over: a promise was broken. */
void play_wrong(struct play *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* True: it went well. A failure that an open window explains is none. */
bool play_ok(struct play *p, enum quern_code code, const struct quern_error *err, const char *what);
void play_answer(struct play *p, const void *bytes, size_t len);

void play_pass_time(struct play *p, uint64_t ms);

/* ---- play_read.c ---- */

void play_get(struct play *p);
void play_get_many(struct play *p);
void play_count(struct play *p);
void play_counts(struct play *p);  /* of all databases; after a step */
void play_iterate(struct play *p); /* a cursor of its own, or a kept one */
void play_snapshot(struct play *p);
void play_let_go(struct play *p); /* of all snapshots and cursors */
/* Does all of `db` look as the model says? */
bool play_shows(struct play *p, struct quern *db, const struct model *want, const char *what);

/* ---- play_depend.c ---- */

void play_depend(struct play *p); /* a write with a check, or an update */

/* ---- play_disk.c ---- */

void play_draw_change(struct play *p, struct draft *d); /* noted in the goal */
/* What became of a write, and what is noted of it. */
void play_note_write(struct play *p, const struct draft *d, enum quern_code code,
                     const struct quern_error *err, const char *what);
void play_made_durable(struct play *p); /* all that was acknowledged */
void play_make_room_in_log(struct play *p);
enum quern_code play_fill_batch(struct play *p, const struct draft *d, struct quern_batch *batch,
                                struct quern_error *err);
/* Write it whole. */
void play_write_draft(struct play *p, const struct draft *d, const struct quern_write_opts *opts);

bool play_open(struct play *p); /* the first time */
void play_write(struct play *p);
void play_write_async(struct play *p);
void play_sync(struct play *p);
void play_flush(struct play *p);
void play_reopen(struct play *p);
void play_copy(struct play *p); /* make a checkpoint, or look at an older one */
void play_window(struct play *p);
void play_settle(struct play *p); /* after each step: a cut that came, a window that is over */
void play_close(struct play *p);

#endif
