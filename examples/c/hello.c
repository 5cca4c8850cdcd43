/* The smallest application.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) hello.c -o hello.so
 *     saola ./hello.so
 */
#include <saola/app.h>

static int
hello(void *state, struct sl_request *req, struct sl_response *res)
{
    (void)state;
    (void)req;
    return sl_response_send(res, 200, "text/plain", "Hello, world\n", 13);
}

SL_APP(app) = {.abi = SL_APP_ABI, .request = hello};
