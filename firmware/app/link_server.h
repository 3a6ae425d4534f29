/* SPDX-License-Identifier: Apache-2.0 */
/**
 * link_server.h: answers the requests of a host with a model (docs/link-protocol.md).
 *
 *     static const link_server_t server = {&demo_model, arena, input, output, &counter};
 *
 *     while (link_serve(&server, transport) == LINK_SERVED) {
 *     }
 */
#ifndef LINK_SERVER_H
#define LINK_SERVER_H

#include "acs.h"
#include "link.h"

#ifdef __cplusplus
extern "C" {
#endif

/** In a RUN request: send every tensor while the model runs. */
#define LINK_FLAG_TENSORS 0x01u

/** Instead: send the ticks of every step. */
#define LINK_FLAG_TICKS 0x02u

/** Ticks of a run that was longer than the counter can measure. */
#define LINK_TICKS_OVERFLOW UINT32_MAX

/** The counter that times a run. */
typedef struct {
    void (*restart)(void);  /**< Back to 0. */
    uint32_t (*ticks)(void); /**< Ticks since then, modulo 2^32. */
    bool (*wrapped)(void);  /**< Has it passed 2^32 since then? */
} link_counter_t;

/** A model and the memory in which it runs. */
typedef struct {
    const acs_model_t *model;
    void *arena;    /**< model->arena_bytes bytes, aligned to ACS_ARENA_ALIGNMENT; overwritten before each run. */
    int8_t *input;  /**< model->input_bytes bytes. */
    int8_t *output; /**< model->output_bytes bytes. */
    const link_counter_t *counter;
} link_server_t;

/** What became of a request. */
typedef enum {
    LINK_SERVED, /**< It was answered, be it with an error; go on. */
    LINK_ASKED_TO_EXIT,
    LINK_CLOSED /**< The host is gone. */
} link_outcome_t;

/** Waits for one request and answers it. */
LINK_MUST_CHECK link_outcome_t link_serve(const link_server_t *server,
                                          const link_transport_t *transport);

#ifdef __cplusplus
}
#endif

#endif /* LINK_SERVER_H */
