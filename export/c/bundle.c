#include "bundle.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "failure.h"
#include "files.h"
#include "sha256.h"

#define GOLDEN "golden.npz"

static const Json *member(const Json *manifest, const char *key, JsonKind kind, const char *meaning) {
    const Json *found = json_get(manifest, key);
    if (!found || found->kind != kind) fail(BAD_INPUT, "manifest.json: '%s' is missing or not %s", key, meaning);
    return found;
}

static const char *text(const Json *manifest, const char *key) {
    return member(manifest, key, JSON_TEXT, "a text")->text;
}

static size_t positive(const Json *manifest, const char *key) {
    const Json *found = member(manifest, key, JSON_NUMBER, "a number");
    if (!found->integral || found->number < 1 || found->number > INT_MAX)
        fail(BAD_INPUT, "manifest.json: '%s' is no whole number above zero", key);
    return (size_t)found->number;
}

static double optional(const Json *tensor, const char *key) {
    const Json *found = json_get(tensor, key);
    if (!found || found->kind == JSON_NULL) return 0;
    if (found->kind != JSON_NUMBER || !isfinite(found->number))
        fail(BAD_INPUT, "manifest.json: '%s' of a tensor is no number", key);
    return found->number;
}

static double amount(const Json *tensor, const char *key, bool zero) {
    const Json *found = json_get(tensor, key);
    double value = optional(tensor, key);
    if (found && found->kind == JSON_NUMBER && (value < 0 || (value <= 0 && !zero)))
        fail(BAD_INPUT, "manifest.json: '%s' of a tensor is %g, no number above zero", key, value);
    return value;
}

static size_t axis_of(const Json *size) {
    if (size->kind == JSON_NULL) return ANY;
    if (size->kind != JSON_NUMBER || !size->integral || size->number < 0 || size->number > INT_MAX)
        fail(BAD_INPUT, "manifest.json: a shape has sizes and null, nothing else");
    return (size_t)size->number;
}

static Spec spec_of(const Json *tensor) {
    const Json *name = json_get(tensor, "name"), *dtype = json_get(tensor, "dtype"), *shape = json_get(tensor, "shape");
    bool named = name && name->kind == JSON_TEXT && dtype && dtype->kind == JSON_TEXT;
    if (!named || !shape || shape->kind != JSON_ARRAY || shape->count < 1 || shape->count > MAX_RANK)
        fail(BAD_INPUT, "manifest.json: a tensor needs a name, a dtype and a shape");
    Spec spec = {.name = name->text, .dtype = dtype_named(dtype->text), .rank = shape->count, .shape = {ANY}};
    if (spec.dtype == OTHER) fail(BAD_INPUT, "manifest.json: '%s' is of unknown type '%s'", spec.name, dtype->text);
    for (size_t axis = 1; axis < spec.rank; axis++) {
        spec.shape[axis] = axis_of(&shape->items[axis]);
        if (spec.shape[axis] == ANY) fail(BAD_INPUT, "manifest.json: only the batch of '%s' may be null", spec.name);
    }
    size_t elements;
    if (!element_count(spec.rank - 1, spec.shape + 1, &elements) || elements > INT_MAX)
        fail(BAD_INPUT, "manifest.json: '%s' is too large", spec.name);
    spec.scale = amount(tensor, "scale", false);
    spec.zero_point = optional(tensor, "zero_point");
    spec.step = amount(tensor, "step", false);
    spec.noise = amount(tensor, "noise", true);
    return spec;
}

static Specs specs_of(const Json *manifest, const char *key) {
    const Json *tensors = member(manifest, key, JSON_ARRAY, "a list");
    Specs specs = {allocate(tensors->count, sizeof(Spec)), tensors->count};
    for (size_t index = 0; index < specs.count; index++) specs.items[index] = spec_of(&tensors->items[index]);
    return specs;
}

static bool leaves(const char *name) {
    bool anywhere = false;
    for (const char *at = name; *at; at += strspn(at, "/")) {
        size_t length = strcspn(at, "/");
        if (length == 2 && strncmp(at, "..", 2) == 0) return true;
        anywhere |= length > 1 || (length == 1 && *at != '.');
        at += length;
    }
    return *name == '/' || strchr(name, '\\') || !anywhere;
}

