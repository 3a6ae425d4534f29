/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any board that Arduino runs on: `Serial` at 115200 8N1, and micros().
 *
 * Another port than Serial, such as the native USB of a board that has it under another name:
 * -DPORT_SERIAL=SerialUSB.
 */
#include <Arduino.h>

#include "framework.h"
#include "port.h"

#ifndef PORT_SERIAL
#define PORT_SERIAL Serial
#endif

#define BAUD 115200
/* A port that takes nothing for so long has nobody behind it. */
#define WRITE_MILLISECONDS 1000

static bool serial_read(void *, uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        int byte;
        while ((byte = PORT_SERIAL.read()) < 0) {
            framework_idle();
        }
        data[i] = static_cast<uint8_t>(byte);
    }
    return true;
}

static bool serial_write(void *, const uint8_t *data, size_t bytes)
{
    unsigned waited = 0;

    while (bytes > 0) {
        const size_t written = PORT_SERIAL.write(data, bytes);
        data += written;
        bytes -= written;
        if (written > 0) {
            waited = 0;
        } else if (waited++ < WRITE_MILLISECONDS) {
            delay(1);
        } else {
            return false;
        }
    }
    return true;
}

extern "C" {

extern const link_transport_t port_uart = {serial_read, serial_write, nullptr};

void port_init(void)
{
    PORT_SERIAL.begin(BAUD);
}

uint32_t framework_microseconds(void)
{
    return static_cast<uint32_t>(micros());
}

void framework_idle(void)
{
    yield();
}

} /* extern "C" */

void setup()
{
    port_init();
}

void loop()
{
    (void)app_serve();
}
