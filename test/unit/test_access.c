/* test_access.c - promises of src/access/: which lines are tokens, whose token it is, which keys and
 * ranges a prefix lets through. */
#include "access/access.h"

#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define S(s) ((struct quern_slice){(s), sizeof(s) - 1})

static struct access *list_of(const char *text, struct quern_error *err)
{
    struct access *a = NULL;

    return access_read(QUERN_STR(text), &a, err) == QUERN_OK ? a : NULL;
}

/* A line that is not understood as a whole gives nothing: no right follows from half of it. */
TEST(access_a_bad_line_refuses_the_file)
{
    static const struct {
        const char *text;
        const char *why;
    } bad[] = {
        {"a", "line 1: behind the name"},
        {"a sha256:00 read", "line 1: behind the name"},
        {"a md5:" HASH " read", "line 1: behind the name"},
        {"a sha256:" HASH "0 read", "line 1: behind the name"},
        {"a sha256:" HASH, "line 1: behind the hash"},
        {"a sha256:" HASH " ", "line 1: behind the hash"},
        {"a sha256:" HASH " reads", "line 1: behind the hash"},
        {"a sha256:" HASH " read,", "line 1: behind the hash"},
        {"a sha256:" HASH " read, write", "line 1: behind the hash"},
        {"a sha256:" HASH " READ", "line 1: behind the hash"},
        {"a sha256:" HASH " read prefix=x", "behind the scopes may stand"},
        {"a sha256:" HASH " read OFF", "behind the scopes may stand"},
        {"a sha256:" HASH " read prefixes=", "a prefix is not empty"},
        {"a sha256:" HASH " read prefixes=x,,y", "a prefix is not empty"},
        {"a sha256:" HASH " read prefixes=x,", "a prefix is not empty"},
        {"a sha256:" HASH " read prefixes=%4", "a prefix is not empty"},
        {"a sha256:" HASH " read prefixes=x prefixes=y", "twice"},
        {"a sha256:" HASH " read expires=soon", "expires= is a time"},
        {"a sha256:" HASH " read expires=2027-01-01x", "expires= is a time"},
        {"a sha256:" HASH " read expires=2027-01-01 expires=2028-01-01", "twice"},
        {"a sha256:" HASH " read prefixes=1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,g,h", "at most 16"},
        {"#\n\n a\xc3 sha256:" HASH " read", "line 3: a name"},
        {"a sha256:" HASH " read\nb sha256:" HASH " read", "line 2: another name has the same"},
        {"a sha256:" HASH " read\na sha256:1" HASH " read", "line 2: that name"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct quern_error err;

        CHECK(list_of(bad[i].text, &err) == NULL);
        if (strstr(err.text, bad[i].why) == NULL)
            printf("# %s: %s\n", bad[i].text, err.text);
        CHECK(strstr(err.text, bad[i].why) != NULL);
    }
}

/* What a line says is what the user may, and it is written as it was read. */
TEST(access_a_line_is_read_and_written)
{
    static const char text[] =
        "  # nothing\n\nb.b_B-9\tsha256:" HASH
        "  write,read   expires=2027-01-31T12:00:01Z off prefixes=a%2C%00,b\r\n";
    struct quern_error err;
    struct access *a OWNED(access_unref) = list_of(text, &err);
    struct buf line OWNED_BUF = {0};
    const struct access_user *u;

    CHECK_EQ(access_count(a), 1u);
    u = access_named(a, S("b.b_B-9"));
    CHECK(u == access_at(a, 0));
    CHECK(access_named(a, S("b")) == NULL);
    CHECK_EQ(u->scopes, (unsigned)(ACCESS_READ | ACCESS_WRITE));
    CHECK_EQ(u->expires_at, INT64_C(1801396801));
    CHECK(u->off);
    CHECK_EQ(u->prefix_count, 2u);
    CHECK(u->prefixes[0].len == 3 && memcmp(u->prefixes[0].data, "a,\0", 3) == 0);
    CHECK(access_line(u, &line, &err) == QUERN_OK && buf_append(&line, "", 1, &err) == QUERN_OK);
    CHECK(strcmp((const char *)line.data, "b.b_B-9 sha256:" HASH " read,write prefixes=a%2C%00,b "
                                          "expires=2027-01-31T12:00:01Z off\n") == 0);
}

/* A token is its holder's up to the second it expires, and nobody else's. */
TEST(access_a_token_is_found_by_its_hash)
{
    /* sha256 of "abc", as FIPS 180-4 has it. */
    static const char text[] =
        "x sha256:" HASH " admin\n"
        "abc sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad read "
        "expires=1970-01-02\n";
    struct quern_error err;
    struct access *a OWNED(access_unref) = list_of(text, &err);

    CHECK(access_of_token(a, S("abc"), 86399) == access_at(a, 1));
    CHECK(access_of_token(a, S("abc"), 86400) == NULL);
    CHECK(access_of_token(a, S("ab"), 0) == NULL);
    CHECK(access_of_token(a, S("abcd"), 0) == NULL);
    CHECK(access_of_token(a, S(""), 0) == NULL);
    CHECK(access_of_token(NULL, S("abc"), 0) == NULL);
}

/* Made tokens are 256 bits that differ, in letters that need no quoting anywhere. */
TEST(access_made_tokens_differ)
{
    char one[ACCESS_TOKEN_BYTES + 1], two[ACCESS_TOKEN_BYTES + 1];
    struct quern_error err;

    CHECK(access_make_token(one, &err) == QUERN_OK && access_make_token(two, &err) == QUERN_OK);
    CHECK_EQ(strlen(one), (size_t)ACCESS_TOKEN_BYTES);
    CHECK_EQ(strspn(one + 6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
             (size_t)ACCESS_TOKEN_BYTES - 6);
    CHECK(memcmp(one, "quern_", 6) == 0 && strcmp(one, two) != 0);
}

/* A range is allowed if and only if every key in it is: tried on all keys of up to three letters of
 * a small alphabet. */
TEST(access_a_range_is_allowed_when_all_its_keys_are)
{
    static const uint8_t letters[] = {0x00, 'a', 'b', 0xfe, 0xff};
    static const char text[] = "u sha256:" HASH " read prefixes=a,b%FF,%FF";
    struct quern_error err;
    struct access *a OWNED(access_unref) = list_of(text, &err);
    const struct access_user *u = access_at(a, 0);
    static uint8_t keys[1 + 5 + 25 + 125][3];
    static size_t lens[1 + 5 + 25 + 125];
    size_t n = 0, allowed = 0, wrong = 0;

    /* In byte order: a word, then all that begin with it. */
    n = 1; /* the empty word */
    for (int i = 0; i < 5; i++) {
        keys[n][0] = letters[i];
        lens[n++] = 1;
        for (int j = 0; j < 5; j++) {
            keys[n][0] = letters[i];
            keys[n][1] = letters[j];
            lens[n++] = 2;
            for (int k = 0; k < 5; k++) {
                memcpy(keys[n], (uint8_t[]){letters[i], letters[j], letters[k]}, 3);
                lens[n++] = 3;
            }
        }
    }
    for (size_t from = 0; from < n; from++) {
        for (size_t to = 0; to < n; to++) {
            bool all = to > 0; /* an empty end is the end of all keys */

            for (size_t k = from; k < to; k++)
                all &= access_reaches(u, (struct quern_slice){keys[k], lens[k]});
            if (access_reaches_range(u, (struct quern_slice){keys[from], lens[from]},
                                     (struct quern_slice){keys[to], lens[to]})) {
                allowed++;
                wrong += !all; /* the reverse need not hold: a range over two prefixes is refused */
            }
        }
    }
    CHECK_EQ(wrong, 0u);
    CHECK(allowed > 300);
    CHECK(access_reaches_range(u, S("a"), S("b")));
    CHECK(access_reaches_range(u, S("b\xff"), S("c")));
    CHECK(!access_reaches_range(u, S("\xff"), S("")));
    CHECK(!access_reaches_range(u, S("a"), S("b\0")));
    CHECK(!access_reaches_range(u, S(""), S("a")));
    CHECK(access_reaches(u, S("b\xff")) && access_reaches(u, S("b\xff\x01")));
    CHECK(!access_reaches(u, S("b\xfe\xff")) && !access_reaches(u, S("b")) &&
          !access_reaches(u, S("")));
    CHECK(access_reaches_prefix(u, S("ab")) && !access_reaches_prefix(u, S("b")));
}

/* A file is replaced whole and keeps who may read it; what others may read is not taken. */
TEST(access_files_are_for_their_owner)
{
    char path[] = "/tmp/quern-access-XXXXXX";
    int fd = mkstemp(path);
    struct buf text OWNED_BUF = {0};
    struct access_stamp before, after;
    struct quern_error err;
    struct stat st;

    CHECK(fd >= 0 && close(fd) == 0);
    CHECK(access_load(path, &text, &before, &err) == QUERN_OK && text.len == 0);
    CHECK(chmod(path, 0640) == 0);
    CHECK(access_store(path, S("hello"), &err) == QUERN_OK);
    CHECK(access_load(path, &text, &after, &err) == QUERN_OK);
    CHECK(text.len == 5 && after.size == 5 && after.number != before.number);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777u) == 0640);
    CHECK(chmod(path, 0644) == 0 && access_load(path, &text, NULL, &err) == QUERN_DENIED);
    CHECK(chmod(path, 0660) == 0 && access_load(path, &text, NULL, &err) == QUERN_DENIED);
    CHECK(unlink(path) == 0 && access_load(path, &text, NULL, &err) == QUERN_NO_STORE);
    CHECK(access_store("/nonexistent/tokens", S(""), &err) == QUERN_NO_STORE);
}
