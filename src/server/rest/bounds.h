/* bounds.h - those of the HTTP door that /v1/admin/limits tells, beside those of the parser
 * (http.h) and of the options. */
#ifndef SERVER_BOUNDS_H
#define SERVER_BOUNDS_H

#define BATCH_BODY_BYTES_MAX (16u << 20)
#define BATCH_RESULT_BYTES_MAX (16u << 20)
#define BATCH_STEPS_MAX 10000u
#define PAGE_ENTRIES_DEFAULT 1000
#define PAGE_ENTRIES_MAX 10000
#define PAGE_BYTES_MAX (1u << 20)
#define SCAN_MS_DEFAULT 50
#define SCAN_MS_MAX 1000
#define BODY_RATE_BYTES_PER_S 1024u

#endif
