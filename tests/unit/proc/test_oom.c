/* Where the kernel's count of OOM kills stands, and what its changes mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include <proc/oom.h>

static char root[64], cgroup[96];

static void
put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int
setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/saola-oom-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", root);
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

static void
expect(struct sl_oom *oom, bool struck, bool known)
{
    bool is_known;
    assert_int_equal(sl_oom_struck(oom, &is_known), struck);
    assert_int_equal(is_known, known);
}

static void
test_version_2(void **state)
{
    (void)state;
    struct sl_oom oom;
    put("cgroup", "0::/system.slice/saola.service\n");
    put("system.slice/saola.service/memory.events", "low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n");
    sl_oom_init(&oom, cgroup, root);
    expect(&oom, false, true);
    put("system.slice/saola.service/memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\n");
    expect(&oom, true, true);
    expect(&oom, false, true); /* told once */
}

static void
test_version_1(void **state)
{
    (void)state;
    struct sl_oom oom;
    put("cgroup", "5:devices:/\n4:cpu,memory:/x/y\n0::/\n");
    put("memory/x/y/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
    sl_oom_init(&oom, cgroup, root);
    expect(&oom, false, true);
    put("memory/x/y/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1");
    expect(&oom, true, true);
}

static void
test_a_container_has_its_group_at_the_root(void **state)
{
    (void)state;
    struct sl_oom oom;
    put("cgroup", "0::/docker/0123456789abcdef\n");
    put("memory.events", "oom_kill 0\n");
    sl_oom_init(&oom, cgroup, root);
    put("memory.events", "oom_kill 1\n");
    expect(&oom, true, true);
}

static void
test_what_cannot_be_read_is_not_known(void **state)
{
    (void)state;
    struct sl_oom oom;
    char path[128];
    sl_oom_init(&oom, cgroup, root); /* no file at all */
    expect(&oom, false, false);
    static const char *const odd[] = {"", "\n", "nonsense", "0:", "0::", "::::\n4:memory:/none\n"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        put("cgroup", odd[i]);
        sl_oom_init(&oom, cgroup, root);
        expect(&oom, false, false);
    }
    put("cgroup", "0::/a\n");
    put("a/memory.events", "oom_killer 5\noom 5\n");
    sl_oom_init(&oom, cgroup, root);
    expect(&oom, false, false);
    put("a/memory.events", "oom_kill 5\n");
    sl_oom_init(&oom, cgroup, root);
    snprintf(path, sizeof path, "%s/a/memory.events", root);
    unlink(path); /* the group is gone */
    expect(&oom, false, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_version_2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_version_1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_container_has_its_group_at_the_root, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_read_is_not_known, setup, teardown),
    };
    return cmocka_run_group_tests_name("oom", tests, NULL, NULL);
}
