/* Static files: answered by the engine itself, in front of the host (sl_engine_options.front), and
 * files that the application names in an X-Sendfile header.
 *
 * Process: a worker; the directories are opened with its rights. Thread: each struct sl_files
 * serves one engine; send_file may be called on several threads at once. Nothing here waits for a
 * client; disks may block the thread.
 */
#ifndef SAOLA_FILES_H
#define SAOLA_FILES_H

#include <saola/engine.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* what the library shows */

struct sl_files;

struct sl_files_options {
    /* "/prefix=directory" or "/path=file", NULL-terminated; may be NULL. A longer prefix goes
     * before a shorter one. What is not there is answered with 404, but below "/" it is left to the
     * host. */
    const char *const *routes;
    /* "ending=type", e.g. "md=text/markdown"; NULL-terminated; may be NULL. */
    const char *const *types;
    /* Absolute directories whose files X-Sendfile may name; NULL-terminated. NULL or empty: the
     * header is one like any other. */
    const char *const *sendfile_roots;
    uint32_t max_age_s; /* of Cache-Control; 0: no such header */
    /* A file that X-Sendfile named could not be sent: one sentence for the log. May be NULL. */
    void (*on_error)(void *ctx, const char *sentence);
    void *ctx;
};

/* Opens the directories. Options are copied, but for ctx. SL_EINVAL or SL_ESYS with a sentence that
 * names the setting. */
int sl_files_open(const struct sl_files_options *options, struct sl_files **ret_files,
                  struct sl_error *err);

/* For sl_engine_options.front; lives as long as files. */
const struct sl_front *sl_files_front(const struct sl_files *files);

/* After the engine was closed. NULL is accepted. */
void sl_files_close(struct sl_files *files);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
