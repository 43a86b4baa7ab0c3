/* test_os.c - promises of src/os/os.h, kept by every world: the local disk and the simulated one.
 *
 * CONTRACT(name) is a test that runs once in each world, in a fresh directory `d`. */
#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "sim.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct quern_error err;

static void in_both_worlds(void (*body)(struct os *os, const char *path, struct os_dir *d))
{
    struct sim *sim OWNED(sim_free) = sim_new(1);
    struct os *worlds[2] = {os_local(), sim_os(sim)};
    char path[300];

    (void)snprintf(path, sizeof(path), "%s/store", tap_dir());
    for (int w = 0; w < 2; w++) {
        struct os_dir *d OWNED(os_dir_close) = NULL;
        struct os_dir *parent OWNED(os_dir_close) = NULL;

        /* In the simulated world nothing but "/" exists yet. */
        if (w == 1) {
            CHECK_OK(os_dir_open(worlds[w], "/tmp", true, &parent, &err), &err);
            (void)snprintf(path, sizeof(path), "/tmp/store");
        }
        CHECK_OK(os_dir_open(worlds[w], path, true, &d, &err), &err);
        body(worlds[w], path, d);
    }
}

#define CONTRACT(name)                                                                             \
    static void name##_body(struct os *os, const char *path, struct os_dir *d);                    \
    TEST(name)                                                                                     \
    {                                                                                              \
        in_both_worlds(name##_body);                                                               \
    }                                                                                              \
    static void name##_body(struct os *os, const char *path, struct os_dir *d)

#define UNUSED (void)os, (void)path

static enum quern_code write_text(struct os_file *f, const char *text, uint64_t at)
{
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};

    return os_file_write(f, &piece, 1, at, &err);
}

static bool put_file(struct os_dir *d, const char *name, const char *text)
{
    struct os_file *f OWNED(os_file_drop) = NULL;

    return os_file_open(d, name, OS_WRITE | OS_CREATE, &f, &err) == QUERN_OK &&
           write_text(f, text, 0) == QUERN_OK;
}

static bool file_is(struct os_dir *d, const char *name, const char *text)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    char got[256] = "";
    uint64_t size;

    return os_file_open(d, name, OS_READ, &f, &err) == QUERN_OK &&
           os_file_size(f, &size, &err) == QUERN_OK && size == strlen(text) &&
           os_file_read(f, got, size, 0, &err) == QUERN_OK && strcmp(got, text) == 0;
}

CONTRACT(os_a_missing_directory_is_no_store_and_is_made_only_when_asked)
{
    struct os_dir *other OWNED(os_dir_close) = NULL;
    char below[320];

    (void)snprintf(below, sizeof(below), "%s/one/two", path);
    CHECK_CODE(os_dir_open(os, below, false, &other, &err), QUERN_NO_STORE);
    CHECK(strstr(err.text, "one/two") != NULL);
    CHECK_CODE(os_dir_open(os, below, true, &other, &err), QUERN_NO_STORE); /* no parent */
    CHECK_CODE(os_dir_open(os, "", true, &other, &err), QUERN_NO_STORE);
    (void)snprintf(below, sizeof(below), "%s/one//", path);
    CHECK_OK(os_dir_open(os, below, true, &other, &err), &err);
    CHECK(os_of(other) == os && strcmp(os_dir_path(other), below) == 0);
    CHECK(put_file(other, "a", "1"));
    os_dir_close(GIVE(other));
    (void)snprintf(below, sizeof(below), "%s/./one", path);
    CHECK_OK(os_dir_open(os, below, true, &other, &err), &err);
    CHECK(file_is(other, "a", "1"));
    CHECK(os_dir_sync(d, &err) == QUERN_OK);
}

