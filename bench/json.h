/* json.h - text as JSON. */
#ifndef BENCH_JSON_H
#define BENCH_JSON_H

#include <stdio.h>

/* Write `text` as a JSON string, quotes included. */
void json_string(FILE *json, const char *text);

#endif
