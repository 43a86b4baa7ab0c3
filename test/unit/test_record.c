/* test_record.c - promises of src/record/. */
#include "record/record.h"
#include "tap.h"

#include <string.h>

#define SALT UINT64_C(0x1234567890abcdef)

static size_t seal(uint8_t *at, const char *payload, uint64_t offset)
{
    struct record r = {RECORD_GROUP, 7, 2, 5, {at + RECORD_HEAD_BYTES, strlen(payload)}};

    memcpy(at + RECORD_HEAD_BYTES, payload, strlen(payload));
    record_seal(at, &r, SALT, offset);
    return record_bytes(strlen(payload));
}

TEST(record_reads_back_what_was_sealed)
{
    uint8_t bytes[128];
    struct record r;
    size_t n = seal(bytes, "hello", 4096);

    CHECK_EQ(n, 48);
    CHECK(record_read(bytes, n, SALT, 4096, &r));
    CHECK_EQ(r.type, RECORD_GROUP);
    CHECK_EQ(r.first_seq, 7);
    CHECK_EQ(r.count, 2);
    CHECK_EQ(r.durable_seq, 5);
    CHECK_BYTES(r.payload, "hello");
}

TEST(record_is_refused_elsewhere_with_another_salt_or_cut_short)
{
    uint8_t bytes[128];
    struct record r;
    size_t n = seal(bytes, "hello", 4096);

    CHECK(!record_read(bytes, n, SALT, 8192, &r));
    CHECK(!record_read(bytes, n, SALT + 1, 4096, &r));
    for (size_t avail = 0; avail < n; avail++)
        CHECK(!record_read(bytes, avail, SALT, 4096, &r));
}

TEST(record_every_flipped_bit_is_noticed)
{
    uint8_t bytes[128];
    struct record r;
    size_t n = seal(bytes, "hello", 0);

    for (size_t bit = 0; bit < (RECORD_HEAD_BYTES + 5) * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        CHECK(!record_read(bytes, n, SALT, 0, &r));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

TEST(record_never_starts_where_its_head_would_cross_a_page)
{
    for (uint64_t at = 0; at < 2 * RECORD_PAGE_BYTES; at++) {
        uint64_t start = record_start(at);

        CHECK(start >= at && start % 8 == 0);
        CHECK(start % RECORD_PAGE_BYTES <= RECORD_PAGE_BYTES - RECORD_HEAD_BYTES);
    }
}