CONTRACT(os_bytes_written_in_pieces_read_back)
{
    enum { PIECES = 3000 };
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct iovec pieces[PIECES];
    uint8_t got[PIECES * 3 + 8];
    uint8_t from[8];
    size_t total = 0;

    UNUSED;
    for (unsigned k = 0; k < sizeof(from); k++)
        from[k] = (uint8_t)('a' + k);
    for (size_t k = 0; k < PIECES; k++) { /* more than IOV_MAX, some of them empty */
        pieces[k] = (struct iovec){from + k % 5, k % 4};
        total += k % 4;
    }
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    CHECK_OK(os_file_write(f, pieces, PIECES, 5, &err), &err);
    CHECK_OK(os_file_read(f, got, total + 5, 0, &err), &err);
    CHECK(memcmp(got, "\0\0\0\0\0", 5) == 0);
    for (size_t k = 0, at = 5; k < PIECES; at += k % 4, k++)
        CHECK(memcmp(got + at, from + k % 5, k % 4) == 0);
    CHECK_OK(os_file_write(f, NULL, 0, 0, &err), &err);
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK_OK(os_file_close(GIVE(f), &err), &err);
    CHECK_OK(os_file_close(NULL, &err), &err);
}

CONTRACT(os_a_read_past_the_end_is_corrupt_and_says_where_the_file_ends)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    uint8_t got[16];

    UNUSED;
    CHECK(put_file(d, "000042.sst", "hello"));
    CHECK_OK(os_file_open(d, "000042.sst", OS_READ, &f, &err), &err);
    CHECK_CODE(os_file_read(f, got, 3, 3, &err), QUERN_CORRUPT);
    CHECK(strcmp(err.text, "000042.sst ends at 5, wanted 3 bytes at 3") == 0);
    CHECK_CODE(os_file_read(f, got, 1, UINT64_MAX, &err), QUERN_CORRUPT);
    CHECK_CODE(os_file_read(f, got, 8, INT64_MAX - 3, &err), QUERN_CORRUPT);
    CHECK_OK(os_file_read(f, got, 2, 3, &err), &err);
    CHECK(memcmp(got, "lo", 2) == 0);
}

CONTRACT(os_opening_asks_for_what_is_meant)
{
    struct os_file *f OWNED(os_file_drop) = NULL;

    UNUSED;
    CHECK_CODE(os_file_open(d, "f", OS_READ, &f, &err), QUERN_NO_STORE);
    CHECK(strstr(err.text, "open f") != NULL);
    CHECK_CODE(os_file_open(d, "f", OS_WRITE, &f, &err), QUERN_NO_STORE);
    CHECK(put_file(d, "f", "1"));
    CHECK_CODE(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), QUERN_EXISTS);
    CHECK(file_is(d, "f", "1"));
    CHECK_CODE(os_file_open(d, "f", OS_CREATE, &f, &err), QUERN_INVALID);
    CHECK_CODE(os_file_open(d, "f", OS_READ | OS_DIRECT_SYNC, &f, &err), QUERN_INVALID);
    CHECK_CODE(os_file_open(d, "f", 0, &f, &err), QUERN_INVALID);
    CHECK_OK(os_file_open(d, "f", OS_READ, &f, &err), &err);
    CHECK(write_text(f, "2", 0) != QUERN_OK);
    CHECK(file_is(d, "f", "1"));
}

CONTRACT(os_names_are_plain_file_names)
{
    char too_long[OS_NAME_BYTES_MAX + 1];
    const char *const bad[] = {"", ".", "..", "a/b", "/etc/passwd", too_long};
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct os_lock *lock = NULL;
    uint64_t bytes;

    UNUSED;
    memset(too_long, 'n', OS_NAME_BYTES_MAX);
    too_long[OS_NAME_BYTES_MAX] = '\0';
    for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
        struct quern_slice none = {NULL, 0};

        CHECK_CODE(os_file_open(d, bad[k], OS_WRITE | OS_CREATE, &f, &err), QUERN_INVALID);
        CHECK_CODE(os_dir_stat(d, bad[k], &bytes, &err), QUERN_INVALID);
        CHECK_CODE(os_dir_remove(d, bad[k], &err), QUERN_INVALID);
        CHECK_CODE(os_dir_rename(d, "a", bad[k], &err), QUERN_INVALID);
        CHECK_CODE(os_dir_link(d, "a", d, bad[k], &err), QUERN_INVALID);
        CHECK_CODE(os_dir_lock(d, bad[k], &lock, &err), QUERN_INVALID);
        CHECK_CODE(os_publish(d, bad[k], none, &err), QUERN_INVALID);
    }
}

