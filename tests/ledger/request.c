/* Makes requests, each with an id of its own, and compares answers with them.
 *
 * The path is /CONNECTION-SEQUENCE/MS/SIZE. The application answers with a first line
 *
 *   PATH PID GENERATION LENGTH CRC32
 *
 * (LENGTH and CRC32 of the body it got), filled up with 'x' to SIZE bytes, and rests MS
 * milliseconds in the middle of it. */
#include "ledger.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES = 16, OUT_ROOM = UPLOAD_BYTES + 4096 };

/* xorshift64*, so that a seed gives the same choices everywhere. */
uint64_t
random_below(struct ledger *ledger, uint64_t limit)
{
    uint64_t x = ledger->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    ledger->random = x;
    return limit == 0 ? 0 : (x * 0x2545f4914f6cdd1dULL >> 11) % limit;
}

static uint32_t
crc32_of(uint32_t sum, const char *data, size_t len)
{
    static const uint32_t nibbles[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                         0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                         0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                         0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    sum = ~sum;
    for (size_t i = 0; i < len; i++) {
        sum ^= (unsigned char)data[i];
        sum = nibbles[sum & 15] ^ sum >> 4;
        sum = nibbles[sum & 15] ^ sum >> 4;
    }
    return ~sum;
}

static int
print_path(char *text, size_t room, const struct conn *conn, const struct request *request)
{
    return snprintf(text, room, "/%" PRIu64 "-%" PRIu64 "/%u/%u", conn->id, request->seq,
                    request->ms, request->size);
}

/* A few requests take their time or want much, so that a stop finds them half done. */
static void
choose_answer(struct ledger *ledger, struct conn *conn, struct request *request)
{
    if (ledger->opt.plain || conn->kind == K_UPLOAD)
        return;
    unsigned dice = (unsigned)random_below(ledger, 100);
    if (dice == 0 && conn->kind != K_PIPELINE)
        request->ms = 1 + (unsigned)random_below(ledger, 20);
    if (dice == 0 || dice == 1)
        request->size = 20000 + (unsigned)random_below(ledger, 200000);
}

void
request_add(struct ledger *ledger, struct conn *conn)
{
    struct request *request = &conn->queue[(conn->first + conn->count++) % DEPTH];
    *request = (struct request){.seq = conn->seq++, .sent_ns = ledger->now_ns};
    request->upload = conn->kind == K_UPLOAD;
    choose_answer(ledger, conn, request);
    char path[80];
    print_path(path, sizeof path, conn, request);
    char *out = conn->out + conn->out_len;
    size_t room = OUT_ROOM - conn->out_len;
    int len = snprintf(out, room, "%s %s HTTP/1.1\r\nHost: ledger\r\n%s",
                       request->upload ? "POST" : "GET", path,
                       conn->kind == K_CLOSE ? "Connection: close\r\n" : "");
    if (request->upload)
        len += snprintf(out + len, room - (size_t)len, "Content-Length: %d\r\n", UPLOAD_BYTES);
    len += snprintf(out + len, room - (size_t)len, "\r\n");
    if ((size_t)len >= room)
        abort(); /* OUT_ROOM takes DEPTH requests */
    conn->out_len += (size_t)len;
    if (request->upload) {
        conn->body_left = UPLOAD_BYTES;
        conn->piece_ns = ledger->now_ns;
    }
    request->start = conn->written + (size_t)(out - conn->out) - conn->out_sent;
    request->end = request->start + (size_t)len + conn->body_left;
    ledger->begun++;
}

void
request_piece(struct ledger *ledger, struct conn *conn)
{
    struct request *request = &conn->queue[conn->first];
    size_t size = UPLOAD_BYTES / PIECES;
    if (conn->out_sent == conn->out_len)
        conn->out_sent = conn->out_len = 0;
    char *out = conn->out + conn->out_len;
    if (size > OUT_ROOM - conn->out_len)
        abort(); /* a whole upload has room */
    size_t at = UPLOAD_BYTES - conn->body_left;
    for (size_t i = 0; i < size; i++)
        out[i] = (char)('a' + (conn->id + request->seq + at + i) % 26);
    request->sum = crc32_of(request->sum, out, size);
    conn->out_len += size;
    conn->body_left -= size;
    /* Its answer's time counts from the last byte. */
    request->sent_ns = ledger->now_ns;
    conn->piece_ns = ledger->now_ns + random_below(ledger, 2000000ULL * ledger->opt.piece_ms + 1);
}

/* Reads " NUMBER" in the base given; false if it is not there. */
static bool
take_number(char **rest, int base, unsigned long *ret_number)
{
    if (**rest != ' ')
        return false;
    char *end;
    *ret_number = strtoul(*rest + 1, &end, base);
    bool is_there = end > *rest + 1;
    *rest = end;
    return is_there;
}

const char *
request_check(const struct ledger *ledger, const struct conn *conn, const struct request *request,
              unsigned *ret_pid)
{
    struct answer answer = conn->answer;
    if (answer.status != 200)
        return "another status than 200";
    char path[80];
    size_t len = (size_t)print_path(path, sizeof path, conn, request);
    if (!answer.has_first || strncmp(answer.first, path, len) != 0)
        return "the answer to another request";
    char *rest = answer.first + len;
    unsigned long pid, generation, got, sum;
    if (!take_number(&rest, 10, &pid) || !take_number(&rest, 10, &generation) ||
        !take_number(&rest, 10, &got) || !take_number(&rest, 16, &sum) || *rest != '\0')
        return "no pid, generation, length and sum";
    if (!ledger->opt.plain && request->upload && (got != UPLOAD_BYTES || sum != request->sum))
        return "the upload did not arrive as it was sent";
    size_t size = request->size > answer.first_len + 1 ? request->size : answer.first_len + 1;
    if (answer.length != size || answer.filled)
        return "the body is not the one asked for";
    *ret_pid = (unsigned)pid;
    return NULL;
}
