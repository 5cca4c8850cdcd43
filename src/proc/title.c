/* Process titles without a library. The kernel prints /proc/PID/cmdline from the memory that
 * execve(2) filled with arguments; /proc/self/stat says where that is. Behind it lies the
 * environment: its strings are copied elsewhere and the room is used too. When the last byte of the
 * argument area is not NUL the kernel reads on into the environment area up to the first NUL
 * (fs/proc/base.c, get_mm_cmdline). */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <saola/host.h>
#include <saola/status.h>

/* Fields 48 to 51 of /proc/self/stat: arg_start, arg_end, env_start, env_end. */
static int
read_areas(uintptr_t ret[4])
{
    char line[4096];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return SL_EUNAVAILABLE;
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    if (n <= 0)
        return SL_EUNAVAILABLE;
    line[n] = '\0';
    char *at = strrchr(line, ')'); /* the name in field 2 may hold anything */
    if (at == NULL)
        return SL_EUNAVAILABLE;
    at++;
    for (int field = 3; field <= 51; field++) {
        at += strspn(at, " ");
        if (*at == '\0')
            return SL_EUNAVAILABLE;
        if (field >= 48)
            ret[field - 48] = (uintptr_t)strtoull(at, NULL, 10);
        at += strcspn(at, " ");
    }
    return SL_OK;
}

static bool
is_inhabited(uintptr_t start, uintptr_t end)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        if ((uintptr_t)*entry >= start && (uintptr_t)*entry < end)
            return true;
    }
    return false;
}

/* Copies the whole area start..end and points environ there. The copy lives as long as the
 * process. The second time in a process nobody lives there any more. */
static int
move_environment(uintptr_t start, uintptr_t end, char **ret_copy)
{
    size_t size = end - start;
    if (!is_inhabited(start, end))
        return SL_OK;
    char *copy = malloc(size);
    if (copy == NULL)
        return SL_ENOMEM;
    memcpy(copy, (const char *)start, size);
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        uintptr_t at = (uintptr_t)*entry;
        if (at >= start && at < end)
            *entry = copy + (at - start);
    }
    *ret_copy = copy;
    return SL_OK;
}

static void
set_program_name(char *name)
{
    char *slash = strrchr(name, '/');
    program_invocation_name = name;
    program_invocation_short_name = slash != NULL ? slash + 1 : name;
}

int
sl_title_init(struct sl_title *title)
{
    uintptr_t areas[4];
    *title = (struct sl_title){0};
    if (read_areas(areas) != SL_OK)
        return SL_EUNAVAILABLE;
    uintptr_t arg_start = areas[0], arg_end = areas[1], env_start = areas[2], env_end = areas[3];
    /* Emulators and sandboxes report zeros or somebody else's addresses: libc's own copy of argv[0]
     * must agree before anything is written there. */
    if (arg_start == 0 || arg_end <= arg_start || (uintptr_t)program_invocation_name != arg_start)
        return SL_EUNAVAILABLE;
    uintptr_t end = arg_end;
    if (env_start == arg_end && env_end > env_start &&
        move_environment(env_start, env_end, &title->environment) == SL_OK)
        end = env_end;
    title->before_size = arg_end - arg_start;
    title->before = malloc(title->before_size);
    if (title->before != NULL)
        memcpy(title->before, (const char *)arg_start, title->before_size);
    prctl(PR_GET_NAME, title->name);
    /* Nobody must be left with a pointer into the area, and libc keeps the program's name. Without
     * memory a wrong name in a message is all that can happen. */
    title->program = strdup(program_invocation_name);
    if (title->program != NULL)
        set_program_name(title->program);
    title->area = (char *)arg_start;
    title->size = end - arg_start;
    return SL_OK;
}

void
sl_title_release(struct sl_title *title)
{
    if (title->area != NULL && title->before != NULL) {
        memset(title->area, 0, title->size);
        memcpy(title->area, title->before, title->before_size);
        prctl(PR_SET_NAME, title->name);
        set_program_name(title->area);
        free(title->program);
    }
    free(title->before);
    *title = (struct sl_title){0};
}

void
sl_title_set(const struct sl_title *title, const char *text)
{
    /* What stands in brackets is no part of the short name. */
    char name[16];
    const char *end = strstr(text, " [");
    snprintf(name, sizeof name, "%.*s", (int)(end != NULL ? end - text : 15), text);
    prctl(PR_SET_NAME, name);
    if (title->area == NULL)
        return;
    size_t len = strlen(text);
    if (len > title->size - 1)
        len = title->size - 1;
    memcpy(title->area, text, len);
    memset(title->area + len, 0, title->size - len);
}
