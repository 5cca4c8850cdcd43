/* Decoder of the chunked transfer coding (RFC 9112 section 7.1), resumable at any byte. */
#ifndef SL_HTTP_CHUNKED_H
#define SL_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

enum {
    /* Bytes of extension on one chunk line, semicolons and white space included. */
    SL_CHUNKED_MAX_LINE_EXT = 1024,
    /* Bytes of extension over the whole body that data has not paid for: 64 bytes of data (a 64th
     * of a chunk's size, rounded down) pay for one byte of extension. */
    SL_CHUNKED_MAX_EXT_DEBT = 4096,
};

struct sl_chunked {
    uint64_t left;  /* data bytes of the current chunk still to come */
    uint8_t state;  /* private */
    uint8_t digits; /* private */
    uint16_t ext;   /* private: bytes of extension seen on this line */
    uint32_t debt;  /* private: bytes of extension not paid for by data */
};

enum sl_chunked_event {
    SL_CHUNKED_MORE,     /* input used up */
    SL_CHUNKED_DATA,     /* *ret_data and *ret_len are body data inside the input; never empty */
    SL_CHUNKED_TRAILERS, /* last chunk seen: the trailer section starts at the returned offset */
    SL_CHUNKED_ERROR,
};

void sl_chunked_init(struct sl_chunked *decoder);

/* Looks at buf[0..len). Returns an event and sets *ret_used to the bytes consumed by it (for DATA:
 * including the data and the chunk line before it; the caller goes on behind them). Chunk
 * extensions are checked and dropped, their length is bounded as said above. On ERROR *ret_sentence
 * is a static sentence, the status is 400 and every later call is an ERROR too. After TRAILERS
 * every later call is TRAILERS with nothing used: the section is for sl_head_parse_trailers(). */
enum sl_chunked_event sl_chunked_next(struct sl_chunked *decoder, const char *buf, size_t len,
                                      size_t *ret_used, const char **ret_data, size_t *ret_len,
                                      const char **ret_sentence);

#endif
