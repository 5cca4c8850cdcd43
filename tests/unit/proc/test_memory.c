/* What a process uses, from a made-up /proc and from the real one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <proc/memory.h>

enum { MB = 1 << 20 };

static char root[64];

static void
put(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/7", root);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/7/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int
setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/saola-memory-XXXXXX");
    assert_non_null(mkdtemp(root));
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static long long
read_made_up(long long limit, const char **ret_why)
{
    long long bytes = -1;
    assert_int_equal(sl_memory_read(root, 7, limit, &bytes, ret_why), SL_OK);
    return bytes;
}

static void
test_pages_are_added_up_only_above_the_limit(void **state)
{
    (void)state;
    const char *why;
    long long page = sysconf(_SC_PAGESIZE);
    put("statm", "9000 1000 400 1 0 800 0\n");
    assert_int_equal(read_made_up(1000 * page, &why), 1000 * page); /* smaps_rollup is not there */
    assert_null(why);
    put("smaps_rollup",
        "55d8a3a6c000-7ffd4b5f2000 ---p 00000000 00:00 0                          [rollup]\n"
        "Rss:                4000 kB\nPss:                1234 kB\nPss_Anon:  77 kB\n");
    assert_int_equal(read_made_up(1000 * page - 1, &why), 1234 * 1024);
    assert_null(why);
}

static void
test_without_pss_pages_without_files_count(void **state)
{
    (void)state;
    const char *why = NULL;
    long long page = sysconf(_SC_PAGESIZE);
    put("statm", "9000 1000 400 1 0 800 0\n");
    assert_int_equal(read_made_up(0, &why), 600 * page);
    assert_string_equal(why, strerror(ENOENT));
    put("smaps_rollup", "something else\n");
    assert_int_equal(read_made_up(0, &why), 600 * page);
    assert_string_equal(why, strerror(EPROTO));
}

static void
test_a_process_that_is_gone(void **state)
{
    (void)state;
    const char *why;
    long long bytes;
    errno = 0;
    assert_int_equal(sl_memory_read(root, 7, 0, &bytes, &why), SL_ESYS);
    assert_int_equal(errno, ENOENT);
    put("statm", "nothing\n");
    assert_int_equal(sl_memory_read(root, 7, 0, &bytes, &why), SL_ESYS);
    assert_int_equal(errno, EPROTO);
}

/* A child that shares 32 MB with us and has 16 MB of its own: PSS has about half of the first. */
static void
test_shared_pages_count_in_shares(void **state)
{
    (void)state;
    int ready[2], end[2];
    char *shared = mmap(NULL, 32 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    memset(shared, 1, 32 * MB);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte = 0;
        close(end[1]);
        char *own = mmap(NULL, 16 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(own, 1, 16 * MB);
        _exit(write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) != 0);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    const char *why;
    long long bytes = 0;
    assert_int_equal(sl_memory_read("/proc", pid, 0, &bytes, &why), SL_OK);
    assert_null(why);
    assert_in_range(bytes, 32 * MB, 44 * MB);
    close(end[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
    close(end[0]);
    munmap(shared, 32 * MB);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pages_are_added_up_only_above_the_limit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_without_pss_pages_without_files_count, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_a_process_that_is_gone, setup, teardown),
        cmocka_unit_test(test_shared_pages_count_in_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
