#include "json.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "utf8.h"

#define DEEPEST 64

typedef struct {
    const char *begin, *at, *end, *source;
    int depth;
} Cursor;

static void value(Cursor *cursor, Json *found);

static _Noreturn void refuse(const Cursor *cursor, const char *what) {
    fail(BAD_INPUT, "%s: not valid JSON: %s at byte %zu", cursor->source, what, (size_t)(cursor->at - cursor->begin));
}

static void skip_blanks(Cursor *cursor) {
    cursor->at += strspn(cursor->at, " \t\n\r");
}

static bool accept(Cursor *cursor, char wanted) {
    skip_blanks(cursor);
    bool there = *cursor->at == wanted;
    cursor->at += there;
    return there;
}

static uint32_t four_hex_digits(Cursor *cursor) {
    uint32_t code = 0;
    for (int index = 0; index < 4; index++, cursor->at++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *found = *cursor->at ? strchr(digits, *cursor->at) : NULL;
        if (!found) refuse(cursor, "a wrong escape");
        code = code << 4 | ((uint32_t)(found - digits) & 15u);
    }
    return code;
}

static uint32_t escaped_unicode(Cursor *cursor) {
    uint32_t code = four_hex_digits(cursor);
    if (code >= 0xD800 && code < 0xDC00 && cursor->at[0] == '\\' && cursor->at[1] == 'u') {
        cursor->at += 2;
        uint32_t low = four_hex_digits(cursor);
        if (low >= 0xDC00 && low < 0xE000) return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code == 0 || (code >= 0xD800 && code < 0xE000)) refuse(cursor, "an escape of no character");
    return code;
}

static uint32_t escaped(Cursor *cursor) {
    static const char NAMES[] = "\"\\/bfnrt", MEANINGS[] = "\"\\/\b\f\n\r\t";
    char name = *cursor->at++;
    if (name == 'u') return escaped_unicode(cursor);
    const char *found = name ? strchr(NAMES, name) : NULL;
    if (!found) refuse(cursor, "a wrong escape");
    return (uint32_t)MEANINGS[found - NAMES];
}

static const char *string(Cursor *cursor) {
    const char *closing = cursor->at;
    while (*closing && *closing != '"') closing += *closing == '\\' && closing[1] ? 2 : 1;
    char *text = allocate((size_t)(closing - cursor->at) + 1, 1); /* no escape is shorter than its character */
    char *out = text;
    while (*cursor->at != '"') {
        uint32_t code;
        size_t length = utf8_decode(cursor->at, cursor->end, &code);
        if (!length || code < ' ') refuse(cursor, "a character that is not allowed");
        cursor->at += length;
        out += utf8_encode(code == '\\' ? escaped(cursor) : code, out);
    }
    cursor->at++;
    return text;
}

static void number(Cursor *cursor, Json *found) {
    const char *begin = cursor->at, *digits = "0123456789";
    cursor->at += *cursor->at == '-';
    size_t whole = strspn(cursor->at, digits);
    if (!whole || (whole > 1 && *cursor->at == '0')) refuse(cursor, "no value");
    cursor->at += whole;
    found->integral = true;
    if (*cursor->at == '.') {
        size_t fraction = strspn(++cursor->at, digits);
        if (!fraction) refuse(cursor, "a wrong number");
        cursor->at += fraction;
        found->integral = false;
    }
    if (*cursor->at == 'e' || *cursor->at == 'E') {
        cursor->at++;
        cursor->at += *cursor->at == '+' || *cursor->at == '-';
        size_t exponent = strspn(cursor->at, digits);
        if (!exponent) refuse(cursor, "a wrong number");
        cursor->at += exponent;
        found->integral = false;
    }
    found->number = strtod(begin, NULL);
    if (!isfinite(found->number)) refuse(cursor, "a number too large");
    char *text = allocate((size_t)(cursor->at - begin) + 1, 1);
    found->text = memcpy(text, begin, (size_t)(cursor->at - begin));
}

static Json *appended(Json *collection) {
    size_t count = collection->count++;
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        Json *larger = allocate(count ? 2 * count : 1, sizeof *larger);
        if (count) memcpy(larger, collection->items, count * sizeof *larger);
        free(collection->items);
        collection->items = larger;
    }
    return &collection->items[count];
}

static void member(Cursor *cursor, Json *object) {
    if (!accept(cursor, '"')) refuse(cursor, "no key");
    const char *key = string(cursor);
    if (json_get(object, key)) refuse(cursor, "a key for the second time");
    if (!accept(cursor, ':')) refuse(cursor, "no colon");
    Json *item = appended(object);
    value(cursor, item);
    item->key = key;
}

static void collection(Cursor *cursor, Json *found, char closing) {
    if (++cursor->depth > DEEPEST) refuse(cursor, "too deep a nesting");
    if (!accept(cursor, closing)) {
        do {
            if (closing == '}') member(cursor, found);
            else value(cursor, appended(found));
        } while (accept(cursor, ','));
        if (!accept(cursor, closing)) refuse(cursor, "no end of a list");
    }
    cursor->depth--;
}

static bool word(Cursor *cursor, const char *wanted) {
    size_t length = strlen(wanted);
    bool there = strncmp(cursor->at, wanted, length) == 0;
    cursor->at += there ? length : 0;
    return there;
}

static void value(Cursor *cursor, Json *found) {
    if (accept(cursor, '"')) {
        found->kind = JSON_TEXT;
        found->text = string(cursor);
    } else if (accept(cursor, '{')) {
        found->kind = JSON_OBJECT;
        collection(cursor, found, '}');
    } else if (accept(cursor, '[')) {
        found->kind = JSON_ARRAY;
        collection(cursor, found, ']');
    } else if (word(cursor, "null")) found->kind = JSON_NULL;
    else if (word(cursor, "true")) found->kind = JSON_TRUE;
    else if (word(cursor, "false")) found->kind = JSON_FALSE;
    else {
        found->kind = JSON_NUMBER;
        number(cursor, found);
    }
}

Json *json_parse(const char *document, size_t size, const char *source) {
    Cursor cursor = {document, document, document + size, source, 0};
    Json *root = allocate(1, sizeof *root);
    value(&cursor, root);
    skip_blanks(&cursor);
    if (cursor.at != cursor.end) refuse(&cursor, "something after the end");
    return root;
}

const Json *json_get(const Json *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (size_t index = 0; index < object->count; index++)
        if (object->items[index].key && strcmp(object->items[index].key, key) == 0) return &object->items[index];
    return NULL;
}
