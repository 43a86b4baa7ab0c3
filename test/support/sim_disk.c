/* sim_disk.c - the simulated disk: bytes by sector, names by directory, and the crash.
 *
 *     file        live   what reads and mappings show: the page cache
 *                 disk   what the platter holds
 *                 older  sector contents that were live between disk and now
 *                 lost   sectors whose write-back failed: clean as far as the cache knows
 *     directory   live = durable + pending changes, in order
 *
 * A sector is dirty where live differs from disk and from its lost copy; comparing finds stores
 * made through mappings too, which nobody reports. A sync copies dirty sectors to disk. A power
 * cut leaves each differing sector as disk, live or any older content: write-back may have come
 * between any two writes. Names: a crash makes either a prefix of the pending changes (a journal)
 * or any subset of them in order (no promise at all); each rename is made whole or not at all.
 *
 * Invariant: in live and disk all bytes past the file's size are zero. */
#include "sim_priv.h"

#include "base/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define OLDER_MAX 1024                       /* per file; more are forgotten, not wrong */
#define MAP_SLACK ((size_t)16 * 1024 * 1024) /* address space for growth beside a mapping */

#define UNWATCHED __attribute__((no_sanitize("thread"), noinline))

void *must(void *p)
{
    if (p != NULL)
        return p;
    (void)fprintf(stderr, "sim: out of memory\n");
    abort();
}

static _Noreturn void wrong(const char *what, uint64_t at)
{
    (void)fprintf(stderr, "sim: %s at %llu\n", what, (unsigned long long)at);
    abort();
}

/* splitmix64: every seed is a good one. */
uint64_t disk_random(struct disk *d)
{
    uint64_t z = d->random += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* A kernel may write back a page while a program stores to its mapping; so may we. These two read
 * mapped memory word by word, out of sight of the thread sanitizer; lengths in whole words. */
static UNWATCHED bool same_words(const void *a, const void *b, size_t len)
{
    const volatile uint64_t *x = a, *y = b;

    for (size_t i = 0; i < len / 8; i++)
        if (x[i] != y[i])
            return false;
    return true;
}

static UNWATCHED void copy_words(void *to, const void *from, size_t len)
{
    volatile uint64_t *x = to;
    const volatile uint64_t *y = from;

    for (size_t i = 0; i < len / 8; i++)
        x[i] = y[i];
}

/* What a read of a file shows of pages that somebody stores to through a mapping. */
static UNWATCHED void copy_out(void *to, const void *from, size_t len)
{
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
    volatile uint8_t *x = to;
    const volatile uint8_t *y = from;

    for (size_t i = 0; i < len; i++)
        x[i] = y[i];
    return;
#endif
#endif
    memcpy(to, from, len);
}

static bool all_zero(const uint8_t *p, uint64_t len)
{
    while (len > 0 && *p == 0)
        p++, len--;
    return len == 0;
}

/* ---- stores and copies ---- */

static void store_grow(struct store *s, uint64_t need)
{
    size_t capacity = s->capacity < PAGE ? PAGE : s->capacity;

    if (need <= s->capacity)
        return;
    while (capacity < need)
        capacity *= 2;
    s->data = must(realloc(s->data, capacity));
    memset(s->data + s->capacity, 0, capacity - s->capacity);
    s->capacity = capacity;
}

/* The old pages stay where they are: the caller unmaps them, or leaves them to the code's maps. */
static void live_to_heap(struct inode *i)
{
    uint64_t used = round_up(i->size > i->map_bytes ? i->size : i->map_bytes, PAGE);
    struct store heap = {0};

    store_grow(&heap, used);
    copy_words(heap.data, i->live.data, used);
    i->live = heap;
    i->live_mapped = false;
}

static void live_grow(struct inode *i, uint64_t need)
{
    if (need <= i->live.capacity)
        return;
    if (i->live_mapped) {
        struct store old = i->live;

        if (i->maps != 0)
            wrong("a file grows too far while it is mapped", need);
        live_to_heap(i);
        (void)munmap(old.data, old.capacity);
    }
    store_grow(&i->live, need);
}

static void live_free(struct inode *i)
{
    if (i->live_mapped)
        (void)munmap(i->live.data, i->live.capacity);
    else
        free(i->live.data);
}

static struct sector_copy *copies_find(const struct copies *c, uint64_t sector)
{
    for (size_t k = 0; k < c->count; k++)
        if (c->at[k].sector == sector)
            return &c->at[k];
    return NULL;
}

static void copies_add(struct copies *c, uint64_t sector, const uint8_t *bytes)
{
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? c->capacity * 2 : 8;
        c->at = must(realloc(c->at, c->capacity * sizeof(c->at[0])));
    }
    c->at[c->count].sector = sector;
    copy_words(c->at[c->count++].bytes, bytes, SIM_SECTOR_BYTES);
}

