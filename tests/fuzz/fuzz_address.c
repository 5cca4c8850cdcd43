/* bind addresses and CIDR rules: what is accepted must print and parse back to the same. */
#include <string.h>

#include "fuzz.h"
#include "net/address.h"

static void
check_address(const char *text)
{
    struct sl_address address, again;
    struct sl_error err = {0};
    char printed[SL_ADDRESS_TEXT];
    if (sl_address_parse(text, &address, &err) != SL_OK) {
        DEMAND(err.code == SL_EINVAL && err.text[0] != '\0');
        return;
    }
    if (address.kind == SL_ADDRESS_TCP && strcmp(address.host, "unix") == 0)
        return; /* "tcp://unix:80" prints as what gunicorn reads as a path: a message, no more */
    sl_address_text(&address, printed);
    DEMAND(sl_address_parse(printed, &again, &err) == SL_OK);
    DEMAND(again.kind == address.kind && again.port == address.port && again.fd == address.fd);
    DEMAND(strcmp(again.path, address.path) == 0);
    struct sl_resolved resolved;
    if (address.kind == SL_ADDRESS_UNIX)
        DEMAND(sl_address_resolve(&address, &resolved, &err) == SL_OK && resolved.count == 1);
}

static void
check_cidr(const char *text)
{
    struct sl_cidr cidr;
    struct sl_error err = {0};
    if (sl_cidr_parse(text, &cidr, &err) != SL_OK) {
        DEMAND(err.code == SL_EINVAL && err.text[0] != '\0');
        return;
    }
    sl_cidr_match_text(&cidr, 1, "::ffff:127.0.0.1");
    /* a plain address matches itself */
    if (strpbrk(text, "/ \t\n\v\f\r*") == NULL)
        DEMAND(sl_cidr_match_text(&cidr, 1, text));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    check_address(text);
    check_cidr(text);
    free(text);
    return 0;
}
