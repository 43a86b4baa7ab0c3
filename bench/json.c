/* json.c - what both programs need to write JSON. */
#include "json.h"

void json_string(FILE *f, const char *text)
{
    (void)fputc('"', f);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            (void)fprintf(f, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            (void)fprintf(f, "\\u%04x", (unsigned)*text);
        else
            (void)fputc(*text, f);
    }
    (void)fputc('"', f);
}