CONTRACT(os_names_are_removed_renamed_and_linked)
{
    struct os_dir *copy OWNED(os_dir_close) = NULL;
    char below[320];
    uint64_t bytes;

    CHECK(put_file(d, "a", "aa") && put_file(d, "b", "bbb"));
    CHECK_OK(os_dir_stat(d, "b", &bytes, &err), &err);
    CHECK_EQ(bytes, 3);
    CHECK_OK(os_dir_rename(d, "a", "b", &err), &err);
    CHECK(file_is(d, "b", "aa"));
    CHECK_CODE(os_dir_stat(d, "a", &bytes, &err), QUERN_NO_STORE);
    CHECK_CODE(os_dir_rename(d, "a", "b", &err), QUERN_NO_STORE);
    (void)snprintf(below, sizeof(below), "%s/copy", path);
    CHECK_OK(os_dir_open(os, below, true, &copy, &err), &err);
    CHECK_OK(os_dir_link(d, "b", copy, "c", &err), &err);
    CHECK_CODE(os_dir_link(d, "b", copy, "c", &err), QUERN_EXISTS);
    CHECK_OK(os_dir_remove(d, "b", &err), &err);
    CHECK_CODE(os_dir_remove(d, "b", &err), QUERN_NO_STORE);
    CHECK(file_is(copy, "c", "aa"));
}

CONTRACT(os_a_removed_file_lives_on_in_its_handles)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    char got[4];

    UNUSED;
    CHECK(put_file(d, "f", "1234"));
    CHECK_OK(os_file_open(d, "f", OS_READ, &f, &err), &err);
    CHECK_OK(os_dir_remove(d, "f", &err), &err);
    CHECK(put_file(d, "f", "new"));
    CHECK_OK(os_file_read(f, got, 4, 0, &err), &err);
    CHECK(memcmp(got, "1234", 4) == 0);
}

struct seen {
    struct os_dir *dir;
    unsigned files;
    unsigned stop_after;
};

static enum quern_code see_and_remove(void *arg, const char *name, struct quern_error *e)
{
    struct seen *seen = arg;

    seen->files++;
    if (seen->files == seen->stop_after)
        return err_set(e, QUERN_BUSY, "enough");
    return seen->dir == NULL ? QUERN_OK : os_dir_remove(seen->dir, name, e);
}

CONTRACT(os_a_list_shows_plain_files_and_bears_their_removal)
{
    struct os_dir *below OWNED(os_dir_close) = NULL;
    struct seen seen = {.stop_after = 0};
    char name[16], sub[320];

    for (int k = 0; k < 200; k++) {
        (void)snprintf(name, sizeof(name), "f%d", k);
        CHECK(put_file(d, name, "xy"));
    }
    (void)snprintf(sub, sizeof(sub), "%s/sub", path);
    CHECK_OK(os_dir_open(os, sub, true, &below, &err), &err);
    CHECK_OK(os_dir_list(d, see_and_remove, &seen, &err), &err);
    CHECK_EQ(seen.files, 200);
    seen = (struct seen){.stop_after = 3};
    CHECK_CODE(os_dir_list(d, see_and_remove, &seen, &err), QUERN_BUSY);
    CHECK_EQ(seen.files, 3);
    seen = (struct seen){.dir = d};
    CHECK_OK(os_dir_list(d, see_and_remove, &seen, &err), &err);
    CHECK_EQ(seen.files, 200);
    seen = (struct seen){.dir = d};
    CHECK_OK(os_dir_list(d, see_and_remove, &seen, &err), &err);
    CHECK_EQ(seen.files, 0);
}

