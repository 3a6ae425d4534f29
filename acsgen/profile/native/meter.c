/* SPDX-License-Identifier: Apache-2.0 */
#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_LINE UINT32_MAX

typedef struct {
    uint64_t instructions, core, fetch, data;
} cell_t;

typedef struct {
    uint32_t line;
    uint64_t used;
} entry_t;

typedef struct {
    entry_t *entries;
    uint32_t count;
    uint64_t clock;
} cache_t;

struct meter {
    meter_header_t header;
    meter_code_t *code;
    cell_t *cells;
    cell_t *places;        /* for each entry of the table */
    cell_t *cell, *place;  /* of the last instruction */
    cache_t instructions, data;

    bool running, ended;
    uint32_t step;
    uint32_t next;         /* address behind the last instruction */
    uint32_t back;         /* where the run returns to */
    uint8_t taken;         /* of the last instruction */

    uint64_t now;          /* cycles since the run began */
    uint64_t flash_free;   /* when the flash can begin another read */
    uint32_t line;         /* that instructions come from */
    uint32_t ahead;        /* line that is, or was, read ahead ... */
    uint64_t ahead_ready;  /* ... and when it is there */

    uint64_t runs, unknown;
};

static const meter_code_t UNKNOWN = {.bytes = 2, .cycles = 1, .step = METER_NO_STEP};

static entry_t *cache_find(cache_t *cache, uint32_t line)
{
    for (uint32_t i = 0; i < cache->count; i++) {
        if (cache->entries[i].line == line) {
            return &cache->entries[i];
        }
    }
    return NULL;
}

static bool cache_hit(cache_t *cache, uint32_t line)
{
    entry_t *entry = cache_find(cache, line);

    if (entry != NULL) {
        entry->used = ++cache->clock;
    }
    return entry != NULL;
}

static void cache_fill(cache_t *cache, uint32_t line)
{
    entry_t *oldest = cache->entries;

    for (uint32_t i = 1; i < cache->count; i++) {
        if (cache->entries[i].used < oldest->used) {
            oldest = &cache->entries[i];
        }
    }
    if (oldest != NULL) {
        oldest->line = line;
        oldest->used = ++cache->clock;
    }
}

static void cache_clear(cache_t *cache)
{
    for (uint32_t i = 0; i < cache->count; i++) {
        cache->entries[i].line = NO_LINE;
        cache->entries[i].used = 0;
    }
}

static bool cache_open(cache_t *cache, uint32_t lines)
{
    cache->count = lines;
    cache->entries = lines != 0 ? calloc(lines, sizeof *cache->entries) : NULL;
    return lines == 0 || cache->entries != NULL;
}

meter_t *meter_open(const void *table, size_t bytes)
{
    meter_t *meter = calloc(1, sizeof *meter);

    if (meter == NULL || bytes < sizeof meter->header) {
        free(meter);
        return NULL;
    }
    memcpy(&meter->header, table, sizeof meter->header);
    const meter_header_t *header = &meter->header;
    size_t code_bytes = (size_t)header->entries * sizeof *meter->code;
    size_t cells = ((size_t)header->steps + 1) * header->functions;

    if (header->magic != METER_MAGIC || header->version != METER_VERSION || header->line_bytes == 0 ||
        header->unit == 0 || header->functions == 0 || bytes != sizeof *header + code_bytes) {
        free(meter);
        return NULL;
    }
    meter->code = malloc(code_bytes + 1);
    meter->cells = calloc(cells, sizeof *meter->cells);
    meter->places = calloc((size_t)header->entries + 1, sizeof *meter->places); /* one for code that is unknown */
    if (meter->code == NULL || meter->cells == NULL || meter->places == NULL ||
        !cache_open(&meter->instructions, header->instruction_lines) ||
        !cache_open(&meter->data, header->data_lines)) {
        meter_close(meter);
        return NULL;
    }
    memcpy(meter->code, (const uint8_t *)table + sizeof *header, code_bytes);
    meter->next = NO_LINE;
    return meter;
}

void meter_close(meter_t *meter)
{
    if (meter != NULL) {
        free(meter->code);
        free(meter->cells);
        free(meter->places);
        free(meter->instructions.entries);
        free(meter->data.entries);
        free(meter);
    }
}

/* Every run begins with cold caches, so that runs repeat. */
static void begin(meter_t *meter)
{
    meter->running = true;
    meter->back = meter->next;
    meter->step = meter->header.steps;
    meter->now = meter->flash_free = 0;
    meter->line = meter->ahead = NO_LINE;
    meter->taken = 0;
    cache_clear(&meter->instructions);
    cache_clear(&meter->data);
}

void meter_close_run(meter_t *meter)
{
    if (meter->running) {
        meter->running = false;
        meter->ended = true;
        meter->runs++;
        meter->next = NO_LINE; /* nothing of this run is what the next one is called from */
    }
}

bool meter_run_ended(meter_t *meter)
{
    bool ended = meter->ended;

    meter->ended = false;
    return ended;
}

/* Reads one line as soon as the flash is free; the processor waits. */
static void read_line(meter_t *meter)
{
    uint64_t start = meter->now > meter->flash_free ? meter->now : meter->flash_free;

    meter->now = start + meter->header.wait_states;
    meter->flash_free = meter->now + 1;
}

