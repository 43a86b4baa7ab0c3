/* tls_keys.c - the certificate and its key, and taking up new ones while the server runs.
 *
 *     every second: stat the files --as when last tried-----------------> nothing
 *                                 --changed since the last look---------> wait: somebody writes
 *                                 --changed, and still for a second-----> load
 *     load: certificates, key, CA into a new context --all fit--> it replaces the old one
 *                                                    '--else----> said so, the old one stays
 *
 * A context is whole or it is not there: a new certificate never stands beside an old key. Live
 * connections keep the context they began with. The tickets that resume sessions are sealed with a
 * key of the context's, so those of an old one are worth nothing any more, and with them whoever a
 * changed client CA shuts out; for the same reason the files are loaded anew once a day.
 *
 * What is offered: TLS 1.2 and 1.3; of 1.2 only forward-secret, authenticated suites; neither
 * compression, nor renegotiation, nor early data (it can be replayed, and requests write). */
#include "server/net/tls.h"

#include "server/observe/say.h"

#include "http/http.h"

#include "base/alloc.h"
#include "base/error.h"
#include "base/thread.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DAY_S 86400
#define SESSION_S 3600
#define CERTIFICATES_BYTES_MAX 32768 /* what a client may send of its own */

enum { FILE_CERT, FILE_KEY, FILE_CA, FILES };
static const char *const file_options[FILES] = {"--tls-cert", "--tls-key", "--tls-client-ca"};

/* What tells one state of a file from another; all zeros: it is not there, or not ours to see. */
struct stamp {
    uint64_t device, number, size;
    int64_t modified_s, modified_ns, changed_s, changed_ns;
};

struct tls_keys {
    const char *paths[FILES]; /* constant; no client CA: NULL */
    _Atomic uint64_t shaken, resumed, failed;

    /* The main thread's alone. */
    struct stamp seen[FILES];   /* when last looked at */
    struct stamp judged[FILES]; /* when last tried, well or not */

    struct mutex mu; /* guards the rest */
    SSL_CTX *context;
    struct stamp loaded[FILES];
    int64_t loaded_at, tried_at,
        refused_at; /* unix seconds; refused_at 0: the last try went well */
    struct quern_error refusal;
};

/* ------------------------------------------------------------------ load -- */

/* The first thing that OpenSSL complained of. */
static enum quern_code refuse_file(struct tls_keys *k, int file, const char *what,
                                   struct quern_error *err)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return err_set(err, QUERN_INVALID, "%s %s: %s (%s)", file_options[file], k->paths[file], what,
                   reason != NULL ? reason : "no details");
}

/* An encrypted key must not make the server ask its terminal. */
static int no_passphrase(char *to, int room, int writing, void *arg)
{
    (void)to, (void)room, (void)writing, (void)arg;
    return -1;
}

static enum quern_code check_key_file(struct tls_keys *k, FILE *file, struct quern_error *err)
{
    struct stat st;

    if (fstat(fileno(file), &st) != 0)
        return err_sys(err, errno, "--tls-key %s", k->paths[FILE_KEY]);
    if ((st.st_mode & (S_IROTH | S_IWOTH)) != 0)
        return err_set(err, QUERN_DENIED,
                       "--tls-key %s: everybody on this machine may read or write it; "
                       "chmod o= %s",
                       k->paths[FILE_KEY], k->paths[FILE_KEY]);
    return QUERN_OK;
}

static enum quern_code load_key(struct tls_keys *k, SSL_CTX *context, struct quern_error *err)
{
    FILE *file = fopen(k->paths[FILE_KEY], "re");
    EVP_PKEY *key = NULL;

    if (file == NULL)
        return err_sys(err, errno, "--tls-key %s", k->paths[FILE_KEY]);
    if (check_key_file(k, file, err) == QUERN_OK) {
        err_clear(err);
        key = PEM_read_PrivateKey(file, NULL, no_passphrase, NULL);
        if (key == NULL)
            IGNORE(refuse_file(k, FILE_KEY, "no private key in PEM form without a passphrase",
                               err)); /* err tells */
        else if (SSL_CTX_use_PrivateKey(context, key) != 1)
            IGNORE(refuse_file(k, FILE_KEY, "not the key of the certificate", err)); /* so too */
        EVP_PKEY_free(key);
    }
    (void)fclose(file);
    return err->code;
}

static enum quern_code load_ca(struct tls_keys *k, SSL_CTX *context, struct quern_error *err)
{
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(k->paths[FILE_CA]);

    if (names == NULL || SSL_CTX_load_verify_file(context, k->paths[FILE_CA]) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return refuse_file(k, FILE_CA, "no certificates in PEM form", err);
    }
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return QUERN_OK;
}

