/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCG plugin for QEMU that reports to the meter every instruction and every read of data.
 *
 *     qemu-system-arm ... -plugin plugin.so,table=TABLE,counts=COUNTS
 *
 * COUNTS is written whenever a run of the model has returned, before the firmware answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meter.h"

/*
 * QEMU's interface for plugins, as its manual describes it ("QEMU TCG Plugins"); Debian packages no header of it.
 */
typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum { QEMU_PLUGIN_CB_NO_REGS = 0, QEMU_PLUGIN_MEM_RW = 3 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
                                                  void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                                   void (*callback)(unsigned, void *), int flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction,
                                             void (*callback)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *),
                                             int flags, int direction, void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);

#define EXPORT __attribute__((visibility("default")))

EXPORT extern const int qemu_plugin_version;
const int qemu_plugin_version = 1;

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv);

static meter_t *meter;
static const char *counts;

static void on_instruction(unsigned cpu, void *address)
{
    (void)cpu;
    meter_instruction(meter, (uint32_t)(uintptr_t)address);
    if (meter_run_ended(meter) && !meter_save(meter, counts)) {
        perror(counts);
        exit(1);
    }
}

/* Registered for reads and writes: QEMU 7.2 shows nothing to those who ask for reads only. */
static void on_access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *data)
{
    (void)cpu;
    (void)data;
    if (!qemu_plugin_mem_is_store(info)) {
        meter_read(meter, (uint32_t)address, 1u << qemu_plugin_mem_size_shift(info));
    }
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        void *address = (void *)(uintptr_t)qemu_plugin_insn_vaddr(instruction);

        qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_instruction, QEMU_PLUGIN_CB_NO_REGS, address);
        qemu_plugin_register_vcpu_mem_cb(instruction, on_access, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    }
}

static meter_t *open_table(const char *path)
{
    FILE *file = fopen(path, "rb");
    meter_t *opened = NULL;

    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        long bytes = ftell(file);
        void *table = bytes > 0 ? malloc((size_t)bytes) : NULL;

        rewind(file);
        if (table != NULL && fread(table, (size_t)bytes, 1, file) == 1) {
            opened = meter_open(table, (size_t)bytes);
        }
        free(table);
    }
    if (file != NULL) {
        fclose(file);
    }
    return opened;
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "table=", 6) == 0) {
            meter = open_table(argv[i] + 6);
        } else if (strncmp(argv[i], "counts=", 7) == 0) {
            counts = strdup(argv[i] + 7);
        }
    }
    if (meter == NULL || counts == NULL) {
        fprintf(stderr, "the plugin needs table=FILE, a table of the meter's, and counts=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
