/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#define MAGIC_BYTES 4u
#define HEADER_BYTES 8u /* without the magic */

static const uint8_t MAGIC[MAGIC_BYTES] = {'A', 'C', 'S', 'L'};

static const uint32_t CRC_START = 0xFFFFFFFFu;

/* Half a byte a step: 64 bytes of table instead of 1024. */
static uint32_t crc_update(uint32_t crc, const uint8_t *data, size_t bytes)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu};

    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = (crc >> 4) ^ table[crc & 15u];
        crc = (crc >> 4) ^ table[crc & 15u];
    }
    return crc;
}

static uint32_t load_u32(const uint8_t bytes[4])
{
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8) | ((uint32_t)bytes[2] << 16) |
           ((uint32_t)bytes[3] << 24);
}

static void store_u32(uint8_t bytes[4], uint32_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
    bytes[2] = (uint8_t)(value >> 16);
    bytes[3] = (uint8_t)(value >> 24);
}

static bool hunt_for_magic(const link_transport_t *transport)
{
    size_t matched = 0;

    while (matched < MAGIC_BYTES) {
        uint8_t byte;
        if (!transport->read(transport->context, &byte, 1)) {
            return false;
        }
        if (byte == MAGIC[matched]) {
            matched++;
        } else {
            /* No byte of the magic but its first equals its first. */
            matched = byte == MAGIC[0] ? 1 : 0;
        }
    }
    return true;
}

bool link_read_header(link_reader_t *frame, const link_transport_t *transport)
{
    uint8_t header[HEADER_BYTES];

    frame->transport = transport;
    frame->crc = CRC_START;
    if (!hunt_for_magic(transport) || !link_read(frame, header, sizeof header)) {
        return false;
    }
    frame->header.version = header[0];
    frame->header.command = header[1];
    frame->header.status = header[2];
    frame->header.tag = header[3];
    frame->header.length = load_u32(header + 4);
    return true;
}

bool link_read(link_reader_t *frame, void *data, size_t bytes)
{
    if (!frame->transport->read(frame->transport->context, data, bytes)) {
        return false;
    }
    frame->crc = crc_update(frame->crc, data, bytes);
    return true;
}

bool link_read_end(link_reader_t *frame, bool *intact)
{
    uint8_t crc[4];

    if (!frame->transport->read(frame->transport->context, crc, sizeof crc)) {
        return false;
    }
    *intact = load_u32(crc) == ~frame->crc;
    return true;
}

link_header_t link_response(const link_header_t *request, uint8_t command, link_status_t status,
                            uint32_t length)
{
    const link_header_t header = {LINK_VERSION, (uint8_t)(command | LINK_RESPONSE), (uint8_t)status,
                                  request->tag, length};

    return header;
}

bool link_write_header(link_writer_t *frame, const link_transport_t *transport,
                       const link_header_t *header)
{
    uint8_t bytes[HEADER_BYTES] = {header->version, header->command, header->status, header->tag};

    store_u32(bytes + 4, header->length);
    frame->transport = transport;
    frame->crc = CRC_START;
    return transport->write(transport->context, MAGIC, sizeof MAGIC) &&
           link_write(frame, bytes, sizeof bytes);
}

bool link_write(link_writer_t *frame, const void *data, size_t bytes)
{
    frame->crc = crc_update(frame->crc, data, bytes);
    return frame->transport->write(frame->transport->context, data, bytes);
}

bool link_write_u32(link_writer_t *frame, uint32_t value)
{
    uint8_t bytes[4];

    store_u32(bytes, value);
    return link_write(frame, bytes, sizeof bytes);
}

bool link_write_end(link_writer_t *frame)
{
    uint8_t bytes[4];

    store_u32(bytes, ~frame->crc);
    return frame->transport->write(frame->transport->context, bytes, sizeof bytes);
}

bool link_write_frame(const link_transport_t *transport, const link_header_t *header,
                      const void *payload)
{
    link_writer_t frame;

    return link_write_header(&frame, transport, header) &&
           link_write(&frame, payload, header->length) && link_write_end(&frame);
}
