/* SPDX-License-Identifier: Apache-2.0 */
/* Serves the model of app_model.h over the link until the host says EXIT. */
#include "app_model.h"
#include "link_server.h"
#include "port.h"

static ACS_ALIGNED uint8_t arena[APP_ARENA_BYTES];
static ACS_ALIGNED int8_t input[APP_INPUT_BYTES];
static ACS_ALIGNED int8_t output[APP_OUTPUT_BYTES];

static const link_counter_t counter = {port_ticks_restart, port_ticks, port_ticks_wrapped};

static const link_server_t server = {&APP_MODEL, arena, input, output, &counter};

/* A framework has a main of its own (ports/framework/framework.h). */
#ifndef APP_MAIN
#define APP_MAIN main
#endif

int APP_MAIN(void);

int APP_MAIN(void)
{
    if (APP_MODEL.arena_bytes > sizeof arena || APP_MODEL.input_bytes > sizeof input ||
        APP_MODEL.output_bytes > sizeof output) {
        port_exit(PORT_EXIT_MISBUILT, "app_model.h does not fit the model");
    }
    for (;;) {
        link_outcome_t outcome = link_serve(&server, port_link());
        /* A UART never closes, and a board has nothing to exit to: it listens on. */
        if (outcome != LINK_SERVED && port_link() != &port_uart) {
            port_exit(PORT_EXIT_OK, NULL);
        }
    }
}
