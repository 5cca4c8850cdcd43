/* Going into the background. */
#ifndef SL_PROC_DAEMON_H
#define SL_PROC_DAEMON_H

#include <saola/host.h>

/* sl_daemonize() is for hosts: <saola/host.h>. */

#endif
