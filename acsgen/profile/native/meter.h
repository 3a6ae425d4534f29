/* SPDX-License-Identifier: Apache-2.0 */
/**
 * meter.h: counts what a processor executes, and what it costs.
 *
 * Whoever executes (a plugin in QEMU, hooks in Unicorn) reports every instruction and every read of data, in
 * order. Instructions of an IT block whose condition fails may be left out: the meter adds them. It counts from the first instruction of one function, the model's run, until that call returns,
 * and sums instructions and cycles in cells: one for each step of the model and each function of the firmware.
 *
 * A cycle is modelled: each instruction has its cost at zero wait states, from a table that was made from the
 * firmware's code; on top come the flash's wait states, softened by its caches and its prefetch.
 *
 *     meter_t *meter = meter_open(table, bytes);
 *     meter_instruction(meter, 0x08000100);
 *     meter_read(meter, 0x08004000, 4);
 *     meter_close_run(meter);              // only where the processor stops before the call has returned
 *     meter_save(meter, "counts.txt");
 */
#ifndef METER_H
#define METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Step of an instruction that belongs to none: it counts for the step that was entered last. */
#define METER_NO_STEP 0xffffu

/** First word of a table: "ACSM", and the version of the layout. */
#define METER_MAGIC 0x4d534341u
#define METER_VERSION 1u

/**
 * How a table begins; all words little-endian, as on the hosts that run this.
 *
 * A line is what the flash delivers in one read, and what a cache holds in one entry. Caches are fully
 * associative and forget what was used longest ago.
 */
typedef struct {
    uint32_t magic, version;
    uint32_t entry;             /**< Address of the function in which is counted. */
    uint32_t first, entries;    /**< Code that the table describes: address, and number of entries. */
    uint32_t unit;              /**< Bytes from one entry to the next: 2, or 1 where instructions have odd sizes. */
    uint32_t steps, functions;  /**< Cells: (steps + 1) x functions; the last step is "between the steps". */
    uint32_t flash_base, flash_bytes;
    uint32_t line_bytes;        /**< A power of two. */
    uint32_t wait_states;       /**< 0: the rest of the flash does not matter. */
    uint32_t prefetch;          /**< 1: the line behind the one in use is read ahead. */
    uint32_t instruction_lines, data_lines; /**< Entries of the caches; 0: no cache. */
} meter_header_t;

/** What follows: one for each place where an instruction may begin. */
typedef struct {
    uint8_t bytes;      /**< Size of the instruction that begins here; 0: none does. */
    uint8_t conditional; /**< 1: within an IT block. */
    uint8_t cycles;     /**< Cost at zero wait states, as long as the next instruction follows. */
    uint8_t taken;      /**< More, if another one follows. */
    uint8_t arrival;    /**< More, if this instruction is where a branch leads to. */
    uint8_t unused;
    uint16_t step, function;
} meter_code_t;

typedef struct meter meter_t;

/** Copies the table. @return NULL if it is none, or no memory is left */
meter_t *meter_open(const void *table, size_t bytes);

void meter_close(meter_t *meter);

/** The instruction at this address is executed. */
void meter_instruction(meter_t *meter, uint32_t address);

/** The instruction that was reported last reads data. */
void meter_read(meter_t *meter, uint32_t address, uint32_t bytes);

/** Ends the run that is being counted. */
void meter_close_run(meter_t *meter);

/** Whether the last instruction ended a run; true once. */
bool meter_run_ended(meter_t *meter);

/**
 * Writes what was counted in all runs, as text:
 *
 *     RUNS UNKNOWN                                  runs, instructions outside the table
 *     STEP FUNCTION INSTRUCTIONS CORE FETCH DATA    for each cell that is not empty
 *
 *     ADDRESS TIMES CORE FETCH DATA                 for each instruction that was executed
 *
 * CORE: cycles at zero wait states; FETCH, DATA: further cycles that fetching and reading waited for the flash.
 */
bool meter_save(const meter_t *meter, const char *path);

#endif /* METER_H */
