/* SPDX-License-Identifier: Apache-2.0 */
#include "link_server.h"

#include <string.h>

#define RUN_ARGUMENT_BYTES 2u /* mode, flags */
#define TICKS_BYTES 4u
#define INDEX_BYTES 2u
#define ARENA_POISON 0x5a

/* A request that is being served. */
typedef struct {
    const link_server_t *server;
    const link_transport_t *transport;
    link_reader_t frame;
} request_t;

/* What the observer of a run needs to send a tensor, or what a step took. */
typedef struct {
    const request_t *request;
    bool sent;
    uint32_t ticks; /* when the step began */
} sender_t;

static link_outcome_t outcome(bool answered)
{
    return answered ? LINK_SERVED : LINK_CLOSED;
}

static bool begin_response(const request_t *request, link_writer_t *frame, uint8_t command,
                           size_t bytes)
{
    const link_header_t header =
        link_response(&request->frame.header, command, LINK_OK, (uint32_t)bytes);

    return link_write_header(frame, request->transport, &header);
}

/* A response without a payload. */
static bool send_status(const request_t *request, link_status_t status)
{
    const link_header_t header =
        link_response(&request->frame.header, request->frame.header.command, status, 0);

    return link_write_frame(request->transport, &header, NULL);
}

static link_outcome_t refuse(const request_t *request, link_status_t status)
{
    return outcome(send_status(request, status));
}

static bool send_info(const request_t *request)
{
    const acs_model_t *model = request->server->model;
    const uint32_t numbers[] = {model->fingerprint,  model->arena_bytes, model->input_bytes,
                                model->output_bytes, model->mask_bytes,  model->tensor_count};
    size_t name_bytes = strlen(model->name);
    link_writer_t frame;

    if (!begin_response(request, &frame, LINK_INFO, sizeof numbers + name_bytes)) {
        return false;
    }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (!link_write_u32(&frame, numbers[i])) {
            return false;
        }
    }
    return link_write(&frame, model->name, name_bytes) && link_write_end(&frame);
}

/* An index, then data. */
static void send_indexed(sender_t *sender, uint8_t command, uint16_t index, const void *data, size_t bytes)
{
    const uint8_t number[INDEX_BYTES] = {(uint8_t)index, (uint8_t)(index >> 8)};
    link_writer_t frame;

    sender->sent = sender->sent &&
                   begin_response(sender->request, &frame, command, sizeof number + bytes) &&
                   link_write(&frame, number, sizeof number) && link_write(&frame, data, bytes) &&
                   link_write_end(&frame);
}

static void send_tensor(void *context, uint16_t index, const int8_t *data, size_t bytes)
{
    send_indexed(context, LINK_TENSOR, index, data, bytes);
}

/* The counter goes on while a frame is sent, but the next step begins after it. */
static void send_ticks(void *context, uint16_t index, const int8_t *data, size_t bytes)
{
    sender_t *sender = context;
    const link_counter_t *counter = sender->request->server->counter;
    const uint32_t taken = counter->ticks() - sender->ticks;
    const uint32_t ticks = counter->wrapped() ? LINK_TICKS_OVERFLOW : taken;
    const uint8_t little[] = {(uint8_t)ticks, (uint8_t)(ticks >> 8), (uint8_t)(ticks >> 16),
                              (uint8_t)(ticks >> 24)};

    (void)data;
    (void)bytes;
    send_indexed(sender, LINK_STEP, index, little, sizeof little);
    counter->restart();
    sender->ticks = counter->ticks();
}

static bool send_result(const request_t *request, uint32_t ticks)
{
    const link_server_t *server = request->server;
    const acs_model_t *model = server->model;
    link_writer_t frame;

    return begin_response(request, &frame, LINK_RUN,
                          TICKS_BYTES + model->mask_bytes + model->output_bytes) &&
           link_write_u32(&frame, ticks) &&
           link_write(&frame, model->masks(server->arena), model->mask_bytes) &&
           link_write(&frame, server->output, model->output_bytes) && link_write_end(&frame);
}

