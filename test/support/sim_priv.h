/* sim_priv.h - the disk under the simulated world: files, directories, what a crash makes of them.
 *
 * sim_disk.c knows bytes and names and nothing of calls, faults or handles; sim.c is the other
 * half. All of it runs under the sim's mutex. */
#ifndef TEST_SIM_PRIV_H
#define TEST_SIM_PRIV_H

#include "sim.h"

#define PAGE 4096u

/* Bytes that read as zero beyond what was ever put there. */
struct store {
    uint8_t *data;
    size_t capacity;
};

struct sector_copy {
    uint64_t sector;
    uint8_t bytes[SIM_SECTOR_BYTES];
};

struct copies {
    struct sector_copy *at;
    size_t count, capacity;
};

struct inode {
    struct inode *next;
    struct inode *twin; /* its copy, while a crash copies the disk */
    unsigned refs;      /* names, durable names, pending changes, handles */
    unsigned uses;      /* live names and handles only: the file takes space while there are any */
    bool locked;
    struct store live; /* what reads and mappings show */
    bool live_mapped;  /* live is pages of its own, not heap */
    struct store disk; /* what a power cut leaves */
    uint64_t size, disk_size;
    uint64_t dirty_from, dirty_to; /* live may differ from disk here, or where mapped */
    struct copies older; /* contents between disk and live that may have reached the disk */
    struct copies lost;  /* given up by a failed sync: while live looks like this, it is "clean" */
    struct store pages;  /* one byte per page: was written, so its block is allocated */
    unsigned maps;
    size_t map_bytes; /* length mapped at some time since the last sync */
};

struct name {
    char name[OS_NAME_BYTES_MAX];
    struct inode *inode;
};

struct names {
    struct name *at;
    size_t count, capacity;
};

/* One change of names, atomic: `gone` goes, `come` comes; either may be empty. */
struct change {
    char gone[OS_NAME_BYTES_MAX], come[OS_NAME_BYTES_MAX];
    struct inode *inode; /* what `come` names */
};

struct node {
    struct node *next;
    char *path;
    struct names live, durable;
    struct change *pending; /* in order; durable plus all of these is live */
    size_t pending_count, pending_capacity;
};

struct orphan {
    struct orphan *next;
    void *data; /* a mapping that outlived the power */
    size_t bytes;
};

struct disk {
    struct inode *inodes;
    struct node *nodes;
    struct orphan *orphans;
    uint64_t space_total; /* in bytes; UINT64_MAX: endless */
    uint64_t random;
};

void *must(void *p); /* ends the program when p is NULL */
uint64_t disk_random(struct disk *d);

struct node *disk_node(struct disk *d, const char *path); /* NULL: none of this path */
struct node *disk_make_node(struct disk *d, const char *path);
struct inode *node_inode(struct node *n, const char *name);
/* Change the live names and remember that the directory is not synced. */
void node_change(struct disk *d, struct node *n, const char *gone, const char *come,
                 struct inode *inode);
void node_sync(struct disk *d, struct node *n);
void node_drop_pending(struct disk *d, struct node *n); /* live, and never durable */

struct inode *inode_new(struct disk *d);
void inode_use(struct inode *i); /* one more handle */
void inode_unuse(struct disk *d, struct inode *i);
void inode_read(const struct inode *i, void *to, size_t len, uint64_t at);
void inode_read_disk(const struct inode *i, void *to, size_t len, uint64_t at);
/* How much of [at, at+len) fits the space left. */
uint64_t inode_fits(struct disk *d, const struct inode *i, uint64_t at, uint64_t len);
void inode_write(struct disk *d, struct inode *i, const void *from, size_t len, uint64_t at);
void inode_make_durable(struct inode *i, uint64_t at, uint64_t len); /* a direct write */
void inode_truncate(struct inode *i, uint64_t bytes);
void inode_sync(struct inode *i);
void inode_give_up(struct inode *i);          /* a sync failed: what is dirty is lost */
void *inode_map(struct inode *i, size_t len); /* NULL: no room beside an older mapping */
void inode_unmap(struct inode *i);
void inode_damage(struct inode *i, uint64_t at, uint8_t flip);
void inode_cut(struct inode *i, uint64_t bytes);
uint64_t disk_free_bytes(const struct disk *d);

/* From now on stores to mappings change nothing here. */
void disk_freeze(struct disk *d);
/* Fill the empty disk `to` with what a crash leaves of `from`; to->random decides. */
void disk_crash(struct disk *to, struct disk *from, enum sim_crash_mode mode);
void disk_done(struct disk *d);

#endif
