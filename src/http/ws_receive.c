/* What comes in, one step at a time, so that it may be cut anywhere:
 *
 *   IN_HEAD --> IN_CONTROL ------------------------> event --> IN_HEAD
 *        |----> IN_PLAIN ----(last frame)----------> event --> IN_HEAD
 *        `----> IN_DEFLATED -(last frame)-> IN_TAIL -> event --> IN_HEAD
 *
 * A message that is one frame and is here as a whole is given where it lies; others are gathered.
 * The verdict on a stream does not depend on the cuts: what is wrong is told at the first byte that
 * makes it so, in the order of the bytes. After our close data frames are only skipped. */
#include "http/ws_state.h"

#include <string.h>

enum {
    KEPT = 4096,       /* room for messages up to this size is kept */
    PART = 16384,      /* of an inflated message that is streamed */
    FIRST_ROOM = 1024, /* to inflate to */
};

struct input {
    char *p, *end;
    uint64_t now_ms;
    struct sl_ws_event *event;
};

enum step { GO_ON, GIVE, WAIT };

static size_t
smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

/* Ends the connection from our side. */
static enum step
fail(struct sl_ws *ws, struct input *in, unsigned code, const char *sentence)
{
    if (ws->state == SL_WS_OPEN)
        (void)sl_ws_put_close(ws, code, sentence, strlen(sentence));
    ws->state = SL_WS_CLOSED;
    *in->event =
        (struct sl_ws_event){.kind = SL_WS_ERROR, .code = (uint16_t)code, .sentence = sentence};
    return GIVE;
}

static enum step
fail_for_memory(struct sl_ws *ws, struct input *in)
{
    return fail(ws, in, 1011, "The server is short of memory.");
}

/* ---- heads --------------------------------------------------------------------------------------
 */

static enum step
begin_control(struct sl_ws *ws, struct input *in)
{
    if (in->now_ms - ws->second_ms >= 1000) {
        ws->second_ms = in->now_ms;
        ws->controls = 0;
    }
    if (++ws->controls > ws->options->max_controls_per_s && ws->options->max_controls_per_s > 0)
        return fail(ws, in, 1008, "There are too many control frames.");
    if (ws->frame.rsv1)
        return fail(ws, in, 1002, "A control frame is marked as compressed.");
    ws->control_len = 0;
    ws->phase = SL_WS_IN_CONTROL;
    return GO_ON;
}

static enum step
begin_data(struct sl_ws *ws, struct input *in)
{
    struct sl_ws_message *message = &ws->receiving;
    const struct sl_ws_frame *frame = &ws->frame;
    if (frame->opcode == SL_WS_OP_CONTINUATION) {
        if (message->opcode == 0)
            return fail(ws, in, 1002, "There is no message to continue.");
        if (frame->rsv1)
            return fail(ws, in, 1002, "A continuation is marked as compressed.");
    } else {
        if (message->opcode != 0)
            return fail(ws, in, 1002, "A message begins inside another.");
        if (frame->rsv1 && !ws->deflate.on)
            return fail(ws, in, 1002, "Compression was not agreed.");
        *message = (struct sl_ws_message){.opcode = frame->opcode, .deflated = frame->rsv1};
    }
    ws->phase = message->deflated ? SL_WS_IN_DEFLATED : SL_WS_IN_PLAIN;
    if (message->deflated || ws->state != SL_WS_OPEN || ws->options->max_message == 0)
        return GO_ON;
    if (frame->len > ws->options->max_message - message->size)
        return fail(ws, in, 1009, "A message is too long.");
    return GO_ON;
}

static enum step
take_head(struct sl_ws *ws, struct input *in)
{
    size_t used;
    const char *sentence;
    int rc =
        sl_ws_frame_read(&ws->head, in->p, (size_t)(in->end - in->p), &used, &ws->frame, &sentence);
    in->p += used;
    if (rc == 0)
        return WAIT;
    if (rc < 0)
        return fail(ws, in, 1002, sentence);
    ws->at = 0;
    return sl_ws_is_control(ws->frame.opcode) ? begin_control(ws, in) : begin_data(ws, in);
}

/* ---- control frames -----------------------------------------------------------------------------
 */

static enum step
take_close(struct sl_ws *ws, struct input *in)
{
    const uint8_t *payload = (const uint8_t *)ws->control;
    unsigned code = 0;
    if (ws->control_len == 1)
        return fail(ws, in, 1002, "A close frame has half a code.");
    if (ws->control_len >= 2) {
        code = (unsigned)payload[0] << 8 | payload[1];
        if (!sl_ws_code_is_valid(code))
            return fail(ws, in, 1002, "A close frame has a code that may not be sent.");
        if (!sl_utf8_is_valid(ws->control + 2, ws->control_len - 2u))
            return fail(ws, in, 1007, "The reason of a close frame is not UTF-8.");
    }
    if (ws->state == SL_WS_OPEN && sl_ws_put_close(ws, code, NULL, 0) != SL_OK)
        return fail_for_memory(ws, in);
    ws->state = SL_WS_CLOSED;
    *in->event = (struct sl_ws_event){.kind = SL_WS_CLOSE,
                                      .code = (uint16_t)(code != 0 ? code : 1005),
                                      .data = code != 0 ? ws->control + 2 : ws->control,
                                      .len = code != 0 ? ws->control_len - 2u : 0};
    return GIVE;
}

