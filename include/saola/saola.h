/* Everything that an application, a worker class or a program in C may use. */
#ifndef SAOLA_SAOLA_H
#define SAOLA_SAOLA_H

#include <saola/app.h>
#include <saola/config.h>
#include <saola/engine.h>
#include <saola/files.h>
#include <saola/hooks.h>
#include <saola/http.h>
#include <saola/log.h>
#include <saola/mount.h>
#include <saola/pool.h>
#include <saola/run.h>
#include <saola/status.h>
#include <saola/websocket.h>
#include <saola/worker.h>

#endif
