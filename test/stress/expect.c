/* expect.c - the expected state, and what a value of a version looks like. */
#include "stress.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x7374726573733032)

static const uint8_t places[DATABASES] = {0, 1, 7, QUERN_DATABASES - 1};

static size_t file_bytes(uint32_t keys)
{
    return sizeof(struct expected) + keys * sizeof(struct cell);
}

struct expected *expected_open(const char *path, uint32_t keys, uint32_t threads)
{
    struct expected *x = MAP_FAILED;
    struct stat st = {0};
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool fresh = fd >= 0 && fstat(fd, &st) == 0 && st.st_size == 0;
    size_t bytes = fresh ? file_bytes(keys) : (size_t)st.st_size;

    if (fd >= 0 && (!fresh || ftruncate(fd, (off_t)bytes) == 0))
        x = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        (void)close(fd);
    if (x == MAP_FAILED) {
        perror(path);
        return NULL;
    }
    if (fresh) {
        x->magic = MAGIC;
        x->keys = keys;
        x->threads = threads;
        for (unsigned d = 0; d < DATABASES; d++)
            atomic_store(&x->place[d], places[d]);
    }
    if (x->magic == MAGIC && file_bytes(x->keys) == bytes)
        return x;
    (void)fprintf(stderr, "%s is no file of quern-stress\n", path);
    (void)munmap(x, bytes);
    return NULL;
}

void expected_close(struct expected *x)
{
    (void)munmap(x, file_bytes(x->keys));
}

bool failed(struct expected *x, const char *format, ...)
{
    va_list args;

    if (atomic_exchange(&x->failed, true))
        return false;
    va_start(args, format);
    (void)fputs("# quern-stress: ", stdout);
    (void)vfprintf(stdout, format, args);
    (void)fputc('\n', stdout);
    (void)fflush(stdout);
    va_end(args);
    return false;
}

/* ---- keys and values ---- */

bool is_gone(uint32_t key, uint32_t version)
{
    return version == 0 || mix(key, version) % 6 == 0;
}

bool may_expire(uint32_t key, uint32_t version)
{
    return !is_gone(key, version) && mix(key, version ^ 0x5a5a0000u) % 4 == 0;
}

uint32_t next_gone(uint32_t key, uint32_t version)
{
    do
        version++;
    while (!is_gone(key, version));
    return version;
}

uint64_t wall_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* False: it is not known any more. */
static bool expires_at(const struct expected *x, uint32_t key, uint32_t version, uint64_t *until)
{
    *until = atomic_load(&x->cell[key].until[version % 2]);
    return atomic_load(&x->cell[key].next) < version + 2;
}

enum life lives(const struct expected *x, uint32_t key, uint32_t version, struct moment at)
{
    uint64_t until;

    if (!may_expire(key, version))
        return is_gone(key, version) ? LIFE_NO : LIFE_YES;
    if (!expires_at(x, key, version, &until))
        return LIFE_UNKNOWN;
    return until <= at.from ? LIFE_NO : until > at.to ? LIFE_YES : LIFE_UNKNOWN;
}

struct quern_slice key_text(const struct expected *x, char room[16], uint32_t key)
{
    uint32_t name = key % database_keys(x);

    return (struct quern_slice){room, (size_t)snprintf(room, 16, "key-%08" PRIu32, name)};
}

bool key_number(const struct expected *x, struct quern_slice text, uint32_t any, uint32_t *key)
{
    char room[16];
    uint32_t name = 0;

    for (size_t i = 4; i < text.len && i < 12; i++)
        name = name * 10 + (uint32_t)(((const uint8_t *)text.data)[i] - '0');
    *key = any - any % database_keys(x) + name;
    return name < database_keys(x) && key_text(x, room, *key).len == text.len &&
           memcmp(room, text.data, text.len) == 0;
}

/* Version and key, then bytes that follow from both: half of the values can be compressed. */
struct quern_slice value_of(uint8_t *room, uint32_t key, uint32_t version)
{
    uint64_t x = mix(key, version ^ 0xabcd0000u);
    size_t len = 8 + (x % 100 == 0 ? x >> 32 & 0x3fff : x >> 32 & 0x1ff);

    if (x >> 16 & 1)
        memset(room, (int)(x >> 24 & 0xff), len);
    else
        for (size_t i = 0; i < len; i += 8) {
            uint64_t word = mix(x, i);

            memcpy(room + i, &word, len - i < 8 ? len - i : 8);
        }
    memcpy(room, &version, 4);
    memcpy(room + 4, &key, 4);
    return (struct quern_slice){room, len};
}

/* It shows, with that expiry. */
static bool expires_rightly(struct expected *x, uint32_t key, uint32_t version, uint64_t expires_ms,
                            struct moment at, const char *how)
{
    uint64_t until = 0;
    bool known = !may_expire(key, version) || expires_at(x, key, version, &until);

    if ((expires_ms != 0) != may_expire(key, version) || (known && expires_ms != until))
        return failed(x, "%s: version %" PRIu32 " of key %" PRIu32 " expires at %" PRIu64, how,
                      version, key, expires_ms);
    return expires_ms == 0 || expires_ms > at.from ||
           failed(x,
                  "%s: version %" PRIu32 " of key %" PRIu32 " shows, and expired %" PRIu64
                  " ms ago",
                  how, version, key, at.from - expires_ms);
}

bool shows(struct expected *x, uint32_t key, const struct quern_value *value, uint32_t low,
           uint32_t high, struct moment at, const char *how)
{
    uint8_t room[VALUE_BYTES_MAX];
    uint32_t version = 0;

    if (value == NULL) {
        for (uint32_t v = low; v <= high; v++)
            if (lives(x, key, v, at) != LIFE_YES)
                return true;
        return failed(x,
                      "%s: key %" PRIu32 " is not there; expected version %" PRIu32 " to %" PRIu32,
                      how, key, low, high);
    }
    if (value->len >= 8)
        memcpy(&version, value->data, 4);
    if (version == 0 || value_of(room, key, version).len != value->len ||
        memcmp(room, value->data, value->len) != 0)
        return failed(x, "%s: key %" PRIu32 " has %zu bytes that nobody wrote there", how, key,
                      value->len);
    if (version < low || version > high || is_gone(key, version))
        return failed(
            x, "%s: key %" PRIu32 " has version %" PRIu32 "; expected %" PRIu32 " to %" PRIu32, how,
            key, version, low, high);
    return expires_rightly(x, key, version, value->expires_ms, at, how);
}

/* ---- writes under way ---- */

void intent_begin(struct expected *x, uint32_t thread)
{
    struct intent *in = &x->intent[thread];

    atomic_store(&in->state, INTENT_BEGUN);
    for (uint32_t i = 0; i < in->count; i++) {
        struct cell *c = &x->cell[in->key[i]];

        atomic_store(&c->next, in->version[i]);
        if (in->until[i] != 0)
            atomic_store(&c->until[in->version[i] % 2], in->until[i]);
    }
}

void intent_done(struct expected *x, uint32_t thread)
{
    struct intent *in = &x->intent[thread];

    atomic_store(&in->state, INTENT_DONE);
    for (uint32_t i = 0; i < in->count; i++)
        atomic_store(&x->cell[in->key[i]].now, in->version[i]);
    atomic_store(&in->state, INTENT_NONE);
}
