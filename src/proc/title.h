/* The name under which ps and top show this process. */
#ifndef SL_PROC_TITLE_H
#define SL_PROC_TITLE_H

#include <stddef.h>

/* Zeroed is a valid title that only sets the short name. */
struct sl_title {
    char *area; /* where the kernel looks for the command line */
    size_t size;
    char *environment; /* where the environment strings are now; never freed, libc may point into it
                        */
};

/* Finds the memory of the command line and moves the environment behind it away, so that a title
 * may be longer than the command line was. Once per process tree, single-threaded, before anybody
 * keeps pointers into the original argv; forks inherit it. SL_EUNAVAILABLE: not here; set then sets
 * the short name only. */
int sl_title_init(struct sl_title *title);

/* Sets title (cut to fit) and, from its first 15 bytes, the short name. */
void sl_title_set(const struct sl_title *title, const char *text);

#endif
