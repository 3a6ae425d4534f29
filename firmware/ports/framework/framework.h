/* SPDX-License-Identifier: Apache-2.0 */
/**
 * framework.h: a port on top of somebody else's framework, which has its own start-up and its own main.
 *
 * framework.c implements the link and the counter of port.h with what stands here; the folder of the
 * framework (ports/arduino, ports/esp_idf) implements this, port_init() and port_uart. The framework
 * starts, calls port_init() and then app_serve(), which is the application's main() under another name
 * (-DAPP_MAIN=app_serve).
 */
#ifndef FRAMEWORK_H
#define FRAMEWORK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Serves the model; returns only where the link can close. */
int app_serve(void);

/** Microseconds since any moment, modulo 2^32. */
uint32_t framework_microseconds(void);

/** Lets everybody else run for a moment. */
void framework_idle(void);

#ifdef __cplusplus
}
#endif

#endif /* FRAMEWORK_H */
