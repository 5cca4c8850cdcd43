/* Heads of frames, judged at the first byte that is wrong, wherever they are cut; and the mask, 64
 * bytes at a time. */
#include "http/ws_frame.h"

#include <string.h>
#include <saola/status.h>

/* What is wrong with the first two bytes (as many as there are), or NULL. */
static const char *
check_first(const uint8_t *bytes, unsigned have)
{
    unsigned opcode = bytes[0] & 15u;
    if ((bytes[0] & 0x30) != 0)
        return "A reserved bit is set.";
    if (opcode > SL_WS_OP_PONG || (opcode > SL_WS_OP_BINARY && opcode < SL_WS_OP_CLOSE))
        return "The opcode is reserved.";
    if (sl_ws_is_control(opcode) && !(bytes[0] & SL_WS_FIN))
        return "A control frame is fragmented.";
    if (have < 2)
        return NULL;
    if (!(bytes[1] & 0x80))
        return "A frame of the client is not masked.";
    if (sl_ws_is_control(opcode) && (bytes[1] & 0x7f) > SL_WS_MAX_CONTROL)
        return "The payload of a control frame is longer than 125 bytes.";
    return NULL;
}

/* Bytes of length behind the first two. */
static unsigned
length_bytes(uint8_t second)
{
    unsigned len = second & 0x7f;
    return len < 126 ? 0 : len == 126 ? 2 : 8;
}

static const char *
read_length(const uint8_t *bytes, uint64_t *ret_len)
{
    unsigned count = length_bytes(bytes[1]);
    uint64_t len = bytes[1] & 0x7f;
    if (count > 0)
        len = 0;
    for (unsigned i = 0; i < count; i++)
        len = len << 8 | bytes[2 + i];
    if (count == 8 && len >> 63 != 0)
        return "The length of a frame has its highest bit set.";
    if ((count == 2 && len < 126) || (count == 8 && len < 65536))
        return "The length of a frame is not encoded in the fewest bytes.";
    *ret_len = len;
    return NULL;
}

static const char *
judge(const uint8_t *bytes, unsigned have, uint64_t *ret_len)
{
    const char *wrong = check_first(bytes, have);
    if (wrong != NULL || have < 2 || have < 2 + length_bytes(bytes[1]))
        return wrong;
    return read_length(bytes, ret_len);
}

/* Length of the whole head as far as the bytes tell. */
static unsigned
needed(const uint8_t *bytes, unsigned have)
{
    return have < 2 ? 2 : 2 + length_bytes(bytes[1]) + 4;
}

int
sl_ws_frame_read(struct sl_ws_head *head, const char *buf, size_t len, size_t *ret_used,
                 struct sl_ws_frame *ret_frame, const char **ret_sentence)
{
    size_t used = 0;
    uint64_t payload = 0;
    for (;;) {
        unsigned need = needed(head->bytes, head->have);
        size_t n = need - head->have;
        n = n < len - used ? n : len - used;
        if (n > 0)
            memcpy(head->bytes + head->have, buf + used, n);
        head->have = (uint8_t)(head->have + n);
        used += n;
        *ret_used = used;
        if (head->have > 0) {
            const char *wrong = judge(head->bytes, head->have, &payload);
            if (wrong != NULL) {
                *ret_sentence = wrong;
                return SL_EPROTO;
            }
        }
        if (head->have < need)
            return 0;
        if (need > 2)
            break;
    }
    *ret_frame = (struct sl_ws_frame){.len = payload,
                                      .opcode = head->bytes[0] & 15,
                                      .fin = (head->bytes[0] & SL_WS_FIN) != 0,
                                      .rsv1 = (head->bytes[0] & SL_WS_RSV1) != 0};
    memcpy(ret_frame->mask, head->bytes + head->have - 4, 4);
    head->have = 0;
    return 1;
}

size_t
sl_ws_frame_write(char *out, unsigned first, uint64_t len)
{
    size_t head = sl_ws_head_len(len);
    out[0] = (char)first;
    out[1] = (char)(head == 2 ? len : head == 4 ? 126 : 127);
    for (size_t i = 2; i < head; i++)
        out[i] = (char)(len >> 8 * (head - 1 - i));
    return head;
}

/* Of what the compiler makes the widest instructions that the target has. */
typedef uint64_t wide __attribute__((vector_size(16)));

static inline void
mask_wide(char *p, wide key)
{
    wide word;
    memcpy(&word, p, sizeof word);
    word ^= key;
    memcpy(p, &word, sizeof word);
}

void
sl_ws_mask(char *data, size_t len, const uint8_t mask[4], uint64_t at)
{
    uint8_t turned[8]; /* so that it begins with the byte that belongs to data[0] */
    for (unsigned i = 0; i < 8; i++)
        turned[i] = mask[(at + i) & 3];
    uint64_t key;
    memcpy(&key, turned, sizeof key);
    const wide keys = {key, key};
    char *end = data + len;
    for (; end - data >= 64; data += 64) {
        mask_wide(data, keys);
        mask_wide(data + 16, keys);
        mask_wide(data + 32, keys);
        mask_wide(data + 48, keys);
    }
    for (; end - data >= 8; data += 8) {
        uint64_t word;
        memcpy(&word, data, sizeof word);
        word ^= key;
        memcpy(data, &word, sizeof word);
    }
    for (unsigned i = 0; data < end; i++)
        *data++ ^= (char)turned[i];
}
