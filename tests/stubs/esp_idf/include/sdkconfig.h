/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SDKCONFIG_H
#define SDKCONFIG_H
#ifndef CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG
#define CONFIG_ESP_CONSOLE_UART_NUM 0
#endif
#endif
