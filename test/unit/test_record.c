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

static size_t seal_brief(uint8_t *at, const char *payload, uint64_t offset, quern_seq first_seq,
                         quern_seq durable_seq)
{
    struct record r = {
        RECORD_BRIEF, first_seq, 1, durable_seq, {at + RECORD_BRIEF_HEAD_BYTES, strlen(payload)}};

    memcpy(at + RECORD_BRIEF_HEAD_BYTES, payload, strlen(payload));
    record_seal(at, &r, SALT, offset);
    return record_total(&r);
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

/* A lag that has no room is not told; nothing false is. */
TEST(record_that_is_brief_says_the_same)
{
    static const quern_seq lags[] = {0, 1, 0xfffffe, 0xffffff, 0x1000000, UINT64_C(1) << 40};

    for (size_t i = 0; i < sizeof(lags) / sizeof(lags[0]); i++) {
        quern_seq first_seq = (UINT64_C(1) << 50) + 7, durable_seq = first_seq - 1 - lags[i];
        uint8_t bytes[128];
        struct record r;
        size_t n = seal_brief(bytes, "hello", 4096, first_seq, durable_seq);

        CHECK_EQ(n, 32);
        CHECK_EQ(record_claims(bytes), 32);
        CHECK(record_read(bytes, n, SALT, 4096, &r));
        CHECK(record_is_group(&r));
        CHECK_EQ(r.first_seq, first_seq);
        CHECK_EQ(r.count, 1);
        CHECK_EQ(r.durable_seq, lags[i] < 0xffffff ? durable_seq : 0);
        CHECK_BYTES(r.payload, "hello");
    }
}

TEST(record_is_refused_elsewhere_with_another_salt_or_cut_short)
{
    for (int brief = 0; brief < 2; brief++) {
        uint8_t bytes[128];
        struct record r;
        size_t n = brief ? seal_brief(bytes, "hello", 4096, 7, 5) : seal(bytes, "hello", 4096);

        CHECK(!record_read(bytes, n, SALT, 8192, &r));
        CHECK(!record_read(bytes, n, SALT + 1, 4096, &r));
        for (size_t avail = 0; avail < n; avail++)
            CHECK(!record_read(bytes, avail, SALT, 4096, &r));
    }
}

TEST(record_every_flipped_bit_is_noticed)
{
    for (int brief = 0; brief < 2; brief++) {
        uint8_t bytes[128];
        struct record r;
        size_t n = brief ? seal_brief(bytes, "hello", 0, 7, 5) : seal(bytes, "hello", 0);
        size_t head = brief ? RECORD_BRIEF_HEAD_BYTES : RECORD_HEAD_BYTES;

        for (size_t bit = 0; bit < (head + 5) * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK(!record_read(bytes, n, SALT, 0, &r));
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
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
