/* A request body before its handler runs: how much of it is awaited, and where it lies meanwhile.
 * Bodies of slow clients cost memory or disk here, never a thread. */
#include "http/engine_state.h"

enum {
    SPOOL_FROM = 128 * 1024, /* bytes of a request; more of it is kept in a file */
    RECEIVE_LEAST = 1024,    /* room for one receive; thousands may wait with it */
};

/* Runs the chunk scan over a buffered body. 1: its end is here, 0: not yet, -1: malformed. */
static int
scan_chunks(struct sl_conn *conn, const char *body, size_t len)
{
    const char *data, *sentence;
    size_t used, data_len;
    if (!conn->scanning) {
        sl_chunked_init(&conn->body.chunks);
        conn->scanning = true;
        conn->body.done = false;
        conn->body.left = 0; /* of data so far */
        conn->scanned = 0;
    }
    while (!conn->body.done && conn->scanned < len) {
        enum sl_chunked_event event =
            sl_chunked_next(&conn->body.chunks, body + conn->scanned, len - conn->scanned, &used,
                            &data, &data_len, &sentence);
        conn->scanned += used;
        if (event == SL_CHUNKED_ERROR)
            return -1;
        if (event == SL_CHUNKED_DATA)
            conn->body.left += data_len;
        if (event == SL_CHUNKED_TRAILERS)
            conn->body.done = true;
        if (event == SL_CHUNKED_MORE)
            return 0;
    }
    if (!conn->body.done)
        return 0;
    /* Line by line, so that a bare LF ends the wait at once: the reader refuses it. */
    const char *lf;
    while ((lf = memchr(body + conn->scanned, '\n', len - conn->scanned)) != NULL) {
        const char *line = body + conn->scanned;
        if (lf == line || lf[-1] != '\r')
            return -1;
        if (lf == line + 1)
            return 1;
        conn->scanned = (size_t)(lf + 1 - body);
    }
    return 0;
}

/* How much of a body is received before the handler runs. */
static uint64_t
buffer_limit(const struct sl_engine *engine, const struct sl_conn *conn)
{
    const struct sl_engine_options *opt = &engine->opt;
    if (opt->spool_dir == NULL || conn->no_spool || opt->body_buffer < SL_BODY_BUFFER)
        return SL_BODY_BUFFER;
    if (opt->spool_limit == 0 || opt->body_buffer < opt->spool_limit / 2)
        return opt->body_buffer;
    return opt->spool_limit / 2 < SL_BODY_BUFFER ? SL_BODY_BUFFER : opt->spool_limit / 2;
}

bool
sl_upload_has_place(const struct sl_engine *engine, const struct sl_conn *conn,
                    const struct sl_request *req)
{
    uint64_t limit = buffer_limit(engine, conn), len = req->content_length;
    if (len > limit)
        len = limit;
    return conn->in.file != 0 || len <= SPOOL_FROM || sl_spool_has_room(&engine->spool, len);
}

bool
sl_upload_is_ready(struct sl_workspace *ws, struct sl_conn *conn, const struct sl_request *req,
                   const char *body, size_t have, size_t head_len)
{
    const struct sl_engine_options *opt = &ws->engine->opt;
    uint64_t limit = buffer_limit(ws->engine, conn);
    if (req->expect_continue && opt->expect_to_host)
        return true;
    if (req->body == SL_BODY_LENGTH) {
        if (have >= req->content_length || have >= limit)
            return true;
        bool ask = req->expect_continue && opt->on_event != NULL; /* nobody has to wait for it */
        if (req->content_length > limit && (ask || opt->spool_dir == NULL))
            return true;
        conn->need = head_len + (size_t)(req->content_length < limit ? req->content_length : limit);
    } else {
        int scan = scan_chunks(conn, body, have);
        if (scan != 0 || have > limit || sl_body_too_long(opt, conn->body.left)) {
            conn->scanning = false;
            return true; /* a malformed chunk is reported where the body is read */
        }
        conn->need = head_len + have + 1;
        conn->head_len = head_len;
    }
    if (req->expect_continue && !conn->sent_continue) {
        conn->sent_continue = true;
        if (sl_out_continue(&ws->out) < 0)
            sl_conn_end(conn, false);
    }
    return false;
}

bool
sl_upload_is_over(const struct sl_engine *engine, struct sl_conn *conn, const char *request,
                  size_t len)
{
    size_t have = len - conn->head_len;
    if (scan_chunks(conn, request + conn->head_len, have) != 0 ||
        have > buffer_limit(engine, conn) || sl_body_too_long(&engine->opt, conn->body.left))
        return true;
    conn->need = len + 1;
    return false;
}

int
sl_upload_room(struct sl_workspace *ws, struct sl_conn *conn, char **ret_room, size_t *ret_space)
{
    struct sl_spool *spool = &ws->engine->spool;
    size_t want = conn->need > conn->in.len ? conn->need - conn->in.len : 0;
    if (want > conn->in.len) /* room for what may never come is not had in advance */
        want = conn->in.len;
    if (want < RECEIVE_LEAST)
        want = RECEIVE_LEAST;
    int rc = SL_OK;
    if (conn->need > 0 && conn->in.len + want > SPOOL_FROM && !conn->no_spool &&
        spool->directory != NULL)
        rc = sl_buf_spool(&conn->in, spool, want);
    if (rc == SL_ESYS) {
        conn->no_spool = true; /* no disk: the handler gets the body as it comes */
        conn->need = 0;
    }
    if (rc != SL_EFULL)
        rc = sl_buf_reserve(&conn->in, want);
    if (rc < 0)
        return rc;
    *ret_room = conn->in.ptr + conn->in.len;
    *ret_space = conn->in.cap - conn->in.len;
    return SL_OK;
}
