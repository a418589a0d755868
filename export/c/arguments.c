#include "arguments.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "failure.h"
#include "files.h"

static const char *const VERBS[] = {"build", "verify", "bench", "predict"};
enum { VERB_COUNT = sizeof VERBS / sizeof *VERBS };

static double positive(const char *name, const char *text, double largest) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number > 0) || !(number <= largest))
        fail(BAD_INPUT, "argument %s: invalid positive number value: '%s'", name, text);
    return number;
}

static size_t whole(const char *name, const char *text) {
    double number = positive(name, text, INT_MAX);
    if (number != floor(number) || text[strspn(text, "0123456789")])
        fail(BAD_INPUT, "argument %s: invalid positive number value: '%s'", name, text);
    return (size_t)number;
}

static void add_option(Arguments *arguments, const char *text) {
    if (!strchr(text, '=')) fail(BAD_INPUT, "--option %s: expected KEY=VALUE", text);
    if (arguments->option_count == MOST_OPTIONS) fail(BAD_INPUT, "too many of --option");
    arguments->options[arguments->option_count++] = text;
}

static bool is_offline(const char *scenario) {
    bool offline = strcmp(scenario, "offline") == 0;
    if (!offline && strcmp(scenario, "single-stream") != 0)
        fail(BAD_INPUT, "argument --scenario: expected single-stream or offline, not '%s'", scenario);
    return offline;
}

static void set(Arguments *arguments, const char *name, const char *value) {
    if (strcmp(name, "--batch") == 0) arguments->batch = whole(name, value);
    else if (strcmp(name, "--threads") == 0) arguments->threads = whole(name, value);
    else if (strcmp(name, "--count") == 0) arguments->count = whole(name, value);
    else if (strcmp(name, "--warmup") == 0) arguments->warmup = whole(name, value);
    else if (strcmp(name, "--seconds") == 0) arguments->seconds = positive(name, value, 1e9);
    else if (strcmp(name, "--input") == 0) arguments->input = value;
    else if (strcmp(name, "--output") == 0) arguments->output = value;
    else if (strcmp(name, "--affinity") == 0) arguments->affinity = cores_of(value, "argument --affinity");
    else if (strcmp(name, "--scenario") == 0) arguments->offline = is_offline(value);
    else if (strcmp(name, "--option") == 0) add_option(arguments, value);
    else fail(BAD_INPUT, "unrecognized arguments: %s", name);
}

static void add_word(Arguments *arguments, const char *word) {
    const char **place = !arguments->verb ? &arguments->verb : &arguments->bundle;
    if (*place) fail(BAD_INPUT, "unrecognized arguments: %s", word);
    *place = word;
}

static void check_verb(const char *verb) {
    for (size_t index = 0; verb && index < VERB_COUNT; index++)
        if (strcmp(verb, VERBS[index]) == 0) return;
    fail(BAD_INPUT, "expected build, verify, bench or predict, not '%s'", verb ? verb : "");
}

Arguments arguments_of(int argc, char **argv) {
    Arguments arguments = {.seconds = 1.0, .count = 50, .warmup = 10};
    for (int index = 1; index < argc; index++) {
        char *word = argv[index], *equals = strchr(word, '=');
        if (strncmp(word, "--", 2) != 0) {
            add_word(&arguments, word);
            continue;
        }
        if (equals) *equals = '\0';
        else if (index + 1 == argc) fail(BAD_INPUT, "argument %s: expected one argument", word);
        set(&arguments, word, equals ? equals + 1 : argv[++index]);
    }
    check_verb(arguments.verb);
    if (!arguments.bundle) arguments.bundle = own_folder();
    return arguments;
}
