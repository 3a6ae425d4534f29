/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ESP_LOG_H
#define ESP_LOG_H
typedef enum { ESP_LOG_NONE = 0, ESP_LOG_ERROR = 1 } esp_log_level_t;
void esp_log_level_set(const char *tag, esp_log_level_t level);
#endif