static void read_ahead(meter_t *meter, uint32_t line)
{
    if (!meter->header.prefetch || meter->ahead == line ||
        cache_find(&meter->instructions, line) != NULL) {
        return;
    }
    uint64_t start = meter->now > meter->flash_free ? meter->now : meter->flash_free;

    meter->ahead = line;
    meter->ahead_ready = meter->flash_free = start + meter->header.wait_states + 1;
}

static void fetch_line(meter_t *meter, uint32_t line)
{
    if (line == meter->line) {
        return;
    }
    if (!cache_hit(&meter->instructions, line)) {
        if (meter->header.prefetch && line == meter->ahead) {
            meter->now = meter->now > meter->ahead_ready ? meter->now : meter->ahead_ready;
        } else {
            read_line(meter);
        }
        cache_fill(&meter->instructions, line);
    }
    meter->line = line;
    read_ahead(meter, line + 1);
}

static void add_to(cell_t *cell, cell_t cost)
{
    cell->instructions += cost.instructions;
    cell->core += cost.core;
    cell->fetch += cost.fetch;
    cell->data += cost.data;
}

/* Counts for the last instruction. */
static void add(meter_t *meter, cell_t cost)
{
    add_to(meter->cell, cost);
    add_to(meter->place, cost);
}

static bool waits(const meter_t *meter, uint32_t address)
{
    return meter->header.wait_states != 0 &&
           address - meter->header.flash_base < meter->header.flash_bytes;
}

static const meter_code_t *look_up(const meter_t *meter, uint32_t address)
{
    uint32_t index = (address - meter->header.first) / meter->header.unit;

    if (index >= meter->header.entries || meter->code[index].bytes == 0) {
        return &UNKNOWN;
    }
    return &meter->code[index];
}

static void execute(meter_t *meter, uint32_t address, const meter_code_t *code)
{
    uint64_t core = code->cycles;
    uint64_t before = meter->now;

    if (code->step != METER_NO_STEP) {
        meter->step = code->step;
    }
    meter->cell = &meter->cells[(size_t)meter->step * meter->header.functions + code->function];
    meter->place = &meter->places[code == &UNKNOWN ? meter->header.entries : (size_t)(code - meter->code)];
    if (address != meter->next) {
        uint64_t refill = (uint64_t)meter->taken + code->arrival;
        core += refill;
        before = meter->now += refill;
        meter->line = NO_LINE;
    }
    if (waits(meter, address)) {
        fetch_line(meter, address / meter->header.line_bytes);
        fetch_line(meter, (address + code->bytes - 1) / meter->header.line_bytes);
    }
    add(meter, (cell_t){1, core, meter->now - before, 0});
    meter->now += code->cycles;
    meter->taken = code->taken;
    meter->unknown += code == &UNKNOWN;
}

/* Executes what an engine left out: instructions of an IT block whose condition failed. */
static void fill_in(meter_t *meter, uint32_t address)
{
    const meter_code_t *code = look_up(meter, meter->next);

    while (meter->next != address && code->conditional) {
        execute(meter, meter->next, code);
        meter->next += code->bytes;
        code = look_up(meter, meter->next);
    }
}

void meter_instruction(meter_t *meter, uint32_t address)
{
    const meter_code_t *code = look_up(meter, address);

    if (meter->running && address == meter->back) {
        meter_close_run(meter);
    } else if (!meter->running && address == meter->header.entry) {
        begin(meter);
        meter->next = address; /* the call itself is not part of the run */
    }
    if (meter->running) {
        fill_in(meter, address);
        execute(meter, address, code);
    }
    meter->next = address + code->bytes;
}

void meter_read(meter_t *meter, uint32_t address, uint32_t bytes)
{
    if (!meter->running || !waits(meter, address)) {
        return;
    }
    uint32_t last = (address + bytes - 1) / meter->header.line_bytes;
    uint64_t before = meter->now;

    for (uint32_t line = address / meter->header.line_bytes; line <= last; line++) {
        if (!cache_hit(&meter->data, line)) {
            read_line(meter);
            cache_fill(&meter->data, line);
        }
    }
    add(meter, (cell_t){0, 0, 0, meter->now - before});
}

static void save(FILE *file, const char *name, const cell_t *cell)
{
    fprintf(file, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, cell->instructions, cell->core,
            cell->fetch, cell->data);
}

bool meter_save(const meter_t *meter, const char *path)
{
    size_t cells = ((size_t)meter->header.steps + 1) * meter->header.functions;
    char name[48];
    FILE *file = fopen(path, "w");

    if (file == NULL) {
        return false;
    }
    fprintf(file, "%" PRIu64 " %" PRIu64 "\n", meter->runs, meter->unknown);
    for (size_t i = 0; i < cells; i++) {
        if (meter->cells[i].instructions != 0) {
            snprintf(name, sizeof name, "%zu %zu", i / meter->header.functions, i % meter->header.functions);
            save(file, name, &meter->cells[i]);
        }
    }
    fputc('\n', file);
    for (size_t i = 0; i < meter->header.entries; i++) {
        if (meter->places[i].instructions != 0) {
            snprintf(name, sizeof name, "%zu", meter->header.first + i * meter->header.unit);
            save(file, name, &meter->places[i]);
        }
    }
    return fclose(file) == 0;
}
