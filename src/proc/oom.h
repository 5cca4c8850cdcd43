/* Whether the kernel killed for memory: it counts its kills, for each control group. */
#ifndef SAOLA_PROC_OOM_H
#define SAOLA_PROC_OOM_H

#include <stdbool.h>
#include <stdint.h>

struct sl_oom {
    char path[512]; /* the file with the counter; "": there is none that we may read */
    uint64_t seen;
};

/* Finds the counter of this process's control group (cgroup v2: memory.events, v1:
 * memory.oom_control) and reads it. cgroup: "/proc/self/cgroup"; root: "/sys/fs/cgroup". */
void sl_oom_init(struct sl_oom *oom, const char *cgroup, const char *root);

/* True if it has risen since it was last looked at. *ret_known is false where it cannot be read. */
bool sl_oom_struck(struct sl_oom *oom, bool *ret_known);

#endif
