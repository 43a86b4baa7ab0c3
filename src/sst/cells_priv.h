/* cells_priv.h - memory of one size in huge pages, for the frames of usual blocks; see sst_cells.c.
 */
#ifndef SST_CELLS_PRIV_H
#define SST_CELLS_PRIV_H

#include "base/thread.h"

#include <stdatomic.h>

/* A frame with a block of the default size, sealed. */
#define CELL_BYTES 4224u
#define CHUNK_BYTES (UINT32_C(2) << 20)

struct chunk;

struct cells {
    struct mutex mu;
    struct chunk *open;          /* guarded by mu: those with free cells that are not leaving */
    bool begun;                  /* guarded by mu: there was a chunk already */
    _Atomic uint64_t idle_bytes; /* of cells that are free, but for those of leaving chunks */
};

void cells_init(struct cells *c);
void cells_done(struct cells *c); /* every cell was given back */

/* A cell whose first `clear` bytes are zero, at a multiple of 64; NULL: none is free, and there
 * shall be no new chunk, or no memory for one. */
void *cells_take(struct cells *c, size_t clear, bool may_grow);
void cells_give(struct cells *c, void *cell);

/* Choose the chunk that has the fewest cells in use, if all of these fit elsewhere. No cell of it
 * is taken any more, and its memory goes back with the last one given. NULL: there is none. */
struct chunk *cells_leave(struct cells *c);
bool cell_leaves(const void *cell); /* its chunk was chosen */
/* The cells in use: call with *at = 0 at first; NULL: no more. */
void *chunk_next(struct cells *c, struct chunk *k, uint32_t *at);
void chunk_left(struct cells *c, struct chunk *k); /* the caller is through with it */

#endif