CONTRACT(os_a_lock_is_held_once_until_it_is_let_go)
{
    struct os_lock *first = NULL, *second = NULL;

    UNUSED;
    CHECK(put_file(d, "LOCK", "9999999999\n")); /* of one that held it before */
    CHECK_OK(os_dir_lock(d, "LOCK", &first, &err), &err);
    CHECK_CODE(os_dir_lock(d, "LOCK", &second, &err), QUERN_LOCKED);
    CHECK(strstr(err.text, "LOCK is held by") != NULL);
    CHECK(strstr(err.text, "999") == NULL);
    os_unlock(first);
    CHECK_OK(os_dir_lock(d, "LOCK", &second, &err), &err);
    os_unlock(second);
    os_unlock(NULL);
}

CONTRACT(os_publish_replaces_all_or_nothing_and_leaves_no_temporary)
{
    struct seen seen = {.stop_after = 0};
    struct quern_slice none = {NULL, 0}, text = {"new", 3};

    UNUSED;
    CHECK(put_file(d, "CURRENT.tmp", "left by a crash"));
    CHECK_OK(os_publish(d, "CURRENT", none, &err), &err);
    CHECK(file_is(d, "CURRENT", ""));
    CHECK_OK(os_publish(d, "CURRENT", text, &err), &err);
    CHECK(file_is(d, "CURRENT", "new"));
    CHECK_OK(os_dir_list(d, see_and_remove, &seen, &err), &err);
    CHECK_EQ(seen.files, 1);
}

CONTRACT(os_truncate_cuts_and_extends_with_zeros)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    uint64_t size;
    char got[8];

    UNUSED;
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    CHECK_OK(write_text(f, "abcdef", 0), &err);
    CHECK_OK(os_file_truncate(f, 2, &err), &err);
    CHECK_OK(os_file_truncate(f, 8, &err), &err);
    CHECK_OK(os_file_size(f, &size, &err), &err);
    CHECK_EQ(size, 8);
    CHECK_OK(os_file_read(f, got, 8, 0, &err), &err);
    CHECK(memcmp(got, "ab\0\0\0\0\0\0", 8) == 0);
}

CONTRACT(os_mappings_writes_and_reads_show_the_same_bytes)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct os_file *g OWNED(os_file_drop) = NULL;
    static uint8_t zeros[3 * 4096];
    struct iovec piece = {zeros, sizeof(zeros)};
    void *map = NULL;
    char got[4];

    UNUSED;
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    CHECK_OK(os_file_write(f, &piece, 1, 0, &err), &err);
    CHECK_OK(os_file_map(f, 1 << 20, &map, &err), &err);
    CHECK((uintptr_t)map % 4096 == 0);
    memcpy((char *)map + 5000, "mmap", 4);
    CHECK_OK(os_file_open(d, "f", OS_WRITE, &g, &err), &err);
    CHECK_OK(os_file_read(g, got, 4, 5000, &err), &err);
    CHECK(memcmp(got, "mmap", 4) == 0);
    CHECK_OK(write_text(g, "WRITE", 5004), &err);
    CHECK(memcmp((char *)map + 5000, "mmapWRITE", 9) == 0);
    CHECK_OK(os_file_write(g, &piece, 1, 1 << 19, &err), &err); /* grows under the mapping */
    memcpy((char *)map + (1 << 19), "tail", 4);
    CHECK_OK(os_file_sync(f, &err), &err);
    os_file_unmap(f, map, 1 << 20);
    os_file_start_writeback(f, 0, 1 << 20);
    os_file_start_read(f, 4096, 1 << 20);
    os_file_start_read(f, UINT64_MAX, UINT64_MAX); /* a hint: whatever it says */
    CHECK_OK(os_file_read(g, got, 4, 1 << 19, &err), &err);
    CHECK(memcmp(got, "tail", 4) == 0);
}

