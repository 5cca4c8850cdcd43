/* Users, groups, and giving up root. Order matters: groups can only be set while still root, the
 * user goes last. Unlike gunicorn, root's supplementary groups never stay behind. */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <proc/privileges.h>

/* Decimal id below the reserved (id_t)-1; false if text is no number at all. *ret is -1 if out of
 * range. */
static bool
parse_id(const char *text, long long *ret)
{
    size_t len = strlen(text);
    if (strspn(text, "0123456789") != len)
        return false;
    long long id = len > 10 ? -1 : atoll(text);
    *ret = id >= (long long)(uid_t)-1 ? -1 : id;
    return true;
}

static char *
database_buffer(size_t *ret_size)
{
    *ret_size = 64 * 1024; /* members of a large group fit */
    return malloc(*ret_size);
}

int
sl_user_find(const char *text, uid_t *ret_uid, struct sl_error *err)
{
    long long number;
    if (text == NULL || *text == '\0') {
        *ret_uid = geteuid();
        return SL_OK;
    }
    if (parse_id(text, &number)) {
        if (number < 0)
            return sl_error_set(err, SL_ENOENT, "No such user: '%.200s'", text);
        *ret_uid = (uid_t)number;
        return SL_OK;
    }
    size_t size;
    char *buffer = database_buffer(&size);
    if (buffer == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    struct passwd entry, *found = NULL;
    int code = getpwnam_r(text, &entry, buffer, size, &found);
    if (found != NULL)
        *ret_uid = entry.pw_uid;
    free(buffer);
    if (found != NULL)
        return SL_OK;
    if (code != 0 && code != ENOENT && code != ESRCH)
        return sl_error_set(err, SL_ESYS, "user '%.200s': %s", text, strerror(code));
    return sl_error_set(err, SL_ENOENT, "No such user: '%.200s'", text);
}

int
sl_group_find(const char *text, gid_t *ret_gid, struct sl_error *err)
{
    long long number;
    if (text == NULL || *text == '\0') {
        *ret_gid = getegid();
        return SL_OK;
    }
    if (parse_id(text, &number)) {
        if (number < 0)
            return sl_error_set(err, SL_ENOENT, "No such group: '%.200s'", text);
        *ret_gid = (gid_t)number;
        return SL_OK;
    }
    size_t size;
    char *buffer = database_buffer(&size);
    if (buffer == NULL)
        return sl_error_set(err, SL_ENOMEM, "out of memory");
    struct group entry, *found = NULL;
    int code = getgrnam_r(text, &entry, buffer, size, &found);
    if (found != NULL)
        *ret_gid = entry.gr_gid;
    free(buffer);
    if (found != NULL)
        return SL_OK;
    if (code != 0 && code != ENOENT && code != ESRCH)
        return sl_error_set(err, SL_ESYS, "group '%.200s': %s", text, strerror(code));
    return sl_error_set(err, SL_ENOENT, "No such group: '%.200s'", text);
}

/* 0 or -1 with errno. A uid without an entry in the database has no groups but gid. */
static int
set_groups(uid_t uid, gid_t gid, bool init_groups)
{
    if (!init_groups)
        return setgroups(1, &gid);
    size_t size;
    char *buffer = database_buffer(&size);
    if (buffer == NULL)
        return -1;
    struct passwd entry, *found = NULL;
    getpwuid_r(uid, &entry, buffer, size, &found);
    int rc = found != NULL ? initgroups(entry.pw_name, gid) : setgroups(1, &gid);
    int saved = errno;
    free(buffer);
    errno = saved;
    return rc;
}

/* All three ids of both kinds are what was asked for, and root is out of reach. */
static bool
is_dropped(uid_t uid, gid_t gid)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    if (getresuid(&ruid, &euid, &suid) != 0 || getresgid(&rgid, &egid, &sgid) != 0)
        return false;
    if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid)
        return false;
    return uid == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) != 0;
}

int
sl_privileges_drop(uid_t uid, gid_t gid, bool init_groups, struct sl_error *err)
{
    if (uid == geteuid() && uid == getuid() && gid == getegid() && gid == getgid() && !init_groups)
        return SL_OK;
    int death_signal = 0;
    prctl(PR_GET_PDEATHSIG, &death_signal);
    if (set_groups(uid, gid, init_groups) != 0)
        return sl_error_set(err, SL_ESYS, "cannot set the groups of uid %u: %s", (unsigned)uid,
                            strerror(errno));
    if (setresgid(gid, gid, gid) != 0)
        return sl_error_set(err, SL_ESYS, "cannot become group %u: %s", (unsigned)gid,
                            strerror(errno));
    if (setresuid(uid, uid, uid) != 0)
        return sl_error_set(err, SL_ESYS, "cannot become user %u: %s", (unsigned)uid,
                            strerror(errno));
    if (!is_dropped(uid, gid))
        return sl_error_set(err, SL_ESYS, "the change to user %u and group %u did not take effect",
                            (unsigned)uid, (unsigned)gid);
    if (death_signal != 0 && prctl(PR_SET_PDEATHSIG, death_signal) != 0)
        return sl_error_set(err, SL_ESYS, "cannot set the parent-death signal: %s",
                            strerror(errno));
    return SL_OK;
}

/* The effective and permitted ones stay, if keep: they are needed for the change of user. */
static int
clear_capabilities(bool keep)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (keep && syscall(SYS_capget, &head, sets) != 0)
        return -1;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
        sets[i].inheritable = 0;
    return (int)syscall(SYS_capset, &head, sets);
}

/* What no program executed later can get back; only root may do that. */
static int
clear_bounding_set(void)
{
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
            return errno == EPERM ? 0 : -1;
    }
    return 0;
}

int
sl_privileges_seal(struct sl_error *err)
{
    if (clear_bounding_set() != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return sl_error_set(err, SL_ESYS, "cannot rule out new privileges: %s", strerror(errno));
    if (clear_capabilities(true) != 0)
        return sl_error_set(err, SL_ESYS, "cannot drop capabilities: %s", strerror(errno));
    return SL_OK;
}

int
sl_privileges_clear(struct sl_error *err)
{
    /* A kernel without ambient ones does not know the request. */
    if (clear_capabilities(false) != 0 ||
        (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL))
        return sl_error_set(err, SL_ESYS, "cannot drop capabilities: %s", strerror(errno));
    return SL_OK;
}
