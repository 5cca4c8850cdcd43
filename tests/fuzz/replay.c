/* Runs a fuzz target over the files and folders given, without libFuzzer: the corpus as a test. */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned replayed;

static void
replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    DEMAND(file != NULL);
    struct stat st;
    DEMAND(fstat(fileno(file), &st) == 0);
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size > 0 ? size : 1);
    DEMAND(data != NULL && fread(data, 1, size, file) == size);
    fclose(file);
    printf("%s\n", path);
    fflush(stdout); /* the last line names the culprit */
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
}

static void
replay(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        replay_file(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char name[4096];
        DEMAND(snprintf(name, sizeof name, "%s/%s", path, entry->d_name) < (int)sizeof name);
        replay(name);
    }
    closedir(dir);
}

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    printf("%u inputs\n", replayed);
    return replayed > 0 ? 0 : 1;
}
