/* SPDX-License-Identifier: Apache-2.0 */
/* The core: runs the sketch until standard input ends. */
#include "Arduino.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

StubSerial Serial;

static bool begun = false;

static void require_begun() {
    if (!begun) {
        std::fprintf(stderr, "the serial port is used before begin()\n");
        std::exit(9);
    }
}

void StubSerial::begin(unsigned long baud) {
    begun = baud == 115200;
}

int StubSerial::available() {
    require_begun();
    int byte = std::getchar();
    if (byte == EOF) {
        std::fflush(stdout);
        std::exit(0);
    }
    std::ungetc(byte, stdin);
    return 1;
}

int StubSerial::read() {
    available();
    return std::getchar();
}

size_t StubSerial::readBytes(char *buffer, size_t length) {
    available();
    return std::fread(buffer, 1, length, stdin);
}

size_t StubSerial::write(const uint8_t *buffer, size_t size) {
    require_begun();
    /* As a full buffer does: takes a part. */
    const size_t taken = std::fwrite(buffer, 1, size > 7 ? 7 : size, stdout);
    std::fflush(stdout);
    return taken;
}

size_t StubSerial::print(const char *text) {
    require_begun();
    return static_cast<size_t>(std::printf("%s", text));
}

size_t StubSerial::print(char character) {
    return static_cast<size_t>(std::printf("%c", character));
}

size_t StubSerial::print(int value) {
    return static_cast<size_t>(std::printf("%d", value));
}

size_t StubSerial::println(const char *text) {
    return static_cast<size_t>(std::printf("%s\r\n", text));
}

size_t StubSerial::println(unsigned long value) {
    return static_cast<size_t>(std::printf("%lu\r\n", value));
}

void StubSerial::flush() {
    require_begun();
    std::fflush(stdout);
}

unsigned long micros(void) {
    using namespace std::chrono;
    return static_cast<uint32_t>(duration_cast<microseconds>(steady_clock::now().time_since_epoch()).count());
}

void yield(void) {
}

void delay(unsigned long milliseconds) {
    usleep(static_cast<useconds_t>(1000 * milliseconds));
}

int main() {
    setup();
    for (;;) {
        loop();
    }
}
