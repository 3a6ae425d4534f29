/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ESP-IDF on the host: the console is standard input and output. Reads and writes take a part at a time,
 * as the drivers may; a port that was not set up as ours must be ends the program with exit code 9.
 */
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "driver/uart.h"
#include "driver/usb_serial_jtag.h"
#include "esp_log.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

static bool quiet;
static bool installed;
static bool configured;

static void require(bool condition)
{
    if (!condition) {
        fprintf(stderr, "the console was not set up\n");
        exit(9);
    }
}

static int take(void *buf, uint32_t length)
{
    require(quiet && installed && configured);
    size_t got = fread(buf, 1, length > 5 ? 5 : length, stdin);
    if (got == 0) {
        fflush(stdout);
        exit(0);
    }
    return (int)got;
}

static int give(const void *src, size_t size)
{
    require(quiet && installed && configured);
    size_t taken = fwrite(src, 1, size > 7 ? 7 : size, stdout);
    fflush(stdout);
    return (int)taken;
}

void esp_log_level_set(const char *tag, esp_log_level_t level)
{
    quiet = tag[0] == '*' && level == ESP_LOG_NONE;
}

esp_err_t uart_driver_install(uart_port_t uart_num, int rx_buffer_size, int tx_buffer_size, int queue_size,
                              QueueHandle_t *uart_queue, int intr_alloc_flags)
{
    /* ESP-IDF: the ring buffer must be greater than the FIFO of 128 bytes. */
    installed = uart_num == UART_NUM_0 && rx_buffer_size > 128 && tx_buffer_size == 0 && queue_size == 0 &&
                uart_queue == NULL && intr_alloc_flags == 0;
    return installed ? ESP_OK : -1;
}

esp_err_t uart_param_config(uart_port_t uart_num, const uart_config_t *config)
{
    configured = uart_num == UART_NUM_0 && config->baud_rate == 115200 && config->data_bits == UART_DATA_8_BITS &&
                 config->parity == UART_PARITY_DISABLE && config->stop_bits == UART_STOP_BITS_1;
    return configured ? ESP_OK : -1;
}

int uart_read_bytes(uart_port_t uart_num, void *buf, uint32_t length, TickType_t ticks_to_wait)
{
    require(uart_num == UART_NUM_0 && ticks_to_wait == portMAX_DELAY);
    return take(buf, length);
}

int uart_write_bytes(uart_port_t uart_num, const void *src, size_t size)
{
    require(uart_num == UART_NUM_0);
    return give(src, size);
}

esp_err_t usb_serial_jtag_driver_install(usb_serial_jtag_driver_config_t *config)
{
    installed = configured = config->rx_buffer_size > 64 && config->tx_buffer_size > 64;
    return installed ? ESP_OK : -1;
}

int usb_serial_jtag_read_bytes(void *buf, uint32_t length, TickType_t ticks_to_wait)
{
    require(ticks_to_wait == portMAX_DELAY);
    return take(buf, length);
}

int usb_serial_jtag_write_bytes(const void *src, size_t size, TickType_t ticks_to_wait)
{
    require(ticks_to_wait > 0);
    return give(src, size);
}

int64_t esp_timer_get_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void vTaskDelay(const TickType_t xTicksToDelay)
{
    (void)xTicksToDelay;
}

void app_main(void);

int main(void)
{
    app_main();
    return 0;
}
