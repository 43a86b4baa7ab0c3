/* test_logline.c - a line of a log is one line, and well formed, whatever is put into it. */
#include "server/observe/logline.h"

#include "tap.h"

#include <string.h>

static struct logline line;

static struct quern_slice text(const char *s)
{
    return (struct quern_slice){s, strlen(s)};
}

/* What stands behind the time. */
static const char *after_ts(struct quern_slice whole)
{
    static char copy[LOGLINE_BYTES + 1];

    memcpy(copy, whole.data, whole.len);
    copy[whole.len] = '\0';
    return strstr(copy, "Z") + 1;
}

TEST(logline_json_escapes_what_json_must)
{
    logline_begin(&line, LOG_JSON);
    logline_text(&line, "a", text("x \"y\" \\ \n\r\t\x7f"));
    logline_text(&line, "b", (struct quern_slice){"\0\xff\xc3\xbc\xc3", 5});
    logline_number(&line, "n", UINT64_MAX);
    CHECK_EQ(strcmp(after_ts(logline_end(&line)),
                    "\",\"a\":\"x \\\"y\\\" \\\\ "
                    "\\u000a\\u000d\\u0009\\u007f\",\"b\":\"\\u0000\\u00ff\xc3\xbc\\u00c3\","
                    "\"n\":18446744073709551615}\n"),
             0);
}

TEST(logline_logfmt_quotes_what_does_not_stand_bare)
{
    logline_begin(&line, LOG_LOGFMT);
    logline_text(&line, "a", text("plain/{key}"));
    logline_text(&line, "b", text("two words"));
    logline_text(&line, "c", text("a=b"));
    logline_text(&line, "d", text(""));
    logline_text(&line, "e", text("\n"));
    logline_number(&line, "n", 0);
    CHECK_EQ(strcmp(after_ts(logline_end(&line)),
                    " a=plain/{key} b=\"two words\" c=\"a=b\" d=\"\" e=\"\\u000a\" n=0\n"),
             0);
}

/* Is it one object of texts and numbers, on one line? */
static bool is_json_line(struct quern_slice whole)
{
    const char *s = whole.data;
    bool inside = false;

    if (whole.len < 3 || s[0] != '{' || s[whole.len - 2] != '}' || s[whole.len - 1] != '\n')
        return false;
    for (size_t i = 0; i + 1 < whole.len; i++) {
        if ((unsigned char)s[i] < 0x20)
            return false;
        if (inside && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            inside = !inside;
    }
    return !inside;
}

TEST(logline_that_is_too_long_is_cut_and_stays_well_formed)
{
    static char many[4096];

    for (size_t len = 0; len < sizeof(many); len += 7) {
        for (int kind = 0; kind < 4; kind++) {
            struct quern_slice whole;

            memset(many, "x\"\x01\xe2"[kind], len);
            for (int format = LOG_LOGFMT; format <= LOG_JSON; format++) {
                logline_begin(&line, (enum log_format)format);
                logline_text(&line, "a", (struct quern_slice){many, len});
                logline_text(&line, "b", (struct quern_slice){many, len / 2});
                logline_number(&line, "n", 12345);
                whole = logline_end(&line);
                CHECK(whole.len <= LOGLINE_BYTES);
                CHECK(memchr(whole.data, '\n', whole.len - 1) == NULL);
                CHECK(format != LOG_JSON || is_json_line(whole));
            }
        }
    }
}
