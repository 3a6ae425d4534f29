/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xtensa.c: what picolibc leaves open on QEMU's Xtensa machine: the host's standard input and output, and exit.
 * Start-up and the calls to the host are the firmware's.
 */
#include <stdio.h>
#include <unistd.h>

#include "port.h"
#include "semihosting.h"

static int get(FILE *file)
{
    uint8_t byte;
    (void)file;
    return semihosting_stream.read(semihosting_stream.context, &byte, 1) ? byte : EOF;
}

static int put(char byte, FILE *file)
{
    const uint8_t sent = (uint8_t)byte;
    (void)file;
    return semihosting_stream.write(semihosting_stream.context, &sent, 1) ? sent : EOF;
}

static FILE reading = FDEV_SETUP_STREAM(NULL, get, NULL, _FDEV_SETUP_READ);
static FILE writing = FDEV_SETUP_STREAM(put, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdin = &reading;
FILE *const stdout = &writing;
FILE *const stderr = &writing;

void _exit(int code)
{
    port_exit((uint32_t)code, NULL);
}