static void copies_forget(struct copies *c, uint64_t sector)
{
    size_t kept = 0;

    for (size_t k = 0; k < c->count; k++)
        if (c->at[k].sector != sector)
            c->at[kept++] = c->at[k];
    c->count = kept;
}

static struct store store_copy(const struct store *from)
{
    struct store to = {0};

    store_grow(&to, from->capacity);
    if (from->capacity != 0)
        copy_words(to.data, from->data, from->capacity);
    return to;
}

static struct copies copies_copy(const struct copies *from)
{
    struct copies to = {0};

    for (size_t k = 0; k < from->count; k++)
        copies_add(&to, from->at[k].sector, from->at[k].bytes);
    return to;
}

/* ---- files ---- */

struct inode *inode_new(struct disk *d)
{
    struct inode *i = must(calloc(1, sizeof(*i)));

    i->next = d->inodes;
    d->inodes = i;
    return i;
}

static void inode_free(struct inode *i)
{
    live_free(i);
    free(i->disk.data);
    free(i->pages.data);
    free(i->older.at);
    free(i->lost.at);
    free(i);
}

static void inode_unref(struct disk *d, struct inode *i)
{
    struct inode **at = &d->inodes;

    if (i == NULL || --i->refs > 0)
        return;
    while (*at != i)
        at = &(*at)->next;
    *at = i->next;
    inode_free(i);
}

void inode_use(struct inode *i)
{
    i->refs++;
    i->uses++;
}

void inode_unuse(struct disk *d, struct inode *i)
{
    i->uses--;
    inode_unref(d, i);
}

static void touch(struct inode *i, uint64_t from, uint64_t to)
{
    if (i->dirty_to == i->dirty_from) {
        i->dirty_from = from;
        i->dirty_to = to;
        return;
    }
    i->dirty_from = from < i->dirty_from ? from : i->dirty_from;
    i->dirty_to = to > i->dirty_to ? to : i->dirty_to;
}

static uint64_t page_count(const struct inode *i)
{
    uint64_t n = 0;

    for (size_t k = 0; k < i->pages.capacity; k++)
        n += i->pages.data[k];
    return n;
}

uint64_t disk_free_bytes(const struct disk *d)
{
    uint64_t used = 0;

    if (d->space_total == UINT64_MAX)
        return UINT64_C(1) << 40;
    for (struct inode *i = d->inodes; i != NULL; i = i->next)
        if (i->uses != 0)
            used += page_count(i) * PAGE;
    return used < d->space_total ? d->space_total - used : 0;
}

uint64_t inode_fits(struct disk *d, const struct inode *i, uint64_t at, uint64_t len)
{
    uint64_t left;

    if (d->space_total == UINT64_MAX)
        return len;
    left = disk_free_bytes(d) / PAGE;
    for (uint64_t page = at / PAGE; page * PAGE < at + len; page++) {
        if (page < i->pages.capacity && i->pages.data[page] != 0)
            continue;
        if (left-- == 0)
            return page * PAGE > at ? page * PAGE - at : 0;
    }
    return len;
}

void inode_read(const struct inode *i, void *to, size_t len, uint64_t at)
{
    size_t there = at >= i->live.capacity ? 0 : i->live.capacity - (size_t)at;

    there = there < len ? there : len;
    if (there != 0)
        copy_out(to, i->live.data + at, there);
    if (len != there)
        memset((uint8_t *)to + there, 0, len - there);
}

/* What a power cut would leave. */
void inode_read_disk(const struct inode *i, void *to, size_t len, uint64_t at)
{
    size_t there = at >= i->disk.capacity ? 0 : (size_t)(i->disk.capacity - at);

    there = there < len ? there : len;
    memset(to, 0, len);
    if (there != 0)
        memcpy(to, i->disk.data + at, there);
}

