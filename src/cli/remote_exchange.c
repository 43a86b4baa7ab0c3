/* remote_exchange.c - one request and its answer, over a connection that is kept alive; see
 * remote_priv.h. */
#include "cli/remote_priv.h"

#include "cli/bytes_priv.h"

#include "access/access.h"
#include "base/error.h"
#include "base/when.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define CONNECT_SECONDS 10L
/* A body holds a value; whatever is longer comes from no quernd. */
#define BODY_BYTES_MAX ((size_t)QUERN_VALUE_BYTES_MAX + (1u << 20))

/* Hand on the lines of `body` that are whole; what refuses is told in its own words. */
static bool pass_lines(struct remote *r)
{
    const uint8_t *newline;
    long status = 0;
    size_t at = 0;

    (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return true;
    while (at < r->body.len && !r->line_failed &&
           (newline = memchr(r->body.data + at, '\n', r->body.len - at)) != NULL) {
        struct quern_slice line = {r->body.data + at, (size_t)(newline + 1 - r->body.data) - at};

        r->line_failed = r->on_line(r, line, &r->err) != QUERN_OK;
        at += line.len;
    }
    if (at > 0)
        memmove(r->body.data, r->body.data + at, r->body.len - at);
    r->body.len -= at;
    return !r->line_failed && out_good();
}

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
    struct remote *r = arg;
    struct quern_error ignored;

    (void)one;
    if (len > BODY_BYTES_MAX - r->body.len || buf_append(&r->body, data, len, &ignored))
        return 0;
    return r->on_line == NULL || pass_lines(r) ? len : 0;
}

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
    static const char name[] = "quern-durability:";
    struct remote *r = arg;
    size_t at = sizeof(name) - 1, end = len;

    (void)one;
    if (len <= at || strncasecmp(data, name, at) != 0)
        return len;
    while (at < end && (data[at] == ' ' || data[at] == '\t'))
        at++;
    while (end > at && (unsigned char)data[end - 1] <= ' ')
        end--;
    if (end - at < sizeof(r->durability)) {
        memcpy(r->durability, data + at, end - at);
        r->durability[end - at] = '\0';
    }
    return len;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)arg, (void)a, (void)b, (void)c, (void)d;
    return cli_interrupted() ? 1 : 0;
}

/* A loopback server is reached without a proxy, whatever the environment says. */
static bool is_loopback(const char *url)
{
    static const char *const hosts[] = {"127.", "localhost", "[::1]"};
    const char *host = strstr(url, "://");

    for (size_t i = 0; i < ARRAY_LEN(hosts) && host != NULL; i++)
        if (strncasecmp(host + 3, hosts[i], strlen(hosts[i])) == 0)
            return true;
    return false;
}

/* Bytes of a token that may stand in a field: no space, no line end. */
static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] <= ' ' || s[i] > '~')
            return false;
    }
    return len > 0;
}

/* The token of --token-file, else that of the environment, as a field of each request. */
static enum quern_code add_token(struct remote *r, const struct cli_args *args)
{
    static const char begin[] = "Authorization: Bearer ";
    struct buf file OWNED_BUF = {0}, field OWNED_BUF = {0};
    struct quern_slice token = {args->token, args->token != NULL ? strlen(args->token) : 0};
    struct curl_slist *longer;

    if (args->token_file != NULL) {
        if (access_load(args->token_file, &file, NULL, &r->err))
            return r->err.code;
        token = buf_slice(&file);
        while (token.len > 0 && file.data[token.len - 1] <= ' ')
            token.len--;
    } else if (token.len == 0) {
        return QUERN_OK;
    }
    if (!is_token(token.data, token.len))
        return err_set(&r->err, QUERN_INVALID, "%s holds no token: one word in one line",
                       args->token_file != NULL ? args->token_file : "QUERN_TOKEN");
    if (buf_append(&field, begin, sizeof(begin) - 1, &r->err) ||
        buf_append(&field, token.data, token.len, &r->err) || buf_append(&field, "", 1, &r->err))
        return r->err.code;
    longer = curl_slist_append(r->headers, (const char *)field.data);
    if (longer == NULL)
        return err_memory(&r->err, "an HTTP client");
    r->headers = longer;
    return QUERN_OK;
}

