/* SPDX-License-Identifier: Apache-2.0 */
/**
 * link.h: the frames in which firmware and host talk to each other (docs/link-protocol.md).
 *
 * A frame, all numbers little endian:
 *
 *     offset  bytes
 *     0       4      magic "ACSL"
 *     4       1      version, LINK_VERSION
 *     5       1      command; a response carries command | LINK_RESPONSE
 *     6       1      status; 0 in a request
 *     7       1      tag; whatever the request carries, its responses carry too
 *     8       4      length of the payload
 *     12      length payload
 *     ...     4      CRC-32 (IEEE 802.3) of everything between the magic and itself
 *
 * Nothing is buffered here: a payload is read into and written from the caller's memory, piece by
 * piece, while the checksum runs along.
 *
 *     link_reader_t frame;
 *     uint8_t payload[8];
 *     bool intact;
 *
 *     if (!link_read_header(&frame, transport)) { ... }            // the other side is gone
 *     if (frame.header.length != sizeof payload) { ... }                  // check before you read
 *     if (!link_read(&frame, payload, sizeof payload)) { ... }
 *     if (!link_read_end(&frame, &intact)) { ... }
 */
#ifndef LINK_H
#define LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LINK_MUST_CHECK __attribute__((warn_unused_result))
#else
#define LINK_MUST_CHECK
#endif

#define LINK_VERSION 1

/** Set in the command of every frame that the firmware sends. */
#define LINK_RESPONSE 0x80u

/** What a frame asks for, or answers. */
enum {
    LINK_INFO = 0x01,   /**< Who are you? */
    LINK_RUN = 0x02,    /**< Run the model once. */
    LINK_EXIT = 0x03,   /**< Stop, where that is possible. */
    LINK_TENSOR = 0x04, /**< Response only: one tensor of a run that is under way. */
    LINK_FAULT = 0x05,  /**< Response only: the firmware has stopped; the payload says why. */
    LINK_STEP = 0x06    /**< Response only: the ticks of one step of a run that is under way. */
};

/** How a response went. */
typedef enum {
    LINK_OK = 0,
    LINK_BAD_CRC = 1,      /**< The frame was damaged; nothing was done. */
    LINK_BAD_LENGTH = 2,   /**< Not the length of this command; the payload was not read. */
    LINK_BAD_COMMAND = 3,  /**< Unknown command; the payload was not read. */
    LINK_BAD_VERSION = 4,  /**< Not LINK_VERSION; the payload was not read. */
    LINK_BAD_ARGUMENT = 5, /**< Unknown mode or flag; nothing was done. */
    LINK_RUN_FAILED = 6,   /**< The model refused to run. */
    LINK_STOPPED = 7       /**< Of LINK_FAULT: the firmware runs no longer. */
} link_status_t;

/** A stream of bytes in both directions: a UART, two semihosting files, a test. */
typedef struct {
    /**
     * Reads exactly `bytes` bytes, waiting for them as long as it takes.
     *
     * @return false if the stream has ended
     */
    bool (*read)(void *context, uint8_t *data, size_t bytes);

    /**
     * Writes exactly `bytes` bytes.
     *
     * @return false if the stream has ended
     */
    bool (*write)(void *context, const uint8_t *data, size_t bytes);

    /** First argument of both. */
    void *context;
} link_transport_t;

/** What stands before the payload. */
typedef struct {
    uint8_t version;
    uint8_t command;
    uint8_t status;
    uint8_t tag;
    uint32_t length; /**< Bytes of payload. */
} link_header_t;

/** A frame that is being read. */
typedef struct {
    const link_transport_t *transport;
    uint32_t crc; /**< Running checksum. */
    link_header_t header;
} link_reader_t;

/** A frame that is being written. */
typedef struct {
    const link_transport_t *transport;
    uint32_t crc;
} link_writer_t;

/**
 * Skips bytes until the magic has gone by, then reads the rest of the header.
 *
 * The header is not checked: its length may be anything. Compare it with what the command needs before
 * reading a payload; after a length that does not fit just call this again, it hunts for the next magic.
 *
 * @return false if the stream has ended
 */
LINK_MUST_CHECK bool link_read_header(link_reader_t *frame, const link_transport_t *transport);

/**
 * Reads the next `bytes` bytes of the payload.
 *
 * @return false if the stream has ended
 */
LINK_MUST_CHECK bool link_read(link_reader_t *frame, void *data, size_t bytes);

/**
 * Reads the checksum.
 *
 * @param intact  true if it fits what was read
 * @return false if the stream has ended
 */
LINK_MUST_CHECK bool link_read_end(link_reader_t *frame, bool *intact);

/**
 * The header of a response to a request.
 *
 * @param command  one of LINK_..., without LINK_RESPONSE
 */
link_header_t link_response(const link_header_t *request, uint8_t command, link_status_t status,
                            uint32_t length);

/**
 * Starts a frame whose payload will have exactly `header->length` bytes.
 *
 * @return false if the stream has ended
 */
LINK_MUST_CHECK bool link_write_header(link_writer_t *frame, const link_transport_t *transport,
                                       const link_header_t *header);

/**
 * Writes the next `bytes` bytes of the payload.
 *
 * @return false if the stream has ended
 */
LINK_MUST_CHECK bool link_write(link_writer_t *frame, const void *data, size_t bytes);

/** Writes the next 4 bytes of the payload: `value`, little endian. Returns as link_write(). */
LINK_MUST_CHECK bool link_write_u32(link_writer_t *frame, uint32_t value);

/** Writes the checksum. Returns as link_write(). */
LINK_MUST_CHECK bool link_write_end(link_writer_t *frame);

/** Writes a whole frame at once: `header->length` bytes of payload. Returns as link_write(). */
LINK_MUST_CHECK bool link_write_frame(const link_transport_t *transport, const link_header_t *header,
                                      const void *payload);

#ifdef __cplusplus
}
#endif

#endif /* LINK_H */
