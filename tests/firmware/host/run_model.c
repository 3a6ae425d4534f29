/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run_model.c: a generated model on the host, one run for each request.
 *
 * Request on standard input: mode, poison, whether to observe (one byte each), then the input. The arena
 * and the output are filled with the poison first. Response on standard output: if observed, each tensor
 * as its index (16 bits), its size (32 bits) and its bytes; then the output, then the masks.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app_model.h"

/* Allocated to the byte, so that AddressSanitizer sees the first one beyond. */
static void *exactly(size_t bytes)
{
    void *const memory = malloc(bytes);
    if (memory == NULL) {
        exit(3);
    }
    return memory;
}

static void put(const void *data, size_t bytes)
{
    if (fwrite(data, 1, bytes, stdout) != bytes) {
        exit(3);
    }
}

static void put_tensor(void *context, uint16_t index, const int8_t *data, size_t bytes)
{
    const uint32_t size = (uint32_t)bytes;
    (void)context;
    put(&index, sizeof index);
    put(&size, sizeof size);
    put(data, bytes);
}

static bool refuses_bad_arguments(const acs_model_t *model, void *arena, const int8_t *input, int8_t *output)
{
    int8_t *const misaligned = (int8_t *)arena + 1;
    return !model->run(NULL, input, output, ACS_SKIP, NULL) && !model->run(arena, NULL, output, ACS_SKIP, NULL) &&
           !model->run(arena, input, NULL, ACS_SKIP, NULL) &&
           !model->run(misaligned, input, output, ACS_SKIP, NULL);
}

int main(void)
{
    const acs_model_t *const model = &APP_MODEL;
    const acs_observer_t observer = {put_tensor, NULL};
    void *const arena = exactly(model->arena_bytes);
    int8_t *const input = exactly(model->input_bytes);
    int8_t *const output = exactly(model->output_bytes);
    unsigned char request[3];

    if (model->arena_bytes != APP_ARENA_BYTES || model->input_bytes != APP_INPUT_BYTES ||
        model->output_bytes != APP_OUTPUT_BYTES || !refuses_bad_arguments(model, arena, input, output)) {
        return 4;
    }
    while (fread(request, 1, sizeof request, stdin) == sizeof request) {
        if (fread(input, 1, model->input_bytes, stdin) != model->input_bytes) {
            return 3;
        }
        memset(arena, request[1], model->arena_bytes);
        memset(output, request[1], model->output_bytes);
        if (!model->run(arena, input, output, (acs_mode_t)request[0], request[2] ? &observer : NULL)) {
            return 5;
        }
        put(output, model->output_bytes);
        put(model->masks(arena), model->mask_bytes);
    }
    free(output);
    free(input);
    free(arena);
    return 0;
}
