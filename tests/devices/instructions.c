/* A plugin for qemu-user that counts the instructions of the program it runs, of all its threads.
 *
 * qemu's plugin interface (docs/devel/tcg-plugins, version 1, as in qemu 7.2), declared here because Debian packages no
 * header of it. Counting is not atomic: exact for one thread. A block that a signal leaves early counts whole.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t Id;
typedef struct qemu_plugin_tb Block;
enum { ADD_U64 };

size_t qemu_plugin_tb_n_insns(const Block *);
void qemu_plugin_register_vcpu_tb_trans_cb(Id, void (*)(Id, Block *));
void qemu_plugin_register_vcpu_tb_exec_inline(Block *, int operation, void *number, uint64_t operand);
void qemu_plugin_register_atexit_cb(Id, void (*)(Id, void *), void *);

EXPORTED int qemu_plugin_version = 1;

static uint64_t executed;

static void count_block(Id id, Block *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed, qemu_plugin_tb_n_insns(block));
}

static void report(Id id, void *unused) {
    (void)id, (void)unused;
    fprintf(stderr, "\ninstructions: %" PRIu64 "\n", executed);
}

EXPORTED int qemu_plugin_install(Id id, const void *qemu, int count, char **arguments) {
    (void)qemu, (void)count, (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, count_block);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