CONTRACT(os_direct_writes_read_back_or_are_unsupported)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct os_file *r OWNED(os_file_drop) = NULL;
    uint8_t *pages = alloc_aligned(OS_DIRECT_BYTES, 2 * OS_DIRECT_BYTES);
    struct iovec piece = {pages, 2 * OS_DIRECT_BYTES};
    enum quern_code code;
    uint8_t got[2];

    UNUSED;
    memset(pages, 'd', 2 * OS_DIRECT_BYTES);
    CHECK(put_file(d, "f", "old"));
    code = os_file_open(d, "f", OS_WRITE | OS_DIRECT_SYNC, &f, &err);
    if (code == QUERN_OK)
        code = os_file_write(f, &piece, 1, OS_DIRECT_BYTES, &err);
    alloc_free(pages);
    if (code == QUERN_UNSUPPORTED)
        return;
    CHECK_OK(code, &err);
    CHECK_OK(os_file_open(d, "f", OS_READ, &r, &err), &err);
    CHECK_OK(os_file_read(r, got, 2, 3 * OS_DIRECT_BYTES - 2, &err), &err);
    CHECK(got[0] == 'd' && got[1] == 'd');
}

CONTRACT(os_clocks_go_on_and_random_bytes_differ)
{
    uint64_t then = os_now_ns(os);
    struct quern_slice none = {NULL, 0};
    uint64_t bytes;

    (void)path;
    CHECK(os_now_ns(os) >= then);
    CHECK(os_wall_ms(os) > UINT64_C(1600000000000));
    CHECK(os_random_u64(os) != os_random_u64(os));
    CHECK_OK(os_dir_free_bytes(d, &bytes, &err), &err);
    CHECK(bytes > 0);
    CHECK_OK(os_publish(d, "x", none, &err), &err);
}

CONTRACT(os_no_memory_is_reported_and_leaks_nothing)
{
    struct os_dir *e = NULL;
    struct os_file *f = NULL;
    struct os_lock *lock = NULL;

    CHECK(put_file(d, "f", "1"));
    for (uint64_t n = 0; n < 3; n++) {
        enum quern_code code;

        alloc_fail_after(n);
        code = os_dir_open(os, path, false, &e, &err);
        alloc_fail_never();
        CHECK(code == (n < 2 ? QUERN_NO_MEMORY : QUERN_OK));
    }
    os_dir_close(e);
    alloc_fail_after(0);
    EXPECT(os_file_open(d, "f", OS_READ, &f, &err) == QUERN_NO_MEMORY);
    EXPECT(os_dir_lock(d, "LOCK", &lock, &err) == QUERN_NO_MEMORY);
    alloc_fail_never();
}

struct reader {
    struct os_file *file;
    char letter;
    bool wrong;
};

static void *read_and_write(void *arg)
{
    struct reader *r = arg;
    struct quern_error mine;
    char page[512];

    memset(page, r->letter, sizeof(page));
    for (int k = 0; k < 200; k++) {
        struct iovec piece = {page, sizeof(page)};
        uint64_t at = (uint64_t)(r->letter - 'a') * sizeof(page);

        r->wrong |= os_file_write(r->file, &piece, 1, at, &mine) != QUERN_OK ||
                    os_file_read(r->file, page, sizeof(page), at, &mine) != QUERN_OK ||
                    page[511] != r->letter;
    }
    return NULL;
}

CONTRACT(os_handles_are_shared_between_threads)
{
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct reader readers[4];
    pthread_t threads[4];

    UNUSED;
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    for (int k = 0; k < 4; k++) {
        readers[k] = (struct reader){f, (char)('a' + k), false};
        CHECK(pthread_create(&threads[k], NULL, read_and_write, &readers[k]) == 0);
    }
    for (int k = 0; k < 4; k++)
        (void)pthread_join(threads[k], NULL);
    for (int k = 0; k < 4; k++)
        CHECK(!readers[k].wrong);
}

/* ---- what only a real disk can show ---- */

