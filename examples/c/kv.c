/* A key-value service: GET, PUT and DELETE of /KEY; one process holds the values.
 *
 *     cc -shared -fPIC $(pkg-config --cflags saola) kv.c -o kv.so
 *     saola --hand-over exclusive --set limit=1000 --set file=values.txt ./kv.so
 *
 * Shows: settings of one's own, state made in start() and saved in exit(). With --hand-over
 * exclusive a reload loses nothing: the old worker has saved before the new one starts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <saola/app.h>

enum { BUCKETS = 1024 };

struct entry {
    struct entry *next;
    size_t key_len, value_len;
    char *bytes; /* key, then value */
};

struct store {
    struct entry *buckets[BUCKETS];
    size_t count, limit;
    const char *file;
};

static struct entry **
find(struct store *store, struct sl_str key)
{
    size_t hash = 5381;
    for (size_t i = 0; i < key.len; i++)
        hash = hash * 33 + (unsigned char)key.ptr[i];
    struct entry **at = &store->buckets[hash % BUCKETS];
    while (*at != NULL &&
           ((*at)->key_len != key.len || memcmp((*at)->bytes, key.ptr, key.len) != 0))
        at = &(*at)->next;
    return at;
}

static int
put(struct store *store, struct sl_str key, const char *value, size_t len)
{
    struct entry **at = find(store, key);
    char *bytes = malloc(key.len + len + 1);
    if (*at == NULL && store->count >= store->limit) {
        free(bytes);
        return SL_EFULL;
    }
    if (bytes == NULL)
        return SL_ENOMEM;
    if (*at == NULL) {
        *at = calloc(1, sizeof **at);
        if (*at == NULL) {
            free(bytes);
            return SL_ENOMEM;
        }
        store->count++;
    }
    memcpy(bytes, key.ptr, key.len);
    memcpy(bytes + key.len, value, len);
    free((*at)->bytes);
    (*at)->bytes = bytes;
    (*at)->key_len = key.len;
    (*at)->value_len = len;
    return SL_OK;
}

static void
drop(struct store *store, struct entry **at)
{
    struct entry *entry = *at;
    *at = entry->next;
    store->count--;
    free(entry->bytes);
    free(entry);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static int
read_file(struct store *store, struct sl_error *err)
{
    size_t key_len, value_len;
    FILE *file = fopen(store->file, "rb");
    if (file == NULL)
        return SL_OK; /* the first time */
    int rc = SL_OK;
    while (rc == SL_OK && fread(&key_len, sizeof key_len, 1, file) == 1 &&
           fread(&value_len, sizeof value_len, 1, file) == 1) {
        char *bytes = malloc(key_len + value_len + 1);
        if (bytes == NULL || fread(bytes, 1, key_len + value_len, file) != key_len + value_len)
            rc = sl_error_set(err, SL_EPROTO, "%s: is damaged", store->file);
        else
            rc = put(store, (struct sl_str){bytes, key_len}, bytes + key_len, value_len);
        free(bytes);
    }
    fclose(file);
    return rc;
}

static int
start(struct sl_worker *worker, void *data, void **ret_state, struct sl_error *err)
{
    (void)data;
    const struct sl_values *settings = sl_worker_settings(worker);
    struct store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return SL_ENOMEM;
    store->limit = (size_t)sl_values_number(settings, "limit");
    store->file = sl_values_text(settings, "file");
    *ret_state = store;
    int rc = store->file != NULL ? read_file(store, err) : SL_OK;
    if (rc == SL_OK)
        sl_worker_log(worker, SL_LOG_INFO, "%zu values", store->count);
    return rc;
}

static void
leave(void *state)
{
    struct store *store = state;
    FILE *file = store->file != NULL ? fopen(store->file, "wb") : NULL;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (store->buckets[i] != NULL) {
            struct entry *entry = store->buckets[i];
            if (file != NULL) {
                fwrite(&entry->key_len, sizeof entry->key_len, 1, file);
                fwrite(&entry->value_len, sizeof entry->value_len, 1, file);
                fwrite(entry->bytes, 1, entry->key_len + entry->value_len, file);
            }
            drop(store, &store->buckets[i]);
        }
    }
    if (file != NULL)
        fclose(file);
    free(store);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

static int
say(struct sl_response *res, int status, const char *text)
{
    return sl_response_send(res, status, "text/plain", text, strlen(text));
}

static int
answer(void *state, struct sl_request *req, struct sl_response *res)
{
    struct store *store = state;
    struct sl_str key = {req->path.ptr + 1, req->path.len - 1};
    struct entry **at = find(store, key);
    const char *body;
    size_t len = sl_request_body(req, &body); /* up to 64 KiB are here before we are called */
    if (req->method.len == 3 && memcmp(req->method.ptr, "PUT", 3) == 0) {
        sl_request_consume(req, len);
        if (!sl_request_body_done(req))
            return say(res, 413, "a value has at most 64 KiB\n");
        int rc = put(store, key, body, len);
        return rc == SL_EFULL ? say(res, 507, "full\n") : rc < 0 ? rc : say(res, 200, "stored\n");
    }
    if (*at == NULL)
        return say(res, 404, "no such key\n");
    if (req->method.len == 6 && memcmp(req->method.ptr, "DELETE", 6) == 0) {
        drop(store, at);
        return say(res, 200, "deleted\n");
    }
    return sl_response_send(res, 200, "application/octet-stream", (*at)->bytes + (*at)->key_len,
                            (*at)->value_len);
}

static const struct sl_setting settings[] = {
    {.name = "limit",
     .type = SL_SETTING_INT,
     .default_text = "100000",
     .min = 1,
     .max = 1000000000,
     .summary = "Number of values."},
    {.name = "file", .type = SL_SETTING_STRING, .summary = "Where values are kept between runs."},
    {.name = NULL},
};

SL_APP(app) = {.abi = SL_APP_ABI,
               .name = "kv",
               .settings = settings,
               .start = start,
               .request = answer,
               .exit = leave};
