/* A chat by long polling: GET /wait is answered with the next line that anybody says by POST /say;
 * a thread of its own says one, too, after each tenth, to who waits then.
 *
 *     cc -shared -fPIC -pthread $(pkg-config --cflags saola) chat.c -o chat.so
 *     saola ./chat.so
 *
 * Shows: answers that come later, given from other requests, from a thread and from a timer (after
 * 25 seconds a client gets an empty answer and asks again).
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <saola/app.h>

struct waiting {
    struct waiting *next;
    struct sl_later *later;
    unsigned ticks;
};

struct chat {
    struct sl_worker *worker;
    pthread_mutex_t lock; /* of everything below: the thread says things, too */
    pthread_cond_t changed;
    struct waiting *waiting;
    unsigned long said;
    int ending;
    pthread_t thread;
    struct sl_timer *timer;
};

/* On the main thread; arg is the line. */
static void
answer(void *arg, struct sl_request *req, struct sl_response *res)
{
    (void)req;
    char *line = arg;
    if (res != NULL)
        (void)sl_response_send(res, 200, "text/plain", line, strlen(line));
    free(line);
}

/* Answers those who have waited for so many ticks, with the lock held. */
static unsigned
tell(struct chat *chat, const char *line, unsigned ticks)
{
    unsigned told = 0;
    for (struct waiting **at = &chat->waiting; *at != NULL;) {
        struct waiting *one = *at;
        char *copy = one->ticks >= ticks ? strdup(line) : NULL;
        if (copy == NULL) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        if (sl_later_finish(one->later, answer, copy) != SL_OK)
            abort();
        free(one);
        told++;
    }
    return told;
}

static void *
chatter(void *arg)
{
    struct chat *chat = arg;
    unsigned long seen = 0;
    char line[80];
    pthread_mutex_lock(&chat->lock);
    while (!chat->ending) {
        if (chat->said / 10 > seen / 10) {
            snprintf(line, sizeof line, "chatter: %lu lines\n", chat->said);
            if (tell(chat, line, 0) > 0)
                seen = chat->said;
        }
        pthread_cond_wait(&chat->changed, &chat->lock);
    }
    pthread_mutex_unlock(&chat->lock);
    return NULL;
}

static void
tick(void *arg)
{
    struct chat *chat = arg;
    pthread_mutex_lock(&chat->lock);
    for (struct waiting *one = chat->waiting; one != NULL; one = one->next)
        one->ticks++;
    tell(chat, "", 25);
    pthread_mutex_unlock(&chat->lock);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void
release(struct chat *chat)
{
    sl_timer_cancel(chat->timer);
    pthread_cond_destroy(&chat->changed);
    pthread_mutex_destroy(&chat->lock);
    free(chat);
}

static int
start(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err)
{
    struct chat *chat = calloc(1, sizeof *chat);
    if (chat == NULL)
        return SL_ENOMEM;
    (void)data;
    chat->worker = worker;
    pthread_mutex_init(&chat->lock, NULL);
    pthread_cond_init(&chat->changed, NULL);
    int rc = sl_worker_timer(worker, 1000, 1000, tick, chat, &chat->timer);
    if (rc == SL_OK && pthread_create(&chat->thread, NULL, chatter, chat) != 0)
        rc = sl_error_set(err, SL_ESYS, "no thread to be had");
    if (rc != SL_OK) {
        release(chat);
        return rc;
    }
    *ret_state = chat;
    return SL_OK;
}

/* The worker is to leave: whoever waits asks again, and gets another one. */
static void
stop(void *state)
{
    struct chat *chat = state;
    pthread_mutex_lock(&chat->lock);
    chat->ending = 1;
    tell(chat, "", 0);
    pthread_cond_signal(&chat->changed);
    pthread_mutex_unlock(&chat->lock);
}

static void
leave(void *state)
{
    struct chat *chat = state;
    stop(chat); /* at a quick end it was not called */
    pthread_join(chat->thread, NULL);
    release(chat);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

static int
wait_for_line(struct chat *chat, struct sl_request *req, struct sl_response *res)
{
    struct waiting *one = calloc(1, sizeof *one);
    struct sl_later *later = one != NULL ? sl_request_later(chat->worker, req, res) : NULL;
    if (later == NULL) {
        free(one);
        return SL_ENOMEM;
    }
    one->later = later;
    pthread_mutex_lock(&chat->lock);
    one->next = chat->waiting;
    chat->waiting = one;
    if (chat->ending)
        tell(chat, "", 0);
    pthread_cond_signal(&chat->changed);
    pthread_mutex_unlock(&chat->lock);
    return SL_PENDING;
}

static int
say(struct chat *chat, struct sl_request *req, struct sl_response *res)
{
    const char *body;
    char line[1000], text[40];
    size_t len = sl_request_body(req, &body);
    snprintf(line, sizeof line, "%.*s\n", (int)(len < 900 ? len : 900), body);
    sl_request_consume(req, len);
    pthread_mutex_lock(&chat->lock);
    unsigned told = tell(chat, line, 0);
    chat->said++;
    pthread_cond_signal(&chat->changed);
    pthread_mutex_unlock(&chat->lock);
    int size = snprintf(text, sizeof text, "%u\n", told);
    return sl_response_send(res, 200, "text/plain", text, (size_t)size);
}

static int
request(void *state, struct sl_request *req, struct sl_response *res)
{
    if (req->path.len == 5 && memcmp(req->path.ptr, "/wait", 5) == 0)
        return wait_for_line(state, req, res);
    if (req->path.len == 4 && memcmp(req->path.ptr, "/say", 4) == 0)
        return say(state, req, res);
    return sl_response_send(res, 404, "text/plain", "GET /wait, POST /say\n", 21);
}

SL_APP(app) = {.abi = SL_APP_ABI,
               .name = "chat",
               .start = start,
               .request = request,
               .stop = stop,
               .exit = leave};
