/* mem_tree.c - the way from the root to a leaf, for readers and for the writer, and growth.
 *
 * Inner slot i has a key that the first entry of child i + 1 had when that child was made; the
 * child has it still, because entries never leave. So a leaf reached by going left of every key
 * that is not below K holds a key below K, unless it is the very first leaf: a cursor that goes
 * backwards needs one descent and never a left neighbour.
 *
 * Readers couple: they take the version of a child, then check that the parent had not changed
 * when they did. The writer opens every node that a split will change, from the leaf to the
 * first ancestor with room, before it changes any:
 *     parent unchanged after the child's version was read
 *         => the child was not yet split, or is split but odd
 *         => it covers the key, or a later check of its version fails.
 * The root has no parent; the word `root` takes its part, stored while the old root is odd.
 *
 * Nodes split in halves; but the last leaf, when a key goes to its very end, stays full and a new
 * one begins: rising keys fill nodes wholly. Nodes are never merged, moved or freed. */
#include "mem/mem_priv.h"

#include "base/error.h"

struct path {
    struct node *node[TREE_LEVELS_MAX]; /* by level: 0 is the leaf */
    uint32_t at[TREE_LEVELS_MAX];       /* the slot in a leaf, the number of the child above */
    uint32_t levels;
};

/* ---- readers ---- */

static uint32_t child_number(const struct mem *m, const struct node *n, enum descent how,
                             struct quern_slice key)
{
    bool found;
    uint32_t at;

    if (how == TO_FIRST)
        return 0;
    if (how == TO_LAST)
        return shape_count(LOAD(n->shape));
    at = node_find(m, n, key, &found);
    return how == TO_KEY && found ? at + 1 : at;
}

/* One attempt; NULL when the writer got in between. */
static struct node *descend_once(const struct mem *m, enum descent how, struct quern_slice key,
                                 uint64_t *version)
{
    arena_ref ref = LOAD(m->root);
    struct node *n = mem_node(m, ref);

    *version = node_begin(n);
    if (LOAD(m->root) != ref)
        return NULL;
    while (shape_level(LOAD(n->shape)) > 0) {
        struct node *child = mem_node(m, node_child(n, child_number(m, n, how, key)));
        uint64_t child_version;

        node_prefetch(child);
        child_version = node_begin(child);
        if (!node_unchanged(n, *version))
            return NULL;
        n = child;
        *version = child_version;
    }
    return n;
}

struct node *tree_descend(const struct mem *m, enum descent how, struct quern_slice key,
                          uint64_t *version)
{
    struct node *leaf;

    while ((leaf = descend_once(m, how, key, version)) == NULL)
        continue;
    return leaf;
}

/* ---- the writer ---- */

static struct node *node_new(struct mem *m, uint32_t level)
{
    uint64_t bytes = level == 0 ? LEAF_BYTES : INNER_BYTES;
    struct node *n;

    ensure(m->nodes_begin - m->entries_end >= bytes); /* mem_fits() was asked */
    m->nodes_begin -= bytes;
    COUNTER_SET(m->node_bytes, COUNTER(m->node_bytes) + bytes);
    n = (struct node *)(void *)(m->base + m->nodes_begin); /* zeros until now, or */
    if (m->used_before)
        memset((void *)n, 0, bytes);
    STORE(n->shape, shape_of(level, 0, 0));
    return n;
}

void tree_init(struct mem *m)
{
    m->last_leaf = node_new(m, 0);
    STORE(m->root, mem_node_ref(m, m->last_leaf));
}

static void path_to(const struct mem *m, struct quern_slice key, struct path *path, bool *found)
{
    struct node *n = mem_node(m, COUNTER(m->root));
    uint32_t level = shape_level(COUNTER(n->shape));

    path->levels = level + 1;
    for (; level > 0; level--) {
        path->node[level] = n;
        path->at[level] = child_number(m, n, TO_KEY, key);
        n = mem_node(m, node_child(n, path->at[level]));
        node_prefetch(n);
    }
    path->node[0] = n;
    path->at[0] = node_find(m, n, key, found);
}

/* The leaf of the last insert is right for a key between its first and last, and the last leaf of
 * all for every key above its first. */
static bool path_by_hint(const struct mem *m, struct quern_slice key, struct path *path,
                         bool *found)
{
    struct node *leaf = m->last_leaf;
    uint32_t count = shape_count(COUNTER(leaf->shape));

    path->levels = 1; /* enough: a full leaf is not taken from here */
    path->node[0] = leaf;
    path->at[0] = node_find(m, leaf, key, found);
    if (*found)
        return true;
    return count < NODE_SLOTS && path->at[0] > 0 &&
           (path->at[0] < count || COUNTER(leaf->link) == 0);
}

