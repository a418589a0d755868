#include "options.h"

#include <string.h>

#include "failure.h"

static void set(Options *options, const char *key, size_t length, const char *value) {
    bool delegate = strncmp(key, "delegate", length) == 0 && length == strlen("delegate");
    bool resolver = strncmp(key, "resolver", length) == 0 && length == strlen("resolver");
    if (!delegate && !resolver)
        fail(BAD_INPUT, "unknown tflite option '%.*s'; known: delegate, resolver, library", (int)length, key);
    if (resolver && strcmp(value, "builtin") != 0)
        fail(BAD_INPUT, "resolver=%s: the C library has only builtin", value);
    if (delegate && strcmp(value, "xnnpack") != 0 && strcmp(value, "none") != 0 && !strstr(value, ".so"))
        fail(BAD_INPUT, "delegate=%s: expected xnnpack, none or a delegate's library, some.so", value);
    if (delegate) options->delegate = value;
}

Options options_of(const Json *manifest, const Arguments *arguments) {
    static const char LIBRARY[] = "library=";
    Options options = {.library = NULL, .delegate = "xnnpack"};
    const Json *runtime = json_get(manifest, "runtime");
    for (size_t index = 0; runtime && index < runtime->count; index++) {
        const Json *option = &runtime->items[index];
        if (!option->key || !option->text) fail(BAD_INPUT, "manifest.json: a runtime's options are texts by name");
        if (strpbrk(option->text, "/\\"))
            fail(BAD_INPUT, "manifest.json: a runtime option names a path, which only --option may");
        set(&options, option->key, strlen(option->key), option->text);
    }
    for (size_t index = 0; index < arguments->option_count; index++) {
        const char *option = arguments->options[index], *value = strchr(option, '=') + 1;
        if (strncmp(option, LIBRARY, strlen(LIBRARY)) == 0) options.library = value;
        else set(&options, option, (size_t)(value - option - 1), value);
    }
    return options;
}
