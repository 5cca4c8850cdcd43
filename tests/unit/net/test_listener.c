/* Listeners: opening, refusing, replacing, adopting, and leaving other people's files alone. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include <net/listener.h>

static int fail_bind, fail_listen;

int __real_bind(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len);
int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);

int
__wrap_bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    if (fail_bind == 0)
        return __real_bind(fd, sa, len);
    errno = fail_bind;
    return -1;
}

int
__wrap_listen(int fd, int backlog)
{
    if (fail_listen == 0)
        return __real_listen(fd, backlog);
    errno = fail_listen;
    return -1;
}

static const struct sl_listener_options defaults = {
    .backlog = 16, .umask = 0, .uid = (uid_t)-1, .gid = (gid_t)-1};

static int descriptors_before;
static char dir[] = "/tmp/saola-listener-XXXXXX";

static int
count_descriptors(void)
{
    int count = 0;
    DIR *fds = opendir("/proc/self/fd");
    while (readdir(fds) != NULL)
        count++;
    closedir(fds);
    return count;
}

static int
setup(void **state)
{
    (void)state;
    fail_bind = fail_listen = 0;
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    descriptors_before = count_descriptors();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    assert_int_equal(count_descriptors(), descriptors_before);
    assert_int_equal(rmdir(dir), 0); /* no file left */
    return 0;
}

static int
open_text(const char *text, struct sl_listener *listener, struct sl_error *err)
{
    struct sl_address address;
    int rc = sl_address_parse(text, &address, err);
    return rc != SL_OK ? rc : sl_listener_open(&address, &defaults, listener, err);
}

static void
assert_opens(const char *text, struct sl_listener *listener)
{
    struct sl_error err;
    if (open_text(text, listener, &err) != SL_OK)
        fail_msg("%s: %s", text, err.text);
}

static int
client_to(const struct sl_listener *listener)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&storage, &len), 0);
    int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&storage, len) == 0)
        return fd;
    close(fd);
    return -1;
}

static int
option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    getsockopt(fd, level, name, &value, &len);
    return value;
}

