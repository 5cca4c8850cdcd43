/* Users and groups. Giving up root is tested in children when the test runs as root. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <proc/privileges.h>

static int fail_setresuid, lie_setresuid;

int __real_setresuid(uid_t r, uid_t e, uid_t s);
int __wrap_setresuid(uid_t r, uid_t e, uid_t s);

int
__wrap_setresuid(uid_t r, uid_t e, uid_t s)
{
    if (lie_setresuid)
        return 0;
    if (fail_setresuid == 0)
        return __real_setresuid(r, e, s);
    errno = fail_setresuid;
    return -1;
}

static void
test_names_and_numbers_are_found(void **state)
{
    (void)state;
    uid_t uid;
    gid_t gid;
    assert_int_equal(sl_user_find("root", &uid, NULL), SL_OK);
    assert_int_equal(uid, 0);
    assert_int_equal(sl_user_find("54321", &uid, NULL), SL_OK);
    assert_int_equal(uid, 54321);
    assert_int_equal(sl_user_find(NULL, &uid, NULL), SL_OK);
    assert_int_equal(uid, geteuid());
    assert_int_equal(sl_group_find("root", &gid, NULL), SL_OK);
    assert_int_equal(gid, 0);
    assert_int_equal(sl_group_find("4294967294", &gid, NULL), SL_OK);
    assert_int_equal(gid, 4294967294u);
    assert_int_equal(sl_group_find("", &gid, NULL), SL_OK);
    assert_int_equal(gid, getegid());
}

static void
test_unknown_ones_get_gunicorns_sentence(void **state)
{
    (void)state;
    static const char *const bad[] = {"no-such-user", "-1",   "4294967295",
                                      "99999999999",  "0x10", " 0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uid_t uid = 7;
        gid_t gid = 7;
        struct sl_error err;
        char expected[100];
        assert_int_equal(sl_user_find(bad[i], &uid, &err), SL_ENOENT);
        snprintf(expected, sizeof expected, "No such user: '%s'", bad[i]);
        assert_string_equal(err.text, expected);
        assert_int_equal(sl_group_find(bad[i], &gid, &err), SL_ENOENT);
        snprintf(expected, sizeof expected, "No such group: '%s'", bad[i]);
        assert_string_equal(err.text, expected);
        assert_int_equal(uid, 7);
        assert_int_equal(gid, 7);
    }
}

static int
run_in_child(int (*body)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int
drop_for_good(void)
{
    gid_t groups[8], many[3] = {0, 4, 5};
    int signal_number = 0;
    uid_t r, e, s;
    if (setgroups(3, many) != 0 || prctl(PR_SET_PDEATHSIG, SIGUSR2) != 0)
        return 1;
    if (sl_privileges_drop(54321, 54322, false, NULL) != SL_OK)
        return 2;
    if (getresuid(&r, &e, &s) != 0 || r != 54321 || e != 54321 || s != 54321 || getgid() != 54322)
        return 3;
    if (getgroups(8, groups) != 1 || groups[0] != 54322)
        return 4; /* root's groups stayed */
    if (setuid(0) == 0 || setgid(0) == 0)
        return 5;
    if (prctl(PR_GET_PDEATHSIG, &signal_number) != 0 || signal_number != SIGUSR2)
        return 6;
    return sl_privileges_drop(0, 0, false, NULL) == SL_ESYS ? 0 : 7;
}

static int
drop_with_database_groups(void)
{
    gid_t groups[64], many[2] = {0, 4};
    if (setgroups(2, many) != 0)
        return 1;
    if (sl_privileges_drop(54321, 54322, true, NULL) != SL_OK) /* not in the database */
        return 2;
    return getgroups(64, groups) == 1 && groups[0] == 54322 ? 0 : 3;
}

/* Value of a line of /proc/self/status; 1 for a bit mask that is not 0. */
static int
status(const char *name)
{
    char line[256];
    int value = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(strchr(line, ':') + 1, NULL, 16) != 0;
    }
    if (file != NULL)
        fclose(file);
    return value;
}

static int
drop_all_rights(void)
{
    if (status("CapPrm") != 1 || status("CapBnd") != 1 || status("NoNewPrivs") != 0)
        return 1;
    if (sl_privileges_seal(NULL) != SL_OK || status("CapBnd") != 0 || status("NoNewPrivs") != 1)
        return 2;
    if (sl_privileges_drop(54321, 54322, false, NULL) != SL_OK)
        return 3;
    return sl_privileges_clear(NULL) != SL_OK || status("CapPrm") + status("CapEff") +
                                                         status("CapInh") + status("CapAmb") +
                                                         status("CapBnd") !=
                                                     0;
}

/* Somebody gave a user of no rank a right: AmbientCapabilities= of systemd. */
static int
clear_ambient(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    unsigned bit = 1u << CAP_NET_BIND_SERVICE;
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    if (setresgid(54322, 54322, 54322) != 0 || setresuid(54321, 54321, 54321) != 0)
        return 1;
    sets[0] = (struct __user_cap_data_struct){bit, bit, bit};
    if (syscall(SYS_capset, &head, sets) != 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0) != 0 ||
        status("CapAmb") != 1)
        return 2;
    if (sl_privileges_seal(NULL) != SL_OK ||
        status("CapEff") != 1) /* bounding: EPERM is no error */
        return 3;
    return sl_privileges_clear(NULL) != SL_OK ||
           status("CapPrm") + status("CapEff") + status("CapInh") + status("CapAmb") != 0;
}

static int
drop_group_only(void)
{
    return sl_privileges_drop(0, 54322, false, NULL) == SL_OK && getuid() == 0 && getegid() == 54322
               ? 0
               : 1;
}

static int
drop_fails(void)
{
    struct sl_error err;
    fail_setresuid = EAGAIN;
    if (sl_privileges_drop(54321, 54322, false, &err) != SL_ESYS ||
        strcmp(err.text, "cannot become user 54321: Resource temporarily unavailable") != 0)
        return 1;
    fail_setresuid = 0;
    lie_setresuid = 1;
    if (sl_privileges_drop(54321, 54322, false, &err) != SL_ESYS ||
        strstr(err.text, "did not take effect") == NULL)
        return 2;
    return 0;
}

static void
test_root_is_given_up_for_good(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(run_in_child(drop_for_good), 0);
    assert_int_equal(run_in_child(drop_with_database_groups), 0);
    assert_int_equal(run_in_child(drop_group_only), 0);
    assert_int_equal(run_in_child(drop_fails), 0);
    assert_int_equal(run_in_child(drop_all_rights), 0);
    assert_int_equal(run_in_child(clear_ambient), 0);
}

static void
test_who_is_it_already_needs_no_right(void **state)
{
    (void)state;
    int before = getgroups(0, NULL);
    assert_int_equal(sl_privileges_drop(geteuid(), getegid(), false, NULL), SL_OK);
    assert_int_equal(getgroups(0, NULL), before);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_numbers_are_found),
        cmocka_unit_test(test_unknown_ones_get_gunicorns_sentence),
        cmocka_unit_test(test_root_is_given_up_for_good),
        cmocka_unit_test(test_who_is_it_already_needs_no_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