enum quern_code remote_init(struct remote *r, const struct cli_args *args)
{
    const char *url = args->url;

    *r = (struct remote){.args = args, .base = url, .database = args->database};
    r->easy = curl_easy_init();
    r->headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
    if (r->easy == NULL || r->headers == NULL)
        return err_memory(&r->err, "an HTTP client");
    if (add_token(r, args))
        return r->err.code;
    if (strncmp(url, "unix:", 5) == 0) {
        r->base = "http://localhost";
        (void)curl_easy_setopt(r->easy, CURLOPT_UNIX_SOCKET_PATH, url + 5);
        (void)curl_easy_setopt(r->easy, CURLOPT_NOPROXY, "*");
    }
    (void)curl_easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    (void)curl_easy_setopt(r->easy, CURLOPT_TCP_NODELAY, 1L);
    (void)curl_easy_setopt(r->easy, CURLOPT_USERAGENT, "quern");
    (void)curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
    (void)curl_easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(r->easy, CURLOPT_WRITEDATA, r);
    (void)curl_easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(r->easy, CURLOPT_HEADERDATA, r);
    (void)curl_easy_setopt(r->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    (void)curl_easy_setopt(r->easy, CURLOPT_NOPROGRESS, 0L);
    if (args->cacert != NULL)
        (void)curl_easy_setopt(r->easy, CURLOPT_CAINFO, args->cacert);
    if (args->cert != NULL)
        (void)curl_easy_setopt(r->easy, CURLOPT_SSLCERT, args->cert);
    if (is_loopback(url))
        (void)curl_easy_setopt(r->easy, CURLOPT_NOPROXY, "*");
    return QUERN_OK;
}

void remote_done(struct remote *r)
{
    curl_easy_cleanup(r->easy);
    curl_slist_free_all(r->headers);
    buf_done(&r->url);
    buf_done(&r->body);
}

enum quern_code remote_add_database(struct remote *r)
{
    char text[16] = "";

    if (r->database != 0 || r->args->database_given)
        (void)snprintf(text, sizeof(text), "&db=%u", r->database);
    return buf_append(&r->url, text, strlen(text), &r->err);
}

enum quern_code remote_url(struct remote *r, const char *route, struct quern_slice key)
{
    size_t len = strlen(r->base);

    while (len > 0 && r->base[len - 1] == '/')
        len--;
    buf_clear(&r->url);
    if (buf_append(&r->url, r->base, len, &r->err) ||
        buf_append(&r->url, route, strlen(route), &r->err))
        return r->err.code;
    if (key.len != 0 && (buf_append(&r->url, "?key=", 5, &r->err) ||
                         bytes_to_percent(key, &r->url, &r->err) || remote_add_database(r)))
        return r->err.code;
    return QUERN_OK;
}

/* What curl's failure means: nobody there (3), or an exchange that broke off (4). */
static enum cli_exit exchange_failed(struct remote *r, CURLcode code)
{
    if (code == CURLE_ABORTED_BY_CALLBACK || cli_interrupted())
        return EXIT_INTERRUPTED;
    if (r->line_failed)
        return cli_fail(&r->err, false);
    if (code == CURLE_WRITE_ERROR && !out_good())
        return EXIT_REFUSED; /* nobody reads any more: out_finish() tells */
    (void)err_set(&r->err, QUERN_IO, "%s: %s", r->args->url, curl_easy_strerror(code));
    (void)cli_fail(&r->err, false);
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return EXIT_USAGE;
    case CURLE_COULDNT_CONNECT:
        fprintf(stderr, "quern: is a quernd running, and on that %s?\n",
                r->base == r->args->url ? "port" : "socket");
        return EXIT_NO_STORE;
    case CURLE_PEER_FAILED_VERIFICATION:
        fprintf(stderr, "quern: is its certificate of a CA that --cacert names, or this system "
                        "trusts, and made for that name?\n");
        return EXIT_REFUSED;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return EXIT_NO_STORE;
    case CURLE_OPERATION_TIMEDOUT: /* only the connection has a time limit */
        return EXIT_NO_STORE;
    default:
        return EXIT_REFUSED;
    }
}