TEST(os_local_relative_paths_and_trailing_slashes_work)
{
    struct os_dir *d OWNED(os_dir_close) = NULL;
    char before[4096];
    struct stat st;

    CHECK(getcwd(before, sizeof(before)) != NULL);
    CHECK(chdir(tap_dir()) == 0);
    CHECK_OK(os_dir_open(os_local(), "./data", true, &d, &err), &err);
    os_dir_close(GIVE(d));
    CHECK_OK(os_dir_open(os_local(), "data/", true, &d, &err), &err);
    os_dir_close(GIVE(d));
    CHECK_OK(os_dir_open(os_local(), "other//", true, &d, &err), &err);
    CHECK(stat("other", &st) == 0 && (st.st_mode & 07777) == 0700);
    CHECK(chdir(before) == 0); /* names still lead into the directory */
    CHECK(put_file(d, "f", "1"));
    CHECK(file_is(d, "f", "1"));
}

TEST(os_local_files_are_for_their_owner_and_close_on_exec)
{
    struct os_dir *d OWNED(os_dir_close) = NULL;
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct os_lock *lock = NULL;
    const char *path = tap_dir();
    char name[300];
    struct stat st;
    int next = dup(0), found = 0;

    CHECK(close(next) == 0); /* the lowest free descriptor: ours come from there on */
    CHECK_OK(os_dir_open(os_local(), path, false, &d, &err), &err);
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    CHECK_OK(os_dir_lock(d, "LOCK", &lock, &err), &err);
    for (int fd = next; fd < next + 3; fd++)
        found += fcntl(fd, F_GETFD) == FD_CLOEXEC;
    os_unlock(lock);
    CHECK_EQ(found, 3);
    (void)snprintf(name, sizeof(name), "%s/f", path);
    CHECK(stat(name, &st) == 0 && (st.st_mode & 07777) == 0600);
}

TEST(os_local_only_plain_files_are_opened_and_listed)
{
    struct os_dir *d OWNED(os_dir_close) = NULL;
    struct os_file *f OWNED(os_file_drop) = NULL;
    const char *path = tap_dir();
    struct seen seen = {.stop_after = 0};
    char name[300];

    CHECK_OK(os_dir_open(os_local(), path, false, &d, &err), &err);
    (void)snprintf(name, sizeof(name), "%s/pipe", path);
    CHECK(mkfifo(name, 0600) == 0);
    (void)snprintf(name, sizeof(name), "%s/sub", path);
    CHECK(mkdir(name, 0700) == 0);
    (void)snprintf(name, sizeof(name), "%s/link", path);
    CHECK(symlink("/etc/passwd", name) == 0);
    CHECK_CODE(os_file_open(d, "pipe", OS_READ, &f, &err), QUERN_IO); /* and does not hang */
    CHECK_CODE(os_file_open(d, "sub", OS_READ, &f, &err), QUERN_IO);
    CHECK_CODE(os_file_open(d, "link", OS_READ, &f, &err), QUERN_IO);
    CHECK_OK(os_dir_list(d, see_and_remove, &seen, &err), &err);
    CHECK_EQ(seen.files, 0);
}

TEST(os_local_a_lock_names_its_holder_and_dies_with_its_process)
{
    struct os_dir *d OWNED(os_dir_close) = NULL;
    struct os_lock *lock = NULL;
    char pid_text[32];
    int ready[2], go[2];
    char byte;
    pid_t child;

    CHECK_OK(os_dir_open(os_local(), tap_dir(), false, &d, &err), &err);
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    child = fork();
    if (child == 0) {
        struct quern_error mine;
        bool held = os_dir_lock(d, "LOCK", &lock, &mine) == QUERN_OK;

        if (write(ready[1], held ? "y" : "n", 1) != 1 || read(go[0], &byte, 1) != 1)
            _exit(2);
        _exit(0); /* without unlocking */
    }
    CHECK(read(ready[0], &byte, 1) == 1 && byte == 'y');
    CHECK_CODE(os_dir_lock(d, "LOCK", &lock, &err), QUERN_LOCKED);
    (void)snprintf(pid_text, sizeof(pid_text), "held by process %ld", (long)child);
    CHECK(strstr(err.text, pid_text) != NULL);
    CHECK(write(go[1], "g", 1) == 1);
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK_OK(os_dir_lock(d, "LOCK", &lock, &err), &err);
    os_unlock(lock);
    for (int k = 0; k < 2; k++) {
        (void)close(ready[k]);
        (void)close(go[k]);
    }
}

