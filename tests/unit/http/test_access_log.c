/* The access log's writer: order, whole lines, rotation, files that take nothing, exclusion. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/access_log.h"

static struct sl_access_log *
open_log(int fd, const char *const *exclude)
{
    struct sl_access_log_options options = {.format = "%(m)s %(U)s %(s)s", .fd = fd};
    struct sl_access_log *log = NULL;
    struct sl_error err = {0, ""};
    options.exclude = exclude;
    assert_int_equal(sl_access_log_open(&options, &log, &err), SL_OK);
    return log;
}

static void
note_status(struct sl_access_log *log, struct sl_access_desk *desk, const char *path, int status)
{
    static const struct sl_peer peer = {.addr = "::1"};
    struct sl_request req = {
        .method = {"GET", 3}, .path = {path, strlen(path)}, .peer = &peer, .version_major = 1};
    struct sl_access_entry entry = {.req = &req, .status = status};
    sl_access_log_note(log, desk, &entry);
}

static void
note(struct sl_access_log *log, const char *path)
{
    struct sl_access_desk desk = {0};
    note_status(log, &desk, path, 200);
    sl_access_desk_release(&desk);
}

static int
scratch_file(void)
{
    int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static char *
content(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *text = calloc(1, (size_t)st.st_size + 1);
    assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
    return text;
}

static void
expect_content(int fd, const char *expected)
{
    char *text = content(fd);
    assert_string_equal(text, expected);
    free(text);
}

static void
test_lines_are_written_in_order_and_at_close(void **state)
{
    (void)state;
    int fd = scratch_file();
    struct sl_access_log *log = open_log(fd, NULL);
    note(log, "/1");
    note(log, "/2");
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    expect_content(fd, "GET /1 200\nGET /2 200\n");
    note(log, "/3");
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    expect_content(fd, "GET /1 200\nGET /2 200\nGET /3 200\n");
    close(fd);
    assert_int_equal(sl_access_log_close(NULL, 0), SL_OK);
}

static void
test_lines_appear_without_a_close(void **state)
{
    (void)state;
    int ends[2];
    char text[64] = "";
    assert_int_equal(pipe(ends), 0);
    struct sl_access_log *log = open_log(ends[1], NULL);
    note(log, "/1");
    assert_int_equal(read(ends[0], text, sizeof text), 11); /* blocks until it is there */
    note(log, "/2");
    assert_int_equal(read(ends[0], text, sizeof text), 11);
    assert_memory_equal(text, "GET /2 200\n", 11);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    close(ends[0]);
    close(ends[1]);
}

enum { THREADS = 4, LINES = 5000 };

static void *
write_many(void *arg)
{
    struct sl_access_log *log = arg;
    struct sl_access_desk desk = {0};
    for (int i = 0; i < LINES; i++)
        note_status(log, &desk, "/many", 200 + i % 2);
    sl_access_desk_release(&desk);
    return NULL;
}

static void
test_threads_and_rotation_lose_and_double_nothing(void **state)
{
    (void)state;
    enum { FILES = 20 };
    int files[FILES];
    pthread_t threads[THREADS];
    files[0] = scratch_file();
    struct sl_access_log *log = open_log(files[0], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, log), 0);
    for (int i = 1; i < FILES; i++) {
        files[i] = scratch_file();
        assert_int_equal(sl_access_log_reopen(log, files[i]), SL_OK);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    size_t lines = 0;
    for (int i = 0; i < FILES; i++) {
        char *text = content(files[i]);
        for (char *line = text; *line != '\0'; line += 14, lines++) {
            assert_memory_equal(line, "GET /many 20", 12);
            assert_int_equal(line[13], '\n');
        }
        free(text);
        close(files[i]);
    }
    assert_int_equal(lines, THREADS * LINES);
}