enum quern_code remote_prepare(struct remote *r, const char *method, const struct quern_slice *body)
{
    if (buf_append(&r->url, "", 1, &r->err)) /* the zero that ends a C string */
        return r->err.code;
    buf_clear(&r->body);
    r->line_failed = false;
    r->durability[0] = '\0';
    (void)curl_easy_setopt(r->easy, CURLOPT_URL, (const char *)r->url.data);
    if (body != NULL) {
        (void)curl_easy_setopt(r->easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
        (void)curl_easy_setopt(r->easy, CURLOPT_POSTFIELDS, body->len != 0 ? body->data : "");
    } else {
        (void)curl_easy_setopt(r->easy, CURLOPT_HTTPGET, 1L);
    }
    (void)curl_easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, method);
    return QUERN_OK;
}

enum cli_exit remote_judge(struct remote *r, CURLcode code)
{
    long status = 0;
    size_t line;

    if (code != CURLE_OK)
        return exchange_failed(r, code);
    (void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200)
        return EXIT_GOOD;
    if (status == 404)
        return EXIT_NOT_FOUND;
    for (line = 0; line < r->body.len && line < 200 && r->body.data[line] >= ' ';)
        line++;
    (void)err_set(&r->err, QUERN_IO, "the server answered %ld: %.*s", status, (int)line,
                  r->body.len != 0 ? (const char *)r->body.data : "");
    (void)cli_fail(&r->err, false);
    if (status == 401)
        fprintf(stderr, "quern: a token is shown with --token-file FILE, or QUERN_TOKEN in the "
                        "environment\n");
    return EXIT_REFUSED;
}

enum cli_exit remote_exchange(struct remote *r, const char *method, const struct quern_slice *body)
{
    if (remote_prepare(r, method, body))
        return cli_fail(&r->err, false);
    return remote_judge(r, curl_easy_perform(r->easy));
}

enum quern_code remote_prepare_put(struct remote *r, struct quern_slice key,
                                   struct quern_slice value, uint64_t expires_ms)
{
    char moment[WHEN_BYTES + 1], ttl[48] = "";
    size_t ttl_len = 0;

    if (r->args->ttl_ms != 0) /* from now on by the server's clock */
        ttl_len = (size_t)snprintf(ttl, sizeof(ttl), "&ttl=%" PRIu64 "ms", r->args->ttl_ms);
    if (remote_url(r, "/set", key) || buf_append(&r->url, ttl, ttl_len, &r->err) ||
        (r->args->sync && buf_append(&r->url, "&sync=1", 7, &r->err)) ||
        /* An empty body is no value for the server: an empty value is said so. */
        (value.len == 0 && buf_append(&r->url, "&value=", 7, &r->err)))
        return r->err.code;
    if (expires_ms != 0) {
        (void)when_write(expires_ms, moment);
        if (buf_append(&r->url, "&expires_at=", 12, &r->err) ||
            buf_append(&r->url, moment, WHEN_BYTES, &r->err))
            return r->err.code;
    }
    return remote_prepare(r, "POST", &value);
}

enum cli_exit remote_no_quernd(struct remote *r)
{
    (void)err_set(&r->err, QUERN_IO, "%s: there is no quernd at this address (404)", r->args->url);
    return cli_fail(&r->err, false);
}
