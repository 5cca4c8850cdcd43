/* The application of the benchmark on GNU libmicrohttpd, one thread on epoll: the same paths as
 * app.py, without /sleep.
 *
 *   microhttpd PORT */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CONNECTIONS = 20000 };

static struct MHD_Response *hello, *ten;

/* The body of a request as it comes. */
struct upload {
    char *bytes;
    size_t len;
};

static enum MHD_Result
echo(struct MHD_Connection *connection, struct upload *upload)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(upload->len, upload->bytes, MHD_RESPMEM_MUST_FREE);
    upload->bytes = NULL;
    MHD_add_response_header(response, "Content-Type", "text/plain");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result
answer(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
       const char *version, const char *data, size_t *len, void **state)
{
    (void)arg;
    (void)version;
    if (strcmp(method, "GET") == 0) {
        static int seen;
        if (*state == NULL) { /* only the head is here */
            *state = &seen;
            return MHD_YES;
        }
        *state = NULL;
        return MHD_queue_response(connection, MHD_HTTP_OK, url[1] == '\0' ? hello : ten);
    }
    struct upload *upload = *state;
    if (upload == NULL) {
        *state = calloc(1, sizeof *upload);
        return *state != NULL ? MHD_YES : MHD_NO;
    }
    if (*len == 0)
        return echo(connection, upload);
    char *bytes = realloc(upload->bytes, upload->len + *len);
    if (bytes == NULL)
        return MHD_NO;
    memcpy(bytes + upload->len, data, *len);
    upload->bytes = bytes;
    upload->len += *len;
    *len = 0;
    return MHD_YES;
}

static void
complete(void *arg, struct MHD_Connection *connection, void **state,
         enum MHD_RequestTerminationCode code)
{
    (void)arg;
    (void)connection;
    (void)code;
    struct upload *upload = *state; /* NULL after a GET */
    if (upload != NULL)
        free(upload->bytes);
    free(upload);
    *state = NULL;
}

static struct MHD_Response *
make_response(size_t len, const char *bytes)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(len, (void *)(unsigned long)bytes, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(response, "Content-Type", "text/plain");
    return response;
}

int
main(int argc, char **argv)
{
    static char body[10240];
    if (argc != 2)
        return 2;
    memset(body, 'x', sizeof body);
    hello = make_response(13, "Hello, World!");
    ten = make_response(sizeof body, body);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((unsigned short)atoi(argv[1]))};
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, NULL, MHD_OPTION_SOCK_ADDR, &address,
        MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_LISTEN_BACKLOG_SIZE, 2048,
        MHD_OPTION_NOTIFY_COMPLETED, complete, NULL, MHD_OPTION_END);
    if (daemon == NULL)
        return 1;
    for (;;)
        pause();
}
