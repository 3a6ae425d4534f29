/* SPDX-License-Identifier: Apache-2.0 */
/* What our sketches and port use of Arduino.h. The serial port is standard input and output. */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus

class StubSerial {
  public:
    void begin(unsigned long baud);
    int available();
    int read();
    size_t readBytes(char *buffer, size_t length);
    size_t write(const uint8_t *buffer, size_t size);
    size_t print(const char *text);
    size_t print(char character);
    size_t print(int value);
    size_t println(const char *text);
    size_t println(unsigned long value);
    void flush();
};

extern StubSerial Serial;

extern "C" {
#endif

unsigned long micros(void);
void yield(void);
void delay(unsigned long milliseconds);

#ifdef __cplusplus
}
#endif

void setup(void);
void loop(void);

#endif /* ARDUINO_H */