static void
test_after_reopen_the_old_file_gets_nothing(void **state)
{
    (void)state;
    int old = scratch_file(), new = scratch_file();
    struct sl_access_log *log = open_log(old, NULL);
    note(log, "/old");
    assert_int_equal(sl_access_log_reopen(log, new), SL_OK);
    expect_content(old, "GET /old 200\n"); /* at once, not at the close */
    note(log, "/new");
    assert_int_equal(sl_access_log_reopen(log, 999), SL_ESYS); /* no such descriptor: as before */
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    expect_content(old, "GET /old 200\n");
    expect_content(new, "GET /new 200\n");
    close(old);
    close(new);
}

static int
open_files(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void
test_files_that_are_not_its_own_are_not_kept_open(void **state)
{
    (void)state;
    int before = open_files(), ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    struct sl_access_log *log = open_log(ends[1], NULL); /* its thread could see the pipe's end */
    int file = scratch_file();
    assert_int_equal(sl_access_log_reopen(log, file), SL_OK);
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0); /* waits for ever if somebody has it */
    close(ends[0]);
    int open_now = open_files();
    for (int i = 0; i < 20; i++)
        assert_int_equal(sl_access_log_reopen(log, file), SL_OK);
    assert_int_equal(open_files(), open_now);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    close(file);
    assert_int_equal(open_files(), before);
}

static void
test_reopens_while_the_writer_is_stuck(void **state)
{
    (void)state;
    int ends[2], files[2], here = 0;
    static char path[200001], sink[65536];
    memset(path, 'a', sizeof path - 1);
    assert_int_equal(pipe(ends), 0);
    struct sl_access_log *log = open_log(ends[1], NULL);
    note(log, path);     /* more than the pipe takes */
    while (here < 65536) /* until the writer has filled it */
        assert_int_equal(ioctl(ends[0], FIONREAD, &here), 0);
    for (int i = 0; i < 2; i++) {
        files[i] = scratch_file();
        assert_int_equal(sl_access_log_reopen(log, files[i]), SL_ETIMEOUT);
    }
    note(log, "/2");
    size_t total = sizeof path - 1 + strlen("GET  200\nGET /2 200\n");
    while (total > 0) {
        ssize_t n = read(ends[0], sink, sizeof sink);
        assert_in_range(n, 1, total);
        total -= (size_t)n;
    }
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    note(log, "/3");
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    expect_content(files[0], ""); /* it was replaced before its turn came */
    expect_content(files[1], "GET /3 200\n");
    for (int i = 0; i < 2; i++) {
        close(files[i]);
        close(ends[i]);
    }
}

static void
test_a_desk_gathers_until_the_clock_goes_on(void **state)
{
    (void)state;
    static const struct sl_peer peer = {.addr = "::1"};
    struct sl_request req = {.method = {"GET", 3}, .path = {"/", 1}, .peer = &peer};
    struct sl_access_entry entry = {.req = &req, .status = 1};
    struct timespec moment = {1000, 4000000};
    struct sl_access_desk desk = {.gathers = true};
    int fd = scratch_file();
    struct sl_access_log *log = open_log(fd, NULL);
    for (; entry.status < 4; entry.status++) {
        sl_access_log_expect(log, &desk, &moment);
        sl_access_log_note(log, &desk, &entry);
    }
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    expect_content(fd, "");
    moment.tv_nsec += 4000000;
    sl_access_log_expect(log, &desk, &moment);
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    expect_content(fd, "GET / 1\nGET / 2\nGET / 3\n");
    sl_access_log_note(log, &desk, &entry);
    sl_access_log_hand_over(log, &desk);
    sl_access_log_hand_over(log, &desk); /* nothing: no second time */
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    expect_content(fd, "GET / 1\nGET / 2\nGET / 3\nGET / 4\n");
    for (int i = 0; i < 10000; i++)
        sl_access_log_note(log, &desk, &entry);
    assert_in_range(desk.lines.cap, 1, 64 * 1024); /* never all of them */
    sl_access_log_hand_over(log, &desk);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 10004 * strlen("GET / 4\n"));
    sl_access_desk_release(&desk);
    close(fd);
}

