/* replay.c - stands in for libFuzzer: gives every file of the named folders to the fuzz target,
 * once each, and speaks TAP. So each kept input is a plain test under every compiler and
 * sanitizer. */
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Returns false when the file cannot be read. */
static bool replay(const char *folder, const char *name)
{
    char path[1024];
    uint8_t *data;
    FILE *file;
    long size;
    bool good;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rbe");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0)
        return false;
    size = ftell(file);
    rewind(file);
    data =
        malloc(size > 0 ? (size_t)size : 1); /* exact, so that a sanitizer sees one byte too far */
    good = data != NULL && size >= 0 && fread(data, 1, (size_t)size, file) == (size_t)size;
    (void)fclose(file);
    if (good)
        (void)LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return good;
}

int main(int argc, char **argv)
{
    int count = 0, bad = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        struct dirent *entry;
        int files = 0;

        while (folder != NULL && (entry = readdir(folder)) != NULL) {
            if (entry->d_name[0] == '.')
                continue;
            files++;
            if (!replay(argv[i], entry->d_name)) {
                printf("# cannot read %s/%s\n", argv[i], entry->d_name);
                files = 0;
                break;
            }
        }
        if (folder != NULL)
            (void)closedir(folder);
        bad += files == 0;
        printf("%s %d - %d kept inputs of %s are taken without harm\n", files > 0 ? "ok" : "not ok",
               ++count, files, argv[i]);
    }
    printf("1..%d\n", count);
    return bad != 0;
}