static link_outcome_t run_observed(const request_t *request, acs_mode_t mode, uint8_t flags)
{
    const link_server_t *server = request->server;
    sender_t sender = {request, true, 0};
    const acs_observer_t observer = {flags == LINK_FLAG_TICKS ? send_ticks : send_tensor, &sender};

    server->counter->restart();
    sender.ticks = server->counter->ticks();
    bool done = server->model->run(server->arena, server->input, server->output, mode, &observer);

    if (!sender.sent) {
        return LINK_CLOSED;
    }
    return done ? outcome(send_result(request, 0)) : refuse(request, LINK_RUN_FAILED);
}

static link_outcome_t run_timed(const request_t *request, acs_mode_t mode)
{
    const link_server_t *server = request->server;
    const link_counter_t *counter = server->counter;

    counter->restart();
    uint32_t start = counter->ticks();
    bool done = server->model->run(server->arena, server->input, server->output, mode, NULL);
    uint32_t ticks = counter->ticks() - start;

    if (!done) {
        return refuse(request, LINK_RUN_FAILED);
    }
    return outcome(send_result(request, counter->wrapped() ? LINK_TICKS_OVERFLOW : ticks));
}

/* Reads what is run: a byte per gated group where the mode wants them, then the input. */
static bool read_input(request_t *request, size_t group_bytes)
{
    const link_server_t *server = request->server;

    /* No run may find what an earlier one left: a group that was skipped, but needed, shows at once. */
    memset(server->arena, ARENA_POISON, server->model->arena_bytes);
    return link_read(&request->frame, server->arena, group_bytes) &&
           link_read(&request->frame, server->input, server->model->input_bytes);
}

static link_outcome_t serve_run(request_t *request)
{
    const acs_model_t *model = request->server->model;
    const uint32_t length = request->frame.header.length;
    const uint32_t plain = RUN_ARGUMENT_BYTES + model->input_bytes;
    uint8_t argument[RUN_ARGUMENT_BYTES];
    bool intact;

    if (length != plain && length != plain + model->mask_bytes) {
        return refuse(request, LINK_BAD_LENGTH);
    }
    if (!link_read(&request->frame, argument, sizeof argument) || !read_input(request, length - plain) ||
        !link_read_end(&request->frame, &intact)) {
        return LINK_CLOSED;
    }
    if (!intact) {
        return refuse(request, LINK_BAD_CRC);
    }
    const uint32_t given = argument[0] >= ACS_GIVEN ? model->mask_bytes : 0;
    if (argument[0] > ACS_BUDGET || argument[1] > LINK_FLAG_TICKS || length != plain + given) {
        return refuse(request, LINK_BAD_ARGUMENT);
    }
    acs_mode_t mode = (acs_mode_t)argument[0];
    return argument[1] != 0 ? run_observed(request, mode, argument[1]) : run_timed(request, mode);
}

/* INFO and EXIT: a request without a payload. */
static link_outcome_t serve_plain(request_t *request)
{
    bool intact;

    if (request->frame.header.length != 0) {
        return refuse(request, LINK_BAD_LENGTH);
    }
    if (!link_read_end(&request->frame, &intact)) {
        return LINK_CLOSED;
    }
    if (!intact) {
        return refuse(request, LINK_BAD_CRC);
    }
    if (request->frame.header.command == LINK_INFO) {
        return outcome(send_info(request));
    }
    return send_status(request, LINK_OK) ? LINK_ASKED_TO_EXIT : LINK_CLOSED;
}

link_outcome_t link_serve(const link_server_t *server, const link_transport_t *transport)
{
    request_t request = {.server = server, .transport = transport};

    if (!link_read_header(&request.frame, transport)) {
        return LINK_CLOSED;
    }
    if (request.frame.header.version != LINK_VERSION) {
        return refuse(&request, LINK_BAD_VERSION);
    }
    switch (request.frame.header.command) {
    case LINK_INFO:
    case LINK_EXIT:
        return serve_plain(&request);
    case LINK_RUN:
        return serve_run(&request);
    default:
        return refuse(&request, LINK_BAD_COMMAND);
    }
}