static void
test_a_pipe_gets_whole_lines_in_small_pieces(void **state)
{
    (void)state;
    int ends[2];
    /* In packet mode a read gives what one write gave. */
    assert_int_equal(pipe2(ends, O_DIRECT), 0);
    struct sl_access_log *log = open_log(ends[1], NULL);
    for (int i = 0; i < 1000; i++)
        note(log, "/12345678901234567890");
    size_t total = 0;
    static char text[65536];
    while (total < 1000 * 30) {
        ssize_t n = read(ends[0], text, sizeof text);
        assert_in_range(n, 1, 4096);
        assert_int_equal(text[n - 1], '\n');
        total += (size_t)n;
    }
    assert_int_equal(total, 1000 * 30);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    close(ends[0]);
    close(ends[1]);
}

static void
test_a_reader_that_went_away_costs_lines_only(void **state)
{
    (void)state;
    int ends[2], file = scratch_file();
    assert_int_equal(pipe(ends), 0);
    struct sl_access_log *log = open_log(ends[1], NULL);
    close(ends[0]);
    note(log, "/1");
    note(log, "/2");
    sl_access_log_reopen(log, file);
    assert_int_equal(sl_access_log_dropped(log), 2);
    note(log, "/3");
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    expect_content(file, "GET /3 200\n");
    close(ends[1]);
    close(file);
}

static void
test_a_reader_that_sleeps_holds_up_nobody(void **state)
{
    (void)state;
    int ends[2];
    static char path[10001];
    memset(path, 'a', sizeof path - 1);
    assert_int_equal(pipe(ends), 0);
    struct sl_access_log *log = open_log(ends[1], NULL);
    for (int i = 0; i < 2000; i++) /* 20 MB: far more than pipe and buffer take */
        note(log, path);
    assert_in_range(sl_access_log_dropped(log), 1000, 1999);
    assert_int_equal(sl_access_log_flush(log), SL_ETIMEOUT);
    assert_int_equal(sl_access_log_close(log, 50), SL_ETIMEOUT);
    /* The writer goes on: when the reader wakes up it gets all that was not dropped. */
    static char sink[65536];
    uint64_t lines = sl_access_log_dropped(log);
    while (lines < 2000) {
        ssize_t n = read(ends[0], sink, sizeof sink);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            lines += sink[i] == '\n';
    }
    assert_int_equal(lines, 2000);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    close(ends[0]);
    close(ends[1]);
}

static void
test_a_non_blocking_pipe_is_waited_for(void **state)
{
    (void)state;
    int ends[2];
    static char sink[65536];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    fcntl(ends[0], F_SETFL, 0);
    struct sl_access_log *log = open_log(ends[1], NULL);
    for (int i = 0; i < 20000; i++)
        note(log, "/12345678901234567890");
    for (size_t total = 0; total < 20000 * 30;) {
        ssize_t n = read(ends[0], sink, sizeof sink);
        assert_true(n > 0);
        total += (size_t)n;
    }
    assert_int_equal(sl_access_log_dropped(log), 0);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    close(ends[0]);
    close(ends[1]);
}

/* What malloc() has given away; nothing with a sanitizer's. */
static size_t
memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void
test_memory_for_a_burst_is_given_back(void **state)
{
    (void)state;
    struct sl_access_desk desk = {.gathers = true};
    int fd = scratch_file();
    struct sl_access_log *log = open_log(fd, NULL);
    note_status(log, &desk, "/", 200);
    sl_access_log_hand_over(log, &desk);
    assert_int_equal(sl_access_log_flush(log), SL_OK);
    size_t before = memory_in_use();
    for (int round = 0; round < 2; round++) { /* the two buffers of the writer */
        for (int i = 0; i < 50000; i++)
            note_status(log, &desk, "/12345678901234567890", 200);
        sl_access_log_hand_over(log, &desk);
        assert_int_equal(sl_access_log_flush(log), SL_OK);
    }
    for (int i = 0; memory_in_use() > before + 128 * 1024; i++) {
        assert_true(i < 5000);
        usleep(1000);
    }
    assert_int_equal(sl_access_log_dropped(log), 0);
    note_status(log, &desk, "/again", 200);
    sl_access_log_hand_over(log, &desk);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 10 + 2 * 50000 * 30 + 15);
    sl_access_desk_release(&desk);
    close(fd);
}