/* ---- the calls that reach the kernel ---- */

/* The linker leads the library's calls here: --wrap in meson.build. */
static struct {
    char kind; /* 'f': fdatasync, 'd': fsync, 'r': renameat */
    ino_t of;  /* what was synced */
} made[16];
static unsigned made_count;

static void note(char kind, int fd)
{
    struct stat st = {0};

    if (kind != 'r' && fstat(fd, &st) != 0)
        abort();
    if (made_count < ARRAY_LEN(made)) {
        made[made_count].kind = kind;
        made[made_count++].of = st.st_ino;
    }
}

int __real_fsync(int fd);
int __real_fdatasync(int fd);
int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);

int __wrap_fsync(int fd)
{
    note('d', fd);
    return __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    note('f', fd);
    return __real_fdatasync(fd);
}

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    note('r', -1);
    return __real_renameat(from_dir, from, to_dir, to);
}

/* No simulated disk shows whether the local one is asked at all. */
TEST(os_local_a_sync_is_the_kernels_and_of_that_file_or_directory)
{
    struct os_dir *d OWNED(os_dir_close) = NULL;
    struct os_file *f OWNED(os_file_drop) = NULL;
    const char *path = tap_dir();
    struct stat dir, file;
    char name[300];

    CHECK_OK(os_dir_open(os_local(), path, false, &d, &err), &err);
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    (void)snprintf(name, sizeof(name), "%s/f", path);
    CHECK(stat(path, &dir) == 0 && stat(name, &file) == 0);
    made_count = 0;
    CHECK_OK(os_file_sync(f, &err), &err);
    CHECK_OK(os_dir_sync(d, &err), &err);
    CHECK_EQ(made_count, 2);
    CHECK(made[0].kind == 'f' && made[0].of == file.st_ino);
    CHECK(made[1].kind == 'd' && made[1].of == dir.st_ino);

    made_count = 0;
    CHECK_OK(os_publish(d, "p", (struct quern_slice){"bytes", 5}, &err), &err);
    (void)snprintf(name, sizeof(name), "%s/p", path);
    CHECK(stat(name, &file) == 0);
    CHECK_EQ(made_count, 3);
    CHECK(made[0].kind == 'f' && made[0].of == file.st_ino);
    CHECK_EQ(made[1].kind, 'r');
    CHECK(made[2].kind == 'd' && made[2].of == dir.st_ino);
}

/* A file size limit stands for the full disk: it too cuts a write short and then refuses. */
TEST(os_local_a_write_that_finds_no_room_is_no_space)
{
    struct os_dir *d OWNED(os_dir_close) = NULL;
    struct os_file *f OWNED(os_file_drop) = NULL;
    struct rlimit before, small;
    enum quern_code code;
    uint64_t size;
    void (*handler)(int);

    CHECK_OK(os_dir_open(os_local(), tap_dir(), false, &d, &err), &err);
    CHECK_OK(os_file_open(d, "f", OS_WRITE | OS_CREATE, &f, &err), &err);
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    handler = signal(SIGXFSZ, SIG_IGN);
    small = (struct rlimit){.rlim_cur = 10, .rlim_max = before.rlim_max};
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    code = write_text(f, "0123456789abcdef", 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)signal(SIGXFSZ, handler);
    CHECK_EQ(code, QUERN_NO_SPACE);
    CHECK(strncmp(err.text, "write f at 10: ", 15) == 0);
    CHECK_OK(os_file_size(f, &size, &err), &err);
    CHECK_EQ(size, 10);
}

/* ---- publishing when things go wrong ---- */

