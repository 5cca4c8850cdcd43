/* Media types by the ends of file names: those that web sites serve, as IANA names them. */
#include "files/media_type.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define UTF_8 "; charset=utf-8"

/* Sorted by ending. */
static const struct sl_media_type types[] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"apng", "image/apng"},
    {"atom", "application/atom+xml"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bin", "application/octet-stream"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"cjs", "text/javascript" UTF_8},
    {"crt", "application/x-x509-ca-cert"},
    {"css", "text/css" UTF_8},
    {"csv", "text/csv" UTF_8},
    {"deb", "application/vnd.debian.binary-package"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"eot", "application/vnd.ms-fontobject"},
    {"epub", "application/epub+zip"},
    {"flac", "audio/flac"},
    {"geojson", "application/geo+json"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"heic", "image/heic"},
    {"htm", "text/html" UTF_8},
    {"html", "text/html" UTF_8},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar" UTF_8},
    {"jar", "application/java-archive"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript" UTF_8},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"jxl", "image/jxl"},
    {"m3u8", "application/vnd.apple.mpegurl"},
    {"m4a", "audio/mp4"},
    {"m4v", "video/mp4"},
    {"map", "application/json"},
    {"md", "text/markdown" UTF_8},
    {"mid", "audio/midi"},
    {"mjs", "text/javascript" UTF_8},
    {"mkv", "video/matroska"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"mpg", "video/mpeg"},
    {"odp", "application/vnd.oasis.opendocument.presentation"},
    {"ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"pem", "application/x-pem-file"},
    {"png", "image/png"},
    {"ppt", "application/vnd.ms-powerpoint"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"rar", "application/vnd.rar"},
    {"rss", "application/rss+xml"},
    {"rtf", "application/rtf"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"ts", "video/mp2t"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain" UTF_8},
    {"vtt", "text/vtt" UTF_8},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xls", "application/vnd.ms-excel"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

static int
compare(const void *ending, const void *row)
{
    return strcasecmp(ending, ((const struct sl_media_type *)row)->ending);
}

static bool
ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Text and what is written as text; what is compressed already is not. */
static bool
is_compressible(const char *type)
{
    static const char *const others[] = {
        "application/json",
        "application/ld+json",
        "application/manifest+json",
        "application/wasm",
        "application/geo+json",
        "application/xml",
        "image/svg+xml",
        "application/rss+xml",
        "application/atom+xml",
        "font/ttf",
        "font/otf",
        "application/vnd.ms-fontobject",
        "application/yaml",
        "application/xhtml+xml",
        "image/vnd.microsoft.icon",
        "image/bmp",
    };
    if (strncmp(type, "text/", 5) == 0 || ends_with(type, UTF_8))
        return true;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(type, others[i]) == 0)
            return true;
    return false;
}

static const char *
find_type(const char *name, const struct sl_media_type *more)
{
    const char *dot = strrchr(name, '.'), *slash = strrchr(name, '/');
    if (dot == NULL || (slash != NULL && dot < slash))
        return "application/octet-stream";
    for (; more != NULL && more->ending != NULL; more++)
        if (strcasecmp(dot + 1, more->ending) == 0)
            return more->type;
    const struct sl_media_type *row =
        bsearch(dot + 1, types, sizeof types / sizeof types[0], sizeof types[0], compare);
    return row != NULL ? row->type : "application/octet-stream";
}

const char *
sl_media_type_of(const char *name, const struct sl_media_type *more, bool *ret_compressible)
{
    const char *type = find_type(name, more);
    *ret_compressible = is_compressible(type);
    return type;
}