/* Before a dirty sector changes: what it shows now may have reached the disk. */
static void remember_older(struct inode *i, uint64_t from, uint64_t to)
{
    store_grow(&i->disk, round_up(to, SIM_SECTOR_BYTES));
    for (uint64_t s = from / SIM_SECTOR_BYTES; s * SIM_SECTOR_BYTES < to; s++) {
        const uint8_t *now = i->live.data + s * SIM_SECTOR_BYTES;

        if (i->older.count < OLDER_MAX &&
            !same_words(now, i->disk.data + s * SIM_SECTOR_BYTES, SIM_SECTOR_BYTES))
            copies_add(&i->older, s, now);
    }
}

void inode_write(struct disk *d, struct inode *i, const void *from, size_t len, uint64_t at)
{
    (void)d;
    if (len == 0)
        return;
    live_grow(i, round_up(at + len, PAGE));
    remember_older(i, at, at + len);
    memcpy(i->live.data + at, from, len);
    touch(i, at, at + len);
    if (at + len > i->size)
        i->size = at + len;
    store_grow(&i->pages, (at + len - 1) / PAGE + 1);
    memset(i->pages.data + at / PAGE, 1, (size_t)((at + len - 1) / PAGE - at / PAGE + 1));
}

static void sector_to_disk(struct inode *i, uint64_t s)
{
    copy_words(i->disk.data + s * SIM_SECTOR_BYTES, i->live.data + s * SIM_SECTOR_BYTES,
               SIM_SECTOR_BYTES);
    copies_forget(&i->lost, s);
}

void inode_make_durable(struct inode *i, uint64_t at, uint64_t len)
{
    store_grow(&i->disk, round_up(at + len, SIM_SECTOR_BYTES));
    for (uint64_t s = at / SIM_SECTOR_BYTES; s * SIM_SECTOR_BYTES < at + len; s++)
        sector_to_disk(i, s), copies_forget(&i->older, s);
    if (at + len > i->disk_size)
        i->disk_size = at + len;
}

void inode_truncate(struct inode *i, uint64_t bytes)
{
    if (bytes < i->size) {
        uint64_t first_page = round_up(bytes, PAGE) / PAGE;

        remember_older(i, bytes, i->size);
        live_grow(i, i->size);
        memset(i->live.data + bytes, 0, i->size - bytes);
        touch(i, bytes, i->size);
        if (first_page < i->pages.capacity)
            memset(i->pages.data + first_page, 0, i->pages.capacity - first_page);
    }
    i->size = bytes;
    live_grow(i, round_up(bytes, PAGE));
}

/* The code stores through mappings only where a real disk has blocks for it. */
static void check_mapped(const struct inode *i)
{
    for (uint64_t at = 0; at < i->map_bytes; at += PAGE) {
        bool written = at / PAGE < i->pages.capacity && i->pages.data[at / PAGE] != 0;
        uint64_t tail = i->size > at ? i->size - at : 0;

        if (!written && !all_zero(i->live.data + at, PAGE))
            wrong("a store through a mapping to a page that was never written", at);
        if (written && tail < PAGE && !all_zero(i->live.data + at + tail, PAGE - tail))
            wrong("a store through a mapping past the end of the file", i->size);
    }
}

/* Where live may differ from disk, in whole sectors; both stores reach that far. */
static void dirty_range(struct inode *i, uint64_t *from, uint64_t *to)
{
    *from = i->map_bytes != 0 ? 0 : i->dirty_from & ~(uint64_t)(SIM_SECTOR_BYTES - 1);
    *to = i->dirty_to > i->map_bytes ? i->dirty_to : i->map_bytes;
    *to = round_up(*to, SIM_SECTOR_BYTES);
    live_grow(i, *to);
    store_grow(&i->disk, *to);
}

static bool sector_differs(const struct inode *i, uint64_t s)
{
    return !same_words(i->live.data + s * SIM_SECTOR_BYTES, i->disk.data + s * SIM_SECTOR_BYTES,
                       SIM_SECTOR_BYTES);
}

