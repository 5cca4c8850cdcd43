/* What a thread needs to serve. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/engine_state.h"
#include "http/text.h"

static int
prepare_fixed(struct sl_workspace *ws, const char *server_name)
{
    size_t room = strlen(server_name) + SL_DATE_LEN + 64;
    ws->fixed = malloc(room);
    if (ws->fixed == NULL)
        return SL_ENOMEM;
    int n = server_name[0] == '\0' ? snprintf(ws->fixed, room, "\r\n")
                                   : snprintf(ws->fixed, room, "\r\nServer: %s\r\n", server_name);
    ws->fixed_date = (size_t)n + 6;
    n += snprintf(ws->fixed + n, room - (size_t)n, "Date: %*s\r\nConnection: ", SL_DATE_LEN, "");
    ws->fixed_len = (size_t)n;
    return SL_OK;
}

struct sl_workspace *
sl_workspace_new(struct sl_engine *engine, bool scratch)
{
    struct sl_workspace *ws = calloc(1, sizeof *ws);
    if (ws == NULL)
        return NULL;
    ws->engine = engine;
    sl_out_init(&ws->out);
    ws->out.cut = &engine->cut;
    ws->desk = engine->opt.threads == 0 ? &engine->desk : &ws->own_desk;
    ws->fields = malloc(engine->head_rules.max_fields * sizeof *ws->fields);
    ws->scratch = scratch ? malloc(SL_SCRATCH_SIZE) : NULL;
    if (ws->fields == NULL || (scratch && ws->scratch == NULL) ||
        prepare_fixed(ws, engine->opt.server_name ? engine->opt.server_name : "") < 0) {
        sl_workspace_free(ws);
        return NULL;
    }
    return ws;
}

void
sl_workspace_free(struct sl_workspace *ws)
{
    if (ws == NULL)
        return;
    sl_out_release(&ws->out);
    sl_buf_release(&ws->headers);
    sl_buf_release(&ws->substitute);
    sl_access_desk_release(&ws->own_desk);
    sl_buf_release(&ws->x.spill);
    free(ws->fields);
    free(ws->fixed);
    free(ws->scratch);
    free(ws);
}