/* Make two leaves of a full one and put the key into one of them; *right is the new one. */
static struct node *leaf_split(struct mem *m, struct node *leaf, uint32_t at,
                               struct quern_slice key, arena_ref ref, struct node **right)
{
    bool append = at == NODE_SLOTS && COUNTER(leaf->link) == 0;
    struct node *into;

    *right = node_new(m, 0);
    if (!append)
        node_split(m, leaf, NODE_HALF, *right);
    into = append || at > NODE_HALF ? *right : leaf;
    if (append)
        at = 0;
    else if (into == *right)
        at -= NODE_HALF;
    node_insert(into, at, key, ref, 0);
    STORE((*right)->link, COUNTER(leaf->link));
    STORE(leaf->link, mem_node_ref(m, *right));
    return into;
}

/* Make two of a full inner node and put (*sep, child) into one of them. On return *sep is the key
 * that stands between them, one level up. */
static struct node *inner_split(struct mem *m, struct node *n, uint32_t at, arena_ref *sep,
                                arena_ref child, bool append)
{
    struct quern_slice key = mem_entry_key(mem_entry(m, *sep));
    uint32_t level = shape_level(COUNTER(n->shape)), shape;
    struct node *right = node_new(m, level);
    arena_ref up;

    if (append) {
        STORE(right->link, child);
        return right;
    }
    up = COUNTER(n->refs[NODE_HALF]);
    STORE(right->link, COUNTER(n->children[NODE_HALF]));
    node_split(m, n, NODE_HALF + 1, right);
    shape = COUNTER(n->shape);
    STORE(n->shape, shape_of(level, shape_prefix_len(shape), NODE_HALF));
    if (at <= NODE_HALF)
        node_insert(n, at, key, *sep, child);
    else
        node_insert(right, at - NODE_HALF - 1, key, *sep, child);
    *sep = up;
    return right;
}

/* The old root is odd: readers that come from it too early will notice. */
static void root_grow(struct mem *m, struct node *old, arena_ref sep, arena_ref child)
{
    uint32_t level = shape_level(COUNTER(old->shape)) + 1;
    struct node *root;

    ensure(level < TREE_LEVELS_MAX);
    root = node_new(m, level);
    STORE(root->link, mem_node_ref(m, old));
    node_insert(root, 0, mem_entry_key(mem_entry(m, sep)), sep, child);
    STORE(m->root, mem_node_ref(m, root));
}

/* Insert into a full leaf. */
static void tree_grow(struct mem *m, struct path *path, struct quern_slice key, arena_ref ref)
{
    bool append = path->at[0] == NODE_SLOTS && COUNTER(path->node[0]->link) == 0;
    uint32_t opened = 0, level = 1;
    struct node *right;
    arena_ref sep, child;

    while (opened < path->levels) {
        struct node *n = path->node[opened++];

        node_open(n);
        if (shape_count(COUNTER(n->shape)) < NODE_SLOTS)
            break;
    }
    m->last_leaf = leaf_split(m, path->node[0], path->at[0], key, ref, &right);
    sep = COUNTER(right->refs[0]);
    child = mem_node_ref(m, right);
    for (; level < opened; level++) {
        struct node *n = path->node[level];

        if (shape_count(COUNTER(n->shape)) < NODE_SLOTS) {
            node_insert(n, path->at[level], mem_entry_key(mem_entry(m, sep)), sep, child);
            break;
        }
        right = inner_split(m, n, path->at[level], &sep, child, append);
        child = mem_node_ref(m, right);
    }
    if (level == path->levels)
        root_grow(m, path->node[level - 1], sep, child);
    while (opened > 0)
        node_close(path->node[--opened]);
}

void tree_insert(struct mem *m, arena_ref ref)
{
    struct mem_entry *e = mem_entry(m, ref);
    struct quern_slice key = mem_entry_key(e);
    struct path path;
    struct node *leaf;
    bool found;

    if (!path_by_hint(m, key, &path, &found))
        path_to(m, key, &path, &found);
    leaf = path.node[0];
    if (found) { /* the one change that readers need not notice: old or new, both are right */
        e->older = COUNTER(leaf->refs[path.at[0]]);
        STORE(leaf->refs[path.at[0]], ref);
        return;
    }
    COUNTER_SET(m->key_count, COUNTER(m->key_count) + 1);
    if (shape_count(COUNTER(leaf->shape)) == NODE_SLOTS) {
        tree_grow(m, &path, key, ref);
        return;
    }
    node_open(leaf);
    node_insert(leaf, path.at[0], key, ref, 0);
    node_close(leaf);
    m->last_leaf = leaf;
}