static bool sector_is_lost(const struct inode *i, uint64_t s)
{
    const struct sector_copy *lost = copies_find(&i->lost, s);

    return lost != NULL &&
           same_words(lost->bytes, i->live.data + s * SIM_SECTOR_BYTES, SIM_SECTOR_BYTES);
}

static void nothing_dirty(struct inode *i)
{
    /* Lost sectors stay in the range: they differ from disk until they are written again. */
    if (i->lost.count == 0)
        i->dirty_from = i->dirty_to = 0;
    if (i->maps == 0 && i->lost.count == 0)
        i->map_bytes = 0;
}

void inode_sync(struct inode *i)
{
    uint64_t from, to;

    check_mapped(i);
    dirty_range(i, &from, &to);
    for (uint64_t s = from / SIM_SECTOR_BYTES; s * SIM_SECTOR_BYTES < to; s++)
        if (sector_differs(i, s) && (i->lost.count == 0 || !sector_is_lost(i, s)))
            sector_to_disk(i, s);
    i->older.count = 0;
    i->disk_size = i->size;
    nothing_dirty(i);
}

void inode_give_up(struct inode *i)
{
    uint64_t from, to;

    check_mapped(i);
    dirty_range(i, &from, &to);
    for (uint64_t s = from / SIM_SECTOR_BYTES; s * SIM_SECTOR_BYTES < to; s++) {
        if (!sector_differs(i, s))
            continue;
        copies_forget(&i->lost, s);
        copies_add(&i->lost, s, i->live.data + s * SIM_SECTOR_BYTES);
    }
}

/* ---- mappings ---- */