static enum step
take_control(struct sl_ws *ws, struct input *in)
{
    size_t n = smaller(ws->frame.len, (uint64_t)(in->end - in->p));
    memcpy(ws->control + ws->control_len, in->p, n);
    ws->control_len = (uint8_t)(ws->control_len + n);
    ws->frame.len -= n;
    in->p += n;
    if (ws->frame.len > 0)
        return WAIT;
    ws->phase = SL_WS_IN_HEAD;
    sl_ws_mask(ws->control, ws->control_len, ws->frame.mask, 0);
    if (ws->frame.opcode == SL_WS_OP_CLOSE)
        return take_close(ws, in);
    bool ping = ws->frame.opcode == SL_WS_OP_PING;
    if (ws->state != SL_WS_OPEN)
        return GO_ON;
    if (ping &&
        sl_ws_put_frame(ws, SL_WS_FIN | SL_WS_OP_PONG, ws->control, ws->control_len) != SL_OK)
        return fail_for_memory(ws, in);
    *in->event = (struct sl_ws_event){
        .kind = ping ? SL_WS_PING : SL_WS_PONG, .data = ws->control, .len = ws->control_len};
    return GIVE;
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static enum step
give(struct sl_ws *ws, struct input *in, const char *data, size_t len, bool last)
{
    struct sl_ws_message *message = &ws->receiving;
    *in->event =
        (struct sl_ws_event){.kind = message->opcode == SL_WS_OP_TEXT ? SL_WS_TEXT : SL_WS_BINARY,
                             .data = len > 0 ? data : "",
                             .len = len,
                             .first = !message->begun,
                             .last = last};
    message->begun = true;
    if (last) {
        message->opcode = 0;
        message->deflated = false;
        ws->phase = SL_WS_IN_HEAD;
    }
    return GIVE;
}

/* The message is complete and in `in`, or the last part of it is. */
static enum step
give_gathered(struct sl_ws *ws, struct input *in, bool last)
{
    ws->given = true;
    return give(ws, in, ws->in.ptr, ws->in.len, last);
}

static enum step
fail_for_text(struct sl_ws *ws, struct input *in)
{
    return fail(ws, in, 1007, "A text is not UTF-8.");
}

/* The bytes are the next of the message; whole: and its last. */
static bool
is_text(struct sl_ws *ws, const char *data, size_t len, bool whole)
{
    struct sl_ws_message *message = &ws->receiving;
    if (message->opcode != SL_WS_OP_TEXT)
        return true;
    return sl_utf8_feed(&message->utf8, data, len) && (!whole || sl_utf8_is_whole(&message->utf8));
}

static enum step
skip(struct sl_ws *ws, struct input *in)
{
    size_t n = smaller(ws->frame.len, (uint64_t)(in->end - in->p));
    in->p += n;
    ws->frame.len -= n;
    if (ws->frame.len > 0)
        return WAIT;
    if (ws->frame.fin)
        ws->receiving.opcode = 0;
    ws->phase = SL_WS_IN_HEAD;
    return GO_ON;
}

static enum step
take_plain(struct sl_ws *ws, struct input *in)
{
    size_t n = smaller(ws->frame.len, (uint64_t)(in->end - in->p));
    if (n == 0 && ws->frame.len > 0)
        return WAIT;
    char *data = in->p;
    sl_ws_mask(data, n, ws->frame.mask, ws->at);
    in->p += n;
    ws->at += n;
    ws->frame.len -= n;
    ws->receiving.size += n;
    bool ended = ws->frame.len == 0, last = ended && ws->frame.fin;
    if (!is_text(ws, data, n, last))
        return fail_for_text(ws, in);
    if (ended)
        ws->phase = SL_WS_IN_HEAD;
    if (ws->options->streaming)
        return n > 0 || last ? give(ws, in, data, n, last) : GO_ON;
    if (last && ws->in.len == 0)
        return give(ws, in, data, n, true);
    if (sl_buf_append(&ws->in, data, n) != SL_OK)
        return fail_for_memory(ws, in);
    return last ? give_gathered(ws, in, true) : GO_ON;
}

/* Room to inflate to: one byte more than the limit leaves, to see that it is passed. */
static int
make_room(struct sl_ws *ws, size_t *ret_room)
{
    size_t want = ws->options->streaming ? PART : FIRST_ROOM;
    if (ws->in.cap - ws->in.len == 0) {
        int rc = sl_buf_reserve(&ws->in, want);
        if (rc != SL_OK)
            return rc;
    }
    *ret_room = ws->in.cap - ws->in.len;
    if (ws->options->max_message > 0)
        *ret_room = smaller(*ret_room, ws->options->max_message - ws->receiving.size + 1);
    return SL_OK;
}

/* Inflates data[0..*len), which is set to what was used. GO_ON: all of it was; GIVE: an event is
 * there, a part of the message or an error. What the inflater still holds then (the rest of one
 * copy, 258 bytes at most) comes with the next input, or with the tail. */
static enum step
inflate_some(struct sl_ws *ws, struct input *in, const char *data, size_t *len)
{
    struct sl_ws_message *message = &ws->receiving;
    size_t given = *len, total = 0;
    for (;;) {
        size_t room = 0, used = given - total;
        if (make_room(ws, &room) != SL_OK)
            return fail_for_memory(ws, in);
        char *out = ws->in.ptr + ws->in.len;
        int rc = sl_ws_inflate(&ws->inflater, ws->deflate.client_window_bits, data + total, &used,
                               out, &room);
        ws->in.len += room;
        message->size += room;
        total += used;
        *len = total;
        if (!is_text(ws, out, room, false))
            return fail_for_text(ws, in);
        if (ws->options->max_message > 0 && message->size > ws->options->max_message)
            return fail(ws, in, 1009, "A message is too long.");
        if (rc == SL_ENOMEM)
            return fail_for_memory(ws, in);
        if (rc != SL_OK && rc != SL_EFULL)
            return fail(ws, in, 1007, "A message is not compressed as agreed.");
        if (ws->options->streaming && ws->in.len > 0)
            return give_gathered(ws, in, false);
        if (rc == SL_OK)
            return GO_ON;
    }
}

static enum step
take_deflated(struct sl_ws *ws, struct input *in)
{
    size_t n = smaller(ws->frame.len, (uint64_t)(in->end - in->p)), used = n;
    if (n == 0 && ws->frame.len > 0)
        return WAIT;
    if (n > 0) {
        sl_ws_mask(in->p, n, ws->frame.mask, ws->at);
        enum step step = inflate_some(ws, in, in->p, &used);
        if (used < n) /* it will be unmasked with what comes then */
            sl_ws_mask(in->p + used, n - used, ws->frame.mask, ws->at + used);
        in->p += used;
        ws->at += used;
        ws->frame.len -= used;
        if (step == GIVE)
            return GIVE;
    }
    if (ws->frame.len > 0)
        return WAIT;
    ws->phase = ws->frame.fin ? SL_WS_IN_TAIL : SL_WS_IN_HEAD;
    ws->tail_used = 0;
    return GO_ON;
}

static enum step
take_tail(struct sl_ws *ws, struct input *in)
{
    static const char tail[] = SL_WS_TAIL;
    if (ws->tail_used < SL_WS_TAIL_LEN) {
        size_t n = (size_t)(SL_WS_TAIL_LEN - ws->tail_used);
        enum step step = inflate_some(ws, in, tail + ws->tail_used, &n);
        ws->tail_used = (uint8_t)(ws->tail_used + n);
        if (step == GIVE)
            return GIVE;
    }
    if (!sl_ws_inflater_is_between_blocks(ws->inflater))
        return fail(ws, in, 1007, "A compressed message is cut short.");
    if (!is_text(ws, NULL, 0, true))
        return fail_for_text(ws, in);
    if (ws->deflate.client_no_context_takeover)
        sl_ws_inflater_reset(ws->inflater);
    return give_gathered(ws, in, true);
}

/* ---- feeding ------------------------------------------------------------------------------------
 */

static enum step
take(struct sl_ws *ws, struct input *in)
{
    if (ws->phase == SL_WS_IN_HEAD)
        return take_head(ws, in);
    if (ws->phase == SL_WS_IN_CONTROL)
        return take_control(ws, in);
    if (ws->state != SL_WS_OPEN)
        return skip(ws, in);
    if (ws->phase == SL_WS_IN_PLAIN)
        return take_plain(ws, in);
    return ws->phase == SL_WS_IN_DEFLATED ? take_deflated(ws, in) : take_tail(ws, in);
}

/* Forgets the message that the last event gave. */
static void
forget(struct sl_ws *ws)
{
    ws->given = false;
    ws->in.len = 0;
    if (ws->in.cap > KEPT && !ws->options->streaming)
        sl_buf_release(&ws->in);
}

void
sl_ws_feed(struct sl_ws *ws, uint64_t now_ms, char *buf, size_t len, size_t *ret_used,
           struct sl_ws_event *ret_event)
{
    char nothing = 0;
    if (len == 0)
        buf = &nothing;
    struct input in = {buf, buf + len, now_ms, ret_event};
    *ret_event = (struct sl_ws_event){.kind = SL_WS_MORE};
    if (ws->given)
        forget(ws);
    if (ws->state == SL_WS_CLOSED) {
        *ret_used = len;
        ret_event->kind = SL_WS_END;
        return;
    }
    while (take(ws, &in) == GO_ON)
        continue;
    *ret_used = (size_t)(in.p - buf);
}
