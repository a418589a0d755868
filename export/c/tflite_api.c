#include "tflite_api.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "failure.h"
#include "files.h"

/* The C library, and that of Android's archives for Java, which has the same functions. */
static const char *const NAMES[] = {"libtensorflowlite_c.so", "libtensorflowlite_jni.so"};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES };

static _Noreturn void missing(const char *reason) {
    fail(MISSING_RUNTIME,
         "no TensorFlow Lite C library: put %s beside this program or name it by --option library=PATH (%s)", NAMES[0],
         reason);
}

void *library_open(const char *path) {
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

bool library_bind(void *library, const char *symbol, void *function) {
    void *address = dlsym(library, symbol);
    memcpy(function, &address, sizeof address); /* ISO C has no cast from an object to a function */
    return address != NULL;
}

static void *load(const char *path) {
    void *library = library_open(path);
    if (!library) missing(dlerror());
    return library;
}

static void *find(const char **name) {
    for (size_t index = 0; index < NAME_COUNT; index++) {
        const char *path = path_in(own_folder(), *name = NAMES[index]);
        if (access(path, F_OK) == 0) return load(path);
    }
    for (size_t index = 0; index < NAME_COUNT; index++) {
        void *library = library_open(*name = NAMES[index]);
        if (library) return library;
    }
    return load(*name = NAMES[0]);
}

static void bind(void *library, const char *symbol, void *function, bool required) {
    if (!library_bind(library, symbol, function) && required)
        fail(MISSING_RUNTIME, "the TensorFlow Lite library has no %s", symbol);
}

TfLite tflite_open(const char *path) {
    TfLite tflite = {.library = path};
    void *library = path ? load(path) : find(&tflite.library);
    tflite.library = last_part(tflite.library);
#define BIND_REQUIRED(type, name, parameters) bind(library, "TfLite" #name, &tflite.name, true);
#define BIND_OPTIONAL(type, name, parameters) bind(library, "TfLite" #name, &tflite.name, false);
    TFLITE_REQUIRED(BIND_REQUIRED)
    TFLITE_OPTIONAL(BIND_OPTIONAL)
    return tflite;
}
