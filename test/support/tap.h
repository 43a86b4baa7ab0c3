/* tap.h - the small harness of quern's tests: each TEST names a promise; the program prints TAP.
 *
 *     TEST(wal_replay_keeps_what_precedes_a_torn_tail)
 *     {
 *         CHECK_EQ(replayed, 2);
 *     }
 *
 * A failed CHECK prints its place and values, marks the test failed and returns from the test (the
 * function it stands in must return void; in helpers that return something, use EXPECT, which
 * goes on). `program [-l] [PART]...` runs the tests whose name contains a PART. */
#ifndef TEST_TAP_H
#define TEST_TAP_H

#include <quern/types.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>

struct tap_test {
    const char *name;
    void (*body)(void);
    struct tap_test *next;
};
void tap_register(struct tap_test *t);
void tap_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A line of diagnosis, shown with the TAP output: seeds, figures. */
void tap_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A fresh directory for the running test, removed with all in it when the test ends. The string
 * lives as long. Several calls make several directories. */
const char *tap_dir(void);

/* A random generator with a seed that is printed when the test fails: xorshift, never 0. The seed
 * is taken from TEST_SEED in the environment if set. */
uint64_t tap_seed(void);
static inline uint64_t tap_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#define TEST(test_name)                                                                            \
    static void test_name(void);                                                                   \
    static struct tap_test tap_##test_name = {#test_name, test_name, 0};                           \
    __attribute__((constructor)) static void tap_add_##test_name(void)                             \
    {                                                                                              \
        tap_register(&tap_##test_name);                                                            \
    }                                                                                              \
    static void test_name(void)

#define EXPECT(cond) ((cond) ? true : (tap_fail(__FILE__, __LINE__, "%s", #cond), false))
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!EXPECT(cond))                                                                         \
            return;                                                                                \
    } while (0)
#define CHECK_EQ(got, want)                                                                        \
    do {                                                                                           \
        long long got_ = (long long)(got), want_ = (long long)(want);                              \
        if (got_ != want_) {                                                                       \
            tap_fail(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);               \
            return;                                                                                \
        }                                                                                          \
    } while (0)
/* `call` returns an enum quern_code and was given `err_ptr`. */
#define CHECK_OK(call, err_ptr)                                                                    \
    do {                                                                                           \
        enum quern_code code_ = (call);                                                            \
        if (code_ != QUERN_OK) {                                                                   \
            tap_fail(__FILE__, __LINE__, "%s: code %d: %s", #call, (int)code_, (err_ptr)->text);   \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define CHECK_CODE(call, want)                                                                     \
    do {                                                                                           \
        enum quern_code code_ = (call);                                                            \
        if (code_ != (want)) {                                                                     \
            tap_fail(__FILE__, __LINE__, "%s: code %d, not %d", #call, (int)code_, (int)(want));   \
            return;                                                                                \
        }                                                                                          \
    } while (0)
#define CHECK_BYTES(slice, text)                                                                   \
    do {                                                                                           \
        struct quern_slice s_ = (slice);                                                           \
        if (!tap_bytes_are(s_, (text))) {                                                          \
            tap_fail(__FILE__, __LINE__, "%s is '%.*s', not '%s'", #slice, (int)s_.len,            \
                     s_.len ? (const char *)s_.data : "", (text));                                 \
            return;                                                                                \
        }                                                                                          \
    } while (0)
bool tap_bytes_are(struct quern_slice s, const char *text);

#endif