static bool inside(const char *folder, const char *path) {
    char *root = realpath(folder, NULL), *target = realpath(path, NULL);
    if (!root || !target) return false;
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    return strncmp(root, target, length) == 0 && target[length] == '/';
}

static void check_file(const char *folder, const Json *file) {
    char digest[SHA256_TEXT];
    struct stat facts;
    if (leaves(file->key)) fail(BAD_INPUT, "manifest.json: path '%s' leaves the bundle", file->key);
    const char *path = path_in(folder, file->key);
    if (stat(path, &facts) != 0 || !S_ISREG(facts.st_mode)) fail(BAD_INPUT, "%s is missing", path);
    if (!inside(folder, path)) fail(BAD_INPUT, "%s is a link that leaves the bundle", path);
    const Json *known = json_get(file, "sha256");
    bool same = known && known->kind == JSON_TEXT && sha256_file(path, digest) && strcmp(digest, known->text) == 0;
    if (!same) fail(BAD_INPUT, "%s does not match its sha256 in manifest.json", path);
}

/* Path of a file that the manifest vouches for. */
static const char *listed(const Bundle *bundle, const char *name) {
    if (!json_get(json_get(bundle->manifest, "files"), name))
        fail(BAD_INPUT, "manifest.json lists no hash for '%s'", name);
    return path_in(bundle->folder, name);
}

static const Json *read_manifest(const char *folder) {
    size_t size;
    const char *path = path_in(folder, "manifest.json"), *document = read_text(path, &size);
    if (!document) fail(BAD_INPUT, "%s: not a bundle (no manifest.json)", folder);
    const Json *manifest = json_parse(document, size, path), *format = json_get(manifest, "format");
    if (!format || format->kind != JSON_NUMBER || !(format->number >= BUNDLE_FORMAT && format->number <= BUNDLE_FORMAT))
        fail(BAD_INPUT, "%s: this runner reads bundle format %d", path, BUNDLE_FORMAT);
    return manifest;
}

Bundle bundle_open(const char *folder) {
    const Json *manifest = read_manifest(folder);
    Bundle bundle = {
        .folder = folder,
        .name = text(manifest, "name"),
        .backend = text(manifest, "backend"),
        .precision = text(manifest, "precision"),
        .batch = positive(manifest, "batch"),
        .threads = positive(manifest, "threads"),
        .inputs = specs_of(manifest, "inputs"),
        .outputs = specs_of(manifest, "outputs"),
        .manifest = manifest,
    };
    const Json *files = member(manifest, "files", JSON_OBJECT, "an object");
    for (size_t index = 0; index < files->count; index++) check_file(folder, &files->items[index]);
    bundle.model = listed(&bundle, text(manifest, "model"));
    return bundle;
}

Array *bundle_golden(const Bundle *bundle, const char *kind, const Specs *specs) {
    Npz archive = npz_open(listed(bundle, GOLDEN));
    Array *arrays = allocate(specs->count, sizeof *arrays);
    for (size_t index = 0; index < specs->count; index++) {
        const Spec *spec = &specs->items[index];
        size_t size = strlen(kind) + strlen(spec->name) + 2;
        char *name = allocate(size, 1);
        snprintf(name, size, "%s:%s", kind, spec->name);
        arrays[index] = npz_array(&archive, name);
        check_conforming(&arrays[index], spec);
    }
    return arrays;
}

void check_conforming(const Array *array, const Spec *spec) {
    bool fits = array->rank == spec->rank && array->rank > 0 && array->shape[0] > 0 && array->dtype == spec->dtype;
    for (size_t axis = 1; fits && axis < spec->rank; axis++) fits = array->shape[axis] == spec->shape[axis];
    if (fits) return;
    const char *found = shape_text(array->rank, array->shape), *wanted = shape_text(spec->rank - 1, spec->shape + 1);
    fail(BAD_INPUT, "'%s' is %s %s, the bundle wants %s with samples of %s", spec->name, dtype_name(array->dtype),
         found, dtype_name(spec->dtype), wanted);
}
