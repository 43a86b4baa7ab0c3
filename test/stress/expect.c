/* expect.c - the expected state, and what a value of a version looks like. */
#include "stress.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x7374726573733031)

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

struct quern_slice key_text(char room[16], uint32_t key)
{
    return (struct quern_slice){room, (size_t)snprintf(room, 16, "key-%08" PRIu32, key)};
}

bool key_number(const struct expected *x, struct quern_slice text, uint32_t *key)
{
    char room[16];

    *key = 0;
    for (size_t i = 4; i < text.len && i < 12; i++)
        *key = *key * 10 + (uint32_t)(((const uint8_t *)text.data)[i] - '0');
    return *key < x->keys && key_text(room, *key).len == text.len &&
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

bool shows(struct expected *x, uint32_t key, const struct quern_slice *value, uint32_t low,
           uint32_t high, const char *how)
{
    uint8_t room[VALUE_BYTES_MAX];
    uint32_t version = 0;

    if (value == NULL) {
        for (uint32_t v = low; v <= high; v++)
            if (is_gone(key, v))
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
    return true;
}

/* ---- writes under way ---- */

void intent_begin(struct expected *x, uint32_t thread)
{
    struct intent *in = &x->intent[thread];

    atomic_store(&in->state, INTENT_BEGUN);
    for (uint32_t i = 0; i < in->count; i++)
        atomic_store(&x->cell[in->key[i]].next, in->version[i]);
}

void intent_done(struct expected *x, uint32_t thread)
{
    struct intent *in = &x->intent[thread];

    atomic_store(&in->state, INTENT_DONE);
    for (uint32_t i = 0; i < in->count; i++)
        atomic_store(&x->cell[in->key[i]].now, in->version[i]);
    atomic_store(&in->state, INTENT_NONE);
}
