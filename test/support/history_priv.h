/* history_priv.h - what the two halves of history.h share: names, places and bytes of its entries. */
#ifndef TEST_HISTORY_PRIV_H
#define TEST_HISTORY_PRIV_H

#include "history.h"

#define HISTORY_PARTS 3u /* databases */
#define HISTORY_PART (HISTORY_KEYS / HISTORY_PARTS)
#define HISTORY_VALUE_MAX 40000

struct quern_slice history_key(unsigned key);
uint8_t history_database(unsigned key);
/* The value of write n under a key: its number, then bytes that follow from both. */
struct quern_slice history_value(uint8_t *room, unsigned n, unsigned key, size_t len);

#endif