/* The protocol that both want. A client that wants others alone is none of ours: an https:// page
 * must not reach the Redis protocol through a certificate that fits both. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *theirs, unsigned theirs_len, void *arg)
{
    const unsigned char *ours = SSL_get_app_data(ssl);
    unsigned char *chosen;

    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, ours[0] + 1u, theirs, theirs_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_manners(SSL_CTX *context)
{
    static const unsigned char name[] = "quern";

    (void)SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    /* An idle connection keeps no record buffers; and what is written may be at another place when
     * OpenSSL goes on with it. */
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets need none */
    (void)SSL_CTX_set_timeout(context, SESSION_S);
    SSL_CTX_set_max_cert_list(context, CERTIFICATES_BYTES_MAX);
    SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL") == 1 &&
           SSL_CTX_set_session_id_context(context, name, sizeof(name) - 1) == 1;
}

static enum quern_code load(struct tls_keys *k, SSL_CTX **out, struct quern_error *err)
{
    SSL_CTX *context;
    struct stat st;

    for (int i = 0; i < FILES; i++) {
        if (k->paths[i] != NULL && stat(k->paths[i], &st) != 0)
            return err_sys(err, errno, "%s %s", file_options[i], k->paths[i]);
    }
    ERR_clear_error();
    err_clear(err);
    context = SSL_CTX_new(TLS_server_method());
    if (context == NULL || !set_manners(context))
        IGNORE(err_memory(err, "TLS")); /* err tells */
    else if (SSL_CTX_use_certificate_chain_file(context, k->paths[FILE_CERT]) != 1)
        IGNORE(refuse_file(k, FILE_CERT, "no certificate in PEM form that can be used", err));
    else if (load_key(k, context, err) == QUERN_OK && k->paths[FILE_CA] != NULL)
        IGNORE(load_ca(k, context, err));
    ERR_clear_error();
    if (err->code != QUERN_OK)
        SSL_CTX_free(context);
    else
        *out = context;
    return err->code;
}

/* ------------------------------------------------------------------ look -- */

static void look(const struct tls_keys *k, struct stamp out[FILES])
{
    memset(out, 0, FILES * sizeof(*out));
    for (int i = 0; i < FILES; i++) {
        struct stat st;

        if (k->paths[i] == NULL || stat(k->paths[i], &st) != 0)
            continue;
        out[i] = (struct stamp){
            .device = (uint64_t)st.st_dev,
            .number = (uint64_t)st.st_ino,
            .size = (uint64_t)st.st_size,
            .modified_s = st.st_mtim.tv_sec,
            .modified_ns = st.st_mtim.tv_nsec,
            .changed_s = st.st_ctim.tv_sec,
            .changed_ns = st.st_ctim.tv_nsec,
        };
    }
}

static bool same(const struct stamp a[FILES], const struct stamp b[FILES])
{
    return memcmp(a, b, FILES * sizeof(*a)) == 0; /* they have no padding */
}

static int64_t end_of(SSL_CTX *context)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context)), &tm) != 1)
        return 0;
    return timegm(&tm);
}

/* `files`: as they were before they are read; if they change under our hands, the next look sees it. */
static enum quern_code take_up(struct tls_keys *k, const struct stamp files[FILES],
                               struct quern_error *err)
{
    SSL_CTX *context = NULL, *old = NULL;
    enum quern_code code = load(k, &context, err);
    int64_t now = time(NULL);

    mutex_lock(&k->mu);
    k->tried_at = now;
    if (code == QUERN_OK) {
        old = k->context;
        k->context = context;
        k->loaded_at = now;
        k->refused_at = 0;
        memcpy(k->loaded, files, sizeof(k->loaded));
    } else {
        k->refused_at = now;
        k->refusal = *err;
    }
    mutex_unlock(&k->mu);
    SSL_CTX_free(old);
    if (code == QUERN_OK && end_of(context) < now)
        say_event(SAY_WARNING, "TLS", "--tls-cert %s: this certificate has expired",
                  k->paths[FILE_CERT]);
    return code;
}

enum quern_code tls_keys_new(const struct server_options *options, struct tls_keys **out,
                             struct quern_error *err)
{
    struct tls_keys *k = NEW(struct tls_keys);

    if (k == NULL)
        return err_memory(err, "TLS");
    k->paths[FILE_CERT] = options->tls_cert;
    k->paths[FILE_KEY] = options->tls_key;
    k->paths[FILE_CA] = options->tls_client_ca;
    mutex_init(&k->mu);
    look(k, k->seen);
    memcpy(k->judged, k->seen, sizeof(k->judged));
    if (take_up(k, k->seen, err) != QUERN_OK) {
        tls_keys_free(k);
        return err->code;
    }
    *out = k;
    return QUERN_OK;
}

void tls_keys_free(struct tls_keys *k)
{
    if (k == NULL)
        return;
    SSL_CTX_free(k->context);
    mutex_done(&k->mu);
    alloc_free(k);
}

void tls_keys_look(struct tls_keys *k, bool anyway)
{
    struct stamp now[FILES];
    struct quern_error err;
    bool rested, is_old = time(NULL) - k->tried_at > DAY_S;

    look(k, now);
    rested = same(now, k->seen);
    memcpy(k->seen, now, sizeof(now));
    if (!anyway && !is_old && (!rested || same(now, k->judged)))
        return;
    memcpy(k->judged, now, sizeof(now));
    if (take_up(k, now, &err) == QUERN_OK)
        say_event(SAY_INFO, "TLS", "the certificate and its key were read again");
    else
        say_event(SAY_ERROR, "TLS", "the files are not taken up, those read before stay: %s",
                  err.text);
}

