/* import.h - a body of many lines that is taken as it comes.
 *
 *     import_take() -> filling --import_turn()--> a thread aside: lines -> batch -> the store -> letter
 *                        |  full: the socket is not read                                     |
 *                        '-------------------------<-----------------------------------------'
 *
 * All but the work is of the connection's loop. Memory: 256 KiB that wait, as much with the thread,
 * the longest line there may be, and a batch. */
#ifndef SERVER_IMPORT_H
#define SERVER_IMPORT_H

#include "server/conn.h"

struct import;

/* Begin to take the body of the request at hand. False: no memory. */
bool import_begin(struct conn *c);
bool import_has_room(const struct import *im);
bool import_take(struct import *im, struct quern_slice piece); /* false: no memory */
void import_end(struct import *im);                            /* the body has ended */
/* Of lines that wait. */
size_t import_bytes(const struct import *im);
/* There is no memory for what it waits for: it ends here, unless it is busy. */
void import_give_up(struct import *im);
bool import_ended(const struct import *im);

/* Hand what waits to a thread aside, if none has some already. True: all is done, or it went wrong, and
 * the import is to be answered (import_answer). */
bool import_turn(struct conn *c);
/* Answer and end it. What is left of the body is not wanted: then the connection ends. */
void import_answer(struct conn *c);
void import_close(struct conn *c); /* the connection is closed; without an import nothing happens */

#endif