void *inode_map(struct inode *i, size_t len)
{
    uint64_t need = round_up(len > i->size ? len : i->size, PAGE);

    if (i->maps == 0) {
        size_t capacity = (size_t)need + MAP_SLACK;
        void *map = mmap(NULL, capacity, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (map == MAP_FAILED)
            return NULL;
        if (i->live.capacity != 0)
            memcpy(map, i->live.data, i->size < i->live.capacity ? i->size : i->live.capacity);
        live_free(i);
        i->live = (struct store){map, capacity};
        i->live_mapped = true;
    } else if (need > i->live.capacity) {
        return NULL;
    }
    i->maps++;
    if (round_up(len, PAGE) > i->map_bytes)
        i->map_bytes = (size_t)round_up(len, PAGE);
    return i->live.data;
}

void inode_unmap(struct inode *i)
{
    check_mapped(i);
    i->maps--;
}

void disk_freeze(struct disk *d)
{
    for (struct inode *i = d->inodes; i != NULL; i = i->next) {
        struct orphan *o;

        if (i->maps == 0)
            continue;
        check_mapped(i);
        o = must(malloc(sizeof(*o)));
        *o = (struct orphan){d->orphans, i->live.data, i->live.capacity};
        d->orphans = o;
        live_to_heap(i);
    }
}

/* ---- damage ---- */

void inode_damage(struct inode *i, uint64_t at, uint8_t flip)
{
    live_grow(i, at + 1);
    i->live.data[at] ^= flip;
    if (at < i->disk_size) {
        store_grow(&i->disk, at + 1);
        i->disk.data[at] ^= flip;
    }
}

void inode_cut(struct inode *i, uint64_t bytes)
{
    inode_truncate(i, bytes);
    if (bytes < i->disk_size && bytes < i->disk.capacity)
        memset(i->disk.data + bytes, 0, i->disk.capacity - bytes);
    i->disk_size = i->disk_size < bytes ? i->disk_size : bytes;
    i->older.count = 0;
}

/* ---- names ---- */

static struct name *names_find(struct names *t, const char *name)
{
    for (size_t k = 0; k < t->count; k++)
        if (strcmp(t->at[k].name, name) == 0)
            return &t->at[k];
    return NULL;
}

static void name_let_go(struct disk *d, struct name *n, bool live)
{
    if (live)
        n->inode->uses--;
    inode_unref(d, n->inode);
}

/* `live` says whether the names count as uses of the space. */
static void names_apply(struct disk *d, struct names *t, const char *gone, const char *come,
                        struct inode *inode, bool live)
{
    struct name *n;

    if (come[0] != '\0') {
        inode->refs++;
        inode->uses += live;
        n = names_find(t, come);
        if (n != NULL) {
            name_let_go(d, n, live);
        } else {
            if (t->count == t->capacity) {
                t->capacity = t->capacity ? t->capacity * 2 : 8;
                t->at = must(realloc(t->at, t->capacity * sizeof(t->at[0])));
            }
            n = &t->at[t->count++];
            (void)snprintf(n->name, sizeof(n->name), "%s", come);
        }
        n->inode = inode;
    }
    if (gone[0] != '\0' && (n = names_find(t, gone)) != NULL) {
        name_let_go(d, n, live);
        *n = t->at[--t->count];
    }
}

struct node *disk_node(struct disk *d, const char *path)
{
    struct node *n = d->nodes;

    while (n != NULL && strcmp(n->path, path) != 0)
        n = n->next;
    return n;
}

struct node *disk_make_node(struct disk *d, const char *path)
{
    struct node *n = must(calloc(1, sizeof(*n)));

    n->path = must(strdup(path));
    n->next = d->nodes;
    d->nodes = n;
    return n;
}

struct inode *node_inode(struct node *n, const char *name)
{
    struct name *found = names_find(&n->live, name);

    return found == NULL ? NULL : found->inode;
}

static void remember_change(struct node *n, const char *gone, const char *come, struct inode *inode)
{
    struct change *c;

    if (n->pending_count == n->pending_capacity) {
        n->pending_capacity = n->pending_capacity ? n->pending_capacity * 2 : 8;
        n->pending = must(realloc(n->pending, n->pending_capacity * sizeof(n->pending[0])));
    }
    c = &n->pending[n->pending_count++];
    (void)snprintf(c->gone, sizeof(c->gone), "%s", gone);
    (void)snprintf(c->come, sizeof(c->come), "%s", come);
    c->inode = inode;
    if (inode != NULL)
        inode->refs++;
}

void node_change(struct disk *d, struct node *n, const char *gone, const char *come,
                 struct inode *inode)
{
    remember_change(n, gone, come, inode);
    names_apply(d, &n->live, gone, come, inode, true);
}

void node_drop_pending(struct disk *d, struct node *n)
{
    for (size_t k = 0; k < n->pending_count; k++)
        inode_unref(d, n->pending[k].inode);
    n->pending_count = 0;
}

void node_sync(struct disk *d, struct node *n)
{
    for (size_t k = 0; k < n->pending_count; k++)
        names_apply(d, &n->durable, n->pending[k].gone, n->pending[k].come, n->pending[k].inode,
                    false);
    node_drop_pending(d, n);
}

/* ---- the crash ---- */

static uint64_t random_below(struct disk *d, uint64_t n)
{
    return disk_random(d) % n;
}

/* One of the contents that sector `s` had since it was last synced. */
static const uint8_t *random_content(struct disk *to, const struct inode *i, uint64_t s)
{
    const uint8_t *pick = i->live.data + s * SIM_SECTOR_BYTES;
    uint64_t seen = 1;

    for (size_t k = 0; k < i->older.count; k++)
        if (i->older.at[k].sector == s && random_below(to, ++seen) == 0)
            pick = i->older.at[k].bytes;
    return pick;
}

static uint64_t random_size(struct disk *to, const struct inode *i)
{
    uint64_t low = i->size < i->disk_size ? i->size : i->disk_size;
    uint64_t high = i->size < i->disk_size ? i->disk_size : i->size;

    switch (low == high ? 0 : random_below(to, 4)) {
    case 0:
        return i->disk_size;
    case 1:
        return low + random_below(to, high - low + 1);
    default:
        return i->size;
    }
}

/* What a power cut leaves of the bytes of `i`, into `twin`. How many of the unsynced sectors
 * reached the disk is drawn once per file, so that nearly none and nearly all are common too. */
static void surviving_bytes(struct disk *to, struct inode *i, struct inode *twin, bool some)
{
    static const unsigned odds[] = {0, 16, 128, 240, 256};
    unsigned keep = some ? odds[random_below(to, 5)] : 0;
    uint64_t from, end;

    check_mapped(i);
    dirty_range(i, &from, &end);
    twin->disk = store_copy(&i->disk);
    for (uint64_t s = from / SIM_SECTOR_BYTES; keep != 0 && s * SIM_SECTOR_BYTES < end; s++)
        if (sector_differs(i, s) && random_below(to, 256) < keep)
            copy_words(twin->disk.data + s * SIM_SECTOR_BYTES, random_content(to, i, s),
                       SIM_SECTOR_BYTES);
    twin->disk_size = some ? random_size(to, i) : i->disk_size;
    if (twin->disk_size < twin->disk.capacity)
        memset(twin->disk.data + twin->disk_size, 0, twin->disk.capacity - twin->disk_size);
    twin->size = twin->disk_size;
    store_grow(&twin->disk, round_up(twin->size, PAGE));
    twin->live = store_copy(&twin->disk);
    /* A page has a block if it had one, or shows something. */
    store_grow(&twin->pages, twin->size / PAGE + 1);
    for (uint64_t page = 0; page * PAGE < twin->size; page++)
        twin->pages.data[page] = (page < i->pages.capacity && i->pages.data[page] != 0) ||
                                 !all_zero(twin->live.data + page * PAGE, PAGE);
}

/* After kill -9 the cache is as it was, with all that it still owes the disk. */
static void same_bytes(struct inode *i, struct inode *twin)
{
    uint64_t from, end;

    check_mapped(i);
    dirty_range(i, &from, &end);
    store_grow(&twin->live, round_up(i->size > end ? i->size : end, PAGE));
    copy_words(twin->live.data, i->live.data,
               i->live.capacity < twin->live.capacity ? i->live.capacity : twin->live.capacity);
    twin->disk = store_copy(&i->disk);
    twin->pages = store_copy(&i->pages);
    twin->older = copies_copy(&i->older);
    twin->lost = copies_copy(&i->lost);
    twin->size = i->size;
    twin->disk_size = i->disk_size;
    twin->dirty_from = from;
    twin->dirty_to = end;
}

static struct inode *twin_of(struct disk *to, struct inode *i, enum sim_crash_mode mode)
{
    if (i == NULL || i->twin != NULL)
        return i == NULL ? NULL : i->twin;
    i->twin = inode_new(to);
    i->twin->refs++; /* disk_crash()'s: a name that goes again may be the last in its directory */
    if (mode == SIM_KEEP_ALL)
        same_bytes(i, i->twin);
    else
        surviving_bytes(to, i, i->twin, mode == SIM_RANDOM);
    return i->twin;
}

static void surviving_names(struct disk *to, const struct node *from, struct node *twin,
                            enum sim_crash_mode mode)
{
    bool prefix = disk_random(to) & 1;
    size_t made = (size_t)random_below(to, from->pending_count + 1);

    for (size_t k = 0; k < from->durable.count; k++)
        node_change(to, twin, "", from->durable.at[k].name,
                    twin_of(to, from->durable.at[k].inode, mode));
    node_sync(to, twin);
    for (size_t k = 0; k < from->pending_count && mode != SIM_DROP_ALL; k++) {
        const struct change *c = &from->pending[k];

        if (mode == SIM_KEEP_ALL || (prefix ? k < made : (disk_random(to) & 1) != 0))
            node_change(to, twin, c->gone, c->come, twin_of(to, c->inode, mode));
    }
    if (mode == SIM_RANDOM)
        node_sync(to, twin);
}

void disk_crash(struct disk *to, struct disk *from, enum sim_crash_mode mode)
{
    for (struct inode *i = from->inodes; i != NULL; i = i->next)
        i->twin = NULL;
    for (struct node *n = from->nodes; n != NULL; n = n->next)
        surviving_names(to, n, disk_make_node(to, n->path), mode);
    for (struct inode *i = from->inodes; i != NULL; i = i->next) {
        if (i->twin != NULL)
            inode_unref(to, i->twin);
        i->twin = NULL;
    }
    to->space_total = from->space_total;
}

void disk_done(struct disk *d)
{
    for (struct node *n = d->nodes, *next; n != NULL; n = next) {
        next = n->next;
        free(n->live.at);
        free(n->durable.at);
        free(n->pending);
        free(n->path);
        free(n);
    }
    for (struct inode *i = d->inodes, *next; i != NULL; i = next) {
        next = i->next;
        inode_free(i);
    }
    for (struct orphan *o = d->orphans, *next; o != NULL; o = next) {
        next = o->next;
        (void)munmap(o->data, o->bytes);
        free(o);
    }
}
