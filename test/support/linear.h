/* linear.h - is a recorded history of concurrent calls one that a store could have had?
 *
 * Two checks, for two kinds of history. Both are exact for what they are given, and know nothing of
 * quern: times are those of one clock, and of two calls neither is "before" the other unless it
 * ended at an earlier time than the other began.
 *
 *   linear_check()       batches over several keys, and reads of several keys at one moment. The
 *                        numbers that the store gave its writes are the witness: in their order
 *                        every read must find a place between its beginning and its end. So there
 *                        is nothing to search, and the cost is that of sorting. The witness itself
 *                        is checked: numbers must rise from each write to any that began after it.
 *   linear_check_key()   single writes and reads of one key, with no numbers: the search of Wing
 *                        and Gong with Lowe's memory of the configurations that led nowhere.
 *
 * linear_check_kept() says whether what is left after a crash may be left. test_linear.c shows each
 * kind of violation being caught. */
#ifndef TEST_LINEAR_H
#define TEST_LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINEAR_KEYS 8
#define LINEAR_NEVER UINT64_MAX    /* as `ended`: no answer came, or none that counts */
#define LINEAR_NO_COUNT UINT64_MAX /* as `count`: not asked */
#define LINEAR_WHY_BYTES 300

/* A batch: under each key of `puts` it leaves its own id, each key of `deletes` it removes. It also
 * adds one key to a journal that nobody removes from, so that counts say how many there were. */
struct linear_write {
    uint64_t began, ended;  /* began 0: this place in the array is not used */
    uint64_t seq;           /* 0: not known, so it counts as one that did not happen */
    uint32_t puts, deletes; /* sets of keys */
    bool sync;
};

/* Keys and their writers as of one moment between `began` and `ended`. */
struct linear_read {
    uint64_t began, ended;
    uint64_t seq;                 /* the moment, when it is known (snapshots); else 0 */
    uint32_t keys;                /* the set that was read */
    uint32_t id[LINEAR_KEYS];     /* of the write that was seen; 0: no such key */
    uint64_t id_seq[LINEAR_KEYS]; /* the number that was shown with it */
    uint64_t count;               /* keys in the journal */
};

struct linear_history {
    struct linear_write *writes; /* write i has the id first_id + i */
    size_t write_count;
    uint32_t first_id;
    struct linear_read *reads;
    size_t read_count;
    /* The state before the first. */
    uint32_t start[LINEAR_KEYS];
    uint64_t start_seq, start_count;
    uint64_t synced; /* when the last sync that returned began; 0: none */
};

/* Reads show numbers of writes whose answer never came; those are learned first, so `writes` is
 * changed. False: no, and *why says what is wrong. */
bool linear_check(struct linear_history *h, char why[LINEAR_WHY_BYTES]);

/* After a crash write i was found with the number kept[i], or not at all (0). A power cut may take
 * what was not synced, from the end only, and nothing that asked to be synced and was seen; the end
 * of the process takes nothing that was answered.
 * On success `writes` has the numbers that were found; what is lost and has none did not happen. */
bool linear_check_kept(struct linear_history *h, const uint64_t *kept, bool power,
                       char why[LINEAR_WHY_BYTES]);

/* The state after all that was kept, for the history that follows. */
void linear_state_kept(const struct linear_history *h, const uint64_t *kept,
                       uint32_t state[LINEAR_KEYS], uint64_t *seq, uint64_t *count);

/* ---- one key ---- */

struct linear_op {
    enum {
        LINEAR_PUT, /* id 0: a delete */
        LINEAR_GET,
        LINEAR_FOUND, /* what recovery found: a read that comes after every `durable` write too */
    } kind;
    uint64_t began, ended;
    uint32_t id;  /* written or seen; 0: no such key */
    bool durable; /* a put that a FOUND must not precede */
};

/* A put that never ended happened or did not. `ops` is sorted. False: no, and *why says what. */
bool linear_check_key(struct linear_op *ops, size_t count, uint32_t start,
                      char why[LINEAR_WHY_BYTES]);

#endif