static void
test_a_tcp_listener_accepts_and_is_set_up_as_servers_need(void **state)
{
    (void)state;
    struct sl_listener l;
    char expected[64];
    assert_opens("127.0.0.1:0", &l);
    assert_int_equal(l.family, AF_INET);
    assert_true(l.port != 0);
    assert_false(l.inherited);
    assert_string_equal(l.address, "127.0.0.1");
    snprintf(expected, sizeof expected, "http://127.0.0.1:%u", (unsigned)l.port);
    assert_string_equal(l.name, expected);
    assert_true(option(l.fd, SOL_SOCKET, SO_REUSEADDR));
    assert_true(option(l.fd, IPPROTO_TCP, TCP_NODELAY));
    assert_false(option(l.fd, SOL_SOCKET, SO_REUSEPORT));
    assert_true(fcntl(l.fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(l.fd, F_GETFD) & FD_CLOEXEC);
    int client = client_to(&l);
    assert_true(client >= 0);
    close(client);
    assert_false(sl_listener_unlink(&l)); /* nothing to remove */
    sl_listener_close(&l);
    assert_int_equal(l.fd, -1);
    sl_listener_close(&l);
    sl_listener_close(NULL);
}

static void
test_a_taken_port_names_its_holder(void **state)
{
    (void)state;
    struct sl_listener l, second;
    struct sl_error err;
    char text[64], expected[160], comm[64] = "";
    assert_opens("127.0.0.1:0", &l);
    FILE *file = fopen("/proc/self/comm", "re");
    assert_non_null(fgets(comm, sizeof comm, file));
    fclose(file);
    comm[strcspn(comm, "\n")] = '\0';
    for (int i = 0; i < 2; i++) { /* the same address, and a wildcard that covers it */
        const char *host = i == 0 ? "127.0.0.1" : "0.0.0.0";
        snprintf(text, sizeof text, "%s:%u", host, (unsigned)l.port);
        assert_int_equal(open_text(text, &second, &err), SL_EBUSY);
        snprintf(expected, sizeof expected, "%s is in use by %s (pid %d)", text, comm,
                 (int)getpid());
        assert_string_equal(err.text, expected);
    }
    sl_listener_close(&l);
    assert_opens(text, &second); /* free again */
    sl_listener_close(&second);
}

static void
test_the_holder_of_nothing_is_nobody(void **state)
{
    (void)state;
    struct sl_holder holder;
    struct sockaddr_in in = {.sin_family = AF_INET}; /* port 0 is never listened on */
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_int_equal(sl_listener_holder((struct sockaddr *)&in, &holder), SL_ENOENT);
    assert_int_equal(sl_listener_holder((struct sockaddr *)&un, &holder), SL_ENOENT);
}

static void
test_reuse_port_lets_two_listen(void **state)
{
    (void)state;
    struct sl_listener_options options = defaults;
    options.reuse_port = true;
    struct sl_address address;
    struct sl_listener a, b;
    struct sl_error err;
    assert_int_equal(sl_address_parse("127.0.0.1:0", &address, &err), SL_OK);
    assert_int_equal(sl_listener_open(&address, &options, &a, &err), SL_OK);
    address.port = a.port;
    assert_int_equal(sl_listener_open(&address, &options, &b, &err), SL_OK);
    assert_int_equal(a.port, b.port);
    sl_listener_close(&a);
    sl_listener_close(&b);
}

static void
test_the_kernel_moves_queues_between_those_that_share_a_port_if_it_is_told_to(void **state)
{
    (void)state;
    struct sl_listener_options options = defaults;
    struct sl_address address;
    struct sl_listener shared, alone;
    struct sl_error err;
    int value = '0';
    FILE *file = fopen("/proc/sys/net/ipv4/tcp_migrate_req", "re");
    if (file != NULL) {
        value = getc(file);
        fclose(file);
    }
    assert_opens("127.0.0.1:0", &alone);
    options.reuse_port = true;
    assert_int_equal(sl_address_parse("127.0.0.1:0", &address, &err), SL_OK);
    assert_int_equal(sl_listener_open(&address, &options, &shared, &err), SL_OK);
    assert_false(sl_listener_migrates(alone.fd));
    assert_int_equal(sl_listener_migrates(shared.fd), value != '0');
    assert_false(sl_listener_migrates(-1));
    sl_listener_close(&shared);
    sl_listener_close(&alone);
}

static void
test_ipv6_shares_a_port_with_our_own_ipv4_socket(void **state)
{
    (void)state;
    struct sl_listener v4, v6, again;
    struct sl_error err;
    char text[64], name[64];
    assert_opens("0.0.0.0:0", &v4);
    snprintf(text, sizeof text, "[::]:%u", (unsigned)v4.port);
    int rc = open_text(text, &v6, &err);
    if (rc != SL_OK && strstr(err.text, "Address family not supported") != NULL) {
        sl_listener_close(&v4);
        skip();
    }
    assert_int_equal(rc, SL_OK);
    snprintf(name, sizeof name, "http://[::]:%u", (unsigned)v4.port);
    assert_string_equal(v6.name, name);
    assert_string_equal(v6.address, "::");
    assert_true(option(v6.fd, IPPROTO_IPV6, IPV6_V6ONLY));
    assert_int_equal(open_text(text, &again, &err), SL_EBUSY);
    assert_non_null(strstr(err.text, "is in use by"));
    sl_listener_close(&v6);
    sl_listener_close(&v4);
}

static void
test_a_name_with_several_addresses_takes_one_that_works(void **state)
{
    (void)state;
    struct sl_listener l;
    assert_opens("localhost:0", &l);
    assert_string_equal(l.address, "127.0.0.1");
    sl_listener_close(&l);
}

static void
test_foreign_addresses_and_kernel_failures_are_explained(void **state)
{
    (void)state;
    static const struct {
        int bind_errno, listen_errno, code;
        const char *sentence;
    } rows[] = {
        {EADDRNOTAVAIL, 0, SL_EINVAL, "127.0.0.1:9 is not an address of this machine"},
        {EACCES, 0, SL_ESYS,
         "127.0.0.1:9: permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE"},
        {ENOBUFS, 0, SL_ESYS, "127.0.0.1:9 cannot be opened: No buffer space available"},
        {EADDRINUSE, 0, SL_EBUSY, "127.0.0.1:9 is in use by another server"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sl_listener l;
        struct sl_error err;
        fail_bind = rows[i].bind_errno;
        assert_int_equal(open_text("127.0.0.1:9", &l, &err), rows[i].code);
        assert_string_equal(err.text, rows[i].sentence);
    }
    fail_bind = 0;
    fail_listen = EADDRINUSE;
    struct sl_listener l;
    struct sl_error err;
    assert_int_equal(open_text("127.0.0.1:0", &l, &err), SL_EBUSY);
}

static void
test_a_unix_listener_has_a_file_which_leaves_with_it(void **state)
{
    (void)state;
    struct sl_listener l;
    struct sl_listener_options options = defaults;
    struct sl_address address = {.kind = SL_ADDRESS_UNIX};
    struct sl_error err;
    struct stat st;
    snprintf(address.path, sizeof address.path, "%s/s", dir);
    mode_t before = umask(077);
    options.umask = 027;
    assert_int_equal(sl_listener_open(&address, &options, &l, &err), SL_OK);
    assert_int_equal(umask(before), 077);
    assert_int_equal(stat(address.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    assert_int_equal(l.family, AF_UNIX);
    assert_string_equal(l.address, address.path);
    assert_memory_equal(l.name, "unix:/tmp/", 10);
    close(client_to(&l));
    assert_true(sl_listener_unlink(&l));
    assert_false(sl_listener_unlink(&l));
    assert_int_equal(lstat(address.path, &st), -1);
    sl_listener_close(&l);
}

static void
test_a_live_unix_socket_is_refused_and_a_stale_one_replaced(void **state)
{
    (void)state;
    struct sl_listener l, second;
    struct sl_error err;
    char text[64], expected[160];
    snprintf(text, sizeof text, "unix:%s/s", dir);
    assert_opens(text, &l);
    assert_int_equal(open_text(text, &second, &err), SL_EBUSY);
    snprintf(expected, sizeof expected, "%s is in use by another server", text);
    assert_string_equal(err.text, expected);
    close(client_to(&l));  /* still there */
    sl_listener_close(&l); /* the file stays: now it is stale */
    assert_opens(text, &second);
    assert_true(sl_listener_unlink(&second));
    sl_listener_close(&second);
}

static void
test_a_live_socket_with_a_full_backlog_is_live(void **state)
{
    (void)state;
    struct sl_listener l, second;
    struct sl_error err;
    struct sl_listener_options options = defaults;
    struct sl_address address = {.kind = SL_ADDRESS_UNIX};
    options.backlog = 0;
    snprintf(address.path, sizeof address.path, "%s/s", dir);
    assert_int_equal(sl_listener_open(&address, &options, &l, &err), SL_OK);
    int client = client_to(&l);
    assert_int_equal(sl_listener_open(&address, &options, &second, &err), SL_EBUSY);
    close(client);
    assert_true(sl_listener_unlink(&l));
    sl_listener_close(&l);
}

static void
test_other_files_are_never_replaced(void **state)
{
    (void)state;
    struct sl_listener l;
    struct sl_error err;
    char path[64], link[64], text[80];
    snprintf(path, sizeof path, "%s/file", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    snprintf(text, sizeof text, "unix:%s", path);
    assert_int_equal(open_text(text, &l, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "the path exists and is not a socket"));
    assert_int_equal(unlink(path), 0);

    /* a link to a stale socket: neither link nor target may go */
    snprintf(text, sizeof text, "unix:%s", path);
    assert_opens(text, &l);
    sl_listener_close(&l);
    assert_int_equal(symlink(path, link), 0);
    snprintf(text, sizeof text, "unix:%s", link);
    assert_int_equal(open_text(text, &l, &err), SL_EINVAL);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(unlink(path), 0);

    snprintf(text, sizeof text, "unix:%s/missing/s", dir);
    assert_int_equal(open_text(text, &l, &err), SL_ENOENT);
    assert_non_null(strstr(err.text, "the directory does not exist"));
}

static void
test_a_file_that_another_server_put_there_stays(void **state)
{
    (void)state;
    struct sl_listener old, new;
    char text[80], path[64];
    snprintf(path, sizeof path, "%s/s", dir);
    snprintf(text, sizeof text, "unix:%s", path);
    assert_opens(text, &old);
    assert_int_equal(unlink(path), 0); /* somebody cleaned up */
    assert_opens(text, &new);
    assert_false(sl_listener_unlink(&old));
    close(client_to(&new));
    assert_true(sl_listener_unlink(&new));
    sl_listener_close(&old);
    sl_listener_close(&new);
}

static void
test_a_relative_path_is_removed_after_chdir(void **state)
{
    (void)state;
    struct sl_listener l;
    char *cwd = getcwd(NULL, 0);
    assert_int_equal(chdir(dir), 0);
    assert_opens("unix:rel", &l);
    assert_int_equal(chdir("/"), 0);
    assert_string_equal(l.name, "unix:rel");
    assert_true(sl_listener_unlink(&l));
    sl_listener_close(&l);
    assert_int_equal(chdir(cwd), 0);
    free(cwd);
}

static void
test_abstract_sockets_have_no_file(void **state)
{
    (void)state;
    struct sl_listener l, second;
    struct sl_error err;
    char text[64];
    snprintf(text, sizeof text, "unix:@saola-test-%d", (int)getpid());
    assert_opens(text, &l);
    assert_string_equal(l.name, text);
    close(client_to(&l));
    assert_int_equal(open_text(text, &second, &err), SL_EBUSY);
    assert_false(sl_listener_unlink(&l));
    sl_listener_close(&l);
}

static void
test_owner_and_failed_chown(void **state)
{
    (void)state;
    struct sl_listener l;
    struct sl_listener_options options = defaults;
    struct sl_address address = {.kind = SL_ADDRESS_UNIX};
    struct sl_error err;
    struct stat st;
    snprintf(address.path, sizeof address.path, "%s/s", dir);
    options.uid = geteuid();
    options.gid = getegid(); /* what it is anyway: needs no right */
    assert_int_equal(sl_listener_open(&address, &options, &l, &err), SL_OK);
    assert_true(sl_listener_unlink(&l));
    sl_listener_close(&l);
    options.uid = geteuid() + 1;
    int rc = sl_listener_open(&address, &options, &l, &err);
    if (geteuid() == 0) {
        assert_int_equal(rc, SL_OK);
        assert_int_equal(lstat(address.path, &st), 0);
        assert_int_equal(st.st_uid, geteuid() + 1);
        assert_true(sl_listener_unlink(&l));
        sl_listener_close(&l);
    } else {
        assert_int_equal(rc, SL_ESYS); /* teardown sees that no file is left */
    }
}

static void
test_a_listening_descriptor_is_adopted_as_what_it_is(void **state)
{
    (void)state;
    struct sl_listener l, adopted;
    struct sl_error err;
    struct sl_address address;
    char text[64];
    snprintf(text, sizeof text, "unix:%s/s", dir);
    assert_opens(text, &l);
    int fd = dup(l.fd);
    snprintf(text, sizeof text, "fd://%d", fd);
    assert_int_equal(sl_address_parse(text, &address, &err), SL_OK);
    assert_int_equal(sl_listener_open(&address, &defaults, &adopted, &err), SL_OK);
    assert_int_equal(adopted.fd, fd);
    assert_true(adopted.inherited);
    assert_string_equal(adopted.name, l.name);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(sl_listener_unlink(&adopted));
    sl_listener_close(&adopted);
    sl_listener_close(&l);

    assert_opens("127.0.0.1:0", &l);
    fd = dup(l.fd);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
    assert_int_equal(sl_listener_adopt(fd, 5, &adopted, &err), SL_OK);
    assert_int_equal(adopted.port, l.port);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    sl_listener_close(&adopted);
    sl_listener_close(&l);
}

static void
test_a_bound_descriptor_is_made_to_listen(void **state)
{
    (void)state;
    struct sl_listener l;
    struct sl_error err;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(sl_listener_adopt(fd, 5, &l, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "is a socket without an address"));
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof in), 0);
    fail_listen = EOPNOTSUPP;
    assert_int_equal(sl_listener_adopt(fd, 5, &l, &err), SL_ESYS);
    fail_listen = 0;
    assert_int_equal(sl_listener_adopt(fd, 5, &l, &err), SL_OK);
    close(client_to(&l));
    sl_listener_close(&l);
}

static void
test_other_descriptors_are_refused(void **state)
{
    (void)state;
    struct sl_listener l;
    struct sl_error err;
    assert_int_equal(sl_listener_adopt(987654, 5, &l, &err), SL_EINVAL);
    assert_string_equal(err.text, "descriptor 987654 is not open");
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(sl_listener_adopt(fd, 5, &l, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "is not a socket"));
    close(fd);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(sl_listener_adopt(fd, 5, &l, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "is not a stream socket"));
    close(fd);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(sl_listener_adopt(pair[0], 5, &l, &err), SL_EINVAL);
    assert_non_null(strstr(err.text, "is a connection"));
    close(pair[0]);
    close(pair[1]);
}

static void
test_a_locked_directory_delays_but_does_not_block(void **state)
{
    (void)state;
    struct sl_listener l;
    char text[64];
    int lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    snprintf(text, sizeof text, "unix:%s/s", dir);
    assert_opens(text, &l);
    assert_true(sl_listener_unlink(&l));
    sl_listener_close(&l);
    close(lock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_tcp_listener_accepts_and_is_set_up_as_servers_need),
        TEST(test_a_taken_port_names_its_holder),
        TEST(test_the_holder_of_nothing_is_nobody),
        TEST(test_reuse_port_lets_two_listen),
        TEST(test_the_kernel_moves_queues_between_those_that_share_a_port_if_it_is_told_to),
        TEST(test_ipv6_shares_a_port_with_our_own_ipv4_socket),
        TEST(test_a_name_with_several_addresses_takes_one_that_works),
        TEST(test_foreign_addresses_and_kernel_failures_are_explained),
        TEST(test_a_unix_listener_has_a_file_which_leaves_with_it),
        TEST(test_a_live_unix_socket_is_refused_and_a_stale_one_replaced),
        TEST(test_a_live_socket_with_a_full_backlog_is_live),
        TEST(test_other_files_are_never_replaced),
        TEST(test_a_file_that_another_server_put_there_stays),
        TEST(test_a_relative_path_is_removed_after_chdir),
        TEST(test_abstract_sockets_have_no_file),
        TEST(test_owner_and_failed_chown),
        TEST(test_a_listening_descriptor_is_adopted_as_what_it_is),
        TEST(test_a_bound_descriptor_is_made_to_listen),
        TEST(test_other_descriptors_are_refused),
        TEST(test_a_locked_directory_delays_but_does_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