/* ------------------------------------------------------------------ what others ask -- */

SSL *tls_keys_session(struct tls_keys *k)
{
    SSL *ssl;

    mutex_lock(&k->mu);
    ssl = SSL_new(k->context); /* which holds on to the context */
    mutex_unlock(&k->mu);
    return ssl;
}

void tls_keys_tally(struct tls_keys *k, enum tls_outcome outcome)
{
    _Atomic uint64_t *const counters[] = {&k->shaken, &k->resumed, &k->failed};

    atomic_fetch_add_explicit(counters[outcome], 1, memory_order_relaxed);
}

int64_t tls_keys_not_after(struct tls_keys *k)
{
    int64_t end;

    mutex_lock(&k->mu);
    end = end_of(k->context);
    mutex_unlock(&k->mu);
    return end;
}

/* ------------------------------------------------------------------ to tell -- */

static enum quern_code add(struct buf *out, const char *text, struct quern_error *err)
{
    return buf_append(out, text, strlen(text), err);
}

/* `,"name":"2026-11-22T12:00:00Z"` */
static enum quern_code add_time(struct buf *out, const char *name, int64_t when,
                                struct quern_error *err)
{
    time_t seconds = (time_t)when;
    char text[96], at[48];
    struct tm tm;

    (void)gmtime_r(&seconds, &tm);
    (void)strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)snprintf(text, sizeof(text), ",\"%s\":\"%s\"", name, at);
    return add(out, text, err);
}

static enum quern_code add_string(struct buf *out, const char *name, struct quern_slice value,
                                  struct quern_error *err)
{
    if (add(out, ",\"", err) || add(out, name, err) || add(out, "\":\"", err) ||
        http_json_escape(out, value, err))
        return err->code;
    return add(out, "\"", err);
}

static enum quern_code add_name(struct buf *out, const char *name, const X509_NAME *of,
                                struct quern_error *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    enum quern_code code;
    char *text;
    long len;

    if (bio == NULL ||
        X509_NAME_print_ex(bio, of, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) <
            0) {
        (void)BIO_free(bio);
        return err_memory(err, "a name");
    }
    len = BIO_get_mem_data(bio, &text);
    code = add_string(out, name, (struct quern_slice){text, (size_t)len}, err);
    (void)BIO_free(bio);
    return code;
}

static enum quern_code add_certificate(struct tls_keys *k, struct buf *out, struct quern_error *err)
{
    const X509 *certificate = SSL_CTX_get0_certificate(k->context);
    struct tm tm;

    if (add_name(out, "subject", X509_get_subject_name(certificate), err) ||
        add_name(out, "issuer", X509_get_issuer_name(certificate), err) ||
        (ASN1_TIME_to_tm(X509_get0_notBefore(certificate), &tm) == 1 &&
         add_time(out, "not_before", timegm(&tm), err)))
        return err->code;
    return add_time(out, "not_after", end_of(k->context), err);
}

static enum quern_code add_files(struct tls_keys *k, struct buf *out, struct quern_error *err)
{
    if (add(out, ",\"files\":[", err))
        return err->code;
    for (int i = 0; i < FILES && k->paths[i] != NULL; i++) {
        if (add(out, i > 0 ? ",{\"option\":\"" : "{\"option\":\"", err) ||
            add(out, file_options[i] + 2, err) || add(out, "\"", err) ||
            add_string(out, "path", QUERN_STR(k->paths[i]), err) ||
            add_time(out, "modified_at", k->loaded[i].modified_s, err) || add(out, "}", err))
            return err->code;
    }
    return add(out, "]", err);
}

static enum quern_code text_locked(struct tls_keys *k, struct buf *out, struct quern_error *err)
{
    char counts[160];

    (void)snprintf(counts, sizeof(counts),
                   ",\"handshakes\":%" PRIu64 ",\"resumed\":%" PRIu64 ",\"failed\":%" PRIu64
                   ",\"reload_error\":",
                   k->shaken, k->resumed, k->failed);
    if (add(out, "{\"enabled\":true", err) || add_certificate(k, out, err) ||
        add(out, ",\"client_certificates\":", err) ||
        add(out, k->paths[FILE_CA] != NULL ? "true" : "false", err) || add_files(k, out, err) ||
        add_time(out, "loaded_at", k->loaded_at, err) || add(out, counts, err))
        return err->code;
    if (k->refused_at == 0)
        return add(out, "null}", err);
    if (add(out, "{\"detail\":\"", err) || http_json_escape(out, QUERN_STR(k->refusal.text), err) ||
        add(out, "\"", err) || add_time(out, "at", k->refused_at, err))
        return err->code;
    return add(out, "}}", err);
}

enum quern_code tls_keys_text(struct tls_keys *k, struct buf *out, struct quern_error *err)
{
    enum quern_code code;

    mutex_lock(&k->mu);
    code = text_locked(k, out, err);
    mutex_unlock(&k->mu);
    return code;
}
