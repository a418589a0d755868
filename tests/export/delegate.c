/* A delegate that takes the operators of one kind, TAKES, and computes nothing: what is tested is how they are counted.
   Its interface is that of tensorflow/lite/delegates/external/external_delegate_interface.h, its structs begin like
   those of tensorflow/lite/core/c/common.h. */
#include <stdint.h>
#include <stdlib.h>

typedef struct { int size, data[]; } IntArray;
typedef struct Context Context;
typedef struct Node Node;
typedef struct {
    void *init, *free;
    int (*prepare)(Context *, Node *), (*invoke)(Context *, Node *);
    void *profiling;
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *more[8]; /* newer versions have more, by value */
} Registration;
typedef struct Delegate {
    void *data;
    int (*prepare)(Context *, struct Delegate *);
    void *buffers[3];
    int64_t flags;
    void *builder;
} Delegate;
struct Context {
    size_t tensors_size;
    int (*plan)(Context *, IntArray **);
    void *tensors, *impl, *resize, *report, *add;
    int (*node)(Context *, int, Node **, Registration **);
    int (*replace)(Context *, Registration, const IntArray *, Delegate *);
};

static int nothing(Context *context, Node *node) { return 0; }

static int take(Context *context, Delegate *delegate) {
    IntArray *plan;
    if (context->plan(context, &plan)) return 1;
    IntArray *mine = calloc(plan->size + 1, sizeof(int));
    for (int i = 0; i < plan->size; i++) {
        Node *node;
        Registration *registration;
        if (context->node(context, plan->data[i], &node, &registration)) return 1;
        if (registration->builtin_code == TAKES) mine->data[mine->size++] = plan->data[i];
    }
    Registration kernel = {.prepare = nothing, .invoke = nothing, .custom_name = "test", .version = 1};
    int status = mine->size ? context->replace(context, kernel, mine, delegate) : 0;
    free(mine);
    return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
    Delegate *delegate = calloc(1, sizeof *delegate);
    delegate->prepare = take;
    return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
