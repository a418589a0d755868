#include "utf8.h"

size_t utf8_decode(const char *at, const char *end, uint32_t *code) {
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)*at;
    size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
    if (length == 0 || (size_t)(end - at) < length) return 0;
    *code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t index = 1; index < length; index++) {
        unsigned char byte = (unsigned char)at[index];
        if (byte >> 6 != 2) return 0;
        *code = *code << 6 | (byte & 0x3Fu);
    }
    int surrogate = *code >= 0xD800 && *code < 0xE000;
    return *code < SMALLEST[length] || *code > 0x10FFFF || surrogate ? 0 : length;
}

size_t utf8_encode(uint32_t code, char *out) {
    static const unsigned char LEADS[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t index = length - 1; index > 0; index--) {
        out[index] = (char)(0x80u | (code & 0x3Fu));
        code >>= 6;
    }
    out[0] = (char)(LEADS[length] | code);
    return length;
}