static void
test_exclusion(void **state)
{
    (void)state;
    static const char *const exclude[] = {"/health 2xx", "/static/*", "304", NULL};
    struct sl_access_desk desk = {0};
    int fd = scratch_file();
    struct sl_access_log *log = open_log(fd, exclude);
    note_status(log, &desk, "/health", 200);
    note_status(log, &desk, "/health", 500);
    note_status(log, &desk, "/healthy", 200);
    note_status(log, &desk, "/static/a.css", 404);
    note_status(log, &desk, "/static", 200);
    note_status(log, &desk, "/other", 304);
    note_status(log, &desk, "/other", 303);
    assert_int_equal(sl_access_log_close(log, 5000), SL_OK);
    sl_access_desk_release(&desk);
    expect_content(fd, "GET /health 500\nGET /healthy 200\nGET /static 200\nGET /other 303\n");
    close(fd);
}

static void
test_a_wrong_exclusion_is_one_sentence(void **state)
{
    (void)state;
    static const char *const wrong[] = {"health", "/health 99", "/health 2xx x", "6xx", "20", ""};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *exclude[] = {"/fine", wrong[i], NULL};
        struct sl_access_log_options options = {.format = "%(h)s", .fd = 1, .exclude = exclude};
        struct sl_access_log *log = NULL;
        struct sl_error err = {0, ""};
        assert_int_equal(sl_access_log_open(&options, &log, &err), SL_EINVAL);
        assert_null(log);
        assert_memory_equal(err.text, wrong[i], strlen(wrong[i]));
    }
}

static void
take_line(void *ctx, const char *line, size_t len)
{
    char *to = ctx;
    memcpy(to, line, len);
    to[len] = '\0';
}

static void
test_lines_may_go_to_a_function(void **state)
{
    (void)state;
    char text[64] = "";
    struct sl_access_log_options options = {
        .format = "%(m)s %(U)s", .fd = -1, .on_line = take_line, .ctx = text};
    struct sl_access_log *log = NULL;
    assert_int_equal(sl_access_log_open(&options, &log, NULL), SL_OK);
    note(log, "/1");
    assert_string_equal(text, "GET /1");
    assert_int_equal(sl_access_log_reopen(log, 1), SL_OK);
    assert_int_equal(sl_access_log_close(log, 0), SL_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_written_in_order_and_at_close),
        cmocka_unit_test(test_lines_appear_without_a_close),
        cmocka_unit_test(test_threads_and_rotation_lose_and_double_nothing),
        cmocka_unit_test(test_after_reopen_the_old_file_gets_nothing),
        cmocka_unit_test(test_files_that_are_not_its_own_are_not_kept_open),
        cmocka_unit_test(test_reopens_while_the_writer_is_stuck),
        cmocka_unit_test(test_a_desk_gathers_until_the_clock_goes_on),
        cmocka_unit_test(test_a_pipe_gets_whole_lines_in_small_pieces),
        cmocka_unit_test(test_a_reader_that_went_away_costs_lines_only),
        cmocka_unit_test(test_a_reader_that_sleeps_holds_up_nobody),
        cmocka_unit_test(test_a_non_blocking_pipe_is_waited_for),
        cmocka_unit_test(test_memory_for_a_burst_is_given_back),
        cmocka_unit_test(test_exclusion),
        cmocka_unit_test(test_a_wrong_exclusion_is_one_sentence),
        cmocka_unit_test(test_lines_may_go_to_a_function),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("access_log", tests, NULL, NULL);
}