TEST(os_publish_that_fails_keeps_the_old_bytes_and_removes_the_temporary)
{
    static const unsigned kinds[] = {SIM_CREATE, SIM_WRITE, SIM_SYNC, SIM_CLOSE, SIM_RENAME};

    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        struct sim *sim OWNED(sim_free) = sim_new(k);
        struct os_dir *d OWNED(os_dir_close) = NULL;
        struct quern_slice before = {"old", 3}, after = {"new", 3};
        uint64_t bytes;

        CHECK_OK(os_dir_open(sim_os(sim), "db", true, &d, &err), &err);
        CHECK_OK(os_publish(d, "CURRENT", before, &err), &err);
        sim_fail(sim, &(struct sim_fault){.ops = kinds[k], .sys_errno = EIO});
        CHECK_CODE(os_publish(d, "CURRENT", after, &err), QUERN_IO);
        CHECK(strncmp(err.text, "publish CURRENT: ", 17) == 0);
        CHECK_EQ(sim_fault_hits(sim), 1);
        CHECK(file_is(d, "CURRENT", "old"));
        CHECK_CODE(os_dir_stat(d, "CURRENT.tmp", &bytes, &err), QUERN_NO_STORE);
    }
}

/* What was pending when a sync failed may be lost though the next one says OK. */
TEST(os_dir_sync_that_failed_is_not_believed_again)
{
    struct sim *sim OWNED(sim_free) = sim_new(1), *after OWNED(sim_free) = NULL;
    struct os_dir *d OWNED(os_dir_close) = NULL, *left OWNED(os_dir_close) = NULL;
    struct os_file *f = NULL;
    uint64_t bytes;

    CHECK_OK(os_dir_open(sim_os(sim), "db", true, &d, &err), &err);
    CHECK_OK(os_file_open(d, "new", OS_WRITE | OS_CREATE, &f, &err), &err);
    CHECK_OK(os_file_close(f, &err), &err);
    sim_fail(sim, &(struct sim_fault){.ops = SIM_DIR_SYNC, .sys_errno = EIO, .drop_dirty = true});
    CHECK_CODE(os_dir_sync(d, &err), QUERN_IO);
    CHECK_CODE(os_dir_sync(d, &err), QUERN_IO);
    CHECK(strstr(err.text, "an earlier sync of it failed") != NULL);
    after = sim_crash(sim, 1, SIM_DROP_ALL);
    CHECK_OK(os_dir_open(sim_os(after), "db", false, &left, &err), &err);
    CHECK_CODE(os_dir_stat(left, "new", &bytes, &err), QUERN_NO_STORE);
}

TEST(os_publish_leaves_old_or_new_bytes_wherever_the_power_goes)
{
    uint64_t seed = tap_seed(), calls = 0;

    for (uint64_t cut = 1; calls == 0 || cut <= calls; cut++) {
        for (uint64_t round = 0; round < 40; round++) {
            struct sim *sim OWNED(sim_free) = sim_new(seed + round);
            struct sim *after OWNED(sim_free) = NULL;
            struct os_dir *d OWNED(os_dir_close) = NULL;
            struct os_dir *e OWNED(os_dir_close) = NULL;
            struct quern_slice old = {"old", 3}, new = {"newer", 5};
            uint64_t first;
            bool done;

            CHECK_OK(os_dir_open(sim_os(sim), "db", true, &d, &err), &err);
            CHECK_OK(os_publish(d, "CURRENT", old, &err), &err);
            first = sim_op_count(sim);
            sim_crash_at(sim, first + cut);
            done = os_publish(d, "CURRENT", new, &err) == QUERN_OK;
            if (done)
                calls = sim_op_count(sim) - first;
            after = sim_crash(sim, seed + cut * 100 + round, (enum sim_crash_mode)(round % 3));
            CHECK_OK(os_dir_open(sim_os(after), "db", false, &e, &err), &err);
            CHECK(file_is(e, "CURRENT", "newer") || (!done && file_is(e, "CURRENT", "old")));
        }
    }
    CHECK_EQ(calls, 7);
}
