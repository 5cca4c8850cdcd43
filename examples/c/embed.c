/* A whole server in a main() of one's own.
 *
 *     cc $(pkg-config --cflags saola) embed.c -o embed $(pkg-config --libs saola)
 *     ./embed --bind 127.0.0.1:8000 --workers 2
 *
 * Everything that `saola` understands on its command line, this program does too.
 */
#include <stdio.h>
#include <saola/saola.h>

static int
answer(void *state, struct sl_request *req, struct sl_response *res)
{
    (void)state;
    (void)req;
    return sl_response_send(res, 200, "text/plain", "embedded\n", 9);
}

static int
ready(const struct sl_hook_call *call)
{
    (void)call;
    fprintf(stderr, "embed: the sockets listen\n");
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct sl_app app = {.abi = SL_APP_ABI, .name = "embed", .request = answer};
    static const struct sl_hooks hooks = {.abi = SL_HOOKS_ABI, .when_ready = ready};
    static const char *const defaults[] = {"workers", "2", "keepalive", "5", NULL};
    struct sl_run_options options = {
        .argc = argc, .argv = argv, .app = &app, .hooks = &hooks, .defaults = defaults};
    return sl_run(&options);
}
