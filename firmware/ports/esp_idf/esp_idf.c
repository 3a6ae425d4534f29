/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ESP-IDF 5: the console's port, which is UART0 at 115200 8N1, or the USB serial port of the chip where
 * sdkconfig sends the console there; esp_timer counts microseconds.
 *
 * The link has the port for itself: the log is switched off. What the boot loader has said before, the
 * host skips.
 */
#include "driver/uart.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "framework.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "port.h"
#include "sdkconfig.h"

#if CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG
#include "driver/usb_serial_jtag.h"
#endif

#define BUFFER_BYTES 1024
#define WRITE_MILLISECONDS 1000

void app_main(void);

#if CONFIG_ESP_CONSOLE_USB_SERIAL_JTAG

static void start_console(void)
{
    usb_serial_jtag_driver_config_t config = {
        .tx_buffer_size = BUFFER_BYTES,
        .rx_buffer_size = BUFFER_BYTES,
    };

    ESP_ERROR_CHECK(usb_serial_jtag_driver_install(&config));
}

static int console_read(uint8_t *data, size_t bytes)
{
    return usb_serial_jtag_read_bytes(data, (uint32_t)bytes, portMAX_DELAY);
}

static int console_write(const uint8_t *data, size_t bytes)
{
    return usb_serial_jtag_write_bytes(data, bytes, pdMS_TO_TICKS(WRITE_MILLISECONDS));
}

#else

#define CONSOLE ((uart_port_t)CONFIG_ESP_CONSOLE_UART_NUM)

static void start_console(void)
{
    const uart_config_t config = {
        .baud_rate = 115200,
        .data_bits = UART_DATA_8_BITS,
        .parity = UART_PARITY_DISABLE,
        .stop_bits = UART_STOP_BITS_1,
        .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
        .source_clk = UART_SCLK_DEFAULT,
    };

    /* The pins are the console's already. */
    ESP_ERROR_CHECK(uart_driver_install(CONSOLE, BUFFER_BYTES, 0, 0, NULL, 0));
    ESP_ERROR_CHECK(uart_param_config(CONSOLE, &config));
}

static int console_read(uint8_t *data, size_t bytes)
{
    return uart_read_bytes(CONSOLE, data, (uint32_t)bytes, portMAX_DELAY);
}

static int console_write(const uint8_t *data, size_t bytes)
{
    return uart_write_bytes(CONSOLE, data, bytes);
}

#endif

static bool link_from_host(void *context, uint8_t *data, size_t bytes)
{
    (void)context;
    while (bytes > 0) {
        int got = console_read(data, bytes);
        if (got < 0) {
            return false;
        }
        data += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool link_to_host(void *context, const uint8_t *data, size_t bytes)
{
    (void)context;
    while (bytes > 0) {
        int taken = console_write(data, bytes);
        if (taken <= 0) {
            return false;
        }
        data += taken;
        bytes -= (size_t)taken;
    }
    return true;
}

const link_transport_t port_uart = {link_from_host, link_to_host, NULL};

void port_init(void)
{
    esp_log_level_set("*", ESP_LOG_NONE);
    start_console();
}

uint32_t framework_microseconds(void)
{
    return (uint32_t)esp_timer_get_time();
}

void framework_idle(void)
{
    vTaskDelay(1);
}

void app_main(void)
{
    port_init();
    (void)app_serve();
}
